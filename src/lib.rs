//! LoRA + DPO fine-tuning of Llama-2 on candle, and the evaluation of the MVPBench paper (arXiv 2509.08022).
//!
//! The house has rooms on floors; a room imports only from floors below its own, and there is no circle. The floors, top to bottom:
//!
//! `bin > cli > dry_run > train > eval > session > inference, doctor, construct > cost > machine, report > model, encoder, run_folder, judge, parallel > data, metrics > dpo > config, hub > presets, disk, net > ops, console > error`
//!
//! Data flows up:
//!
//! 1. [`data`]: files -> pairs -> token ids -> packs of whole pairs, without padding.
//! 2. [`model`]: a frozen Llama and its LoRA [`model::adapter`]; forward and backward written out, no tape.
//!    It is composed of [`ops`]: every operation is a `forward` and a `backward` over plain candle tensors.
//! 3. [`session`]: everything a command needs before its first forward pass. [`inference`]: a model over many pairs or prompts.
//! 4. [`train`]: completion log-probabilities -> the loss of [`dpo`] -> AdamW -> checkpoints. [`train::run`] reads as the recipe.
//! 5. [`eval`]: the same log-probabilities and generated answers -> [`metrics`]: OPA and its relatives, SPMR, with intervals.
//! 6. [`report`]: the figures beside the paper's Table 1.
//!
//! [`config`] is what the user chose; [`cli`] is how they typed it. [`run_folder`] spells every file that a run leaves.

pub mod cli;
pub mod config;
pub mod console;
pub mod construct;
pub mod cost;
pub mod data;
pub mod disk;
pub mod doctor;
pub mod dpo;
pub mod dry_run;
pub mod encoder;
pub mod error;
pub mod eval;
pub mod hub;
pub mod inference;
pub mod judge;
pub mod machine;
pub mod metrics;
pub mod model;
pub mod net;
pub mod ops;
pub mod parallel;
pub mod presets;
pub mod report;
pub mod run_folder;
pub mod session;
pub mod train;
