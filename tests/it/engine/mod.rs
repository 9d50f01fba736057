//! A model without a run: log-probabilities, gradients, generated tokens and merged weights against TRL, PEFT and transformers.

mod generation;
mod merge;
mod rope;
mod stories;
mod unpacked;
mod values;
