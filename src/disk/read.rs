//! Reads files that may be absent. Absence is the one error that means "no such file"; a disk that fails, a folder that
//! may not be read and a process with too many open files are errors.

use std::fs::{self, ReadDir};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Whether the file or folder `path` exists.
pub fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().with_context(|| format!("cannot read `{}`", path.display()))
}

/// The bytes of the file `path`; none if it does not exist.
pub fn if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    present(fs::read(path)).with_context(|| format!("cannot read `{}`", path.display()))
}

/// The paths in the folder `path`, in no order; empty if it does not exist.
pub fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let paths = |entries: ReadDir| entries.map(|entry| Ok(entry?.path())).collect();
    present(fs::read_dir(path))
        .and_then(|entries| entries.map_or(Ok(Vec::new()), paths))
        .with_context(|| format!("cannot read the folder `{}`", path.display()))
}

/// Removes the file `path` if it exists.
pub fn remove_if_there(path: &Path) -> Result<()> {
    present(fs::remove_file(path))
        .map(|_| ())
        .with_context(|| format!("cannot remove `{}`", path.display()))
}

/// Whether `error` comes from the disk or the system, so that it says nothing about the content of a file.
pub fn failed(error: &anyhow::Error) -> bool {
    use ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|error| {
        !matches!(
            error.kind(),
            NotFound | NotADirectory | IsADirectory | InvalidData | UnexpectedEof
        )
    })
}

fn present<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_none_and_any_other_failure_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let absent = place.path().join("absent");
        assert_eq!(if_there(&absent).unwrap(), None);
        assert!(folder(&absent).unwrap().is_empty());
        remove_if_there(&absent).unwrap();
        assert!(if_there(place.path()).is_err(), "a folder is no file");
        let file = place.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(if_there(&file).unwrap().unwrap(), b"x");
        assert!(folder(&file).is_err());
        let denied = |kind: ErrorKind| failed(&anyhow::Error::from(io::Error::from(kind)));
        assert!(denied(ErrorKind::PermissionDenied) && !denied(ErrorKind::NotFound));
        assert!(failed(&io::Error::from_raw_os_error(5).into()), "an input/output error");
    }
}
