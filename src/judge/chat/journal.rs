//! The answers of an endpoint in a file, each as soon as it arrives, so that a killed program pays for none twice.
//!
//! A line is one of OpenAI's Batch output, with its digest.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::console::progress::Verbosity;
use crate::disk::journal::open_locked;
use crate::disk::{json_lines, read, seal};
use crate::judge::chat::outcome::{Failure, Outcome};
use crate::judge::chat::response::{self, Heard};
use crate::judge::chat::result_line::Line;

/// What became of each request, on disk and in memory.
pub struct Journal {
    /// None where it is only read.
    file: Option<File>,
    path: PathBuf,
    held: Held,
}

#[derive(Default)]
struct Held {
    outcomes: HashMap<String, Outcome>,
    /// The names under which the endpoint says it answered.
    served: BTreeSet<String>,
}

/// The lines of a journal, and how far they are whole.
struct Scanned {
    held: Held,
    /// Numbers of broken lines, from 1.
    broken: Vec<usize>,
    /// Bytes up to the end of the last whole line.
    end: u64,
    /// Whether that line lacks its line break alone.
    is_torn: bool,
}

impl Journal {
    /// Opens or begins the journal at `path`, for this process alone.
    ///
    /// Drops an unfinished last line, which a killed program leaves, and with a warning every other line that its digest does not
    /// match: their requests are sent again.
    pub fn open(path: &Path, verbosity: Verbosity) -> Result<Self> {
        let context = || format!("cannot read the journal `{}`", path.display());
        let mut file = open_locked(path)?;
        let Scanned { held, broken, end, is_torn } = scan(&mut file).with_context(context)?;
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
        Ok(Self { file: Some(file), path: path.to_owned(), held })
    }

    /// The journal at `path` as it stands, or an empty one if there is none. Writes and locks nothing.
    pub fn read(path: &Path) -> Result<Self> {
        let held = match read::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Held::default()),
            file => file.and_then(|file| Ok(scan(file)?.held)),
        };
        let held = held.with_context(|| format!("cannot read the journal `{}`", path.display()))?;
        Ok(Self { file: None, path: path.to_owned(), held })
    }

    /// What became of the request `custom_id`; none if it is not known.
    pub fn get(&self, custom_id: &str) -> Option<&Outcome> {
        self.held.outcomes.get(custom_id)
    }

    /// The names under which the endpoint says it answered, in order.
    pub fn served(&self) -> impl Iterator<Item = &str> {
        self.held.served.iter().map(String::as_str)
    }

    /// Whether any request has an answer.
    pub fn holds_answers(&self) -> bool {
        self.held.outcomes.values().any(|outcome| matches!(outcome, Outcome::Answer(_)))
    }

    /// Appends what became of a request. An answer is never replaced.
    pub fn append(&mut self, custom_id: &str, outcome: Outcome, heard: &Heard) -> Result<()> {
        let request_id = &heard.request_id;
        let line = match &outcome {
            Outcome::Answer(answer) => json!({
                "custom_id": custom_id,
                "response": {
                    "status_code": 200,
                    "request_id": request_id,
                    "body": response::body(answer, heard),
                },
                "error": null,
            }),
            Outcome::Failed(Failure { status: Some(status), why }) => json!({
                "custom_id": custom_id,
                "response": {
                    "status_code": status,
                    "request_id": request_id,
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
        let context = || format!("cannot write the journal `{}`", self.path.display());
        let Some(file) = &mut self.file else {
            bail!("the journal `{}` was opened to be read", self.path.display())
        };
        file.write_all(&json_lines::line(&line)?).with_context(context)?;
        self.held.keep(custom_id.to_owned(), outcome, heard.model.as_deref());
        Ok(())
    }

    /// Flushes all lines to the disk.
    pub fn flush(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_data()
            .with_context(|| format!("cannot write the journal `{}`", self.path.display()))
    }
}

fn scan(file: impl Read) -> std::io::Result<Scanned> {
    let (mut held, mut broken) = (Held::default(), Vec::new());
    let mut reader = BufReader::new(file);
    let (mut line, mut end, mut number) = (Vec::new(), 0, 0);
    let mut is_torn = false;
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        number += 1;
        let ended = line.strip_suffix(b"\n");
        is_torn = ended.is_none();
        let opened = seal::open(ended.unwrap_or(&line)).ok();
        let read = opened.and_then(|line| serde_json::from_slice::<Line>(&line).ok());
        match read {
            Some(read) => {
                let (outcome, heard) = read.outcome();
                held.keep(read.custom_id, outcome, heard.model.as_deref());
            }
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
    Ok(Scanned { held, broken, end, is_torn })
}

impl Held {
    fn keep(&mut self, custom_id: String, outcome: Outcome, model: Option<&str>) {
        if let Some(model) = model.filter(|model| !self.served.contains(*model)) {
            self.served.insert(model.to_owned());
        }
        if !matches!(self.outcomes.get(&custom_id), Some(Outcome::Answer(_))) {
            self.outcomes.insert(custom_id, outcome);
        }
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
        journal.append("a", answer("é\nYes"), &Heard::default()).unwrap();
        journal.append("b", failed("too long"), &Heard::default()).unwrap();
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
            journal.append("c", answer("No"), &Heard::default()).unwrap();
            drop(journal);
            let journal = open(&path);
            assert_eq!(journal.get("c"), Some(&answer("No")), "cut at {cut}");
            assert_eq!(journal.get("a").is_some(), cut >= first, "cut at {cut}");
        }
    }

    #[test]
    fn a_journal_that_is_read_only_is_not_made_and_says_who_served() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        assert_eq!(Journal::read(&path).unwrap().get("a"), None);
        assert!(!path.exists());
        let mut journal = open(&path);
        for (id, model) in [("a", Some("gpt-4o-2")), ("b", Some("gpt-4o-1")), ("c", None)] {
            let heard = Heard { model: model.map(str::to_owned), request_id: "r".into() };
            journal.append(id, answer("Yes"), &heard).unwrap();
        }
        let mut read = Journal::read(&path).unwrap();
        assert_eq!(read.get("a"), Some(&answer("Yes")));
        assert_eq!(read.served().collect::<Vec<_>>(), ["gpt-4o-1", "gpt-4o-2"]);
        assert!(read.append("d", answer("No"), &Heard::default()).is_err());
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"request_id\":\"r\""));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_in_place_of_a_journal_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("j");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = Journal::read(&pipe).err().unwrap();
        assert!(format!("{error:#}").contains("found a pipe"), "{error:#}");
    }

    #[test]
    fn a_changed_bit_costs_its_line_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let mut journal = open(&path);
        journal.append("a", answer("Yes"), &Heard::default()).unwrap();
        let end = std::fs::metadata(&path).unwrap().len() as usize;
        journal.append("b", answer("No"), &Heard::default()).unwrap();
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
            journal.append("a", outcome, &Heard::default()).unwrap();
        }
        assert_eq!(journal.get("a"), Some(&answer("Yes")));
        drop(journal);
        assert_eq!(open(&path).get("a"), Some(&answer("Yes")));
    }
}
