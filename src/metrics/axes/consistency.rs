//! Intra-profile consistency.
//!
//! The paper gives no formula. Here it is the agreement of one user's instances: of a user with `k` pairs of which `w` are won, the
//! share of the `k (k - 1)` ordered pairs of instances with the same outcome, `(w (w - 1) + (k - w) (k - w - 1)) / (k (k - 1))`; the
//! figure is its mean over the users with two pairs or more, each weighing the same. A model that is always right, or always wrong, is
//! consistent, so the agreement of shuffled outcomes is given with it.

use serde::{Deserialize, Serialize};

use crate::metrics::axes::outcome::{Outcome, Wins, clusters_of};
use crate::metrics::bootstrap::{self, Clusters, Column};
use crate::metrics::figure::Figure;

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

/// The agreement of `outcomes`, with its change to the same pairs `before`; none where no user has two pairs.
pub fn measure(before: Option<&[Outcome<'_>]>, outcomes: &[Outcome<'_>]) -> Option<Consistency> {
    let after = wins_by_user(outcomes);
    if after.is_empty() {
        return None;
    }
    let earlier = before.map(wins_by_user);
    let rows: Vec<[f64; 2]> = (0..after.len())
        .map(|user| {
            let now = after[user].agreement();
            [now, earlier.as_ref().map_or(0.0, |earlier| now - earlier[user].agreement())]
        })
        .collect();
    let users = Clusters::by_user(rows.iter().map(|_| None));
    let intervals =
        bootstrap::intervals(&rows, [Column::Share, Column::Change], &users, bootstrap::SEED);
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

/// The wins of each user with two or more pairs, in order of appearance.
fn wins_by_user(outcomes: &[Outcome<'_>]) -> Vec<Wins> {
    let clusters = clusters_of(outcomes);
    let mut users = vec![Wins::default(); clusters.count()];
    for (outcome, &cluster) in outcomes.iter().zip(clusters.of_pair()) {
        users[cluster].add(Wins::of(outcome));
    }
    users.retain(|user| user.pairs > 1);
    users
}
