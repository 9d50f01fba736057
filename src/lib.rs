//! LoRA + DPO fine-tuning of Llama-2 on candle, and the evaluation of the MVPBench paper (arXiv 2509.08022).
//!
//! Data flows one way; nothing imports upstream:
//!
//! 1. [`data`]: files -> pairs -> token ids -> packs of whole pairs, without padding.
//! 2. [`model`]: a frozen Llama and its LoRA [`model::adapter`]; forward and backward written out, no tape.
//!    It is composed of [`ops`]: every operation is a `forward` and a `backward` over plain candle tensors.
//! 3. [`train`]: completion log-probabilities -> the DPO loss -> AdamW -> checkpoints. [`train::run`] reads as the recipe.
//! 4. [`eval`]: the same log-probabilities -> OPA and its relatives; generated answers -> sentence embeddings -> SPMR; with intervals.
//! 5. [`report`]: the figures beside the paper's Table 1.
//!
//! [`config`] is what the user chose; [`cli`] is how they said it.

pub mod atomic_file;
pub mod cli;
pub mod config;
pub mod data;
pub mod error;
pub mod eval;
pub mod interrupt;
pub mod model;
pub mod ops;
pub mod presets;
pub mod report;
pub mod train;
