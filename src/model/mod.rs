//! A frozen decoder with a LoRA adapter: packs in, log-probabilities out, and gradients of the adapter alone.
//!
//! [`shape`] (by the table in `family`) and [`weights`] read a Hugging Face folder; [`layer`] composes [`crate::ops`] into a decoder
//! layer, forward and backward written out, and [`saved`] is what passes between the two; [`decoder`] stacks the layers; [`lora`] is the
//! adapter, [`plan`] which modules it adapts; [`adapter`] reads and writes it in PEFT's format.
//! `mapped_files` are those in which [`weights`] leaves them. [`shard`] reads a safetensors file tensor by tensor, and [`merge`] reads and writes a whole checkpoint that way. [`generation`]
//! continues prompts. Feeds [`crate::inference`] and [`crate::train`].

pub mod adapter;
pub mod batch;
mod config_fields;
pub mod decoder;
mod family;
pub mod frozen;
pub mod generation;
pub mod layer;
pub mod lora;
mod mapped_files;
pub mod merge;
mod narrow;
pub mod plan;
mod prefix;
mod rope_fields;
pub mod rotary;
pub mod saved;
pub mod shape;
pub mod shard;
mod streamed;
pub mod weights;
