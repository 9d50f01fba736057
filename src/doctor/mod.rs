//! `mvpbench doctor`: checks that a device computes the right numbers, measures its speed against its own limits, and
//! checks that a step takes the memory that `--dry-run` plans.
//!
//! Every operation runs on the device in the dtypes a run may use; its values and gradients are compared with an f64
//! reference on the same numbers, and it is timed at a layer's shapes. Rates are reported, errors are judged.

mod attention;
mod diagnosis;
mod elements;
mod examiner;
mod kernels;
mod layer;
mod memory;
mod model;
mod optimizer;
mod products;
mod run;
mod step;
mod step_products;
mod step_times;

use anyhow::Result;
use candle_core::{DType, Device};

pub use diagnosis::{Check, Diagnosis, Examination, Times};
pub use kernels::Kernels;
pub use step_times::StepTimes;

use self::examiner::Examiner;
use self::model::TwoLayers;
use crate::cost::pace::Pace;
use crate::data::pack::Pack;
use crate::data::token_pair::TokenPair;
use crate::machine;
use crate::machine::card;
use crate::machine::identity::Identity;
use crate::model::shape::Shape;

/// Examines `device` in bf16 and in f32. What fails is a failed check, and ends nothing else.
///
/// - `quick`: small sizes, which take moments on any device; errors still show, rates mean little.
///
/// Refuses a `MVPBENCH_CPU_PRODUCT` that is none or that this processor lacks.
pub fn examine(device: &Device, quick: bool) -> Result<Diagnosis> {
    if device.is_cpu() {
        machine::products()?;
    }
    let (sizes, identity) = (Sizes::of(device, quick)?, Identity::of(device));
    let name = identity.card.as_ref().and_then(|card| card.name.as_deref());
    let pace = name.and_then(card::of_device).map(Pace::sustained);
    // First, so that what the driver compiles is not kept by this process yet.
    let mut kernels = kernels::begin(device);
    let mut examinations = Vec::new();
    for dtype in [DType::BF16, DType::F32] {
        let mut examiner = Examiner::new(device, dtype, quick, pace);
        examiner.attempt("ceilings", |examiner| examiner.ceilings(&sizes.shape));
        // Before the operations, while the allocator holds little freed memory.
        examiner.attempt("memory and time of a step", |examiner| {
            let model = TwoLayers::new(examiner, &sizes)?;
            examiner.attempt("memory", |examiner| memory::examine(examiner, &model));
            examiner.attempt("step", |examiner| step::examine(examiner, &model));
            Ok(())
        });
        operations(&mut examiner, &sizes);
        examinations.push(examiner.finish());
    }
    if let Some(kernels) = &mut kernels {
        kernels.end(device);
    }
    Ok(Diagnosis { machine: machine::details(device), identity, examinations, kernels })
}

/// Every operation, then a whole layer.
fn operations(examiner: &mut Examiner, sizes: &Sizes) {
    elements::examine(examiner, sizes);
    examiner.attempt("optimizer", |examiner| optimizer::examine(examiner, sizes));
    examiner.attempt("products", |examiner| products::examine(examiner, sizes));
    step_products::examine(examiner, sizes);
    examiner.attempt("attention", |examiner| attention::examine(examiner, sizes));
    examiner.attempt("layer", |examiner| layer::examine(examiner, sizes));
}

/// Sizes that an operation is timed at: a 7B layer on a GPU; an eighth of it on a CPU, to end in seconds; or tiny ones.
struct Sizes {
    tokens: usize,
    shape: Shape,
}

impl Sizes {
    fn of(device: &Device, quick: bool) -> Result<Self> {
        let (tokens, hidden, intermediate, heads, vocab) = match device {
            _ if quick => (25, 128, 192, 2, 128),
            Device::Cpu => (384, 512, 1376, 8, 4096),
            _ => (3072, 4096, 11008, 32, 32_000),
        };
        Ok(Self { tokens, shape: llama([hidden, intermediate], [heads, heads], vocab, 1)? })
    }
}

/// The shape of a Llama: widths of its stream and of its feed-forward network, heads of queries and of keys.
fn llama(
    [hidden, intermediate]: [usize; 2],
    [heads, kv_heads]: [usize; 2],
    vocab: usize,
    layers: usize,
) -> Result<Shape> {
    let json = serde_json::json!({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden, "intermediate_size": intermediate,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "num_hidden_layers": layers,
        "vocab_size": vocab, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "rope_theta": 1e4,
    });
    Shape::parse(&json.to_string(), "doctor")
}

/// A pack of as many pairs of the paper's lengths as fit into `tokens`, at least one. Below 384 tokens the pairs are
/// short.
fn pack(tokens: usize, vocab: usize) -> Pack {
    let (prompt, answer) = if tokens < 384 { (9, 7) } else { (160, 112) };
    let token = |i: usize| (i % vocab) as u32;
    let pair = |row: usize| TokenPair {
        row: row as u32,
        prompt: (0..prompt).map(token).collect(),
        chosen: (0..answer).map(|i| token(i + 1)).collect(),
        rejected: (0..answer).map(|i| token(i + 2)).collect(),
        ..TokenPair::default()
    };
    let pairs: Vec<TokenPair> = (0..(tokens / (prompt + 2 * answer)).max(1)).map(pair).collect();
    Pack::new(&pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command's own test covers the memory: here other tests share the process.
    #[test]
    fn every_operation_of_the_cpu_passes() {
        let sizes = Sizes::of(&Device::Cpu, false).unwrap();
        for dtype in [DType::BF16, DType::F32] {
            let mut examiner = Examiner::new(&Device::Cpu, dtype, false, None);
            examiner.ceilings(&sizes.shape).unwrap();
            operations(&mut examiner, &sizes);
            let examination = examiner.finish();
            for check in &examination.checks {
                assert!(check.ok, "{dtype:?}: {check:?}");
                assert!(
                    check.rate > 0.0 && check.share.is_none_or(|share| share > 0.0 && share <= 1.0),
                    "{check:?}"
                );
                let times = check.times.as_ref().unwrap();
                assert!(times.best_us > 0.0 && times.best_us <= times.median_us, "{check:?}");
                assert_eq!((times.repeated, times.unequal), (3, 0));
            }
            assert_eq!(examination.checks.len(), 47);
        }
    }
}
