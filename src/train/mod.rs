//! Training: the recipe and the parts that only it uses.
//!
//! - [`run`] is the recipe, to read from top to bottom.
//! - [`plan`] lists the pairs of each step from the `order` of each epoch, [`step`] computes loss and gradient, [`optimizer`] updates the adapter at
//!   the learning rate of [`schedule`].
//! - `state` is what a step changes; `reference` caches the reference's log-probabilities; `flight` holds the step that
//!   a GPU may still be computing; `books` logs the steps; `divergence` names the update that broke the policy.
//! - [`checkpoint`] saves and loads the state; `evaluations` scores the policy during the run, `samples` answers prompts with it,
//!   [`best`] compares the scores; `export` writes the adapter folder.
//! - [`seeds`] runs the recipe once for each seed.

pub mod best;
mod books;
pub mod checkpoint;
mod divergence;
mod evaluations;
mod export;
mod flight;
pub mod follower;
mod launched;
mod leader;
mod leaves;
pub mod optimizer;
mod order;
pub mod plan;
pub(crate) mod recipe;
mod reference;
pub mod run;
mod samples;
pub mod schedule;
pub mod seeds;
pub mod state;
pub mod step;
