//! A share of Yes corrected for the error of the judge who said it.
//!
//! A judge is measured on answers whose label is known: it must accept `answer_w` (sensitivity) and refuse `answer_l` (specificity). The
//! estimate is Rogan and Gladen's (1978), its interval Lang and Reiczigel's (2014), which adds a few observations before it counts and so
//! keeps its coverage near 0 and 1. The pairs of the share are worth as many as their users are, see [`crate::metrics::interval`].

use serde::{Deserialize, Serialize};

use crate::metrics::axes::Outcome;
use crate::metrics::axes::outcome::{Wins, clusters_of};
use crate::metrics::interval::{self, User};

/// The normal quantile of a 95 % interval.
const Z: f64 = 1.959_963_985;

/// How often a judge is right where the right verdict is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// Preferred answers that it accepted.
    pub accepted: usize,
    /// Preferred answers that it judged.
    pub preferred: usize,
    /// Rejected answers that it refused.
    pub refused: usize,
    /// Rejected answers that it judged.
    pub rejected: usize,
}

/// A share after the correction, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Corrected {
    /// Rogan and Gladen's estimate, cut to 0..=1.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Answers behind the share.
    pub n: usize,
    /// The judge's share of preferred answers accepted.
    pub sensitivity: f64,
    /// Its share of rejected answers refused.
    pub specificity: f64,
}

/// Why a share cannot be corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCorrected {
    /// One of the two kinds of answers was not judged.
    #[error("the judge was not measured on answers of both kinds")]
    NotMeasured,
    /// Sensitivity and specificity do not exceed 1 together beyond chance, so a Yes says nothing.
    #[error("the judge accepts preferred and rejected answers alike, as far as it was measured")]
    NoBetterThanChance,
    /// The answers are of fewer than two users.
    #[error("the answers are of fewer than two users")]
    OneUser,
}

impl Calibration {
    /// Share of preferred answers that are accepted; NaN without one.
    pub fn sensitivity(&self) -> f64 {
        self.accepted as f64 / self.preferred as f64
    }

    /// Share of rejected answers that are refused; NaN without one.
    pub fn specificity(&self) -> f64 {
        self.refused as f64 / self.rejected as f64
    }

    /// The share of `outcomes` that are aligned, corrected for this judge.
    pub fn correct(&self, outcomes: &[Outcome<'_>]) -> Result<Corrected, NotCorrected> {
        if self.preferred == 0 || self.rejected == 0 {
            return Err(NotCorrected::NotMeasured);
        }
        let clusters = clusters_of(outcomes);
        if clusters.count() < 2 {
            return Err(NotCorrected::OneUser);
        }
        let mut users = vec![Wins::default(); clusters.count()];
        for (outcome, &cluster) in outcomes.iter().zip(clusters.of_pair()) {
            users[cluster].add(Wins::of(outcome));
        }
        let share = users.iter().map(|user| user.won).sum::<usize>() as f64 / outcomes.len() as f64;
        let users: Vec<User> = users
            .iter()
            .map(|user| User { pairs: user.pairs as f64, sum: user.won as f64 })
            .collect();
        let (effective, t) = interval::effective(&users);
        self.of_share(share, effective, t, outcomes.len())
    }

    /// As [`Self::correct`], of a `share` of `n` answers that are worth `effective` independent ones; `t`: the quantile for them.
    fn of_share(
        &self,
        share: f64,
        effective: f64,
        t: f64,
        n: usize,
    ) -> Result<Corrected, NotCorrected> {
        let (sensitivity, specificity) = (self.sensitivity(), self.specificity());
        // One observation of each kind is added to the judge's counts, t^2 / 2 of each kind to the share's.
        let preferred = self.preferred as f64 + 2.0;
        let rejected = self.rejected as f64 + 2.0;
        let se = (self.accepted as f64 + 1.0) / preferred;
        let sp = (self.refused as f64 + 1.0) / rejected;
        let (se_variance, sp_variance) = (se * (1.0 - se) / preferred, sp * (1.0 - sp) / rejected);
        let beyond = se + sp - 1.0;
        if beyond <= Z * (se_variance + sp_variance).sqrt() {
            return Err(NotCorrected::NoBetterThanChance);
        }
        let square = t.powi(2);
        let worth = effective + square;
        let apparent = (effective * share + square / 2.0) / worth;
        let middle = (apparent + sp - 1.0) / beyond;
        let shift = 2.0 * square * (middle * se_variance - (1.0 - middle) * sp_variance);
        let variance = apparent * (1.0 - apparent) / worth
            + middle.powi(2) * se_variance
            + (1.0 - middle).powi(2) * sp_variance;
        let half = t * variance.sqrt() / beyond;
        let value =
            ((share + specificity - 1.0) / (sensitivity + specificity - 1.0)).clamp(0.0, 1.0);
        Ok(Corrected {
            value,
            low: (middle + shift - half).clamp(0.0, value),
            high: (middle + shift + half).clamp(value, 1.0),
            n,
            sensitivity,
            specificity,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metrics::bootstrap::Draws;

    fn outcomes(groups: &BTreeMap<String, String>, won: usize, n: usize) -> Vec<Outcome<'_>> {
        (0..n).map(|i| Outcome { user: None, source: "a", groups, won: i < won }).collect()
    }

    #[test]
    fn the_estimate_equals_rogan_and_gladens_by_hand() {
        let judge = Calibration { accepted: 90, preferred: 100, refused: 160, rejected: 200 };
        let groups = BTreeMap::new();
        let corrected = judge.correct(&outcomes(&groups, 55, 100)).unwrap();
        // (0.55 + 0.8 - 1) / (0.9 + 0.8 - 1)
        assert!((corrected.value - 0.5).abs() < 1e-12, "{corrected:?}");
        assert_eq!((corrected.sensitivity, corrected.specificity, corrected.n), (0.9, 0.8, 100));
        assert!(corrected.low < 0.4 && corrected.high > 0.6, "{corrected:?}");
    }

    #[test]
    fn a_judge_without_error_changes_nothing_but_a_judge_by_chance_is_refused() {
        let groups = BTreeMap::new();
        let all = outcomes(&groups, 30, 100);
        let sure =
            Calibration { accepted: 5_000, preferred: 5_000, refused: 5_000, rejected: 5_000 };
        let corrected = sure.correct(&all).unwrap();
        assert!((corrected.value - 0.3).abs() < 1e-12);
        let chance = Calibration { accepted: 55, preferred: 100, refused: 50, rejected: 100 };
        assert_eq!(chance.correct(&all), Err(NotCorrected::NoBetterThanChance));
        let one_sided = Calibration { rejected: 0, refused: 0, ..sure };
        assert_eq!(one_sided.correct(&all), Err(NotCorrected::NotMeasured));
        let none = Calibration { accepted: 100, preferred: 100, refused: 90, rejected: 100 };
        assert!(none.correct(&outcomes(&groups, 2, 100)).unwrap().value <= 0.0);
    }

    #[test]
    fn intervals_of_a_thousand_judges_of_known_error_hold_the_truth_95_times_in_100() {
        let mut seen = Vec::new();
        for (truth, sensitivity, specificity) in
            [(0.5, 0.9, 0.8), (0.8, 0.85, 0.9), (0.2, 0.95, 0.75), (0.95, 0.9, 0.9)]
        {
            let mut held = 0;
            for judge in 0..1_000 {
                let draws = Draws::new(7, judge);
                let mut draw = 0;
                let mut chance = |p: f64| {
                    draw += 1;
                    (draws.below(draw, 1 << 30) as f64) < p * f64::from(1 << 30)
                };
                let mut count = |n: usize, p: f64| (0..n).filter(|_| chance(p)).count();
                let calibration = Calibration {
                    accepted: count(200, sensitivity),
                    preferred: 200,
                    refused: count(200, specificity),
                    rejected: 200,
                };
                let said = truth * sensitivity + (1.0 - truth) * (1.0 - specificity);
                let won = count(500, said);
                let groups = BTreeMap::new();
                let corrected = calibration.correct(&outcomes(&groups, won, 500)).unwrap();
                held += usize::from((corrected.low..=corrected.high).contains(&truth));
            }
            seen.push((truth, held));
        }
        assert!(seen.iter().all(|(_, held)| (930..=970).contains(held)), "{seen:?}");
    }
}
