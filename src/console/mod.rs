//! The terminal: Ctrl-C in; results, notes, warnings, progress and numbers with units out.
//!
//! Every line of the programs leaves through [`stdout`] or [`stderr`], which heed closed pipes, the width and `NO_COLOR`.

pub mod clock;
mod colour;
pub mod interrupt;
pub mod progress;
pub mod stderr;
pub mod stdout;
pub mod units;
pub mod wrap;
