//! The model inside the binary -> a folder, for what reads folders: in the cache, under the digest of its files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::console::progress::Verbosity;
use crate::disk::{atomic, cache, digest, read};

/// Name and content of a file.
type File = (&'static str, &'static [u8]);

/// A folder that holds the model while this lives.
pub struct Unpacked {
    /// The folder.
    pub folder: PathBuf,
    /// Where there is no cache, or it cannot be written.
    _temporary: Option<TempDir>,
}

impl Unpacked {
    /// Writes what the cache does not hold of `files`. A file with other bytes is written again, after a warning.
    pub(super) fn of(files: &[File]) -> Result<Self> {
        let parts = files.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes]);
        let digest = digest::of_parts(parts);
        if let Some(folder) = cache::folder("models").map(|folder| folder.join(digest))
            && fill(&folder, files).is_ok()
        {
            return Ok(Self { folder, _temporary: None });
        }
        let temporary = tempfile::Builder::new()
            .prefix("mvpbench-embedded-")
            .tempdir()
            .context("cannot make a temporary folder for the embedded model")?;
        fill(temporary.path(), files)?;
        Ok(Self { folder: temporary.path().to_owned(), _temporary: Some(temporary) })
    }
}

/// Writes the `files` that `folder` lacks. Several programs may do so at once, since each file appears whole.
fn fill(folder: &Path, files: &[File]) -> Result<()> {
    atomic::sweep(folder)?;
    for (name, bytes) in files {
        let path = folder.join(name);
        match read::if_there(&path) {
            Ok(Some(found)) if found == *bytes => continue,
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => Verbosity::Normal.warn(format!(
                "`{}` has changed; it is written again from this binary",
                path.display()
            )),
        }
        atomic::write(&path, |out| Ok(out.write_all(bytes)?))?;
    }
    Ok(())
}
