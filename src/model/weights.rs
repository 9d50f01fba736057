//! Tensors of a checkpoint folder: one `model.safetensors`, or shards with or without their index. Memory-mapped, checked by name and shape.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use safetensors::Dtype;

use super::family;
use super::mapped_files::MappedFiles;
use super::narrow;
use super::prefix::{self, Names};
use super::shard::Shard;
use crate::bail_input;
use crate::disk::{digest, read};
use crate::error::{InputError, is_of_path};
use crate::ops::weight::Weight;

/// File of the weights where there is one.
pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";
/// Index of the weights where there are several files.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

/// Most tensors that a message lists; it counts the others.
const LISTED: usize = 8;

/// An open checkpoint from which each expected tensor is taken once.
pub struct Checkpoint {
    folder: PathBuf,
    files: Arc<MmapedSafetensors>,
    opened: MappedFiles,
    names: Names,
    unread: BTreeSet<String>,
    /// Tensors stored as F64.
    wide: usize,
    missing: Vec<String>,
    misshapen: Vec<String>,
    dtype: DType,
    device: Device,
}

impl Checkpoint {
    /// Maps the safetensors files of `folder`; tensors are converted to `dtype` on `device`.
    pub fn open(folder: &Path, dtype: DType, device: &Device) -> Result<Self> {
        let paths = shards(folder)?;
        let opened = MappedFiles::open(&paths)?;
        // SAFETY: the files are opened for reading only. As for every mapped file, nothing may shorten them meanwhile: the system then ends
        // the process. What was written without that is refused by `MappedFiles`.
        #[expect(unsafe_code, reason = "memory-mapping a file is unsafe in Rust")]
        let files = unsafe { MmapedSafetensors::multi(&paths) };
        let files = files.map_err(|error| {
            let message = format!(
                "checkpoint `{}` is not made of whole safetensors files: {}",
                folder.display(),
                error.to_string().lines().next().unwrap_or_default()
            );
            match of_system(error) {
                Some(error) if !is_of_path(&error) => anyhow::Error::new(error)
                    .context(format!("cannot read the weights in `{}`", folder.display())),
                _ => InputError::new(message)
                    .hint("the download is incomplete or broken; fetch it again")
                    .into(),
            }
        })?;
        let unread: BTreeSet<_> = files.tensors().into_iter().map(|(name, _)| name).collect();
        let names = Names::of(unread.iter().map(String::as_str));
        let (missing, misshapen, wide) = Default::default();
        Ok(Self {
            folder: folder.to_owned(),
            files: Arc::new(files),
            opened,
            names,
            unread,
            wide,
            missing,
            misshapen,
            dtype,
            device: device.clone(),
        })
    }

    /// Takes the weight that the model calls `name`, which must have `shape`. A matrix for the CPU stays where it lies if it is stored in the
    /// dtype. [`Checkpoint::finish`] reports all that was wrong.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Weight> {
        let name = self.names.stored(name);
        let placeholder = || Ok(Tensor::zeros(0, self.dtype, &self.device)?.into());
        self.unread.remove(name);
        let Ok(view) = self.files.get(name) else {
            self.missing.push(name.to_owned());
            return placeholder();
        };
        if view.shape() != shape {
            self.misshapen
                .push(format!("`{name}` has shape {:?}, expected {shape:?}", view.shape()));
            return placeholder();
        }
        match view.dtype() {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => {}
            Dtype::F64 => self.wide += 1,
            other => {
                self.misshapen.push(format!(
                    "`{name}` is stored as {other:?}, expected F32, F16, BF16 or F64"
                ));
                return placeholder();
            }
        }
        if self.device.is_cpu()
            && let Some(mapped) = Weight::mapped(&self.files, name, self.dtype)
        {
            return Ok(mapped);
        }
        let held = narrow::to_dtype(&self.files.load(name, &Device::Cpu)?, self.dtype)?;
        Ok(held.to_device(&self.device)?.into())
    }

    /// Accepts the output layer in the files of a tied model, which is the embedding once more.
    ///
    /// Refuses another one: transformers 4 drops it and ties, transformers 5 keeps it.
    pub fn accept_tied_head(&mut self) -> Result<()> {
        self.unread.remove(family::LM_HEAD);
        let embedding = self.names.stored(family::EMBED_TOKENS);
        let (Ok(head), Ok(embedding)) =
            (self.files.get(family::LM_HEAD), self.files.get(embedding))
        else {
            return Ok(());
        };
        let is_same = head.shape() == embedding.shape()
            && head.dtype() == embedding.dtype()
            && head.data() == embedding.data();
        if is_same {
            return Ok(());
        }
        let message = format!(
            "checkpoint `{}`: `{}` is not `{}`, although `tie_word_embeddings` says so",
            self.folder.display(),
            family::LM_HEAD,
            family::EMBED_TOKENS
        );
        Err(InputError::new(message)
            .hint(format!(
                "set `tie_word_embeddings` to false in its config.json to use the file's `{0}`, as transformers 5 does, or remove `{0}` from the file",
                family::LM_HEAD
            ))
            .into())
    }

    /// Refuses a checkpoint with missing, extra or mis-shaped tensors, and names them. Returns lines for the user on what was converted, and
    /// the files in which weights stay; none where no weight does.
    pub fn finish(self) -> Result<(Vec<String>, MappedFiles)> {
        // Old checkpoints carry these buffers, which are computed from the configuration.
        let extra: Vec<_> = self
            .unread
            .into_iter()
            .filter(|name| !name.ends_with(".rotary_emb.inv_freq"))
            .collect();
        let quoted =
            |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let complaints: Vec<_> = [
            ("missing", quoted(&self.missing)),
            ("not expected", quoted(&extra)),
            ("unusable", self.misshapen),
        ]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| {
            let more = names.len().saturating_sub(LISTED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{} {what}: {}{more}", names.len(), names[..names.len().min(LISTED)].join(", "))
        })
        .collect();
        if complaints.is_empty() {
            let is_mapped = Arc::strong_count(&self.files) > 1;
            let mapped = if is_mapped { self.opened } else { MappedFiles::default() };
            let notes = match self.wide {
                0 => Vec::new(),
                wide => vec![format!(
                    "checkpoint `{}`: {wide} tensors are stored as F64 and are computed in {:?}",
                    self.folder.display(),
                    self.dtype
                )],
            };
            return Ok((notes, mapped));
        }
        if let Some(refused) = prefix::refusal(&self.folder, &self.missing, &extra) {
            return Err(refused.into());
        }
        let message = format!(
            "checkpoint `{}` does not match its config.json: {}",
            self.folder.display(),
            complaints.join("; ")
        );
        let only_head = self.missing == [family::LM_HEAD] && extra.is_empty();
        Err(InputError::new(message)
            .hint(match only_head && self.names == Names::Bare {
                true => {
                    "it was saved as `LlamaModel`, without the output layer, which transformers would fill with random numbers: save \
                     `LlamaForCausalLM`, or set `tie_word_embeddings` in its config.json if the embedding is the output layer"
                }
                false => "the folder must hold the config.json that the weights were saved with",
            })
            .into())
    }
}

/// The files that hold the weights: `model.safetensors`, or those that `model.safetensors.index.json` names, or a whole set
/// `model-00001-of-0000N.safetensors` without an index.
///
/// Refuses a folder that holds an adapter too: transformers loads it with the model.
pub(crate) fn shards(folder: &Path) -> Result<Vec<PathBuf>> {
    let adapter = folder.join(super::adapter::CONFIG_FILE);
    if adapter.is_file() {
        return Err(InputError::new(format!(
            "model folder `{}` has an `{}`, and transformers would load that adapter with the model",
            folder.display(),
            super::adapter::CONFIG_FILE
        ))
        .hint("give the base model as `model.path`, and the adapter as `--adapter` or `lora.init_from`; or merge it first")
        .into());
    }
    let single = folder.join(WEIGHTS_FILE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = folder.join(INDEX_FILE);
    if !index.is_file() {
        let old = ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"]
            .into_iter()
            .find(|name| folder.join(name).is_file());
        let names: Vec<_> = std::fs::read_dir(folder)
            .with_context(|| format!("cannot read `{}`", folder.display()))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        if let Some(set) = without_index(&format!("model folder `{}`", folder.display()), &names)? {
            let paths: Vec<_> = set.iter().map(|name| folder.join(name)).collect();
            refuse_doubled(&paths)?;
            return Ok(paths);
        }
        let error = InputError::new(format!(
            "model folder `{}` has no `model.safetensors` and no `model.safetensors.index.json`",
            folder.display()
        ));
        return Err(match old {
            Some(old) => error.hint(format!("it has `{old}`: convert it with transformers, `AutoModelForCausalLM.from_pretrained(..).save_pretrained(..)`")),
            None => error.hint("`model.path` must be the folder of a Hugging Face checkpoint"),
        }
        .into());
    }
    let text = read::text(&index).with_context(|| format!("cannot read `{}`", index.display()))?;
    let names = shard_names(&text, &index.display().to_string())?;
    let paths: Vec<_> = names.into_iter().map(|name| folder.join(name)).collect();
    let unread = |path: &PathBuf| Some((path.clone(), read::open(path).err()?));
    if let Some((path, error)) = paths.iter().find_map(unread) {
        let (index, path) = (index.display(), path.display());
        return Err(match error.kind() {
            ErrorKind::NotFound => {
                InputError::new(format!("{index}: names `{path}`, which does not exist"))
                    .hint("the download is incomplete")
                    .into()
            }
            _ => {
                let what = format!("{index}: names `{path}`, which cannot be read");
                InputError::of_path(what, error, |error| error)
            }
        });
    }
    refuse_doubled(&paths)?;
    Ok(paths)
}

/// Refuses a tensor that two of the shards hold. An index does not choose between them: transformers reads the shards whole.
fn refuse_doubled(paths: &[PathBuf]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for path in paths {
        for entry in Shard::open(path)?.entries() {
            if !seen.insert(entry.name.clone()) {
                bail_input!("`{}`: `{}` is in another shard too", path.display(), entry.name);
            }
        }
    }
    Ok(())
}

/// The shards `model-00001-of-0000N.safetensors` among the `names` in `place`, which has no index for them; none without a shard.
///
/// Refuses shards that are not one whole set with these names. transformers refuses all of them.
pub(crate) fn without_index(
    place: &str,
    names: &[String],
) -> Result<Option<Vec<String>>, InputError> {
    /// What stands before the number, the number and the count, if `name` is that of a shard.
    fn parts(name: &str) -> Option<(&str, &str, &str)> {
        let (rest, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        (digits(number) && digits(count)).then_some((stem, number, count))
    }
    let mut shards: Vec<_> = names.iter().filter_map(|name| Some((name, parts(name)?))).collect();
    shards.sort();
    let Some(&(first, (stem, _, count))) = shards.first() else { return Ok(None) };
    let all = count.trim_start_matches('0');
    let numbered = |(i, (_, part)): (usize, &(&String, (&str, &str, &str)))| {
        *part == (stem, &*format!("{:0width$}", i + 1, width = count.len()), count)
    };
    let is_whole = stem == "model"
        && shards.len().to_string() == all
        && shards.iter().enumerate().all(numbered);
    if is_whole {
        return Ok(Some(shards.into_iter().map(|(name, _)| name.clone()).collect()));
    }
    let message = format!(
        "{place} has no `{INDEX_FILE}` for its shards, which are no whole set \
         `model-00001-of-0000N.safetensors`: {} files, the first `{first}`",
        shards.len()
    );
    Err(InputError::new(message).hint(
        "fetch the index and the missing files from where the shards are from, or save the model again with transformers, \
         `save_pretrained(FOLDER)`",
    ))
}

/// The files that an index names. Refuses names with a folder. `index`: its name in messages.
pub(crate) fn shard_names(text: &str, index: &str) -> Result<BTreeSet<String>> {
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| InputError::new(format!("{index}: not valid JSON: {e}")))?;
    let Some(map) = json.get("weight_map").and_then(|map| map.as_object()) else {
        bail_input!("{index}: `weight_map` is missing")
    };
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        match file.as_str() {
            Some(name) if Path::new(name).file_name().is_some_and(|last| last == name) => {
                names.insert(name.to_owned())
            }
            _ => bail_input!(
                "{index}: `weight_map` puts `{tensor}` in `{file}`, expected the name of a file beside it"
            ),
        };
    }
    if names.is_empty() {
        bail_input!("{index}: `weight_map` is empty");
    }
    Ok(names)
}

/// The error of the system that `error` holds; none where the bytes of a file are wrong.
fn of_system(error: candle_core::Error) -> Option<io::Error> {
    use candle_core::Error::{Context, Io, WithBacktrace, WithPath};
    match error {
        Io(error) => Some(error),
        WithPath { inner, .. } | WithBacktrace { inner, .. } | Context { inner, .. } => {
            of_system(*inner)
        }
        _ => None,
    }
}

/// Digest of `config.json` and the files of the weights, by name and content; other files of the folder do not count.
pub fn digest(folder: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = shards(folder)?;
    files.push(folder.join("config.json"));
    files.sort();
    let digests: Vec<String> =
        files.par_iter().map(|path| digest::of_large_file(path)).collect::<Result<_>>()?;
    let names = files
        .iter()
        .filter_map(|path| path.file_name())
        .map(|name| name.to_string_lossy().into_owned());
    Ok(digest::of_parts(names.chain(digests)))
}

#[cfg(test)]
mod tests;
