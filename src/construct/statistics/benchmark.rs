//! Paths of a benchmark -> its files as they are read, and which of them its records are counted from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::manifest::Manifest;
use crate::console::interrupt;
use crate::data::entries::{self, Entries, Entry};
use crate::disk::{digest, read};
use crate::error::InputError;
use crate::presets;

/// The file of a benchmark's folder that has all records.
const WHOLE: &str = "MVPBench.json";

/// Those that have the records of a split.
const SPLITS: [&str; 3] = ["train.json", "validation.json", "test.json"];

/// One file.
#[derive(Debug, Clone)]
pub struct Read {
    /// Its path as the user would type it.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// What it holds.
    pub entries: Entries,
    /// Whether a manifest beside it has this digest; none where no manifest names it.
    pub is_in_manifest: bool,
    /// Whether it is one of several splits, so that nothing should be in two of them.
    pub is_split: bool,
    /// Whether its records are those of the benchmark: all files but the splits of a folder that has `MVPBench.json`.
    pub is_counted: bool,
}

/// The files of a benchmark.
#[derive(Debug, Clone)]
pub struct Benchmark {
    /// In the order of the paths; of a folder the whole first, then its splits.
    pub files: Vec<Read>,
    /// Files that a manifest names and that are not there, a sentence each.
    pub absent: Vec<String>,
}

/// A file to read.
struct Wanted {
    path: PathBuf,
    /// Whether the folder that names it has the whole too.
    is_part: bool,
    is_whole: bool,
}

impl Benchmark {
    /// Reads `paths`: folders with `MVPBench.json`, or with `train.json`, `validation.json` and `test.json`, or both; or files of records.
    ///
    /// Refuses a folder without any of them, a file that is named twice, and one that a manifest beside it has another digest of.
    pub fn read(paths: &[PathBuf]) -> Result<Self> {
        let (mut wanted, mut absent) = (Vec::new(), Vec::new());
        for path in paths {
            match path.is_dir() {
                true => wanted.extend(of_folder(path)?),
                false => wanted.push(Wanted {
                    path: path.clone(),
                    is_part: false,
                    is_whole: path.file_name().is_some_and(|name| name == WHOLE),
                }),
            }
        }
        let splits = wanted.iter().filter(|one| !one.is_whole).count();
        let mut manifests: Vec<(PathBuf, Option<Manifest>)> = Vec::new();
        let mut files: Vec<Read> = Vec::new();
        for one in &wanted {
            interrupt::check()?;
            let name = one.path.display().to_string();
            if files.iter().any(|file| file.name == name) {
                return Err(InputError::new(format!("`{name}` is given twice"))
                    .hint("give each file once; a folder has its files already")
                    .into());
            }
            let folder = one.path.parent().unwrap_or(Path::new("")).to_owned();
            if manifests.iter().all(|(known, _)| *known != folder) {
                let manifest = Manifest::beside(&folder)?;
                absent.extend(manifest.iter().flat_map(|manifest| manifest.absent(&folder)));
                manifests.push((folder.clone(), manifest));
            }
            let manifest = manifests.iter().find(|(known, _)| *known == folder);
            let bytes = presets::read(&name)?;
            let sha256 = digest::of_bytes(&bytes);
            let entries = entries::load(&bytes, &name)?;
            let is_in_manifest = match manifest {
                Some((_, Some(manifest))) => {
                    manifest.check(&one.path, &sha256, entries.records.len())?
                }
                _ => false,
            };
            files.push(Read {
                name,
                sha256,
                entries,
                is_in_manifest,
                is_split: !one.is_whole && splits > 1,
                is_counted: !one.is_part,
            });
        }
        Ok(Self { files, absent })
    }

    /// The records that the benchmark has, each once.
    pub fn records(&self) -> Vec<&Entry> {
        let counted = self.files.iter().filter(|file| file.is_counted);
        counted.flat_map(|file| &file.entries.records).collect()
    }

    /// The splits, where there are several.
    pub fn splits(&self) -> impl Iterator<Item = &Read> {
        self.files.iter().filter(|file| file.is_split)
    }

    /// How many of the records lack each field, those that are lacked most first.
    pub fn missing(&self) -> Vec<(String, usize)> {
        let mut all = std::collections::BTreeMap::new();
        for (field, count) in
            self.files.iter().filter(|file| file.is_counted).flat_map(|file| &file.entries.missing)
        {
            *all.entry(field.clone()).or_insert(0) += count;
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        all
    }
}

/// The files of a benchmark's folder.
fn of_folder(folder: &Path) -> Result<Vec<Wanted>> {
    let there = |name: &str| -> Result<Option<PathBuf>> {
        let path = folder.join(name);
        Ok(read::is_there(&path)?.then_some(path))
    };
    let whole = there(WHOLE).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let is_part = whole.is_some();
    let mut wanted: Vec<Wanted> =
        whole.into_iter().map(|path| Wanted { path, is_part: false, is_whole: true }).collect();
    for name in SPLITS {
        wanted.extend(there(name)?.map(|path| Wanted { path, is_part, is_whole: false }));
    }
    if wanted.is_empty() {
        let message = format!(
            "`{}` has neither `{WHOLE}` nor any of `{}`",
            folder.display(),
            SPLITS.join("`, `")
        );
        return Err(InputError::new(message)
            .hint("give the folder of a benchmark, or its files by name")
            .into());
    }
    Ok(wanted)
}
