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
    state: State,
}

/// What a write into a file changes.
#[derive(Debug, PartialEq, Eq)]
struct State {
    bytes: u64,
    modified: SystemTime,
    /// The time of the last change to the file or to what the system knows of it, which no program can put back, and what else moves
    /// that time: links, owner and rights.
    #[cfg(unix)]
    changed: [i64; 2],
    #[cfg(unix)]
    around: [u64; 4],
}

impl State {
    fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Ok(Self {
            bytes: metadata.len(),
            modified: metadata.modified()?,
            #[cfg(unix)]
            changed: [metadata.ctime(), metadata.ctime_nsec()],
            #[cfg(unix)]
            around: [
                metadata.nlink(),
                metadata.uid().into(),
                metadata.gid().into(),
                metadata.mode().into(),
            ],
        })
    }

    /// Whether the file may have been written between this and `later`.
    fn is_written(&self, later: &Self) -> bool {
        #[cfg(unix)]
        let aside = self.changed != later.changed && self.around == later.around;
        #[cfg(not(unix))]
        let aside = false;
        (self.bytes, self.modified) != (later.bytes, later.modified) || aside
    }
}

impl Mapped {
    fn open(path: &Path) -> Result<Self> {
        let opened = || -> std::io::Result<Self> {
            let file = File::open(path)?;
            Ok(Self { path: path.to_owned(), state: State::of(&file)?, file })
        };
        opened().with_context(|| format!("cannot read the weights in `{}`", path.display()))
    }
}

impl MappedFiles {
    /// Those at `paths`, before they are mapped.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self> {
        Ok(Self(paths.iter().map(|path| Mapped::open(path)).collect::<Result<_>>()?))
    }

    /// Refuses a file that somebody has written: what is computed from now on would be of other weights.
    pub fn check(&self) -> Result<()> {
        for Mapped { path, file, state } in &self.0 {
            if state.is_written(&State::of(file)?) {
                let message =
                    format!("`{}` was written while its weights were in use", path.display());
                let hint = "put back the file that the run began with, if its content is another now; the same command then resumes";
                return Err(InputError::new(message).hint(hint).into());
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

    #[cfg(unix)]
    #[test]
    fn a_write_whose_time_is_put_back_is_noticed_and_a_link_or_other_rights_are_no_write() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, "weights").unwrap();
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        let open = || MappedFiles::open(std::slice::from_ref(&path)).unwrap();
        let files = open();
        std::fs::hard_link(&path, folder.path().join("link")).unwrap();
        files.check().unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let files = open();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        files.check().unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();

        let files = open();
        std::thread::sleep(std::time::Duration::from_millis(20)); // a tick of the file system's clock
        std::fs::write(&path, "Weights").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert!(files.check().unwrap_err().to_string().contains("was written"));
    }
}
