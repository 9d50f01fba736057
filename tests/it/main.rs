//! Whole-program and golden tests: no network, no GPU, no downloaded weights.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod command;
mod data_verbs;
mod dry_run;
mod engine;
mod golden;
mod hub;
mod kernels;
mod losses;
mod merge;
mod mistakes;
mod outputs;
mod resume;
mod stories;
mod trajectories;
