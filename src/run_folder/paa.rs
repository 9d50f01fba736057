//! The names of the files that `mvpbench judge` writes.

use std::path::{Path, PathBuf};

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

    /// The journal of the replies of the judge `number`, from 0.
    pub fn journal(&self, number: usize) -> PathBuf {
        self.0.join(format!("journal-{}.jsonl", number + 1))
    }

    /// Name of the file of a model's verdicts.
    pub fn verdicts_name(model: &str) -> String {
        format!("verdicts-{}.jsonl", plain(model))
    }

    /// A file of that name in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// `name` with every character that not every file system takes as `_`.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_makes_a_file_in_the_folder() {
        assert_eq!(PaaFolder::verdicts_name("a/b:8b"), "verdicts-a_b_8b.jsonl");
    }
}
