//! Decides, from what a folder already holds, whether a run or an evaluation may write in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::config::{Difference, RunConfig};
use crate::disk::{atomic, lock, read, writable};
use crate::error::InputError;
use crate::run_folder::checkpoints::{self, MANIFEST_FILE};
use crate::run_folder::head;
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

/// Refuses a folder that is neither empty nor of this configuration, and a checkpoint to resume from that is none.
/// Writes nothing.
///
/// - `allow_change`: accepts a run of another configuration if its checkpoints fit this one.
///
/// Before the folder is locked, another program may still change what this finds: a program that writes checks again
/// under its lock.
///
/// Returns the differences from the configuration that the run began with, one sentence each.
pub fn check(
    purpose: Purpose,
    config: &RunConfig,
    resume: &Resume,
    allow_change: bool,
) -> Result<Vec<String>> {
    let (path, noun) = (&config.output.dir, purpose.noun());
    if let Resume::From(checkpoint) = resume {
        refuse_no_checkpoint(checkpoint, path)?;
    }
    let article = if purpose == Purpose::Run { "a" } else { "an" };
    if path.exists() && !path.is_dir() {
        return Err(InputError::new(format!("output folder `{}` is a file", path.display()))
            .hint("give another folder with `--output`")
            .into());
    }
    writable::check(path)?;
    let file = Paths::of(path).config(purpose);
    let Some(text) = read_config(&file)? else {
        let there = read::folder(path)?;
        // A program that is killed early leaves these: it makes the lock first and the configuration last. Looked for in one listing, since
        // another program may begin meanwhile.
        let begun = there.iter().any(|entry| entry.ends_with(lock::FILE));
        if begun && file.exists() {
            return check(purpose, config, resume, allow_change);
        }
        let ours = |entry: &Path| {
            [lock::FILE, "base_model"].iter().any(|name| entry.ends_with(name))
                || ["base_model", purpose.config_file()]
                    .iter()
                    .any(|name| atomic::is_partial_of(entry, name))
        };
        let strange = there.into_iter().find(|entry| !(begun && ours(entry)));
        return match strange {
            Some(entry) => {
                let name = entry.file_name().unwrap_or_default();
                let message = format!(
                    "output folder `{}` holds `{}` and is not the folder of {article} {noun}",
                    path.display(),
                    name.to_string_lossy()
                );
                Err(InputError::new(message).hint("give another folder with `--output`").into())
            }
            None => match resume {
                Resume::From(checkpoint) => check_checkpoint(config, checkpoint, allow_change),
                Resume::Auto | Resume::Never => Ok(Vec::new()),
            },
        };
    };
    if *resume == Resume::Never {
        let message = format!("output folder `{}` holds {article} {noun} already", path.display());
        return Err(InputError::new(message)
            .hint("leave out `--resume never` to resume it, or give another folder with `--output`")
            .into());
    }
    let damage = damage(purpose, &file, &text, allow_change)?;
    let differences = differences(purpose, config, &file, &text)?;
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
    Ok(damage.into_iter().chain(differences.into_iter().map(|change| change.said)).collect())
}

/// Refuses a folder that is no whole checkpoint, with the checkpoints that there are in it or in `output`.
fn refuse_no_checkpoint(checkpoint: &Path, output: &Path) -> Result<()> {
    let shown = checkpoint.display();
    let is_run = [Purpose::Run, Purpose::Evaluation]
        .iter()
        .any(|purpose| Paths::of(checkpoint).config(*purpose).exists());
    if checkpoint.join("adapter_config.json").exists() && !checkpoint.join(MANIFEST_FILE).exists() {
        let run = checkpoint.parent().filter(|run| Paths::of(run).config(Purpose::Run).exists());
        let resume = run.map_or_else(String::new, |run| {
            format!("; `--output {}` without `--resume` resumes its run", run.display())
        });
        return Err(InputError::new(format!(
            "`--resume {shown}` is the folder of an adapter, not of a checkpoint"
        ))
        .hint(format!("`--set lora.init_from={shown}` starts a new run from the adapter{resume}"))
        .into());
    }
    let what = if !checkpoint.is_dir() {
        format!("`--resume {shown}`: there is no such folder")
    } else if is_run {
        format!("`--resume {shown}` is the folder of a run, not of a checkpoint")
    } else if !checkpoint.join(MANIFEST_FILE).exists() {
        format!("`--resume {shown}` is no checkpoint: it has no `{MANIFEST_FILE}`")
    } else {
        return checkpoints::verify(checkpoint)
            .with_context(|| format!("cannot resume from `{shown}`"));
    };
    let mut found = Vec::new();
    for folder in [
        Paths::of(checkpoint).checkpoints(),
        checkpoint.to_owned(),
        Paths::of(output).checkpoints(),
    ] {
        if found.is_empty() && folder.is_dir() {
            found = checkpoints::list(&folder)?;
            found.extend(checkpoints::list_best(&folder)?);
        }
    }
    let names: Vec<_> = found.iter().map(|(_, path)| format!("`{}`", path.display())).collect();
    let hint = match &names[..] {
        [] => "leave out `--resume` to resume the run in the output folder, or to start one"
            .to_owned(),
        names => format!("the checkpoints are {}", names.join(", ")),
    };
    Err(InputError::new(what).hint(hint).into())
}

/// The text of a configuration file; none if the file does not exist.
pub(super) fn read_config(file: &Path) -> Result<Option<String>> {
    let Some(bytes) = read::if_there(file)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| {
        InputError::new(format!("`{}` is not UTF-8 text: it is damaged", file.display()))
            .hint("give another folder with `--output`")
    })?;
    Ok(Some(text))
}

/// Refuses a configuration file that does not match its digest, unless a change is allowed. Returns the sentence about
/// it then.
fn damage(purpose: Purpose, file: &Path, text: &str, allow_change: bool) -> Result<Option<String>> {
    let Err(broken) = head::check(text) else { return Ok(None) };
    let what = format!("`{}` was changed after it was written: {broken}", file.display());
    if allow_change {
        return Ok(Some(what));
    }
    let hint = match purpose {
        Purpose::Run => {
            "put the file back as it was, or give another folder with `--output`, or add `--allow-config-change` to \
             resume with the configuration of this command; all figures are then computed again"
        }
        Purpose::Evaluation => "give another folder with `--output`, or remove this one",
    };
    Err(InputError::new(what).hint(hint).into())
}

/// Refuses a checkpoint of a run with another configuration. Accepts one without a configuration two folders up.
fn check_checkpoint(
    config: &RunConfig,
    checkpoint: &Path,
    allow_change: bool,
) -> Result<Vec<String>> {
    let run = checkpoint.canonicalize().ok();
    let file = run.as_deref().and_then(|path| path.parent()?.parent());
    let Some(file) = file.map(|run| Paths::of(run).config(Purpose::Run)) else {
        return Ok(Vec::new());
    };
    let Some(text) = read_config(&file)? else { return Ok(Vec::new()) };
    let damage = damage(Purpose::Run, &file, &text, allow_change)?;
    let differences = differences(Purpose::Run, config, &file, &text)?;
    let what = format!("checkpoint `{}` belongs to another run", checkpoint.display());
    allowed(&differences, &what, allow_change, true, || {
        "give the configuration that the run began with".to_owned()
    })?;
    Ok(damage.into_iter().chain(differences.into_iter().map(|change| change.said)).collect())
}

fn differences(
    purpose: Purpose,
    config: &RunConfig,
    file: &Path,
    text: &str,
) -> Result<Vec<Difference>> {
    config.differences(&purpose.parse(text, &file.display().to_string())?)
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
