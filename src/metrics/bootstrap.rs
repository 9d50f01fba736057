//! 95 % percentile intervals by a bootstrap that draws whole users, not pairs.
//!
//! The answers of one user are alike, so pairs drawn one by one would give intervals that are too narrow. Each resample
//! draws as many clusters as there are, with replacement, and takes the mean over the pairs of all drawn clusters.
//! A pair without a user is a cluster of its own.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, 2014) used as a counter: draw `k` of resample `r` is
//! `mix(mix(seed + (r + 1) * GAMMA) + (k + 1) * GAMMA)`. Nothing is carried from draw to draw, so resamples run on any number of
//! threads with the same bits, and two columns of figures for the same pairs see the same resamples.
//!
//! At a share of exactly 0 or 1 every resample repeats it, and few users show little of how users vary: there a share has the interval
//! of [`crate::metrics::interval`] instead.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::metrics::interval::{self, Interval, User};

/// Seed of every interval, whatever the seed of the run: the same scores have the same figures.
pub const SEED: u64 = 250_908_022;

/// Resamples behind every interval.
pub const RESAMPLES: usize = 1_000;

/// Probability below `low`, and above `high`.
const TAIL: f64 = 0.025;

/// The odd constant of SplitMix64, 2^64 divided by the golden ratio.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Any numbers.
    Number,
    /// In 0..=1: their mean is a share.
    Share,
    /// In -1..=1: shares after less shares before, of the same pairs.
    Change,
}

/// Which cluster each pair belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    of_pair: Vec<usize>,
    count: usize,
}

impl Clusters {
    /// One cluster per user, in order of appearance, and one per pair without a user.
    pub fn by_user<'a>(users: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut count = 0;
        let mut fresh = || {
            count += 1;
            count - 1
        };
        let of_pair = users
            .into_iter()
            .map(|user| match user {
                Some(user) => *known.entry(user).or_insert_with(&mut fresh),
                None => fresh(),
            })
            .collect();
        Self { of_pair, count }
    }

    /// How many clusters there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The cluster of each pair.
    pub(super) fn of_pair(&self) -> &[usize] {
        &self.of_pair
    }
}

/// The intervals of the column means of `rows`, all columns on the same resamples.
///
/// - `rows`: one row per pair, one column per figure, finite.
/// - `columns`: what the values of each are.
/// - `clusters`: of the same pairs in the same order.
///
/// `None` with fewer than two clusters: one user's answers do not show how users vary, and an interval of equal resamples would
/// claim a false certainty. Percentiles interpolate linearly, as NumPy's do.
pub fn intervals<const COLUMNS: usize>(
    rows: &[[f64; COLUMNS]],
    columns: [Column; COLUMNS],
    clusters: &Clusters,
    seed: u64,
) -> Option<[Interval; COLUMNS]> {
    assert_eq!(rows.len(), clusters.of_pair.len(), "one row per clustered pair");
    if clusters.count < 2 {
        return None;
    }
    let totals = totals(rows, clusters);
    let means: Vec<[f64; COLUMNS]> = (0..RESAMPLES as u64)
        .into_par_iter()
        .map(|resample| resampled_means(&totals, seed, resample))
        .collect();
    Some(std::array::from_fn(|column| {
        let resampled = middle(means.iter().map(|row| row[column]).collect());
        let users = || -> Vec<User> {
            let user = |total: &Total<COLUMNS>| User {
                pairs: total.pairs as f64,
                sum: total.sums[column],
            };
            totals.iter().map(user).collect()
        };
        let shows_enough = clusters.count >= interval::FEW && resampled.low < resampled.high;
        match columns[column] {
            Column::Share if !shows_enough => interval::share(&users()),
            Column::Change if !shows_enough => interval::change(&users()),
            _ => resampled,
        }
    }))
}

/// The interval of a statistic other than a mean of columns: `statistic` gets the clusters of a resample, drawn with replacement,
/// the same that [`intervals`] draws. Leaves out resamples on which it is not finite. `None` with fewer than two clusters, or if no
/// resample is left.
pub(super) fn interval_of(
    clusters: usize,
    seed: u64,
    statistic: impl Fn(&[usize]) -> f64 + Sync,
) -> Option<Interval> {
    let resampled = |resample: u64| {
        let draws = Draws::new(seed, resample);
        let drawn: Vec<usize> =
            (1..=clusters as u64).map(|draw| draws.below(draw, clusters)).collect();
        statistic(&drawn)
    };
    let all = || (0..RESAMPLES as u64).into_par_iter().map(resampled);
    let finite: Vec<f64> =
        if clusters > 1 { all().filter(|value| value.is_finite()).collect() } else { vec![] };
    (!finite.is_empty()).then(|| middle(finite))
}

/// The middle 95 % of the values of all resamples.
fn middle(mut values: Vec<f64>) -> Interval {
    values.sort_by(f64::total_cmp);
    Interval { low: percentile(&values, TAIL), high: percentile(&values, 1.0 - TAIL) }
}

/// The draws of one resample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draws {
    key: u64,
}

impl Draws {
    /// The draws of the resample with this number.
    pub(super) fn new(seed: u64, resample: u64) -> Self {
        Self { key: mix(seed.wrapping_add((resample + 1).wrapping_mul(GAMMA))) }
    }

    /// Draw number `draw`, uniform over `0..count` up to a bias of `count / 2^64`.
    pub(super) fn below(self, draw: u64, count: usize) -> usize {
        let bits = mix(self.key.wrapping_add(draw.wrapping_mul(GAMMA)));
        ((u128::from(bits) * count as u128) >> 64) as usize
    }
}

/// Sums of one cluster's rows, and how many there are.
struct Total<const COLUMNS: usize> {
    sums: [f64; COLUMNS],
    pairs: usize,
}

fn totals<const COLUMNS: usize>(
    rows: &[[f64; COLUMNS]],
    clusters: &Clusters,
) -> Vec<Total<COLUMNS>> {
    let mut totals: Vec<_> =
        (0..clusters.count).map(|_| Total { sums: [0.0; COLUMNS], pairs: 0 }).collect();
    for (row, &cluster) in rows.iter().zip(&clusters.of_pair) {
        add(&mut totals[cluster].sums, row);
        totals[cluster].pairs += 1;
    }
    totals
}

fn add<const COLUMNS: usize>(sums: &mut [f64; COLUMNS], row: &[f64; COLUMNS]) {
    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
}

fn resampled_means<const COLUMNS: usize>(
    totals: &[Total<COLUMNS>],
    seed: u64,
    resample: u64,
) -> [f64; COLUMNS] {
    let draws = Draws::new(seed, resample);
    let (mut sums, mut pairs) = ([0.0; COLUMNS], 0);
    for draw in 1..=totals.len() as u64 {
        let total = &totals[draws.below(draw, totals.len())];
        add(&mut sums, &total.sums);
        pairs += total.pairs;
    }
    sums.map(|sum| sum / pairs as f64)
}

/// SplitMix64's output function.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// The percentile at `share`, in 0..=1, of `sorted`, ascending and not empty, interpolated linearly.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0/1 outcomes of `pairs` pairs with no pattern, about 40 % ones.
    fn outcomes(pairs: u64) -> Vec<[f64; 1]> {
        (1..=pairs)
            .map(|pair| [f64::from(u8::from(mix(pair.wrapping_mul(GAMMA)) % 10 < 4))])
            .collect()
    }

    fn width(rows: &[[f64; 1]], clusters: &Clusters) -> f64 {
        let [interval] = intervals(rows, [Column::Number], clusters, 12).unwrap();
        interval.high - interval.low
    }

    #[test]
    fn splitmix_gives_its_published_first_draws() {
        // Sebastiano Vigna's splitmix64.c from state 1234567.
        let draws: Vec<u64> =
            (1..=3).map(|draw| mix(1_234_567 + GAMMA.wrapping_mul(draw))).collect();
        assert_eq!(
            draws,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn percentiles_interpolate_like_numpy() {
        let sorted = [0.0, 1.0, 2.0, 10.0];
        assert!((percentile(&sorted, 0.5) - 1.5).abs() <= 1e-12);
        assert!((percentile(&sorted, 0.9) - 7.6).abs() <= 1e-12);
        assert!((percentile(&sorted, 1.0) - 10.0).abs() <= 1e-12);
    }

    #[test]
    fn the_interval_of_a_share_is_as_wide_as_the_normal_approximation() {
        let rows = outcomes(2_000);
        let share = rows.iter().map(|row| row[0]).sum::<f64>() / rows.len() as f64;
        let expected = 2.0 * 1.96 * (share * (1.0 - share) / rows.len() as f64).sqrt();
        let found = width(&rows, &Clusters::by_user(rows.iter().map(|_| None)));
        assert!((found / expected - 1.0).abs() <= 0.1, "width {found}, expected {expected}");
    }

    #[test]
    fn repeating_each_pair_under_its_user_does_not_shrink_the_interval() {
        let rows = outcomes(400);
        let users: Vec<String> = (0..400).map(|user| format!("user{user}")).collect();
        let once = width(&rows, &Clusters::by_user(users.iter().map(|user| Some(&**user))));
        let repeated: Vec<_> = rows.iter().flat_map(|row| [*row; 9]).collect();
        let clusters = Clusters::by_user(users.iter().flat_map(|user| [Some(&**user); 9]));
        assert_eq!(clusters.count(), 400);
        assert!((width(&repeated, &clusters) - once).abs() <= 1e-12);
        let naive = width(&repeated, &Clusters::by_user(repeated.iter().map(|_| None)));
        assert!(naive < 0.5 * once, "naive {naive}, clustered {once}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
        let rows = outcomes(300);
        let clusters = Clusters::by_user(rows.iter().map(|_| None));
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let first = alone.install(|| intervals(&rows, [Column::Share], &clusters, 7));
        assert_eq!(first, intervals(&rows, [Column::Share], &clusters, 7));
        assert_ne!(first, intervals(&rows, [Column::Share], &clusters, 8));
    }

    #[test]
    fn a_statistic_sees_the_same_resamples_as_the_means() {
        let rows = outcomes(60);
        let clusters = Clusters::by_user(rows.iter().map(|_| None));
        let mean =
            |drawn: &[usize]| drawn.iter().map(|&i| rows[i][0]).sum::<f64>() / drawn.len() as f64;
        assert_eq!(
            interval_of(60, 12, mean),
            intervals(&rows, [Column::Share], &clusters, 12).map(|[one]| one)
        );
        assert_eq!(interval_of(1, 12, mean), None);
    }

    #[test]
    fn one_user_or_none_has_no_interval() {
        assert_eq!(
            intervals(&outcomes(5), [Column::Share], &Clusters::by_user([Some("a"); 5]), 0),
            None
        );
        assert_eq!(intervals::<1>(&[], [Column::Share], &Clusters::by_user([]), 0), None);
    }

    #[test]
    fn two_users_have_an_interval() {
        let clusters = Clusters::by_user(["a", "b", "b"].map(Some));
        let [interval] = intervals(&[[0.0], [1.0], [1.0]], [Column::Number], &clusters, 0).unwrap();
        // A quarter of the resamples is `a` twice, another `b` twice.
        assert_eq!((interval.low, interval.high), (0.0, 1.0));
        assert!(interval_of(2, 0, |drawn| drawn.len() as f64).is_some());
    }

    #[test]
    fn a_share_of_few_users_or_without_a_loss_is_not_resampled() {
        let one_each = |users: usize| Clusters::by_user((0..users).map(|_| None));
        let of = |rows: &[[f64; 1]], column| intervals(rows, [column], &one_each(rows.len()), 3);
        let won = vec![[1.0]; 200];
        for column in [Column::Share, Column::Change] {
            let [all_won] = of(&won, column).unwrap();
            assert!(all_won.low < 0.99 && all_won.high >= 1.0, "{all_won:?}");
        }
        assert_eq!(of(&won, Column::Number), Some([Interval { low: 1.0, high: 1.0 }]));
        for users in [49, 50] {
            let rows = outcomes(users);
            let resampled = of(&rows, Column::Number) == of(&rows, Column::Share);
            assert_eq!(resampled, users == 50);
            assert_eq!(resampled, of(&rows, Column::Number) == of(&rows, Column::Change));
        }
    }

    #[test]
    fn every_user_is_drawn_as_often_as_any_other() {
        let mut drawn = [0; 7];
        for resample in 0..1_000 {
            let draws = Draws::new(3, resample);
            (1..=7).for_each(|draw| drawn[draws.below(draw, 7)] += 1);
        }
        // Five standard deviations of a binomial of 7000 draws.
        assert!(drawn.iter().all(|count| (1_000i32 - count).abs() <= 147), "{drawn:?}");
    }

    #[test]
    fn a_draw_is_what_the_formula_of_this_modules_documentation_gives() {
        // Of 10^9, computed with Python's integers. The formula counts draws from 0, `below` from 1.
        for (seed, resample, draw, expected) in
            [(0, 0, 0, 652_448_486), (12, 7, 2, 966_373_386), (u64::MAX, 999, 399, 53_324_309)]
        {
            assert_eq!(Draws::new(seed, resample).below(draw + 1, 1_000_000_000), expected);
        }
    }
}
