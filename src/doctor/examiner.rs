//! One check: compares what an operation computes with what it should, then times it.

use crate::machine::rate;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use crate::doctor::diagnosis::{Check, Examination, share_of};
use crate::model::shape::Shape;
use crate::ops::philox::Philox;

/// Shortest time for which an operation is timed.
const TIMED_S: f64 = 0.02;

/// Random numbers before they repeat: a prime, so that no two rows of a matrix are alike.
const RANDOM_NUMBERS: usize = 1_048_573;

/// A device, a dtype, and the findings so far.
pub(super) struct Examiner {
    pub(super) device: Device,
    pub(super) dtype: DType,
    copy_gb_per_s: f64,
    matmul_tflops: f64,
    checks: Vec<Check>,
}

/// What one run of an operation moves or computes; divided by its time it is the rate.
pub(super) enum Cost {
    Bytes(usize),
    Flop(f64),
}

impl Examiner {
    /// Measures the ceilings: a plain copy, and a plain product at the shape of the feed-forward network.
    pub(super) fn new(device: &Device, dtype: DType, model: &Shape) -> Result<Self> {
        let mut examiner = Self {
            device: device.clone(),
            dtype,
            copy_gb_per_s: f64::NAN,
            matmul_tflops: rate::matmul_tflops(model, dtype, device)?,
            checks: Vec::new(),
        };
        let large = examiner.random(&[1024, 4 * model.hidden], 1.0, 0)?;
        let bytes = 2 * large.elem_count() * dtype.size_in_bytes();
        let seconds = examiner.time(&|| Ok(large.copy().map(drop)?))?;
        examiner.copy_gb_per_s = bytes as f64 / seconds / 1e9;
        Ok(examiner)
    }

    /// The findings.
    pub(super) fn finish(self) -> Examination {
        Examination {
            dtype: format!("{:?}", self.dtype).to_lowercase(),
            copy_gb_per_s: self.copy_gb_per_s,
            matmul_tflops: self.matmul_tflops,
            checks: self.checks,
        }
    }

    /// Random numbers of about ±`scale`, on the device, the same for the same seed.
    pub(super) fn random(&self, shape: &[usize], scale: f64, seed: u64) -> Result<Tensor> {
        let philox = Philox::new(seed, 0);
        let n = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..n.min(RANDOM_NUMBERS) as u64)
            .map(|i| ((philox.uniform(i) * 2.0 - 1.0) * scale) as f32)
            .collect();
        let values: Vec<f32> = values.iter().copied().cycle().take(n).collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?
            .to_dtype(self.dtype)?
            .to_device(&self.device)?)
    }

    /// Numbers 0, 1, 2, ... below `end`, over and over.
    pub(super) fn numbers(&self, n: usize, end: usize) -> Result<Tensor> {
        let numbers: Vec<u32> = (0..n).map(|i| (i % end) as u32).collect();
        Ok(Tensor::new(numbers, &self.device)?)
    }

    /// The fastest of several runs, in seconds.
    fn time(&self, run: &dyn Fn() -> Result<()>) -> Result<f64> {
        run()?;
        self.device.synchronize()?;
        let (begun, mut fastest_s) = (Instant::now(), f64::INFINITY);
        while fastest_s.is_infinite() || begun.elapsed().as_secs_f64() < TIMED_S {
            let each = Instant::now();
            run()?;
            self.device.synchronize()?;
            fastest_s = fastest_s.min(each.elapsed().as_secs_f64());
        }
        Ok(fastest_s)
    }

    /// Checks that `error` is within bounds, then times `run`. `slack`: allowed error, in multiples of the dtype's
    /// tolerance.
    pub(super) fn examine(
        &mut self,
        name: &str,
        slack: f64,
        error: impl FnOnce(&Self) -> Result<f64>,
        cost: Cost,
        run: impl Fn() -> Result<()>,
    ) {
        let bound = slack * if self.dtype == DType::BF16 { 8e-3 } else { 1e-5 };
        let (found, note) = match error(self).and_then(|error| Ok((error, self.time(&run)?))) {
            Ok(found) => (found, None),
            Err(error) => ((f64::NAN, f64::INFINITY), Some(format!("{error:#}"))),
        };
        let (error, seconds) = found;
        let (rate, unit, ceiling) = match cost {
            Cost::Bytes(bytes) => (bytes as f64 / seconds / 1e9, "GB/s", self.copy_gb_per_s),
            Cost::Flop(flop) => (flop / seconds / 1e12, "TFLOP/s", self.matmul_tflops),
        };
        self.checks.push(Check {
            name: name.to_owned(),
            ok: error <= bound, // false for NaN
            error: error.is_finite().then_some(error),
            bound,
            rate,
            unit,
            share: share_of(rate, ceiling),
            note,
        });
    }

    /// Adds a finished check.
    pub(super) fn push(&mut self, check: Check) {
        self.checks.push(check);
    }
}

/// The same numbers as `tensor`, in f64 on the CPU.
pub(super) fn exact(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
}

/// Largest error of `pairs` (got, expected), each as a share of its largest expected magnitude; NaN if any error is
/// NaN.
pub(super) fn worst<const N: usize>(pairs: [(&Tensor, Tensor); N]) -> Result<f64> {
    let mut worst = 0f64;
    for (got, want) in pairs {
        let list = |t: &Tensor| -> Result<Vec<f64>> { Ok(exact(t)?.flatten_all()?.to_vec1()?) };
        let (got, want) = (list(got)?, list(&want)?);
        anyhow::ensure!(got.len() == want.len(), "{} elements, expected {}", got.len(), want.len());
        let scale = want.iter().fold(1e-3, |most: f64, want| most.max(want.abs()));
        for (got, want) in got.iter().zip(&want) {
            let error = (got - want).abs() / scale;
            if error.is_nan() {
                return Ok(f64::NAN);
            }
            worst = worst.max(error);
        }
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Diagnosis;
    use crate::machine::details;
    use crate::ops::{reference, rms_norm};

    /// The check of a norm after `spoil` has changed its result, and the text of the diagnosis.
    fn verdict(spoil: impl Fn(Vec<f32>) -> Result<Vec<f32>>) -> (Check, String) {
        let model = crate::doctor::llama(32, 64, 2, 64, 1).unwrap();
        let mut examiner = Examiner::new(&Device::Cpu, DType::F32, &model).unwrap();
        let norm = |examiner: &Examiner| -> Result<f64> {
            let (x, w) = (examiner.random(&[5, 33], 1.0, 1)?, examiner.random(&[33], 1.0, 2)?);
            let y = rms_norm::forward(&x, None, &w, 1e-5)?.y;
            let y = Tensor::new(spoil(y.flatten_all()?.to_vec1()?)?, &Device::Cpu)?;
            let want = reference::rms_norm(&exact(&x)?, &exact(&w)?, 1e-5)?.flatten_all()?;
            worst([(&y, want)])
        };
        examiner.examine("rms_norm", 1.0, norm, Cost::Bytes(1), || Ok(()));
        let examinations = vec![examiner.finish()];
        let mut diagnosis = Diagnosis { machine: details(&Device::Cpu), examinations };
        let (failed, text) = (diagnosis.failed(), diagnosis.to_text());
        let check = diagnosis.examinations.remove(0).checks.remove(0);
        assert_eq!(failed, (usize::from(!check.ok), 1));
        (check, text)
    }

    #[test]
    fn a_kernel_that_is_wrong_in_one_element_fails() {
        assert!(verdict(Ok).0.ok);
        for element in [0, 77, 164] {
            let (check, text) = verdict(|mut y| {
                y[element] += 1e-3;
                Ok(y)
            });
            assert!(!check.ok && text.contains("\nFAIL rms_norm"), "{text}");
        }
    }

    #[test]
    fn a_kernel_that_gives_nan_or_too_little_or_an_error_fails() {
        let (check, text) = verdict(|mut y| {
            y[164] = f32::NAN;
            Ok(y)
        });
        assert!(!check.ok && check.error.is_none() && text.contains("not a number"), "{text}");
        let (check, text) = verdict(|y| Ok(y[1..].to_vec()));
        assert!(!check.ok && text.contains("164 elements, expected 165"), "{text}");
        let (check, text) = verdict(|_| anyhow::bail!("the launch failed"));
        assert!(!check.ok && text.contains("the launch failed"), "{text}");
    }
}
