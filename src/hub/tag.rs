//! The tags of contents, under which the cache stores them: SHA-256 of a large file, git's SHA-1 of another one.

use std::path::Path;

use anyhow::Result;

use crate::disk::digest;

/// A content that does not have the digest that its tag tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// Name of the digest.
    pub(super) digest: &'static str,
    /// The digest of the content.
    pub(super) got: String,
}

/// Whether the content of the file `path` does not have the digest `tag`; none where it has, and for a tag that is no digest.
pub(super) fn mismatch(tag: &str, path: &Path) -> Result<Option<Mismatch>> {
    let is_hexadecimal = tag.bytes().all(|c| c.is_ascii_hexdigit());
    let (digest, got) = match tag.len() {
        64 if is_hexadecimal => ("SHA-256", digest::of_large_file(path)?),
        40 if is_hexadecimal => ("git SHA-1", digest::of_git_blob(path)?),
        _ => return Ok(None),
    };
    Ok((got != tag.to_ascii_lowercase()).then_some(Mismatch { digest, got }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_digests_are_told_by_their_length_and_another_tag_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "hello\n").unwrap();
        // `git hash-object a` and `sha256sum a`.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for tag in [git, sha256, &git.to_ascii_uppercase(), "W-1", &git[1..]] {
            assert_eq!(mismatch(tag, &path).unwrap(), None, "{tag}");
        }
        std::fs::write(&path, "hellp\n").unwrap();
        for tag in [git, sha256] {
            assert!(mismatch(tag, &path).unwrap().is_some(), "{tag}");
        }
    }
}
