//! The scores and the answers behind the figures of an evaluation set, as a run folder holds them.

use anyhow::Context;

use crate::bail_input;
use crate::disk::read;
use crate::metrics::score::{PairScore, read_scores};
use crate::metrics::spmr::{Answer, read_answers};
use crate::metrics::{Evaluation, SetResult};
use crate::run_folder::paths::{AFTER, BEFORE, Paths};

/// Names of the two states in file names.
pub const STATES: [&str; 2] = [BEFORE, AFTER];

/// The lines behind the figures of a set; each list is empty where its file is missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SetFiles {
    /// The set's name.
    pub name: String,
    /// Scores before and after tuning.
    pub scores: [Vec<PairScore>; 2],
    /// Generated answers before and after tuning.
    pub answers: [Vec<Answer>; 2],
}

impl SetFiles {
    /// Reads the files of the set `name`; a file that is missing leaves its list empty.
    pub fn read(paths: &Paths, name: &str) -> anyhow::Result<Self> {
        let mut files = Self { name: name.to_owned(), ..Self::default() };
        for (i, state) in STATES.into_iter().enumerate() {
            let (scores, generations) = (paths.scores(name, state), paths.generations(name, state));
            if read::is_there(&scores)? {
                files.scores[i] = read_scores(&scores)?;
            }
            if read::is_there(&generations)? {
                files.answers[i] = read_answers(&generations)?;
            }
        }
        Ok(files)
    }

    /// Measures the groups of both states from the scores, where the folder has them; `minimum_n` as in [`crate::metrics::groups::measure`].
    pub fn group(
        &self,
        before: Option<&mut Evaluation>,
        after: Option<&mut Evaluation>,
        minimum_n: usize,
    ) -> anyhow::Result<()> {
        let [scores_before, scores_after] = &self.scores;
        let [answers_before, answers_after] = &self.answers;
        let earlier = (!scores_before.is_empty()).then_some(&**scores_before);
        let earlier_answers = (!answers_before.is_empty()).then_some(&**answers_before);
        for (evaluation, scores, earlier, answers, earlier_answers) in [
            (before, scores_before, None, answers_before, None),
            (after, scores_after, earlier, answers_after, earlier_answers),
        ] {
            let Some(evaluation) = evaluation else { continue };
            let beta = evaluation.beta;
            let own = |set: &&mut SetResult| set.name == self.name;
            let Some(set) = evaluation.sets.iter_mut().find(own) else { continue };
            if let Some(spmr) = set.spmr.take_if(|_| !answers.is_empty()) {
                let grouped = spmr.group(earlier_answers, answers, minimum_n);
                set.spmr =
                    Some(grouped.with_context(|| format!("evaluation set `{}`", self.name))?);
            }
            if scores.is_empty() {
                continue;
            }
            if scores.len() != set.n {
                bail_input!(
                    "evaluation set `{}`: its figures are of {} pairs, its file of scores has {}",
                    self.name,
                    set.n,
                    scores.len()
                );
            }
            set.group(earlier, scores, beta, minimum_n)?;
        }
        Ok(())
    }
}
