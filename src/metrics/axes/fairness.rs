//! Inter-group fairness: the best group's share less the worst's.
//!
//! Over the groups of an attribute that are large enough for a number; the gap's interval is that of these two groups. They were chosen
//! for being far apart, so the gap after shuffling the users over the groups is given with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metrics::axes::outcome::{Outcome, Wins, clusters_of};
use crate::metrics::bootstrap::{self, Draws, RESAMPLES, percentile};
use crate::metrics::figure::Figure;
use crate::metrics::groups::{MINIMUM_CLUSTERS, members};
use crate::metrics::interval::{self, Interval, User};

/// Share of the shuffled gaps that lie below [`Fairness::shuffled_gap`].
const SHUFFLED: f64 = 0.95;

/// How far the groups of one attribute are apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fairness {
    /// The attribute of the groups.
    pub attribute: String,
    /// Groups that are large enough for a number.
    pub groups: usize,
    /// The best group's share less the worst's; `n` is the pairs of these groups.
    pub gap: Figure,
    /// The group with the largest share.
    pub best: Extreme,
    /// The group with the smallest share.
    pub worst: Extreme,
    /// 95 of 100 gaps lie below this when users are shuffled over the groups: a smaller gap is no evidence of a
    /// difference.
    pub shuffled_gap: f64,
    /// Share of the shuffled gaps, this one among them, that are as large: how often chance alone gives such a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// `p_value` corrected for the number of attributes (Holm, 1979): below 0.05, some attribute is named by chance in at most 5 of 100
    /// sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_adjusted: Option<f64>,
}

/// The best or the worst group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extreme {
    /// Its name.
    pub label: String,
    /// Its share.
    pub value: f64,
    /// Its pairs.
    pub n: usize,
}

/// The pairs of one user within one group.
#[derive(Debug, Clone, Copy)]
struct Block {
    group: usize,
    wins: Wins,
}

/// The gap of every attribute with two groups that are large enough; `minimum_n`: fewest pairs of one.
pub fn measure(outcomes: &[Outcome<'_>], minimum_n: usize) -> Vec<Fairness> {
    let clusters = clusters_of(outcomes);
    let mut all = Vec::new();
    for (attribute, labels) in members(outcomes.iter().map(|one| (one.source, one.groups))) {
        let mut names = Vec::new();
        let mut of_cluster: Vec<Vec<Block>> = vec![Vec::new(); clusters.count()];
        for (label, own) in labels {
            let mut blocks = BTreeMap::new();
            for &i in &own {
                let block: &mut Wins = blocks.entry(clusters.of_pair()[i]).or_default();
                block.add(Wins::of(&outcomes[i]));
            }
            if own.len() < minimum_n || blocks.len() < MINIMUM_CLUSTERS {
                continue;
            }
            for (cluster, wins) in blocks {
                of_cluster[cluster].push(Block { group: names.len(), wins });
            }
            names.push(label);
        }
        of_cluster.retain(|blocks| !blocks.is_empty());
        if names.len() > 1 {
            all.push(gap_of(attribute, &names, &of_cluster));
        }
    }
    adjust(&mut all);
    all
}

/// Holm's correction over the attributes: the smallest p times their number, the next times one less, none below one before it.
fn adjust(all: &mut [Fairness]) {
    let mut order: Vec<usize> = (0..all.len()).collect();
    let p = |all: &[Fairness], i: usize| all[i].p_value.unwrap_or(1.0);
    order.sort_by(|&a, &b| p(all, a).total_cmp(&p(all, b)));
    let mut least = 0.0_f64;
    for (place, &attribute) in order.iter().enumerate() {
        let times = (all.len() - place) as f64;
        least = least.max((p(all, attribute) * times).min(1.0));
        all[attribute].p_adjusted = Some(least);
    }
}

fn gap_of(attribute: &str, names: &[&str], of_cluster: &[Vec<Block>]) -> Fairness {
    let groups = names.len();
    let blocks: Vec<Block> = of_cluster.iter().flatten().copied().collect();
    let shares = shares(groups, blocks.iter().copied());
    let totals = totals(groups, blocks.iter().copied());
    let place = |is_better: fn(f64, f64) -> bool| {
        (1..groups).fold(
            0,
            |found, group| {
                if is_better(shares[group], shares[found]) { group } else { found }
            },
        )
    };
    let extreme = |group: usize| Extreme {
        label: names[group].to_owned(),
        value: shares[group],
        n: totals[group].pairs,
    };
    let (best, worst) = (place(|a, b| a > b), place(|a, b| a < b));
    let resampled = bootstrap::interval_of(of_cluster.len(), bootstrap::SEED, |drawn| {
        let drawn = drawn.iter().flat_map(|&cluster| of_cluster[cluster].iter().copied());
        let shares = self::shares(groups, drawn);
        shares[best] - shares[worst]
    });
    // Where every user of both groups has the same outcome, no resample differs.
    let interval = resampled.map(|interval| match interval.low < interval.high {
        true => interval,
        false => apart(share_of(best, &blocks), share_of(worst, &blocks)),
    });
    let mut shuffled: Vec<f64> =
        (0..RESAMPLES as u64).map(|round| shuffled_gap(groups, &blocks, round)).collect();
    shuffled.sort_by(f64::total_cmp);
    let (best, worst) = (extreme(best), extreme(worst));
    // Sums in another order may differ in the last bit.
    let as_large = |gap: &&f64| **gap >= best.value - worst.value - 1e-12;
    let as_large = shuffled.iter().filter(as_large).count() as f64;
    Fairness {
        attribute: attribute.to_owned(),
        groups,
        gap: Figure {
            value: best.value - worst.value,
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            n: blocks.iter().map(|block| block.wins.pairs).sum(),
            ties: None,
        },
        best,
        worst,
        shuffled_gap: percentile(&shuffled, SHUFFLED),
        p_value: Some((as_large + 1.0) / (RESAMPLES as f64 + 1.0)),
        p_adjusted: None,
    }
}

/// The interval of a group's share.
fn share_of(group: usize, blocks: &[Block]) -> Interval {
    let users: Vec<User> = blocks
        .iter()
        .filter(|block| block.group == group)
        .map(|block| User { pairs: block.wins.pairs as f64, sum: block.wins.won as f64 })
        .collect();
    interval::share(&users)
}

/// The interval of a difference of shares of different people, from the intervals of both.
fn apart(best: Interval, worst: Interval) -> Interval {
    Interval { low: best.low - worst.high, high: best.high - worst.low }
}

/// The pairs of each group.
fn totals(groups: usize, blocks: impl Iterator<Item = Block>) -> Vec<Wins> {
    let mut totals = vec![Wins::default(); groups];
    for block in blocks {
        totals[block.group].add(block.wins);
    }
    totals
}

/// Share won of each group; NaN for one without a pair.
fn shares(groups: usize, blocks: impl Iterator<Item = Block>) -> Vec<f64> {
    totals(groups, blocks).into_iter().map(Wins::share).collect()
}

/// The largest share less the smallest, of the groups that have a pair.
fn gap(groups: usize, blocks: impl Iterator<Item = Block>) -> f64 {
    let shares = shares(groups, blocks);
    // f64::max and min skip a NaN.
    let largest = shares.iter().copied().fold(f64::NAN, f64::max);
    largest - shares.iter().copied().fold(f64::NAN, f64::min)
}

/// The gap after shuffling every user's outcomes in a group over the groups (Fisher and Yates).
fn shuffled_gap(groups: usize, blocks: &[Block], round: u64) -> f64 {
    let draws = Draws::new(bootstrap::SEED, round);
    let mut of_block: Vec<usize> = blocks.iter().map(|block| block.group).collect();
    for last in (1..of_block.len()).rev() {
        of_block.swap(last, draws.below(last as u64, last + 1));
    }
    gap(groups, blocks.iter().zip(of_block).map(|(block, group)| Block { group, ..*block }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty users in each of two groups of each attribute; of `apart` of the attributes one group wins always.
    fn gaps(apart: usize) -> Vec<Fairness> {
        let people: Vec<(String, BTreeMap<String, String>)> = (0..40)
            .map(|i| {
                let label = |k: usize| if (i >> k) & 1 == 0 { "x" } else { "y" };
                (format!("u{i}"), (0..4).map(|k| (format!("a{k}"), label(k).to_owned())).collect())
            })
            .collect();
        let outcomes: Vec<_> = people
            .iter()
            .enumerate()
            .map(|(i, (user, groups))| Outcome {
                user: Some(user),
                source: "f",
                groups,
                won: if apart > 0 { i & 1 == 0 } else { (i >> 4) & 1 == 0 },
            })
            .collect();
        measure(&outcomes, 10)
    }

    #[test]
    fn a_gap_that_chance_gives_has_a_large_p_and_one_that_it_does_not_a_small_one() {
        let gaps = gaps(1);
        assert_eq!(gaps.len(), 4);
        for gap in &gaps {
            let (p, adjusted) = (gap.p_value.unwrap(), gap.p_adjusted.unwrap());
            assert!(p <= adjusted && adjusted <= 1.0, "{gap:?}");
            match gap.attribute.as_str() {
                "a0" => assert!((adjusted - 4.0 * p).abs() < 1e-12 && adjusted < 0.05, "{gap:?}"),
                _ => assert!(p > 0.2, "{gap:?}"),
            }
        }
    }

    #[test]
    fn without_a_difference_no_attribute_is_named() {
        assert!(gaps(0).iter().all(|gap| gap.p_adjusted.unwrap() > 0.05));
    }

    #[test]
    fn holms_correction_equals_its_value_by_hand() {
        let mut all = vec![gaps(0)[0].clone(); 4];
        let p = [0.01, 0.04, 0.03, 0.005];
        all.iter_mut().zip(p).for_each(|(gap, p)| gap.p_value = Some(p));
        adjust(&mut all);
        for (gap, expected) in all.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((gap.p_adjusted.unwrap() - expected).abs() < 1e-12, "{gap:?}");
        }
    }
}
