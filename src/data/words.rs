//! Llama-2's byte-pair encoding one word at a time, with a cache of words: the same ids, faster.
//!
//! Llama-2 has no pre-tokenizer: the tokenizers library merges a whole text as one word, in a heap as long as the text. But no merge of
//! its vocabulary joins the end of one word to the `▁` that begins the next, nor anything to a line break; so merging never crosses these
//! places, and the pieces between them can be merged apart. [`Words::of`] proves that for the tokenizer at hand or gives none.

use std::collections::HashMap;

use anyhow::Result;
use serde_json::{Value, json};
use tokenizers::Model;

/// A tokenizer that can encode a text word by word.
#[derive(Debug, Clone)]
pub(super) struct Words {
    /// Texts that are tokens of their own anywhere in a text, and their ids.
    special: Vec<(String, u32)>,
    /// Ids that special tokens put before and after a text.
    before: Vec<u32>,
    after: Vec<u32>,
}

/// Ids of the words seen so far.
pub(super) type Memory = HashMap<Box<str>, Box<[u32]>>;

/// Longest word that is cached, in bytes, and most words.
const LONGEST_REMEMBERED: usize = 64;
const MOST_REMEMBERED: usize = 1 << 17;
/// Most special tokens; with more, looking for each of them is the slower way.
const MOST_SPECIAL: usize = 16;

impl Words {
    /// Whether `tokenizer` (and `json`, its file) is of Llama-2's form and its merges never cross a word's or a line's beginning.
    pub(super) fn of(json: &Value, tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let normalizer = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]});
        let model = &json["model"];
        let (vocab, merges) = (model["vocab"].as_object()?, model["merges"].as_array()?);
        let plain = json["normalizer"] == normalizer
            && json["pre_tokenizer"].is_null()
            && model["type"] == "BPE"
            && model["byte_fallback"] == true
            && model["ignore_merges"] != true
            && ["dropout", "continuing_subword_prefix", "end_of_word_suffix"]
                .iter()
                .all(|key| model[key].is_null())
            && vocab.contains_key("▁")
            && (0..=255).all(|byte| vocab.contains_key(&format!("<0x{byte:02X}>")));
        let crosses = |merge: &Value| {
            let (left, right) = super::tokenizer_files::merge_parts(merge)?;
            let break_in = |part: &str| part.contains('\n') || part.contains("<0x0A>");
            Some(
                (right.starts_with('▁') && !left.ends_with('▁'))
                    || break_in(left)
                    || break_in(right),
            )
        };
        if !plain || merges.iter().any(|merge| crosses(merge) != Some(false)) {
            return None;
        }

        let added = tokenizer.get_added_tokens_decoder();
        if added.len() > MOST_SPECIAL
            || added.values().any(|token| {
                token.normalized
                    || token.lstrip
                    || token.rstrip
                    || token.single_word
                    || token.content.is_empty()
            })
        {
            return None;
        }
        let special = added.into_iter().map(|(id, token)| (token.content, id)).collect();
        let ids = |special| Some(tokenizer.encode_fast("a", special).ok()?.get_ids().to_vec());
        let (around, alone) = (ids(true)?, ids(false)?);
        let mut places = around
            .windows(alone.len())
            .enumerate()
            .filter(|(_, window)| *window == alone)
            .map(|(place, _)| place);
        let (place, None) = (places.next()?, places.next()) else { return None };
        Some(Self {
            special,
            before: around[..place].to_vec(),
            after: around[place + alone.len()..].to_vec(),
        })
    }

    /// The ids of a text, as [`super::tokenizer::Tokenizer::encode`] would give them.
    pub(super) fn encode(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        mut text: &str,
        add_special_tokens: bool,
        memory: &mut Memory,
    ) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 4);
        if add_special_tokens {
            ids.extend(&self.before);
        }
        while let Some((at, token, id)) = self.first_special(text) {
            merge_words(tokenizer, &text[..at], memory, &mut ids)?;
            ids.push(id);
            text = &text[at + token.len()..];
        }
        merge_words(tokenizer, text, memory, &mut ids)?;
        if add_special_tokens {
            ids.extend(&self.after);
        }
        Ok(ids)
    }

    /// The special token that comes first in a text, the longest of those that begin there.
    fn first_special(&self, text: &str) -> Option<(usize, &str, u32)> {
        self.special
            .iter()
            .filter_map(|(token, id)| Some((text.find(token.as_str())?, token.as_str(), *id)))
            .min_by_key(|(at, token, _)| (*at, std::cmp::Reverse(token.len())))
    }
}

/// Appends the ids of a text without special tokens.
fn merge_words(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
    memory: &mut Memory,
    ids: &mut Vec<u32>,
) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let normalized = format!("▁{}", text.replace(' ', "▁"));
    let mut from = 0;
    while from < normalized.len() {
        let word = first_word(&normalized[from..]);
        from += word.len();
        if let Some(known) = memory.get(word) {
            ids.extend(known);
            continue;
        }
        let first = ids.len();
        let tokens = tokenizer.get_model().tokenize(word).map_err(anyhow::Error::from_boxed)?;
        ids.extend(tokens.iter().map(|token| token.id));
        if word.len() <= LONGEST_REMEMBERED && memory.len() < MOST_REMEMBERED {
            memory.insert(word.into(), ids[first..].into());
        }
    }
    Ok(())
}

/// The beginning of a normalized text up to the first place no merge crosses: before a `▁` after another character, around a line break.
fn first_word(text: &str) -> &str {
    let mut previous = None;
    for (at, c) in text.char_indices() {
        let apart = match previous {
            None => false,
            Some('\n') => true,
            Some(previous) => c == '\n' || (c == '▁' && previous != '▁'),
        };
        if apart {
            return &text[..at];
        }
        previous = Some(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::{Tokenizer, TokenizerFiles};
    use super::*;

    const TOKENIZER: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/golden/models/tiny/tokenizer.json"
    ));

    fn tiny() -> (Value, Tokenizer) {
        let config = br#"{"eos_token": "</s>"}"#.as_slice();
        let files = TokenizerFiles {
            tokenizer: TOKENIZER,
            tokenizer_config: Some(config),
            ..Default::default()
        };
        (serde_json::from_slice(TOKENIZER).unwrap(), Tokenizer::from_bytes(&files, "tiny").unwrap())
    }

    #[test]
    fn a_word_ends_before_a_space_or_around_a_line_break() {
        let mut words = Vec::new();
        let mut text = "▁▁one▁two\n\n▁three▁▁\nfour";
        while !text.is_empty() {
            words.push(first_word(text));
            text = &text[words[words.len() - 1].len()..];
        }
        assert_eq!(words, ["▁▁one", "▁two", "\n", "\n", "▁three", "▁▁", "\n", "four"]);
    }

    #[test]
    fn word_by_word_gives_the_ids_of_the_library() {
        let (_, tokenizer) = tiny();
        let mut encoder = tokenizer.encoder();
        assert!(encoder.by_words());
        let parts = [
            " ", "  ", "\n", "▁", "a", "the", "Response", ":", "</s>", "<s>", "<unk>", "<0x0A>",
            "</s", "é", "😀", "\t", "\r\n", "日本", "\0", "'s",
        ];
        let mut state = 1u64;
        for round in 0..3000 {
            let mut text = String::new();
            for _ in 0..round % 23 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                text.push_str(parts[(state >> 33) as usize % parts.len()]);
            }
            for special in [false, true] {
                assert_eq!(
                    encoder.encode(&text, special).unwrap(),
                    tokenizer.encode(&text, special).unwrap(),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn a_tokenizer_whose_merges_cross_words_is_left_to_the_library() {
        let (json, tokenizer) = tiny();
        let inner = tokenizer.library();
        assert!(Words::of(&json, inner).is_some());
        let changes: [fn(&mut Value); 6] = [
            |json| json["model"]["merges"].as_array_mut().unwrap().push("a ▁".into()),
            |json| json["model"]["merges"].as_array_mut().unwrap().push("<0x0A> <0x0A>".into()),
            |json| json["normalizer"] = Value::Null,
            |json| json["pre_tokenizer"] = json!({"type": "Whitespace"}),
            |json| json["model"]["ignore_merges"] = true.into(),
            |json| json["model"]["byte_fallback"] = false.into(),
        ];
        for (place, change) in changes.into_iter().enumerate() {
            let mut json = json.clone();
            change(&mut json);
            assert!(Words::of(&json, inner).is_none(), "change {place}");
        }
    }

    #[test]
    fn a_special_token_that_takes_the_space_beside_it_is_left_to_the_library() {
        let (json, tokenizer) = tiny();
        let token = || tokenizers::AddedToken::from("<x>", true).normalized(false);
        for (token, plain) in [
            (token(), true),
            (token().lstrip(true), false),
            (token().rstrip(true), false),
            (token().single_word(true), false),
            (token().normalized(true), false),
        ] {
            let mut inner = tokenizer.library().clone();
            inner.add_special_tokens([token.clone()]).unwrap();
            assert_eq!(Words::of(&json, &inner).is_some(), plain, "{token:?}");
        }
    }

    #[test]
    fn a_short_word_is_remembered_and_a_long_one_is_not() {
        let (json, tokenizer) = tiny();
        let (inner, mut memory) = (tokenizer.library(), Memory::new());
        let words = Words::of(&json, inner).unwrap();
        let long = "x".repeat(LONGEST_REMEMBERED);
        words.encode(inner, &format!("the {long}"), false, &mut memory).unwrap();
        assert_eq!(memory.keys().map(|word| &**word).collect::<Vec<_>>(), ["▁the"]);
    }
}
