//! Adapter files in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

use super::family;
use super::lora::{Adapter, LoraPair, LoraTensors, PerProjection};
use super::shape::Shape;
use crate::config::{LoraSection, Projection};
use crate::disk::digest;
use crate::error::{InputError, shown};

/// File of the weights in an adapter folder.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// File of the configuration in an adapter folder.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// PEFT's name of a tensor; `letter` is `A` or `B`.
pub fn key(layer: usize, projection: Projection, letter: char) -> String {
    format!("base_model.model.{}", short_key(layer, projection, letter))
}

/// [`key`] without the prefix of PEFT's wrappers, for messages.
fn short_key(layer: usize, projection: Projection, letter: char) -> String {
    format!("{}.lora_{letter}.weight", family::projection_module(layer, projection))
}

/// A safetensors file of f32 tensors under PEFT's names; equal tensors give equal bytes.
pub fn to_safetensors(tensors: &LoraTensors) -> Result<Vec<u8>> {
    let mut named = Vec::new();
    for (layer, projection, letter, tensor) in tensors.iter() {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        named.push((
            key(layer, projection, letter),
            tensor.dims().to_vec(),
            values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>(),
        ));
    }
    let views: Vec<_> = named
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<_, safetensors::SafeTensorError>>()?;
    Ok(safetensors::serialize(
        views,
        Some(HashMap::from([("format".to_owned(), "pt".to_owned())])),
    )?)
}

/// Reads what [`to_safetensors`] or PEFT wrote, as f32 on `device`; `file` names it in errors.
///
/// Refuses tensors that are missing, unknown, of another shape than `rank` gives, or not finite.
pub fn from_safetensors(
    bytes: &[u8],
    file: &str,
    shape: &Shape,
    targets: &[Projection],
    rank: usize,
    device: &Device,
) -> Result<LoraTensors> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| {
        InputError::new(format!("adapter `{file}` is not a whole safetensors file: {e}"))
    })?;
    let mut unread: std::collections::BTreeSet<_> =
        tensors.names().into_iter().map(str::to_owned).collect();
    let mut layers = Vec::with_capacity(shape.layers);
    for layer in 0..shape.layers {
        let mut pairs = PerProjection::default();
        for &projection in targets {
            let (out, from) = shape.projection(projection);
            let mut read = |letter, dims: [usize; 2]| {
                let name = key(layer, projection, letter);
                unread.remove(&name);
                let view = tensors.tensor(&name).map_err(|_| {
                    InputError::new(format!("adapter `{file}`: `{name}` is missing"))
                })?;
                tensor(&view, file, &short_key(layer, projection, letter), dims, device)
            };
            pairs.set(
                projection,
                Some(LoraPair { a: read('A', [rank, from])?, b: read('B', [out, rank])? }),
            );
        }
        layers.push(pairs);
    }
    if let Some(name) = unread.first() {
        let message = format!(
            "adapter `{file}`: {} tensors belong neither to this model nor to its target modules, `{name}` first",
            unread.len()
        );
        return Err(InputError::new(message).into());
    }
    Ok(LoraTensors { layers })
}

fn tensor(
    view: &TensorView<'_>,
    file: &str,
    name: &str,
    shape: [usize; 2],
    device: &Device,
) -> Result<Tensor> {
    if view.shape() != shape {
        let error = InputError::new(format!(
            "adapter `{file}`: `{name}` has shape {:?}, expected {shape:?}",
            view.shape()
        ));
        let side = usize::from(!name.contains("lora_A"));
        return Err(match view.shape().get(side) {
            Some(rank) if *rank != shape[side] => error.hint(format!(
                "this adapter was trained with rank {rank}; set `lora.rank = {rank}`"
            )),
            _ => error.hint("this adapter was trained on a model of another shape"),
        }
        .into());
    }
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        other => {
            return Err(InputError::new(format!(
                "adapter `{file}`: `{name}` is stored as {other:?}, expected F32, F16 or BF16"
            ))
            .into());
        }
    };
    let tensor =
        Tensor::from_raw_buffer(view.data(), dtype, &shape, &Device::Cpu)?.to_dtype(DType::F32)?;
    if tensor.flatten_all()?.to_vec1::<f32>()?.iter().any(|x| !x.is_finite()) {
        return Err(InputError::new(format!(
            "adapter `{file}`: `{name}` holds values that are not finite"
        ))
        .into());
    }
    Ok(tensor.to_device(device)?)
}

/// `adapter_config.json` with every field that PEFT 0.21 writes. `revision`: of the `base_model`, none for a folder.
pub fn config_json(
    adapter: &Adapter,
    targets: &[Projection],
    dropout: f64,
    base_model: &str,
    revision: Option<&str>,
) -> Value {
    let names: Vec<_> = targets.iter().map(|projection| projection.name()).collect();
    json!({
        "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
        "base_model_name_or_path": base_model, "bias": "none", "corda_config": null, "ensure_weight_tying": false, "eva_config": null,
        "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "layer_replication": null,
        "layers_pattern": null, "layers_to_transform": null, "loftq_config": {}, "lora_alpha": number(adapter.alpha), "lora_bias": false,
        "lora_dropout": dropout, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null, "peft_type": "LORA",
        "peft_version": "0.21.2", "qalora_group_size": 16, "r": adapter.rank, "rank_pattern": {}, "revision": revision, "target_modules": names,
        "target_parameters": null, "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_dora": false, "use_qalora": false,
        "use_rslora": adapter.use_rslora
    })
}

/// Whole numbers without a fraction: PEFT's `lora_alpha` is an integer wherever it can be.
fn number(x: f64) -> Value {
    if x.fract().abs() < f64::EPSILON && x.abs() < 1e15 { json!(x as i64) } else { json!(x) }
}

/// Loads the adapter in `folder`, which must fit the model and, where given, the run's `[lora]` section.
///
/// Refuses by name what PEFT can do to an adapter and this program does not compute (DoRA, biases, patterns, ...).
pub fn load(
    folder: &Path,
    shape: &Shape,
    expected: Option<&LoraSection>,
    device: &Device,
) -> Result<Adapter> {
    let path = folder.join(CONFIG_FILE);
    let file = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|e| {
        InputError::new(format!("cannot read `{file}`: {e}")).hint(
            "an adapter is a folder with `adapter_config.json` and `adapter_model.safetensors`",
        )
    })?;
    let fields: Value = serde_json::from_str(&text)
        .map_err(|e| InputError::new(format!("{file}: not valid JSON: {e}")))?;
    let settings = read_config(&fields, &file)?;
    if let Some(expected) = expected {
        agree(folder, expected, &settings)?;
    }
    let AdapterConfig { rank, alpha, use_rslora, targets } = settings;
    let weights = folder.join(WEIGHTS_FILE);
    let bytes = std::fs::read(&weights)
        .map_err(|e| InputError::new(format!("cannot read `{}`: {e}", weights.display())))?;
    let rank = expected.map_or(rank, |section| section.rank);
    let tensors =
        from_safetensors(&bytes, &weights.display().to_string(), shape, &targets, rank, device)?;
    Ok(Adapter { rank, alpha, use_rslora, tensors })
}

/// What the weights of an adapter mean, from its `adapter_config.json`.
#[derive(Debug, PartialEq)]
struct AdapterConfig {
    rank: usize,
    alpha: f64,
    use_rslora: bool,
    targets: Vec<Projection>,
}

fn read_config(fields: &Value, file: &str) -> Result<AdapterConfig> {
    let field = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let wrong = |name: &str, expected: &str| {
        InputError::new(format!(
            "{file}: `{name}` must be {expected}, got `{}`",
            shown(fields.get(name).unwrap_or(&Value::Null))
        ))
    };
    if field("peft_type").and_then(Value::as_str) != Some("LORA") {
        return Err(wrong("peft_type", "`\"LORA\"`").into());
    }
    for name in ["use_dora", "use_qalora", "lora_bias", "fan_in_fan_out"] {
        if field(name).is_some_and(|value| value != &Value::Bool(false)) {
            return Err(wrong(name, "`false`, the only value computed here").into());
        }
    }
    for name in [
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
        "layers_to_transform",
        "layer_replication",
        "trainable_token_indices",
        "target_parameters",
    ] {
        let empty = |value: &Value| {
            value.as_object().is_some_and(serde_json::Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty)
        };
        if field(name).is_some_and(|value| !empty(value)) {
            return Err(wrong(name, "empty, the only value computed here").into());
        }
    }
    if field("bias").is_some_and(|value| value != "none") {
        return Err(wrong("bias", "`\"none\"`, the only value computed here").into());
    }
    let rank = field("r")
        .and_then(Value::as_u64)
        .filter(|r| (1..=65_536).contains(r))
        .ok_or_else(|| wrong("r", "a positive whole number"))?;
    let alpha = field("lora_alpha")
        .and_then(Value::as_f64)
        .filter(|a| a.is_finite())
        .ok_or_else(|| wrong("lora_alpha", "a number"))?;
    let use_rslora = field("use_rslora")
        .map_or(Some(false), Value::as_bool)
        .ok_or_else(|| wrong("use_rslora", "`true` or `false`"))?;
    let modules = || wrong("target_modules", "a list of projections of a decoder layer");
    let named = field("target_modules").and_then(Value::as_array).ok_or_else(modules)?;
    let named: Vec<_> =
        named.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(modules)?;
    if let Some(unknown) =
        named.iter().find(|name| Projection::ALL.iter().all(|p| p.name() != **name))
    {
        return Err(InputError::new(format!(
            "{file}: target module `{}` is no projection of a decoder layer",
            shown(unknown)
        ))
        .into());
    }
    let targets: Vec<_> =
        Projection::ALL.into_iter().filter(|p| named.contains(&p.name())).collect();
    if targets.is_empty() {
        return Err(modules().into());
    }
    Ok(AdapterConfig { rank: rank as usize, alpha, use_rslora, targets })
}

/// Refuses an adapter that the run's `[lora]` section does not describe; the shapes of the tensors tell a wrong rank.
fn agree(folder: &Path, expected: &LoraSection, config: &AdapterConfig) -> Result<()> {
    let &AdapterConfig { alpha, use_rslora, ref targets, .. } = config;
    let names = |projections: &[Projection]| {
        serde_json::to_string(&projections.iter().map(|p| p.name()).collect::<Vec<_>>())
            .context("names")
    };
    if expected.target_modules != *targets {
        let message = format!(
            "adapter `{}` adapts {}, expected {}",
            folder.display(),
            names(targets)?,
            names(&expected.target_modules)?
        );
        return Err(InputError::new(message)
            .hint(format!("set `lora.target_modules = {}`", names(targets)?))
            .into());
    }
    if expected.alpha.total_cmp(&alpha).is_ne() {
        let message = format!(
            "adapter `{}` was trained with alpha {alpha}, expected {}",
            folder.display(),
            expected.alpha
        );
        return Err(InputError::new(message).hint(format!("set `lora.alpha = {alpha:?}`")).into());
    }
    if expected.use_rslora != use_rslora {
        let message = format!(
            "adapter `{}` was trained with `use_rslora` {use_rslora}, expected {}",
            folder.display(),
            expected.use_rslora
        );
        return Err(InputError::new(message)
            .hint(format!("set `lora.use_rslora = {use_rslora}`"))
            .into());
    }
    Ok(())
}

/// Digest of an adapter's weights and scale.
pub fn digest(adapter: &Adapter) -> Result<String> {
    let weights = to_safetensors(&adapter.tensors)?;
    Ok(digest::of_parts([&weights[..], &adapter.scale().to_le_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PEFT 0.21 writes, with `changes`; null takes a field away.
    fn with(changes: Value) -> Result<AdapterConfig> {
        let mut fields = json!({
            "peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none", "use_rslora": false, "use_dora": false,
            "modules_to_save": null, "layers_to_transform": null, "rank_pattern": {}, "target_modules": ["v_proj", "q_proj"],
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => fields.as_object_mut().unwrap().remove(name),
                _ => fields.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        read_config(&fields, "adapter_config.json")
    }

    #[test]
    fn a_configuration_without_use_rslora_scales_by_the_rank() {
        let without = with(json!({"use_rslora": null})).unwrap();
        let targets = vec![Projection::QProj, Projection::VProj];
        let expected = AdapterConfig { rank: 8, alpha: 16.0, use_rslora: false, targets };
        assert_eq!(without, expected);
        assert!(with(json!({"use_rslora": true})).unwrap().use_rslora);
        assert!(with(json!({"use_rslora": "no"})).is_err());
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (changes, named) in [
            (json!({"peft_type": "LOHA"}), "`peft_type` must be `\"LORA\"`, got `\"LOHA\"`"),
            (json!({"peft_type": "IA3"}), "`peft_type` must be `\"LORA\"`, got `\"IA3\"`"),
            (json!({"peft_type": null}), "`peft_type` must be `\"LORA\"`"),
            (json!({"modules_to_save": ["lm_head"]}), "`modules_to_save` must be empty"),
            (json!({"layers_to_transform": [0]}), "`layers_to_transform` must be empty"),
            (json!({"layers_to_transform": 0}), "`layers_to_transform` must be empty"),
            (json!({"layer_replication": [[0, 2]]}), "`layer_replication` must be empty"),
            (json!({"trainable_token_indices": [1]}), "`trainable_token_indices` must be empty"),
            (json!({"target_parameters": ["a"]}), "`target_parameters` must be empty"),
            (json!({"rank_pattern": {"q_proj": 4}}), "`rank_pattern` must be empty"),
            (json!({"alpha_pattern": {"q_proj": 4}}), "`alpha_pattern` must be empty"),
            (json!({"use_dora": true}), "`use_dora` must be `false`"),
            (json!({"use_qalora": true}), "`use_qalora` must be `false`"),
            (json!({"lora_bias": true}), "`lora_bias` must be `false`"),
            (json!({"fan_in_fan_out": true}), "`fan_in_fan_out` must be `false`"),
            (json!({"bias": "all"}), "`bias` must be `\"none\"`"),
            (json!({"r": 0}), "`r` must be"),
            (json!({"r": 65_537}), "`r` must be"),
            (json!({"lora_alpha": null}), "`lora_alpha` must be"),
            (json!({"target_modules": ["q_proj", "lm_head"]}), "target module `lm_head`"),
            (json!({"target_modules": []}), "`target_modules` must be"),
            (json!({"target_modules": "all-linear"}), "`target_modules` must be"),
        ] {
            let error = with(changes).unwrap_err();
            let message = error.to_string();
            assert!(InputError::of(&error).is_some() && message.contains(named), "{message}");
        }
    }

    #[test]
    fn empty_lists_and_the_largest_rank_are_read() {
        assert!(with(json!({"modules_to_save": [], "rank_pattern": {}})).is_ok());
        assert_eq!(with(json!({"r": 65_536})).unwrap().rank, 65_536);
        assert_eq!(with(json!({"r": 1})).unwrap().rank, 1);
    }

    #[test]
    fn the_exported_alpha_is_an_integer_where_it_is_whole() {
        let exported = |alpha| {
            let adapter =
                Adapter { rank: 4, alpha, use_rslora: false, tensors: LoraTensors::default() };
            let json = config_json(&adapter, &[Projection::QProj], 0.0, "base", None);
            (json["lora_alpha"].to_string(), read_config(&json, "exported").unwrap().alpha)
        };
        for (alpha, written) in
            [(32.0, "32"), (-2.0, "-2"), (0.5, "0.5"), (1e15, "1000000000000000.0")]
        {
            let (text, read) = exported(alpha);
            assert_eq!(text, written);
            assert!(read.total_cmp(&alpha).is_eq(), "{read}");
        }
    }
}
