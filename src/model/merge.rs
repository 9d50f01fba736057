//! An adapter merged into its base: `W + (alpha / rank) B A` in f32, rounded once, written as a checkpoint of the base's layout.
//!
//! The base is read and written tensor by tensor and compared layer by layer, so memory never holds the model. Names, order, shards and
//! index do not change.
//!
//! One file: writing and comparing share the list of what the adapter changes. What a merge leaves to be known by is in `record`.

mod record;

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::View;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::adapter;
use super::family;
use super::lora::{Adapter, LoraPair};
use super::narrow;
use super::prefix::Names;
use super::shape::Shape;
use super::shard::{Entry, Shard};
use super::streamed::next_logits;
use super::weights::{self, Checkpoint};
use crate::bail_input;
use crate::config::Projection;
use crate::data::chat::{self, NamedFile, Sources};
use crate::data::tokenizer::Tokenizer;
use crate::disk::{atomic, read};
use crate::error::InputError;

pub use record::refuse_foreign;

/// Files copied from the base where it has them.
const COPIED: [&str; 11] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "chat_template.jinja",
    "LICENSE",
    "LICENSE.txt",
    "USE_POLICY.md",
    "NOTICE",
];
const CONFIG_FILE: &str = "config.json";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// Prompts to compare merged and unmerged logits on, unless the user gives others.
pub const PROBES: [&str; 4] = [
    "Question: What makes a good neighbour?",
    "User profile: Age: 35-44, Gender: Female, Birth Country/Region: Kenya.\nQuestion: Should I tell my friend the truth?",
    "The capital of France is",
    "def main():",
];

/// Dtype of the written weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// That of each tensor of the base.
    Base,
    /// One for all.
    As(DType),
}

/// What to merge.
#[derive(Debug, Clone, Copy)]
pub struct Merge<'a> {
    /// Folder of the base model.
    pub model: &'a Path,
    /// Folder of the adapter, in PEFT's format.
    pub adapter: &'a Path,
    /// Folder to write, which must not exist.
    pub output: &'a Path,
    /// Dtype of the written weights.
    pub stored: Stored,
    /// Texts to compare merged and unmerged logits on; empty for no comparison.
    pub probes: &'a [String],
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Tensors of the checkpoint.
    pub tensors: usize,
    /// Of those, the ones that the adapter changed.
    pub changed: usize,
    /// Safetensors files.
    pub files: usize,
    /// Bytes of all tensors.
    pub bytes: usize,
    /// Dtype of the changed tensors.
    pub dtype: DType,
    /// The comparison; none without probes.
    pub difference: Option<Difference>,
    /// Whether an earlier command with the same inputs had written it.
    pub is_earlier: bool,
}

/// Merged against unmerged logits of the next token, both computed in f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The largest difference on each probe.
    pub probes: Vec<f64>,
    /// The largest magnitude of a logit.
    pub largest_logit: f64,
    /// The largest difference allowed.
    pub bound: f64,
}

impl Difference {
    /// The largest difference on any probe.
    pub fn largest(&self) -> f64 {
        self.probes.iter().copied().fold(0.0, f64::max)
    }
}

/// Largest difference of a logit, as a share of the largest logit, that storing the merged weights as `dtype` may cause.
pub fn bound(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 5e-2,
        DType::F16 => 1e-2,
        _ => 1e-4,
    }
}

/// Merges, writes the output folder aside and renames it; an error leaves no folder. Calls `tick` after each tensor written and each
/// layer compared, with the number done and the number of all.
///
/// Refuses an output that exists, unless the same command has written it, an adapter that does not fit, and values that `stored` cannot hold. Fails where the logits
/// differ by more than [`bound`].
pub fn merge(merge: &Merge<'_>, tick: &mut dyn FnMut(usize, usize)) -> Result<Merged> {
    let Merge { model, adapter: adapter_folder, output, .. } = *merge;
    refuse_foreign(output)?;
    let (shape, config_text) = read_config(model)?;
    if shape.tied {
        Checkpoint::open(model, DType::F32, &Device::Cpu)?.accept_tied_head()?;
    }
    let adapter = adapter::load(adapter_folder, &shape, None, &Device::Cpu)?;
    let tokenizer = if merge.probes.is_empty() { None } else { Some(Tokenizer::load(model)?) };
    let shards: Vec<Shard> =
        weights::shards(model)?.iter().map(|path| Shard::open(path)).collect::<Result<_>>()?;
    let pairs = adapted(&adapter, &shape, &shards, model)?;
    if output.exists() {
        return record::earlier(merge, &adapter);
    }

    let written = atomic::fill_folder(output, |folder| {
        let layers = if tokenizer.is_some() { 2 * shape.layers } else { 0 };
        let mut merged = write(merge, &shards, &pairs, folder, &mut |done, tensors| {
            tick(done, tensors + layers);
        })?;
        copy(merge, &config_text, &shards, merged.bytes, folder)?;
        if let Some(tokenizer) = &tokenizer {
            let (mut done, all) = (merged.tensors, merged.tensors + layers);
            let mut layer = || {
                done += 1;
                tick(done, all);
            };
            let difference =
                compare(merge, &shape, &adapter, tokenizer, folder, merged.dtype, &mut layer)?;
            let (largest, bound) = (difference.largest(), difference.bound);
            // Not `largest > bound`, which would let NaN pass.
            if largest.is_nan() || largest > bound {
                anyhow::bail!(
                    "merged and unmerged logits differ by {largest:.3e}, more than the bound {bound:.3e} for {:?}; nothing is written",
                    merged.dtype
                );
            }
            merged.difference = Some(difference);
        }
        record::write(merge, &adapter, folder, &merged)?;
        Ok(merged)
    });
    match written {
        // Another command has finished in the same folder meanwhile.
        Err(_) if output.exists() => record::earlier(merge, &adapter),
        written => written,
    }
}

/// The chat templates in the folder of the adapter, where they are others than those of the model: the adapter was trained with them, so
/// the merged model gets them. None where the adapter has none, or the same.
pub fn templates_of_adapter(model: &Path, adapter: &Path) -> Result<Option<Sources>> {
    let of = |folder: &Path| Sources::of_folder(folder, &folder.display().to_string());
    let Some(given) = of(adapter)? else { return Ok(None) };
    let own = of(model)?;
    Ok(Some(given).filter(|given| !own.is_some_and(|own| given.are_those_of(&own))))
}

fn read_config(model: &Path) -> Result<(Shape, String)> {
    let path = model.join(CONFIG_FILE);
    let text = read::text(&path).map_err(|error| {
        InputError::of_path(format!("cannot read `{}`", path.display()), error, |error| {
            error.hint("`--model` must be the folder of a Hugging Face checkpoint")
        })
    })?;
    Ok((Shape::parse(&text, &path.display().to_string())?, text))
}

/// The factors of each tensor that the adapter changes, with their scale, by name. Refuses a checkpoint that lacks one.
fn adapted<'a>(
    adapter: &'a Adapter,
    shape: &Shape,
    shards: &[Shard],
    model: &Path,
) -> Result<HashMap<String, (&'a LoraPair, f64)>> {
    let entries: HashMap<&str, &Entry> =
        shards.iter().flat_map(Shard::entries).map(|entry| (&*entry.name, entry)).collect();
    let names = Names::of(entries.keys().copied());
    let mut pairs = HashMap::new();
    for layer in 0..shape.layers {
        for projection in Projection::ALL {
            let Some(module) = adapter.module(layer, projection) else { continue };
            let name = family::projection_weight(layer, projection);
            let name = names.stored(&name).to_owned();
            let Some(entry) = entries.get(&*name) else {
                bail_input!("checkpoint `{}`: `{name}` is missing", model.display())
            };
            let (out, from) = shape.projection(projection);
            if entry.shape != [out, from] {
                bail_input!(
                    "checkpoint `{}`: `{name}` has shape {:?}, expected [{out}, {from}]",
                    model.display(),
                    entry.shape
                );
            }
            entry.float()?;
            pairs.insert(name, module);
        }
    }
    Ok(pairs)
}

/// Dtype that `entry` is written in. Buffers, which are not weights, keep theirs.
fn stored_as(stored: Stored, entry: &Entry) -> Dtype {
    match stored {
        Stored::As(dtype) if [".weight", ".bias"].iter().any(|end| entry.name.ends_with(end)) => {
            dtype.into()
        }
        _ => entry.dtype,
    }
}

fn write(
    merge: &Merge<'_>,
    shards: &[Shard],
    pairs: &HashMap<String, (&LoraPair, f64)>,
    folder: &Path,
    tick: &mut dyn FnMut(usize, usize),
) -> Result<Merged> {
    let all = shards.iter().map(|shard| shard.entries().len()).sum();
    let (mut done, mut bytes, mut dtype) = (0, 0, DType::F32);
    for shard in shards {
        let name = shard.path().file_name().context("a file without a name")?;
        let target = |entry: &Entry| stored_as(merge.stored, entry);
        shard.rewrite(&folder.join(name), target, |entry| {
            let mut data = shard.read(entry)?;
            let pair = pairs.get(&entry.name);
            if pair.is_some() || target(entry) != entry.dtype {
                let to: DType = target(entry).try_into()?;
                data = tensor(&data, entry, pair.copied(), to)?;
                if pair.is_some() {
                    dtype = to;
                }
            }
            bytes += data.len();
            done += 1;
            tick(done, all);
            Ok(data)
        })?;
    }
    let (tensors, changed, files) = (all, pairs.len(), shards.len());
    Ok(Merged { tensors, changed, files, bytes, dtype, difference: None, is_earlier: false })
}

/// The bytes of `W + scale B A` (or of `W`) as `to`. Refuses values that are not finite or too large for it.
fn tensor(
    data: &[u8],
    entry: &Entry,
    pair: Option<(&LoraPair, f64)>,
    to: DType,
) -> Result<Vec<u8>> {
    let stored = entry.float()?;
    let computed = if stored == DType::F64 { DType::F64 } else { DType::F32 };
    let mut weight =
        Tensor::from_raw_buffer(data, stored, &entry.shape, &Device::Cpu)?.to_dtype(computed)?;
    if let Some((pair, scale)) = pair {
        let [b, a] = [&pair.b, &pair.a].map(|factor| factor.to_dtype(computed));
        weight = (weight + (b?.matmul(&a?)? * scale)?)?;
    }
    let rounded = narrow::to_dtype(&weight, to)?;
    drop(weight);
    let sum = rounded.to_dtype(computed)?.sum_all()?.to_dtype(DType::F64)?;
    if !sum.to_scalar::<f64>()?.is_finite() {
        let message = format!("`{}` has values that {to:?} cannot hold", entry.name);
        return Err(InputError::new(message).hint("merge with `--dtype f32`").into());
    }
    Ok(rounded.data().into_owned())
}

/// The file `name` of the base; none if it has none.
fn of_base(merge: &Merge<'_>, name: &str) -> Result<Option<Vec<u8>>> {
    let path = merge.model.join(name);
    let read = || read::bytes(&path).with_context(|| format!("cannot read `{}`", path.display()));
    path.is_file().then(read).transpose()
}

/// The files that come from the base as they are, but for the chat templates, which the adapter may have in place of the base's.
fn copied(merge: &Merge<'_>) -> Result<Vec<NamedFile>> {
    let mut copied = chat::additional_templates(merge.model)?;
    for name in COPIED {
        copied.extend(of_base(merge, name)?.map(|bytes| (name.to_owned(), bytes)));
    }
    if let Some(templates) = templates_of_adapter(merge.model, merge.adapter)? {
        templates.replace_in(&mut copied)?;
    }
    Ok(copied)
}

/// Copies everything but the weights. Where their dtype changes, updates `config.json` and the index. Shards without an index get one,
/// since transformers reads them by it.
fn copy(
    merge: &Merge<'_>,
    config_text: &str,
    shards: &[Shard],
    bytes: usize,
    folder: &Path,
) -> Result<()> {
    let put = |name: &str, bytes: &[u8]| {
        atomic::write(&folder.join(name), |out| Ok(out.write_all(bytes)?))
    };
    for (name, bytes) in copied(merge)? {
        if name.starts_with(chat::ADDITIONAL_TEMPLATES) {
            std::fs::create_dir_all(folder.join(chat::ADDITIONAL_TEMPLATES))?;
        }
        put(&name, &bytes)?;
    }
    let index = match of_base(merge, INDEX_FILE)?
        .filter(|_| !merge.model.join("model.safetensors").is_file())
    {
        None if shards.len() > 1 => Some(index(shards, bytes)?),
        index => index,
    };
    let Stored::As(dtype) = merge.stored else {
        put(CONFIG_FILE, config_text.as_bytes())?;
        return index.map_or(Ok(()), |index| put(INDEX_FILE, &index));
    };
    let mut config: Value = serde_json::from_str(config_text)?;
    let word = match dtype {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        _ => "float32",
    };
    let key = if config.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    config[key] = word.into();
    put(CONFIG_FILE, &serde_json::to_vec_pretty(&config)?)?;
    if let Some(index) = index {
        let mut index: Value = serde_json::from_slice(&index)?;
        index["metadata"]["total_size"] = bytes.into();
        put(INDEX_FILE, &serde_json::to_vec_pretty(&index)?)?;
    }
    Ok(())
}

/// The index of shards, of `bytes` in all.
fn index(shards: &[Shard], bytes: usize) -> Result<Vec<u8>> {
    let mut map = serde_json::Map::new();
    for shard in shards {
        let file = shard.path().file_name().context("a file without a name")?.to_string_lossy();
        map.extend(shard.entries().iter().map(|entry| (entry.name.clone(), (*file).into())));
    }
    let index = serde_json::json!({ "metadata": { "total_size": bytes }, "weight_map": map });
    Ok(serde_json::to_vec_pretty(&index)?)
}

/// Compares the next token's logits after each probe.
fn compare(
    merge: &Merge<'_>,
    shape: &Shape,
    adapter: &Adapter,
    tokenizer: &Tokenizer,
    merged: &Path,
    dtype: DType,
    tick: &mut dyn FnMut(),
) -> Result<Difference> {
    let ids = |text: &String| -> Result<Vec<u32>> {
        let ids = tokenizer.encode(text, true)?;
        if ids.is_empty() {
            bail_input!("the probe `{text}` has no token");
        }
        Ok(ids)
    };
    let texts = merge.probes.iter().map(ids).collect::<Result<Vec<_>>>()?;
    let unmerged = next_logits(merge.model, shape, Some(adapter), &texts, tick)?;
    let merged = next_logits(merged, shape, None, &texts, tick)?;
    let largest_logit = unmerged.iter().flatten().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
    // `f64::max` passes over NaN, which must not pass for a small difference.
    let worst = |a: &Vec<f32>, b: &Vec<f32>| {
        let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
        differences.fold(0.0, |worst, x| if x.is_nan() || x > worst { x } else { worst })
    };
    let probes: Vec<f64> = unmerged.iter().zip(&merged).map(|(a, b)| worst(a, b)).collect();
    if let Some(nan) = probes.iter().find(|x| x.is_nan()) {
        anyhow::bail!("logits of the merged model are not finite ({nan})");
    }
    Ok(Difference { probes, largest_logit, bound: bound(dtype) * largest_logit })
}
