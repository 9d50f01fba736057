//! Whole-program and golden tests: no network, no GPU, no downloaded weights, unless a variable asks for them (`require.rs`).
//!
//! TABLE
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

// What the tests stand on.
mod command;
mod golden;
mod memory;
mod require;
mod running;

mod commands;
mod data;
mod docs;
mod engine;
mod eval;
#[cfg(feature = "cuda")]
mod gpu;
mod hostile;
mod hub;
mod kernels;
mod report;
mod rooms;
mod train;
