//! Atomic writes: whenever the program is killed, the file is either the old one or the whole new one.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Writes `.<name>.partial` in the folder of `path`, flushes it to the disk and renames it to `path`.
///
/// Makes the folder if it is missing. When `fill` fails, `path` is untouched and the partial file is removed.
pub fn write(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let partial = partial_path(path)?;
    let written = write_partial(&partial, fill)
        .and_then(|()| {
            fs::rename(&partial, path).context("cannot rename the finished file into place")
        })
        .and_then(|()| sync_folder(path));
    if written.is_err() {
        // The first error is the one to report; a partial file that cannot be removed is overwritten next time.
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

/// Writes the folder `path` with `files` in it like [`write()`], replacing an older folder.
///
/// A program killed between the removal of the old folder and the rename leaves neither; the next run writes the folder
/// again.
pub fn write_folder(path: &Path, files: &[(String, Vec<u8>)]) -> anyhow::Result<()> {
    let partial = partial_path(path)?;
    let written = || -> anyhow::Result<()> {
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        for (name, bytes) in files {
            write_partial(&partial.join(name), |out| Ok(out.write_all(bytes)?))?;
        }
        sync_folder(&partial.join("."))?;
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
        fs::rename(&partial, path)?;
        sync_folder(path)
    };
    let written = written();
    if written.is_err() {
        // The first error is the one to report. On a full disk a half-written folder would take space that other files
        // need.
        let _ = fs::remove_dir_all(&partial);
    }
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

/// Calls `fill` on an empty folder next to `path`, then renames it to `path`, which must not exist.
///
/// `fill` flushes its files itself, as [`write()`] does. When it fails, neither folder is left.
pub fn fill_folder<T>(
    path: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let partial = partial_path(path)?;
    let context = || format!("cannot write `{}`", path.display());
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(context)?;
    }
    fs::create_dir_all(&partial).with_context(context)?;
    let filled = fill(&partial).and_then(|filled| {
        fs::rename(&partial, path)
            .map_err(anyhow::Error::from)
            .and_then(|()| sync_folder(path))
            .with_context(context)?;
        Ok(filled)
    });
    if filled.is_err() {
        // The first error is the one to report; a partial folder that cannot be removed is removed next time.
        let _ = fs::remove_dir_all(&partial);
    }
    filled
}

fn partial_path(path: &Path) -> anyhow::Result<PathBuf> {
    let name =
        path.file_name().with_context(|| format!("`{}` does not name a file", path.display()))?;
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(".partial");
    Ok(path.with_file_name(partial))
}

fn write_partial(
    partial: &Path,
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    fs::create_dir_all(folder_of(partial))?;
    let mut writer = BufWriter::new(File::create(partial)?);
    fill(&mut writer)?;
    // Returns the bare error, since its kind decides the remedy.
    writer.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

/// Makes the rename itself survive a power cut; only Unix lets a folder be opened for that.
fn sync_folder(path: &Path) -> anyhow::Result<()> {
    if cfg!(unix) {
        File::open(folder_of(path))?.sync_all()?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_partial_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/report.md");
        write(&path, |out| Ok(out.write_all(b"old")?)).unwrap();
        let failed = write(&path, |out| {
            out.write_all(b"half of the n")?;
            anyhow::bail!("disk full")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_could_not_be_filled_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("merged");
        let failed: anyhow::Result<()> = fill_folder(&path, |partial| {
            fs::write(partial.join("half"), "x")?;
            anyhow::bail!("disk full")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fill_folder(&path, |partial| Ok(fs::write(partial.join("whole"), "x")?)).unwrap();
        assert!(path.join("whole").is_file());
    }

    #[test]
    fn a_path_without_a_file_name_is_an_error() {
        assert!(write(Path::new("/"), |_| Ok(())).is_err());
    }
}
