//! `config.json` of a Llama checkpoint, in Llama-2's form and in the newer one with `rope_parameters`.
//!
//! Whatever would change the numbers and is not computed here is refused by name.

use anyhow::Result;
use candle_core::{DType, Device};
use serde_json::{Map, Value};

use super::rotary::{Rope, RopeScaling, Rotary};
use crate::error::{InputError, shown};
use crate::ops::attention::Heads;

/// The shape of a decoder, and nothing else of `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward network.
    pub intermediate: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads, key/value heads and their width.
    pub heads: Heads,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Rotary position embedding.
    pub rope: Rope,
    /// The output layer is the embedding.
    pub tied: bool,
    /// Positions the checkpoint was made for.
    pub max_positions: usize,
}

/// The most that each size may be: tenfold what any Llama has and more, and no product of them overflows 60 bits.
const MOST: [(&str, u64); 7] = [
    ("vocab_size", 1 << 24),
    ("hidden_size", 1 << 20),
    ("intermediate_size", 1 << 22),
    ("num_hidden_layers", 1 << 12),
    ("num_attention_heads", 1 << 12),
    ("num_key_value_heads", 1 << 12),
    ("head_dim", 1 << 12),
];

/// Reads one `config.json`, naming the file in every complaint.
struct Reader<'a> {
    file: &'a str,
    fields: &'a Map<String, Value>,
}

impl Reader<'_> {
    fn wrong(&self, key: &str, expected: &str, found: &Value) -> InputError {
        let found = shown(found);
        InputError::new(format!("{}: `{key}` must be {expected}, got `{found}`", self.file))
    }

    fn present(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        let Some(value) = self.present(key) else { return Ok(default) };
        let known = MOST.iter().find(|(known, _)| *known == key);
        let most = known.map_or(u64::from(u32::MAX), |(_, most)| *most);
        match value.as_u64() {
            Some(n) if (1..=most).contains(&n) => Ok(n as usize),
            _ => Err(self.wrong(key, &format!("a whole number in 1..={most}"), value).into()),
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        if self.present(key).is_none() {
            return Err(InputError::new(format!("{}: `{key}` is missing", self.file))
                .hint("is this the folder of a Llama checkpoint?")
                .into());
        }
        self.size_or(key, 0)
    }

    fn positive_or(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.present(key) else { return Ok(default) };
        value
            .as_f64()
            .filter(|x| x.is_finite() && *x > 0.0)
            .ok_or_else(|| self.wrong(key, "a positive number", value).into())
    }

    fn positive(&self, key: &str) -> Result<f64> {
        match self.positive_or(key, 0.0)? {
            0.0.. if self.present(key).is_some() => self.positive_or(key, 0.0),
            _ => Err(InputError::new(format!("{}: `{key}` is missing", self.file)).into()),
        }
    }

    /// Refuses every value but `allowed`, which is also what a missing key means.
    fn only(&self, key: &str, allowed: &Value) -> Result<()> {
        match self.present(key) {
            Some(value)
                if value != allowed
                    && value
                        .as_f64()
                        .zip(allowed.as_f64())
                        .is_none_or(|(a, b)| a.total_cmp(&b).is_ne()) =>
            {
                let message = format!(
                    "{}: `{key}` is `{}`, and only `{allowed}` is computed here",
                    self.file,
                    shown(value)
                );
                Err(InputError::new(message).into())
            }
            _ => Ok(()),
        }
    }
}

impl Shape {
    /// The angles of a model of this shape that computes in `dtype` on `device`.
    pub fn rotary(&self, dtype: DType, device: &Device) -> Rotary {
        Rotary::new(self.rope, self.heads.head_dim, dtype, device)
    }

    /// Parses the text of `config.json`; `file` names it in errors.
    ///
    /// Refuses: a `model_type` other than `llama`, another activation, biases, quantised weights, attention dropout, and RoPE
    /// variants other than the default, `linear` and `llama3`.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text)
            .map_err(|e| InputError::new(format!("{file}: not valid JSON: {e}")))?;
        let Value::Object(fields) = &value else {
            return Err(InputError::new(format!("{file}: expected a JSON object")).into());
        };
        let read = Reader { file, fields };
        match read.present("model_type") {
            Some(Value::String(kind)) if kind == "llama" => {}
            other => {
                let found = other.map_or("nothing".to_owned(), |v| format!("`{}`", shown(v)));
                let message = format!("{file}: `model_type` must be `\"llama\"`, got {found}");
                return Err(InputError::new(message)
                    .hint("this program trains models of the Llama family only")
                    .into());
            }
        }
        read.only("hidden_act", &Value::from("silu"))?;
        read.only("attention_bias", &Value::from(false))?;
        read.only("mlp_bias", &Value::from(false))?;
        read.only("attention_dropout", &Value::from(0.0))?;
        read.only("partial_rotary_factor", &Value::from(1.0))?;
        for key in ["quantization_config", "sliding_window"] {
            if let Some(value) = read.present(key) {
                return Err(InputError::new(format!(
                    "{file}: `{key}` is `{}`, which is not computed here",
                    shown(value)
                ))
                .hint("use the original bf16, f16 or f32 checkpoint")
                .into());
            }
        }

        let (hidden, query_heads) = (read.size("hidden_size")?, read.size("num_attention_heads")?);
        let kv_heads = read.size_or("num_key_value_heads", query_heads)?;
        if query_heads % kv_heads != 0 {
            return Err(InputError::new(format!("{file}: `num_attention_heads` ({query_heads}) must be a multiple of `num_key_value_heads` ({kv_heads})")).into());
        }
        if !hidden.is_multiple_of(query_heads) && read.present("head_dim").is_none() {
            return Err(InputError::new(format!("{file}: `hidden_size` ({hidden}) must be a multiple of `num_attention_heads` ({query_heads})")).into());
        }
        let head_dim = read.size_or("head_dim", hidden / query_heads)?;
        if head_dim % 2 != 0 {
            return Err(InputError::new(format!(
                "{file}: heads must have an even width, got `{head_dim}`"
            ))
            .into());
        }
        let tied = match read.present("tie_word_embeddings") {
            None => false,
            Some(Value::Bool(tied)) => *tied,
            Some(other) => {
                return Err(read.wrong("tie_word_embeddings", "true or false", other).into());
            }
        };
        Ok(Self {
            vocab: read.size("vocab_size")?,
            hidden,
            intermediate: read.size("intermediate_size")?,
            layers: read.size("num_hidden_layers")?,
            heads: Heads { heads: query_heads, kv_heads, head_dim },
            rms_norm_eps: read.positive_or("rms_norm_eps", 1e-6)?,
            rope: rope(&read)?,
            tied,
            max_positions: read.size_or("max_position_embeddings", 2048)?,
        })
    }

    /// Parameters of the whole model.
    pub fn parameters(&self) -> usize {
        let Heads { heads, kv_heads, head_dim } = self.heads;
        let attention = 2 * self.hidden * (heads + kv_heads) * head_dim;
        let layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden;
        let embeddings = if self.tied { 1 } else { 2 };
        self.layers * layer + embeddings * self.vocab * self.hidden + self.hidden
    }
}

/// RoPE from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before it).
fn rope(read: &Reader<'_>) -> Result<Rope> {
    let theta = read.positive_or("rope_theta", 10_000.0)?;
    let Some((key, value)) =
        ["rope_parameters", "rope_scaling"].iter().find_map(|key| Some((*key, read.present(key)?)))
    else {
        return Ok(Rope { theta, scaling: RopeScaling::None });
    };
    let Value::Object(fields) = value else {
        return Err(read.wrong(key, "an object", value).into());
    };
    let file = format!("{}: `{key}`", read.file);
    let inner = Reader { file: &file, fields };
    let kind = inner
        .present("rope_type")
        .or_else(|| inner.present("type"))
        .cloned()
        .unwrap_or_else(|| "default".into());
    inner.only("partial_rotary_factor", &Value::from(1.0))?;
    let scaling = match kind.as_str() {
        Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: inner.positive("factor")? },
        Some("llama3") => RopeScaling::Llama3 {
            factor: inner.positive("factor")?,
            low_freq_factor: inner.positive("low_freq_factor")?,
            high_freq_factor: inner.positive("high_freq_factor")?,
            original_max_positions: inner.positive("original_max_position_embeddings")?,
        },
        _ => {
            let kind = shown(&kind);
            let message = format!("{file}: `rope_type` is `{kind}`, which is not computed here");
            return Err(InputError::new(message)
                .hint("computed are `default`, `linear` and `llama3`")
                .into());
        }
    };
    if let RopeScaling::Llama3 { low_freq_factor, high_freq_factor, .. } = scaling
        && low_freq_factor >= high_freq_factor
    {
        return Err(InputError::new(format!("{file}: `low_freq_factor` ({low_freq_factor}) must be below `high_freq_factor` ({high_freq_factor})")).into());
    }
    Ok(Rope { theta: inner.positive_or("rope_theta", theta)?, scaling })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn llama2() -> Value {
        json!({
            "model_type": "llama", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-5, "vocab_size": 32000,
            "max_position_embeddings": 4096, "tie_word_embeddings": false, "rope_scaling": null, "pretraining_tp": 1
        })
    }

    fn with(changes: Value) -> Result<Shape> {
        let mut config = llama2();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        Shape::parse(&config.to_string(), "config.json")
    }

    #[test]
    fn llama_2_7b_has_its_published_number_of_parameters() {
        let config = with(json!({})).unwrap();
        assert_eq!(config.parameters(), 6_738_415_616);
        assert_eq!(config.heads, Heads { heads: 32, kv_heads: 32, head_dim: 128 });
        assert_eq!(config.rope, Rope { theta: 10_000.0, scaling: RopeScaling::None });
    }

    #[test]
    fn both_forms_of_rope_are_read() {
        let new =
            with(json!({"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}}))
                .unwrap();
        assert_eq!(new.rope, Rope { theta: 500_000.0, scaling: RopeScaling::None });
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let old = with(json!({"rope_theta": 500000.0, "rope_scaling": llama3})).unwrap();
        assert_eq!(old.rope.theta.to_bits(), 500_000f64.to_bits());
        assert!(matches!(old.rope.scaling, RopeScaling::Llama3 { .. }));
        assert_eq!(
            with(json!({"rope_scaling": {"type": "linear", "factor": 2.0}})).unwrap().rope.scaling,
            RopeScaling::Linear { factor: 2.0 }
        );
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (changes, named) in [
            (json!({"model_type": "mistral"}), "model_type"),
            (json!({"hidden_act": "gelu"}), "hidden_act"),
            (json!({"attention_bias": true}), "attention_bias"),
            (json!({"mlp_bias": true}), "mlp_bias"),
            (json!({"attention_dropout": 0.1}), "attention_dropout"),
            (json!({"quantization_config": {"bits": 4}}), "quantization_config"),
            (json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}), "yarn"),
            (json!({"rope_scaling": {"rope_type": "llama3"}}), "factor"),
            (json!({"num_key_value_heads": 5}), "num_key_value_heads"),
            (json!({"hidden_size": "big"}), "hidden_size"),
            (json!({"vocab_size": null}), "vocab_size"),
            (json!({"num_hidden_layers": 0}), "num_hidden_layers"),
            (json!({"rms_norm_eps": -1.0}), "rms_norm_eps"),
        ] {
            let error = with(changes).unwrap_err();
            assert!(
                InputError::of(&error).is_some() && error.to_string().contains(named),
                "{error}"
            );
        }
        assert!(Shape::parse("[1]", "config.json").is_err());
        assert!(Shape::parse("{", "config.json").is_err());
    }
}
