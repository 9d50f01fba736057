//! SHA-256 of bytes, of lists of parts and of files; git's SHA-1 of a file.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::console::interrupt;
use crate::disk::read;

/// SHA-256 of bytes that arrive in pieces.
#[derive(Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest in hexadecimal.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// SHA-256 of `bytes` in hexadecimal.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of `parts`, each after its length, so that no two lists have the same bytes.
pub fn of_parts<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.as_ref().len() as u64).to_le_bytes());
        hasher.update(part.as_ref());
    }
    hex(&hasher.finalize())
}

/// SHA-256 of a file in hexadecimal.
pub fn of_file(path: &Path) -> Result<String> {
    read_into(Sha256::new(), path)
}

/// The SHA-1 that git has of a file's content, in hexadecimal: of `blob`, its length and its bytes.
pub fn of_git_blob(path: &Path) -> Result<String> {
    let length =
        path.metadata().with_context(|| format!("cannot read `{}`", path.display()))?.len();
    read_into(Sha1::new().chain_update(format!("blob {length}\0")), path)
}

/// The digest of `hasher` after the content of a file.
fn read_into(mut hasher: impl Digest, path: &Path) -> Result<String> {
    let context = || format!("cannot read `{}`", path.display());
    let mut file = read::open(path).with_context(context)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        interrupt::check()?;
        match file.read(&mut buffer).with_context(context)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// [`of_file`] of a large file that nothing changes while the program runs, such as weights: computed once for each file, its length
/// and the time of its last change.
pub fn of_large_file(path: &Path) -> Result<String> {
    type Known = HashMap<PathBuf, (u64, SystemTime, String)>;
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let context = || format!("cannot read `{}`", path.display());
    let path = path.canonicalize().with_context(context)?;
    let metadata = path.metadata().with_context(context)?;
    let (length, changed) = (metadata.len(), metadata.modified().with_context(context)?);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((l, c, digest)) = known().as_ref().and_then(|all| all.get(&path))
        && (*l, *c) == (length, changed)
    {
        return Ok(digest.clone());
    }
    let digest = of_file(&path)?;
    known().get_or_insert_default().insert(path, (length, changed, digest.clone()));
    Ok(digest)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_that_changes_has_another_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for text in ["abc", "abd", "abcd"] {
            std::fs::write(&path, text).unwrap();
            for _ in 0..2 {
                assert_eq!(of_large_file(&path).unwrap(), of_bytes(text.as_bytes()), "{text}");
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(of_large_file(&folder.path().join("none")).is_err());
    }

    #[test]
    fn moving_a_byte_from_one_part_to_the_next_changes_the_digest() {
        assert_ne!(of_parts(["ab", "c"]), of_parts(["a", "bc"]));
        assert_eq!(
            of_bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
