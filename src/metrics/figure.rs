//! The figures of a set of pairs.

use std::borrow::Borrow;

use serde::{Deserialize, Serialize};

use crate::bail_input;
use crate::metrics::bootstrap::{self, Clusters, Column};
use crate::metrics::metric::Metric;
use crate::metrics::score::PairScore;

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The mean over the pairs; a share lies in 0..=1.
    pub value: f64,
    /// Lower end of the bootstrap interval; none where all pairs are of one user (see [`bootstrap::intervals`]).
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// Pairs behind the number.
    pub n: usize,
    /// Pairs whose answers were equal, which count as not won; none unless the metric is a strict comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ties: Option<usize>,
}

/// One figure per [`Metric`]; also their paired differences, see [`crate::metrics::difference()`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// [`Metric::Opa`].
    pub opa: Figure,
    /// [`Metric::PreferenceAccuracy`].
    pub preference_accuracy: Figure,
    /// [`Metric::PreferenceAccuracyNormalized`].
    pub preference_accuracy_normalized: Figure,
    /// [`Metric::OpaMarginMean`].
    pub opa_margin_mean: Figure,
    /// [`Metric::RewardMarginMean`].
    pub reward_margin_mean: Figure,
    /// [`Metric::DpoLoss`].
    pub dpo_loss: Figure,
}

impl Metrics {
    /// The figure of `metric`.
    pub fn get(&self, metric: Metric) -> &Figure {
        match metric {
            Metric::Opa => &self.opa,
            Metric::PreferenceAccuracy => &self.preference_accuracy,
            Metric::PreferenceAccuracyNormalized => &self.preference_accuracy_normalized,
            Metric::OpaMarginMean => &self.opa_margin_mean,
            Metric::RewardMarginMean => &self.reward_margin_mean,
            Metric::DpoLoss => &self.dpo_loss,
        }
    }

    /// The column means of `rows`, one column per [`Metric::ALL`], with their intervals; `share`: what the columns of shares are.
    pub(super) fn of_rows(
        rows: &[[f64; 6]],
        share: Column,
        ties: [Option<usize>; 6],
        clusters: &Clusters,
    ) -> Self {
        let columns =
            Metric::ALL.map(|metric| if metric.is_share() { share } else { Column::Number });
        let intervals = bootstrap::intervals(rows, columns, clusters, bootstrap::SEED);
        let figure = |column: usize| Figure {
            value: rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64,
            low: intervals.map(|intervals| intervals[column].low),
            high: intervals.map(|intervals| intervals[column].high),
            n: rows.len(),
            ties: ties[column],
        };
        let [
            opa,
            preference_accuracy,
            preference_accuracy_normalized,
            opa_margin_mean,
            reward_margin_mean,
            dpo_loss,
        ] = std::array::from_fn(figure);
        Self {
            opa,
            preference_accuracy,
            preference_accuracy_normalized,
            opa_margin_mean,
            reward_margin_mean,
            dpo_loss,
        }
    }
}

/// Every metric of one set of pairs, with intervals clustered by user.
///
/// - `beta`: DPO's, for the rewards and the loss; positive.
///
/// Refuses an empty list and a score that is not finite.
pub fn measure<S: Borrow<PairScore>>(scores: &[S], beta: f64) -> anyhow::Result<Metrics> {
    let rows = rows(scores, beta)?;
    let ties = Metric::ALL.map(|metric| {
        let compared = scores.iter().filter_map(|score| metric.compare(score.borrow()));
        let ties = compared.filter(|ordering| ordering.is_eq()).count();
        metric.compare(scores[0].borrow()).map(|_| ties)
    });
    Ok(Metrics::of_rows(&rows, Column::Share, ties, &clusters_of(scores)))
}

/// The clusters of the bootstrap: users.
pub(super) fn clusters_of<S: Borrow<PairScore>>(scores: &[S]) -> Clusters {
    Clusters::by_user(scores.iter().map(|score| score.borrow().user.as_deref()))
}

/// Every pair's term of every metric, in the order of [`Metric::ALL`]; refuses what [`measure`] refuses.
pub(super) fn rows<S: Borrow<PairScore>>(scores: &[S], beta: f64) -> anyhow::Result<Vec<[f64; 6]>> {
    if !(beta.is_finite() && beta > 0.0) {
        bail_input!("`beta` must be positive and finite, got `{beta}`");
    }
    if scores.is_empty() {
        bail_input!("no pair was scored, so there is nothing to measure");
    }
    let row = |score: &S| {
        let score = score.borrow();
        score.check_finite()?;
        Ok(Metric::ALL.map(|metric| metric.of(score, beta)))
    };
    scores.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_2;

    use super::*;
    use crate::metrics::score::pair_of;

    const BETA: f64 = 0.1;

    #[track_caller]
    fn assert_close(got: f64, expected: f64, tolerance: f64) {
        assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected}");
    }

    /// Two pairs won, one lost and one tied against the reference; by themselves one won, two lost, one tied.
    fn four_pairs() -> Vec<PairScore> {
        vec![
            pair_of("won", Some("a"), [-10.0, -35.0, -20.0, -30.0]), // margins 25 and 10
            pair_of("won, still behind", Some("a"), [-30.0, -28.0, -30.0, -20.0]), // -2 and -10
            pair_of("lost", Some("b"), [-30.0, -30.0, -20.0, -24.0]), // 0 and 4
            pair_of("tied", Some("c"), [-30.0, -25.0, -25.0, -20.0]), // -5 and -5
        ]
    }

    #[test]
    fn every_metric_equals_its_value_by_hand() {
        let metrics = measure(&four_pairs(), BETA).unwrap();
        assert_close(metrics.opa.value, 0.5, 0.0);
        assert_eq!((metrics.opa.n, metrics.opa.ties), (4, Some(1)));
        assert_close(metrics.preference_accuracy.value, 0.25, 0.0);
        assert_eq!(metrics.preference_accuracy.ties, Some(1));
        assert_close(metrics.preference_accuracy_normalized.value, 0.25, 0.0);
        assert_eq!(metrics.preference_accuracy_normalized.ties, Some(1));
        // Margins per token 2.5, -0.2, 0, -0.5: the first exceeds 0, 0.2 and 2.
        assert_close(metrics.opa_margin_mean.value, 3.0 / 24.0, 1e-15);
        assert_eq!(metrics.opa_margin_mean.ties, None);
        // Reward margins 1.5, 0.8, -0.4, 0.
        assert_close(metrics.reward_margin_mean.value, 1.9 / 4.0, 1e-12);
        let loss = (0.201_413_278 + 0.371_100_666 + 0.913_015_249 + LN_2) / 4.0;
        assert_close(metrics.dpo_loss.value, loss, 1e-9);
    }

    #[test]
    fn lengths_decide_the_normalized_accuracy() {
        let mut score = pair_of("a", None, [-20.0, -10.0, -20.0, -10.0]);
        score.chosen_tokens = 40;
        let metrics = measure(&[score], BETA).unwrap();
        assert_close(metrics.preference_accuracy.value, 0.0, 0.0);
        assert_close(metrics.preference_accuracy_normalized.value, 1.0, 0.0);
    }

    #[test]
    fn an_untuned_model_ties_every_pair_and_its_loss_is_ln_2() {
        let scores: Vec<_> =
            (0..5).map(|i| pair_of(&i.to_string(), None, [-3.1, -4.7, -3.1, -4.7])).collect();
        let metrics = measure(&scores, BETA).unwrap();
        assert_close(metrics.opa.value, 0.0, 0.0);
        assert_eq!(metrics.opa.ties, Some(5));
        assert_close(metrics.preference_accuracy.value, 1.0, 0.0);
        assert_close(metrics.dpo_loss.value, LN_2, 1e-15);
    }

    #[test]
    fn swapping_each_pair_turns_opa_into_what_is_neither_won_nor_tied() {
        let scores = four_pairs();
        let swap = |score: &PairScore| {
            let sums = [
                score.policy_rejected_logps,
                score.policy_chosen_logps,
                score.reference_rejected_logps,
                score.reference_chosen_logps,
            ];
            pair_of(&score.id, score.user.as_deref(), sums)
        };
        let swapped: Vec<_> = scores.iter().map(swap).collect();
        let (metrics, swapped) =
            (measure(&scores, BETA).unwrap(), measure(&swapped, BETA).unwrap());
        for metric in
            [Metric::Opa, Metric::PreferenceAccuracy, Metric::PreferenceAccuracyNormalized]
        {
            let (figure, swapped) = (metrics.get(metric), swapped.get(metric));
            let ties = figure.ties.unwrap() as f64 / figure.n as f64;
            assert_close(swapped.value, 1.0 - figure.value - ties, 1e-15);
        }
        assert_close(swapped.reward_margin_mean.value, -metrics.reward_margin_mean.value, 1e-15);
    }

    #[test]
    fn shifting_both_sides_of_the_reference_changes_nothing() {
        let scores = four_pairs();
        let mut shifted = scores.clone();
        for score in &mut shifted {
            score.reference_chosen_logps -= 64.0;
            score.reference_rejected_logps -= 64.0;
        }
        assert_eq!(measure(&scores, BETA).unwrap(), measure(&shifted, BETA).unwrap());
    }

    /// Sets of random scores, whole numbers so that ties are common.
    fn random_sets() -> impl Iterator<Item = Vec<PairScore>> {
        (0..40).map(|set| {
            let draws = bootstrap::Draws::new(set, 0);
            let pairs = 1 + draws.below(0, 30) as u64;
            let pair = |i: u64| {
                let sums =
                    std::array::from_fn(|k| -(draws.below(10 * i + k as u64 + 1, 4) as f64) - 20.0);
                let user = format!("user{}", draws.below(10 * i + 9, 5));
                pair_of(&i.to_string(), (!i.is_multiple_of(7)).then_some(&*user), sums)
            };
            (0..pairs).map(pair).collect()
        })
    }

    #[test]
    fn on_random_scores_swapping_shifting_and_repeating_do_what_they_must() {
        let strict = [Metric::Opa, Metric::PreferenceAccuracy];
        let mut tied = 0;
        for scores in random_sets() {
            let metrics = measure(&scores, BETA).unwrap();
            let change = |change: fn(&mut PairScore)| {
                let mut changed = scores.clone();
                changed.iter_mut().for_each(change);
                measure(&changed, BETA).unwrap()
            };
            let swapped = change(|score| {
                std::mem::swap(&mut score.policy_chosen_logps, &mut score.policy_rejected_logps);
                let reference = &mut score.reference_chosen_logps;
                std::mem::swap(reference, &mut score.reference_rejected_logps);
            });
            for metric in strict {
                let ties = metrics.get(metric).ties.unwrap();
                tied += ties;
                let won = metrics.get(metric).value;
                let rest = 1.0 - won - ties as f64 / scores.len() as f64;
                assert_close(swapped.get(metric).value, rest, 1e-12);
            }
            let shifted = change(|score| {
                score.policy_chosen_logps -= 32.0;
                score.policy_rejected_logps -= 32.0;
                score.reference_chosen_logps -= 8.0;
                score.reference_rejected_logps -= 8.0;
            });
            // The figures per token do move: the shift is not in proportion to the tokens.
            for metric in [Metric::Opa, Metric::PreferenceAccuracy, Metric::RewardMarginMean] {
                assert_eq!(shifted.get(metric), metrics.get(metric));
            }
            // Every pair of a user again, three times: the same users, so the same interval.
            let named = scores.iter().filter(|score| score.user.is_some());
            let named: Vec<PairScore> = named.cloned().collect();
            if !named.is_empty() {
                let repeated: Vec<_> = std::iter::repeat_n(&named, 3).flatten().cloned().collect();
                let (once, again) =
                    (measure(&named, BETA).unwrap(), measure(&repeated, BETA).unwrap());
                let ends = |metrics: &Metrics| [metrics.opa.low, metrics.opa.high];
                for (once, again) in ends(&once).into_iter().zip(ends(&again)) {
                    assert_close(once.unwrap_or(0.0), again.unwrap_or(0.0), 1e-12);
                }
            }
        }
        assert!(tied > 100, "{tied} ties test nothing");
    }

    #[test]
    fn a_nan_an_empty_set_and_a_wrong_beta_are_errors() {
        let nan = [pair_of("odd", None, [-1.0, -1.0, f64::NAN, -1.0])];
        assert!(measure(&nan, BETA).unwrap_err().to_string().contains("pair `odd`"));
        assert!(measure::<PairScore>(&[], BETA).is_err());
        for beta in [0.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(measure(&four_pairs(), beta).is_err());
        }
    }

    /// `tests/data/golden/cases/tiny/logps.json` is TRL's own evaluation of 13 pairs, one of them a tie.
    #[test]
    fn the_golden_case_gives_trls_figures() {
        let golden = std::fs::read_to_string("tests/data/golden/cases/tiny/logps.json").unwrap();
        let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
        let score = |pair: &serde_json::Value| {
            let sums = [
                ("chosen", "policy"),
                ("rejected", "policy"),
                ("chosen", "ref"),
                ("rejected", "ref"),
            ]
            .map(|(side, model)| pair[side][format!("{model}_logps")].as_f64().unwrap());
            pair_of(pair["id"].as_str().unwrap(), None, sums)
        };
        let scores: Vec<_> = golden["pairs"].as_array().unwrap().iter().map(score).collect();
        let metrics = measure(&scores, golden["beta"].as_f64().unwrap()).unwrap();
        let expected = |key: &str| golden["summary"][key].as_f64().unwrap();
        assert_eq!((metrics.opa.n, metrics.opa.ties), (13, Some(1)));
        assert_close(metrics.opa.value, expected("opa"), 1e-12);
        assert_close(metrics.dpo_loss.value, expected("mean_loss"), 1e-4);
        assert_close(metrics.reward_margin_mean.value, expected("mean_margin"), 1e-4);
    }
}
