//! The queue of prompts: they start longest first, as slots become free, and leave their slot when they end.

use std::collections::VecDeque;

use anyhow::Result;

use super::cached::{CachedDecoder, Sequence};
use super::sampler;
use super::settings::{Generation, GenerationSettings, Stop};
use super::stop::StopStrings;
use crate::bail_input;
use crate::error::InputError;
use crate::model::decoder::Decoder;
use crate::model::lora::Adapter;

/// Prompt tokens computed at once: enough for full-speed products, few enough for their activations.
pub const PREFILL_TOKENS: usize = 2048;

/// What happens while sequences are generated.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Every active sequence has one more token: the moment to look at the clock, or to stop with an error.
    Step {
        /// Number of new tokens.
        rows: usize,
    },
    /// The sequence of one prompt has ended.
    Finished {
        /// Index of the prompt among all.
        row: usize,
        /// Its result.
        generation: &'a Generation,
    },
}

/// Continues prompts with a model, and with an adapter on it.
pub struct Generator<'a> {
    model: &'a Decoder,
    adapter: Option<Adapter>,
    settings: GenerationSettings,
    stop: Option<&'a StopStrings<'a>>,
}

impl<'a> Generator<'a> {
    /// A generator with `model`; without an `adapter`, the base model. Refuses settings out of range.
    pub fn new(
        model: &'a Decoder,
        adapter: Option<&Adapter>,
        settings: GenerationSettings,
    ) -> Result<Self> {
        settings.check()?;
        let adapter = adapter.map(|adapter| model.bring(adapter)).transpose()?;
        Ok(Self { model, adapter, settings, stop: None })
    }

    /// Also ends a sequence when its text contains one of some strings.
    #[must_use]
    pub fn stop_at(mut self, stop: &'a StopStrings<'a>) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Continues each of `prompts` (token ids, BOS included where the model wants one); results in the prompts' order.
    ///
    /// Calls `watch` after every step and every finished sequence; an error from it ends the work.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        watch: impl FnMut(Event<'_>) -> Result<()> + Send,
    ) -> Result<Vec<Generation>> {
        self.resume(prompts, vec![None; prompts.len()], watch)
    }

    /// [`Generator::generate`], skipping prompts that have a result in `done`; returns those results among the others.
    pub fn resume(
        &self,
        prompts: &[Vec<u32>],
        done: Vec<Option<Generation>>,
        mut watch: impl FnMut(Event<'_>) -> Result<()> + Send,
    ) -> Result<Vec<Generation>> {
        self.check(prompts)?;
        let mut results = done;
        results.resize(prompts.len(), None);
        // Inside the pool, small parallel loops do not wake idle threads.
        rayon::scope(|_| self.run(prompts, &mut results, &mut watch))?;
        results
            .into_iter()
            .map(|result| result.ok_or_else(|| anyhow::anyhow!("a prompt has no result")))
            .collect()
    }

    fn check(&self, prompts: &[Vec<u32>]) -> Result<()> {
        let most = self.model.shape.max_positions;
        for (row, prompt) in prompts.iter().enumerate() {
            if prompt.is_empty() {
                bail_input!("prompt {} has no token", row + 1);
            }
            if prompt.len() >= most {
                return Err(InputError::new(format!(
                    "prompt {} has {} tokens, and the model's context is {most} (`max_position_embeddings`)",
                    row + 1,
                    prompt.len()
                ))
                .hint("shorten the prompt: prompt and answer together must fit the context")
                .into());
            }
            let vocab = self.model.shape.vocab;
            if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab) {
                bail_input!(
                    "prompt {} has the token id {id}, and the model's vocabulary has {vocab} rows",
                    row + 1
                );
            }
        }
        Ok(())
    }

    fn run(
        &self,
        prompts: &[Vec<u32>],
        results: &mut [Option<Generation>],
        watch: &mut (impl FnMut(Event<'_>) -> Result<()> + Send),
    ) -> Result<()> {
        let mut waiting: Vec<usize> =
            (0..prompts.len()).filter(|&row| results[row].is_none()).collect();
        waiting.sort_by_key(|&row| std::cmp::Reverse(prompts[row].len()));
        let Some(&longest) = waiting.first() else { return Ok(()) };
        let slots = self.settings.batch.min(waiting.len());
        let mut free: Vec<u32> = (0..slots as u32).rev().collect();
        let longest = prompts[longest].len();
        let most = (longest + self.settings.max_new_tokens).min(self.model.shape.max_positions);
        let mut decoder =
            CachedDecoder::new(self.model, self.adapter.as_ref(), slots, longest + 1, most)?;
        let mut waiting = VecDeque::from(waiting);
        let mut active: Vec<Sequence> = Vec::with_capacity(slots);
        loop {
            // A new sequence may end with its first token and leave its slot to the next.
            while !free.is_empty() && !waiting.is_empty() {
                let mut started = Vec::new();
                let mut tokens = 0;
                while let (Some(&row), false) = (waiting.front(), free.is_empty()) {
                    tokens += prompts[row].len();
                    if !started.is_empty() && tokens > PREFILL_TOKENS {
                        break;
                    }
                    waiting.pop_front();
                    let Some(slot) = free.pop() else { break };
                    started.push(Sequence {
                        row,
                        slot,
                        prompt_tokens: prompts[row].len(),
                        new: vec![],
                    });
                }
                let packed: Vec<_> =
                    started.iter().map(|s| (s.slot, prompts[s.row].as_slice())).collect();
                let logits = decoder.prefill(&packed)?;
                self.extend(&mut started, &logits)?;
                watch(Event::Step { rows: started.len() })?;
                active.append(&mut started);
                self.retire(&mut active, &mut free, results, watch)?;
            }
            if active.is_empty() {
                return Ok(());
            }
            let logits = decoder.step(&active)?;
            self.extend(&mut active, &logits)?;
            watch(Event::Step { rows: active.len() })?;
            self.retire(&mut active, &mut free, results, watch)?;
        }
    }

    /// Chooses the next token of each sequence by its row of `logits`, `[sequences, vocab]`.
    fn extend(&self, sequences: &mut [Sequence], logits: &candle_core::Tensor) -> Result<()> {
        let addresses: Vec<_> = sequences.iter().map(|s| (s.row, s.position() + 1)).collect();
        let tokens = sampler::choose(logits, self.settings.sampling.as_ref(), &addresses);
        let tokens = tokens.or_else(|error| self.model.refuse_broken_weights().and(Err(error)))?;
        sequences.iter_mut().zip(tokens).for_each(|(sequence, token)| sequence.new.push(token));
        Ok(())
    }

    /// Removes ended sequences from `active`.
    fn retire(
        &self,
        active: &mut Vec<Sequence>,
        free: &mut Vec<u32>,
        results: &mut [Option<Generation>],
        watch: &mut impl FnMut(Event<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut place = 0;
        while let Some(sequence) = active.get(place) {
            let Some(stop) = self.ended(sequence)? else {
                place += 1;
                continue;
            };
            let Sequence { row, slot, new, .. } = active.swap_remove(place);
            free.push(slot);
            let generation = results[row].insert(Generation { ids: new, stop });
            self.model.files.check()?;
            watch(Event::Finished { row, generation })?;
        }
        Ok(())
    }

    fn ended(&self, sequence: &Sequence) -> Result<Option<Stop>> {
        let Some(last) = sequence.new.last() else { return Ok(None) };
        if self.settings.eos.contains(last) {
            return Ok(Some(Stop::Eos));
        }
        if let Some(stop) = self.stop
            && stop.found(&sequence.new)?
        {
            return Ok(Some(Stop::String));
        }
        let tokens = sequence.prompt_tokens + sequence.new.len();
        Ok(match sequence.new.len() >= self.settings.max_new_tokens {
            true => Some(Stop::Length),
            false if tokens >= self.model.shape.max_positions => Some(Stop::Context),
            false => None,
        })
    }
}
