//! A folder of one model's answers to a benchmark, as `mvpbench generate --data` writes it and `mvpbench judge` reads it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::disk::json_lines::{self, Line};
use crate::disk::{atomic, digest, read, seal};
use crate::error::InputError;
use crate::metrics::paa::evaluation::{AnsweredBy, DataFile};
use crate::run_folder::begun::Begun;

/// The paths of a folder of answers, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswersFolder(PathBuf);

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerLine {
    /// Id of the record.
    pub id: String,
    /// Stem of the file of the record.
    pub source: String,
    /// The question alone, without the profile: the judge's record must ask the same.
    pub question: String,
    /// The answer; none where the request failed for good.
    pub answer: Option<String>,
    /// Why the answer ended (`stop`, `length`, `content_filter`, `refusal`), or why there is none.
    pub finish: String,
}

/// What `answers.json` says of the answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswersAbout {
    /// Name of the model in figures: the last part of the folder's path.
    pub name: String,
    /// Version of this program.
    pub version: String,
    /// The command as it was typed.
    pub command: String,
    /// When the answers were complete, `2026-11-26 12:00 UTC`.
    pub date: String,
    /// Who answered.
    pub answered_by: AnsweredBy,
    /// The protocol's file or preset.
    pub protocol: String,
    /// SHA-256 of the settings of stage 1.
    pub protocol_sha256: String,
    /// The files of the items.
    pub data: Vec<DataFile>,
    /// Items.
    pub n: usize,
    /// Items without an answer.
    pub failed: usize,
    /// Answers that the limit of tokens cut.
    pub cut: usize,
    /// US dollars of the answers; none without prices or for a local model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// SHA-256 of `answers.jsonl`.
    pub answers_sha256: String,
}

/// A folder of answers as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// What is said of them.
    pub about: AnswersAbout,
    /// The answers, in the order of the items.
    pub lines: Vec<AnswerLine>,
}

impl Line for AnswerLine {
    const NOUN: &'static str = "an answer";
    const SKIPS_BLANK_LINES: bool = false;

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl AnswersFolder {
    /// The paths of the folder `root`.
    pub fn of(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The name of the model in figures: the last part of the folder's path.
    pub fn name(&self) -> Result<String> {
        let shown = self.0.display();
        let absolute = std::path::absolute(&self.0).ok().filter(|path| path.file_name().is_some());
        let path = match absolute {
            Some(path) => path,
            None => self.0.canonicalize().with_context(|| format!("cannot find `{shown}`"))?,
        };
        let name = path.file_name().with_context(|| format!("`{shown}` has no name"))?;
        Ok(name.to_string_lossy().into_owned())
    }

    /// The folder while it is filled.
    pub fn begun(&self) -> Begun<'_> {
        let own = &["answers.json", "answers.jsonl", "journal.jsonl", "generations.jsonl"];
        Begun { path: &self.0, own, noun: "answers", last: "answers.json" }
    }

    /// The journal of a local model's tokens, which goes away when the answers are complete.
    pub fn generations(&self) -> PathBuf {
        self.0.join("generations.jsonl")
    }

    /// What is said of the answers.
    pub fn about(&self) -> PathBuf {
        self.0.join("answers.json")
    }

    /// The answers.
    pub fn answers(&self) -> PathBuf {
        self.0.join("answers.jsonl")
    }

    /// The journal of an endpoint's replies.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }

    /// Writes the answers, then what is said of them, whose digest is set here.
    pub fn write(&self, mut about: AnswersAbout, lines: &[AnswerLine]) -> Result<()> {
        json_lines::write_checked(&self.answers(), lines)?;
        about.answers_sha256 = digest::of_file(&self.answers())?;
        atomic::write(&self.about(), |out| Ok(out.write_all(&seal::indented(&about)?)?))
    }

    /// What is said of the answers; none where the folder is not finished.
    pub fn read_about(&self) -> Result<Option<AnswersAbout>> {
        let path = self.about();
        let Some(bytes) = read::if_there(&path)? else { return Ok(None) };
        let broken = |why: &dyn std::fmt::Display| {
            InputError::new(format!("`{}` does not describe answers: {why}", path.display())).hint(
                "run `mvpbench generate` again with the same options: finished answers are kept",
            )
        };
        let object = seal::open(&bytes).map_err(|error| broken(&error))?;
        Ok(Some(serde_json::from_slice(&object).map_err(|error| broken(&error))?))
    }

    /// Reads both files. Refuses a folder that is not finished, and answers other than those that are described.
    pub fn read(&self) -> Result<Answers> {
        let Some(about) = self.read_about()? else {
            let what =
                format!("`{}` holds no finished answers: no `answers.json`", self.0.display());
            let hint = "make them with `mvpbench generate --data FILE --output DIR`; the same command resumes";
            return Err(InputError::new(what).hint(hint).into());
        };
        let path = self.answers();
        let bytes = read::if_there(&path)?;
        let described = bytes.filter(|bytes| digest::of_bytes(bytes) == about.answers_sha256);
        let Some(bytes) = described else {
            let what =
                format!("`{}` are not the answers that `answers.json` describes", path.display());
            let hint =
                "run `mvpbench generate` again with the same options: finished answers are kept";
            return Err(InputError::new(what).hint(hint).into());
        };
        // The bytes whose digest was compared: another program may write the file meanwhile.
        Ok(Answers { about, lines: json_lines::parse(&path, &bytes)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> AnswersAbout {
        AnswersAbout {
            name: "m".into(),
            version: "1".into(),
            command: "mvpbench generate".into(),
            date: "2026-11-26 12:00 UTC".into(),
            answered_by: AnsweredBy {
                model: "m".into(),
                endpoint: "local".into(),
                served: Vec::new(),
                adapter: String::new(),
                sha256: String::new(),
            },
            protocol: "paa-paper.toml".into(),
            protocol_sha256: "0".into(),
            data: Vec::new(),
            n: 1,
            failed: 0,
            cut: 0,
            cost_usd: None,
            answers_sha256: String::new(),
        }
    }

    #[test]
    fn answers_come_back_and_any_changed_byte_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = AnswersFolder::of(temporary.path());
        let missing = folder.read().unwrap_err();
        assert!(InputError::of(&missing).is_some(), "{missing:#}");
        let line = AnswerLine {
            id: "1".into(),
            source: "test".into(),
            question: "Why?".into(),
            answer: Some("So.".into()),
            finish: "stop".into(),
        };
        folder.write(about(), std::slice::from_ref(&line)).unwrap();
        let read = folder.read().unwrap();
        assert_eq!((&read.lines[..], &*read.about.name), (&[line][..], "m"));
        for path in [folder.answers(), folder.about()] {
            let whole = std::fs::read(&path).unwrap();
            for at in (0..whole.len()).step_by(7) {
                let mut changed = whole.clone();
                changed[at] ^= 1;
                std::fs::write(&path, &changed).unwrap();
                assert!(folder.read().is_err(), "{} byte {at}", path.display());
            }
            std::fs::write(&path, &whole).unwrap();
        }
        std::fs::remove_file(folder.answers()).unwrap();
        let missing = folder.read().unwrap_err();
        assert!(InputError::of(&missing).is_some(), "{missing:#}");
    }
}
