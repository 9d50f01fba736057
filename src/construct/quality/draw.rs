//! Which records a seed draws for a review.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::entries::Entry;

/// What a sample holds as much of as of any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Every record is as likely as any other.
    #[default]
    None,
    /// As many records of each country of birth as of any other, as far as it has them.
    Country,
}

/// The first `n` of `records` in the order that `seed` gives them: by SHA-256 of `mvpbench review 1`, the seed as 8 bytes and the id. A
/// record that is added or taken away moves no other.
pub fn draw(records: &[Entry], n: usize, seed: u64, by: By) -> Vec<&Entry> {
    let mut all: Vec<([u8; 32], &Entry)> =
        records.iter().map(|record| (key(seed, record), record)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.id.cmp(&b.1.id)));
    if by == By::Country {
        // A record's round: how many of its country come before it.
        let mut seen: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        let mut rounds: Vec<(usize, [u8; 32], &Entry)> = all
            .into_iter()
            .map(|(key, record)| {
                let round = seen.entry(record.field("birth_country")).or_default();
                *round += 1;
                (*round, key, record)
            })
            .collect();
        rounds.sort_by_key(|(round, key, _)| (*round, *key));
        all = rounds.into_iter().map(|(_, key, record)| (key, record)).collect();
    }
    all.into_iter().take(n).map(|(_, record)| record).collect()
}

fn key(seed: u64, record: &Entry) -> [u8; 32] {
    let id = record.id.as_deref().unwrap_or_default();
    Sha256::new()
        .chain_update(b"mvpbench review 1")
        .chain_update(seed.to_le_bytes())
        .chain_update(id.as_bytes())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(countries: &[(&'static str, usize)]) -> Vec<Entry> {
        let of = |(country, count): &(&'static str, usize)| {
            let country = *country;
            (0..*count).map(move |place| Entry {
                line: 1,
                id: Some(format!("{country}{place}")),
                user: None,
                question: String::new(),
                answer_w: String::new(),
                answer_l: String::new(),
                preference: None,
                stated: None,
                profile: vec![("birth_country", country.to_owned())],
            })
        };
        countries.iter().flat_map(of).collect()
    }

    fn ids(records: &[Entry], n: usize, seed: u64, by: By) -> Vec<String> {
        draw(records, n, seed, by).iter().filter_map(|record| record.id.clone()).collect()
    }

    #[test]
    fn the_seed_alone_decides_and_a_larger_sample_holds_the_smaller_one() {
        let all = records(&[("a", 40), ("b", 10)]);
        let drawn = ids(&all, 12, 12, By::None);
        assert_eq!(drawn, ids(&all.iter().rev().cloned().collect::<Vec<_>>(), 12, 12, By::None));
        assert_eq!(drawn[..5], ids(&all, 5, 12, By::None)[..]);
        assert_ne!(drawn, ids(&all, 12, 13, By::None));
        assert_eq!(ids(&all, 99, 1, By::Country).len(), 50);
    }

    #[test]
    fn a_small_country_is_drawn_as_often_as_a_large_one() {
        let all = records(&[("a", 500), ("b", 2), ("c", 30)]);
        let drawn = ids(&all, 12, 7, By::Country);
        let of = |country: &str| drawn.iter().filter(|id| id.starts_with(country)).count();
        assert_eq!([of("a"), of("b"), of("c")], [5, 2, 5]);
    }
}
