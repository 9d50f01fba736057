//! `train.jsonl`: one record per optimizer step, under TRL's names.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::disk::atomic;
use crate::run_folder::summary::TrainingSummary;

/// One optimizer step. Means are over the step's batches, of their means over their pairs; log-probabilities are in nats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Their difference.
    #[serde(rename = "rewards/margins")]
    pub rewards_margins: Option<f64>,
    /// Share of pairs with a positive margin.
    #[serde(rename = "rewards/accuracies")]
    pub rewards_accuracies: f64,
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
    pub step_time_s: f64,
    /// Tokens this step computed: each prompt once.
    pub tokens_computed: usize,
    /// Of those, per second.
    pub tokens_per_second: f64,
    /// TFLOP/s, counting 4 N FLOP per computed token.
    pub model_tflops: f64,
    /// Share of this machine's matmul rate.
    pub mfu: f64,
    /// The most memory held at once so far, GiB.
    pub peak_memory_gib: Option<f64>,
    /// Whether the step was left out because its loss or gradient was not finite.
    pub skipped: bool,
}

/// The open log of a run.
pub struct Log {
    path: PathBuf,
    file: File,
    records: Vec<StepRecord>,
}

impl Log {
    /// Opens the log of a run that goes on after `steps` steps: what is recorded beyond them is dropped, and done again.
    pub fn open(path: &Path, steps: usize) -> Result<Self> {
        let text = if path.exists() {
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read `{}`", path.display()))?
        } else {
            String::new()
        };
        // A killed run may have left half a line; every whole record up to the checkpoint is there.
        let records: Vec<StepRecord> = text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok())
            .filter(|record: &StepRecord| record.step <= steps)
            .collect();
        atomic::write(path, |out| {
            for record in &records {
                writeln!(out, "{}", serde_json::to_string(record)?)?;
            }
            Ok(())
        })?;
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

    /// What the report says of the training; `wall_time_s` is the whole command's.
    pub fn summary(&self, wall_time_s: f64) -> TrainingSummary {
        let (first, last) = (self.records.first(), self.records.last());
        let pairs = self.records.iter().map(|record| record.pairs).sum();
        let time_s: f64 = self.records.iter().map(|record| record.step_time_s).sum();
        TrainingSummary {
            steps: self.records.len(),
            epochs: last.map_or(0.0, |record| record.epoch),
            pairs,
            skipped_steps: self.records.iter().filter(|record| record.skipped).count(),
            first_loss: first.and_then(|record| record.loss),
            last_loss: last.and_then(|record| record.loss),
            final_margin: last.and_then(|record| record.rewards_margins),
            final_accuracy: last.map(|record| record.rewards_accuracies),
            pairs_per_second: (time_s > 0.0).then(|| pairs as f64 / time_s),
            peak_memory_gib: self
                .records
                .iter()
                .filter_map(|record| record.peak_memory_gib)
                .reduce(f64::max),
            stopped_early: None,
            exported: None,
            wall_time_s,
        }
    }
}

/// A number that JSON can hold.
pub fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}
