//! What is asked of a generator, and what it gives.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::bail_input;

/// How sequences are generated.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationSettings {
    /// Tokens after which a sequence ends, at least 1.
    pub max_new_tokens: usize,
    /// How a token is drawn; none takes the most probable one.
    pub sampling: Option<Sampling>,
    /// Tokens that end a sequence; [`crate::session::base::Base::eos_ids`] reads them from the model's files.
    pub eos: Vec<u32>,
    /// Sequences under way at once, at least 1.
    pub batch: usize,
}

impl Default for GenerationSettings {
    fn default() -> Self {
        Self { max_new_tokens: 256, sampling: None, eos: Vec::new(), batch: 16 }
    }
}

/// Drawing of tokens: temperature first, then `top_k`, then `top_p`, as transformers does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; above 0.
    pub temperature: f64,
    /// Only the most probable tokens whose probabilities reach this sum, in `(0, 1]`; 1 is all.
    pub top_p: f64,
    /// Only so many of the most probable tokens; 0 is all. Of equal ones those with the lower id.
    pub top_k: usize,
    /// With row and position, the key of every draw.
    pub seed: u64,
}

/// What a prompt became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The new tokens, the one that ended the sequence included.
    pub ids: Vec<u32>,
    /// Why there are no more.
    pub stop: Stop,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// With an end-of-sequence token, its last id.
    Eos,
    /// Its text has one of the stop strings.
    String,
    /// It has `max_new_tokens` tokens.
    Length,
    /// It fills the model's context.
    Context,
}

impl GenerationSettings {
    /// Refuses values that mean nothing.
    pub fn check(&self) -> Result<()> {
        if self.max_new_tokens == 0 {
            bail_input!("`max_new_tokens` must be at least 1, got `0`");
        }
        if self.batch == 0 {
            bail_input!("`batch` must be at least 1, got `0`");
        }
        let Some(sampling) = &self.sampling else { return Ok(()) };
        if !(sampling.temperature.is_finite() && sampling.temperature > 0.0) {
            bail_input!("`temperature` must be a positive number, got `{}`", sampling.temperature);
        }
        if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
            bail_input!("`top_p` must be above 0 and at most 1, got `{}`", sampling.top_p);
        }
        Ok(())
    }
}
