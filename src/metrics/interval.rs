//! 95 % intervals of shares and of their differences where resampling shows too little: at 0 and 1, where every resample repeats the
//! value, and with few users.
//!
//! A share is given Wilson's score interval (Wilson, 1927) for the number of independent pairs that would vary as much: `n` divided by
//! the design effect of the clusters (Kish, 1965), with Student's t for the users in place of the normal quantile, as Korn and Graubard
//! (1998) correct for few clusters. At 0 and 1 nothing varies, so no design effect can be estimated; there each user counts as one
//! observation, `n^2 / sum m^2` of them for users with `m` pairs.

/// The middle 95 % of what the value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// 2.5th percentile.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

/// With fewer users than this, shares have the intervals of this file.
pub(super) const FEW: usize = 50;

/// One user's pairs: how many, and the sum of their values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct User {
    pub(super) pairs: f64,
    pub(super) sum: f64,
}

/// What the users of one figure add up to.
struct Spread {
    /// The mean over all pairs.
    mean: f64,
    /// All pairs.
    pairs: f64,
    /// Variance of the mean, by linearization over users.
    variance: f64,
    /// Users of equal size that the users are worth.
    users: f64,
    /// Student's t for the number of users.
    t: f64,
}

impl Spread {
    fn of(users: &[User]) -> Self {
        let count = users.len() as f64;
        let pairs: f64 = users.iter().map(|user| user.pairs).sum();
        let mean = users.iter().map(|user| user.sum).sum::<f64>() / pairs;
        let squares: f64 = users.iter().map(|user| (user.sum - mean * user.pairs).powi(2)).sum();
        let sizes: f64 = users.iter().map(|user| user.pairs.powi(2)).sum();
        Self {
            mean,
            pairs,
            variance: count / (count - 1.0) * squares / pairs.powi(2),
            users: pairs.powi(2) / sizes,
            t: student(users.len() - 1),
        }
    }
}

/// How many independent pairs the share of these users is worth, and Student's t for them; two users or more.
pub(super) fn effective(users: &[User]) -> (f64, f64) {
    let spread = Spread::of(users);
    let binomial = spread.mean * (1.0 - spread.mean) / spread.pairs;
    let effective = match spread.variance > 0.0 && binomial > 0.0 {
        true => (spread.pairs * binomial / spread.variance).max(1.0),
        false => spread.users,
    };
    (effective, spread.t)
}

/// The interval of a share: values in 0..=1, two users or more.
pub(super) fn share(users: &[User]) -> Interval {
    let (effective, t) = effective(users);
    let p = users.iter().map(|user| user.sum).sum::<f64>()
        / users.iter().map(|user| user.pairs).sum::<f64>();
    let square = t.powi(2);
    let scale = 1.0 + square / effective;
    let middle = (p + square / (2.0 * effective)) / scale;
    let half = t / scale * (p * (1.0 - p) / effective + square / (4.0 * effective.powi(2))).sqrt();
    // Rounding may leave the bound at 0 or 1 beside the value.
    Interval { low: (middle - half).clamp(0.0, p), high: (middle + half).clamp(p, 1.0) }
}

/// The interval of a difference of shares of the same pairs: values in -1..=1, two users or more.
///
/// Student's t; where nothing varies, Wilson's bound on the share of users that differ from those seen.
pub(super) fn change(users: &[User]) -> Interval {
    let Spread { mean, variance, users, t, .. } = Spread::of(users);
    let half = match variance > 0.0 {
        true => t * variance.sqrt(),
        false => t.powi(2) / (users + t.powi(2)),
    };
    Interval { low: (mean - half).max(-1.0), high: (mean + half).min(1.0) }
}

/// The 97.5th percentile of Student's t; `freedom`: its degrees of freedom, at least 1.
fn student(freedom: usize) -> f64 {
    const FIRST: [f64; 10] = [
        12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004,
        2.262_157, 2.228_139,
    ];
    const NORMAL: f64 = 1.959_963_985;
    match FIRST.get(freedom.saturating_sub(1)) {
        Some(known) => *known,
        // Cornish and Fisher's expansion, Abramowitz and Stegun 26.7.5; within 1e-4 from 11 on.
        None => {
            let (z, f) = (NORMAL, freedom as f64);
            z + (z.powi(3) + z) / (4.0 * f)
                + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * f * f)
                + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z)
                    / (384.0 * f.powi(3))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::bootstrap::Draws;

    /// Users with the sums `sums` of `pairs` pairs each.
    fn users(pairs: usize, sums: &[f64]) -> Vec<User> {
        sums.iter().map(|sum| User { pairs: pairs as f64, sum: *sum }).collect()
    }

    #[track_caller]
    fn assert_interval(found: Interval, low: f64, high: f64) {
        let Interval { low: a, high: b } = found;
        assert!((a - low).abs() <= 1e-3 && (b - high).abs() <= 1e-3, "{a} to {b}");
    }

    #[test]
    fn all_won_by_ten_users_is_wilsons_interval_of_ten() {
        // t = 2.2622 with 9 degrees of freedom: 10 / (10 + t^2).
        assert_interval(share(&users(1, &[1.0; 10])), 0.6615, 1.0);
        assert_interval(share(&users(1, &[0.0; 10])), 0.0, 0.3385);
        // More pairs of the same users show no more.
        assert_interval(share(&users(7, &[7.0; 10])), 0.6615, 1.0);
        let unequal: Vec<User> =
            [1.0, 1.0, 8.0].iter().map(|&pairs| User { pairs, sum: pairs }).collect();
        // 100 / 66 users, t = 4.3027.
        assert_interval(share(&unequal), 0.0757, 1.0);
    }

    #[test]
    fn pairs_that_do_not_depend_on_the_user_count_one_by_one() {
        // Variance of the mean: 40 / 39 * 40 * 0.25 / 1600, a design effect of 1.026 at most.
        let halves: Vec<f64> = (0..40).map(|user| f64::from(user % 2)).collect();
        let Interval { low, high } = share(&users(1, &halves));
        assert!((high - low - 0.304).abs() <= 5e-3, "{low} to {high}");
        // Alike within users of four pairs: still forty observations.
        let alike: Vec<f64> = halves.iter().map(|sum| 4.0 * sum).collect();
        let four = share(&users(4, &alike));
        assert!((four.high - four.low - (high - low)).abs() <= 5e-3, "{four:?}");
    }

    #[test]
    fn a_change_that_never_varies_has_a_width() {
        assert_interval(change(&users(2, &[0.0; 10])), -0.3385, 0.3385);
        assert_interval(change(&users(2, &[2.0; 10])), 0.6615, 1.0);
        assert_interval(change(&users(1, &[1.0, 0.0, 0.0, 1.0, 0.0])), -0.2801, 1.0);
    }

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (freedom, expected) in
            [(1, 12.7062), (5, 2.5706), (10, 2.2281), (11, 2.2010), (20, 2.0860), (48, 2.0106)]
        {
            assert!((student(freedom) - expected).abs() <= 2e-4, "{freedom}: {}", student(freedom));
        }
    }

    /// In how many of 2000 simulated sets the interval holds the true share. A user's own share is 0, the true one or 1, so that users
    /// of three pairs are alike.
    fn coverage(count: usize, p: f64) -> f64 {
        let held = (0..2_000).filter(|&round| {
            let draws = Draws::new(77, round);
            let uniform = |draw: u64| draws.below(draw, 1 << 30) as f64 / (1u64 << 30) as f64;
            let user = |user: usize| {
                let at = 10 * user as u64 + 1;
                let own = match uniform(at) {
                    x if x < 0.3 * p => 1.0,
                    x if x < 0.3 => 0.0,
                    _ => p,
                };
                let sum = (1..=3).filter(|&pair| uniform(at + pair) < own).count() as f64;
                User { pairs: 3.0, sum }
            };
            let Interval { low, high } = share(&(0..count).map(user).collect::<Vec<_>>());
            low <= p && p <= high
        });
        held.count() as f64 / 2_000.0
    }

    #[test]
    fn ninety_five_of_a_hundred_intervals_hold_the_true_share() {
        for count in [5, 12, 40] {
            for p in [0.1, 0.5, 0.9, 0.98] {
                let held = coverage(count, p);
                assert!(held >= 0.93, "{count} users, share {p}: {held}");
            }
        }
    }
}
