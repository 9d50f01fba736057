//! The files of a benchmark -> its items, with the digests of the files; a model's answers -> each with its item.

use std::collections::HashMap;

use anyhow::Result;

use crate::console::progress::Verbosity;
use crate::data::benchmark::{self, Item, References};
use crate::disk::digest;
use crate::error::InputError;
use crate::hub::Hub;
use crate::metrics::paa::evaluation::DataFile;
use crate::run_folder::answers::{AnswerLine, Answers};
use crate::session::data_file;

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
    /// Reads `paths`: files of the disk, of the hub (`hf://`) or of the binary (`embedded:`). Stage 1 needs no reference answers.
    pub fn load(paths: &[String], references: References, verbosity: Verbosity) -> Result<Self> {
        let hub = Hub::new(verbosity);
        let mut notes = Vec::new();
        let files: Vec<_> = paths
            .iter()
            .map(|path| Ok((path.clone(), data_file::read(path, &hub, &mut notes)?)))
            .collect::<Result<_>>()?;
        notes.iter().for_each(|note| verbosity.note(note));
        let (items, counts) = benchmark::load_all(&files, references)?;
        let files = files.into_iter().zip(counts).map(|((name, bytes), n)| DataFile {
            name,
            sha256: digest::of_bytes(&bytes),
            n,
        });
        Ok(Self { items, files: files.collect() })
    }

    /// The item of each answer. Refuses answers to other items: their record is missing, or asks another question.
    pub fn join<'a>(&'a self, answers: &'a Answers) -> Result<Vec<Answered<'a>>> {
        let known: HashMap<_, _> =
            self.items.iter().map(|item| ((&*item.source, &*item.id), item)).collect();
        let of = |line: &'a AnswerLine| {
            let refused = |what: &str| {
                let message = format!(
                    "answers `{}`: {what} `{}` of `{}`",
                    answers.about.name, line.id, line.source
                );
                InputError::new(message).hint(
                    "judge the answers with the data that they were made from, with `--data` if it has moved",
                )
            };
            let item = *known
                .get(&(&*line.source, &*line.id))
                .ok_or_else(|| refused("the data has no record"))?;
            if item.question != line.question {
                return Err(refused("another question is asked by record").into());
            }
            Ok(Answered { item, line })
        };
        answers.lines.iter().map(of).collect()
    }
}
