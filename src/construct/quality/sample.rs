//! A sample to review: which records, for whom; the content of `quality/sample-<seed>/sample.json`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::draw::{By, draw};
use super::reviewed::{Records, digest};
use crate::data::entries::Entry;
use crate::disk::{digest as sha, read, seal};
use crate::error::InputError;

/// The folder of reviews inside that of a benchmark.
pub const QUALITY: &str = "quality";

/// What the name of a sample's folder begins with.
const SAMPLE: &str = "sample-";

/// The file of a sample in its folder.
pub(super) const JSON: &str = "sample.json";

/// Columns of `sample.csv` that reviewers read.
pub(super) const READ: [&str; 6] =
    ["for", "question", "preference", "profile", "answer_w", "answer_l"];

/// Columns that name a record.
pub(super) const NAMED: [&str; 3] = ["sample", "id", "sha256"];

/// What to draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Records.
    pub n: usize,
    /// Seed of the draw.
    pub seed: u64,
    /// What is drawn evenly.
    pub by: By,
    /// Reviewers who share the work.
    pub reviewers: usize,
    /// Share of the records that every reviewer reads; the others are read by one each.
    pub overlap: f64,
}

/// A drawn sample, the content of `sample.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Its name: a digest of what its records hold.
    pub sample: String,
    /// How it was drawn.
    pub drawn: Wanted,
    /// Its records, in order.
    pub records: Vec<Drawn>,
}

/// A record of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawn {
    /// Its id.
    pub id: String,
    /// Digest of its texts, as an exclusion has it.
    pub sha256: String,
    /// Whose it is, for intervals that draw users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The reviewer, from 1, who reads it; none: all do.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<usize>,
}

impl Sample {
    /// Draws from `records`. Refuses numbers out of range.
    pub fn draw(records: &Records, wanted: &Wanted) -> Result<Self> {
        let range = |name: &str, expected: &str, found: &dyn std::fmt::Display| {
            InputError::new(format!("`{name}` must be {expected}, got `{found}`"))
        };
        if wanted.n == 0 {
            return Err(range("--n", "at least 1", &wanted.n).into());
        }
        if !(1..=99).contains(&wanted.reviewers) {
            return Err(range("--reviewers", "in 1..=99", &wanted.reviewers).into());
        }
        if !(0.0..=1.0).contains(&wanted.overlap) {
            return Err(range("--overlap", "in 0..=1", &wanted.overlap).into());
        }
        let drawn = draw(records.all(), wanted.n, wanted.seed, wanted.by);
        let shared = (wanted.overlap * drawn.len() as f64).round() as usize;
        let one = |(place, record): (usize, &&Entry)| Drawn {
            id: record.id.clone().unwrap_or_default(),
            sha256: digest(record),
            user: record.user.clone(),
            reviewer: (place >= shared && wanted.reviewers > 1)
                .then(|| (place - shared) % wanted.reviewers + 1),
        };
        let parts = drawn.iter().flat_map(|record| {
            let preference = record.preference.clone().unwrap_or_default();
            [record.id.clone().unwrap_or_default(), digest(record), preference]
        });
        let mut sample = sha::of_parts(parts);
        sample.truncate(16);
        let records = drawn.iter().enumerate().map(one).collect();
        Ok(Self { sample, drawn: wanted.clone(), records })
    }

    /// The folder of a sample of the benchmark in `folder`.
    pub fn folder(folder: &Path, seed: u64) -> PathBuf {
        folder.join(QUALITY).join(format!("{SAMPLE}{seed}"))
    }

    /// The record of the benchmark that `one` is. Refuses one that is not there any more, or has other texts.
    pub fn record<'a>(&self, records: &'a Records, one: &Drawn) -> Result<&'a Entry> {
        let found = records.get(&one.id).filter(|record| digest(record) == one.sha256);
        found.ok_or_else(|| {
            let what = format!(
                "record `{}` of the sample {} is not the one that `{}` holds: the benchmark was made again since",
                one.id,
                self.sample,
                records.folder().display()
            );
            InputError::new(what)
                .hint("review the benchmark that the sample was drawn from, or draw a new sample with another `--seed`")
                .into()
        })
    }

    /// The samples of the benchmark in `folder`, by their seeds. A broken one is refused.
    pub fn all(folder: &Path) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for path in read::folder(&folder.join(QUALITY))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let json = path.join(JSON);
            if !name.starts_with(SAMPLE) {
                continue;
            }
            let Some(bytes) = read::if_there(&json)? else { continue };
            let broken = |why: &dyn std::fmt::Display| {
                InputError::new(format!("{}: not a sample: {why}", json.display()))
                    .hint("run the command that drew it again, after removing the file")
            };
            let object = seal::open(&bytes).map_err(|error| broken(&error))?;
            all.push(serde_json::from_slice::<Self>(&object).map_err(|error| broken(&error))?);
        }
        all.sort_by_key(|sample| sample.drawn.seed);
        Ok(all)
    }
}
