//! SHA-256 of what a run depends on.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::data::tokenize::TokenPair;
use crate::interrupt;
use crate::model::weights;

/// SHA-256 of `bytes` in hexadecimal.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of the digests of `parts`, each with its length before it, so that no two lists collide.
pub fn of_parts<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.as_ref().len() as u64).to_le_bytes());
        hasher.update(part.as_ref());
    }
    hex(&hasher.finalize())
}

/// Digest of every token id of `pairs` and where the answers begin.
pub fn of_pairs<'a>(pairs: impl IntoIterator<Item = &'a TokenPair>) -> String {
    let mut hasher = Sha256::new();
    for pair in pairs {
        hasher.update(pair.row.to_le_bytes());
        for ids in [&pair.prompt, &pair.chosen, &pair.rejected] {
            hasher.update((ids.len() as u64).to_le_bytes());
            ids.iter().for_each(|id| hasher.update(id.to_le_bytes()));
        }
    }
    hex(&hasher.finalize())
}

/// Digest of `config.json` and the files of the weights, by name and content; what else comes to lie in the folder is not of the model.
pub fn of_model(folder: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = weights::shards(folder)?;
    files.push(folder.join("config.json"));
    files.sort();
    let digests: Vec<String> = files.par_iter().map(|path| of_file(path)).collect::<Result<_>>()?;
    let names = files
        .iter()
        .filter_map(|path| path.file_name())
        .map(|name| name.to_string_lossy().into_owned());
    Ok(of_parts(names.chain(digests)))
}

/// SHA-256 of a file in hexadecimal.
pub fn of_file(path: &Path) -> Result<String> {
    let context = || format!("cannot read `{}`", path.display());
    let mut file = File::open(path).with_context(context)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        interrupt::check()?;
        match file.read(&mut buffer).with_context(context)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hex(&hasher.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_token_across_the_boundary_changes_the_digest() {
        let pair = |prompt: &[u32], chosen: &[u32]| TokenPair {
            row: 0,
            prompt: prompt.to_vec(),
            chosen: chosen.to_vec(),
            rejected: vec![9],
        };
        assert_ne!(of_pairs([&pair(&[1, 2], &[3])]), of_pairs([&pair(&[1], &[2, 3])]));
        assert_ne!(of_parts(["ab", "c"]), of_parts(["a", "bc"]));
        assert_eq!(
            of_bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
