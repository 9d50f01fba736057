//! Names of checkpoints, which a folder holds, and whether one is whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::bail_input;
use crate::disk::{digest, read};
use crate::error::InputError;

/// The file of a checkpoint that has the SHA-256 of each other one.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Name of the checkpoint after `step` steps.
pub fn name(step: usize) -> String {
    format!("step-{step:06}")
}

/// Prefix of a checkpoint that is kept because its evaluation was the best.
const BEST: &str = "best-";

/// Steps and paths of the checkpoints in `folder`, newest first. They are verified only when they are loaded.
pub fn list(folder: &Path) -> Result<Vec<(usize, PathBuf)>> {
    list_of(folder, "step-")
}

/// Steps and paths of the checkpoints in `folder` that are kept because their evaluation was the best, newest first.
pub fn list_best(folder: &Path) -> Result<Vec<(usize, PathBuf)>> {
    list_of(folder, &format!("{BEST}step-"))
}

fn list_of(folder: &Path, prefix: &str) -> Result<Vec<(usize, PathBuf)>> {
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok();
    let paths = read::folder(folder)?;
    let mut found: Vec<_> =
        paths.into_iter().filter_map(|path| Some((step(&path)?, path))).collect();
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The checkpoint after `step` steps, kept because its evaluation was the best.
pub fn best_path(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("{BEST}{}", name(step)))
}

/// The manifest of the checkpoint `folder`: SHA-256 of each file by name.
pub fn manifest(folder: &Path) -> Result<BTreeMap<String, String>> {
    let path = folder.join(MANIFEST_FILE);
    let Some(bytes) = read::if_there(&path)? else {
        bail_input!("`{}` is missing", path.display())
    };
    Ok(serde_json::from_slice(&bytes)
        .map_err(|error| InputError::new(format!("`{}` is broken: {error}", path.display())))?)
}

/// The bytes of the file `name` of the checkpoint `folder`. Refuses a missing file and one that `manifest` does not
/// match.
pub fn read_file(
    folder: &Path,
    name: &str,
    manifest: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let Some(bytes) = read::if_there(&folder.join(name))? else {
        bail_input!("checkpoint `{}`: `{name}` is missing", folder.display())
    };
    if manifest.get(name) != Some(&digest::of_bytes(&bytes)) {
        bail_input!("checkpoint `{}`: `{name}` does not match its digest", folder.display());
    }
    Ok(bytes)
}

/// Refuses a checkpoint with a file that is missing or that its digest does not match.
pub fn verify(folder: &Path) -> Result<()> {
    let manifest = manifest(folder)?;
    manifest.keys().try_for_each(|name| read_file(folder, name, &manifest).map(|_| ()))
}
