//! The day on which a run began, which its prompts may name.

use std::path::Path;

use anyhow::Result;
use chrono::NaiveDate;

use crate::run_folder::guard::{self, Resume};
use crate::run_folder::paths::Paths;
use crate::run_folder::provenance::BEGUN;
use crate::run_folder::purpose::Purpose;

/// The day on which the run or evaluation in the folder `output` began, or else the run of the checkpoint that it resumes from; none for
/// a new one.
pub fn find(purpose: Purpose, output: &Path, resume: &Resume) -> Result<Option<NaiveDate>> {
    let line = fact(purpose, output, resume, BEGUN)?;
    Ok(line.and_then(|line| line.split(' ').next()?.parse().ok()))
}

/// What follows `begin` in the head of the configuration of the folder `output`, or else of the run of the checkpoint.
pub(super) fn fact(
    purpose: Purpose,
    output: &Path,
    resume: &Resume,
    begin: &str,
) -> Result<Option<String>> {
    if let Some(fact) = of_folder(purpose, output, begin)? {
        return Ok(Some(fact));
    }
    let Resume::From(checkpoint) = resume else { return Ok(None) };
    let run = checkpoint.canonicalize().ok();
    match run.as_deref().and_then(|path| path.parent()?.parent()) {
        Some(run) => of_folder(Purpose::Run, run, begin),
        None => Ok(None),
    }
}

/// What follows `begin` in the head of a configuration file, whose digest [`guard::check`] checks.
fn of_folder(purpose: Purpose, folder: &Path, begin: &str) -> Result<Option<String>> {
    let Some(text) = guard::read_config(&Paths::of(folder).config(purpose))? else {
        return Ok(None);
    };
    Ok(text.lines().find_map(|line| line.strip_prefix(begin)).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_that_of_the_folder_or_of_the_checkpoints_run() {
        let place = tempfile::tempdir().unwrap();
        let (run, new) = (place.path().join("run"), place.path().join("new"));
        let checkpoint = run.join("checkpoints/step-000001");
        std::fs::create_dir_all(&checkpoint).unwrap();
        let day: NaiveDate = "2026-11-27".parse().unwrap();
        let of = |output: &Path, resume: &Resume| find(Purpose::Run, output, resume).unwrap();
        assert_eq!(of(&run, &Resume::Auto), None);
        std::fs::write(run.join("config.toml"), "# begun: 2026-11-27 23:59 UTC\n").unwrap();
        assert_eq!(of(&run, &Resume::Auto), Some(day));
        assert_eq!(of(&new, &Resume::Auto), None);
        assert_eq!(of(&new, &Resume::From(checkpoint)), Some(day));
    }
}
