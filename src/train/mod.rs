//! Training: the recipe and what only it needs.
//!
//! [`run`] is the recipe, top to bottom: a `state` that [`plan`]ned [`step`]s move, by the [`optimizer`] and the rates of the [`schedule`];
//! the frozen `reference` they are measured from; `flight`, the one step a GPU may be computing; `books`, where steps are written down;
//! [`checkpoint`]s; `evaluations` on the way and the [`best`] of them; the `export` that is left. [`seeds`] repeats it.

pub mod best;
mod books;
pub mod checkpoint;
mod evaluations;
mod export;
mod flight;
mod launched;
pub mod optimizer;
pub mod plan;
mod recipe;
mod reference;
pub mod run;
pub mod schedule;
pub mod seeds;
pub mod state;
pub mod step;
