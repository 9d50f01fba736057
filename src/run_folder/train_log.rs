//! `train.jsonl`: one record per optimizer step, under TRL's names.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::disk::json_lines::{self, Logged};
use crate::disk::{read, seal};
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
    /// Mean log-probability of the chosen answers under the policy less that under the reference; left out under a loss without one.
    #[serde(rename = "logratios/chosen", skip_serializing_if = "Option::is_none", default)]
    pub logratios_chosen: Option<f64>,
    /// The same of the rejected answers.
    #[serde(rename = "logratios/rejected", skip_serializing_if = "Option::is_none", default)]
    pub logratios_rejected: Option<f64>,
    /// Mean scored tokens of the chosen answers; left out of a log of an earlier version.
    #[serde(rename = "lengths/chosen", skip_serializing_if = "Option::is_none", default)]
    pub lengths_chosen: Option<f64>,
    /// The same of the rejected answers.
    #[serde(rename = "lengths/rejected", skip_serializing_if = "Option::is_none", default)]
    pub lengths_rejected: Option<f64>,
    /// Tokens so far, prompt and answer of both sequences of each pair.
    pub num_tokens: u64,
    /// Pairs of this step.
    pub pairs: usize,
    /// Time of this step, seconds: on a GPU from its beginning to its end there.
    pub step_time_s: Option<f64>,
    /// Wall time since the record before, or since this process began to train, seconds: with what lies between two steps, such as
    /// evaluations and checkpoints. Left out of a log of an earlier version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since_last_s: Option<f64>,
    /// Tokens this step computed: each prompt once.
    pub tokens_computed: usize,
    /// Computed tokens per second; left out, as the two rates below, if the clock measured no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// TFLOP/s, counting 4 N FLOP per computed token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_tflops: Option<f64>,
    /// Share of the best rate seen so far, a plain matmul's or a step's; at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfu: Option<f64>,
    /// The most memory held at once so far, GiB.
    pub peak_memory_gib: Option<f64>,
    /// The most memory that the pool of a GPU held at once so far, in tensors or free between them, GiB; left out on a CPU.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reserved_memory_gib: Option<f64>,
    /// Whether the step was skipped because its loss or gradient was not finite.
    pub skipped: bool,
}

/// The open log of a run.
pub struct Log {
    path: PathBuf,
    file: File,
    records: Vec<StepRecord>,
    /// Numbers of the broken lines that were found, from 1.
    broken_lines: Vec<usize>,
    /// Steps with more than one line.
    repeated: Vec<usize>,
    /// Steps taken before the log was opened.
    resumed_after: usize,
}

impl Log {
    /// Opens the log of a run that resumes after `steps` steps. Drops later records, because the run does those steps
    /// again, and broken lines, which [`Log::damage`] names.
    pub fn open(path: &Path, steps: usize) -> Result<Self> {
        let Logged { records, broken_lines } = json_lines::read_log::<StepRecord>(path)?;
        let records = records.into_iter().filter(|record| record.step <= steps).collect();
        let (records, repeated) = sorted(records);
        json_lines::write(path, &records)?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open `{}`", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            records,
            broken_lines,
            repeated,
            resumed_after: steps,
        })
    }

    /// Sentences about broken lines, steps that were taken and have no record, and steps with several; none if the log
    /// is whole.
    pub fn damage(&self) -> Vec<String> {
        let twice = twice(&self.path, &self.repeated);
        self.loss().into_iter().chain(twice).collect()
    }

    fn loss(&self) -> Option<String> {
        let path = self.path.display();
        let lost = missing(&self.records, self.resumed_after);
        let lines = json_lines::numbered("line", &self.broken_lines);
        match (self.broken_lines.is_empty(), lost.is_empty()) {
            (true, true) => None,
            (false, true) => {
                Some(format!("`{path}`: {lines} did not match the digest; no step is lost"))
            }
            (true, false) => Some(format!(
                "`{path}` has no record of {}; the figures of training are those of the other steps",
                json_lines::numbered("step", &lost)
            )),
            (false, false) => Some(format!(
                "`{path}`: {lines} did not match the digest, so there is no record of {}; the figures of training are those \
                 of the other steps",
                json_lines::numbered("step", &lost)
            )),
        }
    }

    /// Flushes the records to the disk, so that no checkpoint survives a power cut that its steps do not.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write `{}`", self.path.display()))
    }

    /// Adds a record.
    pub fn push(&mut self, record: StepRecord) -> Result<()> {
        self.file
            .write_all(&json_lines::line(&record)?)
            .with_context(|| format!("cannot write `{}`", self.path.display()))?;
        self.records.push(record);
        Ok(())
    }

    /// The steps so far.
    pub fn records(&self) -> &[StepRecord] {
        &self.records
    }
}

/// The records in the order of their steps; if a step appears more than once, the last one. The steps that do.
fn sorted(mut records: Vec<StepRecord>) -> (Vec<StepRecord>, Vec<usize>) {
    records.reverse();
    records.sort_by_key(|step| step.step);
    let mut repeated: Vec<usize> = (records.windows(2))
        .filter(|two| two[0].step == two[1].step)
        .map(|two| two[0].step)
        .collect();
    repeated.dedup();
    records.dedup_by_key(|step| step.step);
    (records, repeated)
}

/// A sentence about the steps `repeated`, which have more than one line; none without any.
fn twice(path: &Path, repeated: &[usize]) -> Option<String> {
    let steps = json_lines::numbered("step", repeated);
    (!repeated.is_empty()).then(|| {
        format!("`{}` has several lines of {steps}; the last one is taken", path.display())
    })
}

/// The steps from 1 to `steps` that `records` do not have.
pub fn missing(records: &[StepRecord], steps: usize) -> Vec<usize> {
    let recorded: BTreeSet<usize> = records.iter().map(|record| record.step).collect();
    (1..=steps).filter(|step| !recorded.contains(step)).collect()
}

/// The summary of `records`, the log of a run that took `steps` steps. Claims nothing of steps without a record.
///
/// - `wall_time_s`: of all processes of the run.
pub fn summary(records: &[StepRecord], steps: usize, wall_time_s: f64) -> TrainingSummary {
    let first = records.first().filter(|record| record.step == 1);
    let last = records.last().filter(|record| record.step == steps);
    let pairs = records.iter().map(|record| record.pairs).sum();
    let time_s = stepping_s(records);
    TrainingSummary {
        steps,
        unrecorded_steps: missing(records, steps).len(),
        epochs: records.last().map_or(0.0, |record| record.epoch),
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
        adapter_sha256: None,
        wall_time_s,
    }
}

/// Time of all steps together, seconds.
pub fn stepping_s(records: &[StepRecord]) -> f64 {
    records.iter().filter_map(|record| record.step_time_s).sum()
}

/// Wall time of all steps together and of what lay between them, seconds; of records of an earlier version that of the steps.
pub fn elapsed_s(records: &[StepRecord]) -> f64 {
    records.iter().filter_map(|record| record.since_last_s.or(record.step_time_s)).sum()
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
    /// Steps with more than one line.
    pub repeated: Vec<usize>,
}

impl Steps {
    /// Reads the log for a report; a missing file has no steps. A line that is not UTF-8 is broken.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let Some(bytes) = read::if_there(path)? else { return Ok(Self::default()) };
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
        (log.steps, log.repeated) = sorted(log.steps);
        Ok(log)
    }

    /// Sentences about the broken lines and about steps with more than one line.
    pub fn notes(&self, path: &Path) -> Vec<String> {
        self.broken(path).into_iter().chain(twice(path, &self.repeated)).collect()
    }

    fn broken(&self, path: &Path) -> Option<String> {
        let first = self.broken_lines.first()?;
        let count = self.broken_lines.len();
        let (is, are) = if count == 1 { ("line is", "") } else { ("lines are", "; the first is ") };
        let place =
            if count == 1 { format!(": line {first}") } else { format!("{are}line {first}") };
        Some(format!("`{}`: {count} {is} no record of a step and left out{place}", path.display()))
    }
}

/// The record of a line that its digest matches. Fields that are missing or null are taken from `absent`.
fn tolerant(line: &[u8], absent: &Value) -> Option<StepRecord> {
    let mut record: Map<String, Value> = serde_json::from_slice(&seal::open(line).ok()?).ok()?;
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
    use serde_json::json;

    #[test]
    fn a_broken_line_costs_its_own_step_alone_and_the_summary_does_not_claim_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        assert!(log.damage().is_empty());
        for step in 1..=4 {
            let loss = Some(step as f64);
            log.push(StepRecord { step, loss, pairs: 8, ..StepRecord::default() }).unwrap();
        }
        log.sync().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"loss\":1.0", "\"loss\":7.0", 1)).unwrap();
        let log = Log::open(&path, 4).unwrap();
        let steps: Vec<_> = log.records().iter().map(|record| record.step).collect();
        assert_eq!(steps, [2, 3, 4]);
        let damage = log.damage().concat();
        assert!(
            damage.contains("line 1 did not match") && damage.contains("no record of step 1;"),
            "{damage}"
        );
        let summary = summary(log.records(), 4, 1.0);
        assert_eq!((summary.steps, summary.unrecorded_steps, summary.pairs), (4, 1, 24));
        assert_eq!((summary.first_loss, summary.last_loss), (None, Some(4.0)));
        std::fs::remove_file(&path).unwrap();
        let damage = Log::open(&path, 4).unwrap().damage().concat();
        assert!(damage.contains("no record of steps 1, 2, 3, 4"), "{damage}");
    }

    #[test]
    fn a_step_without_a_measured_time_has_no_rates_and_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        let record = StepRecord { step: 1, step_time_s: Some(0.0), ..StepRecord::default() };
        Log::open(&path, 0).unwrap().push(record.clone()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for rate in ["tokens_per_second", "model_tflops", "mfu"] {
            assert!(!text.contains(rate), "{text}");
        }
        assert_eq!(Log::open(&path, 1).unwrap().records(), std::slice::from_ref(&record));
        assert_eq!(Steps::read(&path).unwrap().steps, [record]);
    }

    #[test]
    fn what_lies_between_two_steps_is_in_the_time_of_a_run_and_an_earlier_log_has_none() {
        let step = |step_time_s, since_last_s| StepRecord {
            step: 1,
            step_time_s: Some(step_time_s),
            since_last_s,
            ..StepRecord::default()
        };
        let records = [step(1.0, Some(1.5)), step(2.0, None)];
        assert!((stepping_s(&records) - 3.0).abs() < 1e-12);
        assert!((elapsed_s(&records) - 3.5).abs() < 1e-12);
        let line = serde_json::to_value(&records[1]).unwrap();
        assert!(line.get("since_last_s").is_none() && line.get("reserved_memory_gib").is_none());
        assert_eq!(serde_json::from_value::<StepRecord>(line).unwrap(), records[1]);
    }

    #[test]
    fn broken_lines_are_left_out_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        assert_eq!(Steps::read(&path).unwrap(), Steps::default());
        let line = |record: Value| json_lines::line(&record).unwrap();
        let lines = [
            line(json!({"step": 2, "loss": 0.5})),
            line(json!({"step": 1, "loss": null})),
            b"\nhalf a l\n".to_vec(),
            line(json!({"step": "x"})),
            b"\xff\xfe\n".to_vec(),
            line(json!({"step": 2, "loss": 0.25})),
            b"{\"step\":3}\n".to_vec(),
        ];
        std::fs::write(&path, lines.concat()).unwrap();
        let log = Steps::read(&path).unwrap();
        let losses: Vec<_> = log.steps.iter().map(|step| (step.step, step.loss)).collect();
        assert_eq!(losses, [(1, None), (2, Some(0.25))]);
        assert_eq!(log.broken_lines, [4, 5, 6, 8]);
        let notes = log.notes(&path);
        assert!(notes[0].ends_with(
            "train.jsonl`: 4 lines are no record of a step and left out; the first is line 4"
        ));
        assert!(
            notes[1].ends_with("train.jsonl` has several lines of step 2; the last one is taken")
        );
        assert_eq!(notes.len(), 2);
    }
}
