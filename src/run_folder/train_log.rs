//! `train.jsonl`: one record per optimizer step, under TRL's names.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::disk::json_lines;
use crate::error::InputError;
use crate::run_folder::summary::TrainingSummary;

/// One optimizer step. A mean is over the step's batches, of each batch's mean over its pairs; log-probabilities are in
/// nats.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Optimizer steps done, this one included.
    pub step: usize,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss; absent if it was not finite.
    pub loss: Option<f64>,
    /// Global norm of the gradient before clipping; absent if it was not finite.
    pub grad_norm: Option<f64>,
    /// Learning rate this step was taken with.
    pub learning_rate: f64,
    /// Mean reward of the chosen answers: `beta * (policy - reference)`, see [`crate::dpo::PairLoss::rewards`].
    #[serde(rename = "rewards/chosen")]
    pub rewards_chosen: Option<f64>,
    /// The same of the rejected answers.
    #[serde(rename = "rewards/rejected")]
    pub rewards_rejected: Option<f64>,
    /// Mean of chosen minus rejected reward.
    #[serde(rename = "rewards/margins")]
    pub rewards_margins: Option<f64>,
    /// Share of pairs with a positive margin.
    #[serde(rename = "rewards/accuracies")]
    pub rewards_accuracies: Option<f64>,
    /// Mean summed log-probability of the chosen answers.
    #[serde(rename = "logps/chosen")]
    pub logps_chosen: Option<f64>,
    /// The same of the rejected answers.
    #[serde(rename = "logps/rejected")]
    pub logps_rejected: Option<f64>,
    /// Tokens so far, prompt and answer of both sequences of each pair.
    pub num_tokens: u64,
    /// Pairs of this step.
    pub pairs: usize,
    /// Wall time of this step, seconds.
    pub step_time_s: Option<f64>,
    /// Tokens this step computed: each prompt once.
    pub tokens_computed: usize,
    /// Computed tokens per second.
    pub tokens_per_second: Option<f64>,
    /// TFLOP/s, counting 4 N FLOP per computed token.
    pub model_tflops: f64,
    /// Share of this machine's matmul rate.
    pub mfu: Option<f64>,
    /// The most memory held at once so far, GiB.
    pub peak_memory_gib: Option<f64>,
    /// Whether the step was skipped because its loss or gradient was not finite.
    pub skipped: bool,
}

/// The open log of a run.
pub struct Log {
    path: PathBuf,
    file: File,
    records: Vec<StepRecord>,
}

impl Log {
    /// Opens the log of a run that resumes after `steps` steps. Drops later records: the run does those steps again.
    pub fn open(path: &Path, steps: usize) -> Result<Self> {
        let records: Vec<StepRecord> = json_lines::read_log(path)?;
        let records: Vec<_> = records.into_iter().filter(|record| record.step <= steps).collect();
        json_lines::write(path, &records)?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open `{}`", path.display()))?;
        Ok(Self { path: path.to_owned(), file, records })
    }

    /// Adds a record.
    pub fn push(&mut self, record: StepRecord) -> Result<()> {
        let line = format!("{}\n", serde_json::to_string(&record)?);
        self.file
            .write_all(line.as_bytes())
            .with_context(|| format!("cannot write `{}`", self.path.display()))?;
        self.records.push(record);
        Ok(())
    }

    /// The steps so far.
    pub fn records(&self) -> &[StepRecord] {
        &self.records
    }
}

/// The summary of `records`; `wall_time_s`: of the whole command.
pub fn summary(records: &[StepRecord], wall_time_s: f64) -> TrainingSummary {
    let (first, last) = (records.first(), records.last());
    let pairs = records.iter().map(|record| record.pairs).sum();
    let time_s = stepping_s(records);
    TrainingSummary {
        steps: records.len(),
        epochs: last.map_or(0.0, |record| record.epoch),
        pairs,
        skipped_steps: records.iter().filter(|record| record.skipped).count(),
        first_loss: first.and_then(|record| record.loss),
        last_loss: last.and_then(|record| record.loss),
        final_margin: last.and_then(|record| record.rewards_margins),
        final_accuracy: last.and_then(|record| record.rewards_accuracies),
        pairs_per_second: (time_s > 0.0).then(|| pairs as f64 / time_s),
        peak_memory_gib: records.iter().filter_map(|r| r.peak_memory_gib).reduce(f64::max),
        stopped_early: None,
        exported: None,
        wall_time_s,
    }
}

/// Time of all steps together, seconds.
pub fn stepping_s(records: &[StepRecord]) -> f64 {
    records.iter().filter_map(|record| record.step_time_s).sum()
}

/// `x`, or none if JSON cannot hold it.
pub fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}

/// The steps of a log, in the order of their numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steps {
    /// The steps; if a number appears twice, the later line.
    pub steps: Vec<StepRecord>,
    /// Numbers of the lines without a record, from 1.
    pub broken_lines: Vec<usize>,
}

impl Steps {
    /// Reads the log for a report; a missing file has no steps. A line that is not UTF-8 is broken.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let bytes = std::fs::read(path).map_err(|error| {
            InputError::new(format!("cannot read `{}`: {error}", path.display()))
        })?;
        let absent = serde_json::to_value(StepRecord::default())?;
        let mut log = Self::default();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match tolerant(line, &absent) {
                Some(step) if step.step > 0 => log.steps.push(step),
                _ => log.broken_lines.push(index + 1),
            }
        }
        log.steps.reverse();
        log.steps.sort_by_key(|step| step.step);
        log.steps.dedup_by_key(|step| step.step);
        Ok(log)
    }

    /// A sentence about the broken lines; none without any.
    pub fn note(&self, path: &Path) -> Option<String> {
        let first = self.broken_lines.first()?;
        let count = self.broken_lines.len();
        let (is, are) = if count == 1 { ("line is", "") } else { ("lines are", "; the first is ") };
        let place =
            if count == 1 { format!(": line {first}") } else { format!("{are}line {first}") };
        Some(format!("`{}`: {count} {is} no record of a step and left out{place}", path.display()))
    }
}

/// The record of a line. Fields that are missing or null are taken from `absent`.
fn tolerant(line: &[u8], absent: &Value) -> Option<StepRecord> {
    let mut record: Map<String, Value> = serde_json::from_slice(line).ok()?;
    for (name, value) in absent.as_object()? {
        if record.get(name).is_none_or(Value::is_null) {
            record.insert(name.clone(), value.clone());
        }
    }
    serde_json::from_value(Value::Object(record)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lines_are_left_out_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        assert_eq!(Steps::read(&path).unwrap(), Steps::default());
        let mut text =
            b"{\"step\": 2, \"loss\": 0.5}\n{\"step\": 1, \"loss\": null}\n\nhalf a l\n".to_vec();
        text.extend(b"{\"step\": \"x\"}\n\xff\xfe\n{\"step\": 2, \"loss\": 0.25}\n{}\n");
        std::fs::write(&path, text).unwrap();
        let log = Steps::read(&path).unwrap();
        let losses: Vec<_> = log.steps.iter().map(|step| (step.step, step.loss)).collect();
        assert_eq!(losses, [(1, None), (2, Some(0.25))]);
        assert_eq!(log.broken_lines, [4, 5, 6, 8]);
        assert!(log.note(&path).unwrap().ends_with(
            "train.jsonl`: 4 lines are no record of a step and left out; the first is line 4"
        ));
    }
}
