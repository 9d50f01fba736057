//! Whole-program and golden tests: no network, no GPU, no downloaded weights.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod command;
mod data_verbs;
mod disk;
mod doctor;
mod dry_run;
mod encoder;
mod engine;
mod eval_verb;
mod evaluations;
mod generation;
mod golden;
#[cfg(feature = "cuda")]
mod gpu;
mod hostile;
mod hub;
mod kernels;
mod kills;
mod losses;
mod memory;
mod merge;
mod mistakes;
mod outputs;
mod report;
mod require;
mod resume;
mod rooms;
mod running;
mod seeds;
mod signals;
mod spmr;
mod stories;
mod trajectories;
