//! RoPE from a `config.json`, in both of its forms, with the fields that each kind reads.

use anyhow::Result;
use serde_json::Value;

use super::config_fields::Reader;
use super::rotary::{Rope, RopeScaling};
use crate::disk::fields::{Known, Only, is_unset, refuse_unknown};
use crate::error::{InputError, shown};

/// Positions of the training before the context was extended.
const FIRST_CONTEXT: &str = "original_max_position_embeddings";

/// Fields that any kind may have, some of them unread.
const SHARED: &[(&str, Known)] = &[
    ("rope_type", Known::Any),
    ("type", Known::Any),
    ("rope_theta", Known::Any),
    ("factor", Known::Any),
    ("low_freq_factor", Known::Any),
    ("high_freq_factor", Known::Any),
    (FIRST_CONTEXT, Known::Any),
    ("partial_rotary_factor", Known::Any),
];

/// Fields of `yarn` alone. `finetuned` is from its authors' code; the checkpoints that have it say true, which is what is computed.
const YARN: &[(&str, Known)] = &[
    ("attention_factor", Known::Any),
    ("beta_fast", Known::Any),
    ("beta_slow", Known::Any),
    ("mscale", Known::Any),
    ("mscale_all_dim", Known::Any),
    ("truncate", Known::Any),
    ("finetuned", Known::OneOf(&[Only::Flag(true)])),
];

/// Fields of `longrope` alone.
const LONG_ROPE: &[(&str, Known)] =
    &[("attention_factor", Known::Any), ("short_factor", Known::Any), ("long_factor", Known::Any)];

/// RoPE from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before it), for heads of `head_dim`. Adds to `notes`
/// what a field does not do.
///
/// As in transformers 5, a `rope_scaling` with anything in it replaces all of `rope_parameters`, its base included.
pub(super) fn rope(read: &Reader<'_>, head_dim: usize, notes: &mut Vec<String>) -> Result<Rope> {
    let theta = read.positive_or("rope_theta", read.family.defaults.rope_theta)?;
    let partial = share(read, 1.0)?;
    let Some((key, value)) = ["rope_scaling", "rope_parameters"]
        .iter()
        .find_map(|key| Some((*key, read.present(key).filter(|value| !is_unset(value))?)))
    else {
        note_whole_heads(read.file, partial, notes);
        return Ok(Rope { theta, scaling: RopeScaling::None, partial: 1.0 });
    };
    let Value::Object(fields) = value else {
        return Err(read.wrong(key, "an object", value).into());
    };
    let file = format!("{}: `{key}`", read.file);
    let inner = Reader { file: &file, fields, family: read.family };
    let named = inner.present("rope_type").or_else(|| inner.present("type"));
    let kind = named.cloned().unwrap_or_else(|| "default".into());
    let theta = inner.positive_or("rope_theta", theta)?;
    let partial = share(&inner, partial)?;
    let turned = || turned(&inner, head_dim, partial);
    let mut own: &[(&str, Known)] = &[];
    let scaling = match kind.as_str() {
        Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: inner.positive("factor")? },
        Some("dynamic") => {
            if turned()? == 2 {
                let message = format!("{file}: `dynamic` needs heads of which more than 2 turn");
                return Err(InputError::new(message).into());
            }
            let default = read.family.defaults.max_positions;
            let max_positions = read.size_or("max_position_embeddings", default)? as f64;
            RopeScaling::Dynamic { factor: inner.positive("factor")?, max_positions }
        }
        Some("yarn") => {
            own = YARN;
            yarn(read, &inner, theta)?
        }
        Some("longrope") => {
            own = LONG_ROPE;
            long_rope(read, &inner, turned()? / 2)?
        }
        Some("llama3") => llama3(read, &inner)?,
        _ => {
            let kind = shown(&kind);
            let message = format!("{file}: `rope_type` is `{kind}`, which is not computed here");
            return Err(InputError::new(message)
                .hint(
                    "computed are `default`, `linear`, `dynamic`, `yarn`, `longrope` and `llama3`",
                )
                .into());
        }
    };
    refuse_unknown(&file, fields, &[SHARED, own])?;
    note_unread(&inner, &scaling, named.is_some(), notes);
    if scaling == RopeScaling::None {
        note_whole_heads(&file, partial, notes);
        return Ok(Rope { theta, scaling, partial: 1.0 });
    }
    let turned = turned()?;
    if turned < head_dim {
        notes.push(format!(
            "{file}: the first {turned} of the {head_dim} elements of each head turn, as in the families of transformers that read \
             `partial_rotary_factor`; its Llama fails on it"
        ));
    }
    Ok(Rope { theta, scaling, partial })
}

/// The line for fields that are set and that the kind does not read.
fn note_unread(inner: &Reader<'_>, scaling: &RopeScaling, is_named: bool, notes: &mut Vec<String>) {
    let (kind, read): (_, &[&str]) = match scaling {
        RopeScaling::None => ("default", &[]),
        RopeScaling::Linear { .. } => ("linear", &["factor"]),
        RopeScaling::Dynamic { .. } => ("dynamic", &["factor"]),
        RopeScaling::Yarn { .. } => ("yarn", &["factor", FIRST_CONTEXT]),
        RopeScaling::LongRope { .. } => ("longrope", &["factor", FIRST_CONTEXT]),
        RopeScaling::Llama3 { .. } => return,
    };
    let unread: Vec<_> = ["factor", "low_freq_factor", "high_freq_factor", FIRST_CONTEXT]
        .into_iter()
        .filter(|key| !read.contains(key) && inner.present(key).is_some())
        .map(|key| format!("`{key}`"))
        .collect();
    if !unread.is_empty() {
        let named = if is_named { "is" } else { "is missing, which means" };
        notes.push(format!(
            "{}: `rope_type` {named} `{kind}`, so that {} changes nothing, as in transformers",
            inner.file,
            unread.join(", ")
        ));
    }
}

/// `partial_rotary_factor`.
fn share(read: &Reader<'_>, default: f64) -> Result<f64> {
    let key = "partial_rotary_factor";
    let share = read.positive_or(key, default)?;
    match read.present(key) {
        Some(value) if share > 1.0 => Err(read.wrong(key, "a number in 0..=1", value).into()),
        _ => Ok(share),
    }
}

/// Elements of a head that turn. Refuses an odd number.
fn turned(inner: &Reader<'_>, head_dim: usize, partial: f64) -> Result<usize> {
    let rope = Rope { theta: 1.0, scaling: RopeScaling::None, partial };
    match rope.turned(head_dim) {
        turned if turned >= 2 && turned.is_multiple_of(2) => Ok(turned),
        turned => Err(InputError::new(format!(
            "{}: `partial_rotary_factor` ({partial}) must turn an even number of the {head_dim} elements of each head, got {turned}",
            inner.file
        ))
        .into()),
    }
}

/// The line for a share of the heads that the kind `default` does not read.
fn note_whole_heads(place: &str, partial: f64, notes: &mut Vec<String>) {
    if partial < 1.0 {
        notes.push(format!(
            "{place}: `partial_rotary_factor` is {partial}, and every head turns whole: with RoPE of kind `default` transformers 5 does not \
             read it in a Llama. To turn that part of each head, set `rope_parameters` to the kind `linear` with `factor` 1 and the same \
             `partial_rotary_factor`"
        ));
    }
}

fn llama3(read: &Reader<'_>, inner: &Reader<'_>) -> Result<RopeScaling> {
    let (low, high) = (inner.positive("low_freq_factor")?, inner.positive("high_freq_factor")?);
    if low >= high {
        return Err(InputError::new(format!(
            "{}: `low_freq_factor` ({low}) must be below `high_freq_factor` ({high})",
            inner.file
        ))
        .into());
    }
    Ok(RopeScaling::Llama3 {
        factor: inner.positive("factor")?,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_positions: original_max_positions(read, inner)?,
    })
}

fn yarn(read: &Reader<'_>, inner: &Reader<'_>, theta: f64) -> Result<RopeScaling> {
    if theta <= 1.0 {
        let message = format!("{}: `yarn` needs a `rope_theta` above 1, got `{theta}`", inner.file);
        return Err(InputError::new(message).into());
    }
    let original_max_positions = original_max_positions(read, inner)?;
    if !inner.fields.contains_key("factor") {
        inner.positive("factor")?; // a null is known to transformers, a missing field is not
    }
    let factor = stretch(read, inner, original_max_positions)?;
    let mscale =
        |factor: f64, of: f64| if factor <= 1.0 { 1.0 } else { 0.1 * of * factor.ln() + 1.0 };
    let of = ["mscale", "mscale_all_dim"].map(|key| inner.number_or(key, 0.0));
    let attention_factor = match (inner.present("attention_factor"), of) {
        (Some(_), _) => inner.positive("attention_factor")?,
        // 0 is as good as missing.
        (None, [own, all]) => match (own?, all?) {
            (own, all) if own.abs() > 0.0 && all.abs() > 0.0 => {
                mscale(factor, own) / mscale(factor, all)
            }
            _ => mscale(factor, 1.0),
        },
    };
    if !attention_factor.is_finite() {
        let message =
            format!("{}: `mscale` and `mscale_all_dim` give no finite factor", inner.file);
        return Err(InputError::new(message).into());
    }
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: inner.positive_or("beta_fast", 32.0)?,
        beta_slow: inner.positive_or("beta_slow", 1.0)?,
        original_max_positions,
        truncate: inner.flag_or("truncate", true)?,
        attention_factor,
    })
}

fn long_rope(read: &Reader<'_>, inner: &Reader<'_>, pairs: usize) -> Result<RopeScaling> {
    let original_max_positions = original_max_positions(read, inner)?;
    let factor = stretch(read, inner, original_max_positions)?;
    let attention_factor = match inner.present("attention_factor") {
        Some(_) => inner.positive("attention_factor")?,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / original_max_positions.ln()).sqrt(),
    };
    if !attention_factor.is_finite() {
        return Err(InputError::new(format!(
            "{}: `longrope` needs an `original_max_position_embeddings` above 1, got `{original_max_positions}`",
            inner.file
        ))
        .into());
    }
    let list = |key| -> Result<std::sync::Arc<[f64]>> {
        let Some(value) = inner.present(key) else {
            return Err(InputError::new(format!("{}: `{key}` is missing", inner.file)).into());
        };
        let number = |value: &Value| value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
        let numbers: Option<Vec<_>> =
            value.as_array().and_then(|all| all.iter().map(number).collect());
        match numbers {
            Some(numbers) if numbers.len() == pairs => Ok(numbers.into()),
            _ => {
                let expected = format!(
                    "a list of {pairs} positive numbers, one for each pair of elements of a head"
                );
                Err(inner.wrong(key, &expected, value).into())
            }
        }
    };
    Ok(RopeScaling::LongRope {
        short: list("short_factor")?,
        long: list("long_factor")?,
        original_max_positions,
        attention_factor,
    })
}

/// `factor`, or how much longer the context is than the first one.
fn stretch(read: &Reader<'_>, inner: &Reader<'_>, original_max_positions: f64) -> Result<f64> {
    if inner.present("factor").is_some() {
        return inner.positive("factor");
    }
    let default = read.family.defaults.max_positions;
    Ok(read.size_or("max_position_embeddings", default)? as f64 / original_max_positions)
}

/// Positions of the training before the context was extended: `original_max_position_embeddings` beside the RoPE fields, then among
/// them, then `max_position_embeddings`, as transformers 5 has it.
fn original_max_positions(read: &Reader<'_>, inner: &Reader<'_>) -> Result<f64> {
    let key = FIRST_CONTEXT;
    if read.present(key).is_some() {
        read.positive(key)
    } else if inner.present(key).is_some() {
        inner.positive(key)
    } else {
        read.positive_or("max_position_embeddings", read.family.defaults.max_positions as f64)
    }
}
