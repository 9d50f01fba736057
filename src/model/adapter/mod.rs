//! Adapter files in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

mod base;
mod config;
mod tensors;

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Device;
use serde_json::Value;

use super::lora::Adapter;
use super::shape::Shape;
use crate::config::{LoraSection, Projection};
use crate::console::interrupt;
use crate::disk::{digest, json, pipe};
use crate::error::InputError;
pub use base::other_base;
pub use config::config_json;
use config::{AdapterConfig, read_config};
pub use tensors::{Rank, from_safetensors, key, to_safetensors};

/// File of the weights in an adapter folder.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// File of the configuration in an adapter folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// Folder of the adapter in that of a run, for a hint.
const ADAPTER_OF_A_RUN: &str = "adapter";

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
    let text = piped(&path)?.and_then(text).map_err(|e| {
        InputError::new(format!("cannot read `{file}`: {e}")).hint(no_adapter(folder))
    })?;
    let fields: Value =
        json::unique(&text).map_err(|e| InputError::new(format!("{file}: not valid JSON: {e}")))?;
    let config = read_config(&fields, &file)?;
    if let Some(expected) = expected {
        agree(folder, expected, &config)?;
    }
    let weights = folder.join(WEIGHTS_FILE);
    let bytes = piped(&weights)?.map_err(|e| {
        let error = InputError::new(format!("cannot read `{}`: {e}", weights.display()));
        if folder.join("adapter_model.bin").exists() {
            error.hint(
                "the folder has `adapter_model.bin`, a pickle, which is not read here; load the adapter with PEFT and call \
                 `save_pretrained(FOLDER)`, which writes `adapter_model.safetensors`",
            )
        } else {
            error
        }
    })?;
    let AdapterConfig { rank, alpha, use_rslora, targets } = config;
    let wanted = expected.map_or(Rank::Own(rank), |section| Rank::Configured(section.rank));
    let tensors =
        from_safetensors(&bytes, &weights.display().to_string(), shape, &targets, wanted, device)?;
    Ok(Adapter { rank: wanted.number(), alpha, use_rslora, tensors })
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
    let is_hub_id = !folder.exists() && folder.is_relative() && folder.components().count() == 2;
    if is_hub_id {
        format!(
            "there is no such folder; if `{name}` is an adapter on the hub: it is not fetched from there, only `model.path` is; \
             `hf download {name} --local-dir FOLDER` fetches it"
        )
    } else if folder.join(ADAPTER_OF_A_RUN).join(CONFIG_FILE).exists() {
        format!("this is a run folder; its adapter is `{name}/{ADAPTER_OF_A_RUN}`")
    } else {
        "an adapter is a folder with `adapter_config.json` and `adapter_model.safetensors`"
            .to_owned()
    }
}

/// Refuses an adapter that the run's `[lora]` section does not describe; the shapes of the tensors tell a wrong rank.
fn agree(folder: &Path, expected: &LoraSection, found: &AdapterConfig) -> Result<()> {
    let names = |projections: &[Projection]| {
        serde_json::to_string(&projections.iter().map(|p| p.name()).collect::<Vec<_>>())
            .context("names")
    };
    let AdapterConfig { alpha, use_rslora, targets, .. } = found;
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
    if expected.alpha.total_cmp(alpha).is_ne() {
        let message = format!(
            "adapter `{}` was trained with alpha {alpha}, expected {}",
            folder.display(),
            expected.alpha
        );
        return Err(InputError::new(message).hint(format!("set `lora.alpha = {alpha:?}`")).into());
    }
    if expected.use_rslora != *use_rslora {
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
    use crate::model::rotary::{Rope, RopeScaling};
    use crate::ops::attention::Heads;

    fn section() -> LoraSection {
        let target_modules = vec![Projection::QProj, Projection::DownProj];
        LoraSection {
            rank: 3,
            alpha: 6.0,
            use_rslora: false,
            target_modules,
            ..LoraSection::default()
        }
    }

    #[test]
    fn an_adapter_that_the_section_describes_is_taken_and_another_one_refused_with_its_remedy() {
        let expected = section();
        let agree = |alpha, use_rslora, targets: &[Projection]| {
            let found = AdapterConfig { rank: 3, alpha, use_rslora, targets: targets.to_vec() };
            super::agree(Path::new("a"), &expected, &found)
        };
        let targets = &expected.target_modules[..];
        assert!(agree(6.0, false, targets).is_ok());
        for (refused, hint) in [
            (agree(7.5, false, targets), "set `lora.alpha = 7.5`"),
            (agree(6.0, true, targets), "set `lora.use_rslora = true`"),
            (agree(6.0, false, &targets[..1]), "set `lora.target_modules = [\"q_proj\"]`"),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(InputError::of(&error).unwrap().remedy().unwrap(), hint);
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
            rope: Rope { theta: 1e4, scaling: RopeScaling::None },
            tied: true,
            max_positions: 16,
        };
        let section = section();
        let adapter = Adapter::fresh(&shape(8), &section, 1, &Device::Cpu).unwrap();
        let bytes = to_safetensors(&adapter.tensors).unwrap();
        let read = |hidden, rank| {
            from_safetensors(
                &bytes,
                "a",
                &shape(hidden),
                &section.target_modules,
                Rank::Configured(rank),
                &Device::Cpu,
            )
        };
        assert!(read(8, 3).is_ok());
        for (hidden, rank, hint) in [
            (8, 4, "this adapter was trained with rank 3; set `lora.rank = 3`"),
            (10, 3, "this adapter was trained on a model of another shape"),
        ] {
            let error = read(hidden, rank).unwrap_err();
            assert_eq!(InputError::of(&error).unwrap().remedy().unwrap(), hint);
        }
    }
}
