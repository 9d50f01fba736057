//! How much is computed at once and what is kept of it; none of it changes a result beyond rounding.

use candle_core::{DType, Device};

use crate::config::{Activations, LoraSection, TrainSection};
use crate::data::token_pair::TokenPair;
use crate::machine::memory::{self, MICRO_BATCH_TOKENS};
use crate::machine::peak::free_bytes;
use crate::model::decoder::Keep;
use crate::model::generation::GenerationSettings;
use crate::model::shape::Shape;

/// Share of the free memory that activations may take before they are recomputed, and the keys and values of answers.
const ACTIVATION_SHARE: f64 = 0.7;

/// How the engine computes a step; none of it changes a result beyond rounding.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    /// Tokens computed at once.
    pub micro_batch_tokens: usize,
    /// What is kept between forward and backward.
    pub keep: Keep,
}

/// Tokens computed at once and what is kept of them, for pairs of these lengths beside weights that are in memory
/// already; `free_bytes`: what activations may take a share of, where that is known.
pub fn engine(
    train: &TrainSection,
    lora: &LoraSection,
    config: &Shape,
    dtype: DType,
    pairs: &[TokenPair],
    free_bytes: Option<f64>,
) -> Engine {
    let longest = pairs.iter().map(TokenPair::tokens).max().unwrap_or(1);
    let micro_batch_tokens =
        if train.micro_batch_tokens > 0 { train.micro_batch_tokens } else { MICRO_BATCH_TOKENS };
    let keep = match train.activations {
        Activations::Keep => Keep::Everything,
        Activations::Recompute => Keep::Inputs,
        Activations::Auto => {
            let needed = memory::activation_bytes(config, lora, dtype)
                * micro_batch_tokens.max(longest) as f64;
            let fits = free_bytes.is_none_or(|free| needed <= ACTIVATION_SHARE * free);
            if fits { Keep::Everything } else { Keep::Inputs }
        }
    };
    Engine { micro_batch_tokens, keep }
}

/// Answers of up to `tokens` tokens, prompts included, that are under way at once on `device`: 16 on a CPU, 64 on a GPU, or as many as
/// have room for their keys and values in a share of the free memory.
///
/// A step of them reads every weight once, however many they are, and on a GPU that is what takes its time: by the bytes read, 64 take
/// twice as long as 16. `--dry-run` plans 16 on either.
pub fn answers_at_once(config: &Shape, dtype: DType, device: &Device, tokens: usize) -> usize {
    let most = if device.is_cpu() { GenerationSettings::default().batch } else { 64 };
    with_room(memory::key_value_bytes(config, dtype, tokens), free_bytes(device), most)
}

/// How many things of `each` bytes have room, `most` at most and one at least.
fn with_room(each: f64, free_bytes: Option<f64>, most: usize) -> usize {
    free_bytes.map_or(most, |free| (ACTIVATION_SHARE * free / each) as usize).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_answers_are_under_way_as_have_room_and_at_least_one() {
        let each = 1e6;
        assert_eq!(with_room(each, None, 16), 16);
        assert_eq!(with_room(each, Some(each), 16), 1);
        assert_eq!(with_room(each, Some(10.0 * each), 16), 7);
        assert_eq!(with_room(each, Some(1000.0 * each), 16), 16);
    }
}
