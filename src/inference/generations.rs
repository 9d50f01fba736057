//! What a model goes on with from whole sets of prompts: with progress, and a journal that a killed run goes on from.

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

/// Changes whenever the engine may give other tokens for the same input.
const ENGINE_VERSION: &str = "1";

/// A set of prompts, and who goes on from them.
pub struct GenerationPass<'a> {
    /// The base model.
    pub model: &'a Decoder,
    /// The adapter on it, if any.
    pub adapter: Option<&'a Adapter>,
    /// Token ids.
    pub prompts: &'a [Vec<u32>],
    /// How.
    pub settings: &'a GenerationSettings,
    /// Strings that end a sequence.
    pub stop: &'a StopStrings<'a>,
}

impl GenerationPass<'_> {
    /// Digest of everything that the generations depend on; not of the batch, on which they do not. `model_digest`: of its files.
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

    /// One generation for each prompt, in order. `journal`: where finished ones are kept, if anywhere, and [`GenerationPass::key`].
    pub fn run(
        &self,
        journal: Option<(&Path, &str)>,
        say: Verbosity,
    ) -> Result<(Vec<Generation>, Option<Journal<Generation>>)> {
        let all = self.prompts.len();
        let (mut journal, done) = match journal {
            None => (None, vec![None; all]),
            Some((path, key)) => {
                let (journal, done) = Journal::open(path, key, all)?;
                (Some(journal), done)
            }
        };
        let already = done.iter().flatten().count();
        if already > 0 {
            say.note(format!("journal: {already} of {all} prompts are done"));
        }
        let mut progress = say.progress("generate", "prompts", already as u64, all as u64);
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
                    progress.advance(1, format_args!("{rate:.0} tokens/s"));
                }
            }
            interrupt::check()
        })?;
        drop(progress);
        let elapsed_s = begun.elapsed().as_secs_f64();
        say.note(format!(
            "generated: {tokens} tokens in {elapsed_s:.3} s, {:.1} tokens/s",
            tokens as f64 / elapsed_s
        ));
        let full = generations.iter().filter(|g| g.stop == Stop::Context).count();
        if full > 0 {
            say.note(format!(
                "note: {full} of {all} answers end where the model's context of {} tokens does",
                self.model.shape.max_positions
            ));
        }
        Ok((generations, journal))
    }
}
