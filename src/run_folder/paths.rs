//! The paths of a run folder. Each file name is spelled here, once.

use std::path::{Path, PathBuf};

use crate::run_folder::purpose::Purpose;
use crate::run_folder::summary::SUMMARY_FILE;

/// Name of the evaluation before training.
pub const BEFORE: &str = "before";
/// Name of the evaluation of the exported adapter. Evaluations during training are named after their step, such as
/// `step-000100`.
pub const AFTER: &str = "after";

/// The paths of a run folder, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths(PathBuf);

impl Paths {
    /// The paths of the run folder `root`.
    pub fn of(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The last part of the folder's path, or `otherwise` if it has none.
    pub fn name(&self, otherwise: &str) -> String {
        let name = self.0.file_name();
        name.map_or_else(|| otherwise.to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// The configuration that the folder began with.
    pub fn config(&self, purpose: Purpose) -> PathBuf {
        self.0.join(purpose.config_file())
    }

    /// Where an embedded base model is unpacked.
    pub fn base_model(&self) -> PathBuf {
        self.0.join("base_model")
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// The exported adapter.
    pub fn adapter(&self) -> PathBuf {
        self.0.join("adapter")
    }

    /// The log of the steps.
    pub fn log(&self) -> PathBuf {
        self.0.join("train.jsonl")
    }

    /// The folder of the TensorBoard events.
    pub fn tensorboard(&self) -> PathBuf {
        self.0.join("tensorboard")
    }

    /// The log of the evaluations.
    pub fn eval_log(&self) -> PathBuf {
        self.0.join("eval.jsonl")
    }

    /// Facts for the report that no other file holds.
    pub fn summary(&self) -> PathBuf {
        self.0.join(SUMMARY_FILE)
    }

    /// How long the processes of the run have worked on it.
    pub fn wall_time(&self) -> PathBuf {
        self.0.join("wall_time.json")
    }

    /// The folder of figures, scores and generations.
    pub fn evaluations(&self) -> PathBuf {
        self.0.join("eval")
    }

    /// Figures of all sets; `when` is [`BEFORE`], [`AFTER`] or a step such as `step-000100`.
    pub fn evaluation(&self, when: &str) -> PathBuf {
        self.evaluations().join(format!("{when}.json"))
    }

    /// The step of an evaluation during training, from its file name; none for another file.
    pub fn evaluated_step(file: &Path) -> Option<usize> {
        let name = file.file_name()?.to_str()?;
        name.strip_prefix("step-")?.strip_suffix(".json")?.parse().ok()
    }

    /// Scores of one set.
    pub fn scores(&self, set: &str, when: &str) -> PathBuf {
        self.evaluations().join(format!("scores-{set}-{when}.jsonl"))
    }

    /// Generated answers of one set.
    pub fn generations(&self, set: &str, when: &str) -> PathBuf {
        self.evaluations().join(format!("generations-{set}-{when}.jsonl"))
    }

    /// Answers to fixed prompts, of every state of the model.
    pub fn samples(&self) -> PathBuf {
        self.evaluations().join("samples.jsonl")
    }

    /// Finished answers to the fixed prompts, while others are generated; `when`: `base`, or a step such as `step-000100`.
    pub fn sample_journal(&self, when: &str) -> PathBuf {
        self.evaluations().join(format!(".samples-{when}.journal"))
    }

    /// Finished answers of a set, while others are generated.
    pub fn journal(&self, set: &str, when: &str) -> PathBuf {
        self.evaluations().join(format!(".generations-{set}-{when}.journal"))
    }

    /// Finished sums of a set, while others are computed.
    pub fn kept_sums(&self, set: &str, when: &str) -> PathBuf {
        self.evaluations().join(format!(".sums-{set}-{when}.json"))
    }

    /// Figures in the form of lm-evaluation-harness.
    pub fn results(&self) -> PathBuf {
        self.0.join("results.json")
    }
}
