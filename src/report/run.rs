//! What a run tells the report: plain structs that the training loop fills in.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::eval::Evaluation;
use crate::report::folder::SUMMARY_FILE;
use crate::report::page;

/// Everything that `report.md` says about a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    /// The heading, such as the run's name.
    pub title: String,
    /// The base model: hub id or folder, as configured.
    pub model: String,
    /// Where it ran, in words: `cpu, 8 threads` or the name of the GPU.
    pub device: String,
    /// Of the training itself.
    pub training: TrainingSummary,
    /// Figures of the model before tuning, where evaluation sets are configured.
    pub before: Option<Evaluation>,
    /// The same after tuning, with the paired differences.
    pub after: Option<Evaluation>,
    /// Folder of the exported adapter, as the reader of the report would name it.
    pub adapter_dir: String,
    /// The resolved configuration.
    pub config_toml: String,
    /// Whatever else was counted and must be seen: pairs cut or dropped, steps skipped; one sentence each.
    pub notes: Vec<String>,
}

/// What a report says of a run and no other file of its folder holds; `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this program.
    pub version: String,
    /// The heading.
    pub title: String,
    /// Where it ran, in words.
    pub device: String,
    /// Folder of the exported adapter.
    pub adapter_dir: String,
    /// Of the training itself.
    pub training: TrainingSummary,
    /// What was counted and must be seen.
    pub notes: Vec<String>,
}

impl RunReport {
    /// Writes `summary.json`, and `report.html` and `report.md` from the files of the run folder, as `mvpbench report` does again.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let summary = Summary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            title: self.title.clone(),
            device: self.device.clone(),
            adapter_dir: self.adapter_dir.clone(),
            training: self.training.clone(),
            notes: self.notes.clone(),
        };
        atomic_file::write(&folder.join(SUMMARY_FILE), |out| {
            serde_json::to_writer_pretty(&mut *out, &summary)?;
            Ok(out.write_all(b"\n")?)
        })?;
        page::write(&[folder.to_owned()], folder, crate::eval::groups::MINIMUM_N)?;
        Ok(())
    }
}

/// How the training went. What never happened is none: a run of no steps has no loss.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingSummary {
    /// Optimizer steps taken.
    pub steps: usize,
    /// Passes over the training pairs, the last one perhaps in part.
    pub epochs: f64,
    /// Pairs trained on, counted again in every epoch.
    pub pairs: usize,
    /// Steps left out because the loss or a gradient was not finite.
    pub skipped_steps: usize,
    /// Loss of the first step.
    pub first_loss: Option<f64>,
    /// Loss of the last step.
    pub last_loss: Option<f64>,
    /// `rewards/margins` of the last step.
    pub final_margin: Option<f64>,
    /// `rewards/accuracies` of the last step, in 0..=1.
    pub final_accuracy: Option<f64>,
    /// Training speed, without evaluation and saving.
    pub pairs_per_second: Option<f64>,
    /// Most memory in use at once, where it is known.
    pub peak_memory_gib: Option<f64>,
    /// Why training ended before the last step of its plan, if it did.
    pub stopped_early: Option<String>,
    /// Which step's adapter was exported and why, where the best one was chosen.
    pub exported: Option<String>,
    /// The whole command, evaluation included.
    pub wall_time_s: f64,
}

/// Made-up results for the tests of this folder.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::eval::SetResult;
    use crate::eval::score::{PairScore, pair_of};

    /// Four pairs of three users from two files: accuracy 1 of 4 before and 3 of 4 after, OPA 3 of 4 after with one tie.
    pub(crate) fn evaluations(model: &str, sets: &[&str]) -> (Evaluation, Evaluation) {
        let score = |index: usize, gain: f64| -> PairScore {
            let rejected = if index == 0 { -22.0 } else { -18.0 };
            let gain = if index == 3 { 0.0 } else { gain };
            let user = format!("user{}", index.min(2));
            let mut score =
                pair_of(&index.to_string(), Some(&user), [-20.0 + gain, rejected, -20.0, rejected]);
            score.source = if index < 2 { "helpfulness" } else { "honesty" }.into();
            score
        };
        let scores = |gain: f64| (0..4).map(|index| score(index, gain)).collect::<Vec<_>>();
        let (before, after) = (scores(0.0), scores(4.0));
        let measure = |name: &&str| SetResult::measure(name, &before, 0.1, 12).unwrap();
        let measure_change =
            |name: &&str| SetResult::measure_change(name, &before, &after, 0.1, 12).unwrap();
        let before_sets = sets.iter().map(measure).collect();
        let after_sets = sets.iter().map(measure_change).collect();
        (
            Evaluation::new(model, None, 0.1, 12, before_sets),
            Evaluation::new(model, Some("adapter".into()), 0.1, 12, after_sets),
        )
    }
}
