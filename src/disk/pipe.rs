//! Reads a file that may also be a pipe, such as `<(command)` or `/dev/stdin`, since it is read once.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::console::interrupt;
use crate::disk::read;

/// The bytes of the file or pipe `path`; of a pipe, at most the first `most`.
///
/// Waits for the pipe's writer until Ctrl-C or SIGTERM, then fails with the kind [`ErrorKind::Interrupted`]; the caller's
/// [`interrupt::check`] makes that the interruption of the program.
pub fn bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !is_pipe(path) {
        return read::bytes(path);
    }
    // A pipe without a writer cannot be opened without waiting, so that another thread waits; it ends with the program.
    let (sender, receiver) = mpsc::channel();
    let owned = path.to_owned();
    thread::Builder::new().name("pipe".to_owned()).spawn(move || {
        let mut bytes = Vec::new();
        let read = File::open(owned).and_then(|pipe| pipe.take(most).read_to_end(&mut bytes));
        let _ = sender.send(read.map(|_| bytes)); // fails where nobody waits any more
    })?;
    loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(bytes) => return bytes,
            Err(RecvTimeoutError::Timeout) if interrupt::check().is_ok() => {}
            Err(RecvTimeoutError::Timeout) => return Err(ErrorKind::Interrupted.into()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the thread that reads the pipe has ended"));
            }
        }
    }
}

/// Whether `path` is a pipe.
pub fn is_pipe(path: &Path) -> bool {
    #[cfg(unix)]
    return fs::metadata(path)
        .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type()));
    #[cfg(not(unix))]
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_pipe_is_read_to_its_end_and_no_further_than_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (most, expected) in [(100, "hello"), (2, "he")] {
            let writer = thread::spawn({
                let pipe = pipe.clone();
                move || fs::write(pipe, "hello")
            });
            assert_eq!(bytes(&pipe, most).unwrap(), expected.as_bytes());
            let _ = writer.join().unwrap();
        }
        let file = folder.path().join("file");
        fs::write(&file, "whole").unwrap();
        assert_eq!(bytes(&file, 2).unwrap(), b"whole");
    }
}
