//! Whole-program and golden tests: no network, no GPU, no downloaded weights, unless a variable asks for them (`require.rs`).
//!
//! | group | tests | seconds | what it holds |
//! |---|---|---|---|
//! | `chat` | 14 | 40 | a chat endpoint on loopback that fails on demand, and a load of 24,020 items |
//! | `commands` | 17 | 23 | doctor, the dry run, mistakes on the command line |
//! | `construct` | 52 | 200 | PRISM to MVPBench, UltraFeedback to UF-P-4, statistics of a benchmark, reviews, the whole paper |
//! | `data` | 17 | 3 | `data inspect`, `stats` and `split` |
//! | `docs` | 5 | 0 | the documents against the code |
//! | `engine` | 25 | 9 | values and gradients against TRL and PEFT, generation, merge |
//! | `eval` | 24 | 52 | `eval`, SPMR, the sentence encoder |
//! | `examples` | 2 | 1 | the examples, called from the tests |
//! | `gpu` | 12 | 180 | the program built for CUDA on an emulated card (feature `cuda`) |
//! | `hostile` | 21 | 9 | every reader against damaged files |
//! | `hub` | 15 | 9 | downloads from a hub on loopback |
//! | `kernels` | 31 | 13 | every kernel's source on the CPU |
//! | `paa` | 20 | 55 | preference alignment: answers of endpoints and local models, judged by the rule and by endpoints |
//! | `ranks` | 8 | 70 | several ranks over MPI on the CPU (feature `mpi`) |
//! | `report` | 9 | 10 | pages, in a browser too |
//! | `rooms` | 4 | 0 | imports go down, in no circle |
//! | `train` | 40 | 57 | TRL's trajectories, kills, signals, resuming, full disks |
//!
//! Seconds of each group by itself, release build, two cores.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

// What the tests stand on.
mod command;
mod golden;
mod http;
mod memory;
mod require;
mod running;

mod chat;
mod commands;
mod construct;
mod data;
mod docs;
mod engine;
mod eval;
mod examples;
#[cfg(feature = "cuda")]
mod gpu;
mod hostile;
mod hub;
mod kernels;
pub(crate) mod paa;
#[cfg(feature = "mpi")]
mod ranks;
mod report;
mod rooms;
mod train;
