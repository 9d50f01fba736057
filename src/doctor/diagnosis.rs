//! The findings, as lines and as JSON.

use serde::Serialize;

use crate::doctor::kernels::Kernels;
use crate::doctor::step_times::StepTimes;
use crate::machine::Details;
use crate::machine::identity::Identity;

/// The findings on one device.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// The device.
    #[serde(flatten)]
    pub machine: Details,
    /// The program, its processor, and the card as its driver describes it.
    pub identity: Identity,
    /// One for each dtype that the device computes in.
    pub examinations: Vec<Examination>,
    /// The kernels as the driver loaded them; none on a CPU.
    pub kernels: Option<Kernels>,
}

/// The findings in one dtype.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// `bf16` or `f32`.
    pub dtype: String,
    /// How a CPU multiplies bf16, a value of `MVPBENCH_CPU_PRODUCT`; none in f32 and on a GPU.
    pub products: Option<&'static str>,
    /// Rate of copying a tensor, bytes read and written; none if it could not be measured, as the rates below.
    pub copy_gb_per_s: Option<f64>,
    /// Best rate of a plain product at the feed-forward network's shape.
    pub matmul_tflops: Option<f64>,
    /// Its median rate.
    pub matmul_median_tflops: Option<f64>,
    /// Its rate when clocks and temperature have settled; none on a CPU.
    pub matmul_sustained_tflops: Option<f64>,
    /// One for each operation, a whole layer and the memory of a step.
    pub checks: Vec<Check>,
    /// A whole step of a model of two layers; none if it failed.
    pub step: Option<StepTimes>,
}

/// The finding on one operation, or on the memory of a step.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Whether `error` is within `bound` and all repeated runs gave the same bits.
    pub ok: bool,
    /// Largest error as a share of the largest expected magnitude, or the plan's error as a share of the measured
    /// memory; none if an error is not a number, if the operation failed or if nothing was measured.
    pub error: Option<f64>,
    /// Largest error that passes.
    pub bound: f64,
    /// In `unit`, of the fastest runs.
    pub rate: f64,
    /// `GB/s`, `TFLOP/s`, `MiB` of memory, or `gradients`.
    pub unit: &'static str,
    /// `rate` as a share of the device's copy bandwidth or matmul rate, or of the plan; none above 1 for a bandwidth or a rate: data
    /// that fits into a cache is not copied from memory, and a busy machine measures a ceiling that is too low.
    pub share: Option<f64>,
    /// Of one run; none for the memory of a step and for an operation that failed.
    pub times: Option<Times>,
    /// Why there is no error to judge; none if there is one.
    pub note: Option<String>,
}

/// How long one run takes, and how often it was repeated.
#[derive(Debug, Serialize)]
pub struct Times {
    /// Of the fastest runs, µs.
    pub best_us: f64,
    /// The median, µs.
    pub median_us: f64,
    /// What a model of the card says, µs; none on a device without one.
    pub predicted_us: Option<f64>,
    /// Runs on equal inputs.
    pub repeated: usize,
    /// Those of them that gave other bits than the first.
    pub unequal: usize,
}

/// `rate` as a share of `ceiling`; none where it is above, which no share can be.
pub(super) fn share_of(rate: f64, ceiling: f64) -> Option<f64> {
    Some(rate / ceiling).filter(|share| *share <= 1.0)
}

impl Diagnosis {
    /// Number of failed checks, and of all checks. That the kernels could not be described is one.
    pub fn failed(&self) -> (usize, usize) {
        let checks = || self.examinations.iter().flat_map(|examination| &examination.checks);
        let kernels = self.kernels.as_ref().is_some_and(|kernels| kernels.error.is_some());
        let failed = checks().filter(|check| !check.ok).count();
        (failed + usize::from(kernels), checks().count() + usize::from(kernels))
    }

    /// One line for each check.
    pub fn to_text(&self) -> String {
        let Details { device, driver, memory_gib, free_memory_gib } = &self.machine;
        let mut text = device.clone();
        if let Some(driver) = driver {
            text += &format!(", {driver}");
        }
        if let (Some(memory), Some(free)) = (memory_gib, free_memory_gib) {
            text += &format!(", {memory:.1} GiB of memory, {free:.1} free");
        }
        text = [text].into_iter().chain(self.identity.lines()).collect::<Vec<_>>().join("\n");
        for examination in &self.examinations {
            text += &format!("\n{}\n", examination.headline());
            examination.checks.iter().for_each(|check| text += &check.to_line());
            if let Some(step) = &examination.step {
                text += &step.to_text();
            }
        }
        if let Some(kernels) = &self.kernels {
            text += &format!("\n{}", kernels.to_text());
        }
        text
    }
}

impl Examination {
    fn headline(&self) -> String {
        let rate = |rate: Option<f64>, digits: usize| {
            rate.map_or("unknown".to_owned(), |rate| format!("{rate:.digits$}"))
        };
        let (copy, best) = (rate(self.copy_gb_per_s, 1), rate(self.matmul_tflops, 3));
        let by = self.products.map(|products| format!(" by {products} products"));
        let by = by.unwrap_or_default();
        let mut line = format!("{}{by}: copy {copy} GB/s, matmul {best} TFLOP/s", self.dtype);
        if let Some(sustained) = self.matmul_sustained_tflops {
            let median = rate(self.matmul_median_tflops, 3);
            line += &format!(", median {median}, sustained {sustained:.3}");
        }
        line
    }
}

impl Check {
    /// A check without a finding, which has not passed.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ok: false,
            error: None,
            bound: 0.0,
            rate: 0.0,
            unit: "",
            share: None,
            times: None,
            note: None,
        }
    }

    fn to_line(&self) -> String {
        let Self { name, bound, rate, unit, share, .. } = self;
        let verdict = if self.ok { "OK" } else { "FAIL" };
        let found = match (&self.note, self.error) {
            (Some(note), _) => note.clone(),
            (None, None) => "not a number".to_owned(),
            (None, Some(error)) => {
                let digits = match *unit {
                    "TFLOP/s" => 3,
                    "gradients" => 0,
                    _ => 1,
                };
                let of = match *unit {
                    "GB/s" => "of copying",
                    "MiB" => "of plan",
                    _ => "of matmul",
                };
                let share =
                    share.map_or(String::new(), |share| format!(", {:.0} % {of}", 100.0 * share));
                let times = self.times.as_ref().map_or(String::new(), Times::to_text);
                format!("error {error:.1e} of {bound:.1e}  {rate:.digits$} {unit}{share}{times}")
            }
        };
        format!("{verdict:<5}{name:<28}{found}\n")
    }
}

impl Times {
    fn to_text(&self) -> String {
        let Self { best_us, median_us, repeated, unequal, .. } = self;
        let predicted =
            self.predicted_us.map_or(String::new(), |us| format!(", {us:.1} predicted"));
        let others = match unequal {
            0 => String::new(),
            _ => format!("; {unequal} of {repeated} runs gave other bits"),
        };
        format!("  {best_us:.1} µs, median {median_us:.1}{predicted}{others}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_cannot_be_right_is_not_shown() {
        let check = |share| Check {
            name: "rms_norm forward".into(),
            ok: true,
            error: Some(1e-7),
            bound: 1e-5,
            rate: 5.6,
            unit: "GB/s",
            share,
            times: None,
            note: None,
        };
        assert!(check(Some(0.06)).to_line().ends_with("5.6 GB/s, 6 % of copying\n"));
        let line = check(share_of(394.0, 5.6)).to_line();
        assert!(line.ends_with("5.6 GB/s\n"), "{line}");
    }

    #[test]
    fn runs_with_other_bits_and_a_prediction_stand_in_the_line() {
        let times = |unequal| Times {
            best_us: 38.24,
            median_us: 40.0,
            predicted_us: Some(37.0),
            repeated: 20,
            unequal,
        };
        assert_eq!(times(0).to_text(), "  38.2 µs, median 40.0, 37.0 predicted");
        let text = times(2).to_text();
        assert!(text.ends_with("predicted; 2 of 20 runs gave other bits"), "{text}");
    }
}
