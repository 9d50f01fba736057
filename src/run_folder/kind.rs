//! What a folder is, by the files in it, for a command that would write into it.

use std::path::Path;

use crate::run_folder::answers::AnswersFolder;
use crate::run_folder::paa::PaaFolder;
use crate::run_folder::paths::Paths;
use crate::run_folder::purpose::Purpose;

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
        Some("verdicts of judges")
    } else if AnswersFolder::of(path).about().exists() {
        Some("answers to a benchmark")
    } else {
        None
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
