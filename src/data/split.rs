//! Records of some files -> a training and a test side. A hash of a record's owner chooses its side.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::file;
use crate::error::InputError;

/// The unit that is never split between the sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A user's records are on one side
    User,
    /// Each record goes by itself, by its id; a user may be on both sides
    Record,
    /// A country's records are on one side
    Country,
}

/// How records are split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// The unit that is never split.
    pub by: By,
    /// Probability that a user, record or country goes to the test side.
    pub test_share: f64,
    /// The countries of the test side; empty to draw them.
    pub countries: Vec<String>,
    /// Seed of the draw.
    pub seed: u64,
}

/// One side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// The records, their text unchanged.
    pub records: Vec<String>,
    /// Users with records here.
    pub users: BTreeSet<String>,
    /// Records of each country.
    pub countries: BTreeMap<String, usize>,
}

/// Both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sides {
    /// The training side.
    pub train: Side,
    /// The test side.
    pub test: Side,
}

impl Sides {
    /// People with records on both sides.
    pub fn users_on_both(&self) -> usize {
        self.train.users.intersection(&self.test.users).count()
    }
}

impl Rule {
    /// Whether the unit with this key is on the test side: a function of the seed and the key alone.
    fn draws(&self, key: &str) -> bool {
        let digest = Sha256::new()
            .chain_update(b"mvpbench split 1")
            .chain_update(self.seed.to_le_bytes())
            .chain_update(key)
            .finalize();
        let word = digest.iter().take(8).fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        // 53 bits, uniform in 0..1.
        ((word >> 11) as f64 / (1u64 << 53) as f64) < self.test_share
    }

    /// Splits the records of `files`, name and bytes each.
    ///
    /// Refuses a record without the field that decides, a named country that no record has, and a side without records.
    pub fn split<B: AsRef<[u8]>>(&self, files: &[(String, B)]) -> Result<Sides> {
        let mut sides = Sides::default();
        let mut unknown: BTreeSet<&str> = self.countries.iter().map(String::as_str).collect();
        let mut countries = BTreeSet::new();
        for (name, bytes) in files {
            for owned in file::owned(bytes.as_ref(), name)? {
                let key = match self.by {
                    By::User => owned.user.as_ref(),
                    By::Record => Some(owned.id.as_ref().unwrap_or(&owned.json)),
                    By::Country => owned.country.as_ref(),
                };
                let Some(key) = key else { return Err(self.undecided(&owned.place)) };
                unknown.remove(key.as_str());
                countries.extend(owned.country.clone());
                let test = match self.countries.is_empty() {
                    true => self.draws(key),
                    false => self.countries.contains(key),
                };
                let side = if test { &mut sides.test } else { &mut sides.train };
                side.users.extend(owned.user);
                if let Some(country) = owned.country {
                    *side.countries.entry(country).or_default() += 1;
                }
                side.records.push(owned.json);
            }
        }
        if let Some(country) = unknown.first() {
            let error = InputError::new(format!("no record is of the country `{country}`"));
            let names: Vec<_> = countries.iter().map(|name| format!("`{name}`")).collect();
            return Err(error.hint(format!("there are {}", names.join(", "))).into());
        }
        for (side, name) in [(&sides.train, "training"), (&sides.test, "test")] {
            if side.records.is_empty() {
                return Err(InputError::new(format!(
                    "the {name} side has no records: all {} are on the other",
                    sides.train.records.len() + sides.test.records.len()
                ))
                .hint("give another `--test-share`, `--seed` or `--countries`")
                .into());
            }
        }
        Ok(sides)
    }

    fn undecided(&self, place: &str) -> anyhow::Error {
        let (field, flag) = match self.by {
            By::User => ("user_id", "user"),
            By::Record | By::Country => ("birth_country/region", "country"),
        };
        InputError::new(format!("{place}: the record has no `{field}`, which `--by {flag}` needs"))
            .hint("fill it in, remove the record, or use `--by record`")
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(by: By) -> Rule {
        Rule { by, test_share: 0.3, countries: Vec::new(), seed: 12 }
    }

    /// Records `from..to`, three of each user.
    fn records(from: usize, to: usize) -> (String, Vec<u8>) {
        let lines: Vec<String> = (from..to)
            .map(|i| {
                format!(
                    r#"{{"id": {i}, "question": "q", "answer_w": "a", "answer_l": "b", "user_id": "u{}", "birth_country": "c{}"}}"#,
                    i / 3,
                    i % 7
                )
            })
            .collect();
        ("a.jsonl".to_owned(), lines.join("\n").into_bytes())
    }

    #[test]
    fn a_users_side_does_not_depend_on_the_other_records() {
        let all = rule(By::User).split(&[records(0, 300)]).unwrap();
        let some = rule(By::User).split(&[records(90, 210)]).unwrap();
        assert!(some.test.users.is_subset(&all.test.users));
        assert!(some.train.users.is_subset(&all.train.users));
        assert_eq!((all.users_on_both(), all.train.users.len() + all.test.users.len()), (0, 100));
        assert!((15..=45).contains(&all.test.users.len()), "{}", all.test.users.len());
    }

    #[test]
    fn another_seed_draws_another_test_side() {
        let sides = |seed| Rule { seed, ..rule(By::User) }.split(&[records(0, 300)]).unwrap();
        assert_eq!(sides(1), sides(1));
        assert_ne!(sides(1).test.users, sides(2).test.users);
    }

    #[test]
    fn named_countries_are_held_out_whole() {
        let rule = Rule { countries: vec!["c1".to_owned(), "c4".to_owned()], ..rule(By::Country) };
        let sides = rule.split(&[records(0, 70)]).unwrap();
        assert_eq!(sides.test.countries.into_keys().collect::<Vec<_>>(), ["c1", "c4"]);
        assert!(!sides.train.countries.contains_key("c1"));
        let unknown = Rule { countries: vec!["c9".to_owned()], ..rule };
        let error = unknown.split(&[records(0, 70)]).unwrap_err();
        assert_eq!(error.to_string(), "no record is of the country `c9`");
    }

    #[test]
    fn records_are_copied_as_they_stand() {
        let raw = r#"{"chosen": "a",  "prompt":"q", "rejected": "b", "big": 123456789012345678901234567890, "x": 1.10}"#;
        let text = format!("[{raw},\n{}]", raw.replace("\"q\"", "\"r\""));
        let sides = Rule { test_share: 0.5, ..rule(By::Record) };
        let kept: Vec<String> = (0..20)
            .filter_map(|seed| {
                Rule { seed, ..sides.clone() }.split(&[("a.json".to_owned(), &text)]).ok()
            })
            .flat_map(|sides| [sides.train.records, sides.test.records].concat())
            .collect();
        assert!(kept.len() >= 2 && kept.contains(&raw.to_owned()));
    }

    #[test]
    fn what_decides_must_be_there() {
        let file = ("a.json".to_owned(), r#"{"prompt": "", "chosen": "", "rejected": ""}"#);
        for (by, field) in [(By::User, "user_id"), (By::Country, "birth_country/region")] {
            let error = rule(by).split(std::slice::from_ref(&file)).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("a.json:1: the record has no `{field}`")),
                "{error}"
            );
        }
        let error = Rule { test_share: 0.999_999, ..rule(By::Record) }.split(&[file]).unwrap_err();
        assert!(error.to_string().contains("side has no records"));
    }

    #[test]
    fn the_draw_is_what_the_documented_digest_gives() {
        // Python: int.from_bytes(sha256(b"mvpbench split 1" + seed.to_bytes(8, "little") + key).digest()[:8], "big") >> 11, over 2^53.
        let drawn: Vec<String> =
            (0..24).map(|i| format!("u{i}")).filter(|key| rule(By::User).draws(key)).collect();
        assert_eq!(drawn, ["u5", "u6", "u11", "u13", "u16", "u19", "u21"]);
    }

    #[test]
    fn of_two_unknown_countries_the_first_in_the_alphabet_is_named() {
        let countries = ["c9", "c8"].map(str::to_owned).to_vec();
        let rule = Rule { countries, ..rule(By::Country) };
        let error = rule.split(&[records(0, 70)]).unwrap_err();
        assert_eq!(error.to_string(), "no record is of the country `c8`");
    }
}
