//! The sides of a benchmark, by user: nobody is on two of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::recipe::Split;
use crate::data::split;
use crate::error::InputError;

/// A side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// For training.
    Train,
    /// For choices during training.
    Validation,
    /// For figures.
    Test,
}

impl Side {
    /// All, in the order of their files.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Its file.
    pub fn file(self) -> &'static str {
        match self {
            Self::Train => "train.json",
            Self::Validation => "validation.json",
            Self::Test => "test.json",
        }
    }
}

/// The side of each user. `users`: those who have items. A share of 0 leaves a side out; refuses a share above 0 that draws nobody, and an
/// empty training side.
pub fn sides<'a>(shares: &Split, users: &BTreeSet<&'a str>) -> Result<BTreeMap<&'a str, Side>> {
    let number = |share: f64| (share * users.len() as f64).round() as usize;
    let (test, validation) = (number(shares.test_share), number(shares.validation_share));
    let train = users.len().saturating_sub(test + validation);
    for (name, share, number) in [
        ("split.test_share", shares.test_share, test),
        ("split.validation_share", shares.validation_share, validation),
    ] {
        if share > 0.0 && number == 0 {
            let what = format!("`{name}` of `{share}` draws none of {} users", users.len());
            return Err(InputError::new(what)
                .hint("raise the share, or set it to 0 for no such side")
                .into());
        }
    }
    if train == 0 {
        let what = format!("the sides leave none of {} users for training", users.len());
        return Err(InputError::new(what)
            .hint("lower `split.test_share` or `split.validation_share`")
            .into());
    }
    let drawn = split::draw(shares.seed, &[shares.test_share, shares.validation_share], users);
    let side = |user: &'a str| {
        let on = |set: usize| drawn.get(set).is_some_and(|set| set.contains(user));
        let side = match (on(0), on(1)) {
            (true, _) => Side::Test,
            (_, true) => Side::Validation,
            _ => Side::Train,
        };
        (user, side)
    };
    Ok(users.iter().copied().map(side).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_is_on_one_side_and_the_shares_are_kept() {
        let names: Vec<String> = (0..101).map(|n| format!("user{n}")).collect();
        let users: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let split = Split { validation_share: 0.1, test_share: 0.2, seed: 12 };
        let drawn = sides(&split, &users).unwrap();
        let count = |side| drawn.values().filter(|of| **of == side).count();
        assert_eq!(Side::ALL.map(count), [71, 10, 20]);
        assert_eq!(drawn.len(), 101);
        let other = sides(&Split { seed: 13, ..split }, &users).unwrap();
        assert_ne!(drawn, other);
    }

    #[test]
    fn a_side_that_would_be_empty_is_refused() {
        let users = BTreeSet::from(["a", "b", "c"]);
        let split = |validation_share, test_share| Split { validation_share, test_share, seed: 1 };
        let error = sides(&split(0.0, 0.1), &users).unwrap_err().to_string();
        assert!(error.contains("`split.test_share` of `0.1` draws none of 3 users"), "{error}");
        assert!(sides(&split(0.4, 0.5), &users).is_err());
        let drawn = sides(&split(0.0, 0.34), &users).unwrap();
        assert!(drawn.values().all(|side| *side != Side::Validation));
    }
}
