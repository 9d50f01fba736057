//! `summary.json`: what a report says of a run and no other file of its folder holds.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::disk::atomic;
use crate::error::InputError;

/// The file in a run folder.
pub const SUMMARY_FILE: &str = "summary.json";

/// What a report says of a run and no other file of its folder holds; `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this program.
    pub version: String,
    /// The heading.
    pub title: String,
    /// Where it ran, in words.
    pub device: String,
    /// Folder of the exported or evaluated adapter; empty without one.
    pub adapter_dir: String,
    /// Of the training itself; none of an evaluation alone.
    #[serde(default)]
    pub training: Option<TrainingSummary>,
    /// What was counted and must be seen.
    pub notes: Vec<String>,
}

impl Summary {
    /// Writes it as the file `path`, which appears whole.
    pub fn write(&self, path: &Path) -> Result<()> {
        atomic::write(path, |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            Ok(out.write_all(b"\n")?)
        })
    }

    /// Reads the file `path`; none where there is none, as in the folder of an earlier version.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let summary = serde_json::from_slice(&bytes).map_err(|error| {
            InputError::new(format!("`{}` is not the summary of a run: {error}", path.display()))
        })?;
        Ok(Some(summary))
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
