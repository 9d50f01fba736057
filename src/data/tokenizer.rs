//! Text to token ids and back, and the tokens that begin and end a sequence.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::tokenizer_config::SpecialToken;
use super::tokenizer_files::{self, Parts};
use super::words::{Memory, Words};
use crate::config::TokenizerRules;
use crate::disk::read;
use crate::error::InputError;
use crate::error::contained::contained;

pub use super::tokenizer_files::TokenizerFiles;

/// Text to token ids and back; truncation and padding of `tokenizer.json` are switched off.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    name: String,
    eos: SpecialToken,
    bos: Option<SpecialToken>,
    adds_bos: bool,
    note: Option<String>,
    /// The tokenizer that transformers 5 makes of the same files, where it makes another.
    transformers5: Option<Box<tokenizers::Tokenizer>>,
    vocab_size: usize,
    words: Option<Words>,
}

/// `call` into the tokenizers library, which fails or panics on some broken files only when they are used. `name`: the folder, for messages.
fn guarded<T>(name: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    let broken = |why: &str| -> anyhow::Error {
        let message = format!(
            "{name}/tokenizer.json: not usable, the tokenizers library stopped at it: {why}"
        );
        InputError::new(message).hint("take the tokenizer files that came with the weights").into()
    };
    contained(call, broken).map_err(|error| match InputError::of(&error) {
        Some(_) => error,
        None => broken(&error.to_string()),
    })
}

impl Tokenizer {
    /// Reads the tokenizer files of a model folder, tokenizer.json as it stands.
    pub fn load(folder: &Path) -> Result<Self> {
        Self::load_by(folder, TokenizerRules::File)
    }

    /// Reads the tokenizer files of a model folder by these rules.
    pub fn load_by(folder: &Path, rules: TokenizerRules) -> Result<Self> {
        let read = |file: &str| match read::bytes(&folder.join(file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot read `{}`", folder.join(file).display()))
            }
        };
        let name = folder.display().to_string();
        let Some(tokenizer) = read("tokenizer.json")? else {
            let error = InputError::new(format!("{name}: no `tokenizer.json` in this folder"));
            return Err(if folder.join("tokenizer.model").exists() {
                error.hint(
                    "there is a `tokenizer.model`; convert it with transformers: \
                     `AutoTokenizer.from_pretrained(folder, use_fast=True).save_pretrained(folder)`",
                )
            } else {
                error.hint("`model.path` must be a folder with config.json, tokenizer.json and *.safetensors")
            }
            .into());
        };
        let (tokenizer_config, special_tokens_map) =
            (read("tokenizer_config.json")?, read("special_tokens_map.json")?);
        let config = match read("generation_config.json")? {
            Some(bytes) if mentions_eos(&bytes) => Some(bytes),
            _ => read("config.json")?,
        };
        let files = TokenizerFiles {
            tokenizer: &tokenizer,
            tokenizer_config: tokenizer_config.as_deref(),
            special_tokens_map: special_tokens_map.as_deref(),
            config: config.as_deref(),
            rules,
        };
        Self::from_bytes(&files, &name)
    }

    /// Builds a tokenizer from the bytes of its files. `name`: the folder, for messages.
    ///
    /// As in transformers, `add_bos_token` and `add_eos_token` of `tokenizer_config.json` decide which special tokens go around a text,
    /// without them `tokenizer.json`; its `added_tokens_decoder` overrides the flags of special tokens. A field of it that is set and
    /// unknown is refused.
    pub fn from_bytes(files: &TokenizerFiles<'_>, name: &str) -> Result<Self> {
        guarded(name, || {
            let Parts { inner, json, eos, bos, note } = tokenizer_files::parts(files, name)?;
            let transformers5 = tokenizer_files::other(files, name)?.map(Box::new);
            let words = Words::of(&json, &inner);
            let name = name.to_owned();
            let mut tokenizer = Self {
                inner,
                name,
                eos,
                bos,
                adds_bos: false,
                note,
                transformers5,
                vocab_size: usize::MAX,
                words,
            };
            tokenizer.check_eos()?;
            let first =
                |special| Ok::<_, anyhow::Error>(tokenizer.encode("a", special)?.first().copied());
            let (with, without) = (first(true)?, first(false)?);
            tokenizer.adds_bos = with == tokenizer.bos_id() && with != without;
            Ok(tokenizer)
        })
    }

    /// The EOS text at the end of an answer must become the EOS id, or the model would never learn to end one.
    fn check_eos(&self) -> Result<()> {
        let SpecialToken { id, text } = &self.eos;
        let ids = self.encode(&format!("a{text}"), false)?;
        if ids.len() > 1 && ids.last() == Some(id) {
            return Ok(());
        }
        Err(InputError::new(format!(
            "{}: `{text}` after a text must be read as the end-of-sequence id {id}, got the ids {ids:?} for `a{text}`",
            self.name
        ))
        .hint("in `added_tokens` of tokenizer.json it needs `\"special\": true, \"normalized\": false`")
        .into())
    }

    /// Refuses a tokenizer that is not the model's: a vocabulary, BOS or EOS with an id at or above `vocab_size`.
    ///
    /// An added token beyond it (a `<pad>` with the id 32000, as many Llama-2 copies have) is tolerated until a text contains it:
    /// from here on [`Tokenizer::encode`] refuses such a text.
    pub fn check_vocab(&mut self, vocab_size: usize) -> Result<()> {
        self.vocab_size = vocab_size;
        let added = self.inner.get_added_tokens_decoder();
        let vocab = self.inner.get_vocab(false);
        let model =
            vocab.iter().filter(|(_, id)| !added.contains_key(id)).map(|(text, id)| (*id, text));
        let special = [Some(&self.eos), self.bos.as_ref()]
            .into_iter()
            .flatten()
            .map(|token| (token.id, &token.text));
        match model.chain(special).max() {
            Some((id, text)) if id as usize >= vocab_size => Err(InputError::new(format!(
                "{}: the token `{text}` has the id {id}, but the model's vocabulary has {vocab_size} rows",
                self.name
            ))
            .hint("the tokenizer files belong to another model; take those that came with the weights")
            .into()),
            _ => Ok(()),
        }
    }

    /// The ids of a text; `add_special_tokens` adds those of `tokenizer.json` around it (`<s>` in front, for Llama-2).
    ///
    /// Special tokens written out in the text are read as such. Refuses an id beyond the size given to [`Tokenizer::check_vocab`].
    /// For many texts, [`Tokenizer::encoder`] gives the same ids faster.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let encode = || self.inner.encode_fast(text, add_special_tokens);
        let encoding = guarded(&self.name, || encode().map_err(anyhow::Error::from_boxed))?;
        self.within_vocab(encoding.get_ids().to_vec())
    }

    /// An encoder for many texts on one thread: the ids of [`Tokenizer::encode`], faster.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder { tokenizer: self, memory: Memory::new() }
    }

    fn within_vocab(&self, ids: Vec<u32>) -> Result<Vec<u32>> {
        let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab_size) else {
            return Ok(ids);
        };
        let token = self.inner.id_to_token(*id).unwrap_or_default();
        Err(InputError::new(format!(
            "a text has the token `{token}` with the id {id}, but the model's vocabulary has {} rows",
            self.vocab_size
        ))
        .hint("take the token out of the text, or out of `added_tokens` in tokenizer.json")
        .into())
    }

    /// The text of some ids, with or without the special tokens among them. An id that has no token is left out.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let decode = || self.inner.decode(ids, skip_special_tokens);
        guarded(&self.name, || decode().map_err(anyhow::Error::from_boxed))
    }

    /// Id of the token that ends an answer.
    pub fn eos_id(&self) -> u32 {
        self.eos.id
    }

    /// Text of the token that ends an answer, `</s>` for Llama-2.
    pub fn eos_text(&self) -> &str {
        &self.eos.text
    }

    /// Id of the token that begins a sequence, if there is one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos.as_ref().map(|token| token.id)
    }

    /// Text of the token that begins a sequence, `<s>` for Llama-2, if there is one.
    pub fn bos_text(&self) -> Option<&str> {
        self.bos.as_ref().map(|token| token.text.as_str())
    }

    /// Whether a token of this text is in the vocabulary.
    pub fn knows(&self, token: &str) -> bool {
        self.inner.token_to_id(token).is_some()
    }

    /// What is computed otherwise than `tokenizer.json` alone says, for a note.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Whether transformers 5, which rebuilds the tokenizers of some classes, gives other ids for a text.
    pub fn differs_from_transformers5(&self, text: &str) -> Result<bool> {
        let Some(other) = &self.transformers5 else { return Ok(false) };
        // They differ in the `▁` before a text, after a space or a special token, alone.
        let special = self.inner.get_added_tokens_decoder();
        let inside = |token: &str| text.contains(token) && !token.is_empty();
        if !text.starts_with([' ', '▁']) && !special.values().any(|token| inside(&token.content))
        {
            return Ok(false);
        }
        let ids = |tokenizer: &tokenizers::Tokenizer| -> Result<Vec<u32>> {
            let encode = || tokenizer.encode_fast(text, false).map_err(anyhow::Error::from_boxed);
            Ok(guarded(&self.name, encode)?.get_ids().to_vec())
        };
        Ok(ids(&self.inner)? != ids(other)?)
    }

    /// Whether a text that is encoded with special tokens gets a BOS.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Whether a text that is encoded with special tokens would begin with two BOS, its own and the one that is added.
    pub fn doubles_bos(&self, text: &str) -> bool {
        self.adds_bos && self.bos_text().is_some_and(|bos| text.starts_with(bos))
    }

    /// The library's own tokenizer.
    #[cfg(test)]
    pub(super) fn library(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// Number of tokens, added ones included.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

/// Encodes many texts on one thread, with a cache of words where the tokenizer has Llama-2's form.
#[derive(Debug)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    memory: Memory,
}

impl Encoder<'_> {
    /// As [`Tokenizer::encode`].
    pub fn encode(&mut self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let Some(words) = &self.tokenizer.words else {
            return self.tokenizer.encode(text, add_special_tokens);
        };
        let (tokenizer, memory) = (&self.tokenizer.inner, &mut self.memory);
        let encode = || words.encode(tokenizer, text, add_special_tokens, memory);
        self.tokenizer.within_vocab(guarded(&self.tokenizer.name, encode)?)
    }

    /// Whether texts are encoded word by word.
    #[cfg(test)]
    pub(super) fn by_words(&self) -> bool {
        self.tokenizer.words.is_some()
    }
}

/// Whether a generation config names EOS.
fn mentions_eos(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|config| !config["eos_token_id"].is_null())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const TOKENIZER: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/golden/models/tiny/tokenizer.json"
    ));

    /// The tiny tokenizer with its JSON changed.
    pub(in crate::data) fn changed(
        change: impl FnOnce(&mut Value),
        tokenizer_config: &str,
    ) -> Result<Tokenizer> {
        let mut tokenizer: Value = serde_json::from_slice(TOKENIZER).unwrap();
        change(&mut tokenizer);
        let bytes = serde_json::to_vec(&tokenizer).unwrap();
        let files = TokenizerFiles {
            tokenizer: &bytes,
            tokenizer_config: Some(tokenizer_config.as_bytes()),
            ..Default::default()
        };
        Tokenizer::from_bytes(&files, "tiny")
    }

    #[test]
    fn truncation_and_padding_of_the_file_are_off() {
        let tokenizer = changed(
            |json| {
                json["truncation"] = serde_json::json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
                json["padding"] = serde_json::json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 2, "pad_type_id": 0, "pad_token": "</s>"});
            },
            r#"{"eos_token": "</s>"}"#,
        )
        .unwrap();
        let ids = tokenizer.encode("one two three four", true).unwrap();
        assert!(ids.len() > 3 && ids.len() < 64, "{ids:?}");
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), "one two three four");
    }

    #[test]
    fn an_eos_that_is_normalized_away_is_refused_or_put_right_by_the_config() {
        let normalized = |json: &mut Value| {
            for token in json["added_tokens"].as_array_mut().unwrap() {
                token["normalized"] = true.into();
            }
        };
        let error = changed(normalized, r#"{"eos_token": "</s>"}"#).err().unwrap().to_string();
        assert!(error.contains("must be read as the end-of-sequence id 2"), "{error}");
        let put_right = r#"{"eos_token": "</s>", "added_tokens_decoder": {"2": {"content": "</s>", "lstrip": false, "normalized": false,
            "rstrip": false, "single_word": false, "special": true}}}"#;
        assert_eq!(
            changed(normalized, put_right).unwrap().encode("a</s>", false).unwrap().last(),
            Some(&2)
        );
    }

    #[test]
    fn a_vocabulary_larger_than_the_models_is_refused() {
        let mut tokenizer = changed(|_| (), r#"{"eos_token": "</s>"}"#).unwrap();
        tokenizer.check_vocab(512).unwrap();
        let error = tokenizer.check_vocab(511).unwrap_err().to_string();
        assert!(
            error.contains("has the id 511, but the model's vocabulary has 511 rows"),
            "{error}"
        );
    }

    #[test]
    fn an_added_token_beyond_the_vocabulary_is_refused_in_a_text_only() {
        let pad = serde_json::json!({"id": 512, "content": "<pad>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true});
        let add = |json: &mut Value| json["added_tokens"].as_array_mut().unwrap().push(pad);
        let mut tokenizer = changed(add, r#"{"eos_token": "</s>"}"#).unwrap();
        tokenizer.check_vocab(512).unwrap();
        assert!(tokenizer.encode("pad", true).is_ok());
        let error = tokenizer.encode("a <pad>", true).unwrap_err().to_string();
        assert_eq!(
            error,
            "a text has the token `<pad>` with the id 512, but the model's vocabulary has 512 rows"
        );
    }

    #[test]
    fn a_folder_of_sentencepiece_only_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let error = Tokenizer::load(folder.path()).err().unwrap();
        assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("model.path"));
        std::fs::write(folder.path().join("tokenizer.model"), "x").unwrap();
        let error = Tokenizer::load(folder.path()).err().unwrap();
        assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("save_pretrained"));
    }
}
