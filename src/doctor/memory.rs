//! The peak memory of a step against the plan of `--dry-run`; and whether keeping and recomputing give the same bits.

use anyhow::Result;
use candle_core::Tensor;

use crate::doctor::diagnosis::Check;
use crate::doctor::examiner::Examiner;
use crate::doctor::model::TwoLayers;
use crate::doctor::run::equal_bits;
use crate::machine::memory::{DeviceKind, fragmentation};
use crate::machine::peak::PeakMeter;
use crate::model::decoder::Keep;

/// Largest error of a plan that passes, as a share of the measured memory.
const BOUND: f64 = 0.25;

const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn examine(examiner: &mut Examiner, model: &TwoLayers) -> Result<()> {
    let device = examiner.device.clone();
    let kind = DeviceKind::of(&device);
    let parameters = model.adapter.plan.parameters(&model.model.shape);
    let mut kept: Vec<Tensor> = Vec::new();
    for (keep, name) in [(Keep::Everything, "memory, keep"), (Keep::Inputs, "memory, recompute")] {
        let meter = PeakMeter::start(&device);
        let gradients = model.gradients(keep, || Ok(()))?;
        device.synchronize()?;
        let measured = meter.and_then(PeakMeter::grown_bytes);
        let bytes = model.planned(keep);
        // A GPU's allocator reports the tensors alone, the operating system the whole program.
        let around = if device.is_cpu() { fragmentation(kind, examiner.dtype, keep) } else { 1.0 };
        let planned = around * (bytes.kept + bytes.working) + 4.0 * parameters as f64;
        examiner.push(verdict(name, planned, measured));
        let gradients: Vec<Tensor> =
            gradients.iter().map(|(.., gradient)| gradient.clone()).collect();
        if kept.is_empty() {
            kept = gradients;
            continue;
        }
        let mut unequal = 0;
        for (kept, recomputed) in kept.iter().zip(&gradients) {
            unequal += usize::from(!equal_bits(kept, recomputed)?);
        }
        examiner.push(same(unequal + kept.len().abs_diff(gradients.len()), kept.len()));
    }
    Ok(())
}

/// Whether keeping and recomputing gave the same bits; `unequal` of `all` gradients differ.
fn same(unequal: usize, all: usize) -> Check {
    Check {
        ok: unequal == 0 && all > 0,
        error: Some(unequal as f64),
        rate: all as f64,
        unit: "gradients",
        ..Check::named("keep equals recompute")
    }
}

/// Compares the planned with the measured memory, in bytes; `measured`: none if the system does not report it.
fn verdict(name: &str, planned: f64, measured: Option<f64>) -> Check {
    let error = measured.map(|measured| (planned / measured - 1.0).abs());
    Check {
        ok: error.is_none_or(|error| error <= BOUND), // false for NaN
        error: error.filter(|error| error.is_finite()),
        bound: BOUND,
        rate: measured.unwrap_or(0.0) / MIB,
        unit: "MiB",
        share: Some(measured.unwrap_or(0.0) / planned),
        note: measured.is_none().then(|| "not measured: the system does not report it".to_owned()),
        ..Check::named(name)
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

    #[test]
    fn one_gradient_that_recomputing_changes_fails_as_no_gradient_does() {
        assert!(same(0, 8).ok && !same(1, 8).ok && !same(0, 0).ok);
    }
}
