//! Generation over a whole set of prompts, with progress and a journal to resume from.

use std::path::Path;

use anyhow::Result;

use crate::console::interrupt;
use crate::console::progress::Verbosity;
use crate::disk::digest;
use crate::disk::journal::Journal;
use crate::model::adapter;
use crate::model::decoder::Decoder;
use crate::model::generation::{
    Event, Generation, GenerationSettings, Generator, Stop, StopStrings,
};
use crate::model::lora::Adapter;

/// Part of the key; raised whenever the engine may give other tokens for the same input.
const ENGINE_VERSION: &str = "1";

/// Generation over a set of prompts.
pub struct GenerationPass<'a> {
    /// The base model.
    pub model: &'a Decoder,
    /// The adapter on it; none for the base model alone.
    pub adapter: Option<&'a Adapter>,
    /// Token ids of each prompt.
    pub prompts: &'a [Vec<u32>],
    /// Token limit, sampling, end tokens and batch size.
    pub settings: &'a GenerationSettings,
    /// Strings that end an answer.
    pub stop: &'a StopStrings<'a>,
}

/// The file that keeps the finished answers of a pass.
#[derive(Debug, Clone, Copy)]
pub struct JournalFile<'a> {
    /// Its path.
    pub path: &'a Path,
    /// [`GenerationPass::key`].
    pub key: &'a str,
}

impl GenerationPass<'_> {
    /// Digest of everything that the generations depend on; they do not depend on the batch size. `model_digest`: of
    /// the model's files.
    pub fn key(&self, model_digest: &str) -> Result<String> {
        let Self { model, adapter, prompts, settings, stop } = self;
        let prompts = digest::of_parts(
            prompts
                .iter()
                .map(|ids| ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>()),
        );
        let adapter = adapter.map(adapter::digest).transpose()?.unwrap_or_default();
        let GenerationSettings { max_new_tokens, sampling, eos, batch: _ } = settings;
        let how = format!(
            "{max_new_tokens} {sampling:?} {eos:?} {:?} {:?} {:?}",
            stop.strings(),
            model.dtype,
            model.device.location()
        );
        Ok(digest::of_parts([ENGINE_VERSION, model_digest, &adapter, &prompts, &how]))
    }

    /// Generates an answer to each prompt.
    ///
    /// - `journal`: its path and [`GenerationPass::key`]. Answers in it are not generated again, and new ones are
    ///   appended.
    ///
    /// Returns the generations in the order of the prompts, and the open journal. An interruption and a journal with
    /// another key are errors.
    pub fn run(
        &self,
        journal: Option<JournalFile<'_>>,
        verbosity: Verbosity,
    ) -> Result<(Vec<Generation>, Option<Journal<Generation>>)> {
        let all = self.prompts.len();
        let (mut journal, done) = match journal {
            None => (None, vec![None; all]),
            Some(JournalFile { path, key }) => {
                let (journal, done) = Journal::open(path, key, all)?;
                (Some(journal), done)
            }
        };
        let already = done.iter().flatten().count();
        if already > 0 {
            verbosity.note(format!(
                "journal: {already} of {all} prompt{} done",
                if all == 1 { " is" } else { "s are" }
            ));
        }
        let mut progress = verbosity.progress("generate", "prompts", already as u64, all as u64);
        let (begun, mut tokens) = (std::time::Instant::now(), 0);
        let generator =
            Generator::new(self.model, self.adapter, self.settings.clone())?.stop_at(self.stop);
        let generations = generator.resume(self.prompts, done, |event| {
            match event {
                Event::Step { rows } => tokens += rows,
                Event::Finished { row, generation } => {
                    if let Some(journal) = &mut journal {
                        journal.append(row, generation)?;
                    }
                    let rate = tokens as f64 / begun.elapsed().as_secs_f64();
                    progress.advance(1, &[format!("{rate:.0} tokens/s")]);
                }
            }
            interrupt::check()
        })?;
        drop(progress);
        let elapsed_s = begun.elapsed().as_secs_f64();
        verbosity.note(format!(
            "generated: {tokens} tokens in {elapsed_s:.3} s, {:.1} tokens/s",
            tokens as f64 / elapsed_s
        ));
        let full = generations.iter().filter(|g| g.stop == Stop::Context).count();
        if full > 0 {
            verbosity.note(format!(
                "note: the model's context of {} tokens cuts {full} of {all} answers",
                self.model.shape.max_positions
            ));
        }
        Ok((generations, journal))
    }
}
