//! Generation over a whole set of prompts, with progress and a journal to resume from.

use std::path::Path;

use anyhow::Result;

use crate::console::interrupt;
use crate::console::progress::Verbosity;
use crate::disk::digest;
use crate::disk::journal::{Journal, Key};
use crate::inference::shared::share_adapters;
use crate::machine;
use crate::model::adapter;
use crate::model::decoder::Decoder;
use crate::model::generation::{
    Event, Generation, GenerationSettings, Generator, Stop, StopStrings,
};
use crate::model::lora::Adapter;
use crate::parallel::order::{GenerateOrder, Order};
use crate::parallel::shares;
use crate::parallel::world::World;

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
    /// The ranks that it is shared with, unless strings end an answer.
    pub world: &'a World,
}

/// The file that keeps the finished answers of a pass.
#[derive(Debug, Clone, Copy)]
pub struct JournalFile<'a> {
    /// Its path.
    pub path: &'a Path,
    /// [`GenerationPass::key`].
    pub key: &'a Key,
}

impl GenerationPass<'_> {
    /// Everything that the generations depend on; they do not depend on the batch size. `model_digest`: of the model's files.
    pub fn key(&self, model_digest: &str) -> Result<Key> {
        let Self { model, adapter, prompts, settings, stop, world: _ } = self;
        let prompts = digest::of_parts(
            prompts
                .iter()
                .map(|ids| ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>()),
        );
        let adapter = adapter.map(adapter::digest).transpose()?.unwrap_or_default();
        let GenerationSettings { max_new_tokens, sampling, eos, batch: _ } = settings;
        let how = format!(
            "{max_new_tokens} {sampling:?} {eos:?} {:?} {:?} {}",
            stop.strings(),
            model.dtype,
            machine::numerics(&model.device, model.dtype)?
        );
        Ok(Key::of(vec![
            ("the version of the engine", ENGINE_VERSION.to_owned()),
            ("the model (or what is merged into it)", model_digest.to_owned()),
            ("the adapter (`adapter_config.json` or `adapter_model.safetensors`)", adapter),
            ("the set of prompts", prompts),
            ("the choice of length, sampling, stop strings, dtype or device", how),
        ]))
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
        let generations = self.shared(done, |event| {
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

    /// Answers the prompts that `done` has none for, in rounds that all ranks share.
    fn shared(
        &self,
        mut done: Vec<Option<Generation>>,
        mut watch: impl FnMut(Event<'_>) -> Result<()> + Send,
    ) -> Result<Vec<Generation>> {
        let Self { model, adapter, prompts, settings, stop, world } = self;
        let generator = Generator::new(model, *adapter, (*settings).clone())?.stop_at(stop);
        let ranks = world.ranks();
        if ranks == 1 || !stop.strings().is_empty() {
            return generator.resume(prompts, done, watch);
        }
        let [digest] = share_adapters(world, [*adapter])?;
        let pending: Vec<usize> = (0..done.len()).filter(|row| done[*row].is_none()).collect();
        for round in pending.chunks(ranks * settings.batch * BATCHES_A_ROUND) {
            let part = |rank: usize| &round[shares::of_rank(round.len(), ranks, rank)];
            for rank in world.others() {
                let order = GenerateOrder {
                    adapter: digest.clone(),
                    all: prompts.len(),
                    rows: part(rank).to_vec(),
                    prompts: part(rank).iter().map(|row| prompts[*row].clone()).collect(),
                    settings: serde_json::to_string(settings)?,
                };
                world.order(rank, &Order::Generate(order))?;
            }
            let mut own = all_but(part(0), prompts.len());
            own = generator.resume(prompts, own, &mut watch)?.into_iter().map(Some).collect();
            part(0).iter().for_each(|row| done[*row] = own[*row].take());
            for rank in world.others() {
                let answers: Vec<Generation> = world.answer_of(rank)?;
                anyhow::ensure!(
                    answers.len() == part(rank).len(),
                    "rank {rank} answered otherwise"
                );
                for (&row, generation) in part(rank).iter().zip(answers) {
                    watch(Event::Step { rows: generation.ids.len() })?;
                    watch(Event::Finished { row, generation: &generation })?;
                    done[row] = Some(generation);
                }
            }
        }
        generator.resume(prompts, done, watch)
    }
}

/// Batches of a rank in a round.
const BATCHES_A_ROUND: usize = 2;

/// A stand-in for the result of every row but `rows`, so that these are generated alone.
fn all_but(rows: &[usize], all: usize) -> Vec<Option<Generation>> {
    let mut done = vec![Some(Generation { ids: Vec::new(), stop: Stop::Length }); all];
    rows.iter().for_each(|row| done[*row] = None);
    done
}

/// The answers to the prompts `prompts`, which are the rows `rows` of a pass over `all`: what a rank generates of it.
pub fn of_rows(
    model: &Decoder,
    adapter: Option<&Adapter>,
    settings: GenerationSettings,
    rows: &[usize],
    prompts: Vec<Vec<u32>>,
    all: usize,
) -> Result<Vec<Generation>> {
    let mut whole = vec![vec![0]; all];
    rows.iter().zip(prompts).for_each(|(&row, prompt)| whole[row] = prompt);
    let generator = Generator::new(model, adapter, settings)?;
    let answers = generator.resume(&whole, all_but(rows, all), |_| Ok(()))?;
    Ok(rows.iter().map(|&row| answers[row].clone()).collect())
}
