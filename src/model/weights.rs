//! Tensors of a checkpoint folder: one `model.safetensors`, or shards with or without their index. Memory-mapped, checked by name and shape.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use safetensors::Dtype;

use super::family;
use super::mapped_files::MappedFiles;
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
        let held = self.files.load(name, &Device::Cpu)?.to_dtype(self.dtype)?;
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
    if let Some(absent) = paths.iter().find(|path| !path.is_file()) {
        return Err(InputError::new(format!(
            "{}: names `{}`, which does not exist",
            index.display(),
            absent.display()
        ))
        .hint("the download is incomplete")
        .into());
    }
    Ok(paths)
}

/// Refuses a tensor that two of the shards hold, since only an index could choose between them.
fn refuse_doubled(paths: &[PathBuf]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for path in paths {
        for entry in Shard::open(path)?.entries() {
            if !seen.insert(entry.name.clone()) {
                bail_input!(
                    "`{}`: `{}` is in another shard too, and there is no `{INDEX_FILE}` to choose",
                    path.display(),
                    entry.name
                );
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
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn save(folder: &Path, file: &str, names: &[(&str, &[usize])]) {
        let tensors: HashMap<_, _> = names
            .iter()
            .map(|(name, shape)| (*name, Tensor::ones(*shape, DType::BF16, &Device::Cpu).unwrap()))
            .collect();
        candle_core::safetensors::save(&tensors, folder.join(file)).unwrap();
    }

    fn open(folder: &Path) -> Result<Checkpoint> {
        Checkpoint::open(folder, DType::F32, &Device::Cpu)
    }

    #[test]
    fn every_missing_extra_and_misshapen_tensor_is_named() {
        let folder = tempfile::tempdir().unwrap();
        save(
            folder.path(),
            "model.safetensors",
            &[("a", &[2, 3]), ("b", &[4]), ("left.rotary_emb.inv_freq", &[1]), ("c", &[1])],
        );
        let mut checkpoint = open(folder.path()).unwrap();
        let a = checkpoint.take("a", &[2, 3]).unwrap().into_tensor().unwrap();
        assert_eq!((a.dims(), a.dtype()), (&[2, 3][..], DType::F32));
        checkpoint.take("b", &[5]).unwrap();
        checkpoint.take("d", &[1]).unwrap();
        let message = checkpoint.finish().unwrap_err().to_string();
        for part in ["1 missing: `d`", "1 not expected: `c`", "`b` has shape [4], expected [5]"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_tied_checkpoint_with_another_output_layer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let accept = |head: Option<&[f32]>| {
            let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
            let embedding = tensor(&[1.0, 2.0]);
            let mut tensors = HashMap::from([("model.embed_tokens.weight", embedding)]);
            tensors.extend(head.map(|head| ("lm_head.weight", tensor(head))));
            candle_core::safetensors::save(&tensors, folder.path().join(WEIGHTS_FILE)).unwrap();
            let mut checkpoint = open(folder.path()).unwrap();
            checkpoint.accept_tied_head()?;
            checkpoint.take("model.embed_tokens.weight", &[2])?;
            checkpoint.finish().map(drop)
        };
        accept(None).unwrap();
        accept(Some(&[1.0, 2.0])).unwrap();
        for other in [&[1.0, 2.5][..], &[1.0, 2.0, 3.0]] {
            let error = accept(Some(other)).unwrap_err();
            assert!(error.to_string().contains("`lm_head.weight` is not"), "{error}");
            assert!(InputError::of(&error).and_then(InputError::remedy).is_some());
        }
    }

    #[test]
    fn shards_are_read_through_their_index() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), "one.safetensors", &[("a", &[2])]);
        save(folder.path(), "two.safetensors", &[("b", &[3])]);
        let index = folder.path().join("model.safetensors.index.json");
        std::fs::write(
            &index,
            r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#,
        )
        .unwrap();
        let mut checkpoint = open(folder.path()).unwrap();
        assert_eq!(checkpoint.take("b", &[3]).unwrap().into_tensor().unwrap().dims(), [3]);
        assert_eq!(checkpoint.take("a", &[2]).unwrap().into_tensor().unwrap().dims(), [2]);
        checkpoint.finish().unwrap();
        for broken in [
            r#"{"weight_map": {"a": "../one.safetensors"}}"#,
            r#"{"weight_map": {"a": "three.safetensors"}}"#,
            r#"{"weight_map": {}}"#,
            "{}",
            "{",
        ] {
            std::fs::write(&index, broken).unwrap();
            assert!(InputError::of(&open(folder.path()).err().unwrap()).is_some(), "{broken}");
        }
    }

    #[test]
    fn a_whole_set_of_shards_needs_no_index_and_any_other_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let name = |i: usize| format!("model-0000{i}-of-00003.safetensors");
        for i in [1, 3] {
            save(folder.path(), &name(i), &[(["", "a", "b", "c"][i], &[2])]);
        }
        let error = open(folder.path()).err().unwrap();
        let expected = "2 files, the first `model-00001-of-00003.safetensors`";
        assert!(error.to_string().ends_with(expected), "{error}");
        assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("fetch the index"));
        save(folder.path(), &name(2), &[("b", &[2])]);
        let mut checkpoint = open(folder.path()).unwrap();
        for tensor in ["a", "b", "c"] {
            checkpoint.take(tensor, &[2]).unwrap();
        }
        checkpoint.finish().unwrap();
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for others in [
            &["model-00001-of-00001.safetensors", "model-00001-of-00002.safetensors"][..],
            &["model-1-of-00001.safetensors"],
            &["pytorch_model-00001-of-00001.safetensors"],
            &["model-00000-of-00000.safetensors"],
            &["model-00002-of-00001.safetensors"],
        ] {
            assert!(without_index("x", &names(others)).is_err(), "{others:?}");
        }
        assert_eq!(without_index("x", &names(&["adapter_model.safetensors"])).unwrap(), None);
        save(folder.path(), &name(2), &[("b", &[2]), ("c", &[2])]);
        let error = open(folder.path()).err().unwrap();
        assert!(error.to_string().contains("`c` is in another shard too"), "{error}");
    }

    #[test]
    fn names_without_the_prefix_are_read_and_f64_is_converted_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let tensors = HashMap::from([
            ("layers.0.a.weight", Tensor::new(&[1f64 / 3.0], &Device::Cpu).unwrap()),
            ("norm.weight", Tensor::new(&[0.5f32], &Device::Cpu).unwrap()),
        ]);
        candle_core::safetensors::save(&tensors, folder.path().join(WEIGHTS_FILE)).unwrap();
        let mut checkpoint = open(folder.path()).unwrap();
        checkpoint.take("model.norm.weight", &[1]).unwrap();
        let third = checkpoint.take("model.layers.0.a.weight", &[1]).unwrap();
        let third = third.into_tensor().unwrap();
        assert_eq!(third.to_vec1::<f32>().unwrap()[0].to_bits(), (1f32 / 3.0).to_bits());
        let (notes, _) = checkpoint.finish().unwrap();
        assert!(notes.len() == 1 && notes[0].contains("1 tensors are stored as F64"), "{notes:?}");
        let mut checkpoint = open(folder.path()).unwrap();
        checkpoint.take("model.layers.0.a.weight", &[1]).unwrap();
        checkpoint.take("model.norm.weight", &[1]).unwrap();
        checkpoint.take("lm_head.weight", &[1]).unwrap();
        let error = checkpoint.finish().unwrap_err();
        assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("`LlamaModel`"));
    }

    #[test]
    fn a_truncated_file_and_an_old_format_are_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pytorch_model.bin"), "x").unwrap();
        let remedy =
            |error: anyhow::Error| InputError::of(&error).unwrap().remedy().unwrap().to_owned();
        assert!(remedy(open(folder.path()).err().unwrap()).contains("convert it"));
        save(folder.path(), "model.safetensors", &[("a", &[64])]);
        let path = folder.path().join("model.safetensors");
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 4, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(
                remedy(open(folder.path()).err().unwrap()).contains("fetch it again"),
                "{length}"
            );
        }
    }
}
