//! Decides, from what a folder already holds, whether a run or an evaluation may write in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::config::{Difference, RunConfig};
use crate::disk::writable;
use crate::error::InputError;
use crate::run_folder::LOCK_FILE;
use crate::run_folder::paths::Paths;
use crate::run_folder::purpose::Purpose;

/// What to do if the folder already has a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Resume it.
    Auto,
    /// Refuse the folder.
    Never,
    /// Resume from this checkpoint.
    From(PathBuf),
}

/// Refuses a folder that is neither empty nor of this configuration. Writes nothing.
///
/// - `allow_change`: accepts a run of another configuration if its checkpoints fit this one.
///
/// Returns the differences from the configuration that the run began with, one sentence each.
pub fn check(
    purpose: Purpose,
    config: &RunConfig,
    resume: &Resume,
    allow_change: bool,
) -> Result<Vec<String>> {
    let (path, noun) = (&config.output.dir, purpose.noun());
    let article = if purpose == Purpose::Run { "a" } else { "an" };
    if path.exists() && !path.is_dir() {
        return Err(InputError::new(format!("output folder `{}` is a file", path.display()))
            .hint("give another folder with `--output`")
            .into());
    }
    writable::check(path)?;
    let file = Paths::of(path).config(purpose);
    if !file.exists() {
        // A program that is killed early leaves these: it makes the lock first and the configuration last.
        let begun = path.join(LOCK_FILE).exists();
        let partial = format!(".{}.partial", purpose.config_file());
        let ours = [LOCK_FILE, "base_model", ".base_model.partial", &partial];
        let strange = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| !(begun && ours.iter().any(|name| entry.file_name() == *name)));
        return match strange {
            Some(entry) => {
                let message = format!(
                    "output folder `{}` holds `{}` and is not the folder of {article} {noun}",
                    path.display(),
                    entry.file_name().to_string_lossy()
                );
                Err(InputError::new(message).hint("give another folder with `--output`").into())
            }
            None => match resume {
                Resume::From(checkpoint) => check_checkpoint(config, checkpoint, allow_change),
                Resume::Auto | Resume::Never => Ok(Vec::new()),
            },
        };
    }
    if *resume == Resume::Never {
        let message = format!("output folder `{}` holds {article} {noun} already", path.display());
        return Err(InputError::new(message)
            .hint("leave out `--resume never` to resume it, or give another folder with `--output`")
            .into());
    }
    let differences = differences(purpose, config, &file)?;
    let what = format!("output folder `{}` holds another {noun}", path.display());
    let may_change = purpose == Purpose::Run;
    allowed(&differences, &what, allow_change, may_change, || {
        format!(
            "give another folder with `--output`, or the configuration that the {noun} began with"
        )
    })?;
    if let Resume::From(checkpoint) = resume {
        check_checkpoint(config, checkpoint, allow_change)?;
    }
    Ok(differences.into_iter().map(|difference| difference.said).collect())
}

/// Refuses a checkpoint of a run with another configuration. Accepts one without a configuration two folders up.
fn check_checkpoint(
    config: &RunConfig,
    checkpoint: &Path,
    allow_change: bool,
) -> Result<Vec<String>> {
    let run = checkpoint.canonicalize().ok();
    let file = run.as_deref().and_then(|path| path.parent()?.parent());
    let Some(file) = file.map(|run| Paths::of(run).config(Purpose::Run)).filter(|f| f.exists())
    else {
        return Ok(Vec::new());
    };
    let differences = differences(Purpose::Run, config, &file)?;
    let what = format!("checkpoint `{}` belongs to another run", checkpoint.display());
    allowed(&differences, &what, allow_change, true, || {
        "give the configuration that the run began with".to_owned()
    })?;
    Ok(differences.into_iter().map(|difference| difference.said).collect())
}

fn differences(purpose: Purpose, config: &RunConfig, file: &Path) -> Result<Vec<Difference>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    config.differences(&purpose.parse(&text, &file.display().to_string())?)
}

/// Refuses differences unless they are allowed. Always refuses those that no checkpoint fits.
fn allowed(
    differences: &[Difference],
    what: &str,
    allow_change: bool,
    may_change: bool,
    remedy: impl FnOnce() -> String,
) -> Result<()> {
    let joined = |some: &mut dyn Iterator<Item = &Difference>| {
        some.map(|difference| &*difference.said).collect::<Vec<_>>().join("; ")
    };
    let mut lasting = differences.iter().filter(|difference| difference.is_lasting()).peekable();
    if allow_change && lasting.peek().is_some() {
        let message = format!("{what}, and its checkpoints do not fit: {}", joined(&mut lasting));
        return Err(InputError::new(message)
            .hint("start a run in another folder; `lora.init_from` starts it from an adapter of the same shape")
            .into());
    }
    if allow_change || differences.is_empty() {
        return Ok(());
    }
    let told = match may_change && lasting.peek().is_none() {
        true => ", or add `--allow-config-change` to resume this one",
        false => "",
    };
    let message = format!("{what}: {}", joined(&mut differences.iter()));
    Err(InputError::new(message).hint(remedy() + told).into())
}
