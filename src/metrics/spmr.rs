//! SPMR, the paper's Eq. 4: the share of prompts whose generated answer means nearly what the preferred answer says, by the cosine of
//! their sentence embeddings.
//!
//! Two ways of embedding the generated side are measured on the same answers: the answer alone, and the prompt with the answer
//! after it, which is what the paper's authors embedded.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bail_input;
use crate::config::SpmrSection;
use crate::disk::json_lines;
use crate::metrics::bootstrap::{self, Clusters};
use crate::metrics::figure::Figure;
use crate::metrics::groups::{MINIMUM_CLUSTERS, MINIMUM_N, members};

/// Bins of a histogram of cosines, which covers -1..=1.
const BINS: usize = 40;

/// One line of `eval/generations-<set>-{before,after}.jsonl`: a prompt, what the model answered, and how near that is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The pair's id.
    pub id: String,
    /// Who stated the preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Stem of the file the pair came from.
    pub source: String,
    /// Demographic fields of the record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, String>,
    /// What the model was given.
    pub prompt: String,
    /// What it answered.
    pub generation: String,
    /// The preferred answer, `answer_w` in MVPBench.
    pub reference: String,
    /// Cosine of the answer and the preferred answer.
    pub cosine: f64,
    /// Cosine of prompt and answer together and the preferred answer.
    pub cosine_with_prompt: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub generated_tokens: usize,
    /// Whether the model ended the answer itself, and not `max_new_tokens`.
    pub ended: bool,
}

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

/// SPMR of one group of a set's prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpmrGroup {
    /// What the group is made by, one of [`crate::metrics::groups::ATTRIBUTES`] or another field of the answers.
    pub attribute: String,
    /// Which group of the attribute, as the records spell it.
    pub label: String,
    /// Its prompts.
    pub n: usize,
    /// Its users, and prompts without one.
    pub clusters: usize,
    /// *The* figure of [`Spmr`]; none where the group is too small for a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spmr: Option<Figure>,
    /// Its paired difference to before tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Figure>,
}

/// How near answers are to the preferred ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Similarity {
    /// Share of cosines above the threshold; a tie is a cosine that equals it.
    pub spmr: Figure,
    /// Mean cosine.
    pub cosine_mean: Figure,
    /// The cosines at some shares of the sorted list.
    pub quantiles: Quantiles,
    /// How many cosines lie where.
    pub histogram: Histogram,
}

/// Cosines of the sorted list, interpolated linearly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The smallest.
    pub min: f64,
    /// A twentieth lies below.
    pub p05: f64,
    /// A quarter lies below.
    pub p25: f64,
    /// Half lies below.
    pub median: f64,
    /// A quarter lies above.
    pub p75: f64,
    /// A twentieth lies above.
    pub p95: f64,
    /// The largest.
    pub max: f64,
}

/// Counts of bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Lower end of the first bin.
    pub low: f64,
    /// Width of a bin; a cosine on an edge lies in the bin above it, 1 in the last.
    pub width: f64,
    /// Cosines in each bin.
    pub counts: Vec<usize>,
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
    /// Measures the answers to a set's prompts; `seed`: of the bootstrap, which is clustered by user.
    ///
    /// Refuses no answers at all and a cosine that is not finite.
    pub fn measure(
        answers: &[Answer],
        settings: &SpmrSection,
        left_out: LeftOut,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let all: Vec<&Answer> = answers.iter().collect();
        let rows = rows(&all, settings.threshold)?;
        let intervals = bootstrap::intervals(&rows, &clusters_of(&all), seed);
        let similarity = |first: usize| {
            let mut sorted: Vec<f64> = rows.iter().map(|row| row[first + 1]).collect();
            sorted.sort_by(f64::total_cmp);
            let ties = sorted.iter().filter(|c| c.total_cmp(&settings.threshold).is_eq()).count();
            let figure = |column| figure(&rows, intervals.as_ref(), column);
            Similarity {
                spmr: Figure { ties: Some(ties), ..figure(first) },
                cosine_mean: figure(first + 1),
                quantiles: quantiles(&sorted),
                histogram: histogram(&sorted),
            }
        };
        let chosen = column(settings.embed_prompt);
        let mut sources: BTreeMap<&str, Vec<&Answer>> = BTreeMap::new();
        all.iter().for_each(|&one| sources.entry(&one.source).or_default().push(one));
        let sources = sources
            .into_iter()
            .map(|(source, some)| {
                let rows = self::rows(&some, settings.threshold)?;
                let intervals = bootstrap::intervals(&rows, &clusters_of(&some), seed);
                Ok((source.to_owned(), figure(&rows, intervals.as_ref(), chosen)))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            embedder: settings.embedder.clone(),
            threshold: settings.threshold,
            max_new_tokens: settings.max_new_tokens,
            embed_prompt: settings.embed_prompt,
            answer_alone: similarity(0),
            with_prompt: similarity(2),
            sources,
            generated_tokens: all.iter().map(|one| one.generated_tokens).sum(),
            cut_answers: all.iter().filter(|one| !one.ended).count(),
            blank_answers: all.iter().filter(|one| one.generation.trim().is_empty()).count(),
            blank_references: left_out.blank_references,
            unasked: left_out.unasked,
            change: None,
            groups: groups_of(
                None,
                answers,
                settings.threshold,
                settings.embed_prompt,
                (seed, MINIMUM_N),
            )?,
        })
    }

    /// The same with its paired difference to the answers to the same prompts `before`.
    pub fn with_change(
        self,
        before: &[Answer],
        after: &[Answer],
        seed: u64,
    ) -> anyhow::Result<Self> {
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
        let intervals = bootstrap::intervals(&rows, &clusters, seed);
        let figure = |column| figure(&rows, intervals.as_ref(), column);
        let change = SpmrChange { answer_alone: figure(0), with_prompt: figure(2) };
        Self { change: Some(change), ..self }.group(Some(before), after, seed, MINIMUM_N)
    }

    /// The same with its groups measured anew from the answers, `minimum_n` prompts a group or more.
    ///
    /// Refuses answers of another number than the figures are of.
    pub fn group(
        self,
        before: Option<&[Answer]>,
        answers: &[Answer],
        seed: u64,
        minimum_n: usize,
    ) -> anyhow::Result<Self> {
        for answers in before.into_iter().chain([answers]) {
            if answers.len() != self.figure().n {
                let (n, there) = (self.figure().n, answers.len());
                bail_input!("SPMR is of {n} answers, and the file of answers has {there}");
            }
        }
        let groups =
            groups_of(before, answers, self.threshold, self.embed_prompt, (seed, minimum_n))?;
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

/// Every group of prompts, with the change where there are answers from before.
fn groups_of(
    before: Option<&[Answer]>,
    answers: &[Answer],
    threshold: f64,
    embed_prompt: bool,
    (seed, minimum_n): (u64, usize),
) -> anyhow::Result<Vec<SpmrGroup>> {
    let chosen = column(embed_prompt);
    let mut groups = Vec::new();
    for (attribute, labels) in members(answers.iter().map(|one| (&*one.source, &one.groups))) {
        for (label, members) in labels {
            let own: Vec<&Answer> = members.iter().map(|&i| &answers[i]).collect();
            let clusters = clusters_of(&own);
            let large = own.len() >= minimum_n && clusters.count() >= MINIMUM_CLUSTERS;
            let measured = |rows: Vec<[f64; 4]>| {
                figure(&rows, bootstrap::intervals(&rows, &clusters, seed).as_ref(), chosen)
            };
            let (mut spmr, mut change) = (None, None);
            if large {
                spmr = Some(measured(rows(&own, threshold)?));
                if let Some(before) = before {
                    let earlier: Vec<_> = members.iter().map(|&i| &before[i]).collect();
                    change = Some(measured(changes(&earlier, &own, threshold)?));
                }
            }
            groups.push(SpmrGroup {
                attribute: attribute.to_owned(),
                label: label.to_owned(),
                n: own.len(),
                clusters: clusters.count(),
                spmr,
                change,
            });
        }
    }
    Ok(groups)
}

/// Which of [`rows`] is *the* figure.
fn column(embed_prompt: bool) -> usize {
    if embed_prompt { 2 } else { 0 }
}

/// [`rows`] of `after` less those of `before`, the same prompts in order.
fn changes(before: &[&Answer], after: &[&Answer], threshold: f64) -> anyhow::Result<Vec<[f64; 4]>> {
    let mut all = rows(after, threshold)?;
    for (row, before) in all.iter_mut().zip(rows(before, threshold)?) {
        row.iter_mut().zip(before).for_each(|(after, before)| *after -= before);
    }
    Ok(all)
}

fn clusters_of(answers: &[&Answer]) -> Clusters {
    Clusters::by_user(answers.iter().map(|one| one.user.as_deref()))
}

/// Of each answer: whether its cosine is above the threshold and the cosine, alone and with the prompt.
fn rows(answers: &[&Answer], threshold: f64) -> anyhow::Result<Vec<[f64; 4]>> {
    if answers.is_empty() {
        bail_input!("no prompt was answered, so there is no SPMR to measure");
    }
    let row = |one: &&Answer| {
        one.check_finite()?;
        let above = |cosine: f64| f64::from(u8::from(cosine > threshold));
        let (alone, with) = (one.cosine, one.cosine_with_prompt);
        Ok([above(alone), alone, above(with), with])
    };
    answers.iter().map(row).collect()
}

fn figure(
    rows: &[[f64; 4]],
    intervals: Option<&[bootstrap::Interval; 4]>,
    column: usize,
) -> Figure {
    Figure {
        value: rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64,
        low: intervals.map(|intervals| intervals[column].low),
        high: intervals.map(|intervals| intervals[column].high),
        n: rows.len(),
        ties: None,
    }
}

fn quantiles(sorted: &[f64]) -> Quantiles {
    let at = |share| bootstrap::percentile(sorted, share);
    Quantiles {
        min: at(0.0),
        p05: at(0.05),
        p25: at(0.25),
        median: at(0.5),
        p75: at(0.75),
        p95: at(0.95),
        max: at(1.0),
    }
}

fn histogram(cosines: &[f64]) -> Histogram {
    let per_unit = BINS as f64 / 2.0;
    let mut counts = vec![0; BINS];
    for cosine in cosines {
        counts[(((cosine + 1.0) * per_unit).floor().max(0.0) as usize).min(BINS - 1)] += 1;
    }
    Histogram { low: -1.0, width: 1.0 / per_unit, counts }
}

impl Answer {
    fn check_finite(&self) -> anyhow::Result<()> {
        for (field, value) in
            [("cosine", self.cosine), ("cosine_with_prompt", self.cosine_with_prompt)]
        {
            if !value.is_finite() {
                bail_input!("pair `{}`: `{field}` must be finite, got `{value}`", self.id);
            }
        }
        Ok(())
    }
}

/// Writes one JSON line per answer, in order. The file appears whole or not at all.
pub fn write_answers(path: &Path, answers: &[Answer]) -> anyhow::Result<()> {
    answers.iter().try_for_each(Answer::check_finite)?;
    json_lines::write(path, answers)
}

/// Reads what [`write_answers`] wrote. An unreadable line is an [`crate::error::InputError`] that names the file and the line.
pub fn read_answers(path: &Path) -> anyhow::Result<Vec<Answer>> {
    json_lines::read(path, |_| "not a generated answer".to_owned(), Answer::check_finite)
}

/// An answer for tests.
#[cfg(test)]
pub(crate) fn answer_of(id: &str, user: Option<&str>, cosines: [f64; 2]) -> Answer {
    Answer {
        id: id.into(),
        user: user.map(Into::into),
        source: "test".into(),
        groups: BTreeMap::new(),
        prompt: "why".into(),
        generation: "so".into(),
        reference: "because".into(),
        cosine: cosines[0],
        cosine_with_prompt: cosines[1],
        prompt_tokens: 2,
        generated_tokens: 3,
        ended: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::InputError;

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
        let spmr = Spmr::measure(&answers(), &settings(), LeftOut::default(), 12).unwrap();
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
        let spmr = Spmr::measure(&answers(), &settings, LeftOut::default(), 12).unwrap();
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
            let spmr = Spmr::measure(some, &settings(), LeftOut::default(), 1).unwrap();
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
            let spmr = Spmr::measure(some, &settings(), LeftOut::default(), 12).unwrap();
            spmr.with_change(&before, some, 12).unwrap()
        };
        let change = measure(&after).change.unwrap();
        assert!((change.answer_alone.value - 0.25).abs() <= 0.0);
        assert!((change.with_prompt.value - 0.0).abs() <= 0.0);
        let none = *measure(&before).figure_change().unwrap();
        assert_eq!(none, Figure { value: 0.0, low: Some(0.0), high: Some(0.0), n: 4, ties: None });
        let spmr = Spmr::measure(&after, &settings(), LeftOut::default(), 12).unwrap();
        assert!(spmr.clone().with_change(&before[1..], &after, 12).is_err());
        after.swap(0, 1);
        assert!(spmr.with_change(&before, &after, 12).is_err());
    }

    #[test]
    fn nothing_answered_and_a_nan_are_errors() {
        let none = Spmr::measure(&[], &settings(), LeftOut::default(), 0).unwrap_err();
        assert!(InputError::of(&none).is_some());
        let odd = [answer_of("odd", None, [f64::NAN, 0.0])];
        let error = Spmr::measure(&odd, &settings(), LeftOut::default(), 0).unwrap_err();
        assert!(error.to_string().contains("pair `odd`: `cosine`"), "{error}");
    }

    #[test]
    fn answers_survive_their_file_and_a_broken_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval/generations-a-before.jsonl");
        let mut all = answers();
        all[1].generation = "a \"quoted\"\nline\u{2028}".into();
        write_answers(&path, &all).unwrap();
        assert_eq!(read_answers(&path).unwrap(), all);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 20]).unwrap();
        let error = read_answers(&path).unwrap_err();
        assert!(error.to_string().contains("before.jsonl:4: not a generated answer"), "{error}");
    }
}
