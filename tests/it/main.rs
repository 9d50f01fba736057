//! Whole-program and golden tests: no network, no GPU, no downloaded weights.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod command;
mod data_verbs;
mod doctor;
mod dry_run;
mod encoder;
mod engine;
mod eval_verb;
mod evaluations;
mod generation;
mod golden;
mod hub;
mod kernels;
mod losses;
mod merge;
mod mistakes;
mod outputs;
mod report;
mod resume;
mod seeds;
mod spmr;
mod stories;
mod trajectories;
