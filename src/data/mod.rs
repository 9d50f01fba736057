//! Files in, packed batches out: files -> [`pair::Pair`] -> [`tokenize::TokenPair`] -> [`pack::Pack`].
//!
//! Feeds [`crate::model`] (packs) and [`crate::eval`] (who a pair belongs to). No tensor and no GPU here.
//!
//! - [`file::load`]: bytes of JSON arrays or JSONL -> pairs as text, with the prompt rendered.
//! - [`tokenizer::Tokenizer`]: `tokenizer.json` and the small files beside it.
//! - [`pack::Pack`]: token ids end to end, each prompt once.
//!
//! What was odd or missing on the way is counted in [`pair::LoadCounts`], which says it in a line.

mod fields;
pub mod file;
pub mod groups;
pub mod pack;
pub mod pair;
mod record;
pub mod tokenize;
pub mod tokenizer;
mod tokenizer_files;
mod words;
