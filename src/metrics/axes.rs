//! Two of the paper's three axes; the third, accuracy, is the figure of the set itself.
//!
//! **Intra-profile consistency.** The paper gives no formula. Here it is the agreement of one user's instances: of a
//! user with `k` pairs of which `w` are won, the share of the `k (k - 1)` ordered pairs of instances with the same
//! outcome, `(w (w - 1) + (k - w) (k - w - 1)) / (k (k - 1))`; the figure is its mean over the users with two pairs or
//! more, each weighing the same. A model that is always right, or always wrong, is consistent, so the agreement of
//! shuffled outcomes is given with it.
//!
//! **Inter-group fairness.** The best group's share less the worst's, over the groups of an attribute that are large
//! enough for a number; its interval is that of these two groups. They were chosen for being far apart, so the gap
//! after shuffling the users over the groups is given with it.
//!
//! One file: both axes count the same wins of the same users.

use serde::{Deserialize, Serialize};

use crate::metrics::bootstrap::{self, Clusters, Column, Draws, RESAMPLES, percentile};
use crate::metrics::figure::{Figure, clusters_of};
use crate::metrics::groups::{MINIMUM_CLUSTERS, members};
use crate::metrics::interval::{self, Interval, User};
use crate::metrics::metric::Metric;
use crate::metrics::score::PairScore;

/// The strict comparisons that have axes.
pub const METRICS: [Metric; 2] = [Metric::Opa, Metric::PreferenceAccuracy];

/// Share of the shuffled gaps that lie below [`Fairness::shuffled_gap`].
const SHUFFLED: f64 = 0.95;

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

/// Agreement of one user's instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consistency {
    /// Mean over users, `n` of them; the bootstrap draws users.
    pub agreement: Figure,
    /// `p^2 + (1 - p)^2` with `p` the share won of these users' pairs: the agreement of outcomes that do not depend on
    /// the user.
    pub by_chance: f64,
    /// The paired difference to before tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Figure>,
}

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

/// Both axes for each of [`METRICS`]; `before`, `seed` and `minimum_n` as in [`crate::metrics::groups::measure`].
pub fn measure(
    before: Option<&[PairScore]>,
    scores: &[PairScore],
    seed: u64,
    minimum_n: usize,
) -> Vec<Axes> {
    METRICS
        .map(|metric| Axes {
            metric,
            consistency: consistency(before, scores, metric, seed),
            fairness: fairness(scores, metric, seed, minimum_n),
        })
        .into()
}

/// Whether the pair is won.
fn is_won(score: &PairScore, metric: Metric) -> bool {
    metric.compare(score).is_some_and(|ordering| ordering.is_gt())
}

fn consistency(
    before: Option<&[PairScore]>,
    scores: &[PairScore],
    metric: Metric,
    seed: u64,
) -> Option<Consistency> {
    let after = wins_by_user(scores, metric);
    if after.is_empty() {
        return None;
    }
    let earlier = before.map(|before| wins_by_user(before, metric));
    let rows: Vec<[f64; 2]> = (0..after.len())
        .map(|user| {
            let now = after[user].agreement();
            [now, earlier.as_ref().map_or(0.0, |earlier| now - earlier[user].agreement())]
        })
        .collect();
    let users = Clusters::by_user(rows.iter().map(|_| None));
    let intervals = bootstrap::intervals(&rows, [Column::Share, Column::Change], &users, seed);
    let figure = |column: usize| Figure {
        value: rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64,
        low: intervals.map(|intervals| intervals[column].low),
        high: intervals.map(|intervals| intervals[column].high),
        n: rows.len(),
        ties: None,
    };
    let mut all = Wins::default();
    after.iter().for_each(|user| all.add(*user));
    let share = all.share();
    Some(Consistency {
        agreement: figure(0),
        by_chance: share.powi(2) + (1.0 - share).powi(2),
        change: earlier.is_some().then(|| figure(1)),
    })
}

/// A number of pairs, and how many of them are won.
#[derive(Debug, Clone, Copy, Default)]
struct Wins {
    won: usize,
    pairs: usize,
}

impl Wins {
    fn of(score: &PairScore, metric: Metric) -> Self {
        Self { won: usize::from(is_won(score, metric)), pairs: 1 }
    }

    fn add(&mut self, other: Self) {
        self.won += other.won;
        self.pairs += other.pairs;
    }

    /// Share won; NaN without a pair.
    fn share(self) -> f64 {
        self.won as f64 / self.pairs as f64
    }

    /// Share of the ordered couples of different pairs that are both won or both not won.
    fn agreement(self) -> f64 {
        let couples = |k: usize| k * k.saturating_sub(1);
        let alike = couples(self.won) + couples(self.pairs - self.won);
        alike as f64 / couples(self.pairs) as f64
    }
}

/// The wins of each user with two or more pairs, in order of appearance.
fn wins_by_user(scores: &[PairScore], metric: Metric) -> Vec<Wins> {
    let clusters = clusters_of(scores);
    let mut users = vec![Wins::default(); clusters.count()];
    for (score, &cluster) in scores.iter().zip(clusters.of_pair()) {
        users[cluster].add(Wins::of(score, metric));
    }
    users.retain(|user| user.pairs > 1);
    users
}

/// The pairs of one user within one group.
#[derive(Debug, Clone, Copy)]
struct Block {
    group: usize,
    wins: Wins,
}

fn fairness(scores: &[PairScore], metric: Metric, seed: u64, minimum_n: usize) -> Vec<Fairness> {
    let clusters = clusters_of(scores);
    let mut all = Vec::new();
    for (attribute, labels) in members(scores.iter().map(|one| (&*one.source, &one.groups))) {
        let mut names = Vec::new();
        let mut of_cluster: Vec<Vec<Block>> = vec![Vec::new(); clusters.count()];
        for (label, own) in labels {
            let mut blocks = std::collections::BTreeMap::new();
            for &i in &own {
                let block: &mut Wins = blocks.entry(clusters.of_pair()[i]).or_default();
                block.add(Wins::of(&scores[i], metric));
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
            all.push(gap_of(attribute, &names, &of_cluster, seed));
        }
    }
    all
}

fn gap_of(attribute: &str, names: &[&str], of_cluster: &[Vec<Block>], seed: u64) -> Fairness {
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
    let resampled = bootstrap::interval_of(of_cluster.len(), seed, |drawn| {
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
        (0..RESAMPLES as u64).map(|round| shuffled_gap(groups, &blocks, seed, round)).collect();
    shuffled.sort_by(f64::total_cmp);
    let (best, worst) = (extreme(best), extreme(worst));
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
fn shuffled_gap(groups: usize, blocks: &[Block], seed: u64, round: u64) -> f64 {
    let draws = Draws::new(seed, round);
    let mut of_block: Vec<usize> = blocks.iter().map(|block| block.group).collect();
    for last in (1..of_block.len()).rev() {
        of_block.swap(last, draws.below(last as u64, last + 1));
    }
    gap(groups, blocks.iter().zip(of_block).map(|(block, group)| Block { group, ..*block }))
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
        let [opa, accuracy] = &measure(None, &scores, 12, 1)[..] else { panic!("two metrics") };
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
        let axes = measure(Some(&before), &after, 12, 1);
        let consistency = axes[0].consistency.as_ref().unwrap();
        assert_close(consistency.agreement.value, 1.0);
        assert_close(consistency.change.unwrap().value, 1.0 - 1.0 / 3.0);
        assert_eq!(consistency.agreement.low, None); // one user
        assert_eq!(measure(None, &[pair(None, 1, "f")], 12, 1)[0].consistency, None);
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
        let axes = measure(None, &scores, 12, 2);
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
        let gap = measure(None, &scores, 12, 10)[0].fairness[0].gap;
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
            measure(None, &scores, 12, 10)[0].fairness[0].clone()
        };
        let same = of(|i| i / 2 % 2 == 0);
        assert_close(same.gap.value, 0.0);
        assert!(same.shuffled_gap > 0.0);
        let apart = of(|i| i % 2 == 0 || i % 5 == 0);
        assert!(apart.gap.value > apart.shuffled_gap, "{apart:?}");
    }

    #[test]
    fn a_set_without_groups_has_no_gap() {
        assert!(measure(None, &[pair_of("a", None, [-1.0; 4])], 12, 1)[0].fairness.is_empty());
    }
}
