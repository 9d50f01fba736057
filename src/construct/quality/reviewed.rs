//! The records of a benchmark by their ids, as a review needs them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::exclusions::digest_of;
use crate::construct::statistics::Benchmark;
use crate::data::entries::Entry;
use crate::error::{InputError, shown};

/// The records of a benchmark, each with an id of its own.
pub struct Records {
    folder: PathBuf,
    all: Vec<Entry>,
    places: HashMap<String, usize>,
}

/// The digest of a record's texts.
pub(super) fn digest(record: &Entry) -> String {
    digest_of(&record.question, &record.answer_w, &record.answer_l)
}

impl Records {
    /// Reads the benchmark in `folder`. Refuses what is no folder of a benchmark, a record without an id, and two with the same.
    pub fn read(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let what = format!("`{}` is no folder", folder.display());
            return Err(InputError::new(what)
                .hint("give the folder of a benchmark: a review is kept in its `quality` folder")
                .into());
        }
        let benchmark = Benchmark::read(&[folder.to_owned()])?;
        let (mut all, mut places) = (Vec::new(), HashMap::new());
        for file in benchmark.files.into_iter().filter(|file| file.is_counted) {
            for record in file.entries.records {
                let place = format!("{}:{}", file.name, record.line);
                let refused = |what: String| {
                    InputError::new(format!("{place}: {what}"))
                        .hint("marks are told apart by it: give each record an id of its own")
                };
                let Some(id) = record.id.clone() else {
                    return Err(refused("the record has no `id`".to_owned()).into());
                };
                if places.insert(id.clone(), all.len()).is_some() {
                    let what = format!("a second record has the id `{}`", shown(&id));
                    return Err(refused(what).into());
                }
                all.push(record);
            }
        }
        Ok(Self { folder: folder.to_owned(), all, places })
    }

    /// The folder of the benchmark.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// In the order of the files.
    pub fn all(&self) -> &[Entry] {
        &self.all
    }

    /// The record with an id.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.places.get(id).map(|place| &self.all[*place])
    }
}
