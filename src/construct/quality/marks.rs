//! `quality/marks.jsonl`: what each reviewer says of each record, a sealed line each.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::criteria::CRITERIA;
use super::sample::QUALITY;
use crate::bail_input;
use crate::disk::{atomic, json_lines, lock, read};
use crate::error::{InputError, shown};

/// What the name of a model that judges begins with; no person's may.
pub const JUDGE: &str = "judge: ";

/// Longest name of a reviewer, in characters.
const LONGEST: usize = 80;

/// What a reviewer says of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The record's id.
    pub id: String,
    /// Digest of its texts.
    pub sha256_of_texts: String,
    /// The sample that it was read in.
    pub sample: String,
    /// Who says it; a model begins with [`JUDGE`].
    pub reviewer: String,
    /// Whose record it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Yes or no to each criterion; none where there is no mark.
    pub marks: [Option<bool>; CRITERIA.len()],
    /// In the reviewer's words, empty without any.
    pub comment: String,
}

impl json_lines::Line for Mark {
    const NOUN: &'static str = "a reviewer's marks";
    const SKIPS_BLANK_LINES: bool = false;

    fn check(&self) -> Result<()> {
        if self.id.is_empty() || self.reviewer.is_empty() {
            bail_input!("marks without an id or a reviewer");
        }
        Ok(())
    }
}

impl Mark {
    /// Whether a model says it.
    pub fn is_judges(&self) -> bool {
        self.reviewer.starts_with(JUDGE)
    }
}

/// Refuses a name that no reviewer may have, saying why.
pub fn check_name(name: &str) -> std::result::Result<(), String> {
    match name {
        "" => Err("the reviewer has no name".to_owned()),
        name if name.chars().count() > LONGEST => Err(format!(
            "a reviewer's name has at most {LONGEST} characters, got `{}`",
            shown(&name)
        )),
        name if name.contains(char::is_control) => {
            Err(format!("a reviewer's name is one line, got `{}`", shown(&name)))
        }
        name if name.to_lowercase().starts_with(JUDGE.trim_end()) => {
            Err(format!("`{}` is the name of a model: `judge:` is kept for those", shown(&name)))
        }
        _ => Ok(()),
    }
}

/// All marks of a benchmark, by record and reviewer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks(BTreeMap<(String, String), Mark>);

/// What came of adding marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Added {
    /// New ones.
    pub new: usize,
    /// Those that were there already.
    pub same: usize,
    /// Those that took the place of others by the same reviewer.
    pub replaced: usize,
}

impl Marks {
    fn path(folder: &Path) -> PathBuf {
        folder.join(QUALITY).join("marks.jsonl")
    }

    /// The marks of the benchmark in `folder`; none where there are none. A broken line is refused.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = Self::path(folder);
        if !read::is_there(&path)? {
            return Ok(Self::default());
        }
        let all = json_lines::read::<Mark>(&path)?;
        Ok(Self(
            all.into_iter().map(|mark| ((mark.id.clone(), mark.reviewer.clone()), mark)).collect(),
        ))
    }

    /// Writes them; the same marks again change no byte.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = Self::path(folder);
        let all: Vec<&Mark> = self.0.values().collect();
        let mut bytes = Vec::new();
        for mark in &all {
            bytes.extend(json_lines::line(mark)?);
        }
        if read::if_there(&path)?.as_deref() != Some(&bytes[..]) {
            atomic::write(&path, |out| Ok(out.write_all(&bytes)?))?;
        }
        Ok(path)
    }

    /// The marks of a reviewer on a record.
    pub fn get(&self, id: &str, reviewer: &str) -> Option<&Mark> {
        self.0.get(&(id.to_owned(), reviewer.to_owned()))
    }

    /// Adds one, in the place of what the reviewer said before.
    pub fn add(&mut self, mark: Mark, added: &mut Added) {
        let before = self.0.insert((mark.id.clone(), mark.reviewer.clone()), mark.clone());
        match before {
            None => added.new += 1,
            Some(before) if before == mark => added.same += 1,
            Some(_) => added.replaced += 1,
        }
    }

    /// All, by id and reviewer.
    pub fn all(&self) -> impl Iterator<Item = &Mark> {
        self.0.values()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Locks the reviews of the benchmark in `folder` for this process until the file is closed.
pub fn lock(folder: &Path) -> Result<File> {
    let quality = folder.join(QUALITY);
    let context = || format!("cannot write in `{}`", quality.display());
    std::fs::create_dir_all(&quality).with_context(context)?;
    let mut options = read::unblocked();
    let file = options.write(true).create(true).truncate(true).open(quality.join(".lock"));
    let file = file.with_context(context)?;
    if !lock::take(&file).with_context(|| format!("cannot lock `{}`", quality.display()))? {
        let what = format!("another program is writing in `{}`", quality.display());
        return Err(InputError::new(what)
            .hint("wait for it and run the same command again")
            .into());
    }
    atomic::sweep_of(&Marks::path(folder))?;
    Ok(file)
}
