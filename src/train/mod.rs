//! Training: the recipe and what only it needs.
//!
//! [`run`] is the recipe, top to bottom: steps laid out by [`plan`] and [`schedule`], the frozen [`mod@reference`], each [`step`] taken by
//! the [`optimizer`], [`checkpoint`]s, and the [`best`] of them. [`seeds`] repeats it.

pub mod best;
pub mod checkpoint;
mod launched;
pub mod optimizer;
pub mod plan;
pub mod reference;
pub mod run;
pub mod schedule;
pub mod seeds;
pub mod step;
