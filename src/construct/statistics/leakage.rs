//! What two splits of a benchmark share: users, ids, questions; and whether the splits together are the whole.

use std::collections::HashSet;

use anyhow::Result;

use super::benchmark::{Benchmark, Read};
use crate::console::interrupt;
use crate::construct::quality::exclusions::digest_of;
use crate::data::entries::Entry;
use crate::data::normalised::normalised;

/// What the splits share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leakage {
    /// Every two splits.
    pub pairs: Vec<Shared>,
    /// Against the file that has all records: how many of those are in no split, and how many of the splits' are not there.
    pub whole: Option<[usize; 2]>,
}

/// What two splits share: numbers of different users, ids, questions and normalised questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Names of the two files.
    pub between: [String; 2],
    /// Users with records in both.
    pub users: usize,
    /// Ids in both.
    pub ids: usize,
    /// Questions in both, as they are.
    pub questions: usize,
    /// The same, normalised: these and the ones above.
    pub near_questions: usize,
    /// One of the users.
    pub example: Option<String>,
}

/// What is looked up of one split.
struct Keys<'a> {
    name: &'a str,
    users: HashSet<&'a str>,
    ids: HashSet<&'a str>,
    questions: HashSet<&'a str>,
    near: HashSet<String>,
}

impl Leakage {
    /// Compares every two splits of `benchmark`.
    pub fn of(benchmark: &Benchmark) -> Result<Self> {
        let mut keys = Vec::new();
        for split in benchmark.splits() {
            interrupt::check()?;
            keys.push(Keys::of(split));
        }
        let mut pairs = Vec::new();
        for (at, one) in keys.iter().enumerate() {
            for other in &keys[at + 1..] {
                interrupt::check()?;
                pairs.push(one.shared(other));
            }
        }
        Ok(Self { pairs, whole: whole(benchmark) })
    }
}

impl<'a> Keys<'a> {
    fn of(split: &'a Read) -> Self {
        let records = &split.entries.records;
        Self {
            name: &split.name,
            users: records.iter().filter_map(|record| record.user.as_deref()).collect(),
            ids: records.iter().filter_map(|record| record.id.as_deref()).collect(),
            questions: records.iter().map(|record| &*record.question).collect(),
            near: records
                .iter()
                .map(|record| normalised(&record.question))
                .filter(|text| !text.is_empty())
                .collect(),
        }
    }

    fn shared(&self, other: &Self) -> Shared {
        Shared {
            between: [self.name, other.name].map(str::to_owned),
            users: self.users.intersection(&other.users).count(),
            ids: self.ids.intersection(&other.ids).count(),
            questions: self.questions.intersection(&other.questions).count(),
            near_questions: self.near.intersection(&other.near).count(),
            example: self.users.intersection(&other.users).min().map(|user| (*user).to_owned()),
        }
    }
}

/// Records of the whole that no split has, and records of splits that the whole has not; none without both.
fn whole(benchmark: &Benchmark) -> Option<[usize; 2]> {
    let key =
        |one: &Entry| (one.id.clone(), digest_of(&one.question, &one.answer_w, &one.answer_l));
    let parts: Vec<&Read> =
        benchmark.files.iter().filter(|file| file.is_split && !file.is_counted).collect();
    if parts.is_empty() {
        return None;
    }
    let of = |files: &mut dyn Iterator<Item = &&Read>| -> HashSet<_> {
        files.flat_map(|file| file.entries.records.iter().map(key)).collect()
    };
    let counted: Vec<&Read> = benchmark.files.iter().filter(|file| file.is_counted).collect();
    let (all, split) = (of(&mut counted.iter()), of(&mut parts.iter()));
    Some([all.difference(&split).count(), split.difference(&all).count()])
}
