//! Records of some files -> a training and a test side. The owners of the smallest hashes are the test side.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::file::{self, Owned};
use crate::config::LayoutName;
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
    /// Share of the users, records or countries that goes to the test side.
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

/// How many users, records or countries there are, and how many of them were drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// All of them.
    pub units: usize,
    /// Those of the test side.
    pub test: usize,
}

/// Both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sides {
    /// The training side.
    pub train: Side,
    /// The test side.
    pub test: Side,
    /// The draw; none where the countries of the test side are named.
    pub drawn: Option<Drawn>,
}

impl Sides {
    /// People with records on both sides.
    pub fn users_on_both(&self) -> usize {
        self.train.users.intersection(&self.test.users).count()
    }
}

/// Draws one set of units for each of `shares`: of `keys` in the order of their [`hash`], the first `round(share x units)` are the first
/// set, the next the second, and so on.
pub fn draw<'a>(seed: u64, shares: &[f64], keys: &BTreeSet<&'a str>) -> Vec<BTreeSet<&'a str>> {
    let mut ranked: Vec<_> = keys.iter().map(|key| (hash(seed, key), *key)).collect();
    ranked.sort_unstable();
    let mut ranked = ranked.into_iter().map(|(_, key)| key);
    let set = |share: &f64| {
        let units = (share * keys.len() as f64).round() as usize;
        ranked.by_ref().take(units).collect()
    };
    shares.iter().map(set).collect()
}

/// Where the unit with this key stands: a function of the seed and the key alone.
pub fn hash(seed: u64, key: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"mvpbench split 1")
        .chain_update(seed.to_le_bytes())
        .chain_update(key)
        .finalize()
        .into()
}

impl Rule {
    /// The units of the test side.
    fn drawn<'a>(&self, keys: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        draw(self.seed, &[self.test_share], keys).pop().unwrap_or_default()
    }

    /// [`Self::split_as`] of records whose layout is recognised.
    pub fn split<B: AsRef<[u8]>>(&self, files: &[(String, B)]) -> Result<Sides> {
        self.split_as(files, LayoutName::Auto)
    }

    /// Splits the records of `files`, name and bytes each, which have `layout`.
    ///
    /// Refuses a record without the field that decides, a named country that no record has, and a side without records.
    pub fn split_as<B: AsRef<[u8]>>(
        &self,
        files: &[(String, B)],
        layout: LayoutName,
    ) -> Result<Sides> {
        let mut all = Vec::new();
        for (name, bytes) in files {
            all.append(&mut file::owned(bytes.as_ref(), name, layout)?);
        }
        let keys: Vec<&str> = all.iter().map(|owned| self.key(owned)).collect::<Result<_>>()?;
        let units: BTreeSet<&str> = keys.iter().copied().collect();
        if let Some(country) = self.countries.iter().filter(|c| !units.contains(c.as_str())).min() {
            let error = InputError::new(format!("no record is of the country `{country}`"));
            let names: Vec<_> = units.iter().map(|name| format!("`{name}`")).collect();
            return Err(error.hint(format!("there are {}", names.join(", "))).into());
        }
        let mut sides = Sides::default();
        let test: BTreeSet<&str> = match self.countries.is_empty() {
            true => self.drawn(&units),
            false => self.countries.iter().map(String::as_str).collect(),
        };
        if self.countries.is_empty() {
            sides.drawn = Some(Drawn { units: units.len(), test: test.len() });
        }
        for (owned, key) in all.iter().zip(&keys) {
            let side = if test.contains(key) { &mut sides.test } else { &mut sides.train };
            side.users.extend(owned.user.clone());
            if let Some(country) = &owned.country {
                *side.countries.entry(country.clone()).or_default() += 1;
            }
            side.records.push(owned.json.clone());
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

    /// What decides on which side a record is.
    fn key<'a>(&self, owned: &'a Owned) -> Result<&'a str> {
        let key = match self.by {
            By::User => owned.user.as_ref(),
            By::Record => Some(owned.id.as_ref().unwrap_or(&owned.json)),
            By::Country => owned.country.as_ref(),
        };
        key.map(String::as_str).ok_or_else(|| self.undecided(&owned.place))
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
    fn the_share_is_exact_whatever_the_seed() {
        for seed in 0..20 {
            for (by, users, drawn) in [(By::User, 100, 30), (By::User, 45, 14), (By::Country, 7, 2)]
            {
                let units = if by == By::User { 3 * users } else { 70 };
                let sides = Rule { seed, ..rule(by) }.split(&[records(0, units)]).unwrap();
                assert_eq!(sides.drawn, Some(Drawn { units: users, test: drawn }), "{by:?} {seed}");
                let found = if by == By::User {
                    sides.test.users.len()
                } else {
                    sides.test.countries.len()
                };
                assert_eq!(found, drawn, "{by:?} {seed}");
                assert!(by == By::Country || sides.users_on_both() == 0);
            }
        }
        let sides = rule(By::Record).split(&[records(0, 11)]).unwrap();
        assert_eq!((sides.test.records.len(), sides.train.records.len()), (3, 8));
    }

    #[test]
    fn a_larger_share_adds_to_the_test_side_and_the_order_of_the_records_changes_nothing() {
        let of = |test_share| Rule { test_share, ..rule(By::User) };
        let small = of(0.1).split(&[records(0, 300)]).unwrap();
        let large = of(0.5).split(&[records(0, 300)]).unwrap();
        assert!(small.test.users.is_subset(&large.test.users));
        let (name, bytes) = records(0, 300);
        let text = String::from_utf8(bytes).unwrap();
        let back = text.lines().rev().collect::<Vec<_>>().join("\n").into_bytes();
        assert_eq!(of(0.1).split(&[(name, back)]).unwrap().test.users, small.test.users);
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
        // Python: sorted(keys, key=lambda key: sha256(b"mvpbench split 1" + seed.to_bytes(8, "little") + key).digest())[:round(share * n)]
        let keys: Vec<String> = (0..24).map(|i| format!("u{i}")).collect();
        let drawn = rule(By::User).drawn(&keys.iter().map(String::as_str).collect());
        assert_eq!(Vec::from_iter(drawn), ["u11", "u13", "u16", "u19", "u21", "u5", "u6"]);
    }

    #[test]
    fn sets_drawn_one_after_another_share_no_unit_and_the_first_is_the_one_drawn_alone() {
        let names: Vec<String> = (0..40).map(|i| format!("u{i}")).collect();
        let keys = names.iter().map(String::as_str).collect();
        let both = draw(12, &[0.25, 0.1], &keys);
        assert_eq!((both[0].len(), both[1].len()), (10, 4));
        assert!(both[0].is_disjoint(&both[1]));
        assert_eq!(draw(12, &[0.25], &keys)[0], both[0]);
    }

    #[test]
    fn of_two_unknown_countries_the_first_in_the_alphabet_is_named() {
        let countries = ["c9", "c8"].map(str::to_owned).to_vec();
        let rule = Rule { countries, ..rule(By::Country) };
        let error = rule.split(&[records(0, 70)]).unwrap_err();
        assert_eq!(error.to_string(), "no record is of the country `c8`");
    }
}
