//! Settings of a generator, and its results.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::bail_input;

/// How sequences are generated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationSettings {
    /// Tokens after which a sequence ends, at least 1.
    pub max_new_tokens: usize,
    /// How a token is drawn; none takes the most probable one.
    pub sampling: Option<Sampling>,
    /// Tokens that end a sequence; [`crate::session::base::Base::eos_ids`] reads them from the model's files.
    pub eos: Vec<u32>,
    /// Sequences active at once, at least 1.
    pub batch: usize,
}

impl Default for GenerationSettings {
    fn default() -> Self {
        Self { max_new_tokens: 256, sampling: None, eos: Vec::new(), batch: 16 }
    }
}

/// Drawing of tokens: temperature first, then `top_k`, then `top_p`, as transformers does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Logits are divided by it; above 0.
    pub temperature: f64,
    /// Only the most probable tokens whose probabilities reach this sum, in `(0, 1]`; 1 is all.
    pub top_p: f64,
    /// Only this many of the most probable tokens, 0 for all; among equal ones the lower ids.
    pub top_k: usize,
    /// Key of every draw, together with row and position.
    pub seed: u64,
}

/// The continuation of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// New tokens, including the one that ended the sequence.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub stop: Stop,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Its last token is an end-of-sequence token.
    Eos,
    /// Its text contains a stop string.
    String,
    /// It has `max_new_tokens` tokens.
    Length,
    /// It fills the model's context.
    Context,
}

impl GenerationSettings {
    /// Refuses values out of range.
    pub fn check(&self) -> Result<()> {
        if self.max_new_tokens == 0 {
            bail_input!("`max_new_tokens` must be at least 1, got `0`");
        }
        if self.batch == 0 {
            bail_input!("`batch` must be at least 1, got `0`");
        }
        let Some(sampling) = &self.sampling else { return Ok(()) };
        if !(sampling.temperature.is_finite() && sampling.temperature > 0.0) {
            bail_input!("`temperature` must be above 0, got `{}`", sampling.temperature);
        }
        if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
            bail_input!("`top_p` must be above 0 and at most 1, got `{}`", sampling.top_p);
        }
        Ok(())
    }
}
