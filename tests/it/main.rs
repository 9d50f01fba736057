//! Whole-program and golden tests: no network, no GPU, no downloaded weights.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod command;
mod engine;
mod golden;
mod hub;
mod mistakes;
mod resume;
mod stories;
mod trajectories;
