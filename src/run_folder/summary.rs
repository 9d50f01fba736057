//! `summary.json`: facts for the report that no other file of the run folder holds.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::disk::{atomic, read, seal};
use crate::error::InputError;

/// The file in a run folder.
pub const SUMMARY_FILE: &str = "summary.json";

/// The content of `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this program.
    pub version: String,
    /// The heading.
    pub title: String,
    /// The device, in words.
    pub device: String,
    /// Folder of the exported or evaluated adapter; empty without one.
    pub adapter_dir: String,
    /// The training; none for `mvpbench eval`.
    #[serde(default)]
    pub training: Option<TrainingSummary>,
    /// What was printed about the inputs: sources, counts, cuts, dropped pairs.
    pub notes: Vec<String>,
}

impl Summary {
    /// Writes the file `path` atomically, with its digest.
    pub fn write(&self, path: &Path) -> Result<()> {
        atomic::write(path, |out| Ok(out.write_all(&seal::indented(self)?)?))
    }

    /// Reads the file `path`; none if it does not exist, as in a folder of an earlier version.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let Some(bytes) = read::if_there(path)? else { return Ok(None) };
        let broken = |why: &dyn std::fmt::Display| {
            InputError::new(format!("`{}` is not the summary of a run: {why}", path.display()))
                .hint("run the command that wrote it again")
        };
        let object = seal::open(&bytes).map_err(|error| broken(&error))?;
        let summary = serde_json::from_slice(&object).map_err(|error| broken(&error))?;
        Ok(Some(summary))
    }
}

/// How the training went. A run without steps has no losses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingSummary {
    /// Optimizer steps taken.
    pub steps: usize,
    /// Those of them that `train.jsonl` has no record of: the other figures leave them out.
    #[serde(default)]
    pub unrecorded_steps: usize,
    /// Passes over the training pairs; the last one may be partial.
    pub epochs: f64,
    /// Pairs trained on, counted again in every epoch.
    pub pairs: usize,
    /// Steps skipped because the loss or a gradient was not finite.
    pub skipped_steps: usize,
    /// Loss of the first step; none if the step has no record.
    pub first_loss: Option<f64>,
    /// Loss of the last step; none if the step has no record.
    pub last_loss: Option<f64>,
    /// `rewards/margins` of the last step.
    pub final_margin: Option<f64>,
    /// `rewards/accuracies` of the last step, in 0..=1.
    pub final_accuracy: Option<f64>,
    /// Training speed, without evaluation and saving; none without timed steps.
    pub pairs_per_second: Option<f64>,
    /// Most memory in use at once; none if the system does not report it.
    pub peak_memory_gib: Option<f64>,
    /// Why training ended before its last planned step; none if it did not.
    pub stopped_early: Option<String>,
    /// Which step's adapter was exported and why; none without `eval.best_metric`.
    pub exported: Option<String>,
    /// SHA-256 of the exported `adapter_model.safetensors`; none in a folder of an earlier version.
    #[serde(default)]
    pub adapter_sha256: Option<String>,
    /// Wall time of all processes of the run, evaluation included, seconds.
    pub wall_time_s: f64,
}
