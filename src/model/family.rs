//! Families of decoders as rows of a table, by the `model_type` of a checkpoint, and the names of a checkpoint's tensors.

use crate::config::Projection;
use crate::disk::fields::{Known, Only};

/// What `model_type` decides. What `config.json` states itself is in [`super::shape::Shape`].
#[derive(Debug)]
pub(super) struct Family {
    /// `model_type` of `config.json`.
    pub(super) model_type: &'static str,
    /// Name in messages.
    pub(super) name: &'static str,
    /// Fields beyond [`READ`] and those without effect, and the values of them that are computed.
    pub(super) fields: &'static [(&'static str, Known)],
    /// Values of missing fields.
    pub(super) defaults: Defaults,
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
/// A new row needs its defaults, and what it computes beyond Llama leaves `fields` for a field of
/// [`super::shape::Shape`]:
/// - Mistral: the window that attention is cut to, a later `start` of each row in [`crate::ops::attention::Mask`];
/// - Qwen2: biases of q, k and v alone, in [`super::shape::Shape::has_bias`];
/// - Qwen3: norms of each head of q and k, two weights of [`super::layer::Layer`] applied before RoPE, with what their
///   backward pass reads in [`super::saved::Saved`].
///
/// The tensors of all of them have the names below.
pub(super) const FAMILIES: &[Family] = &[Family {
    model_type: "llama",
    name: "Llama",
    fields: &[
        ("hidden_act", Known::OneOf(&[Only::Word("silu"), Only::Word("swish")])),
        ("attention_bias", Known::Any),
        ("mlp_bias", Known::Any),
        ("attention_dropout", Known::Any),
        ("hidden_dropout", Known::OneOf(&[Only::Number(0.0)])),
        ("embd_pdrop", Known::OneOf(&[Only::Number(0.0)])),
        ("resid_pdrop", Known::OneOf(&[Only::Number(0.0)])),
        ("partial_rotary_factor", Known::Any),
        ("is_causal", Known::OneOf(&[Only::Flag(true)])),
        ("quantization_config", Known::Unset),
        ("sliding_window", Known::Unset),
        ("use_sliding_window", Known::Unset),
        ("pruned_heads", Known::Unset),
        ("add_cross_attention", Known::Unset),
        ("is_encoder_decoder", Known::Unset),
    ],
    defaults: Defaults {
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        max_positions: 2048,
        tied: false,
    },
}];

/// Fields of a `config.json` that [`super::shape::Shape`] reads, for every family.
pub(super) const READ: &[(&str, Known)] = &[
    ("model_type", Known::Any),
    ("vocab_size", Known::Any),
    ("hidden_size", Known::Any),
    ("intermediate_size", Known::Any),
    ("num_hidden_layers", Known::Any),
    ("num_attention_heads", Known::Any),
    ("num_key_value_heads", Known::Any),
    ("head_dim", Known::Any),
    ("rms_norm_eps", Known::Any),
    ("rope_parameters", Known::Any),
    ("rope_scaling", Known::Any),
    ("rope_theta", Known::Any),
    ("original_max_position_embeddings", Known::Any),
    ("max_position_embeddings", Known::Any),
    ("tie_word_embeddings", Known::Any),
    ("layer_types", Known::Any),
];

/// Name of the embedding, `[vocab, hidden]`.
pub(super) const EMBED_TOKENS: &str = "model.embed_tokens.weight";
/// What stands before every name but the output layer's.
pub(super) const PREFIX: &str = "model.";
/// What stands in the names of the decoder layers after the model's prefix.
pub(super) const LAYERS: &str = "layers.";
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

/// The names of all modules of a model of so many layers, in the order in which PyTorch lists them, and which projection each is.
pub(super) fn modules(layers: usize) -> Vec<(String, Option<(usize, Projection)>)> {
    let mut all: Vec<(String, Option<(usize, Projection)>)> =
        ["model", "model.embed_tokens", "model.layers"].map(|name| (name.to_owned(), None)).into();
    for layer in 0..layers {
        let module = |part: &str| (format!("model.layers.{layer}{part}"), None);
        all.push(module(""));
        for (part, others) in [
            ("self_attn", &[][..]),
            ("mlp", &[".mlp.act_fn", ".input_layernorm", ".post_attention_layernorm"]),
        ] {
            all.push(module(&format!(".{part}")));
            let here = Projection::ALL.into_iter().filter(|projection| projection.module() == part);
            all.extend(here.map(|p| (projection_module(layer, p), Some((layer, p)))));
            all.extend(others.iter().map(|part| module(part)));
        }
    }
    all.extend(["model.norm", "model.rotary_emb", "lm_head"].map(|name| (name.to_owned(), None)));
    all
}

/// Name of a projection's bias, `[out]`.
pub(super) fn projection_bias(layer: usize, projection: Projection) -> String {
    format!("{}.bias", projection_module(layer, projection))
}

/// Name of a projection's weight, `[out, in]`.
pub(super) fn projection_weight(layer: usize, projection: Projection) -> String {
    format!("{}.weight", projection_module(layer, projection))
}
