//! The weights of an adapter as a safetensors file under PEFT's names.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::config::Projection;
use crate::error::InputError;
use crate::model::family;
use crate::model::lora::{LoraPair, LoraTensors, PerProjection};
use crate::model::plan::{AdapterPlan, MERGE, ModulePlan};
use crate::model::shape::Shape;

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

/// What says the rank that the tensors of an adapter must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankFrom {
    /// `lora.rank` and `lora.rank_pattern` of the run.
    Configuration,
    /// `r` and `rank_pattern` of the adapter's own `adapter_config.json`.
    Itself,
}

impl RankFrom {
    /// The remedy for tensors of rank `found` where it says `expected`.
    fn remedy(self, expected: usize, found: usize) -> String {
        match self {
            Self::Configuration => {
                format!("this adapter was trained with rank {found}; set `lora.rank = {found}`")
            }
            Self::Itself => format!(
                "its adapter_config.json says `r` is {expected}, its tensors have rank {found}: the two files are of different adapters"
            ),
        }
    }
}

/// Reads what [`to_safetensors`] or PEFT wrote, as f32 on `device`; `file` names it in errors.
///
/// Refuses tensors that are missing, beside those of `plan`, of another shape than `plan` gives, or not finite.
pub fn from_safetensors(
    bytes: &[u8],
    file: &str,
    shape: &Shape,
    plan: &AdapterPlan,
    from: RankFrom,
    device: &Device,
) -> Result<LoraTensors> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| {
        InputError::new(format!("adapter `{file}` is not a whole safetensors file: {e}"))
    })?;
    let mut unread: BTreeSet<_> = tensors.names().into_iter().map(str::to_owned).collect();
    let mut layers = Vec::with_capacity(plan.layers.len());
    for (layer, modules) in plan.layers.iter().enumerate() {
        let mut pairs = PerProjection::default();
        for (projection, &ModulePlan { rank, .. }) in modules.iter() {
            let (outputs, inputs) = shape.projection(projection);
            let mut read = |letter, dims: [usize; 2]| {
                let name = key(layer, projection, letter);
                let name = [&name, &with_adapter_name(&name)]
                    .into_iter()
                    .find(|name| unread.remove(*name))
                    .ok_or_else(|| missing(&name, file, &unread))?
                    .clone();
                let view = tensors.tensor(&name)?;
                tensor(&view, file, &short_key(layer, projection, letter), dims, from, device)
            };
            pairs.set(
                projection,
                Some(LoraPair { a: read('A', [rank, inputs])?, b: read('B', [outputs, rank])? }),
            );
        }
        layers.push(pairs);
    }
    if let Some(name) = unread.first() {
        let message = format!(
            "adapter `{file}`: {} tensors belong neither to this model nor to its target modules, `{name}` first",
            unread.len()
        );
        let error = InputError::new(message);
        // What `modules_to_save`, `bias` or a resized vocabulary leave beside the factors.
        let is_weight = !name.contains(".lora_A.") && !name.contains(".lora_B.");
        return Err(if is_weight { error.hint(MERGE) } else { error }.into());
    }
    Ok(LoraTensors { layers })
}

/// [`key`] as it is where the state of a wrapped model was saved as it stands: with the adapter's name, `default`, in it.
fn with_adapter_name(key: &str) -> String {
    key.replace(".weight", ".default.weight")
}

/// The error that the tensor `name` is not among those in the file, with the nearest of them that are left.
fn missing(name: &str, file: &str, left: &BTreeSet<String>) -> InputError {
    let error = InputError::new(format!("adapter `{file}`: `{name}` is missing"));
    let end = name.trim_start_matches("base_model.model.");
    match left.iter().find(|other| other.ends_with(end)) {
        Some(other) => error.hint(format!(
            "the file has it as `{other}`; PEFT's names begin with `base_model.model.model.`: rename the tensors"
        )),
        None => match left.first() {
            Some(other) => error.hint(format!("the file has {} other tensors, `{other}` first", left.len())),
            None => error,
        },
    }
}

fn tensor(
    view: &TensorView<'_>,
    file: &str,
    name: &str,
    shape: [usize; 2],
    from: RankFrom,
    device: &Device,
) -> Result<Tensor> {
    if view.shape() != shape {
        let error = InputError::new(format!(
            "adapter `{file}`: `{name}` has shape {:?}, expected {shape:?}",
            view.shape()
        ));
        let side = usize::from(!name.contains("lora_A"));
        return Err(match view.shape().get(side) {
            Some(found) if *found != shape[side] => error.hint(from.remedy(shape[side], *found)),
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
