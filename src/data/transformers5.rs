//! `tokenizer.json` of a Llama -> the tokenizer that transformers 5 makes of it.
//!
//! Under `tokenizer_class` `LlamaTokenizer` or `LlamaTokenizerFast`, transformers 5 takes vocabulary, merges, added tokens and
//! post-processor of the file and writes the rest anew: `Metaspace` in place of the normalizer that puts a `▁` before every piece. A
//! text after a special token then gets none, and a text that begins with a space gets no second one.

use anyhow::Result;
use serde_json::{Value, json};

use crate::error::{InputError, shown};

/// The classes that are rebuilt.
const LLAMA: [&str; 2] = ["LlamaTokenizer", "LlamaTokenizerFast"];

/// The classes whose file is taken as it stands.
const AS_IT_STANDS: [&str; 3] =
    ["PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend"];

/// Whether transformers 5 rebuilds the tokenizer of this class, and of this file.
pub(super) fn rebuilds(tokenizer: &Value, tokenizer_config: &Value) -> bool {
    let class = tokenizer_config["tokenizer_class"].as_str();
    class.is_some_and(|class| LLAMA.contains(&class)) && tokenizer["model"]["byte_fallback"] == true
}

/// Rebuilds the tokenizer as transformers 5 does, or leaves it as it is where transformers does. `name`: the folder, for messages.
///
/// Refuses a class of which it is not known here what transformers makes.
pub(super) fn rebuild(tokenizer: &mut Value, tokenizer_config: &Value, name: &str) -> Result<()> {
    let class = &tokenizer_config["tokenizer_class"];
    if class.is_null() || class.as_str().is_some_and(|class| AS_IT_STANDS.contains(&class)) {
        return Ok(());
    }
    if !rebuilds(tokenizer, tokenizer_config) {
        let class = shown(class);
        return Err(InputError::new(format!(
            "{name}: it is not known here what transformers 5 makes of the tokenizer class `{class}` with this tokenizer.json"
        ))
        .hint("set `model.tokenizer = \"file\"`, which takes tokenizer.json as it stands")
        .into());
    }
    // Unset is a prefix, and a legacy of false.
    let prefix = tokenizer_config["add_prefix_space"] != false;
    let scheme = match (prefix, tokenizer_config["legacy"] == true) {
        (false, _) => "never",
        (true, true) => "always",
        (true, false) => "first",
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    tokenizer["normalizer"] = Value::Null;
    tokenizer["pre_tokenizer"] =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
    tokenizer["decoder"] = json!({"type": "Sequence", "decoders": decoders});
    let model = &mut tokenizer["model"];
    for (key, value) in [("fuse_unk", Value::Bool(true)), ("ignore_merges", Value::Bool(false))] {
        model[key] = value;
    }
    for key in ["unk_token", "continuing_subword_prefix", "end_of_word_suffix"] {
        model[key] = Value::Null;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use crate::config::TokenizerRules;
    use crate::data::tokenizer::{Tokenizer, TokenizerFiles};

    const TOKENIZER: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/golden/models/tiny/tokenizer.json"
    ));

    fn tiny(class: &str, rules: TokenizerRules) -> anyhow::Result<Tokenizer> {
        let config = serde_json::json!({"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": class, "legacy": false});
        let config = serde_json::to_vec(&config).unwrap();
        let files = TokenizerFiles {
            tokenizer: TOKENIZER,
            tokenizer_config: Some(&config),
            rules,
            ..Default::default()
        };
        Tokenizer::from_bytes(&files, "tiny")
    }

    fn golden(path: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
        std::fs::read(folder.join(path)).unwrap()
    }

    /// Every text of the golden pairs by both rules: the golden file has the ids that transformers 5.23 gives where they differ.
    #[test]
    fn ids_are_those_of_tokenizer_json_or_of_transformers_5() {
        let tokens: Value = serde_json::from_slice(&golden("cases/tiny/tokens.json")).unwrap();
        let differing = &tokens["v5_llama_tokenizer_differs"];
        let ours = tiny("LlamaTokenizer", TokenizerRules::File).unwrap();
        let theirs = tiny("LlamaTokenizerFast", TokenizerRules::Transformers5).unwrap();
        let mut checked = 0;
        for line in String::from_utf8(golden("pairs.jsonl")).unwrap().lines() {
            let pair: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| pair[key].as_str().unwrap();
            for (which, text) in [
                ("prompt", text("prompt").to_owned()),
                ("prompt+chosen", text("prompt").to_owned() + text("chosen")),
                ("prompt+rejected", text("prompt").to_owned() + text("rejected")),
            ] {
                let differs =
                    &differing[text_of(&pair["id"])][which]["transformers5_LlamaTokenizer"];
                let file = ours.encode(&text, true).unwrap();
                let rebuilt = theirs.encode(&text, true).unwrap();
                if differs.is_null() {
                    assert_eq!(rebuilt, file, "{text:?}");
                } else {
                    let golden: Vec<u32> = serde_json::from_value(differs.clone()).unwrap();
                    assert_eq!(rebuilt, golden, "{text:?}");
                    assert_ne!(file, golden, "{text:?}");
                    checked += 1;
                }
                assert_eq!(
                    ours.differs_from_transformers5(&text).unwrap(),
                    !differs.is_null(),
                    "{text:?}"
                );
                assert!(!theirs.differs_from_transformers5(&text).unwrap());
                assert_eq!(theirs.encoder().encode(&text, true).unwrap(), rebuilt);
            }
        }
        assert_eq!(checked, 4);
        assert_eq!(theirs.decode(&theirs.encode("a b", true).unwrap(), true).unwrap(), "a b");
    }

    fn text_of(value: &Value) -> &str {
        value.as_str().unwrap()
    }

    #[test]
    fn another_class_is_taken_as_it_stands_or_refused() {
        let plain = tiny("PreTrainedTokenizerFast", TokenizerRules::Transformers5).unwrap();
        let file = tiny("PreTrainedTokenizerFast", TokenizerRules::File).unwrap();
        assert_eq!(plain.encode("a</s> b", true).unwrap(), file.encode("a</s> b", true).unwrap());
        assert!(!file.differs_from_transformers5("a</s> b").unwrap());
        let error = tiny("GemmaTokenizer", TokenizerRules::Transformers5).err().unwrap();
        assert!(error.to_string().contains("the tokenizer class `\"GemmaTokenizer\"`"), "{error}");
    }
}
