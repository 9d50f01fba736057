//! The names of the files that `mvpbench judge` writes.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::disk::{atomic, digest, lock, read, writable};
use crate::error::InputError;

/// What the names of the files of verdicts, of replies and of tokens begin with.
const VERDICTS: &str = "verdicts-";
const JOURNAL: &str = "journal-";
const GENERATIONS: &str = "generations-";
/// The other names in the folder.
const NAMES: [&str; 6] = ["paa.json", "tables", "report.html", "report.md", lock::FILE, "batch"];

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

    /// Refuses a folder that cannot be written, and one that holds anything else than verdicts and what belongs to them. Writes
    /// nothing.
    pub fn check(&self) -> Result<()> {
        writable::check(&self.0)?;
        let Some(other) = read::folder(&self.0)?.into_iter().find(|entry| !is_ours(entry)) else {
            return Ok(());
        };
        let name = other.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let what = format!(
            "output folder `{}` holds `{name}` and is no folder of verdicts",
            self.0.display()
        );
        Err(InputError::new(what).hint("give another folder with `--output`").into())
    }

    /// Makes the folder if it is missing, and locks it for this process until the file is closed. Refuses what [`Self::check`] does.
    pub fn lock(&self) -> Result<File> {
        self.check()?;
        let lock = lock::folder(&self.0)?;
        // Another program may have begun meanwhile.
        self.check()?;
        atomic::sweep(&self.0)?;
        Ok(lock)
    }

    /// The folder of the tables as CSV.
    pub fn tables(&self) -> PathBuf {
        self.0.join("tables")
    }

    /// The tokens of a local judge, while it answers the conversations whose names have this digest.
    pub fn generations(&self, digest: &str) -> PathBuf {
        self.0.join(format!("{GENERATIONS}{}.jsonl", &digest[..8]))
    }

    /// The journal of the replies of the judge `name` at `place`.
    pub fn journal(&self, name: &str, place: &str) -> PathBuf {
        let digest = digest::of_parts([name, place]);
        self.0.join(format!("{JOURNAL}{}-{}.jsonl", Self::plain(name), &digest[..8]))
    }

    /// Name of the file of a model's verdicts.
    pub fn verdicts_name(model: &str) -> String {
        format!("{VERDICTS}{}.jsonl", Self::plain(model))
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

/// Whether an entry of the folder may be this program's.
fn is_ours(entry: &Path) -> bool {
    let name = entry.file_name().unwrap_or_default().to_string_lossy();
    let is_kind = |begin: &str| name.starts_with(begin) && name.contains(".jsonl");
    NAMES.iter().any(|known| name == *known || atomic::is_partial_of(entry, known))
        || [VERDICTS, JOURNAL, GENERATIONS].into_iter().any(is_kind)
        || (name.starts_with('.') && [VERDICTS, JOURNAL].iter().any(|begin| name.contains(begin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_makes_a_file_in_the_folder() {
        assert_eq!(PaaFolder::verdicts_name("a/b:8b"), "verdicts-a_b_8b.jsonl");
    }
}
