//! `eval.jsonl`: the figures of every evaluation of a run, one record per step and set, step 0 first.
//!
//! The report draws its curves from it. [`crate::train::best`] decides from it alone, so that a resumed run makes the
//! same decisions.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::config::DpoSection;
use crate::disk::json_lines::{self, Logged};
use crate::disk::read;
use crate::dpo;
use crate::metrics::{Evaluation, Metric, PairScore};

/// Name of the KL divergence from the reference: nats per token of held-out chosen answers, see [`crate::metrics::Kl`].
pub const KL: &str = "kl";
/// Name of its standard error.
pub const KL_STDERR: &str = "kl_stderr";

/// The figures of one set after one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Optimizer steps done; 0 before training.
    pub step: usize,
    /// Epochs done.
    pub epoch: f64,
    /// The set's name.
    pub set: String,
    /// Number of scored pairs.
    pub pairs: usize,
    /// Means over the pairs: `loss`, `rewards/chosen`, `rewards/rejected`, `rewards/margins`, `rewards/accuracies`,
    /// `logps/chosen` and `logps/rejected` as TRL names them, of the loss that is trained, and each [`Metric`] by its
    /// name; [`KL`] and [`KL_STDERR`] where they were measured.
    #[serde(flatten)]
    pub figures: BTreeMap<String, f64>,
}

impl EvalRecord {
    /// The value of `metric`.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        self.figures.get(metric.name()).copied()
    }
}

impl fmt::Display for EvalRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |name: &str| self.figures.get(name).copied().unwrap_or(f64::NAN);
        write!(
            f,
            "eval step {} {}: loss {:.4} margin {:+.3} preference accuracy {:.2} %",
            self.step,
            self.set,
            figure("loss"),
            figure("rewards/margins"),
            100.0 * figure(Metric::PreferenceAccuracy.name())
        )?;
        if self.step == 0 {
            return Ok(()); // policy and reference are one: every pair ties
        }
        write!(f, " opa {:.2} % (chance 50 %)", 100.0 * figure(Metric::Opa.name()))?;
        match self.figures.get(KL) {
            Some(kl) => write!(f, " kl {kl:.4} (reference 0)"),
            None => Ok(()),
        }
    }
}

/// The records of one evaluation; `scores`: one list for each of its sets, in order.
pub fn records(
    step: usize,
    epoch: f64,
    evaluation: &Evaluation,
    scores: &[Vec<PairScore>],
    section: &DpoSection,
) -> Vec<EvalRecord> {
    let record = |(set, scores): (&crate::metrics::SetResult, &Vec<PairScore>)| {
        let losses: Vec<_> = scores
            .iter()
            .map(|score| {
                dpo::pair_loss(
                    section,
                    [score.policy_chosen_logps, score.policy_rejected_logps],
                    [score.reference_chosen_logps, score.reference_rejected_logps],
                    [score.chosen_tokens, score.rejected_tokens],
                )
            })
            .collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            values.sum::<f64>() / scores.len().max(1) as f64
        };
        let trl = [
            ("loss", mean(&mut losses.iter().map(|pair| pair.loss))),
            ("rewards/chosen", mean(&mut losses.iter().map(|pair| pair.rewards[0]))),
            ("rewards/rejected", mean(&mut losses.iter().map(|pair| pair.rewards[1]))),
            ("rewards/margins", mean(&mut losses.iter().map(|pair| pair.margin()))),
            (
                "rewards/accuracies",
                mean(&mut losses.iter().map(|pair| f64::from(u8::from(pair.margin() > 0.0)))),
            ),
            ("logps/chosen", mean(&mut scores.iter().map(|score| score.policy_chosen_logps))),
            ("logps/rejected", mean(&mut scores.iter().map(|score| score.policy_rejected_logps))),
        ];
        let own = Metric::ALL.map(|metric| (metric.name(), set.overall.get(metric).value));
        let error = set.kl.as_ref().and_then(|kl| kl.standard_error);
        let kl =
            set.kl.iter().map(|kl| (KL, kl.value)).chain(error.map(|error| (KL_STDERR, error)));
        EvalRecord {
            step,
            epoch,
            set: set.name.clone(),
            pairs: set.n,
            figures: trl
                .into_iter()
                .chain(own)
                .chain(kl)
                .map(|(name, x)| (name.to_owned(), x))
                .collect(),
        }
    };
    evaluation.sets.iter().zip(scores).map(record).collect()
}

/// A sentence for a report about the log at `path`: lines that do not match their digest, and steps of `evaluated`
/// after which it lacks a record of a set; a step that is not known is any after the first; none where it is whole, and where it is not there, as any file of a folder that is reported.
pub fn damage<'a>(
    path: &Path,
    evaluated: impl Iterator<Item = (Option<usize>, &'a Evaluation)>,
) -> Result<Option<String>> {
    if !read::is_there(path)? {
        return Ok(None);
    }
    let Logged { records, broken_lines } = json_lines::read_log::<EvalRecord>(path)?;
    let is_there = |step: Option<usize>, set: &str| {
        let is_of = |record: &EvalRecord| step.map_or(record.step > 0, |step| record.step == step);
        records.iter().any(|record| record.set == set && is_of(record))
    };
    let (mut lost, mut last) = (Vec::new(), None);
    for (step, evaluation) in evaluated {
        if evaluation.sets.iter().any(|set| !is_there(step, &set.name)) {
            match step {
                Some(step) => lost.push(step),
                None => last = Some("there is no record of the last evaluation".to_owned()),
            }
        }
    }
    let mut what = Vec::new();
    if !broken_lines.is_empty() {
        let lines = json_lines::numbered("line", &broken_lines);
        what.push(format!("{lines} did not match the digest"));
    }
    if !lost.is_empty() {
        let steps = json_lines::numbered("step", &lost);
        what.push(format!("there is no record of the evaluation after {steps}"));
    } else {
        what.extend(last);
    }
    Ok((!what.is_empty()).then(|| {
        format!(
            "`{}`: {}; the figures here are those of `eval`, and the command of the run restores the records",
            path.display(),
            what.join(", ")
        )
    }))
}

/// The open log.
pub struct EvalLog {
    path: PathBuf,
    records: Vec<EvalRecord>,
    broken_lines: Vec<usize>,
}

impl EvalLog {
    /// Opens the log of a run that resumes after `steps` steps. Drops later records, because the run evaluates those
    /// steps again, and broken lines.
    pub fn open(path: &Path, steps: usize) -> Result<Self> {
        let Logged { records, broken_lines } = json_lines::read_log::<EvalRecord>(path)?;
        let records = records.into_iter().filter(|record| record.step <= steps).collect();
        Ok(Self { path: path.to_owned(), records, broken_lines })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers of the lines that were dropped because their digest did not match, from 1.
    pub fn broken_lines(&self) -> &[usize] {
        &self.broken_lines
    }

    /// Whether the evaluation after `step` steps is recorded.
    pub fn has(&self, step: usize) -> bool {
        self.records.iter().any(|record| record.step == step)
    }

    /// Whether the evaluation of `set` after `step` steps is recorded.
    pub fn has_set(&self, step: usize, set: &str) -> bool {
        self.records.iter().any(|record| record.step == step && record.set == set)
    }

    /// Drops the records of the evaluation after `step` steps, which is done again.
    pub fn forget(&mut self, step: usize) {
        self.records.retain(|record| record.step != step);
    }

    /// Adds the records of one evaluation, in place of any of the same step. The file is replaced atomically.
    pub fn push(&mut self, records: Vec<EvalRecord>) -> Result<()> {
        self.mend([records])
    }

    /// [`EvalLog::push`] of any number of evaluations; the file has no broken line afterwards.
    pub fn mend(&mut self, evaluations: impl IntoIterator<Item = Vec<EvalRecord>>) -> Result<()> {
        for records in evaluations {
            self.records.retain(|earlier| records.iter().all(|record| record.step != earlier.step));
            self.records.extend(records);
        }
        self.records.sort_by_key(|record| record.step);
        json_lines::write(&self.path, &self.records)
    }

    /// The records so far, by step.
    pub fn records(&self) -> &[EvalRecord] {
        &self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::SetResult;
    use crate::metrics::score::pair_of;

    /// Reward margins 1.5 and 0 at beta 0.1.
    fn two(step: usize) -> Vec<EvalRecord> {
        let scores = vec![
            pair_of("won", None, [-10.0, -35.0, -20.0, -30.0]),
            pair_of("tied", None, [-30.0, -25.0, -25.0, -20.0]),
        ];
        let set = SetResult::measure("a", &scores, 0.1).unwrap();
        let evaluation = Evaluation::new("models/tiny", None, 0.1, vec![set]);
        records(step, 0.5, &evaluation, &[scores], &DpoSection::default())
    }

    #[test]
    fn trls_figures_equal_their_values_by_hand() {
        let record = &two(7)[0];
        let expected = (0.201_413_277_982_752_46 + std::f64::consts::LN_2) / 2.0;
        for (name, want) in [
            ("loss", expected),
            ("dpo_loss", expected),
            ("rewards/chosen", 0.25),
            ("rewards/rejected", -0.5),
            ("rewards/margins", 0.75),
            ("rewards/accuracies", 0.5),
            ("logps/chosen", -20.0),
            ("logps/rejected", -30.0),
            ("opa", 0.5),
        ] {
            assert!((record.figures[name] - want).abs() <= 1e-12, "{name}: {record:?}");
        }
        assert_eq!(
            record.to_string(),
            "eval step 7 a: loss 0.4473 margin +0.750 preference accuracy 50.00 % opa 50.00 % (chance 50 %)"
        );
        assert!(!two(0)[0].to_string().contains("opa"), "an untuned model ties with itself");
    }

    #[test]
    fn a_reopened_log_has_what_was_done_and_nothing_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval.jsonl");
        let mut log = EvalLog::open(&path, 0).unwrap();
        for step in [4, 0, 2] {
            log.push(two(step)).unwrap();
        }
        let again = EvalLog::open(&path, 3).unwrap();
        assert_eq!(again.records(), [two(0), two(2)].concat());
        assert!(again.has(2) && !again.has(4));
    }
}
