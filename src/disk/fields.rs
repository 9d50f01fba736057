//! Fields of JSON files that other programs wrote: known by name with the values computed here; any other that is set is refused.

use serde_json::{Map, Value};

use crate::error::{InputError, shown};

/// What may stand in a known field. A missing field and null are always allowed.
#[derive(Debug, Clone, Copy)]
pub enum Known {
    /// Anything: its own code reads it, or it changes nothing that is computed here.
    Any,
    /// `false` or empty. Any other value asks for what is not computed here.
    Unset,
    /// One of these.
    OneOf(&'static [Only]),
}

/// A value of a field.
#[derive(Debug, Clone, Copy)]
pub enum Only {
    /// A string.
    Word(&'static str),
    /// A boolean.
    Flag(bool),
    /// A number, however it is written.
    Number(f64),
}

impl Only {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Word(word) => value == word,
            Self::Flag(flag) => value == &Value::Bool(flag),
            Self::Number(number) => value.as_f64().is_some_and(|x| x.total_cmp(&number).is_eq()),
        }
    }

    fn written(self) -> String {
        match self {
            Self::Word(word) => format!("`\"{word}\"`"),
            Self::Flag(flag) => format!("`{flag}`"),
            Self::Number(number) => format!("`{number:?}`"),
        }
    }
}

/// Fields of a `config.json` of transformers that change nothing a model computes: where the checkpoint comes from, ids that the
/// tokenizer decides here, how weights are stored and shared, heads for other tasks, and settings of generation, which older versions
/// kept there.
pub const WITHOUT_EFFECT: &[(&str, Known)] = &[
    ("architectures", Known::Any),
    ("transformers_version", Known::Any),
    ("_name_or_path", Known::Any),
    ("name_or_path", Known::Any),
    ("_commit_hash", Known::Any),
    ("auto_map", Known::Any),
    ("license", Known::Any),
    ("tags", Known::Any),
    ("torch_dtype", Known::Any),
    ("dtype", Known::Any),
    ("use_bfloat16", Known::Any),
    ("torchscript", Known::Any),
    ("tf_legacy_loss", Known::Any),
    ("use_cache", Known::Any),
    ("initializer_range", Known::Any),
    ("pretraining_tp", Known::Any),
    ("_attn_implementation", Known::Any),
    ("_attn_implementation_autoset", Known::Any),
    ("attn_implementation", Known::Any),
    ("_attn_implementation_internal", Known::Any),
    ("use_flash_attn", Known::Any),
    ("_flash_attn_2_enabled", Known::Any),
    ("bos_token_id", Known::Any),
    ("eos_token_id", Known::Any),
    ("pad_token_id", Known::Any),
    ("sep_token_id", Known::Any),
    ("unk_token_id", Known::Any),
    ("decoder_start_token_id", Known::Any),
    ("tokenizer_class", Known::Any),
    ("model_max_length", Known::Any),
    ("max_sequence_length", Known::Any),
    ("chunk_size_feed_forward", Known::Any),
    ("output_attentions", Known::Any),
    ("output_hidden_states", Known::Any),
    ("return_dict", Known::Any),
    ("is_decoder", Known::Any),
    ("tie_encoder_decoder", Known::Any),
    ("cross_attention_hidden_size", Known::Any),
    ("base_model_tp_plan", Known::Any),
    ("base_model_pp_plan", Known::Any),
    ("base_model_ep_plan", Known::Any),
    ("base_model_fsdp_plan", Known::Any),
    ("finetuning_task", Known::Any),
    ("id2label", Known::Any),
    ("label2id", Known::Any),
    ("num_labels", Known::Any),
    ("problem_type", Known::Any),
    ("task_specific_params", Known::Any),
    ("prefix", Known::Any),
    ("classifier_dropout", Known::Any),
    ("pooler_dropout", Known::Any),
    ("max_length", Known::Any),
    ("max_new_tokens", Known::Any),
    ("min_length", Known::Any),
    ("do_sample", Known::Any),
    ("early_stopping", Known::Any),
    ("num_beams", Known::Any),
    ("num_beam_groups", Known::Any),
    ("diversity_penalty", Known::Any),
    ("temperature", Known::Any),
    ("top_k", Known::Any),
    ("top_p", Known::Any),
    ("typical_p", Known::Any),
    ("repetition_penalty", Known::Any),
    ("length_penalty", Known::Any),
    ("no_repeat_ngram_size", Known::Any),
    ("encoder_no_repeat_ngram_size", Known::Any),
    ("bad_words_ids", Known::Any),
    ("num_return_sequences", Known::Any),
    ("output_scores", Known::Any),
    ("return_dict_in_generate", Known::Any),
    ("forced_bos_token_id", Known::Any),
    ("forced_eos_token_id", Known::Any),
    ("remove_invalid_values", Known::Any),
    ("exponential_decay_length_penalty", Known::Any),
    ("suppress_tokens", Known::Any),
    ("begin_suppress_tokens", Known::Any),
    ("unsloth_version", Known::Any),
    ("unsloth_fixed", Known::Any),
    ("max_window_layers", Known::Any),
    ("neftune_noise_alpha", Known::Any),
];

/// Refuses the first of `fields` that `known` does not list, or that has another value than it lists; `file` names the file in the
/// error. Of two rows for one name the first counts.
///
/// A field that no list knows may be null, `false` or empty: the program that wrote it then asks for nothing.
pub fn refuse_unknown(
    file: &str,
    fields: &Map<String, Value>,
    known: &[&[(&str, Known)]],
) -> Result<(), InputError> {
    for (name, value) in fields {
        let row = known.iter().copied().flatten().find(|(known, _)| known == name);
        let expected = match row.map(|(_, known)| *known) {
            Some(Known::Any) => continue,
            Some(Known::OneOf(allowed))
                if value.is_null() || allowed.iter().any(|a| a.is(value)) =>
            {
                continue;
            }
            Some(Known::OneOf(allowed)) => {
                allowed.iter().map(|only| only.written()).collect::<Vec<_>>().join(" or ")
            }
            _ if is_unset(value) => continue,
            Some(Known::Unset) => "unset, `false` or empty".to_owned(),
            None => {
                let value = shown(value);
                return Err(InputError::new(format!(
                    "{file}: `{name}` is `{value}`, and this version does not know that field"
                ))
                .hint("if it changes nothing that is computed, remove the field"));
            }
        };
        return Err(InputError::new(format!(
            "{file}: `{name}` must be {expected} to be computed here, got `{}`",
            shown(value)
        )));
    }
    Ok(())
}

/// Whether a field of this value asks for nothing.
pub fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KNOWN: &[(&str, Known)] = &[
        ("name", Known::Any),
        ("pattern", Known::Unset),
        ("act", Known::OneOf(&[Only::Word("silu"), Only::Word("swish")])),
        ("drop", Known::OneOf(&[Only::Number(0.0)])),
        ("causal", Known::OneOf(&[Only::Flag(true)])),
    ];

    fn refused(fields: Value) -> Option<String> {
        let error = refuse_unknown("a.json", fields.as_object().unwrap(), &[&[], KNOWN]).err();
        error.map(|error| error.to_string())
    }

    #[test]
    fn known_values_and_unset_fields_are_accepted() {
        for fields in [
            json!({}),
            json!({"name": {"a": 1}, "act": "swish", "drop": 0, "causal": true}),
            json!({"name": null, "pattern": null, "act": null, "drop": null, "causal": null}),
            json!({"pattern": {}, "drop": 0.0}),
            json!({"new": null, "newer": false, "newest": "", "list": [], "map": {}}),
        ] {
            assert_eq!(refused(fields.clone()), None, "{fields}");
        }
    }

    #[test]
    fn an_unknown_field_that_is_set_is_refused_by_name() {
        for value in [json!(true), json!(0), json!("x"), json!([false]), json!({"a": null})] {
            let message = refused(json!({"name": 1, "new": value})).unwrap();
            assert!(message.starts_with("a.json: `new` is `"), "{message}");
        }
    }

    #[test]
    fn another_value_of_a_known_field_is_refused_with_those_that_are_computed() {
        for (fields, message) in [
            (
                json!({"act": "gelu"}),
                "a.json: `act` must be `\"silu\"` or `\"swish\"` to be computed here, got `\"gelu\"`",
            ),
            (
                json!({"act": ""}),
                "a.json: `act` must be `\"silu\"` or `\"swish\"` to be computed here, got `\"\"`",
            ),
            (
                json!({"causal": false}),
                "a.json: `causal` must be `true` to be computed here, got `false`",
            ),
            (json!({"drop": 0.1}), "a.json: `drop` must be `0.0` to be computed here, got `0.1`"),
            (json!({"drop": "0"}), "a.json: `drop` must be `0.0` to be computed here, got `\"0\"`"),
            (
                json!({"pattern": {"q": 4}}),
                "a.json: `pattern` must be unset, `false` or empty to be computed here, got `{\"q\":4}`",
            ),
            (
                json!({"pattern": 0}),
                "a.json: `pattern` must be unset, `false` or empty to be computed here, got `0`",
            ),
        ] {
            assert_eq!(refused(fields).as_deref(), Some(message));
        }
    }
}
