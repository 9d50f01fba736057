//! `tokenizer_config.json`: the fields that are known, and those that change which special tokens go around a text.

use anyhow::Result;
use serde_json::{Map, Value};
use tokenizers::processors::template::TemplateProcessing;

use crate::disk::fields::{Known, Only, refuse_unknown};
use crate::error::InputError;

/// The fields of which it is known what they do to token ids and to the text of a template.
const FIELDS: &[(&str, Known)] = &[
    // Read here.
    ("tokenizer_class", Known::Any),
    ("added_tokens_decoder", Known::Any),
    ("chat_template", Known::Any),
    ("add_bos_token", Known::Any),
    ("add_eos_token", Known::Any),
    // Read where transformers 5 rebuilds a tokenizer.
    ("legacy", Known::Any),
    ("add_prefix_space", Known::Any),
    // Tokens that tokenizer.json has.
    ("additional_special_tokens", Known::Any),
    ("extra_special_tokens", Known::Any),
    ("model_specific_special_tokens", Known::Any),
    ("chat_control_tokens", Known::Any),
    ("special_tokens", Known::Any),
    ("added_tokens", Known::Any),
    // Lengths, padding and the side that is cut: the limits here are those of the configuration.
    ("model_max_length", Known::Any),
    ("max_length", Known::Any),
    ("max_len", Known::Any),
    ("max_seq_length", Known::Any),
    ("n_positions", Known::Any),
    ("stride", Known::Any),
    ("truncation", Known::Any),
    ("truncation_side", Known::Any),
    ("truncation_strategy", Known::Any),
    ("padding", Known::Any),
    ("padding_side", Known::Any),
    ("pad_to_multiple_of", Known::Any),
    ("pad_token_type_id", Known::Any),
    ("return_token_type_ids", Known::Any),
    ("return_tensors", Known::Any),
    ("model_input_names", Known::Any),
    // Ids to text alone.
    ("clean_up_tokenization_spaces", Known::Any),
    ("spaces_between_special_tokens", Known::Any),
    ("errors", Known::Any),
    // The class of transformers and where its files are.
    ("name_or_path", Known::Any),
    ("_name_or_path", Known::Any),
    ("_commit_hash", Known::Any),
    ("auto_map", Known::Any),
    ("backend", Known::Any),
    ("device_map", Known::Any),
    ("from_slow", Known::Any),
    ("init_inputs", Known::Any),
    ("is_local", Known::Any),
    ("local_files_only", Known::Any),
    ("merges_file", Known::Any),
    ("processor_class", Known::Any),
    ("slow_tokenizer_class", Known::Any),
    ("special_tokens_map_file", Known::Any),
    ("tokenizer_file", Known::Any),
    ("tokenizer_type", Known::Any),
    ("transformers_version", Known::Any),
    ("trust_remote_code", Known::Any),
    ("use_fast", Known::Any),
    ("vocab_file", Known::Any),
    // The prompt of a template that transformers had of its own once; what the text of an answer is parsed with.
    ("use_default_system_prompt", Known::Any),
    ("response_schema", Known::Any),
    ("tool_parser_type", Known::Any),
    // What gives other ids.
    ("sp_model_kwargs", Known::Unset),
    ("split_special_tokens", Known::Unset),
    ("fix_mistral_regex", Known::Unset),
    ("do_lower_case", Known::Unset),
    ("add_dummy_prefix", Known::OneOf(&[Only::Flag(true)])),
];

/// Refuses a field that is set and unknown. One that ends with `_token` or `_token_id` names a token. `name`: the folder, for messages.
pub(super) fn check(tokenizer_config: &Value, name: &str) -> Result<()> {
    let file = format!("{name}/tokenizer_config.json");
    match tokenizer_config {
        Value::Null => Ok(()),
        Value::Object(fields) => refuse_unknown_beside(&[], fields, &file),
        _ => Err(InputError::new(format!("{file}: expected an object")).into()),
    }
}

/// Refuses a field of a `tokenizer_config.json` that is set and known neither here nor to `own`, whose rows count first.
pub fn refuse_unknown_beside(
    own: &[(&str, Known)],
    fields: &Map<String, Value>,
    file: &str,
) -> Result<()> {
    let names_token =
        |name: &str| ["_token", "_token_id"].iter().any(|ending| name.ends_with(ending));
    let others = fields
        .iter()
        .filter(|(name, _)| FIELDS.iter().any(|(known, _)| known == name) || !names_token(name));
    let others = others.map(|(name, value)| (name.clone(), value.clone())).collect();
    Ok(refuse_unknown(file, &others, &[own, FIELDS])?)
}

/// A token that marks the beginning or the end of a sequence.
#[derive(Debug, Clone)]
pub(super) struct SpecialToken {
    pub(super) id: u32,
    pub(super) text: String,
}

/// Puts BOS and EOS around texts as `add_bos_token` and `add_eos_token` say, if there is one of them: it then decides about both, as in
/// transformers 5. Without either `tokenizer.json` does. Returns a note where the two differ.
pub(super) fn around(
    tokenizer: &mut tokenizers::Tokenizer,
    tokenizer_config: &Value,
    bos: Option<&SpecialToken>,
    eos: &SpecialToken,
) -> Result<Option<String>> {
    let flags = [&tokenizer_config["add_bos_token"], &tokenizer_config["add_eos_token"]];
    if flags.iter().all(|flag| flag.is_null()) {
        return Ok(None);
    }
    let [add_bos, add_eos] = flags.map(|flag| *flag == true);
    let (bos, eos) = (bos.filter(|_| add_bos), Some(eos).filter(|_| add_eos));
    let ids = |tokenizer: &tokenizers::Tokenizer, special| -> Result<Vec<u32>> {
        let encoding = tokenizer.encode_fast("a", special).map_err(anyhow::Error::from_boxed)?;
        Ok(encoding.get_ids().to_vec())
    };
    let (before, alone) = (ids(tokenizer, true)?, ids(tokenizer, false)?);
    let id = |token: Option<&SpecialToken>| token.map(|token| token.id);
    let expected: Vec<u32> = id(bos).into_iter().chain(alone).chain(id(eos)).collect();
    if before == expected {
        return Ok(None);
    }
    let word = |token: Option<&SpecialToken>| token.map(|token| token.text.clone());
    let single: Vec<String> =
        word(bos).into_iter().chain(["$A".to_owned()]).chain(word(eos)).collect();
    let special: Vec<(String, u32)> =
        [bos, eos].into_iter().flatten().map(|token| (token.text.clone(), token.id)).collect();
    let processor = TemplateProcessing::builder()
        .try_single(single)
        .map_err(anyhow::Error::msg)?
        .special_tokens(special)
        .build()?;
    tokenizer.with_post_processor(Some(processor));
    let added = match (bos, eos) {
        (None, None) => "none",
        (Some(_), None) => "BOS",
        (None, Some(_)) => "EOS",
        (Some(_), Some(_)) => "BOS and EOS",
    };
    Ok(Some(format!(
        "special tokens around a text: {added}, as tokenizer_config.json says in `add_bos_token` and `add_eos_token`; tokenizer.json has others"
    )))
}

#[cfg(test)]
mod tests {
    use crate::data::tokenizer::tests::changed;

    fn ids(config: &str) -> (Vec<u32>, bool) {
        let config = format!(r#"{{"bos_token": "<s>", "eos_token": "</s>"{config}}}"#);
        let tokenizer = changed(|_| (), &config).unwrap();
        let ids = tokenizer.encode("", true).unwrap();
        assert_eq!(tokenizer.encoder().encode("", true).unwrap(), ids);
        (ids, tokenizer.note().is_some())
    }

    /// As transformers 5.23: with either field, both decide; tokenizer.json has BOS alone.
    #[test]
    fn the_fields_decide_about_bos_and_eos_where_there_is_one() {
        assert_eq!(ids(""), (vec![1], false));
        assert_eq!(ids(r#", "add_bos_token": null"#), (vec![1], false));
        assert_eq!(ids(r#", "add_bos_token": true"#), (vec![1], false));
        assert_eq!(ids(r#", "add_bos_token": true, "add_eos_token": false"#), (vec![1], false));
        assert_eq!(ids(r#", "add_bos_token": false"#), (vec![], true));
        assert_eq!(ids(r#", "add_bos_token": true, "add_eos_token": true"#), (vec![1, 2], true));
        assert_eq!(ids(r#", "add_eos_token": true"#), (vec![2], true));
    }

    #[test]
    fn a_field_that_is_set_and_unknown_is_refused_by_name() {
        for (field, refused) in [
            (r#""quantum_merge": true"#, true),
            (r#""quantum_merge": false"#, false),
            (r#""quantum_merge": null"#, false),
            (r#""split_special_tokens": true"#, true),
            (r#""sp_model_kwargs": {"enable_sampling": true}"#, true),
            (r#""sp_model_kwargs": {}"#, false),
            (r#""image_token": "<image>""#, false),
            (
                r#""legacy": false, "model_max_length": 1e30, "clean_up_tokenization_spaces": true"#,
                false,
            ),
        ] {
            let config = format!(r#"{{"eos_token": "</s>", {field}}}"#);
            let error = changed(|_| (), &config).err().map(|error| error.to_string());
            let name = field.split('"').nth(1).unwrap();
            assert_eq!(error.is_some(), refused, "{field}: {error:?}");
            if let Some(error) = error {
                assert!(
                    error.starts_with(&format!("tiny/tokenizer_config.json: `{name}`")),
                    "{error}"
                );
            }
        }
    }
}
