//! The results of an evaluation: what `eval/before.json` and `eval/after.json` hold.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::disk::{atomic, digest, read, seal};
use crate::error::InputError;
use crate::metrics::axes::{self, Axes};
use crate::metrics::bootstrap::{RESAMPLES, SEED};
use crate::metrics::difference::{check_same_pairs, difference};
use crate::metrics::figure::{self, Metrics};
use crate::metrics::groups::{self, Group, MINIMUM_N};
use crate::metrics::kl::Kl;
use crate::metrics::score::PairScore;
use crate::metrics::spmr::Spmr;

/// The figures of one evaluation set, together and per source file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetResult {
    /// The set's name in the configuration, such as `MVP_test`.
    pub name: String,
    /// Scored pairs.
    pub n: usize,
    /// Users behind the pairs, and pairs without a user: what the bootstrap draws.
    pub clusters: usize,
    /// Scored tokens of all preferred answers.
    pub chosen_tokens: usize,
    /// Scored tokens of all other answers.
    pub rejected_tokens: usize,
    /// Answers that were cut down to no scored token; their log-probability counts as 0.
    pub unscored_answers: usize,
    /// All pairs of the set.
    pub overall: Metrics,
    /// The pairs of each source file by its stem, such as `helpfulness` of UF-P-4.
    pub sources: BTreeMap<String, Metrics>,
    /// What has changed since the evaluation before tuning, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// SPMR, where it was asked for and a sentence encoder was configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spmr: Option<Spmr>,
    /// KL divergence from the reference on some of the pairs, where `eval.kl_pairs` asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<Kl>,
    /// Figures of groups of people and of files; empty in a file of an earlier version.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Consistency and fairness; empty in a file of an earlier version.
    #[serde(default)]
    pub axes: Vec<Axes>,
}

/// Paired differences, after less before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// All pairs of the set.
    pub overall: Metrics,
    /// The pairs of each source file by its stem.
    pub sources: BTreeMap<String, Metrics>,
}

impl SetResult {
    /// Measures a set; `beta` as in [`figure::measure`], whose refusals get the set's name.
    pub fn measure(name: &str, scores: &[PairScore], beta: f64) -> anyhow::Result<Self> {
        let mut result = Self::ungrouped(name, scores, beta)?;
        result.group(None, scores, beta, MINIMUM_N)?;
        Ok(result)
    }

    /// Measures the groups and the axes anew; `minimum_n` as in [`groups::measure`], `before` the same pairs before tuning.
    pub fn group(
        &mut self,
        before: Option<&[PairScore]>,
        scores: &[PairScore],
        beta: f64,
        minimum_n: usize,
    ) -> anyhow::Result<()> {
        let place = || format!("evaluation set `{}`", self.name);
        if let Some(before) = before {
            check_same_pairs(before, scores).with_context(place)?;
        }
        let groups = groups::measure(before, scores, beta, minimum_n).with_context(place)?;
        self.groups = groups;
        self.axes = axes::measure(before, scores, minimum_n);
        Ok(())
    }

    fn ungrouped(name: &str, scores: &[PairScore], beta: f64) -> anyhow::Result<Self> {
        let place = || format!("evaluation set `{name}`");
        let overall = figure::measure(scores, beta).with_context(place)?;
        let measured = |scores: Vec<&PairScore>| {
            // The only file of a set holds the same pairs: no need to draw the resamples again.
            let whole = scores.len() == overall.opa.n;
            if whole { Ok(overall.clone()) } else { figure::measure(&scores, beta) }
        };
        let sources = by_source(scores)
            .into_iter()
            .map(|(source, scores)| Ok((source.to_owned(), measured(scores).with_context(place)?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            name: name.to_owned(),
            n: scores.len(),
            clusters: figure::clusters_of(scores).count(),
            chosen_tokens: scores.iter().map(|score| score.chosen_tokens).sum(),
            rejected_tokens: scores.iter().map(|score| score.rejected_tokens).sum(),
            unscored_answers: scores.iter().map(PairScore::unscored_sides).sum(),
            overall,
            sources,
            change: None,
            spmr: None,
            kl: None,
            groups: Vec::new(),
            axes: Vec::new(),
        })
    }

    /// Measures a set after tuning, together with its paired difference to the same pairs before.
    pub fn measure_change(
        name: &str,
        before: &[PairScore],
        after: &[PairScore],
        beta: f64,
    ) -> anyhow::Result<Self> {
        let place = || format!("evaluation set `{name}`");
        let overall = difference(before, after, beta).with_context(place)?;
        let mut sources_before = by_source(before);
        let mut changed = |source, after: Vec<&PairScore>| {
            let before = sources_before.remove(source).unwrap_or_default();
            let whole = after.len() == overall.opa.n;
            if whole { Ok(overall.clone()) } else { difference(&before, &after, beta) }
        };
        let sources = by_source(after)
            .into_iter()
            .map(|(source, after)| {
                Ok((source.to_owned(), changed(source, after).with_context(place)?))
            })
            .collect::<anyhow::Result<_>>()?;
        let mut result = Self {
            change: Some(Change { overall, sources }),
            ..Self::ungrouped(name, after, beta)?
        };
        result.group(Some(before), after, beta, MINIMUM_N)?;
        Ok(result)
    }
}

fn by_source(scores: &[PairScore]) -> BTreeMap<&str, Vec<&PairScore>> {
    let mut sources: BTreeMap<&str, Vec<&PairScore>> = BTreeMap::new();
    for score in scores {
        sources.entry(&score.source).or_default().push(score);
    }
    sources
}

/// Every set's results for one state of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Version of this program.
    pub version: String,
    /// The base model: hub id or folder, as configured.
    pub model: String,
    /// The adapter that was on, in words or as a folder; none for the untuned model.
    pub adapter: Option<String>,
    /// SHA-256 of the weights of an adapter that was trained here: whose results these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_sha256: Option<String>,
    /// DPO's beta, behind the rewards and the loss.
    pub beta: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Resamples behind every interval.
    pub resamples: usize,
    /// One result per set, in the configuration's order.
    pub sets: Vec<SetResult>,
    /// SHA-256 of the files of scores and answers that the results are computed from, by file name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

impl Evaluation {
    /// Results by this version of the program.
    pub fn new(model: &str, adapter: Option<String>, beta: f64, sets: Vec<SetResult>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            version,
            model: model.to_owned(),
            adapter,
            adapter_sha256: None,
            beta,
            seed: SEED,
            resamples: RESAMPLES,
            sets,
            files: BTreeMap::new(),
        }
    }

    /// The result of the set called `name`.
    pub fn set(&self, name: &str) -> Option<&SetResult> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// Writes the results as indented JSON with its digest; the file appears whole or not at all.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        atomic::write(path, |out| Ok(out.write_all(&seal::indented(self)?)?))
    }

    /// Reads what [`Self::write`] wrote. A file that is not that, or that its digest does not match, is an [`InputError`]
    /// naming the file and the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let absent = || InputError::new(format!("cannot read `{}`: no such file", path.display()));
        Ok(Self::read_if_there(path)?.ok_or_else(absent)?)
    }

    /// [`Evaluation::read`]; none if the file does not exist.
    pub fn read_if_there(path: &Path) -> anyhow::Result<Option<Self>> {
        let Some(bytes) = read::if_there(path)? else { return Ok(None) };
        let broken = |why: &dyn std::fmt::Display| {
            InputError::new(format!("`{}` is not an evaluation: {why}", path.display()))
                .hint("run the command that wrote it again: it computes the figures anew")
        };
        let object = seal::open(&bytes).map_err(|error| broken(&error))?;
        Ok(Some(serde_json::from_slice(&object).map_err(|error| broken(&error))?))
    }

    /// Refuses files of scores or answers, in `folder`, that are missing or are not those that the results are computed
    /// from.
    pub fn check_files(&self, folder: &Path) -> anyhow::Result<()> {
        for name in self.files.keys() {
            let path = folder.join(name);
            if read::if_there(&path)?.is_none() {
                return Err(Self::other_file(&path, "is missing"));
            }
        }
        self.check_present_files(folder)
    }

    /// [`Self::check_files`] of those that exist.
    pub fn check_present_files(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, sha256) in &self.files {
            let path = folder.join(name);
            if read::if_there(&path)?.is_some_and(|bytes| digest::of_bytes(&bytes) != *sha256) {
                let what = "is not the file that the figures are computed from";
                return Err(Self::other_file(&path, what));
            }
        }
        Ok(())
    }

    fn other_file(path: &Path, what: &str) -> anyhow::Error {
        InputError::new(format!("`{}` {what}", path.display()))
            .hint("run the command that wrote it again: it computes the figures anew")
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::score::pair_of;

    /// Eight pairs of four users from two files; `gain` is how far the policy has moved from the reference.
    fn scores(gain: f64) -> Vec<PairScore> {
        let score = |index: usize| {
            let user = format!("user{}", index / 2);
            let mut score =
                pair_of(&format!("pair{index}"), Some(&user), [-20.0 + gain, -18.0, -20.0, -18.0]);
            score.source = if index < 6 { "helpfulness" } else { "honesty" }.into();
            score.rejected_tokens = index;
            score
        };
        (0..8).map(score).collect()
    }

    #[test]
    fn a_set_is_counted_together_and_per_file() {
        let result = SetResult::measure("UF-P-4", &scores(4.0), 0.1).unwrap();
        assert_eq!(
            (result.n, result.clusters, result.chosen_tokens, result.rejected_tokens),
            (8, 4, 80, 28)
        );
        assert_eq!(result.unscored_answers, 1);
        let per_file: Vec<_> =
            result.sources.iter().map(|(name, metrics)| (&**name, metrics.opa.n)).collect();
        assert_eq!(per_file, [("helpfulness", 6), ("honesty", 2)]);
        assert_eq!(result.sources["honesty"].opa.low, None); // both pairs are of one user
        assert_eq!(result.change, None);
    }

    #[test]
    fn a_change_is_given_together_and_per_file() {
        let result = SetResult::measure_change("UF-P-4", &scores(0.0), &scores(4.0), 0.1).unwrap();
        let change = result.change.unwrap();
        for metrics in [&change.overall, &change.sources["helpfulness"], &change.sources["honesty"]]
        {
            assert!((metrics.opa.value - 1.0).abs() <= 0.0);
            assert!((metrics.reward_margin_mean.value - 0.4).abs() <= 1e-12);
        }
        assert_eq!(change.overall.opa.n, 8);
    }

    #[test]
    fn an_error_names_the_set() {
        let error = SetResult::measure("MVP_test", &[], 0.1).unwrap_err();
        assert_eq!(error.to_string(), "evaluation set `MVP_test`");
        assert!(InputError::of(&error).is_some());
        let mut renamed = scores(0.0);
        renamed[7].source = "truthfulness".into();
        assert!(SetResult::measure_change("UF-P-4", &renamed, &scores(1.0), 0.1).is_err());
    }

    #[test]
    fn an_evaluation_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval/after.json");
        let set = SetResult::measure_change("UF-P-4", &scores(0.0), &scores(4.0), 0.5).unwrap();
        let evaluation = Evaluation::new("models/tiny", Some("adapter".into()), 0.5, vec![set]);
        evaluation.write(&path).unwrap();
        let read = Evaluation::read(&path).unwrap();
        assert_eq!(
            (&read.model, &read.adapter, read.sets.len()),
            (&evaluation.model, &evaluation.adapter, 1)
        );
        assert_eq!(read.set("UF-P-4").unwrap().overall.opa, evaluation.sets[0].overall.opa);
        std::fs::write(&path, "{}").unwrap();
        assert!(InputError::of(&Evaluation::read(&path).unwrap_err()).is_some());
    }
}
