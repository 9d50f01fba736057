//! The answers of an endpoint in a file, each as soon as it arrives, so that a killed program pays for none twice.
//!
//! A line is one of OpenAI's Batch output, with its digest.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::console::progress::Verbosity;
use crate::disk::journal::open_locked;
use crate::disk::{json_lines, seal};
use crate::judge::chat::outcome::{Failure, Outcome};
use crate::judge::chat::response;

/// A line of a Batch output file, of whatever server wrote it.
#[derive(Deserialize)]
pub(super) struct Line {
    pub(super) custom_id: String,
    response: Option<Response>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Response {
    status_code: u16,
    #[serde(default)]
    body: Value,
}

impl Line {
    /// What became of the request.
    pub(super) fn outcome(&self) -> Outcome {
        let failed = |status, why| Outcome::Failed(Failure { status, why });
        match (&self.response, &self.error) {
            (Some(Response { status_code: 200, body }), _) => {
                match response::answer(body.to_string().as_bytes()) {
                    Ok(answer) => Outcome::Answer(answer),
                    Err(why) => failed(Some(200), why),
                }
            }
            (Some(Response { status_code, body }), _) => {
                Outcome::Failed(response::failure(*status_code, body))
            }
            (None, Some(error)) => {
                let error = json!({"error": error}).to_string();
                failed(None, response::error_text(error.as_bytes()))
            }
            (None, None) => failed(None, "the line holds neither a response nor an error".into()),
        }
    }
}

/// What became of each request, on disk and in memory.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    held: HashMap<String, Outcome>,
}

impl Journal {
    /// Opens or begins the journal at `path`, for this process alone.
    ///
    /// Drops an unfinished last line, which a killed program leaves, and with a warning every other line that its digest does not
    /// match: their requests are sent again.
    pub(super) fn open(path: &Path, verbosity: Verbosity) -> Result<Self> {
        let context = || format!("cannot read the journal `{}`", path.display());
        let mut file = open_locked(path)?;
        let (mut held, mut broken) = (HashMap::new(), Vec::new());
        let mut reader = BufReader::new(&mut file);
        let (mut line, mut end, mut number) = (Vec::new(), 0, 0);
        let mut is_torn = false;
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).with_context(context)?;
            if length == 0 {
                break;
            }
            number += 1;
            let ended = line.strip_suffix(b"\n");
            is_torn = ended.is_none();
            let opened = seal::open(ended.unwrap_or(&line)).ok();
            let read = opened.and_then(|line| serde_json::from_slice::<Line>(&line).ok());
            match read {
                Some(read) => keep(&mut held, read.custom_id.clone(), read.outcome()),
                None if is_torn => {
                    is_torn = false;
                    break;
                }
                None => broken.push(number),
            }
            end += length as u64;
            if is_torn {
                break;
            }
        }
        file.set_len(end).with_context(context)?;
        file.seek(SeekFrom::End(0)).with_context(context)?;
        if is_torn {
            // All of the line but its line break was written.
            file.write_all(b"\n").with_context(context)?;
        }
        if !broken.is_empty() {
            verbosity.warn(format!(
                "journal `{}`: {} broken; what they held is asked again",
                path.display(),
                json_lines::numbered("line", &broken)
            ));
        }
        Ok(Self { file, path: path.to_owned(), held })
    }

    /// What became of the request `custom_id`; none if it is not known.
    pub(super) fn get(&self, custom_id: &str) -> Option<&Outcome> {
        self.held.get(custom_id)
    }

    /// Appends what became of a request. An answer is never replaced.
    pub(super) fn append(&mut self, custom_id: &str, outcome: Outcome) -> Result<()> {
        let line = match &outcome {
            Outcome::Answer(answer) => json!({
                "custom_id": custom_id,
                "response": {"status_code": 200, "request_id": "", "body": response::body(answer)},
                "error": null,
            }),
            Outcome::Failed(Failure { status: Some(status), why }) => json!({
                "custom_id": custom_id,
                "response": {
                    "status_code": status,
                    "request_id": "",
                    "body": {"error": {"message": why}},
                },
                "error": null,
            }),
            Outcome::Failed(Failure { status: None, why }) => json!({
                "custom_id": custom_id,
                "response": null,
                "error": {"code": "no_answer", "message": why},
            }),
        };
        self.file
            .write_all(&json_lines::line(&line)?)
            .with_context(|| format!("cannot write the journal `{}`", self.path.display()))?;
        keep(&mut self.held, custom_id.to_owned(), outcome);
        Ok(())
    }

    /// Flushes all lines to the disk.
    pub(super) fn flush(&self) -> Result<()> {
        self.file
            .sync_data()
            .with_context(|| format!("cannot write the journal `{}`", self.path.display()))
    }
}

fn keep(held: &mut HashMap<String, Outcome>, custom_id: String, outcome: Outcome) {
    if !matches!(held.get(&custom_id), Some(Outcome::Answer(_))) {
        held.insert(custom_id, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::chat::outcome::{Answer, Finish, Usage};

    fn answer(text: &str) -> Outcome {
        let usage = Some(Usage { prompt: 3, completion: 1, reasoning: 0 });
        Outcome::Answer(Answer { text: text.into(), finish: Finish::Stop, usage })
    }

    fn open(path: &Path) -> Journal {
        Journal::open(path, Verbosity::Quiet).unwrap()
    }

    fn failed(why: &str) -> Outcome {
        Outcome::Failed(Failure { status: Some(400), why: why.into() })
    }

    #[test]
    fn a_journal_cut_anywhere_loses_the_cut_line_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let mut journal = open(&path);
        journal.append("a", answer("é\nYes")).unwrap();
        journal.append("b", failed("too long")).unwrap();
        assert!(Journal::open(&path, Verbosity::Quiet).is_err(), "one process at a time");
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|&byte| byte == b'\n').unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = open(&path);
            assert_eq!(
                journal.get("a").cloned(),
                (cut >= first).then(|| answer("é\nYes")),
                "{cut}"
            );
            let second = cut >= whole.len() - 1;
            assert_eq!(journal.get("b").cloned(), second.then(|| failed("too long")), "{cut}");
            journal.append("c", answer("No")).unwrap();
            drop(journal);
            let journal = open(&path);
            assert_eq!(journal.get("c"), Some(&answer("No")), "cut at {cut}");
            assert_eq!(journal.get("a").is_some(), cut >= first, "cut at {cut}");
        }
    }

    #[test]
    fn a_changed_bit_costs_its_line_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let mut journal = open(&path);
        journal.append("a", answer("Yes")).unwrap();
        let end = std::fs::metadata(&path).unwrap().len() as usize;
        journal.append("b", answer("No")).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..end {
            let mut changed = whole.clone();
            changed[at] ^= 2;
            std::fs::write(&path, &changed).unwrap();
            let journal = open(&path);
            assert_eq!(journal.get("a"), None, "byte {at}");
            let lost = at + 1 == end;
            assert_eq!(journal.get("b").is_none(), lost, "byte {at}");
        }
    }

    #[test]
    fn an_answer_replaces_a_failure_and_nothing_replaces_an_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let mut journal = open(&path);
        for outcome in [failed("x"), answer("Yes"), failed("y"), answer("No")] {
            journal.append("a", outcome).unwrap();
        }
        assert_eq!(journal.get("a"), Some(&answer("Yes")));
        drop(journal);
        assert_eq!(open(&path).get("a"), Some(&answer("Yes")));
    }
}
