//! Prompts in, what the model goes on with out: batched decoding over a key/value cache.
//!
//! ```no_run
//! # use mvpbench::{data::tokenizer::Tokenizer, model::generation::*, model::llama::Llama, model::lora::Adapter};
//! # fn example(model: &Llama, adapter: &Adapter, tokenizer: &Tokenizer, prompts: &[Vec<u32>]) -> anyhow::Result<()> {
//! let settings = GenerationSettings { max_new_tokens: 64, eos: vec![2], ..Default::default() };
//! let generator = Generator::new(model, Some(adapter), settings)?;
//! let generations = generator.generate(prompts, |_event| Ok(()))?; // one for each prompt, in the prompts' order
//! let text = StopStrings::none(tokenizer).text(&generations[0])?;
//! # Ok(()) }
//! ```
//!
//! At most [`GenerationSettings::batch`] sequences are under way at once; when one ends, the next prompt takes its slot. Prompts
//! start longest first. New prompts are packed end to end through the layers of training ([`super::layer`]), which leaves their
//! keys and values in the cache; from then on every step computes one token of each sequence.
//!
//! On the CPU a row's tokens do not depend on its batch, its neighbours or the order: the steps' products give the same bits in any
//! company ([`crate::ops::matvec`]), and a sampled token is a function of logits, seed, row and position. On a GPU the products are
//! cuBLAS's, whose rounding differs with the number of rows: there a token may differ where two are about equally probable.

mod decoder;
pub mod journal;
mod sampler;
mod settings;
mod stop;

use std::collections::VecDeque;

use anyhow::Result;

pub use self::settings::{Generation, GenerationSettings, Sampling, Stop};
pub use self::stop::StopStrings;

use self::decoder::Decoder;
use super::llama::Llama;
use super::lora::Adapter;
use crate::bail_input;
use crate::error::InputError;

/// Prompt tokens computed at once: enough for full-speed products, few enough for their activations.
pub const PREFILL_TOKENS: usize = 2048;

/// What happens while sequences are generated.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Every sequence under way has `rows` more tokens in all: the moment to look at the clock, or to stop with an error.
    Step {
        /// Tokens made.
        rows: usize,
    },
    /// The sequence of one prompt has ended.
    Finished {
        /// Place of the prompt among all.
        row: usize,
        /// What it became.
        generation: &'a Generation,
    },
}

/// Goes on from prompts with a model, and with an adapter on it.
pub struct Generator<'a> {
    model: &'a Llama,
    adapter: Option<Adapter>,
    settings: GenerationSettings,
    stop: Option<&'a StopStrings<'a>>,
}

/// A sequence under way.
struct Sequence {
    /// Place of its prompt among all.
    row: usize,
    slot: u32,
    prompt_tokens: usize,
    new: Vec<u32>,
}

impl Sequence {
    /// Position of its last token, which is not in the cache yet.
    fn position(&self) -> u32 {
        (self.prompt_tokens + self.new.len() - 1) as u32
    }
}

impl<'a> Generator<'a> {
    /// A generator of `model`; without an `adapter`, of the base model. Refuses settings that make no sense.
    pub fn new(
        model: &'a Llama,
        adapter: Option<&Adapter>,
        settings: GenerationSettings,
    ) -> Result<Self> {
        settings.check()?;
        let adapter = adapter.map(|adapter| model.bring(adapter)).transpose()?;
        Ok(Self { model, adapter, settings, stop: None })
    }

    /// Ends a sequence also where its text has one of some strings.
    #[must_use]
    pub fn stop_at(mut self, stop: &'a StopStrings<'a>) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Goes on from each of `prompts` (token ids, BOS included where the model wants one); results in the prompts' order.
    ///
    /// `watch` hears of every step and of every finished sequence; its error ends the work.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        watch: impl FnMut(Event<'_>) -> Result<()> + Send,
    ) -> Result<Vec<Generation>> {
        self.resume(prompts, vec![None; prompts.len()], watch)
    }

    /// [`Generator::generate`] where some prompts have their result already; it is returned with the others.
    pub fn resume(
        &self,
        prompts: &[Vec<u32>],
        done: Vec<Option<Generation>>,
        mut watch: impl FnMut(Event<'_>) -> Result<()> + Send,
    ) -> Result<Vec<Generation>> {
        self.check(prompts)?;
        let mut results = done;
        results.resize(prompts.len(), None);
        // Inside the pool, small parallel loops need not wake a thread that waits for work.
        rayon::scope(|_| self.run(prompts, &mut results, &mut watch))?;
        results
            .into_iter()
            .map(|result| result.ok_or_else(|| anyhow::anyhow!("a prompt was left out")))
            .collect()
    }

    fn check(&self, prompts: &[Vec<u32>]) -> Result<()> {
        let most = self.model.config.max_positions;
        for (row, prompt) in prompts.iter().enumerate() {
            if prompt.is_empty() {
                bail_input!("prompt {} has no token to go on from", row + 1);
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
            let vocab = self.model.config.vocab;
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
        let most = (longest + self.settings.max_new_tokens).min(self.model.config.max_positions);
        let tokens = (longest + 1, most);
        let mut decoder = Decoder::new(self.model, self.adapter.as_ref(), slots, tokens)?;
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
        let tokens = sampler::choose(logits, self.settings.sampling.as_ref(), &addresses)?;
        sequences.iter_mut().zip(tokens).for_each(|(sequence, token)| sequence.new.push(token));
        Ok(())
    }

    /// Takes the sequences that have ended out of `active`.
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
            false if tokens >= self.model.config.max_positions => Some(Stop::Context),
            false => None,
        })
    }
}
