//! A frozen Llama with a LoRA adapter: packs in, log-probabilities out, and gradients of the adapter alone.
//!
//! [`shape`] and [`weights`] read a Hugging Face folder; [`layer`] composes [`crate::ops`] into a decoder layer, forward and
//! backward written out; [`decoder`] stacks the layers; [`lora`] is the adapter; [`adapter`] reads and writes it in PEFT's format.
//! [`shard`] reads a safetensors file tensor by tensor, for [`merge`], which reads the model itself that way too. Feeds [`crate::train`] and evaluation.
//! [`generation`] goes on from prompts.

pub mod adapter;
pub mod batch;
pub mod decoder;
mod family;
pub mod generation;
pub mod layer;
pub mod lora;
pub mod merge;
pub mod rotary;
pub mod shape;
pub mod shard;
mod streamed;
pub mod weights;
