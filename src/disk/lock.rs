//! A lock on an open file, or on a folder by the lock file in it: held by this process until the file is closed, or by another.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::disk::read;
use crate::error::InputError;

/// Name of the lock file of a folder that programs write in. It is empty, and stays when the lock is let go.
pub const FILE: &str = "run.lock";

/// How often, and how long apart, a lock that is taken is tried for.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Locks `file`; false where another program holds it.
///
/// Tries for a fifth of a second: a process that this one is just starting holds copies of its open files until it runs its own program.
pub fn take(file: &File) -> io::Result<bool> {
    for tries in 1.. {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if tries == TRIES => break,
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
    Ok(false)
}

/// Makes the folder `path` if it is missing, and locks it for this process until the file is closed. Refuses one that another program has locked.
pub fn folder(path: &Path) -> Result<File> {
    let file = make(path)?;
    match take(&file).with_context(|| format!("cannot lock `{}`", path.display()))? {
        true => Ok(file),
        false => {
            Err(InputError::new(format!("another program is writing in `{}`", path.display()))
                .hint("wait for it, or give another folder with `--output`")
                .into())
        }
    }
}

/// Makes the folder `path` if it is missing, and opens its lock file.
fn make(path: &Path) -> Result<File> {
    // Another program that checks whether the folder can be made may remove it while it is empty.
    let mut attempts = 100;
    loop {
        fs::create_dir_all(path)
            .with_context(|| format!("cannot make the output folder `{}`", path.display()))?;
        let mut options = read::unblocked();
        options.write(true).create(true).truncate(true);
        match options.open(path.join(FILE)) {
            Err(error) if error.kind() == ErrorKind::NotFound && attempts > 0 => attempts -= 1,
            lock => {
                return lock.with_context(|| {
                    format!("cannot write in the output folder `{}`", path.display())
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_locked_until_its_file_is_closed() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/b");
        let held = folder(&path).unwrap();
        let error = folder(&path).unwrap_err();
        assert!(InputError::of(&error).is_some(), "{error}");
        assert!(error.to_string().contains("another program is writing in `"), "{error}");
        drop(held);
        folder(&path).unwrap();
        assert_eq!(fs::read(path.join(FILE)).unwrap(), b"");
    }

    #[test]
    fn a_lock_that_is_held_is_refused_and_one_that_is_let_go_soon_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::create(folder.path().join("lock")).unwrap();
        let (held, other) = (open(), open());
        assert!(take(&held).unwrap());
        assert!(!take(&other).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(PAUSE * 3);
                held.unlock().unwrap();
            });
            assert!(take(&other).unwrap());
        });
    }
}
