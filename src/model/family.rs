//! Families of decoders as rows of a table, by the `model_type` of a checkpoint, and the names of a checkpoint's tensors.

use serde_json::Value;

use crate::config::Projection;

/// What `model_type` decides. What `config.json` states itself is in [`super::shape::Shape`].
#[derive(Debug)]
pub(super) struct Family {
    /// `model_type` of `config.json`.
    pub(super) model_type: &'static str,
    /// Name in messages.
    pub(super) name: &'static str,
    /// Fields of which one value is computed and all others are refused; a missing field means that value.
    pub(super) only: &'static [(&'static str, Only)],
    /// Fields that are refused unless missing or null.
    pub(super) absent: &'static [&'static str],
    /// Values of missing fields.
    pub(super) defaults: Defaults,
}

/// The one value of a field that is computed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Only {
    /// A string.
    Word(&'static str),
    /// A boolean.
    Flag(bool),
    /// A number, however it is written.
    Number(f64),
}

/// What transformers assumes where `config.json` has no such field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    /// `rms_norm_eps`.
    pub(super) rms_norm_eps: f64,
    /// `rope_theta`.
    pub(super) rope_theta: f64,
    /// `max_position_embeddings`.
    pub(super) max_positions: usize,
    /// `tie_word_embeddings`.
    pub(super) tied: bool,
}

/// The families that are computed; any other `model_type` is refused by name.
///
/// A new row needs its defaults, and what it computes beyond Llama leaves `only` or `absent` for a field of
/// [`super::shape::Shape`]:
/// - Mistral: the window that attention is cut to, a later `start` of each row in [`crate::ops::attention::Mask`];
/// - Qwen2: biases of q, k and v, a second field of [`super::layer::Linear`], read where its weight is;
/// - Qwen3: norms of each head of q and k, two weights of [`super::layer::Layer`] applied before RoPE, with what their
///   backward pass reads in [`super::saved::Saved`].
///
/// The tensors of all of them have the names below.
pub(super) const FAMILIES: &[Family] = &[Family {
    model_type: "llama",
    name: "Llama",
    only: &[
        ("hidden_act", Only::Word("silu")),
        ("attention_bias", Only::Flag(false)),
        ("mlp_bias", Only::Flag(false)),
        ("attention_dropout", Only::Number(0.0)),
        ("partial_rotary_factor", Only::Number(1.0)),
    ],
    absent: &["quantization_config", "sliding_window"],
    defaults: Defaults {
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        max_positions: 2048,
        tied: false,
    },
}];

impl From<Only> for Value {
    fn from(only: Only) -> Self {
        match only {
            Only::Word(word) => word.into(),
            Only::Flag(flag) => flag.into(),
            Only::Number(number) => number.into(),
        }
    }
}

/// Name of the embedding, `[vocab, hidden]`.
pub(super) const EMBED_TOKENS: &str = "model.embed_tokens.weight";
/// Name of the final norm, `[hidden]`.
pub(super) const NORM: &str = "model.norm.weight";
/// Name of the output layer, `[vocab, hidden]`; a tied checkpoint has none.
pub(super) const LM_HEAD: &str = "lm_head.weight";

/// Name of the weight of `part` of a decoder layer, counted from 0.
pub(super) fn layer_weight(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}.weight")
}

/// Name of a projection's module.
pub(super) fn projection_module(layer: usize, projection: Projection) -> String {
    format!("model.layers.{layer}.{}.{}", projection.module(), projection.name())
}

/// Name of a projection's weight, `[out, in]`.
pub(super) fn projection_weight(layer: usize, projection: Projection) -> String {
    format!("{}.weight", projection_module(layer, projection))
}
