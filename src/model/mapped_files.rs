//! The files in which weights are read while they are mapped, and whether they are as they were when they were mapped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::error::InputError;

/// Files, open. A file that another one replaces is read on; one that is written is noticed.
#[derive(Debug, Default)]
pub struct MappedFiles(Vec<Mapped>);

#[derive(Debug)]
struct Mapped {
    path: PathBuf,
    file: File,
    bytes: u64,
    modified: SystemTime,
}

impl Mapped {
    fn open(path: &Path) -> Result<Self> {
        let opened = || -> std::io::Result<Self> {
            let file = File::open(path)?;
            let (bytes, modified) = state(&file)?;
            Ok(Self { path: path.to_owned(), file, bytes, modified })
        };
        opened().with_context(|| format!("cannot read the weights in `{}`", path.display()))
    }
}

fn state(file: &File) -> std::io::Result<(u64, SystemTime)> {
    let metadata = file.metadata()?;
    Ok((metadata.len(), metadata.modified()?))
}

impl MappedFiles {
    /// Those at `paths`, before they are mapped.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self> {
        Ok(Self(paths.iter().map(|path| Mapped::open(path)).collect::<Result<_>>()?))
    }

    /// Refuses a file that somebody has written: what is computed from now on would be of other weights.
    pub fn check(&self) -> Result<()> {
        for Mapped { path, file, bytes, modified } in &self.0 {
            if state(file)? != (*bytes, *modified) {
                let message =
                    format!("`{}` was written while its weights were in use", path.display());
                return Err(InputError::new(message)
                    .hint(
                        "put back the file that the run began with; the same command then resumes",
                    )
                    .into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_is_refused_by_name_and_one_that_is_replaced_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, "weights").unwrap();
        let files = MappedFiles::open(std::slice::from_ref(&path)).unwrap();
        files.check().unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "others, longer").unwrap();
        std::fs::rename(&other, &path).unwrap();
        files.check().unwrap();
        let files = MappedFiles::open(std::slice::from_ref(&path)).unwrap();
        std::fs::write(&path, "shorter").unwrap();
        let error = files.check().unwrap_err().to_string();
        assert!(error.contains("model.safetensors` was written"), "{error}");
    }
}
