//! The peak memory of a step against the plan of `--dry-run`, on a model of two layers: the last one, for the scored
//! rows alone, and one below it.

use anyhow::Result;
use candle_core::{DType, Tensor};

use crate::config::LoraSection;
use crate::doctor::diagnosis::Check;
use crate::doctor::examiner::Examiner;
use crate::doctor::{Sizes, llama, pack};
use crate::machine::memory::{DeviceKind, PassPlan, fragmentation};
use crate::machine::peak::PeakMeter;
use crate::model::decoder::{Decoder, Keep};
use crate::model::layer::Dropout;
use crate::model::lora::Adapter;

/// Largest error of a plan that passes, as a share of the measured memory.
const BOUND: f64 = 0.25;

/// Tokens on a CPU: enough that a step takes many times the noise in the memory of the program.
const CPU_TOKENS: usize = 2048;

const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn examine(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let (one, lora) = (&sizes.shape, LoraSection::default());
    let two_layers = llama(one.hidden, one.intermediate, one.heads.heads, one.vocab, 2)?;
    let (dtype, device) = (examiner.dtype, examiner.device.clone());
    let mut seed = 0;
    let model = Decoder::assemble(two_layers, dtype, &device, &mut |_, shape| {
        seed += 1;
        examiner.random(shape, 0.02, seed)
    })?;
    let adapter = Adapter::fresh(&model.shape, &lora, 1, &device)?;
    let kind = if device.is_cpu() { DeviceKind::Cpu } else { DeviceKind::Cuda };
    let pack = pack(if device.is_cpu() { CPU_TOKENS } else { sizes.tokens }, one.vocab);
    let (tokens, scored) = (pack.tokens(), pack.targets.len());
    let (shape, parameters) = (&model.shape, adapter.plan.parameters(&model.shape));
    let pass = PassPlan { shape, lora: &adapter.plan, device: kind, dtype, tokens, scored };
    let batch = model.batch(&pack)?;
    let (policy, dlogps) = (model.bring(&adapter)?, Tensor::ones(scored, DType::F32, &device)?);
    for (keep, name) in [(Keep::Everything, "memory, keep"), (Keep::Inputs, "memory, recompute")] {
        let dropout = Some(Dropout { probability: 0.05, seed: 1, step: 2 });
        let meter = PeakMeter::start(&device);
        let (_, tape) = model.forward(&batch, &policy, dropout, keep)?;
        let gradients = model.backward(&dlogps, tape, &batch, &policy, dropout)?;
        device.synchronize()?;
        let measured = meter.and_then(PeakMeter::grown_bytes);
        drop(gradients);
        let bytes = pass.bytes(keep);
        // A GPU's allocator reports the tensors alone, the operating system the whole program.
        let around = if device.is_cpu() { fragmentation(kind, keep) } else { 1.0 };
        let planned = around * (bytes.kept + bytes.working) + 4.0 * parameters as f64;
        examiner.push(verdict(name, planned, measured));
    }
    Ok(())
}

/// Compares the planned with the measured memory, in bytes; `measured`: none if the system does not report it.
fn verdict(name: &str, planned: f64, measured: Option<f64>) -> Check {
    let error = measured.map(|measured| (planned / measured - 1.0).abs());
    Check {
        name: name.to_owned(),
        ok: error.is_none_or(|error| error <= BOUND), // false for NaN
        error: error.filter(|error| error.is_finite()),
        bound: BOUND,
        rate: measured.unwrap_or(0.0) / MIB,
        unit: "MiB",
        share: Some(measured.unwrap_or(0.0) / planned),
        note: measured.is_none().then(|| "not measured: the system does not report it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_is_far_off_fails_and_an_unmeasured_one_is_noted() {
        for (measured, ok) in
            [(100.0, true), (85.0, true), (120.0, true), (60.0, false), (140.0, false)]
        {
            let check = verdict("memory", 100.0, Some(measured));
            assert_eq!(check.ok, ok, "{check:?}");
        }
        assert!(!verdict("memory", 100.0, Some(0.0)).ok);
        assert!(!verdict("memory", f64::NAN, Some(100.0)).ok);
        let check = verdict("memory", 100.0, None);
        assert!(check.ok && check.note.is_some_and(|note| note.contains("not measured")));
    }
}
