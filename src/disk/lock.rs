//! A lock on an open file: held by this process until the file is closed, or by another.

use std::fs::{File, TryLockError};
use std::io;
use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
