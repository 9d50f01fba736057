//! The shape of a decoder from the `config.json` of its checkpoint, in Llama-2's form and in the newer one with `rope_parameters`.
//!
//! A row of `model::family` holds what its `model_type` decides. A field that would change the numbers and is not computed here is
//! refused by name.
//!
//! One file, with the tests of every field, since a `config.json` is read here and nowhere else.

use anyhow::Result;
use candle_core::{DType, Device};
use serde_json::Value;

use super::config_fields::Reader;
use super::family::{FAMILIES, Family};
use super::rope_fields;
use super::rotary::{Rope, RopeScaling, Rotary};
use crate::config::Projection;
use crate::disk::fields::is_unset;
use crate::disk::json;
use crate::error::{InputError, shown};
use crate::ops::attention::Heads;

/// The shape of a decoder, of any family.
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
    /// Positions that the checkpoint was trained for, or that `dynamic` RoPE stretches them to.
    pub max_positions: usize,
    /// Projections that have a bias.
    pub biases: Biases,
    /// One line for each field that does not do what its name says.
    pub notes: Vec<String>,
}

/// Projections that have a bias.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Biases {
    /// q, k, v and o.
    pub attention: bool,
    /// gate, up and down.
    pub mlp: bool,
}

impl Shape {
    /// The angles of a model of this shape, for activations of `dtype` on `device`.
    pub fn rotary(&self, dtype: DType, device: &Device) -> Rotary {
        Rotary::new(self.rope.clone(), self.heads.head_dim, dtype, device)
    }

    /// Parses the text of `config.json`; `file` names it in errors.
    ///
    /// Refuses a `model_type` without a row in the table of families, values that its row excludes (another activation, quantised weights,
    /// ...), and kinds of RoPE that are not computed.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        Self::parse_as(FAMILIES, text, file)
    }

    fn parse_as(families: &'static [Family], text: &str, file: &str) -> Result<Self> {
        let value: Value = json::unique(text)
            .map_err(|e| InputError::new(format!("{file}: not valid JSON: {e}")))?;
        let Value::Object(fields) = &value else {
            return Err(InputError::new(format!("{file}: expected a JSON object")).into());
        };
        let family = family(families, fields.get("model_type"), file)?;
        let read = Reader { file, fields, family };
        if let Some(quantised) =
            read.present("quantization_config").filter(|value| !is_unset(value))
        {
            return Err(InputError::new(format!(
                "{file}: `quantization_config` is `{}`, and quantised weights are not computed here",
                shown(quantised)
            ))
            .hint("use the original bf16, f16 or f32 checkpoint")
            .into());
        }
        read.refuse_unknown()?;
        let (hidden, heads) = heads(&read)?;
        let tied = match read.present("tie_word_embeddings") {
            None => family.defaults.tied,
            Some(Value::Bool(tied)) => *tied,
            Some(other) => {
                return Err(read.wrong("tie_word_embeddings", "true or false", other).into());
            }
        };
        let mut notes = Vec::new();
        note_dropout(&read, &mut notes)?;
        let rope = rope_fields::rope(&read, heads.head_dim, &mut notes)?;
        let positions = read.size_or("max_position_embeddings", family.defaults.max_positions)?;
        Ok(Self {
            vocab: read.size("vocab_size")?,
            hidden,
            intermediate: read.size("intermediate_size")?,
            layers: read.size("num_hidden_layers")?,
            heads,
            rms_norm_eps: read.positive_or("rms_norm_eps", family.defaults.rms_norm_eps)?,
            max_positions: match rope.scaling {
                RopeScaling::Dynamic { factor, .. } => {
                    (positions as f64 * factor.max(1.0)).min(f64::from(u32::MAX)) as usize
                }
                _ => positions,
            },
            rope,
            tied,
            biases: biases(&read)?,
            notes,
        })
    }

    /// Elements of a token's queries, all heads.
    pub fn query_width(&self) -> usize {
        self.heads.heads * self.heads.head_dim
    }

    /// Elements of a token's keys, all heads, and of its values.
    pub fn key_width(&self) -> usize {
        self.heads.kv_heads * self.heads.head_dim
    }

    /// `(out, in)` of the weight of `projection`.
    pub fn projection(&self, projection: Projection) -> (usize, usize) {
        let (query, key) = (self.query_width(), self.key_width());
        match projection {
            Projection::QProj => (query, self.hidden),
            Projection::KProj | Projection::VProj => (key, self.hidden),
            Projection::OProj => (self.hidden, query),
            Projection::GateProj | Projection::UpProj => (self.intermediate, self.hidden),
            Projection::DownProj => (self.hidden, self.intermediate),
        }
    }

    /// Whether `projection` has a bias.
    pub fn has_bias(&self, projection: Projection) -> bool {
        match projection {
            Projection::QProj | Projection::KProj | Projection::VProj | Projection::OProj => {
                self.biases.attention
            }
            Projection::GateProj | Projection::UpProj | Projection::DownProj => self.biases.mlp,
        }
    }

    /// Parameters of the whole model.
    pub fn parameters(&self) -> usize {
        let projections = Projection::ALL.map(|projection| {
            let (out, from) = self.projection(projection);
            out * from + if self.has_bias(projection) { out } else { 0 }
        });
        let layer = projections.iter().sum::<usize>() + 2 * self.hidden;
        let embeddings = if self.tied { 1 } else { 2 };
        self.layers * layer + embeddings * self.vocab * self.hidden + self.hidden
    }
}

/// The row of `model_type`.
fn family(
    families: &'static [Family],
    model_type: Option<&Value>,
    file: &str,
) -> Result<&'static Family> {
    let model_type = model_type.filter(|value| !value.is_null());
    let known = families.iter().find(|family| model_type.is_some_and(|t| *t == family.model_type));
    known.ok_or_else(|| {
        let types: Vec<_> =
            families.iter().map(|row| format!("`\"{}\"`", row.model_type)).collect();
        let names: Vec<_> = families.iter().map(|row| row.name).collect();
        let found = model_type.map_or("nothing".to_owned(), |v| format!("`{}`", shown(v)));
        let message = format!("{file}: `model_type` must be {}, got {found}", types.join(" or "));
        let hint = format!("this program trains models of the {} family only", names.join(" or "));
        InputError::new(message).hint(hint).into()
    })
}

/// `hidden_size`, and the heads.
fn heads(read: &Reader<'_>) -> Result<(usize, Heads)> {
    let file = read.file;
    let (hidden, heads) = (read.size("hidden_size")?, read.size("num_attention_heads")?);
    let kv_heads = read.size_or("num_key_value_heads", heads)?;
    if heads % kv_heads != 0 {
        return Err(InputError::new(format!("{file}: `num_attention_heads` ({heads}) must be a multiple of `num_key_value_heads` ({kv_heads})")).into());
    }
    if !hidden.is_multiple_of(heads) && read.present("head_dim").is_none() {
        return Err(InputError::new(format!(
            "{file}: `hidden_size` ({hidden}) must be a multiple of `num_attention_heads` ({heads})"
        ))
        .into());
    }
    let head_dim = read.size_or("head_dim", hidden / heads)?;
    if head_dim % 2 != 0 {
        return Err(InputError::new(format!(
            "{file}: heads must have an even width, got `{head_dim}`"
        ))
        .into());
    }
    Ok((hidden, Heads { heads, kv_heads, head_dim }))
}

/// `attention_bias` and `mlp_bias`.
fn biases(read: &Reader<'_>) -> Result<Biases> {
    Ok(Biases {
        attention: read.flag_or("attention_bias", false)?,
        mlp: read.flag_or("mlp_bias", false)?,
    })
}

/// The line for `attention_dropout`, which is not computed. Refuses a value that is no probability.
fn note_dropout(read: &Reader<'_>, notes: &mut Vec<String>) -> Result<()> {
    let key = "attention_dropout";
    let dropout = read.number_or(key, 0.0)?;
    match read.present(key) {
        Some(value) if !(0.0..1.0).contains(&dropout) => {
            Err(read.wrong(key, "a number in 0..1", value).into())
        }
        Some(_) if dropout > 0.0 => {
            notes.push(format!(
                "{}: `attention_dropout` is {dropout} and is computed as 0, in training too. transformers drops weights of attention in \
                 training alone, and TRL trains with it, since its `disable_dropout` does not reach them; scores, references and answers \
                 are without it everywhere",
                read.file
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
