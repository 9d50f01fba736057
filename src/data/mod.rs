//! Files in, packed batches out: files -> [`pair::Pair`] -> [`token_pair::TokenPair`] -> [`pack::Pack`].
//!
//! Feeds [`crate::model`] (packs) and [`crate::metrics`] (the owners of pairs). No tensor and no GPU here.
//!
//! - [`format::LAYOUTS`]: the layouts of records, one entry each.
//! - [`file::load`]: bytes of JSON arrays, JSONL or Parquet -> pairs as text, with the prompt rendered.
//! - [`listing::Tree`]: the files of a folder or of a data set of the hub -> those of one split.
//! - [`records::each`]: the records of a file that is too large to hold.
//! - [`prompt::load`]: prompts without answers, for generation.
//! - [`benchmark::load`]: MVPBench records with question and profile apart, for a judge.
//! - [`entries::load`]: the same as they stand, with what is missing counted, for statistics and review.
//! - [`normalised::normalised`]: texts without case and punctuation, to find those that are nearly the same.
//! - [`chat::ChatTemplate`]: conversations -> text, by the model's own template.
//! - [`tokenizer::Tokenizer`]: `tokenizer.json` and the small files beside it.
//! - [`tokenize::tokenize`]: pairs -> token ids, cut to the limits.
//! - [`tokenizer::Tokenizer::pieces`], [`stats::SetStats`]: ids and lengths, for display.
//! - [`split::Rule`]: records -> a training and a test side.
//! - [`visits::Visits`]: the pairs of an epoch, by the weights of their sources.
//! - [`pack::Pack`]: token ids end to end, each prompt once.
//!
//! [`pair::LoadCounts`] and [`tokenize::TokenCounts`] count what is odd, missing, cut or dropped, and print it in a line.

mod arrow;
pub mod benchmark;
pub mod chat;
pub mod chat_prompt;
mod csv;
pub mod entries;
pub mod file;
pub mod format;
pub mod groups;
mod limits;
pub mod listing;
pub mod normalised;
pub mod pack;
pub mod pair;
mod parquet;
mod pieces;
pub mod prompt;
pub mod records;
pub mod split;
pub mod spread;
pub mod stats;
pub mod token_pair;
pub mod tokenize;
pub mod tokenizer;
pub mod tokenizer_config;
mod tokenizer_files;
mod transformers5;
mod unpacked;
pub mod visits;
mod words;
