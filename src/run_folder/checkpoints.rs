//! Names of checkpoints, and which a folder holds.

use std::fs;
use std::path::{Path, PathBuf};

/// Name of the checkpoint after `step` steps.
pub fn name(step: usize) -> String {
    format!("step-{step:06}")
}

/// What goes before the name of a checkpoint that is kept because its evaluation was the best.
const BEST: &str = "best-";

/// The steps for which `folder` holds a checkpoint, newest first; whether they are whole shows when they are loaded.
pub fn list(folder: &Path) -> Vec<(usize, PathBuf)> {
    list_of(folder, "step-")
}

/// The steps for which `folder` holds a checkpoint whose name begins with `prefix`, newest first.
pub fn list_of(folder: &Path, prefix: &str) -> Vec<(usize, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?, entry.path()))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found
}

/// The checkpoint after `step` steps, kept because its evaluation was the best.
pub fn best_path(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("{BEST}{}", name(step)))
}
