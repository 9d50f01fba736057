//! `generation_config.json`: which of its settings change the answers of transformers and are not read here.

use serde_json::{Map, Value};

use crate::disk::fields::{Known, Only, refuse_unknown};

/// Settings that are read, that options here decide, or that do not change a text. Others must have the value that changes nothing.
const KNOWN: &[(&str, Known)] = &[
    ("eos_token_id", Known::Any),
    ("bos_token_id", Known::Any),
    ("pad_token_id", Known::Any),
    ("decoder_start_token_id", Known::Any),
    ("_from_model_config", Known::Any),
    ("_commit_hash", Known::Any),
    ("transformers_version", Known::Any),
    ("do_sample", Known::Any),
    ("temperature", Known::Any),
    ("top_p", Known::Any),
    ("top_k", Known::Any),
    ("max_length", Known::Any),
    ("max_new_tokens", Known::Any),
    ("max_time", Known::Any),
    ("use_cache", Known::Any),
    ("cache_implementation", Known::Any),
    ("cache_config", Known::Any),
    ("return_dict_in_generate", Known::Any),
    ("return_legacy_cache", Known::Any),
    ("output_attentions", Known::Any),
    ("output_hidden_states", Known::Any),
    ("output_logits", Known::Any),
    ("output_scores", Known::Any),
    ("remove_invalid_values", Known::Any),
    ("renormalize_logits", Known::Any),
    ("early_stopping", Known::Any),
    ("length_penalty", Known::Any),
    ("num_return_sequences", Known::Any),
    ("num_assistant_tokens", Known::Any),
    ("num_assistant_tokens_schedule", Known::Any),
    ("assistant_confidence_threshold", Known::Any),
    ("assistant_early_exit", Known::Any),
    ("assistant_lookbehind", Known::Any),
    ("target_lookbehind", Known::Any),
    ("prompt_lookup_num_tokens", Known::Any),
    ("max_matching_ngram_size", Known::Any),
    ("prefill_chunk_size", Known::Any),
    ("is_assistant", Known::Any),
    ("num_beams", ONE),
    ("num_beam_groups", ONE),
    ("repetition_penalty", ONE),
    ("encoder_repetition_penalty", ONE),
    ("typical_p", ONE),
    ("diversity_penalty", ZERO),
    ("epsilon_cutoff", ZERO),
    ("eta_cutoff", ZERO),
    ("min_length", ZERO),
    ("no_repeat_ngram_size", ZERO),
    ("encoder_no_repeat_ngram_size", ZERO),
];
const ONE: Known = Known::OneOf(&[Only::Number(1.0)]);
const ZERO: Known = Known::OneOf(&[Only::Number(0.0)]);

/// A line that names the settings that are set and not read; none if there is none.
pub(super) fn unread(config: &Value) -> Option<String> {
    let fields = config.as_object()?;
    let is_unread = |(name, value): &(&String, &Value)| {
        let one = Map::from_iter([((*name).clone(), (*value).clone())]);
        refuse_unknown("", &one, &[KNOWN]).is_err()
    };
    let names: Vec<_> =
        fields.iter().filter(is_unread).map(|(name, _)| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| {
        format!(
            "generation_config.json: {} not read, with which transformers generates other answers",
            match names.len() {
                1 => format!("{} is", names[0]),
                _ => format!("{} are", names.join(", ")),
            }
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_changes_answers_and_is_not_read_is_named() {
        let llama = json!({
            "_from_model_config": true, "bos_token_id": 1, "eos_token_id": [2, 3], "do_sample": true, "temperature": 0.6, "top_p": 0.9,
            "max_length": 4096, "transformers_version": "4.31.0", "repetition_penalty": 1.0, "no_repeat_ngram_size": 0
        });
        assert_eq!(unread(&llama), None);
        assert_eq!(unread(&json!({"suppress_tokens": null, "a_kind_of_2027": false})), None);
        let line = unread(&json!({"repetition_penalty": 1.05})).unwrap();
        assert!(
            line.starts_with("generation_config.json: `repetition_penalty` is not read"),
            "{line}"
        );
        let line =
            unread(&json!({"a_kind_of_2027": 1, "suppress_tokens": [5], "min_p": 0.1})).unwrap();
        assert!(
            line.contains("`a_kind_of_2027`, `suppress_tokens`, `min_p` are not read"),
            "{line}"
        );
    }
}
