//! What a run has to report besides its steps and its files: the content of its summary, with its figures.

use crate::metrics::Evaluation;
use crate::report::text::Text;
use crate::run_folder::summary::TrainingSummary;

/// What the console, the pages and the model card show of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    /// The heading, such as the run's name.
    pub title: String,
    /// The base model: hub id or folder, as configured.
    pub model: String,
    /// Where it ran, in words: `cpu, 8 threads` or the name of the GPU.
    pub device: String,
    /// The training; none for an evaluation alone.
    pub training: Option<TrainingSummary>,
    /// Figures of the model before tuning; none without evaluation sets.
    pub before: Option<Evaluation>,
    /// The same after tuning, with the paired differences.
    pub after: Option<Evaluation>,
    /// Path of the exported or evaluated adapter, as the command printed it; empty without one.
    pub adapter_dir: String,
    /// The resolved configuration.
    pub config_toml: String,
    /// What must be read before the figures, one sentence each (see [`crate::report::cautions`]).
    pub cautions: Vec<Text>,
    /// What else was counted: pairs cut or dropped, steps skipped; one sentence each.
    pub notes: Vec<String>,
}

/// Made-up results for the tests of this folder.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::metrics::SetResult;
    use crate::metrics::score::{PairScore, pair_of};

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
        let measure = |name: &&str| SetResult::measure(name, &before, 0.1).unwrap();
        let measure_change =
            |name: &&str| SetResult::measure_change(name, &before, &after, 0.1).unwrap();
        let before_sets = sets.iter().map(measure).collect();
        let after_sets = sets.iter().map(measure_change).collect();
        (
            Evaluation::new(model, None, 0.1, before_sets),
            Evaluation::new(model, Some("adapter".into()), 0.1, after_sets),
        )
    }
}
