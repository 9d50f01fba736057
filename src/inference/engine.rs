//! How much is computed at once, and which activations are kept. Neither changes a result beyond rounding.

use candle_core::{DType, Device};

use crate::config::{Activations, TrainSection};
use crate::data::token_pair::TokenPair;
use crate::machine::memory::{self, DeviceKind};
use crate::machine::peak::free_bytes;
use crate::model::decoder::Keep;
use crate::model::generation::GenerationSettings;
use crate::model::plan::AdapterPlan;
use crate::model::shape::Shape;

/// Share of the free memory for the kept activations of a micro-batch, or for the keys and values of answers.
const ACTIVATION_SHARE: f64 = 0.7;

/// How a step is computed. Neither field changes a result beyond rounding.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    /// Token budget of a micro-batch; a longer pair is a micro-batch of its own.
    pub micro_batch_tokens: usize,
    /// Activations kept from the forward to the backward pass.
    pub keep: Keep,
}

/// Chooses the engine for pairs of these lengths. `train.activations = "auto"` keeps everything if it fits.
///
/// - `place`, `dtype`: of weights and activations.
/// - `free_bytes`: free memory after the weights are loaded, in bytes; none if unknown, then everything is taken to
///   fit.
pub fn engine(
    train: &TrainSection,
    lora: &AdapterPlan,
    config: &Shape,
    place: DeviceKind,
    dtype: DType,
    pairs: &[TokenPair],
    free_bytes: Option<f64>,
) -> Engine {
    let longest = pairs.iter().map(TokenPair::tokens).max().unwrap_or(1);
    let micro_batch_tokens = micro_batch_tokens(train, place);
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

/// Token budget of a micro-batch. The default does not depend on the free memory, so that a resumed run gives the same bits.
pub fn micro_batch_tokens(train: &TrainSection, place: DeviceKind) -> usize {
    match train.micro_batch_tokens {
        0 => place.micro_batch_tokens(),
        tokens => tokens,
    }
}

/// Most answers at once on a GPU.
const ON_GPU: usize = 64;

/// Answers to generate at once on `device`: 16 on a CPU, 64 on a GPU, fewer if their keys and values need more than a
/// share of the free memory, but at least 1.
///
/// - `dtype`: of keys and values.
/// - `tokens`: most tokens of an answer, its prompt included.
///
/// A decoding step reads every weight once for any number of answers. These reads dominate its time on a GPU: by the
/// bytes read, a step of 64 answers takes twice as long as one of 16. `--dry-run` plans the memory of 16 on either device.
pub fn answers_at_once(config: &Shape, dtype: DType, device: &Device, tokens: usize) -> usize {
    match device {
        Device::Cpu => {
            let most = GenerationSettings::default().batch;
            with_room(memory::key_value_bytes(config, dtype, tokens), free_bytes(device), most)
        }
        _ => answers_on_gpu(config, dtype, free_bytes(device), tokens),
    }
}

/// [`answers_at_once`] on a GPU with that much free memory.
pub fn answers_on_gpu(
    config: &Shape,
    dtype: DType,
    free_bytes: Option<f64>,
    tokens: usize,
) -> usize {
    with_room(memory::key_value_bytes(config, dtype, tokens), free_bytes, ON_GPU)
}

/// How many items of `each` bytes fit a share of the free memory: at most `most`, at least 1.
fn with_room(each: f64, free_bytes: Option<f64>, most: usize) -> usize {
    free_bytes.map_or(most, |free| (ACTIVATION_SHARE * free / each) as usize).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_answers_are_generated_at_once_as_fit_and_at_least_one() {
        let each = 1e6;
        assert_eq!(with_room(each, None, 16), 16);
        assert_eq!(with_room(each, Some(each), 16), 1);
        assert_eq!(with_room(each, Some(10.0 * each), 16), 7);
        assert_eq!(with_room(each, Some(1000.0 * each), 16), 16);
    }
}
