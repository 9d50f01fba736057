//! Names of checkpoints, and which a folder holds.

use std::fs;
use std::path::{Path, PathBuf};

/// Name of the checkpoint after `step` steps.
pub fn name(step: usize) -> String {
    format!("step-{step:06}")
}

/// Prefix of a checkpoint that is kept because its evaluation was the best.
const BEST: &str = "best-";

/// Steps and paths of the checkpoints in `folder`, newest first. They are verified only when they are loaded.
pub fn list(folder: &Path) -> Vec<(usize, PathBuf)> {
    list_of(folder, "step-")
}

/// Steps and paths of the checkpoints in `folder` with this prefix, newest first.
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
