//! Prompts in, continuations out: batched decoding over a key/value cache.
//!
//! ```no_run
//! # use mvpbench::{data::tokenizer::Tokenizer, model::generation::*, model::decoder::Decoder, model::lora::Adapter};
//! # fn example(model: &Decoder, adapter: &Adapter, tokenizer: &Tokenizer, prompts: &[Vec<u32>]) -> anyhow::Result<()> {
//! let settings = GenerationSettings { max_new_tokens: 64, eos: vec![2], ..Default::default() };
//! let generator = Generator::new(model, Some(adapter), settings)?;
//! let generations = generator.generate(prompts, |_event| Ok(()))?; // one for each prompt, in the prompts' order
//! let text = StopStrings::none(tokenizer).text(&generations[0])?;
//! # Ok(()) }
//! ```
//!
//! At most [`GenerationSettings::batch`] sequences are active at once; when one ends, the next prompt takes its slot. Prompts
//! start longest first. New prompts are packed end to end through the layers of training ([`super::layer`]), which leaves their
//! keys and values in the cache; from then on every step computes one token of each sequence.
//!
//! On the CPU a row's tokens do not depend on its batch, its neighbours or the order: the steps' products give the same bits in any
//! batch ([`crate::ops::matvec`]), and a sampled token is a function of logits, seed, row and position. On a GPU the products are
//! cuBLAS's, whose rounding differs with the number of rows: there a token may differ where two are about equally probable.

mod cached;
mod generator;
mod sampler;
mod settings;
mod stop;

pub use self::generator::{Event, Generator, PREFILL_TOKENS};
pub use self::settings::{Generation, GenerationSettings, Sampling, Stop};
pub use self::stop::StopStrings;
