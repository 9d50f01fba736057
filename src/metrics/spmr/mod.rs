//! SPMR, the paper's Eq. 4: the share of prompts whose generated answer means nearly what the preferred answer says, by the cosine of
//! their sentence embeddings.
//!
//! Two ways of embedding the generated side are measured on the same answers: the answer alone, and the prompt with the answer
//! after it, which is what the paper's authors embedded.

//!
//! [`answer`] is the line of a file, `rows` are the numbers of an answer, [`similarity`] and [`groups`] are parts of the figures.

pub mod answer;
pub mod groups;
mod rows;
pub mod similarity;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bail_input;
use crate::config::SpmrSection;
use crate::metrics::bootstrap;
use crate::metrics::figure::Figure;
use crate::metrics::groups::MINIMUM_N;

pub use answer::{Answer, read_answers, write_answers};
pub use groups::SpmrGroup;
use rows::{CHANGES, SHARES, changes, clusters_of, column, figure, rows};
pub use similarity::{Histogram, Quantiles, Similarity};

/// SPMR of one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spmr {
    /// The sentence encoder, as configured.
    pub embedder: String,
    /// Cosine that an answer must exceed, strictly.
    pub threshold: f64,
    /// Tokens after which an answer was cut.
    pub max_new_tokens: usize,
    /// Which of the two is *the* figure: `with_prompt` if true.
    pub embed_prompt: bool,
    /// The answer alone is embedded.
    pub answer_alone: Similarity,
    /// The prompt is embedded with the answer after it, as the paper's authors did.
    pub with_prompt: Similarity,
    /// The figure for the prompts of each source file by its stem.
    pub sources: BTreeMap<String, Figure>,
    /// Tokens of all answers.
    pub generated_tokens: usize,
    /// Answers that `max_new_tokens` ended.
    pub cut_answers: usize,
    /// Answers without a visible character.
    pub blank_answers: usize,
    /// Pairs left out because their preferred answer is blank: there is nothing to be near to.
    pub blank_references: usize,
    /// Pairs left out by `max_prompts`.
    pub unasked: usize,
    /// What has changed since the evaluation before tuning, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<SpmrChange>,
    /// The figure for groups of prompts, made as [`crate::metrics::groups`] makes those of pairs; empty in a file of an earlier version.
    #[serde(default)]
    pub groups: Vec<SpmrGroup>,
}

/// Paired differences, after less before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpmrChange {
    /// Of the share, the answer alone embedded.
    pub answer_alone: Figure,
    /// Of the share, the prompt embedded too.
    pub with_prompt: Figure,
}

/// Pairs of the set that were not answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Their preferred answer is blank.
    pub blank_references: usize,
    /// `max_prompts` left them out.
    pub unasked: usize,
}

impl Spmr {
    /// Measures the answers to a set's prompts, with intervals clustered by user.
    ///
    /// Refuses no answers at all and a cosine that is not finite.
    pub fn measure(
        answers: &[Answer],
        settings: &SpmrSection,
        left_out: LeftOut,
    ) -> anyhow::Result<Self> {
        let all: Vec<&Answer> = answers.iter().collect();
        let rows = rows(&all, settings.threshold)?;
        let intervals = bootstrap::intervals(&rows, SHARES, &clusters_of(&all), bootstrap::SEED);
        let similar = |first: usize| {
            let mut sorted: Vec<f64> = rows.iter().map(|row| row[first + 1]).collect();
            sorted.sort_by(f64::total_cmp);
            let ties = sorted.iter().filter(|c| c.total_cmp(&settings.threshold).is_eq()).count();
            let figure = |column| figure(&rows, intervals.as_ref(), column);
            Similarity {
                spmr: Figure { ties: Some(ties), ..figure(first) },
                cosine_mean: figure(first + 1),
                quantiles: similarity::quantiles(&sorted),
                histogram: similarity::histogram(&sorted),
            }
        };
        let chosen = column(settings.embed_prompt);
        let mut sources: BTreeMap<&str, Vec<&Answer>> = BTreeMap::new();
        all.iter().for_each(|&one| sources.entry(&one.source).or_default().push(one));
        let sources = sources
            .into_iter()
            .map(|(source, some)| {
                let rows = self::rows(&some, settings.threshold)?;
                let intervals =
                    bootstrap::intervals(&rows, SHARES, &clusters_of(&some), bootstrap::SEED);
                Ok((source.to_owned(), figure(&rows, intervals.as_ref(), chosen)))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            embedder: settings.embedder.clone(),
            threshold: settings.threshold,
            max_new_tokens: settings.max_new_tokens,
            embed_prompt: settings.embed_prompt,
            answer_alone: similar(0),
            with_prompt: similar(2),
            sources,
            generated_tokens: all.iter().map(|one| one.generated_tokens).sum(),
            cut_answers: all.iter().filter(|one| !one.ended).count(),
            blank_answers: all.iter().filter(|one| one.generation.trim().is_empty()).count(),
            blank_references: left_out.blank_references,
            unasked: left_out.unasked,
            change: None,
            groups: groups::measure(
                None,
                answers,
                settings.threshold,
                settings.embed_prompt,
                MINIMUM_N,
            )?,
        })
    }

    /// The same with its paired difference to the answers to the same prompts `before`.
    pub fn with_change(self, before: &[Answer], after: &[Answer]) -> anyhow::Result<Self> {
        let same = before.len() == after.len()
            && before
                .iter()
                .zip(after)
                .all(|(a, b)| (&a.id, &a.user, &a.source) == (&b.id, &b.user, &b.source));
        if !same {
            bail_input!(
                "{} prompts were answered before and {} after; a difference needs the same pairs in order",
                before.len(),
                after.len()
            );
        }
        let all = Vec::from_iter;
        let (rows, clusters) =
            (changes(&all(before), &all(after), self.threshold)?, clusters_of(&all(after)));
        let intervals = bootstrap::intervals(&rows, CHANGES, &clusters, bootstrap::SEED);
        let figure = |column| figure(&rows, intervals.as_ref(), column);
        let change = SpmrChange { answer_alone: figure(0), with_prompt: figure(2) };
        Self { change: Some(change), ..self }.group(Some(before), after, MINIMUM_N)
    }

    /// The same with its groups measured anew from the answers, `minimum_n` prompts a group or more.
    ///
    /// Refuses answers of another number than the figures are of.
    pub fn group(
        self,
        before: Option<&[Answer]>,
        answers: &[Answer],
        minimum_n: usize,
    ) -> anyhow::Result<Self> {
        for answers in before.into_iter().chain([answers]) {
            if answers.len() != self.figure().n {
                let (n, there) = (self.figure().n, answers.len());
                bail_input!("SPMR is of {n} answers, and the file of answers has {there}");
            }
        }
        let groups =
            groups::measure(before, answers, self.threshold, self.embed_prompt, minimum_n)?;
        Ok(Self { groups, ..self })
    }

    /// *The* figure, by `embed_prompt`.
    pub fn figure(&self) -> &Figure {
        &if self.embed_prompt { &self.with_prompt } else { &self.answer_alone }.spmr
    }

    /// The change of *the* figure.
    pub fn figure_change(&self) -> Option<&Figure> {
        let change = self.change.as_ref()?;
        Some(if self.embed_prompt { &change.with_prompt } else { &change.answer_alone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::InputError;
    use crate::metrics::spmr::answer::answer_of;

    fn settings() -> SpmrSection {
        SpmrSection { embedder: "minilm".into(), ..SpmrSection::default() }
    }

    /// Cosines alone 0.9, 0.8, 0.8 and the least above it, -0.1; with the prompt 0.95, 0.85, 0.7, 0.8.
    fn answers() -> Vec<Answer> {
        let above = 0.8f64.next_up();
        [("a", [0.9, 0.95]), ("b", [0.8, 0.85]), ("b", [above, 0.7]), ("c", [-0.1, 0.8])]
            .into_iter()
            .enumerate()
            .map(|(i, (user, cosines))| answer_of(&i.to_string(), Some(user), cosines))
            .collect()
    }

    #[test]
    fn spmr_equals_its_value_by_hand_and_a_cosine_at_the_threshold_is_not_above_it() {
        let spmr = Spmr::measure(&answers(), &settings(), LeftOut::default()).unwrap();
        let (alone, with) = (&spmr.answer_alone, &spmr.with_prompt);
        assert_eq!((alone.spmr.value.to_bits(), alone.spmr.ties), (0.5f64.to_bits(), Some(1)));
        assert_eq!((with.spmr.value.to_bits(), with.spmr.ties), (0.5f64.to_bits(), Some(1)));
        assert!((alone.cosine_mean.value - 0.6).abs() <= 1e-12);
        assert!((with.cosine_mean.value - 0.825).abs() <= 1e-12);
        assert!((alone.quantiles.median - 0.8).abs() <= 1e-12);
        assert!(
            (alone.quantiles.min + 0.1).abs() <= 0.0 && (alone.quantiles.max - 0.9).abs() <= 0.0
        );
        assert!((alone.quantiles.p25 - 0.575).abs() <= 1e-12); // a quarter of the way from -0.1 to 0.8, three places on
        // Bins of 0.05 from -1: 0.8 begins bin 36, 0.9 bin 38, -0.1 bin 18.
        let filled: Vec<_> =
            alone.histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0).collect();
        assert_eq!(filled, [(18, &1), (36, &2), (38, &1)]);
        assert_eq!((spmr.generated_tokens, spmr.cut_answers, spmr.blank_answers), (12, 0, 0));
        assert_eq!(spmr.figure(), &alone.spmr);
        assert_eq!((spmr.sources["test"].value, spmr.sources["test"].n), (alone.spmr.value, 4));
    }

    #[test]
    fn the_authors_figure_is_that_with_the_prompt() {
        let settings = SpmrSection { embed_prompt: true, threshold: 0.9, ..settings() };
        let spmr = Spmr::measure(&answers(), &settings, LeftOut::default()).unwrap();
        assert!((spmr.figure().value - 0.25).abs() <= 0.0);
        assert!((spmr.sources["test"].value - 0.25).abs() <= 0.0);
        assert!((spmr.answer_alone.spmr.value - 0.0).abs() <= 0.0); // 0.9 is not above 0.9
    }

    #[test]
    fn intervals_are_clustered_by_user() {
        let mut twelve = Vec::new();
        for user in 0..12 {
            let cosine = if user % 3 == 0 { 0.9 } else { 0.1 };
            twelve.push(answer_of(&user.to_string(), Some(&format!("u{user}")), [cosine; 2]));
        }
        let tenfold: Vec<_> = twelve.iter().flat_map(|one| vec![one.clone(); 10]).collect();
        let measure = |some: &[Answer]| {
            let spmr = Spmr::measure(some, &settings(), LeftOut::default()).unwrap();
            (*spmr.figure(), spmr.answer_alone.cosine_mean)
        };
        let ((once, mean), (repeated, repeated_mean)) = (measure(&twelve), measure(&tenfold));
        assert!((once.low.unwrap() - repeated.low.unwrap()).abs() <= 1e-12);
        assert!((mean.high.unwrap() - repeated_mean.high.unwrap()).abs() <= 1e-12);
    }

    #[test]
    fn a_change_is_paired_and_is_zero_with_itself() {
        let before = answers();
        let mut after = before.clone();
        after[3].cosine = 0.99;
        let measure = |some: &[Answer]| {
            let spmr = Spmr::measure(some, &settings(), LeftOut::default()).unwrap();
            spmr.with_change(&before, some).unwrap()
        };
        let change = measure(&after).change.unwrap();
        assert!((change.answer_alone.value - 0.25).abs() <= 0.0);
        assert!((change.with_prompt.value - 0.0).abs() <= 0.0);
        let none = *measure(&before).figure_change().unwrap();
        let width = none.high.unwrap();
        assert_eq!(
            none,
            Figure { value: 0.0, low: Some(-width), high: Some(width), n: 4, ties: None }
        );
        assert!(width > 0.5, "four users may still change");
        let spmr = Spmr::measure(&after, &settings(), LeftOut::default()).unwrap();
        assert!(spmr.clone().with_change(&before[1..], &after).is_err());
        after.swap(0, 1);
        assert!(spmr.with_change(&before, &after).is_err());
    }

    #[test]
    fn nothing_answered_and_a_nan_are_errors() {
        let none = Spmr::measure(&[], &settings(), LeftOut::default()).unwrap_err();
        assert!(InputError::of(&none).is_some());
        let odd = [answer_of("odd", None, [f64::NAN, 0.0])];
        let error = Spmr::measure(&odd, &settings(), LeftOut::default()).unwrap_err();
        assert!(error.to_string().contains("pair `odd`: `cosine`"), "{error}");
    }
}
