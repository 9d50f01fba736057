//! One check: compares what an operation computes with what it should, repeats it bit by bit, then times it.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use crate::cost::kernel::Kernel;
use crate::cost::pace::Pace;
use crate::cost::product::Product;
use crate::doctor::diagnosis::{Check, Examination, Times, share_of};
use crate::doctor::run::{Run, Turns, told};
use crate::doctor::step_times::StepTimes;
use crate::machine::{self, rate, timing};
use crate::model::shape::Shape;
use crate::ops::philox::Philox;

/// Shortest time for which an operation is timed, seconds.
const TIMED_S: f64 = 0.02;

/// For how long a GPU's product is run for its sustained rate, seconds; with `--quick` as well.
const SUSTAINED_S: [f64; 2] = [2.0, 0.02];

/// How often an operation must give the same bits; on a CPU, and with `--quick`.
const REPEATED: [usize; 2] = [20, 3];

/// Random numbers before they repeat: a prime, so that no two rows of a matrix are alike.
const RANDOM_NUMBERS: usize = 1_048_573;

/// A device, a dtype, and the findings so far.
pub(super) struct Examiner {
    pub(super) device: Device,
    pub(super) dtype: DType,
    pub(super) quick: bool,
    /// Predicts times; none for a device that is no known card.
    pub(super) pace: Option<Pace>,
    found: Examination,
}

/// What one run of an operation moves or computes; divided by its time it is the rate.
pub(super) enum Cost {
    Bytes(usize),
    Flop(f64),
}

impl Examiner {
    /// Without a finding yet. `quick`: small sizes and few runs; `pace`: that of the device, if it is a known card.
    pub(super) fn new(device: &Device, dtype: DType, quick: bool, pace: Option<Pace>) -> Self {
        let found = Examination {
            dtype: format!("{dtype:?}").to_lowercase(),
            products: machine::products_of(device, dtype),
            copy_gb_per_s: None,
            matmul_tflops: None,
            matmul_median_tflops: None,
            matmul_sustained_tflops: None,
            checks: Vec::new(),
            step: None,
        };
        Self { device: device.clone(), dtype, quick, pace, found }
    }

    /// Measures the ceilings: a plain copy, and a plain product at the shape of the feed-forward network.
    pub(super) fn ceilings(&mut self, model: &Shape) -> Result<()> {
        let sustained_s = (!self.device.is_cpu()).then(|| SUSTAINED_S[usize::from(self.quick)]);
        let matmul = rate::matmul_rate(model, self.dtype, &self.device, sustained_s)?;
        self.found.matmul_tflops = Some(matmul.best);
        self.found.matmul_median_tflops = Some(matmul.median);
        self.found.matmul_sustained_tflops = matmul.sustained;
        let large = self.turns([self.random(&[1024, 4 * model.hidden], 1.0, 0)?])?;
        let bytes = 2 * 1024 * 4 * model.hidden * self.dtype.size_in_bytes();
        let copy = Run::of(&large, |[large]| Ok(vec![large.copy()?]));
        self.found.copy_gb_per_s = Some(bytes as f64 / self.time(&copy)?.best_s / 1e9);
        Ok(())
    }

    /// The findings.
    pub(super) fn finish(self) -> Examination {
        self.found
    }

    /// Random numbers of about ±`scale`, on the device, the same for the same seed.
    pub(super) fn random(&self, shape: &[usize], scale: f64, seed: u64) -> Result<Tensor> {
        let philox = Philox::new(seed, 0);
        let n = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..n.min(RANDOM_NUMBERS) as u64)
            .map(|i| ((philox.uniform(i) * 2.0 - 1.0) * scale) as f32)
            .collect();
        if !self.device.is_cpu() && n > RANDOM_NUMBERS {
            let part = Tensor::new(values, &Device::Cpu)?.to_dtype(self.dtype)?;
            let parts = vec![part.to_device(&self.device)?; n.div_ceil(RANDOM_NUMBERS)];
            return Ok(Tensor::cat(&parts, 0)?.narrow(0, 0, n)?.reshape(shape)?);
        }
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

    /// `inputs`, and on a GPU as many copies of them as keep its cache from holding what a run reads.
    pub(super) fn turns<const N: usize>(&self, inputs: [Tensor; N]) -> Result<Turns<N>> {
        let bytes = inputs.iter().map(|x| x.elem_count() * x.dtype().size_in_bytes()).sum();
        Turns::new(inputs, timing::sets(&self.device, bytes))
    }

    /// What these kernels are predicted to take, one after another, in µs.
    pub(super) fn kernels_us(&self, kernels: &[Kernel]) -> Option<f64> {
        self.pace.map(|pace| kernels.iter().map(|kernel| pace.kernel_us(kernel)).sum())
    }

    /// The same of a product.
    pub(super) fn product_us(&self, product: &Product) -> Option<f64> {
        self.pace.map(|pace| pace.product_us(product))
    }

    fn time(&self, run: &Run<'_>) -> Result<timing::Timing> {
        timing::time(&self.device, TIMED_S, run.sets, &*run.run)
    }

    /// Checks that `error` is within bounds and that `run` gives the same bits whenever it runs, then times it. `slack`: allowed error, in
    /// multiples of the dtype's tolerance.
    pub(super) fn examine(
        &mut self,
        name: &str,
        slack: f64,
        error: impl FnOnce(&Self) -> Result<f64>,
        cost: Cost,
        run: Run<'_>,
    ) {
        let bound = slack * if self.dtype == DType::BF16 { 8e-3 } else { 1e-5 };
        let repeated = REPEATED[usize::from(self.quick || self.device.is_cpu())];
        let found = error(self).and_then(|error| {
            let unequal = run.unequal(repeated)?;
            Ok((error, unequal, self.time(&run)?))
        });
        let (error, unequal, timing, note) = match found {
            Ok((error, unequal, timing)) => (error, unequal, Some(timing), None),
            Err(error) => (f64::NAN, 0, None, Some(told(&error))),
        };
        let best_s = timing.map_or(f64::INFINITY, |timing| timing.best_s);
        let (rate, unit, ceiling) = match cost {
            Cost::Bytes(bytes) => (bytes as f64 / best_s / 1e9, "GB/s", self.found.copy_gb_per_s),
            Cost::Flop(flop) => (flop / best_s / 1e12, "TFLOP/s", self.found.matmul_tflops),
        };
        let us = |seconds: f64| 1e6 * seconds;
        let times = timing.map(|timing| Times {
            best_us: us(timing.best_s),
            median_us: us(timing.median_s),
            predicted_us: run.predicted_us,
            repeated,
            unequal,
        });
        self.push(Check {
            name: name.to_owned(),
            ok: error <= bound && unequal == 0, // false for NaN
            error: error.is_finite().then_some(error),
            bound,
            rate,
            unit,
            share: ceiling.and_then(|ceiling| share_of(rate, ceiling)),
            times,
            note,
        });
    }

    /// Adds a finished check.
    pub(super) fn push(&mut self, check: Check) {
        self.found.checks.push(check);
    }

    /// Adds the times of a step.
    pub(super) fn push_step(&mut self, step: StepTimes) {
        self.found.step = Some(step);
    }

    /// Runs `part`; an error is a failed check of that name, in the driver's words, and ends nothing else.
    pub(super) fn attempt(&mut self, name: &str, part: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = part(self) {
            self.push(Check { note: Some(told(&error)), ..Check::named(name) });
        }
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
    use crate::machine::identity::Identity;
    use crate::ops::{reference, rms_norm};

    /// The check of a norm after `spoil` has changed its result, and the text of the diagnosis.
    fn verdict(spoil: impl Fn(Vec<f32>) -> Result<Vec<f32>>) -> (Check, String) {
        let mut examiner = Examiner::new(&Device::Cpu, DType::F32, true, None);
        examiner.ceilings(&crate::doctor::llama([32, 64], [2, 2], 64, 1).unwrap()).unwrap();
        let norm = |examiner: &Examiner| -> Result<f64> {
            let (x, w) = (examiner.random(&[5, 33], 1.0, 1)?, examiner.random(&[33], 1.0, 2)?);
            let y = rms_norm::forward(&x, None, &w, 1e-5)?.y;
            let y = Tensor::new(spoil(y.flatten_all()?.to_vec1()?)?, &Device::Cpu)?;
            let want = reference::rms_norm(&exact(&x)?, &exact(&w)?, 1e-5)?.flatten_all()?;
            worst([(&y, want)])
        };
        let nothing = Run::alone(|| Ok(Vec::new()));
        examiner.examine("rms_norm", 1.0, norm, Cost::Bytes(1), nothing);
        let examinations = vec![examiner.finish()];
        let identity = Identity::of(&Device::Cpu);
        let machine = details(&Device::Cpu);
        let mut diagnosis = Diagnosis { machine, identity, examinations, kernels: None };
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

    #[test]
    fn an_operation_that_gives_other_bits_at_times_fails_however_small_its_error() {
        let mut examiner = Examiner::new(&Device::Cpu, DType::F32, true, None);
        let runs = std::cell::Cell::new(0u32);
        let uneven = || {
            runs.set(runs.get() + 1);
            let last = f32::from_bits(1f32.to_bits() + runs.get() / 3);
            Ok(vec![Tensor::new(&[1f32, last], &Device::Cpu)?])
        };
        examiner.examine("uneven", 1.0, |_| Ok(0.0), Cost::Bytes(8), Run::alone(uneven));
        let check = examiner.finish().checks.remove(0);
        assert!(!check.ok, "{check:?}");
        assert_eq!(check.times.unwrap().unequal, 1);
    }

    #[test]
    fn a_part_that_fails_is_a_failed_check_and_the_next_one_is_made() {
        let mut examiner = Examiner::new(&Device::Cpu, DType::F32, true, None);
        examiner.attempt("memory", |_| anyhow::bail!("CUDA_ERROR_LAUNCH_FAILED"));
        examiner.attempt("norm", |examiner| {
            examiner.examine("norm", 1.0, |_| Ok(0.0), Cost::Bytes(1), Run::alone(|| Ok(vec![])));
            Ok(())
        });
        let checks = examiner.finish().checks;
        assert_eq!(checks.iter().map(|check| check.ok).collect::<Vec<_>>(), [false, true]);
        assert!(checks[0].note.as_ref().unwrap().contains("LAUNCH_FAILED"));
    }
}
