//! The folders of the cache: `models--OWNER--NAME/{refs,blobs,snapshots}`, as the Python tools lay them out.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::disk::{atomic, read};
use crate::hub::name::Repository;
use crate::hub::tag;

/// The repository's folder.
pub(super) fn folder(cache: &Path, repository: &Repository) -> PathBuf {
    cache.join(repository.library().folder_name())
}

/// The folder of a commit; each file in it is a link to its blob.
pub(super) fn snapshot(cache: &Path, repository: &Repository, commit: &str) -> PathBuf {
    folder(cache, repository).join("snapshots").join(commit)
}

/// The file with the content of tag `etag`.
pub(super) fn blob(cache: &Path, repository: &Repository, etag: &str) -> PathBuf {
    folder(cache, repository).join("blobs").join(etag)
}

/// The lock file of a download of that content.
pub(super) fn lock(cache: &Path, repository: &Repository, etag: &str) -> PathBuf {
    cache.join(".locks").join(repository.library().folder_name()).join(format!("{etag}.lock"))
}

/// The content of the file `path` of a commit, if it is not what it was downloaded as: its name tells its digest.
pub(super) fn altered(path: &Path) -> Result<Option<PathBuf>> {
    let blob = path.canonicalize().with_context(|| format!("cannot read `{}`", path.display()))?;
    let name = blob.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some(name) = name else { return Ok(None) };
    Ok(if tag::mismatch(&name, &blob)?.is_some() { Some(blob) } else { None })
}

/// Removes the file `path` of a commit and its content `blob`, to be downloaded again.
pub(super) fn remove(path: &Path, blob: &Path) -> Result<()> {
    read::remove_if_there(blob)?;
    read::remove_if_there(path)
}

/// Whether `text` is a commit's hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// The last known commit of the revision; none if the cache has none.
pub(super) fn commit(cache: &Path, repository: &Repository) -> Option<String> {
    if is_commit(&repository.revision) {
        let there = snapshot(cache, repository, &repository.revision).is_dir();
        return there.then(|| repository.revision.clone());
    }
    let text = read::text(&reference(cache, repository)).ok()?;
    Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
}

/// Stores the commit of the revision.
pub(super) fn remember(cache: &Path, repository: &Repository, commit: &str) -> Result<()> {
    if repository.revision == commit || self::commit(cache, repository).as_deref() == Some(commit) {
        return Ok(());
    }
    atomic::write(&reference(cache, repository), |out| Ok(out.write_all(commit.as_bytes())?))
}

fn reference(cache: &Path, repository: &Repository) -> PathBuf {
    folder(cache, repository).join("refs").join(&repository.revision)
}

/// Links the blob as `name` into the folder of a commit.
pub(super) fn link(
    cache: &Path,
    repository: &Repository,
    commit: &str,
    name: &str,
    etag: &str,
) -> std::io::Result<()> {
    let path = snapshot(cache, repository, commit).join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if path.symlink_metadata().is_ok() && !path.exists() {
        fs::remove_file(&path)?; // its blob was deleted
    }
    // From the folder of `name` up to the commit's, to `snapshots`, to the repository's.
    let up = "../".repeat(name.split('/').count() + 1);
    let linked = make_link(&format!("{up}blobs/{etag}"), &blob(cache, repository, etag), &path);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(unix)]
fn make_link(relative: &str, _: &Path, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(relative, path)
}

#[cfg(not(unix))]
fn make_link(_: &str, blob: &Path, path: &Path) -> std::io::Result<()> {
    fs::copy(blob, path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::name::Kind;

    #[test]
    fn the_layout_is_the_python_tools() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path();
        let repository = Repository::new(Kind::Dataset, "org/set", "refs/pr/1").unwrap();
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(self::commit(cache, &repository), None);
        remember(cache, &repository, commit).unwrap();
        assert_eq!(
            fs::read_to_string(cache.join("datasets--org--set/refs/refs/pr/1")).unwrap(),
            commit
        );
        assert_eq!(self::commit(cache, &repository).as_deref(), Some(commit));
        fs::create_dir_all(cache.join("datasets--org--set/blobs")).unwrap();
        for _ in 0..2 {
            link(cache, &repository, commit, "data/a.json", "tag").unwrap();
        }
        fs::write(blob(cache, &repository, "tag"), "x").unwrap();
        let path = cache.join("datasets--org--set/snapshots").join(commit).join("data/a.json");
        assert_eq!(fs::read_to_string(path).unwrap(), "x");
    }
}
