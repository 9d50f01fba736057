//! `tokenizer.json` and the files beside it that name the token which ends an answer.

use anyhow::Result;
use serde_json::Value;
use tokenizers::AddedToken;

use crate::config::TokenizerRules;
use crate::data::tokenizer_config::{self, SpecialToken};
use crate::data::transformers5;
use crate::error::{InputError, shown};

/// The bytes of a model folder's tokenizer files; none where a file is missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenizerFiles<'a> {
    /// `tokenizer.json`: the tokenizer itself.
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`: first place for the names of EOS and BOS, and the flags of special tokens.
    pub tokenizer_config: Option<&'a [u8]>,
    /// `special_tokens_map.json`: second place.
    pub special_tokens_map: Option<&'a [u8]>,
    /// `config.json` or `generation_config.json`: last place, by id; of a list of EOS ids the first.
    pub config: Option<&'a [u8]>,
    /// Whose rules make token ids of a text.
    pub rules: TokenizerRules,
}

/// The contents of the files: the library's tokenizer without truncation and padding, its JSON, EOS and BOS.
pub(super) struct Parts {
    pub(super) inner: tokenizers::Tokenizer,
    pub(super) json: Value,
    pub(super) eos: SpecialToken,
    pub(super) bos: Option<SpecialToken>,
    /// What is computed as `tokenizer_config.json` says and otherwise than `tokenizer.json` says, for a note.
    pub(super) note: Option<String>,
}

/// Reads the files. `name`: the folder, for messages.
pub(super) fn parts(files: &TokenizerFiles<'_>, name: &str) -> Result<Parts> {
    let json = |file: &str, bytes: Option<&[u8]>| match bytes {
        None => Ok(Value::Null),
        Some(bytes) => serde_json::from_slice::<Value>(bytes)
            .map_err(|error| InputError::new(format!("{name}/{file}: not valid JSON: {error}"))),
    };
    let tokenizer_config = json("tokenizer_config.json", files.tokenizer_config)?;
    let special_tokens_map = json("special_tokens_map.json", files.special_tokens_map)?;
    let config = json("config.json", files.config)?;
    tokenizer_config::check(&tokenizer_config, name)?;
    let mut model = json("tokenizer.json", Some(files.tokenizer))?;
    check_model(&model, name)?;
    let rebuilt = match files.rules {
        TokenizerRules::File => None,
        TokenizerRules::Transformers5 => {
            transformers5::rebuild(&mut model, &tokenizer_config, name)?;
            Some(serde_json::to_vec(&model)?)
        }
    };
    let bytes = rebuilt.as_deref().unwrap_or(files.tokenizer);

    let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| {
        InputError::new(format!("{name}/tokenizer.json: not a tokenizer: {error}"))
    })?;
    inner.with_truncation(None).map_err(anyhow::Error::from_boxed)?;
    inner.with_padding(None);
    add_tokens(&mut inner, &tokenizer_config, name)?;

    let named = |key: &str| -> Result<Option<SpecialToken>> {
        let text = [&tokenizer_config, &special_tokens_map]
            .into_iter()
            .find_map(|file| token_text(&file[key]));
        let Some(text) = text else {
            let id = &config[format!("{key}_id")];
            let id = id.get(0).unwrap_or(id).as_u64().and_then(|id| u32::try_from(id).ok());
            return Ok(id.and_then(|id| Some(SpecialToken { id, text: inner.id_to_token(id)? })));
        };
        match inner.token_to_id(&text) {
            Some(id) => Ok(Some(SpecialToken { id, text })),
            None => Err(InputError::new(format!(
                "{name}: `{key}` is `{text}`, which `tokenizer.json` has no id for"
            ))
            .into()),
        }
    };
    let eos = named("eos_token")?.ok_or_else(|| {
        InputError::new(format!(
            "{name}: no end-of-sequence token: no `eos_token` in tokenizer_config.json or special_tokens_map.json, \
             no usable `eos_token_id` in config.json"
        ))
        .hint("every answer ends with it; for Llama-2 put `\"eos_token\": \"</s>\"` in tokenizer_config.json")
    })?;
    let bos = named("bos_token")?;
    let note = tokenizer_config::around(&mut inner, &tokenizer_config, bos.as_ref(), &eos)?;
    Ok(Parts { inner, json: model, eos, bos, note })
}

/// The tokenizer that transformers 5 makes of the files, if it is another than the one that `files.rules` ask for.
pub(super) fn other(
    files: &TokenizerFiles<'_>,
    name: &str,
) -> Result<Option<tokenizers::Tokenizer>> {
    let json = |bytes: Option<&[u8]>| -> Value {
        bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
    };
    let tokenizer_config = json(files.tokenizer_config);
    let tokenizer = json(Some(files.tokenizer));
    if files.rules == TokenizerRules::Transformers5
        || !transformers5::rebuilds(&tokenizer, &tokenizer_config)
    {
        return Ok(None);
    }
    let files = TokenizerFiles { rules: TokenizerRules::Transformers5, ..*files };
    Ok(Some(parts(&files, name)?.inner))
}

/// Refuses what the tokenizers crate would panic on, and what would make ids differ from run to run.
fn check_model(tokenizer: &Value, name: &str) -> Result<()> {
    let model = &tokenizer["model"];
    if model["dropout"].as_f64().is_some_and(|dropout| dropout > 0.0) {
        crate::bail_input!(
            "{name}/tokenizer.json: `model.dropout` must be null, got `{}`: ids would be random",
            model["dropout"]
        );
    }
    let (Some(vocab), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array())
    else {
        return Ok(());
    };
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    for merge in merges {
        let merged = merge_parts(merge)
            .and_then(|(left, right)| Some(format!("{left}{}", right.strip_prefix(prefix)?)));
        if !merged.is_some_and(|merged| vocab.contains_key(&merged)) {
            crate::bail_input!(
                "{name}/tokenizer.json: the merge `{merge}` makes no token of the vocabulary"
            );
        }
    }
    Ok(())
}

/// The two parts of a merge, written `"a b"` or `["a", "b"]`.
pub(super) fn merge_parts(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(pair) => pair.split_once(' '),
        pair => pair[0].as_str().zip(pair[1].as_str()),
    }
}

/// Adds the tokens of `added_tokens_decoder` of `tokenizer_config.json` with their flags, in the order of their ids, as transformers does.
///
/// Some copies of Llama-2 have `normalized: true` in `tokenizer.json`, under which `</s>` after a text is read as `<`, `/`, `s`, `>`.
///
/// Refuses a token that `tokenizer.json` lacks and that would get another id than the file says: transformers gives it that other id.
fn add_tokens(
    tokenizer: &mut tokenizers::Tokenizer,
    tokenizer_config: &Value,
    name: &str,
) -> Result<()> {
    let Some(decoder) = tokenizer_config["added_tokens_decoder"].as_object() else { return Ok(()) };
    let mut tokens: Vec<(u32, AddedToken)> = decoder
        .iter()
        .filter_map(|(id, token)| {
            Some((
                id.parse::<u32>().ok()?,
                serde_json::from_value::<AddedToken>(token.clone()).ok()?,
            ))
        })
        .collect();
    tokens.sort_by_key(|(id, _)| *id);
    for (id, token) in tokens {
        let content = token.content.clone();
        let is_new = tokenizer.token_to_id(&content).is_none();
        let added = match token.special {
            true => tokenizer.add_special_tokens([token]),
            false => tokenizer.add_tokens([token]),
        };
        added.map_err(anyhow::Error::from_boxed)?;
        let given = tokenizer.token_to_id(&content);
        if is_new && given != Some(id) {
            let content = shown(&content);
            return Err(InputError::new(format!(
                "{name}/tokenizer_config.json: `added_tokens_decoder` has `{content}` with the id {id}, and tokenizer.json has no such token"
            ))
            .hint(match given {
                Some(given) => format!(
                    "transformers adds it with the id {given}; save the tokenizer again with `save_pretrained(FOLDER)`"
                ),
                None => "save the tokenizer again with transformers, `save_pretrained(FOLDER)`".to_owned(),
            })
            .into());
        }
    }
    Ok(())
}

/// The text of a token, given as a string or as an object with `content`.
fn token_text(token: &Value) -> Option<String> {
    token
        .as_str()
        .or_else(|| token["content"].as_str())
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::Tokenizer;
    use super::*;
    use crate::data::tokenizer::tests::changed;

    const TOKENIZER: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/golden/models/tiny/tokenizer.json"
    ));

    fn tiny(tokenizer_config: &str, special_tokens_map: &str, config: &str) -> Result<Tokenizer> {
        let files = TokenizerFiles {
            tokenizer: TOKENIZER,
            tokenizer_config: Some(tokenizer_config.as_bytes()),
            special_tokens_map: Some(special_tokens_map.as_bytes()),
            config: Some(config.as_bytes()),
            ..Default::default()
        };
        Tokenizer::from_bytes(&files, "tiny")
    }

    #[test]
    fn eos_is_found_in_each_of_its_places() {
        let text = r#"{"eos_token": "</s>"}"#;
        let object = r#"{"eos_token": {"content": "</s>"}, "bos_token": "<s>"}"#;
        for (tokenizer_config, map, config) in [
            (text, "{}", "{}"),
            (object, "{}", "{}"),
            ("{}", object, "{}"),
            ("{}", "{}", r#"{"eos_token_id": [2, 7]}"#),
        ] {
            let tokenizer = tiny(tokenizer_config, map, config).unwrap();
            assert_eq!((tokenizer.eos_id(), tokenizer.eos_text()), (2, "</s>"));
        }
        assert_eq!(tiny("{}", object, "{}").unwrap().bos_id(), Some(1));
        assert_eq!(tiny(text, "{}", "{}").unwrap().bos_id(), None);
    }

    /// As transformers 5.23 and 4: what tokenizer.json lacks is added, with the next free ids.
    #[test]
    fn tokens_that_tokenizer_json_lacks_are_added_and_one_of_another_id_is_refused() {
        let with = |tokens: &str| {
            let config =
                format!(r#"{{"eos_token": "</s>", "added_tokens_decoder": {{{tokens}}}}}"#);
            tiny(&config, "{}", "{}")
        };
        let token = |id: usize, content: &str, special: bool| {
            format!(
                r#""{id}": {{"content": "{content}", "special": {special}, "lstrip": false, "rstrip": false, "single_word": false, "normalized": false}}"#
            )
        };
        let next = with("").unwrap().library().get_vocab_size(true);
        let tokens = [token(next + 1, "<|b|>", false), token(next, "<|a|>", true)].join(", ");
        let tokenizer = with(&tokens).unwrap();
        let ids = tokenizer.encode("<|b|><|a|>", false).unwrap();
        assert_eq!(ids, [next as u32 + 1, next as u32]);
        assert_eq!(tokenizer.encoder().encode("<|b|><|a|>", false).unwrap(), ids);
        let error = with(&token(next + 5, "<|a|>", true)).err().unwrap();
        assert!(error.to_string().contains("`<|a|>` with the id"), "{error}");
        let remedy = InputError::of(&error).unwrap().remedy().unwrap();
        assert!(remedy.contains(&format!("with the id {next};")), "{remedy}");
    }

    #[test]
    fn a_tokenizer_without_eos_is_an_error() {
        for config in ["{}", r#"{"eos_token_id": 99999}"#, r#"{"eos_token_id": "x"}"#] {
            let error = tiny("{}", r#"{"eos_token": null}"#, config).err().unwrap();
            assert!(error.to_string().starts_with("tiny: no end-of-sequence token"), "{error}");
        }
        let error = tiny(r#"{"eos_token": "<end>"}"#, "{}", "{}").err().unwrap().to_string();
        assert_eq!(error, "tiny: `eos_token` is `<end>`, which `tokenizer.json` has no id for");
    }

    #[test]
    fn a_broken_tokenizer_is_an_error_and_not_a_panic() {
        let eos = r#"{"eos_token": "</s>"}"#;
        let long = "x".repeat(200);
        let merge = |json: &mut Value| {
            json["model"]["merges"].as_array_mut().unwrap().push(format!("{long} {long}").into())
        };
        let error = changed(merge, eos).err().unwrap().to_string();
        assert!(error.contains("makes no token of the vocabulary"), "{error}");
        assert!(changed(|json| json["model"]["merges"] = serde_json::json!([["a"]]), eos).is_err());
        assert!(changed(|json| json["model"]["vocab"] = serde_json::json!({}), eos).is_err());
        assert!(
            changed(|json| json["model"]["dropout"] = 0.1.into(), eos)
                .err()
                .unwrap()
                .to_string()
                .contains("random")
        );
        assert!(changed(|json| json["model"] = Value::Null, eos).is_err());
        assert!(changed(|json| *json = serde_json::json!([1]), eos).is_err());
        assert!(changed(|_| (), "{").is_err());
        assert!(Tokenizer::from_bytes(&TokenizerFiles::default(), "tiny").is_err());
    }
}
