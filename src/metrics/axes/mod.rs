//! Two of the paper's three axes, [`consistency`] and [`fairness`]; the third, accuracy, is the figure of the set itself.
//!
//! Both count the same wins of the same users: an [`Outcome`] a pair, whatever decides it.

use serde::{Deserialize, Serialize};

use crate::metrics::metric::Metric;
use crate::metrics::score::PairScore;

pub mod consistency;
pub mod fairness;
pub mod outcome;

pub use consistency::Consistency;
pub use fairness::{Extreme, Fairness};
pub use outcome::Outcome;

/// The strict comparisons that have axes.
pub const METRICS: [Metric; 2] = [Metric::Opa, Metric::PreferenceAccuracy];

/// Consistency and fairness of one metric on one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axes {
    /// The metric whose wins are counted.
    pub metric: Metric,
    /// None where no user has two pairs.
    pub consistency: Option<Consistency>,
    /// One per attribute with two groups that are large enough.
    pub fairness: Vec<Fairness>,
}

/// Both axes for each of [`METRICS`]; `before` and `minimum_n` as in [`crate::metrics::groups::measure`].
pub fn measure(before: Option<&[PairScore]>, scores: &[PairScore], minimum_n: usize) -> Vec<Axes> {
    let axes = |metric| {
        let after = outcomes(scores, metric);
        Axes {
            metric,
            consistency: consistency::measure(
                before.map(|b| outcomes(b, metric)).as_deref(),
                &after,
            ),
            fairness: fairness::measure(&after, minimum_n),
        }
    };
    METRICS.map(axes).into()
}

/// Whether each pair is won.
fn outcomes(scores: &[PairScore], metric: Metric) -> Vec<Outcome<'_>> {
    let outcome =
        |score: &'_ PairScore| metric.compare(score).is_some_and(|ordering| ordering.is_gt());
    scores
        .iter()
        .map(|score| Outcome {
            user: score.user.as_deref(),
            source: &score.source,
            groups: &score.groups,
            won: outcome(score),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::score::pair_of;

    /// One pair: `won` 1 wins by itself and against the reference, 0 ties both, -1 loses both.
    fn pair(user: Option<&str>, won: i32, gender: &str) -> PairScore {
        let mut score = pair_of("x", user, [-20.0 + f64::from(won), -20.0, -20.0, -20.0]);
        score.groups.insert("gender".into(), gender.into());
        score
    }

    #[track_caller]
    fn assert_close(got: f64, expected: f64) {
        assert!((got - expected).abs() <= 1e-12, "got {got}, expected {expected}");
    }

    #[test]
    fn consistency_equals_its_value_by_hand() {
        // a: 2 of 3 won, agreement 2 / 6; b: both lost or tied, 1; c has one pair and does not count.
        let scores = [
            pair(Some("a"), 1, "f"),
            pair(Some("a"), 1, "f"),
            pair(Some("a"), 0, "f"),
            pair(Some("b"), 0, "m"),
            pair(Some("b"), -1, "m"),
            pair(Some("c"), 1, "m"),
            pair(None, 1, "m"),
        ];
        let [opa, accuracy] = &measure(None, &scores, 1)[..] else { panic!("two metrics") };
        let consistency = opa.consistency.as_ref().unwrap();
        assert_close(consistency.agreement.value, (1.0 / 3.0 + 1.0) / 2.0);
        assert_eq!((consistency.agreement.n, &consistency.change), (2, &None));
        assert_close(consistency.by_chance, 0.4 * 0.4 + 0.6 * 0.6);
        assert_eq!(accuracy.consistency, opa.consistency);
    }

    #[test]
    fn a_change_of_consistency_is_paired_by_user() {
        let before = [1, 0, 1, 0].map(|won| pair(Some("a"), won, "f"));
        let after = [1, 1, 1, 1].map(|won| pair(Some("a"), won, "f"));
        let axes = measure(Some(&before), &after, 1);
        let consistency = axes[0].consistency.as_ref().unwrap();
        assert_close(consistency.agreement.value, 1.0);
        assert_close(consistency.change.unwrap().value, 1.0 - 1.0 / 3.0);
        assert_eq!(consistency.agreement.low, None); // one user
        assert_eq!(measure(None, &[pair(None, 1, "f")], 1)[0].consistency, None);
    }

    #[test]
    fn the_gap_and_its_ends_equal_their_values_by_hand() {
        let mut scores = Vec::new();
        // Five users a group, each with the same four outcomes.
        for (gender, won) in [("f", [1, 1, 1, 0]), ("m", [1, 0, -1, 0]), ("x", [1, 1, 0, 0])] {
            scores.extend(
                (0..20).map(|i| pair(Some(&format!("{gender}{}", i / 4)), won[i % 4], gender)),
            );
        }
        scores.push(pair(Some("z"), 1, "too few"));
        let axes = measure(None, &scores, 2);
        let [fairness] = &axes[0].fairness[..] else { panic!("one attribute") };
        assert_eq!((&*fairness.attribute, fairness.groups, fairness.gap.n), ("gender", 3, 60));
        assert_close(fairness.gap.value, 0.75 - 0.25);
        assert_eq!((&*fairness.best.label, &*fairness.worst.label), ("f", "m"));
        assert_close(fairness.worst.value, 0.25);
        assert!(fairness.gap.low.unwrap() <= 0.5 && fairness.gap.high.unwrap() >= 0.5);
        assert!(fairness.shuffled_gap >= 0.1);
    }

    #[test]
    fn a_gap_between_all_and_none_has_a_width() {
        let scores: Vec<_> = (0..20)
            .map(|i| {
                let (gender, won) = [("f", 1), ("m", -1)][i % 2];
                pair(Some(&format!("{gender}{i}")), won, gender)
            })
            .collect();
        let gap = measure(None, &scores, 10)[0].fairness[0].gap;
        assert_close(gap.value, 1.0);
        // Wilson's ends for ten users a group: 0.6615 to 1, and 0 to 0.3385.
        assert!((gap.low.unwrap() - 0.323).abs() <= 1e-3 && gap.high.unwrap() >= 1.0, "{gap:?}");
    }

    #[test]
    fn groups_that_do_not_differ_are_below_the_shuffled_gap_and_groups_that_do_are_above() {
        let of = |is_won: fn(usize) -> bool| {
            let scores: Vec<_> = (0..200)
                .map(|i| {
                    let gender = if i % 2 == 0 { "f" } else { "m" };
                    pair(Some(&format!("u{i}")), i32::from(is_won(i)), gender)
                })
                .collect();
            measure(None, &scores, 10)[0].fairness[0].clone()
        };
        let same = of(|i| i / 2 % 2 == 0);
        assert_close(same.gap.value, 0.0);
        assert!(same.shuffled_gap > 0.0);
        let apart = of(|i| i % 2 == 0 || i % 5 == 0);
        assert!(apart.gap.value > apart.shuffled_gap, "{apart:?}");
    }

    #[test]
    fn a_set_without_groups_has_no_gap() {
        assert!(measure(None, &[pair_of("a", None, [-1.0; 4])], 1)[0].fairness.is_empty());
    }
}
