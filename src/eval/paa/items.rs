//! The files of a benchmark -> its items, with the digests of the files; a model's answers -> each with its item.

use anyhow::Result;

use crate::console::progress::Verbosity;
use crate::data::benchmark::{self, Item, References};
use crate::disk::digest;
use crate::error::InputError;
use crate::hub::Hub;
use crate::judge::protocol::Stage;
use crate::metrics::paa::evaluation::DataFile;
use crate::run_folder::answers::{AnswerLine, Answers};
use crate::session::{data_file, data_files};

/// The items of some files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Benchmark {
    /// The items, file after file.
    pub items: Vec<Item>,
    /// The files.
    pub files: Vec<DataFile>,
}

/// A model's answer and what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered<'a> {
    /// The item.
    pub item: &'a Item,
    /// The answer.
    pub line: &'a AnswerLine,
}

impl Benchmark {
    /// Reads `paths`: files of the disk, of the hub (`hf://`) or of the binary (`embedded:`), or what stands for several. Stage 1 needs no reference answers.
    pub fn load(paths: &[String], references: References, verbosity: Verbosity) -> Result<Self> {
        let hub = Hub::new(verbosity);
        let mut notes = Vec::new();
        let mut files = Vec::new();
        for path in paths {
            for file in data_files::expand(path, "", None, &hub, &mut notes)? {
                let bytes = data_file::read(&file, &hub, &mut notes)?;
                files.push((file, bytes));
            }
        }
        let (items, counts) = benchmark::load_all(&files, references)?;
        for ((path, _), counts) in files.iter().zip(&counts) {
            notes.extend(benchmark::notes(counts).iter().map(|note| format!("{path}: {note}")));
        }
        notes.iter().for_each(|note| verbosity.note(note));
        let files = files.into_iter().zip(counts).map(|((name, bytes), counts)| DataFile {
            name,
            sha256: digest::of_bytes(&bytes),
            n: counts.pairs,
        });
        Ok(Self { items, files: files.collect() })
    }

    /// Notes the fields of a stage's profile that no record has, so that no prompt has them. `name`: the stage's in the protocol.
    pub fn note_absent(&self, name: &str, stage: &Stage, verbosity: Verbosity) {
        if !stage.prompt.contains("{profile}") {
            return;
        }
        let has = |field: &String| self.items.iter().any(|item| item.profile.contains_key(field));
        let absent = stage.profile.iter().filter(|field| !has(field));
        let absent: Vec<_> = absent.map(|field| format!("`{field}`")).collect();
        if !absent.is_empty() {
            verbosity.note(format!(
                "no record has {} of `{name}.profile`, so no prompt has it",
                absent.join(", ")
            ));
        }
    }

    /// The item of each answer: the record at its place in the file of the same content, whatever its name is now. Refuses answers
    /// to other items.
    pub fn join<'a>(&'a self, answers: &'a Answers) -> Result<Vec<Answered<'a>>> {
        let about = &answers.about;
        let refused = |what: String| {
            InputError::new(format!("answers `{}`: {what}", about.name)).hint(
                "judge the answers with the data that they were made from, with `--data` if it has moved or changed since",
            )
        };
        let mut items = Vec::with_capacity(answers.lines.len());
        for file in &about.data {
            let (from, n) = self.place(&file.sha256).ok_or_else(|| {
                refused(format!(
                    "no file has the content of `{}` (sha256 {})",
                    file.name, file.sha256
                ))
            })?;
            items.extend(&self.items[from..from + n]);
        }
        if items.len() != answers.lines.len() {
            let what = format!("{} answers to {} items", answers.lines.len(), items.len());
            return Err(refused(what).into());
        }
        let row = |(item, line): (&'a Item, &'a AnswerLine)| {
            if item.id != line.id || item.question != line.question {
                return Err(
                    refused(format!("`{}` is the answer to another record", line.id)).into()
                );
            }
            Ok(Answered { item, line })
        };
        items.into_iter().zip(&answers.lines).map(row).collect()
    }

    /// The first item of the file with this content, and how many it has.
    fn place(&self, sha256: &str) -> Option<(usize, usize)> {
        let at = self.files.iter().position(|file| file.sha256 == sha256)?;
        Some((self.files[..at].iter().map(|file| file.n).sum(), self.files[at].n))
    }
}
