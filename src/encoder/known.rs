//! The fields of a sentence-transformers folder that are known, file by file, and the values of them that are computed.

use crate::disk::fields::{Known, Only};

/// Of a module in `modules.json`.
pub(super) const MODULE: &[(&str, Known)] = &[
    ("idx", Known::Any),
    ("name", Known::Any),
    ("path", Known::Any),
    ("type", Known::Any),
    ("kwargs", Known::Unset),
];

/// Of `config_sentence_transformers.json`. Prompts count only where one is the default.
pub(super) const SETTINGS: &[(&str, Known)] = &[
    ("__version__", Known::Any),
    ("model_type", Known::OneOf(&[Only::Word("SentenceTransformer")])),
    ("prompts", Known::Any),
    ("default_prompt_name", Known::Unset),
    ("similarity_fn_name", Known::Any),
    ("truncate_dim", Known::Unset),
];

/// Of `sentence_bert_config.json`.
pub(super) const TRANSFORMER: &[(&str, Known)] = &[
    ("max_seq_length", Known::Any),
    ("do_lower_case", Known::Any),
    ("model_args", Known::Unset),
    ("model_kwargs", Known::Unset),
    ("tokenizer_args", Known::Unset),
    ("processor_kwargs", Known::Unset),
    ("config_args", Known::Unset),
    ("config_kwargs", Known::Unset),
    ("transformer_task", Known::OneOf(&[Only::Word("feature-extraction")])),
    ("module_output_name", Known::OneOf(&[Only::Word("token_embeddings")])),
    ("modality_config", Known::Any),
    ("unpad_inputs", Known::Any),
    ("processing_kwargs", Known::Unset),
    ("query_length", Known::Unset),
    ("document_length", Known::Unset),
    ("query_expansion", Known::Unset),
];

/// Of the `tokenizer_config.json` of a BERT, beside those of every tokenizer: `tokenizer.json` has what they were made into.
pub(super) const TOKENIZER: &[(&str, Known)] = &[
    ("do_lower_case", Known::Any),
    ("do_basic_tokenize", Known::Any),
    ("strip_accents", Known::Any),
    ("tokenize_chinese_chars", Known::Any),
    ("never_split", Known::Any),
];

/// Of the `config.json` of a BERT, beside those of every model.
pub(super) const BERT: &[(&str, Known)] = &[
    ("model_type", Known::Any),
    ("vocab_size", Known::Any),
    ("hidden_size", Known::Any),
    ("hidden_act", Known::Any),
    ("intermediate_size", Known::Any),
    ("num_hidden_layers", Known::Any),
    ("num_attention_heads", Known::Any),
    ("max_position_embeddings", Known::Any),
    ("type_vocab_size", Known::Any),
    ("layer_norm_eps", Known::Any),
    ("hidden_dropout_prob", Known::Any),
    ("attention_probs_dropout_prob", Known::Any),
    ("gradient_checkpointing", Known::Any),
    ("tie_word_embeddings", Known::Any),
    ("position_embedding_type", Known::OneOf(&[Only::Word("absolute")])),
    ("is_decoder", Known::Unset),
    ("add_cross_attention", Known::Unset),
    ("is_encoder_decoder", Known::Unset),
    ("pruned_heads", Known::Unset),
    ("quantization_config", Known::Unset),
    ("chunk_size_feed_forward", Known::Any),
];

/// Of a Pooling's `config.json`; the modes themselves are read one by one.
pub(super) const POOLING: &[(&str, Known)] = &[
    ("word_embedding_dimension", Known::Any),
    ("embedding_dimension", Known::Any),
    ("pooling_mode", Known::Any),
    ("pooling_mode_cls_token", Known::Any),
    ("pooling_mode_mean_tokens", Known::Any),
    ("pooling_mode_max_tokens", Known::Any),
    ("pooling_mode_mean_sqrt_len_tokens", Known::Any),
    ("pooling_mode_weightedmean_tokens", Known::Any),
    ("pooling_mode_lasttoken", Known::Any),
    ("include_prompt", Known::Any),
];

/// Of a Normalize's `config.json`, where it has one.
pub(super) const NORMALIZE: &[(&str, Known)] = &[
    ("module_input_name", Known::OneOf(&[Only::Word("sentence_embedding")])),
    ("module_output_name", Known::OneOf(&[Only::Word("sentence_embedding")])),
];

/// Of a Dense module's `config.json`.
pub(super) const DENSE: &[(&str, Known)] = &[
    ("in_features", Known::Any),
    ("out_features", Known::Any),
    ("bias", Known::Any),
    ("activation_function", Known::Any),
    ("use_residual", Known::Unset),
    ("module_input_name", Known::OneOf(&[Only::Word("sentence_embedding")])),
    ("module_output_name", Known::OneOf(&[Only::Word("sentence_embedding")])),
];
