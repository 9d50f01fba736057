//! Checkpoints: one folder each, written atomically, with the SHA-256 of every file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Device;

use crate::config::LoraSection;
use crate::disk::{atomic, digest, read};
use crate::model::adapter::{self, WEIGHTS_FILE};
use crate::model::lora::{Adapter, LoraTensors};
use crate::model::plan::AdapterPlan;
use crate::model::shape::Shape;
use crate::run_folder::checkpoints::{
    MANIFEST_FILE, best_path, list, list_best, manifest, name, read_file,
};
use crate::run_folder::guard::Resume;
use crate::session::Session;
use crate::train::optimizer::Optimizer;
use crate::train::state::{Cursor, State};

const STATE_FILE: &str = "state.json";
const MOMENT_FILES: [&str; 2] = ["first_moments.safetensors", "second_moments.safetensors"];

/// The checkpoint that `--resume` names, else the newest whole one, else a fresh state.
///
/// A broken checkpoint is an error if `--resume` names it; otherwise it is skipped with a warning.
pub(super) fn newest_or_fresh(session: &Session<'_>) -> Result<State> {
    let verbosity = session.options.verbosity;
    if let Resume::From(path) = &session.options.resume {
        let state = open(session, path)
            .with_context(|| format!("cannot resume from `{}`", path.display()))?;
        verbosity.note(format!("resumed from `{}`", path.display()));
        return Ok(state);
    }
    let folder = session.folder.checkpoints();
    for (step, path) in list(&folder)? {
        match open(session, &path) {
            Ok(state) => {
                verbosity.note(format!("resumed after step {step}"));
                // A killed program may have left one too many.
                remove_older(&folder, step, session.config.train.keep_checkpoints)?;
                return Ok(state);
            }
            // A disk that fails or a limit of open files says nothing about the checkpoint.
            Err(error) if read::failed(&error) => return Err(error),
            Err(error) => {
                verbosity.warn(format!("checkpoint `{}` is skipped: {error:#}", path.display()));
            }
        }
    }
    let (config, device) = (session.config, &session.model.device);
    let adapter = match &session.inputs.start {
        Some(adapter) => adapter.to_device(device)?,
        None => Adapter::fresh(&session.model.shape, &config.lora, config.train.seed, device)?,
    };
    let optimizer = Optimizer::new(&adapter.tensors)?;
    Ok(State { cursor: Cursor::default(), adapter, optimizer })
}

/// The adapter after `step` steps, on the device of `session`, from the best checkpoint of that step or from the other
/// one. Reads no moments, so they may be broken.
pub(super) fn adapter_after(session: &Session<'_>, step: usize) -> Result<Adapter> {
    let (model, lora, folder) =
        (&session.model, &session.config.lora, session.folder.checkpoints());
    let adapter =
        |path: &Path| load_adapter(path, &manifest(path)?, &model.shape, lora, &model.device);
    let best = best_path(&folder, step);
    adapter(&best).or_else(|error| {
        let context = || format!("cannot load the best checkpoint `{}`", best.display());
        adapter(&folder.join(name(step))).map_err(|_| error).with_context(context)
    })
}

/// Loads the checkpoint in the folder `path` onto the device of `session`.
pub(super) fn open(session: &Session<'_>, path: &Path) -> Result<State> {
    let model = &session.model;
    load(path, &model.shape, &session.config.lora, &model.device)
}

/// Saves `state` as the newest checkpoint, then removes all but the newest `train.keep_checkpoints`.
pub(super) fn save(session: &Session<'_>, state: &State) -> Result<()> {
    let keep = session.config.train.keep_checkpoints;
    save_in(&session.folder.checkpoints(), state, keep, &session.adapter_config())?;
    Ok(())
}

/// Saves `state` as a best checkpoint; [`save`] never removes it.
pub(super) fn save_best(session: &Session<'_>, state: &State) -> Result<()> {
    let path = best_path(&session.folder.checkpoints(), state.cursor.step);
    write(&path, state, &session.adapter_config())
}

/// Saves `state` under `folder`, then removes all but the `keep` newest checkpoints up to it.
fn save_in(
    folder: &Path,
    state: &State,
    keep: usize,
    adapter_config: &serde_json::Value,
) -> Result<PathBuf> {
    let path = folder.join(name(state.cursor.step));
    write(&path, state, adapter_config)?;
    remove_older(folder, state.cursor.step, keep)?;
    // Those of later steps are broken, or of steps that the run does again.
    for (_, later) in list(folder)?.into_iter().filter(|(step, _)| *step > state.cursor.step) {
        remove(&later)?;
    }
    Ok(path)
}

/// Removes all but the `keep` newest of the checkpoints up to step `step`.
fn remove_older(folder: &Path, step: usize, keep: usize) -> Result<()> {
    let saved = list(folder)?.into_iter().filter(|(saved, _)| *saved <= step);
    saved.skip(keep).try_for_each(|(_, old)| remove(&old))
}

fn remove(checkpoint: &Path) -> Result<()> {
    fs::remove_dir_all(checkpoint)
        .with_context(|| format!("cannot remove `{}`", checkpoint.display()))
}

/// Removes the best checkpoints in `folder`, except those of the steps `needed`.
pub fn prune_best(folder: &Path, needed: &[usize]) -> Result<()> {
    for (step, old) in list_best(folder)? {
        if !needed.contains(&step) {
            remove(&old)?;
        }
    }
    Ok(())
}

/// Writes `state` as the folder `path`. An identical checkpoint is left untouched, so one always exists.
fn write(path: &Path, state: &State, adapter_config: &serde_json::Value) -> Result<()> {
    let mut files = vec![
        (WEIGHTS_FILE.to_owned(), adapter::to_safetensors(&state.adapter.tensors)?),
        (adapter::CONFIG_FILE.to_owned(), serde_json::to_vec_pretty(adapter_config)?),
        (MOMENT_FILES[0].to_owned(), adapter::to_safetensors(&state.optimizer.first_moments)?),
        (MOMENT_FILES[1].to_owned(), adapter::to_safetensors(&state.optimizer.second_moments)?),
        (STATE_FILE.to_owned(), serde_json::to_vec_pretty(&state.cursor)?),
    ];
    let manifest: BTreeMap<_, _> =
        files.iter().map(|(name, bytes)| (name.clone(), digest::of_bytes(bytes))).collect();
    files.push((MANIFEST_FILE.to_owned(), serde_json::to_vec_pretty(&manifest)?));
    let there = |(name, bytes): &(String, Vec<u8>)| {
        read::bytes(&path.join(name)).is_ok_and(|there| there == *bytes)
    };
    if files.iter().all(there) { Ok(()) } else { atomic::write_folder(path, &files) }
}

/// Loads the checkpoint in `folder` onto `device`, all tensors f32.
///
/// Refuses a missing file, a file that does not match its digest, and tensors that do not fit the model's shape
/// `config` or the rank and modules of `section`.
pub fn load(
    folder: &Path,
    config: &Shape,
    section: &LoraSection,
    device: &Device,
) -> Result<State> {
    let manifest = manifest(folder)?;
    let cursor: Cursor = serde_json::from_slice(&read_file(folder, STATE_FILE, &manifest)?)?;
    let tensors = |name| tensors(folder, name, &manifest, config, section, device);
    let optimizer = Optimizer {
        first_moments: tensors(MOMENT_FILES[0])?,
        second_moments: tensors(MOMENT_FILES[1])?,
        count: cursor.updates,
    };
    let adapter = load_adapter(folder, &manifest, config, section, device)?;
    Ok(State { cursor, adapter, optimizer })
}

fn load_adapter(
    folder: &Path,
    manifest: &BTreeMap<String, String>,
    config: &Shape,
    section: &LoraSection,
    device: &Device,
) -> Result<Adapter> {
    let tensors = tensors(folder, WEIGHTS_FILE, manifest, config, section, device)?;
    Ok(Adapter { plan: AdapterPlan::of(section, config)?, tensors })
}

fn tensors(
    folder: &Path,
    name: &str,
    manifest: &BTreeMap<String, String>,
    config: &Shape,
    section: &LoraSection,
    device: &Device,
) -> Result<LoraTensors> {
    adapter::from_safetensors(
        &read_file(folder, name, manifest)?,
        &folder.join(name).display().to_string(),
        config,
        &AdapterPlan::of(section, config)?,
        adapter::RankFrom::Configuration,
        device,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Modules, Projection};
    use crate::model::rotary::{Rope, RopeScaling};
    use crate::model::shape::Biases;
    use crate::ops::attention::Heads;

    fn config() -> Shape {
        let heads = Heads { heads: 2, kv_heads: 1, head_dim: 4 };
        let rope = Rope { theta: 1e4, scaling: RopeScaling::None, partial: 1.0 };
        Shape {
            vocab: 9,
            hidden: 8,
            intermediate: 12,
            layers: 2,
            heads,
            rms_norm_eps: 1e-5,
            rope,
            tied: true,
            max_positions: 16,
            biases: Biases::default(),
            notes: Vec::new(),
        }
    }

    fn section() -> LoraSection {
        let target_modules = Modules::of([Projection::QProj, Projection::DownProj]);
        LoraSection { rank: 3, alpha: 6.0, target_modules, ..LoraSection::default() }
    }

    fn state(step: usize) -> State {
        let adapter = Adapter::fresh(&config(), &section(), step as u64, &Device::Cpu).unwrap();
        let optimizer = Optimizer::new(&adapter.tensors).unwrap();
        State {
            cursor: Cursor { step, updates: 7, skipped_in_a_row: 1, num_tokens: 99 },
            adapter,
            optimizer,
        }
    }

    fn reload(path: &Path) -> Result<State> {
        load(path, &config(), &section(), &Device::Cpu)
    }

    #[test]
    fn what_is_saved_is_what_is_loaded_and_only_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for step in [1, 2, 10] {
            save_in(folder.path(), &state(step), 2, &serde_json::json!({})).unwrap();
        }
        assert_eq!(
            list(folder.path()).unwrap().iter().map(|(step, _)| *step).collect::<Vec<_>>(),
            [10, 2]
        );
        let loaded = reload(&folder.path().join("step-000010")).unwrap();
        assert_eq!(loaded.cursor, state(10).cursor);
        assert_eq!(
            adapter::to_safetensors(&loaded.adapter.tensors).unwrap(),
            adapter::to_safetensors(&state(10).adapter.tensors).unwrap()
        );
    }

    #[test]
    fn a_flipped_bit_or_a_missing_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = save_in(folder.path(), &state(1), 1, &serde_json::json!({})).unwrap();
        for name in [WEIGHTS_FILE, MOMENT_FILES[0], MOMENT_FILES[1], STATE_FILE] {
            let whole = fs::read(path.join(name)).unwrap();
            let mut broken = whole.clone();
            let last = broken.len() - 1;
            broken[last] ^= 1;
            fs::write(path.join(name), broken).unwrap();
            assert!(reload(&path).is_err(), "{name}");
            fs::remove_file(path.join(name)).unwrap();
            assert!(reload(&path).is_err(), "{name}");
            fs::write(path.join(name), whole).unwrap();
        }
        assert!(reload(&path).is_ok());
    }

    #[test]
    fn an_identical_checkpoint_is_left_untouched_and_another_one_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let save =
            |state: &State| save_in(folder.path(), state, 1, &serde_json::json!({})).unwrap();
        let mark = save(&state(3)).join("mark");
        fs::write(&mark, "").unwrap();
        save(&state(3));
        assert!(mark.exists(), "the folder was written again");
        save(&State { cursor: Cursor { updates: 8, ..state(3).cursor }, ..state(3) });
        assert!(!mark.exists(), "another state was not written");
    }
}
