//! `train --seeds`: one run for each seed, in turn, each in its own folder, and one report over all of them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::bail_input;
use crate::config::RunConfig;
use crate::disk::{atomic, read};
use crate::error::InputError;
use crate::report::page::{self, FILES, Written};
use crate::run_folder::begun_batch;
use crate::run_folder::guard;
use crate::run_folder::purpose::Purpose;
use crate::session::Options;
use crate::train::run::run;

/// The configuration of each run: `config` with the seed as `train.seed` and `seed-N` under its `output.dir`.
///
/// Refuses a seed that is given twice, and an `output.dir` that holds anything but such runs and their report. Writes
/// nothing.
pub fn configs(config: &RunConfig, seeds: &[u64]) -> Result<Vec<RunConfig>> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = seeds.iter().find(|seed| !seen.insert(**seed)) {
        bail_input!("`--seeds`: {twice} is given twice");
    }
    if !seeds.is_empty() {
        refuse_foreign_files(&config.output.dir)?;
    }
    Ok(seeds
        .iter()
        .map(|&seed| {
            let mut one = config.clone();
            one.train.seed = seed;
            one.output.dir = config.output.dir.join(format!("{PREFIX}{seed}"));
            one
        })
        .collect())
}

/// Prefix of each run's folder name.
const PREFIX: &str = "seed-";

/// Refuses a folder that holds anything but runs of `--seeds` and their report.
fn refuse_foreign_files(dir: &Path) -> Result<()> {
    // A program that is killed at the report, or at the beginning of a run, leaves a part of it.
    let ours = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let run = if atomic::is_partial(path) { &name[1..] } else { &*name };
        run.starts_with(PREFIX)
            || FILES.iter().any(|file| name == *file || atomic::is_partial_of(path, file))
    };
    let there = if dir.is_dir() { read::folder(dir)? } else { Vec::new() };
    let Some(path) = there.into_iter().find(|path| !ours(path)) else { return Ok(()) };
    let message = format!(
        "output folder `{}` holds `{}`; `--seeds` needs a folder of its own",
        dir.display(),
        path.file_name().unwrap_or_default().to_string_lossy()
    );
    Err(InputError::new(message).hint("give another folder with `--output`").into())
}

/// Runs or resumes each configuration in turn, then writes a report in `dir` that compares them.
///
/// Refuses a folder of another configuration before the first run.
pub fn run_all(configs: &[RunConfig], dir: &Path, options: &Options) -> Result<Written> {
    for config in configs {
        let (config, _) = &begun_batch::settled(config, options.world.ranks(), &options.resume);
        guard::check(Purpose::Run, config, &options.resume, options.allow_config_change)?;
    }
    for (index, config) in configs.iter().enumerate() {
        let (number, all, seed) = (index + 1, configs.len(), config.train.seed);
        options.verbosity.note(format!("run {number} of {all}: seed {seed}"));
        run(config, options)?;
    }
    let folders: Vec<_> = configs.iter().map(|config| config.output.dir.clone()).collect();
    page::write(&folders, dir, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_of_a_seed_leaves_is_no_foreign_file() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["seed-1", ".seed-2.77-0123456789abcdef.partial", "report.html"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(refuse_foreign_files(folder.path()).is_ok());
        for name in ["mine", ".mine.77-0123456789abcdef.partial", ".seed-2"] {
            std::fs::write(folder.path().join(name), "").unwrap();
            let error = refuse_foreign_files(folder.path()).unwrap_err();
            assert!(error.to_string().contains(&format!("holds `{name}`")), "{error}");
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}
