//! A file to which finished results are appended, so that a killed program can resume.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk::seal::{self, Broken};
use crate::disk::{digest, json_lines, lock, read};
use crate::error::InputError;

/// A JSONL file: a line with the key of the results, then a line for each result, in the order they finished; each line
/// with its digest.
#[derive(Debug)]
pub struct Journal<T> {
    file: File,
    path: PathBuf,
    of: PhantomData<T>,
}

/// What the results of a journal depend on: a digest, or a text, of each input by the input's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Vec<(&'static str, String)>);

impl Key {
    /// `parts`: name, such as `the set of prompts`, and digest or text of each input.
    pub fn of(parts: Vec<(&'static str, String)>) -> Self {
        Self(parts)
    }

    /// One digest of all parts.
    pub fn digest(&self) -> String {
        digest::of_parts(self.0.iter().map(|(_, part)| part))
    }

    /// A digest of each part by its name.
    fn digests(&self) -> BTreeMap<String, String> {
        let one =
            |(name, part): &(&str, String)| ((*name).to_owned(), digest::of_bytes(part.as_bytes()));
        self.0.iter().map(one).collect()
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    /// Digest of everything that a result depends on.
    key: String,
    /// Number of results of a finished journal.
    prompts: usize,
    /// A digest of each input by its name; empty in a journal of an earlier version.
    #[serde(default)]
    inputs: BTreeMap<String, String>,
}

impl Head {
    /// What `found`, the head of a journal that has another key, differs in.
    fn other_than(&self, found: &Self) -> String {
        let is_other =
            |(name, digest): &(&String, &String)| found.inputs.get(*name) != Some(*digest);
        let mut other: Vec<_> =
            self.inputs.iter().filter(is_other).map(|(name, _)| &**name).collect();
        match other.pop() {
            _ if found.inputs.is_empty() => {
                "belongs to another model, adapter, prompts or settings".to_owned()
            }
            None => "belongs to other prompts".to_owned(),
            Some(last) if other.is_empty() => format!("{last} has changed since it began"),
            Some(last) => format!("{} and {last} have changed since it began", other.join(", ")),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    row: usize,
    #[serde(flatten)]
    result: T,
}

impl<T: Clone + Serialize + DeserializeOwned> Journal<T> {
    /// Opens or begins the journal at `path` of results for `prompts` prompts.
    ///
    /// - `key`: everything that a result depends on, such as model, adapter, prompts and settings.
    ///
    /// Returns the journal and the results it holds, by row. Drops an unfinished last line, which a killed program
    /// leaves. Refuses a journal with another key, by the inputs that differ, or with a line that holds no result or that its digest does
    /// not match.
    pub fn open(path: &Path, key: &Key, prompts: usize) -> Result<(Self, Vec<Option<T>>)> {
        let context = || format!("cannot open the journal `{}`", path.display());
        let mut file = open_locked(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).with_context(context)?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        file.set_len(whole as u64).with_context(context)?;
        file.seek(SeekFrom::End(0)).with_context(context)?;
        let mut journal = Self { file, path: path.to_owned(), of: PhantomData };
        let mut done = vec![None; prompts];
        let head = Head { key: key.digest(), prompts, inputs: key.digests() };
        if whole == 0 {
            journal.write(&head)?;
            return Ok((journal, done));
        }
        for (number, line) in text[..whole - 1].split(|&byte| byte == b'\n').enumerate() {
            if number == 0 {
                let found = seal::open(line).ok();
                let found = found.and_then(|head| serde_json::from_slice::<Head>(&head).ok());
                let Some(found) = found else {
                    return Err(refused(path, "its first line is broken, or it is no journal"));
                };
                if (&found.key, found.prompts) != (&head.key, prompts) {
                    return Err(refused(path, &head.other_than(&found)));
                }
                continue;
            }
            let opened = seal::open(line);
            if opened == Err(Broken::Wrong) {
                let what = format!("line {} does not match its digest", number + 1);
                return Err(refused(path, &what));
            }
            let line: Option<Line<T>> =
                opened.ok().and_then(|line| serde_json::from_slice(&line).ok());
            match line.and_then(|line| Some((done.get_mut(line.row)?, line.result))) {
                Some((place, result)) => *place = Some(result),
                None => {
                    let what = format!("line {} holds no result", number + 1);
                    return Err(refused(path, &what));
                }
            }
        }
        Ok((journal, done))
    }

    /// Appends the result of `row`.
    pub fn append(&mut self, row: usize, result: &T) -> Result<()> {
        self.write(&Line { row, result })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        self.file
            .write_all(&json_lines::line(line)?)
            .with_context(|| format!("cannot write the journal `{}`", self.path.display()))
    }

    /// Removes the journal, once its results are written elsewhere.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path)
            .with_context(|| format!("cannot remove the journal `{}`", self.path.display()))
    }
}

/// Opens or makes the journal at `path`, and its folder, for this process alone, until the file is closed.
pub fn open_locked(path: &Path) -> Result<File> {
    let context = || format!("cannot open the journal `{}`", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(context)?;
    }
    let file = read::unblocked()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .and_then(read::refuse_special)
        .with_context(context)?;
    match lock::take(&file).with_context(context)? {
        true => Ok(file),
        false => Err(InputError::new(format!(
            "journal `{}` is being written by another program",
            path.display()
        ))
        .hint("wait for it, or give another `--output`")
        .into()),
    }
}

fn refused(path: &Path, what: &str) -> anyhow::Error {
    InputError::new(format!("journal `{}`: {what}", path.display()))
        .hint("run the command that started it, or remove the file to start over")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A result like that of generation.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Ids {
        ids: Vec<u32>,
    }

    fn result(ids: &[u32]) -> Ids {
        Ids { ids: ids.to_vec() }
    }

    fn key(prompts: &str) -> Key {
        Key::of(vec![("the model", "1".to_owned()), ("the set of prompts", prompts.to_owned())])
    }

    fn open(path: &Path, key: &Key, prompts: usize) -> Result<Vec<Option<Ids>>> {
        Ok(Journal::<Ids>::open(path, key, prompts)?.1)
    }

    #[test]
    fn a_journal_cut_anywhere_loses_no_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let (mut journal, done) = Journal::<Ids>::open(&path, &key("a"), 3).unwrap();
        assert_eq!(done, vec![None; 3]);
        assert!(open(&path, &key("a"), 3).unwrap_err().to_string().contains("another program"));
        journal.append(2, &result(&[5, 6])).unwrap();
        journal.append(0, &result(&[7])).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<_> = (0..whole.len()).filter(|&i| whole[i] == b'\n').collect();
        assert_eq!(ends.len(), 3);
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let done = open(&path, &key("a"), 3).unwrap();
            let second = (cut > ends[1]).then(|| result(&[5, 6]));
            let third = (cut > ends[2]).then(|| result(&[7]));
            assert_eq!(done, [third, None, second], "cut at {cut}");
            // What is appended after a torn line stands on a line of its own.
            let (mut journal, _) = Journal::<Ids>::open(&path, &key("a"), 3).unwrap();
            journal.append(1, &result(&[8])).unwrap();
            drop(journal);
            assert_eq!(open(&path, &key("a"), 3).unwrap()[1], Some(result(&[8])));
        }
    }

    #[test]
    fn a_journal_of_something_else_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        Journal::<Ids>::open(&path, &key("a"), 3).unwrap().0.append(2, &result(&[5])).unwrap();
        let before = std::fs::read(&path).unwrap();
        let both =
            Key::of(vec![("the model", "2".to_owned()), ("the set of prompts", "b".to_owned())]);
        for (key, prompts, what) in [
            (key("b"), 3, "the set of prompts has changed since it began"),
            (both, 3, "the model and the set of prompts have changed since it began"),
            (key("a"), 4, "belongs to other prompts"),
        ] {
            let error = open(&path, &key, prompts).unwrap_err();
            let said = InputError::of(&error).unwrap().to_string();
            assert!(said.contains(what), "{said}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
        // An earlier version recorded no inputs.
        let mut head = serde_json::json!({"key": key("a").digest(), "prompts": 3});
        std::fs::write(&path, json_lines::line(&head).unwrap()).unwrap();
        assert_eq!(open(&path, &key("a"), 3).unwrap(), vec![None; 3]);
        head["key"] = "other".into();
        std::fs::write(&path, json_lines::line(&head).unwrap()).unwrap();
        let error = open(&path, &key("a"), 3).unwrap_err().to_string();
        assert!(
            error.contains("belongs to another model, adapter, prompts or settings"),
            "{error}"
        );
        let other =
            |row: usize| json_lines::line(&serde_json::json!({"row": row, "x": 1})).unwrap();
        let beyond = json_lines::line(&Line { row: 3, result: result(&[1]) }).unwrap();
        for broken in [beyond, other(1), b"{\"row\":1,\"ids\":[1]}\n".to_vec(), b"\n".to_vec()] {
            std::fs::write(&path, [&before[..], &broken].concat()).unwrap();
            let error = open(&path, &key("a"), 3).unwrap_err().to_string();
            assert!(error.contains("line 3 holds no result"), "{error}");
        }
        let changed = String::from_utf8(before).unwrap().replace("[5]", "[6]");
        std::fs::write(&path, &changed).unwrap();
        let error = open(&path, &key("a"), 3).unwrap_err().to_string();
        assert!(error.contains("line 2 does not match its digest"), "{error}");
        std::fs::write(&path, "my thesis\n").unwrap();
        assert!(open(&path, &key("a"), 3).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my thesis\n");
    }
}
