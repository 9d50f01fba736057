//! What a folder is, by the files in it, for a command that would write into it.

use std::path::Path;

use anyhow::Result;

use crate::disk::writable;
use crate::error::InputError;
use crate::run_folder::answers::AnswersFolder;
use crate::run_folder::paa::PaaFolder;
use crate::run_folder::paths::Paths;
use crate::run_folder::purpose::Purpose;

/// What a folder of `mvpbench judge` holds.
pub const VERDICTS: &str = "verdicts of judges";

/// What the folder `path` holds, such as `a run`; none where it holds nothing of this program, or only reports.
///
/// A `config.toml` alone is a configuration that somebody keeps there, not a run.
pub fn of(path: &Path) -> Option<&'static str> {
    let paths = Paths::of(path);
    let has_results =
        || [paths.log(), paths.summary(), paths.evaluations()].iter().any(|result| result.exists());
    if paths.config(Purpose::Run).exists() && has_results() {
        Some("a run")
    } else if paths.config(Purpose::Evaluation).exists() && has_results() {
        Some("an evaluation")
    } else if PaaFolder::of(path).figures().exists() {
        Some(VERDICTS)
    } else if AnswersFolder::of(path).about().exists() {
        Some("answers to a benchmark")
    } else {
        None
    }
}

/// Refuses an output folder that holds something else than `ours` or nothing, and one that cannot be written. Writes nothing.
pub fn check(path: &Path, ours: &str) -> Result<()> {
    writable::check(path)?;
    match of(path).filter(|what| *what != ours) {
        None => Ok(()),
        Some(what) => Err(InputError::new(format!("`{}` holds {what}", path.display()))
            .hint("give another folder with `--output`")
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        put("config.toml");
        assert_eq!(of(folder.path()), None);
        put("answers.json");
        assert_eq!(of(folder.path()), Some("answers to a benchmark"));
        put("paa.json");
        assert_eq!(of(folder.path()), Some("verdicts of judges"));
        put("train.jsonl");
        assert_eq!(of(folder.path()), Some("a run"));
    }
}
