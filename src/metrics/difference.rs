//! Differences between two measurements of the same pairs.

use std::borrow::Borrow;

use crate::bail_input;
use crate::metrics::bootstrap::Column;
use crate::metrics::figure::{Metrics, clusters_of, rows};
use crate::metrics::score::PairScore;

/// Every metric after less before, pair by pair, on the resamples that [`crate::metrics::figure::measure`] draws.
///
/// Refuses two lists that are not the same pairs in the same order.
pub fn difference<S: Borrow<PairScore>>(
    before: &[S],
    after: &[S],
    beta: f64,
) -> anyhow::Result<Metrics> {
    check_same_pairs(before, after)?;
    let mut differences = rows(after, beta)?;
    for (row, before) in differences.iter_mut().zip(rows(before, beta)?) {
        row.iter_mut().zip(before).for_each(|(after, before)| *after -= before);
    }
    Ok(Metrics::of_rows(&differences, Column::Change, [None; 6], &clusters_of(after)))
}

/// Refuses two lists that are not the same pairs in the same order.
pub(super) fn check_same_pairs<S: Borrow<PairScore>>(
    before: &[S],
    after: &[S],
) -> anyhow::Result<()> {
    if before.len() != after.len() {
        bail_input!(
            "{} pairs were scored before and {} after; a difference needs the same pairs",
            before.len(),
            after.len()
        );
    }
    for (index, (before, after)) in before.iter().zip(after).enumerate() {
        let (before, after) = (before.borrow(), after.borrow());
        if (&before.id, &before.user, &before.source) != (&after.id, &after.user, &after.source) {
            bail_input!(
                "pair {}: `{}` was scored before and `{}` after; a difference needs the same pairs, users and files in order",
                index + 1,
                before.id,
                after.id
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::figure::Figure;
    use crate::metrics::metric::Metric;
    use crate::metrics::score::pair_of;

    const BETA: f64 = 0.1;

    #[track_caller]
    fn assert_close(got: f64, expected: f64, tolerance: f64) {
        assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected}");
    }

    /// One pair won, one lost and two tied against the reference.
    fn pairs() -> Vec<PairScore> {
        vec![
            pair_of("won", Some("a"), [-10.0, -35.0, -20.0, -30.0]),
            pair_of("lost", Some("b"), [-30.0, -30.0, -20.0, -24.0]),
            pair_of("tied", Some("b"), [-30.0, -20.0, -30.0, -20.0]),
            pair_of("tied too", Some("c"), [-30.0, -25.0, -25.0, -20.0]),
        ]
    }

    #[test]
    fn a_difference_is_after_less_before_and_is_zero_with_itself() {
        let before = pairs();
        let mut after = before.clone();
        after[3].policy_chosen_logps += 20.0; // the tie is won, by itself too
        let change = difference(&before, &after, BETA).unwrap();
        assert_close(change.opa.value, 0.25, 0.0);
        assert_eq!((change.opa.n, change.opa.ties), (4, None));
        // Three users show next to nothing.
        assert!(change.opa.low.unwrap() < 0.0 && change.opa.high.unwrap() > 0.75);
        assert_close(change.preference_accuracy.value, 0.25, 0.0);
        assert_close(change.reward_margin_mean.value, 0.5, 1e-12);
        for metric in Metric::ALL {
            let none = *difference(&before, &before, BETA).unwrap().get(metric);
            let width = none.high.unwrap();
            assert_eq!(
                none,
                Figure { value: 0.0, low: Some(-width), high: Some(width), n: 4, ties: None }
            );
            assert_eq!(width > 0.5, metric.is_share(), "a share of three users may still change");
        }
    }

    #[test]
    fn a_difference_between_other_pairs_is_an_error() {
        let before = pairs();
        let mut after = before.clone();
        after.swap(0, 1);
        assert!(
            difference(&before, &after, BETA)
                .unwrap_err()
                .to_string()
                .starts_with("pair 1: `won` was")
        );
        assert!(difference(&before, &before[1..], BETA).is_err());
        let error = difference(&before, &before[..3], BETA).unwrap_err().to_string();
        assert!(error.starts_with("4 pairs were scored before and 3 after"), "{error}");
    }
}
