//! Finished generations, each on disk as soon as it is made: what a program that was stopped need not make again.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::model::generation::Generation;

/// The file: a line with the key of the work, then a line for each generation.
pub(super) struct Journal {
    file: File,
}

#[derive(Serialize, Deserialize)]
struct Head {
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    row: usize,
    #[serde(flatten)]
    generation: Generation,
}

impl Journal {
    /// Opens the journal of the work with this `key` over `rows` prompts: what it holds already, by row. Of another work it is begun anew.
    pub(super) fn open(
        path: &Path,
        key: &str,
        rows: usize,
    ) -> Result<(Self, Vec<Option<Generation>>)> {
        let context = || format!("cannot write `{}`", path.display());
        let mut done = vec![None; rows];
        // A line that was cut, and whatever comes after it, is not read.
        let text = fs::read(path).unwrap_or_default();
        let mut lines =
            text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let head = lines.next().and_then(|line| serde_json::from_slice::<Head>(line).ok());
        let mut kept = Vec::new();
        if head.is_some_and(|head| head.key == key) {
            for line in lines {
                match serde_json::from_slice::<Line>(line) {
                    Ok(Line { row, generation }) if row < rows => {
                        done[row] = Some(generation);
                        kept.extend_from_slice(line);
                    }
                    _ => break,
                }
            }
        }
        fs::create_dir_all(path.parent().unwrap_or(path)).with_context(context)?;
        let mut head = serde_json::to_vec(&Head { key: key.to_owned() })?;
        head.push(b'\n');
        head.extend(kept);
        if head != text {
            fs::write(path, head).with_context(context)?;
        }
        let file = OpenOptions::new().append(true).open(path).with_context(context)?;
        Ok((Self { file }, done))
    }

    /// Writes one generation down.
    pub(super) fn push(&mut self, row: usize, generation: &Generation) -> Result<()> {
        let mut line = serde_json::to_vec(&Line { row, generation: generation.clone() })?;
        line.push(b'\n');
        self.file.write_all(&line).context("cannot write a finished generation")
    }

    /// Removes a journal that is no longer needed.
    pub(super) fn remove(path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::Stop;

    #[test]
    fn a_cut_line_is_made_again_and_another_works_journal_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval/.journal");
        let made = |id| Generation { ids: vec![id, 2], stop: Stop::Eos };
        let (mut journal, done) = Journal::open(&path, "k", 3).unwrap();
        assert_eq!(done, [None, None, None]);
        journal.push(2, &made(7)).unwrap();
        journal.push(0, &made(8)).unwrap();
        drop(journal);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 3]).unwrap();
        let (mut journal, done) = Journal::open(&path, "k", 3).unwrap();
        assert_eq!(done, [None, None, Some(made(7))]);
        journal.push(0, &made(9)).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path, "k", 3).unwrap().1, [Some(made(9)), None, Some(made(7))]);
        assert_eq!(Journal::open(&path, "other", 3).unwrap().1, [None, None, None]);
        assert_eq!(Journal::open(&path, "k", 3).unwrap().1, [None, None, None]);
        Journal::remove(&path).unwrap();
        Journal::remove(&path).unwrap();
    }
}
