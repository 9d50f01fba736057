//! Judged answers in, Preference Alignment Accuracy out (the paper's Eq. 1): the share of answers that fit their user's value
//! preferences, by country, region and group, of one model or several.
//!
//! - In: a [`Judged`] per item, from a judge or from a file of verdicts written earlier.
//! - [`verdict`] joins several judges, [`scores`] turns a judge's scores into W, L or TIE, [`agreement`] tells how far judges agree.
//! - [`correction`] corrects the share for the judge's error, [`groups`] breaks it down, [`models`] compares models.
//! - Out: one [`ModelResult`] per model, the content of `paa.json`.
//!
//! An answer without a verdict counts neither as yes nor as no; their numbers stand beside every figure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metrics::axes::{Consistency, Fairness, Outcome, consistency, fairness};
use crate::metrics::bootstrap::{self, Clusters, Column};
use crate::metrics::figure::Figure;

pub mod agreement;
pub mod correction;
pub mod evaluation;
pub mod groups;
pub mod models;
pub mod scores;
pub mod verdict;
pub mod verdict_line;

pub use correction::{Calibration, Corrected};
pub use evaluation::{JudgedModel, PaaEvaluation};
pub use groups::{Breakdown, PaaGroup};
pub use scores::{Scores, Thresholds};
pub use verdict::{Verdict, majority};
pub use verdict_line::{Opinion, VerdictLine};

/// One answer of a model, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Id of the record.
    pub id: String,
    /// Whose question it is.
    pub user: Option<String>,
    /// Stem of the file of the record.
    pub source: String,
    /// Demographic fields of the record.
    pub groups: BTreeMap<String, String>,
    /// The verdict of all judges together.
    pub verdict: Verdict,
    /// The verdict of each judge, or of each repetition of a single one, in one order for all items.
    pub opinions: Vec<Verdict>,
}

/// The figures of one model's answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelResult {
    /// Name of the model.
    pub name: String,
    /// Items.
    pub n: usize,
    /// Users behind them, an item without one counting as one.
    pub users: usize,
    /// The share of answers that are aligned; its `n` is those with a verdict. None where no answer has one.
    pub paa: Option<Figure>,
    /// The share corrected for the judge's error; none where that cannot be.
    pub corrected: Option<Corrected>,
    /// Why `corrected` is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_corrected: Option<String>,
    /// Answers whose verdict could not be read.
    pub unparsed: usize,
    /// Items without an answer or without a reply of the judge.
    pub failed: usize,
    /// Krippendorff's alpha between judges or repetitions; none with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Figure>,
    /// The share of each group, by attribute and label.
    pub groups: Breakdown,
    /// The share of each group within each region: attribute, region, label.
    pub groups_by_region: BTreeMap<String, Breakdown>,
    /// Agreement of one user's verdicts.
    pub consistency: Option<Consistency>,
    /// The gap between the best and the worst group of each attribute.
    pub fairness: Vec<Fairness>,
}

impl ModelResult {
    /// Measures a model's answers.
    ///
    /// - `calibration`: how often the judge is right; none where it was not measured.
    /// - `minimum_n`: fewest answers of a group with a figure.
    pub fn measure(
        name: &str,
        items: &[Judged],
        calibration: Option<&Calibration>,
        minimum_n: usize,
    ) -> Self {
        let outcomes = outcomes(items);
        let count = |verdict| items.iter().filter(|item| item.verdict == verdict).count();
        let corrected = calibration.map(|judge| judge.correct(&outcomes));
        Self {
            name: name.to_owned(),
            n: items.len(),
            users: users(items).count(),
            paa: share(&outcomes),
            not_corrected: match &corrected {
                None => Some("the judge was not measured".into()),
                Some(Err(why)) => Some(why.to_string()),
                Some(Ok(_)) => None,
            },
            corrected: corrected.and_then(Result::ok),
            unparsed: count(Verdict::Unparsed),
            failed: count(Verdict::Failed),
            agreement: agreement_of(items),
            groups: groups::by_attribute(&outcomes, minimum_n),
            groups_by_region: groups::by_region(&outcomes, minimum_n),
            consistency: consistency::measure(None, &outcomes),
            fairness: fairness::measure(&outcomes, minimum_n),
        }
    }
}

/// The answers with a verdict.
fn outcomes(items: &[Judged]) -> Vec<Outcome<'_>> {
    let outcome = |item: &'_ Judged| item.verdict.is_aligned();
    items
        .iter()
        .filter_map(|item| {
            Some(Outcome {
                user: item.user.as_deref(),
                source: &item.source,
                groups: &item.groups,
                won: outcome(item)?,
            })
        })
        .collect()
}

/// The clusters of all items: users.
fn users(items: &[Judged]) -> Clusters {
    Clusters::by_user(items.iter().map(|item| item.user.as_deref()))
}

/// The share of aligned answers with its interval; none of no answers.
fn share(outcomes: &[Outcome<'_>]) -> Option<Figure> {
    let rows: Vec<[f64; 1]> = outcomes.iter().map(|one| [f64::from(u8::from(one.won))]).collect();
    let clusters = Clusters::by_user(outcomes.iter().map(|one| one.user));
    mean(&rows, Column::Share, &clusters)
}

/// The mean of a column with its interval; none of no rows.
fn mean(rows: &[[f64; 1]], column: Column, clusters: &Clusters) -> Option<Figure> {
    if rows.is_empty() {
        return None;
    }
    let intervals = bootstrap::intervals(rows, [column], clusters, bootstrap::SEED);
    Some(Figure {
        value: rows.iter().map(|row| row[0]).sum::<f64>() / rows.len() as f64,
        low: intervals.map(|[interval]| interval.low),
        high: intervals.map(|[interval]| interval.high),
        n: rows.len(),
        ties: None,
    })
}

/// Alpha of the opinions, those without a verdict left out.
fn agreement_of(items: &[Judged]) -> Option<Figure> {
    let read = |verdict: &Verdict| verdict.is_aligned().map(|_| *verdict);
    let opinions: Vec<Vec<_>> =
        items.iter().map(|item| item.opinions.iter().map(read).collect()).collect();
    agreement::krippendorff(&opinions, &users(items))
}

#[cfg(test)]
pub(in crate::metrics::paa) fn judged(
    id: usize,
    user: &str,
    groups: &[(&str, &str)],
    verdict: Verdict,
) -> Judged {
    Judged {
        id: id.to_string(),
        user: Some(user.into()),
        source: "test".into(),
        groups: groups.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        verdict,
        opinions: vec![verdict],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_verdict_counts_neither_as_yes_nor_as_no() {
        use Verdict::{Failed, No, Unparsed, Yes};
        let items: Vec<_> = [Yes, Yes, Yes, No, Unparsed, Failed]
            .into_iter()
            .enumerate()
            .map(|(i, verdict)| judged(i, &format!("u{i}"), &[], verdict))
            .collect();
        let result = ModelResult::measure("m", &items, None, 1);
        let paa = result.paa.unwrap();
        assert_eq!((paa.value, paa.n, result.n, result.users), (0.75, 4, 6, 6));
        assert_eq!((result.unparsed, result.failed), (1, 1));
        assert!(paa.low.unwrap() < 0.75 && paa.high.unwrap() > 0.75);
        assert_eq!(result.not_corrected.as_deref(), Some("the judge was not measured"));
    }

    #[test]
    fn no_verdict_at_all_is_no_figure() {
        let items = [judged(0, "a", &[], Verdict::Unparsed)];
        assert_eq!(ModelResult::measure("m", &items, None, 1).paa, None);
    }

    #[test]
    fn judges_who_agree_have_an_alpha_and_one_judge_has_none() {
        let mut items: Vec<_> = (0..10)
            .map(|i| {
                judged(
                    i,
                    &format!("u{i}"),
                    &[],
                    if i % 2 == 0 { Verdict::Yes } else { Verdict::No },
                )
            })
            .collect();
        assert_eq!(ModelResult::measure("m", &items, None, 1).agreement, None);
        items.iter_mut().for_each(|item| item.opinions.push(item.verdict));
        let alpha = ModelResult::measure("m", &items, None, 1).agreement.unwrap();
        assert!((alpha.value - 1.0).abs() < 1e-12, "{alpha:?}");
    }
}
