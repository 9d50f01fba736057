//! The names of the files that `mvpbench judge` writes.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::disk::{atomic, digest};

/// The paths of a folder of verdicts, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaaFolder(PathBuf);

impl PaaFolder {
    /// The paths of the folder `root`.
    pub fn of(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The figures.
    pub fn figures(&self) -> PathBuf {
        self.0.join("paa.json")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder if it is missing, and locks it for this process until the file is closed.
    pub fn lock(&self) -> Result<File> {
        let lock = super::lock(&self.0)?;
        atomic::sweep(&self.0)?;
        Ok(lock)
    }

    /// The folder of the tables as CSV.
    pub fn tables(&self) -> PathBuf {
        self.0.join("tables")
    }

    /// The tokens of a local judge, while it judges.
    pub fn generations(&self) -> PathBuf {
        self.0.join("generations.jsonl")
    }

    /// The journal of the replies of the judge `name` at `place`.
    pub fn journal(&self, name: &str, place: &str) -> PathBuf {
        let digest = digest::of_parts([name, place]);
        self.0.join(format!("journal-{}-{}.jsonl", Self::plain(name), &digest[..8]))
    }

    /// Name of the file of a model's verdicts.
    pub fn verdicts_name(model: &str) -> String {
        format!("verdicts-{}.jsonl", Self::plain(model))
    }

    /// `name` with every character that not every file system takes as `_`.
    pub fn plain(name: &str) -> String {
        let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        name.chars().map(plain).collect()
    }

    /// A file of that name in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_makes_a_file_in_the_folder() {
        assert_eq!(PaaFolder::verdicts_name("a/b:8b"), "verdicts-a_b_8b.jsonl");
    }
}
