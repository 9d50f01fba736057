//! The terminal: Ctrl-C in; notes, warnings, progress and numbers with units out.

pub mod interrupt;
pub mod progress;
pub mod units;
