//! Files in, packed batches out: files -> [`pair::Pair`] -> [`tokenize::TokenPair`] -> [`pack::Pack`].
//!
//! Feeds [`crate::model`] (packs) and [`crate::eval`] (who a pair belongs to). No tensor and no GPU here.

pub mod pack;
pub mod pair;
pub mod tokenize;
