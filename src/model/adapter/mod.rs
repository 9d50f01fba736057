//! Adapter files in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

mod agree;
mod base;
mod config;
mod tensors;

use std::io;
use std::path::Path;

use anyhow::Result;
use candle_core::Device;
use serde_json::Value;

use super::lora::Adapter;
use super::plan::AdapterPlan;
use super::shape::Shape;
use crate::config::LoraSection;
use crate::console::interrupt;
use crate::disk::{digest, json, pipe};
use crate::error::InputError;
pub use base::other_base;
pub use config::config_json;
use config::read_config;
pub use tensors::{RankFrom, from_safetensors, key, to_safetensors};

/// File of the weights in an adapter folder.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// File of the configuration in an adapter folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// Folder of the adapter in that of a run, for a hint.
const ADAPTER_OF_A_RUN: &str = "adapter";

/// Loads the adapter in `folder`, which must fit the model and, where given, the run's `[lora]` section.
///
/// Refuses by name what PEFT can do to an adapter and this program does not compute (DoRA, biases, saved modules, ...).
pub fn load(
    folder: &Path,
    shape: &Shape,
    expected: Option<&LoraSection>,
    device: &Device,
) -> Result<Adapter> {
    Ok(load_digested(folder, shape, expected, device)?.0)
}

/// [`load`], and each file that was read with the SHA-256 of what it held.
pub fn load_digested(
    folder: &Path,
    shape: &Shape,
    expected: Option<&LoraSection>,
    device: &Device,
) -> Result<(Adapter, [(&'static str, String); 2])> {
    let path = folder.join(CONFIG_FILE);
    let file = path.display().to_string();
    let text = piped(&path)?.and_then(text).map_err(|error| {
        let what = format!("cannot read `{file}`");
        InputError::of_path(what, error, |error| error.hint(no_adapter(folder)))
    })?;
    let fields: Value =
        json::unique(&text).map_err(|e| InputError::new(format!("{file}: not valid JSON: {e}")))?;
    let config = read_config(&fields, &file)?;
    let own = AdapterPlan::of_peft(&config, shape).map_err(|error| {
        let named = InputError::new(format!("{file}: {error}"));
        match error.remedy() {
            Some(hint) => named.hint(hint),
            None => named,
        }
    })?;
    let (plan, from) = match expected {
        Some(section) => {
            let plan = AdapterPlan::of(section, shape)?;
            agree::agree(folder, [section, &config], [&plan, &own])?;
            (plan, RankFrom::Configuration)
        }
        None => (own.clone(), RankFrom::Itself),
    };
    let weights = folder.join(WEIGHTS_FILE);
    let bytes = piped(&weights)?.map_err(|error| {
        let what = format!("cannot read `{}`", weights.display());
        InputError::of_path(what, error, |error| {
            if !folder.join("adapter_model.bin").exists() {
                return error;
            }
            error.hint(
                "the folder has `adapter_model.bin`, a pickle, which is not read here; load the adapter with PEFT and call \
                 `save_pretrained(FOLDER)`, which writes `adapter_model.safetensors`",
            )
        })
    })?;
    let name = weights.display().to_string();
    let tensors = from_safetensors(&bytes, &name, shape, &plan, from, device)?;
    agree::same_ranks(&file, &plan, &own)?;
    let files = [(CONFIG_FILE, text.as_bytes()), (WEIGHTS_FILE, &bytes[..])];
    let digests = files.map(|(file, bytes)| (file, digest::of_bytes(bytes)));
    Ok((Adapter { plan, tensors }, digests))
}

/// The bytes of a file of an adapter, which is read once and may be a pipe. The outer error is an interruption.
fn piped(path: &Path) -> Result<io::Result<Vec<u8>>> {
    let read = pipe::bytes(path, u64::MAX);
    interrupt::check()?;
    Ok(read)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// What is wrong with a `folder` without `adapter_config.json`.
fn no_adapter(folder: &Path) -> String {
    let name = folder.display();
    if folder.join(ADAPTER_OF_A_RUN).join(CONFIG_FILE).exists() {
        format!("this is a run folder; its adapter is `{name}/{ADAPTER_OF_A_RUN}`")
    } else {
        "an adapter is a folder with `adapter_config.json` and `adapter_model.safetensors`"
            .to_owned()
    }
}

/// Digest of an adapter's weights and scales; equal scales are digested once.
pub fn digest(adapter: &Adapter) -> Result<String> {
    let weights = to_safetensors(&adapter.tensors)?;
    let mut scales: Vec<_> =
        adapter.plan.iter().map(|(.., module)| module.scale().to_le_bytes()).collect();
    if scales.iter().all(|scale| *scale == scales[0]) {
        scales.truncate(1);
    }
    Ok(digest::of_parts([&weights[..], scales.as_flattened()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Modules, Projection};
    use crate::model::rotary::{Rope, RopeScaling};
    use crate::model::shape::Biases;
    use crate::ops::attention::Heads;

    fn section() -> LoraSection {
        let target_modules = Modules::of([Projection::QProj, Projection::DownProj]);
        LoraSection {
            rank: 3,
            alpha: 6.0,
            use_rslora: false,
            target_modules,
            ..LoraSection::default()
        }
    }

    #[test]
    fn a_tensor_of_another_rank_and_one_of_another_model_have_their_own_hints() {
        let shape = |hidden| Shape {
            vocab: 9,
            hidden,
            intermediate: 12,
            layers: 1,
            heads: Heads { heads: 2, kv_heads: 1, head_dim: 4 },
            rms_norm_eps: 1e-5,
            rope: Rope { theta: 1e4, scaling: RopeScaling::None, partial: 1.0 },
            tied: true,
            max_positions: 16,
            biases: Biases::default(),
            notes: Vec::new(),
        };
        let section = section();
        let adapter = Adapter::fresh(&shape(8), &section, 1, &Device::Cpu).unwrap();
        let bytes = to_safetensors(&adapter.tensors).unwrap();
        let read = |hidden, rank| {
            from_safetensors(
                &bytes,
                "a",
                &shape(hidden),
                &AdapterPlan::of(&LoraSection { rank, ..section.clone() }, &shape(hidden)).unwrap(),
                RankFrom::Configuration,
                &Device::Cpu,
            )
        };
        assert!(read(8, 3).is_ok());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(WEIGHTS_FILE), &bytes).unwrap();
        for (says, whole) in [(3, true), (6, false)] {
            let says = LoraSection { rank: says, ..section.clone() };
            let config = config_json(&says, "b", None).to_string();
            std::fs::write(folder.path().join(CONFIG_FILE), config).unwrap();
            let alike = load(folder.path(), &shape(8), Some(&section), &Device::Cpu);
            assert_eq!(alike.is_ok(), whole);
            if let Err(error) = alike {
                let said = error.to_string();
                assert!(said.ends_with("says rank 6, the adapter's tensors have rank 3: the two files are of different adapters"), "{said}");
            }
        }
        for (hidden, rank, hint) in [
            (8, 4, "this adapter was trained with rank 3; set `lora.rank = 3`"),
            (10, 3, "this adapter was trained on a model of another shape"),
        ] {
            let error = read(hidden, rank).unwrap_err();
            assert_eq!(InputError::of(&error).unwrap().remedy().unwrap(), hint);
        }
    }
}
