//! Files in, packed batches out: files -> [`pair::Pair`] -> [`token_pair::TokenPair`] -> [`pack::Pack`].
//!
//! Feeds [`crate::model`] (packs) and [`crate::metrics`] (who a pair belongs to). No tensor and no GPU here.
//!
//! - [`file::load`]: bytes of JSON arrays, JSONL or Parquet -> pairs as text, with the prompt rendered.
//! - [`prompt::load`]: prompts by themselves, to be gone on from.
//! - [`chat::ChatTemplate`]: conversations -> text, by the model's own template.
//! - [`tokenizer::Tokenizer`]: `tokenizer.json` and the small files beside it.
//! - [`tokenize::tokenize`]: pairs -> token ids, cut to the limits.
//! - [`tokenizer::Tokenizer::pieces`], [`stats::SetStats`]: ids and lengths, to be looked at.
//! - [`split::Rule`]: records -> a training and a test side.
//! - [`pack::Pack`]: token ids end to end, each prompt once.
//!
//! What was odd, missing, cut or dropped on the way is counted in [`pair::LoadCounts`] and [`tokenize::TokenCounts`], which say it in a line.

pub mod chat;
pub mod file;
pub mod format;
pub mod groups;
mod limits;
pub mod pack;
pub mod pair;
mod parquet;
mod pieces;
pub mod prompt;
pub mod split;
pub mod stats;
pub mod token_pair;
pub mod tokenize;
pub mod tokenizer;
mod tokenizer_files;
mod words;
