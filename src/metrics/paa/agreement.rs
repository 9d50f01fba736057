//! Krippendorff's alpha: how far several judges, or repetitions of one, agree beyond chance.

use std::collections::BTreeMap;

use crate::metrics::bootstrap::{self, Clusters};
use crate::metrics::figure::Figure;

/// Krippendorff's alpha for nominal ratings (Krippendorff, *Content Analysis*, 2004): `1 - D_o / D_e`, where `D_o` is the disagreement
/// within items and `D_e` that of ratings paired at random. 1: perfect, 0: as by chance.
///
/// - `items`: the ratings of each; none where a judge gave none. An item with fewer than two ratings does not count.
/// - `users`: whose each item is: the interval draws users.
///
/// None where no item has two ratings, and where all ratings are the same: nothing was there to disagree about.
pub fn krippendorff<R: Copy + Ord + Sync>(
    items: &[Vec<Option<R>>],
    users: &Clusters,
) -> Option<Figure> {
    let mut categories = BTreeMap::new();
    for rating in items.iter().flatten().flatten() {
        let next = categories.len();
        categories.entry(*rating).or_insert(next);
    }
    let counts: Vec<Vec<f64>> = items
        .iter()
        .map(|ratings| {
            let mut counts = vec![0.0; categories.len()];
            ratings.iter().flatten().for_each(|rating| counts[categories[rating]] += 1.0);
            counts
        })
        .filter_map(|counts| Some(counts).filter(|counts| counts.iter().sum::<f64>() >= 2.0))
        .collect();
    let of_item: Vec<usize> = items
        .iter()
        .zip(users.of_pair())
        .filter(|(ratings, _)| ratings.iter().flatten().count() >= 2)
        .map(|(_, &user)| user)
        .collect();
    let value = alpha(counts.iter());
    if !value.is_finite() {
        return None;
    }
    let mut of_user = vec![Vec::new(); users.count()];
    counts.iter().zip(of_item).for_each(|(counts, user)| of_user[user].push(counts));
    of_user.retain(|counts| !counts.is_empty());
    let interval = bootstrap::interval_of(of_user.len(), bootstrap::SEED, |drawn| {
        alpha(drawn.iter().flat_map(|&user| of_user[user].iter().copied()))
    });
    Some(Figure {
        value,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        n: counts.len(),
        ties: None,
    })
}

/// Alpha of items that are given as the number of ratings of each category, two ratings or more an item; NaN where all are the same.
fn alpha<'a>(items: impl Iterator<Item = &'a Vec<f64>>) -> f64 {
    let (mut observed, mut totals, mut ratings) = (0.0, Vec::new(), 0.0);
    for counts in items {
        totals.resize(counts.len(), 0.0);
        let own: f64 = counts.iter().sum();
        // Ordered couples of ratings of this item that differ, each item weighing as its ratings do.
        observed +=
            (own.powi(2) - counts.iter().map(|count| count.powi(2)).sum::<f64>()) / (own - 1.0);
        totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        ratings += own;
    }
    let squares: f64 = totals.iter().map(|total| total.powi(2)).sum();
    let expected = (ratings.powi(2) - squares) / (ratings - 1.0);
    1.0 - observed / expected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(items: usize) -> Clusters {
        Clusters::by_user((0..items).map(|_| None))
    }

    #[test]
    fn alpha_equals_krippendorffs_own_example() {
        // Four observers, twelve units, some without a rating; nominal alpha 0.743 (Krippendorff, "Computing Krippendorff's
        // Alpha-Reliability", 2011).
        let observers = [
            "1 2 3 3 2 1 4 1 2 . . .",
            "1 2 3 3 2 2 4 1 2 5 . 3",
            ". 3 3 3 2 3 4 2 2 5 1 .",
            "1 2 3 3 2 4 4 1 2 5 1 .",
        ]
        .map(|line| line.split(' ').map(|rating| rating.parse::<u8>().ok()).collect::<Vec<_>>());
        let items: Vec<_> =
            (0..12).map(|unit| observers.iter().map(|o| o[unit]).collect()).collect();
        let alpha = krippendorff(&items, &alone(12)).unwrap();
        assert!((alpha.value - 0.743).abs() < 5e-4, "{alpha:?}");
        assert_eq!(alpha.n, 11); // the last unit has one rating
        assert!(alpha.low.unwrap() < alpha.value && alpha.value < alpha.high.unwrap());
    }

    #[test]
    fn judges_that_always_agree_have_1_and_judges_that_never_do_less_than_0() {
        let of = |ratings: [[bool; 2]; 4]| {
            let items: Vec<_> = ratings.iter().map(|r| r.map(Some).to_vec()).collect();
            krippendorff(&items, &alone(4)).map(|alpha| alpha.value)
        };
        assert_eq!(of([[true, true], [false, false], [true, true], [false, false]]), Some(1.0));
        assert!(of([[true, false]; 4]).unwrap() < 0.0);
        assert_eq!(of([[true, true]; 4]), None);
        assert!(krippendorff(&[vec![Some(1), None]], &alone(1)).is_none());
    }
}
