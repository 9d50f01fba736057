//! The one door through which a file is read. A pipe, a socket or a device in place of a file is refused and never waited
//! for. Absence is the one error that means "no such file"; a disk that fails, a folder that may not be read and a
//! process with too many open files are errors.

use std::fs::{self, File, OpenOptions, ReadDir};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::error::InputError;

/// Options under which opening a pipe waits for nobody at its other end.
pub fn unblocked() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options
}

/// Opens the file `path` for reading. A pipe, a socket and a device are an [`InputError`] inside the error.
pub fn open(path: &Path) -> io::Result<File> {
    refuse_special(unblocked().read(true).open(path)?)
}

/// `file`, unless it is a pipe, a socket or a device. A folder is left to the read, which fails on it.
pub fn refuse_special(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(file);
    }
    let error = InputError::new("expected a file, found a pipe, a socket or a device");
    Err(io::Error::new(ErrorKind::InvalidInput, error.hint("put a file in its place")))
}

/// The bytes of the file `path`.
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of the file `path`, which must be UTF-8.
pub fn text(path: &Path) -> io::Result<String> {
    String::from_utf8(bytes(path)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "stream did not contain valid UTF-8"))
}

/// Whether the file or folder `path` exists.
pub fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().with_context(|| format!("cannot read `{}`", path.display()))
}

/// The bytes of the file `path`; none if it does not exist.
pub fn if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    present(bytes(path)).with_context(|| format!("cannot read `{}`", path.display()))
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

    #[cfg(unix)]
    #[test]
    fn a_pipe_in_place_of_a_file_is_refused_at_once_and_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for error in [
            if_there(&pipe).unwrap_err(),
            bytes(&pipe).unwrap_err().into(),
            crate::disk::digest::of_file(&pipe).unwrap_err(),
            crate::disk::journal::open_locked(&pipe).unwrap_err(),
        ] {
            let input = InputError::of(&error).unwrap();
            assert!(input.to_string().contains("found a pipe") && input.remedy().is_some());
            assert!(failed(&error), "it says nothing about the content of a file");
        }
        let named = format!("{:#}", if_there(&pipe).unwrap_err());
        assert!(named.contains("/pipe`: expected a file"), "{named}");
    }

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
