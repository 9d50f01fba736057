//! Two completions of a record -> which of them each attribute prefers.

use clap::ValueEnum;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::record::{Completion, Record};

/// Which completions of a record are paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    /// The completion with the highest mean rating and a drawn one of lower mean, as the original did
    BestRandom,
    /// Every two completions of a record, six pairs of four
    All,
}

/// What becomes of a pair that an attribute rates equally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ties {
    /// It is left out of the attribute's file
    Drop,
    /// A seeded coin decides which answer is preferred, as the original did
    Flip,
}

/// Which of a pair's completions an attribute prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// The earlier one is rated higher.
    First,
    /// The later one is rated higher.
    Second,
    /// Both have the same rating, and there is no coin.
    Tie,
    /// Both have the same rating, and the coin chose the earlier one.
    CoinFirst,
    /// Both have the same rating, and the coin chose the later one.
    CoinSecond,
    /// One of them has no rating.
    NotRated,
}

impl Label {
    /// Whether the earlier one is preferred; none where neither is.
    pub fn is_first(self) -> Option<bool> {
        match self {
            Self::First | Self::CoinFirst => Some(true),
            Self::Second | Self::CoinSecond => Some(false),
            Self::Tie | Self::NotRated => None,
        }
    }
}

/// Whether some attribute prefers one and another the other. What a coin decided counts, as it did in the original.
pub fn is_controversial(labels: &[Label; 4]) -> bool {
    let has = |first| labels.iter().any(|label| label.is_first() == Some(first));
    has(true) && has(false)
}

/// A number that a text stands for, the same in every file.
pub type Name = [u8; 32];

/// The name of a text.
pub fn name(text: &str) -> Name {
    Sha256::digest(text).into()
}

/// The name of parts, such as of a pair: prompt, then both answers by their names, so that the order of the two does not matter.
fn name_of(use_: &str, seed: u64, parts: &[&[u8]]) -> Name {
    let mut hasher = Sha256::new().chain_update(use_).chain_update(seed.to_le_bytes());
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// The name of a pair, whichever completion comes first.
pub fn pair_name(prompt: &Name, first: &Name, second: &Name) -> Name {
    let (low, high) = if first <= second { (first, second) } else { (second, first) };
    name_of("mvpbench ufp4 pair", 0, &[prompt, low, high])
}

/// Where a pair stands among those of its file, for `--max-pairs` and `--equal-sizes`: a function of the seed and the pair alone.
pub fn standing(seed: u64, pair: &Name) -> Name {
    name_of("mvpbench ufp4 draw", seed, &[pair])
}

/// The places of the completions that are paired, the earlier first.
///
/// `names`: those of the responses. None for `best-random` where no completion has a lower mean than the best.
pub fn places(
    pairing: Pairing,
    seed: u64,
    record: &Record,
    prompt: &Name,
    names: &[Name],
) -> Vec<(usize, usize)> {
    let count = record.completions.len();
    match pairing {
        Pairing::All => {
            (0..count).flat_map(|first| (first + 1..count).map(move |s| (first, s))).collect()
        }
        Pairing::BestRandom => {
            let means: Vec<_> = record.completions.iter().map(Completion::mean).collect();
            let highest = means.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
            let is_lower = |mean: &Option<f64>| mean.is_some_and(|mean| mean < highest);
            let best = means.iter().position(|mean| mean.is_some_and(|mean| mean >= highest));
            let drawn = (0..count)
                .filter(|at| is_lower(&means[*at]))
                .min_by_key(|at| name_of("mvpbench ufp4 other", seed, &[prompt, &names[*at]]));
            match (best, drawn) {
                (Some(best), Some(other)) => vec![(best.min(other), best.max(other))],
                _ => Vec::new(),
            }
        }
    }
}

/// What the attributes prefer.
pub fn labels(
    ties: Ties,
    seed: u64,
    pair: &Name,
    [first, second]: [&Completion; 2],
    is_in_order: bool,
) -> [Label; 4] {
    std::array::from_fn(|at| {
        let (Some(a), Some(b)) = (first.ratings[at], second.ratings[at]) else {
            return Label::NotRated;
        };
        match (a > b, a < b, ties) {
            (true, ..) => Label::First,
            (_, true, _) => Label::Second,
            (.., Ties::Drop) => Label::Tie,
            (.., Ties::Flip) => {
                let coin = name_of("mvpbench ufp4 coin", seed, &[pair, &[at as u8]])[0] & 1 == 0;
                // The coin chooses by the names, so that the order of the completions in the file changes nothing.
                if coin == is_in_order { Label::CoinFirst } else { Label::CoinSecond }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(response: &str, ratings: [u8; 4]) -> Completion {
        Completion {
            model: String::new(),
            response: response.to_owned(),
            ratings: ratings.map(|rating| (rating > 0).then(|| f64::from(rating))),
        }
    }

    fn labels_of(a: &Completion, b: &Completion, ties: Ties, seed: u64) -> [Label; 4] {
        let (first, second) = (name(&a.response), name(&b.response));
        let pair = pair_name(&name("p"), &first, &second);
        labels(ties, seed, &pair, [a, b], first <= second)
    }

    #[test]
    fn the_higher_rating_is_preferred_and_a_missing_one_prefers_neither() {
        let (a, b) = (completion("a", [5, 1, 3, 0]), completion("b", [4, 2, 3, 5]));
        let expected = [Label::First, Label::Second, Label::Tie, Label::NotRated];
        assert_eq!(labels_of(&a, &b, Ties::Drop, 1), expected);
        assert!(is_controversial(&expected));
        assert!(!is_controversial(&[Label::First, Label::Tie, Label::NotRated, Label::First]));
        assert!(is_controversial(&[Label::First, Label::Tie, Label::NotRated, Label::CoinSecond]));
    }

    #[test]
    fn the_coin_is_fair_and_does_not_see_the_order_of_the_completions() {
        let mut heads = 0;
        for seed in 0..200 {
            let (a, b) = (completion("a", [3; 4]), completion("b", [3; 4]));
            let labels = labels_of(&a, &b, Ties::Flip, seed);
            assert_eq!(labels, labels_of(&a, &b, Ties::Flip, seed));
            let turned = labels_of(&b, &a, Ties::Flip, seed).map(Label::is_first);
            assert_eq!(turned, labels.map(|label| label.is_first().map(|first| !first)));
            heads += labels.iter().filter(|label| **label == Label::CoinFirst).count();
        }
        assert!((320..480).contains(&heads), "{heads} of 800");
    }

    #[test]
    fn the_best_completion_meets_one_of_lower_mean() {
        let record = |ratings: [[u8; 4]; 4]| Record {
            source: String::new(),
            instruction: "p".to_owned(),
            completions: (0..4).map(|at| completion(&format!("r{at}"), ratings[at])).collect(),
        };
        let names: Vec<Name> = (0..4).map(|at| name(&format!("r{at}"))).collect();
        let of =
            |record: &Record, seed| places(Pairing::BestRandom, seed, record, &name("p"), &names);
        // The last has a mean of its one rating, the third the same mean as the best.
        let some = record([[1; 4], [5, 5, 3, 3], [4; 4], [0, 0, 0, 2]]);
        let drawn: std::collections::BTreeSet<_> =
            (0..50).flat_map(|seed| of(&some, seed)).collect();
        assert_eq!(Vec::from_iter(drawn), [(0, 1), (1, 3)]);
        assert_eq!(of(&record([[3; 4]; 4]), 1), []);
        assert_eq!(of(&record([[0; 4]; 4]), 1), []);
        assert_eq!(places(Pairing::All, 1, &some, &name("p"), &names).len(), 6);
    }
}
