//! Token ids of a data set, cached on disk, never trusted without a check.
//!
//! Its key is a digest of the rendered texts, the tokenizer's files, the limits and the code, so that texts are tokenized again
//! after any edit. It also holds the counts of cut and dropped pairs, so that a run prints the same with the cache and
//! without.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::console::progress::Verbosity;
use crate::data::pair::Pair;
use crate::data::token_pair::TokenPair;
use crate::data::tokenize::{self, Limits, TokenCounts, Tokenized};
use crate::data::tokenizer::Tokenizer;
use crate::disk::{atomic, read};
use crate::disk::{cache, digest};

/// Digest of the code that makes token ids and this file: another version may give others for the same text.
const CODE: &str = env!("MVPBENCH_TOKENS");

/// Name of the entry in the file's head that holds [`About`].
const ABOUT: &str = "about";

/// What a cache file says about itself.
#[derive(Serialize, Deserialize)]
struct About {
    key: String,
    /// [`TokenCounts`] as JSON.
    counts: String,
    /// Digest of the counts and of the tensors.
    check: String,
}

/// A cache to write later: a run writes nothing before all its input is checked.
pub(super) struct Unsaved {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Unsaved {
    /// Writes the cache.
    pub(super) fn save(self) -> Result<()> {
        atomic::write(&self.path, |out| Ok(out.write_all(&self.bytes)?))
    }
}

/// [`tokenize::tokenize`], read from the cache if it holds these texts for this tokenizer and these limits.
///
/// - `tokenizer_digest`: digest of the files of `tokenizer`.
///
/// Returns the token ids, and the cache to write; none if the ids came from the cache.
pub(super) fn tokenize(
    pairs: &[Pair],
    tokenizer: &Tokenizer,
    tokenizer_digest: &str,
    limits: &Limits,
    verbosity: Verbosity,
) -> Result<(Tokenized, Option<Unsaved>)> {
    let key = key(pairs, tokenizer_digest, limits);
    let Some(path) = cache::folder("tokens").map(|folder| folder.join(format!("{key}.tokens")))
    else {
        return Ok((tokenize::tokenize(pairs, tokenizer, limits)?, None));
    };
    if path.exists() {
        if let Some(tokenized) = read(&path, &key, pairs.len()) {
            verbosity.note(format!("tokens: {} pairs from the cache", tokenized.pairs.len()));
            return Ok((tokenized, None));
        }
        verbosity.warn(format!(
            "token cache `{}` is broken or has other texts; tokenizing again",
            path.display()
        ));
    }
    let tokenized = tokenize::tokenize(pairs, tokenizer, limits)?;
    let bytes = to_bytes(&key, &tokenized)?;
    Ok((tokenized, Some(Unsaved { path, bytes })))
}

fn key(pairs: &[Pair], tokenizer_digest: &str, limits: &Limits) -> String {
    let settings = [CODE.to_owned(), tokenizer_digest.to_owned(), format!("{limits:?}")];
    let texts = pairs.iter().flat_map(|pair| {
        let markup = format!("{:?}", pair.markup);
        [&pair.id, &pair.prompt, &pair.chosen, &pair.rejected]
            .map(String::clone)
            .into_iter()
            .chain([markup])
    });
    digest::of_parts(settings.into_iter().chain(texts))
}

/// The cache file: for each pair its row and the lengths of prompt, chosen and rejected; all ids, end to end; and for each pair how many
/// ids of chosen and rejected are not scored.
fn to_bytes(key: &str, tokenized: &Tokenized) -> Result<Vec<u8>> {
    let (mut pairs, mut ids, mut unscored) = (Vec::new(), Vec::new(), Vec::new());
    for pair in &tokenized.pairs {
        for side in pair.unscored {
            unscored.extend_from_slice(&u32::try_from(side)?.to_le_bytes());
        }
        pairs.extend_from_slice(&pair.row.to_le_bytes());
        for part in [&pair.prompt, &pair.chosen, &pair.rejected] {
            pairs.extend_from_slice(&u32::try_from(part.len())?.to_le_bytes());
            part.iter().for_each(|id| ids.extend_from_slice(&id.to_le_bytes()));
        }
    }
    let counts = serde_json::to_string(&tokenized.counts)?;
    let check = digest::of_parts([counts.as_bytes(), &pairs, &ids, &unscored]);
    // One entry: those of a map would be written in an order that differs from run to run.
    let about = serde_json::to_string(&About { key: key.to_owned(), counts, check })?;
    let about = HashMap::from([(ABOUT.to_owned(), about)]);
    let views = [
        ("pairs", TensorView::new(Dtype::U32, vec![tokenized.pairs.len(), 4], &pairs)?),
        ("ids", TensorView::new(Dtype::U32, vec![ids.len() / 4], &ids)?),
        ("unscored", TensorView::new(Dtype::U32, vec![tokenized.pairs.len(), 2], &unscored)?),
    ];
    Ok(safetensors::serialize(views, Some(about))?)
}

/// The cached ids; none if the file is damaged or has another key.
fn read(path: &Path, key: &str, texts: usize) -> Option<Tokenized> {
    let bytes = read::bytes(path).ok()?;
    let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
    let about = header.metadata().as_ref()?.get(ABOUT)?;
    let About { key: own, counts, check } = serde_json::from_str(about).ok()?;
    let tensors = SafeTensors::deserialize(&bytes).ok()?;
    let data = |name: &str| tensors.tensor(name).ok().map(|tensor| tensor.data());
    let (pairs, ids, unscored) = (data("pairs")?, data("ids")?, data("unscored")?);
    if own != key || check != digest::of_parts([counts.as_bytes(), pairs, ids, unscored]) {
        return None;
    }
    let numbers = |bytes: &[u8]| -> Vec<u32> {
        bytes.as_chunks().0.iter().map(|&four| u32::from_le_bytes(four)).collect()
    };
    let (pairs, ids, unscored, mut at) = (numbers(pairs), numbers(ids), numbers(unscored), 0);
    let mut unscored = unscored.as_chunks().0.iter().map(|two: &[u32; 2]| two.map(|n| n as usize));
    let mut take = |length: u32| {
        let part = ids.get(at..at + length as usize)?;
        at += length as usize;
        Some(part.to_vec())
    };
    let pairs = pairs.as_chunks().0.iter().map(|&[row, prompt, chosen, rejected]| {
        let (prompt, chosen, rejected) = (take(prompt)?, take(chosen)?, take(rejected)?);
        let unscored = unscored.next()?;
        ((row as usize) < texts).then_some(TokenPair {
            row,
            prompt,
            chosen,
            rejected,
            unscored,
            is_apart: false,
        })
    });
    let counts: TokenCounts = serde_json::from_str(&counts).ok()?;
    Some(Tokenized { pairs: pairs.collect::<Option<_>>()?, counts })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenized() -> Tokenized {
        let pair = |row, n: u32| TokenPair {
            row,
            prompt: (0..n).collect(),
            chosen: vec![7; n as usize],
            rejected: vec![],
            unscored: [n as usize - 3, 0],
            ..TokenPair::default()
        };
        let counts = TokenCounts {
            pairs: 2,
            dropped: 1,
            dropped_ids: vec!["é\"".into()],
            ..TokenCounts::default()
        };
        Tokenized { pairs: vec![pair(0, 3), pair(2, 5)], counts }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tokens");
        std::fs::write(&path, to_bytes("k", &tokenized()).unwrap()).unwrap();
        assert_eq!(read(&path, "k", 3), Some(tokenized()));
        assert_eq!(read(&path, "other", 3), None, "a cache of other texts");
        assert_eq!(read(&path, "k", 2), None, "a row past the texts");
        let whole = std::fs::read(&path).unwrap();
        for _ in 0..20 {
            assert_eq!(to_bytes("k", &tokenized()).unwrap(), whole, "the same bytes in every run");
        }
        for at in 0..whole.len() {
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read(&path, "k", 3), None, "cut to {at} bytes");
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            std::fs::write(&path, flipped).unwrap();
            let read = read(&path, "k", 3);
            assert!(read.is_none() || read == Some(tokenized()), "a flip at {at} gave {read:?}");
        }
    }

    #[test]
    fn the_key_follows_texts_tokenizer_and_limits() {
        let pair = |prompt: &str| {
            let json = format!(r#"{{"prompt": "{prompt}", "chosen": "a", "rejected": "b"}}"#);
            crate::data::file::parse(json.as_bytes(), "a.json").unwrap()
        };
        let limits = Limits::default();
        let shorter = Limits { max_length: 9, ..limits };
        let otherwise = [
            shorter,
            Limits { truncation: tokenize::Truncation::Trl06, ..limits },
            Limits { eos: tokenize::Eos::LeftOut, ..limits },
            Limits { tokenization: tokenize::Tokenization::Prefix, ..limits },
        ];
        let mut keys = vec![
            key(&pair("p"), "t", &limits),
            key(&pair("q"), "t", &limits),
            key(&pair("p"), "u", &limits),
        ];
        keys.extend(otherwise.map(|limits| key(&pair("p"), "t", &limits)));
        assert_eq!(keys[0], key(&pair("p"), "t", &limits));
        assert!((1..keys.len()).all(|i| !keys[..i].contains(&keys[i])), "{keys:?}");
    }
}
