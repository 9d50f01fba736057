//! The findings, as lines and as JSON.

use serde::Serialize;

use crate::machine::Details;

/// The findings on one device.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// The device.
    #[serde(flatten)]
    pub machine: Details,
    /// One for each dtype that the device computes in.
    pub examinations: Vec<Examination>,
}

/// The findings in one dtype.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// `bf16` or `f32`.
    pub dtype: String,
    /// Rate of copying a tensor, bytes read and written.
    pub copy_gb_per_s: f64,
    /// Rate of a plain product at the feed-forward network's shape.
    pub matmul_tflops: f64,
    /// One for each operation, a whole layer and the memory of a step.
    pub checks: Vec<Check>,
}

/// The finding on one operation, or on the memory of a step.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Whether `error` is within `bound`.
    pub ok: bool,
    /// Largest error as a share of the largest expected magnitude, or the plan's error as a share of the measured
    /// memory; none if an error is not a number, if the operation failed or if nothing was measured.
    pub error: Option<f64>,
    /// Largest error that passes.
    pub bound: f64,
    /// In `unit`.
    pub rate: f64,
    /// `GB/s`, `TFLOP/s`, or `MiB` of memory.
    pub unit: &'static str,
    /// `rate` as a share of the device's copy bandwidth or matmul rate, or of the plan; none above 1 for a bandwidth or a rate: data
    /// that fits into a cache is not copied from memory, and a busy machine measures a ceiling that is too low.
    pub share: Option<f64>,
    /// Why there is no error to judge; none if there is one.
    pub note: Option<String>,
}

/// `rate` as a share of `ceiling`; none where it is above, which no share can be.
pub(super) fn share_of(rate: f64, ceiling: f64) -> Option<f64> {
    Some(rate / ceiling).filter(|share| *share <= 1.0)
}

impl Diagnosis {
    /// Number of failed checks, and of all checks.
    pub fn failed(&self) -> (usize, usize) {
        let checks = || self.examinations.iter().flat_map(|examination| &examination.checks);
        (checks().filter(|check| !check.ok).count(), checks().count())
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
        for Examination { dtype, copy_gb_per_s, matmul_tflops, checks } in &self.examinations {
            text += &format!(
                "\n{dtype}: copy {copy_gb_per_s:.1} GB/s, matmul {matmul_tflops:.3} TFLOP/s\n"
            );
            checks.iter().for_each(|check| text += &check.to_line());
        }
        text
    }
}

impl Check {
    fn to_line(&self) -> String {
        let Self { name, bound, rate, unit, share, .. } = self;
        let verdict = if self.ok { "OK" } else { "FAIL" };
        let found = match (&self.note, self.error) {
            (Some(note), _) => note.lines().next().unwrap_or_default().to_owned(),
            (None, None) => "not a number".to_owned(),
            (None, Some(error)) => {
                let digits = if *unit == "TFLOP/s" { 3 } else { 1 };
                let of = match *unit {
                    "GB/s" => "of copying",
                    "MiB" => "of plan",
                    _ => "of matmul",
                };
                let share =
                    share.map_or(String::new(), |share| format!(", {:.0} % {of}", 100.0 * share));
                format!("error {error:.1e} of {bound:.1e}  {rate:.digits$} {unit}{share}")
            }
        };
        format!("{verdict:<5}{name:<28}{found}\n")
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
            note: None,
        };
        assert!(check(Some(0.06)).to_line().ends_with("5.6 GB/s, 6 % of copying\n"));
        let line = check(share_of(394.0, 5.6)).to_line();
        assert!(line.ends_with("5.6 GB/s\n"), "{line}");
    }
}
