//! One pair of which only this matters: whether it is won.

use std::collections::BTreeMap;

use crate::metrics::bootstrap::Clusters;

/// Whether a pair is won, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// Who stated the preference.
    pub user: Option<&'a str>,
    /// Stem of the file the pair came from.
    pub source: &'a str,
    /// Demographic fields of the record.
    pub groups: &'a BTreeMap<String, String>,
    /// Whether it is won.
    pub won: bool,
}

/// The clusters of the bootstrap: users.
pub(in crate::metrics) fn clusters_of(outcomes: &[Outcome<'_>]) -> Clusters {
    Clusters::by_user(outcomes.iter().map(|outcome| outcome.user))
}

/// A number of pairs, and how many of them are won.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::metrics) struct Wins {
    pub(in crate::metrics) won: usize,
    pub(in crate::metrics) pairs: usize,
}

impl Wins {
    pub(in crate::metrics) fn of(outcome: &Outcome<'_>) -> Self {
        Self { won: usize::from(outcome.won), pairs: 1 }
    }

    pub(in crate::metrics) fn add(&mut self, other: Self) {
        self.won += other.won;
        self.pairs += other.pairs;
    }

    /// Share won; NaN without a pair.
    pub(super) fn share(self) -> f64 {
        self.won as f64 / self.pairs as f64
    }

    /// Share of the ordered couples of different pairs that are both won or both not won.
    pub(super) fn agreement(self) -> f64 {
        let couples = |k: usize| k * k.saturating_sub(1);
        let alike = couples(self.won) + couples(self.pairs - self.won);
        alike as f64 / couples(self.pairs) as f64
    }
}
