//! `train --seeds`: one run for each seed, one after another, each in a folder of its own, and one report of all.

use crate::run_folder::guard;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::bail_input;
use crate::config::RunConfig;
use crate::error::InputError;
use crate::metrics::groups::MINIMUM_N;
use crate::report::page::{self, FILES, Written};
use crate::run_folder::purpose::Purpose;
use crate::session::Options;
use crate::train::run::run;

/// The configurations of the runs: `config` with each of `seeds` as `train.seed`, in `seed-N` under its `output.dir`.
///
/// Refuses a seed that is given twice, and a folder with anything else in it than such runs and their report. Writes nothing.
pub fn configs(config: &RunConfig, seeds: &[u64]) -> Result<Vec<RunConfig>> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = seeds.iter().find(|seed| !seen.insert(**seed)) {
        bail_input!("`--seeds`: {twice} is given twice");
    }
    if !seeds.is_empty() {
        check(&config.output.dir)?;
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

/// What the folder of each run begins with.
const PREFIX: &str = "seed-";

fn check(dir: &Path) -> Result<()> {
    let strange = fs::read_dir(dir).into_iter().flatten().flatten().find(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        !name.starts_with(PREFIX) && !FILES.contains(&&*name)
    });
    let Some(entry) = strange else { return Ok(()) };
    let message = format!(
        "output folder `{}` holds `{}`, and the runs of several seeds need a folder of their own",
        dir.display(),
        entry.file_name().to_string_lossy()
    );
    Err(InputError::new(message).hint("give another folder with `--output`").into())
}

/// Takes every run in turn, or goes on with those that are not finished, then reports them side by side in `dir`.
pub fn run_all(configs: &[RunConfig], dir: &Path, options: &Options) -> Result<Written> {
    for config in configs {
        guard::check(Purpose::Run, config, &options.resume, options.allow_config_change)?;
    }
    for (index, config) in configs.iter().enumerate() {
        let (number, all, seed) = (index + 1, configs.len(), config.train.seed);
        options.verbosity.note(format!("run {number} of {all}: seed {seed}"));
        run(config, options)?;
    }
    let folders: Vec<_> = configs.iter().map(|config| config.output.dir.clone()).collect();
    page::write(&folders, dir, MINIMUM_N)
}
