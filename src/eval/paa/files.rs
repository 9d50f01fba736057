//! The files of `mvpbench judge`: each is written only where its content changes, so that the same command changes no byte.

use std::path::Path;

use anyhow::{Context, Result};

use crate::disk::digest::{self, Hasher};
use crate::disk::{atomic, json_lines, read};
use crate::metrics::paa::{PaaEvaluation, VerdictLine};
use crate::report::sections::paa;
use crate::run_folder::paa::PaaFolder;

/// Writes the lines, unless the file holds them already. Returns its SHA-256.
pub(super) fn write_verdicts<I: Iterator<Item = VerdictLine>>(
    path: &Path,
    lines: impl Fn() -> I,
) -> Result<String> {
    let mut hasher = Hasher::default();
    for line in lines() {
        hasher.update(&json_lines::line(&line)?);
    }
    let sha256 = hasher.finish();
    if !(read::is_there(path)? && digest::of_large_file(path)? == sha256) {
        atomic::write(path, |out| {
            lines().try_for_each(|line| Ok(out.write_all(&json_lines::line(&line)?)?))
        })?;
    }
    Ok(sha256)
}

/// Writes every table as a CSV file, and removes those of earlier figures.
pub(super) fn write_tables(evaluation: &PaaEvaluation, folder: &Path) -> Result<()> {
    let tables = paa::csvs(evaluation);
    for path in read::folder(folder)? {
        let is_current = tables.iter().any(|(name, _)| path.ends_with(name));
        if !is_current && path.extension().is_some_and(|ending| ending == "csv") {
            read::remove_if_there(&path)?;
        }
    }
    tables.iter().try_for_each(|(name, bytes)| write_changed(&folder.join(name), bytes))
}

/// Writes a file, unless it holds `bytes` already.
fn write_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if read::if_there(path)?.is_some_and(|held| held == bytes) {
        return Ok(());
    }
    atomic::write(path, |out| Ok(out.write_all(bytes)?))
}

/// Writes the figures, unless those in the folder are the same but for the date, which then stays. Removes verdicts that the earlier
/// figures rest on and these do not.
pub(super) fn keep(mut evaluation: PaaEvaluation, folder: &PaaFolder) -> Result<PaaEvaluation> {
    let path = folder.figures();
    if let Ok(Some(earlier)) = PaaEvaluation::read_if_there(&path) {
        let date = std::mem::replace(&mut evaluation.date, earlier.date.clone());
        if evaluation == earlier {
            return Ok(evaluation);
        }
        evaluation.date = date;
        for name in earlier.files.keys().filter(|name| !evaluation.files.contains_key(*name)) {
            read::remove_if_there(&folder.file(name))?;
        }
    }
    evaluation.write(&path).context("cannot write the figures")?;
    Ok(evaluation)
}
