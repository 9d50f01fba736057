//! Atomic writes: whenever the program is killed, the file is either the old one or the whole new one.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::bail_input;
use crate::console::progress::Verbosity;
use crate::disk::read;

/// Ends the name of a file or folder that is not finished.
const PARTIAL: &str = ".partial";

/// Writes a partial file in the folder of `path`, flushes it to the disk and renames it to `path`.
///
/// Makes the folder if it is missing. When `fill` fails, `path` is untouched and the partial file is removed. Partial
/// files have a name that no other process has, so that several may write the same `path`; the last one stays.
pub fn write(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let written = || -> anyhow::Result<()> {
        let partial = Partial::file(path)?;
        fill_file(&partial.path, fill)?;
        partial.rename(path).context("cannot rename the finished file into place")
    };
    written().with_context(|| format!("cannot write `{}`", path.display()))
}

/// [`write()`] of a file that the user names: through links, and into a pipe or a device as it is, which a rename would replace.
pub fn write_named(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // `/dev/stdout` and its like are links into `/proc`, also to a file, which is open already.
    let target = fs::read_link(path).ok();
    let is_open = target.as_ref().is_some_and(|target| target.starts_with("/proc"));
    if is_open || fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let written = || -> anyhow::Result<()> {
            let mut out = BufWriter::new(fs::OpenOptions::new().append(true).open(path)?);
            fill(&mut out)?;
            Ok(out.flush()?)
        };
        return written().with_context(|| format!("cannot write `{}`", path.display()));
    }
    if target.is_none() {
        return write(path, fill);
    }
    let Ok(file) = path.canonicalize() else {
        bail_input!("cannot write `{}`: it is a link to nothing", path.display());
    };
    write(&file, fill)
}

/// Writes `bytes` as the file `path` like [`write()`], but replaces none. False where one is there, which stays.
pub fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<bool> {
    let mut file = Growing::begin(path)?;
    file.write(bytes)?;
    file.finish()
}

/// Writes the folder `path` with `files` in it like [`write()`], replacing an older folder. A name may have folders.
///
/// A program killed between the removal of the old folder and the rename leaves neither; the next run writes the folder
/// again.
pub fn write_folder(path: &Path, files: &[(String, Vec<u8>)]) -> anyhow::Result<()> {
    let written = || -> anyhow::Result<()> {
        let partial = Partial::folder(path)?;
        for (name, bytes) in files {
            let file = partial.path.join(name);
            if name.contains('/') {
                fs::create_dir_all(folder_of(&file))?;
            }
            fill_file(&file, |out| Ok(out.write_all(bytes)?))?;
            if name.contains('/') {
                sync_folder(&file)?;
            }
        }
        sync_folder(&partial.path.join("."))?;
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
        partial.rename(path)
    };
    written().with_context(|| format!("cannot write `{}`", path.display()))
}

/// The `files`, name and content, that the folder `path` lacks or holds with another content, each after a warning that it is
/// written again.
pub fn warned_differences<'a>(
    path: &Path,
    files: &'a [(String, Vec<u8>)],
    verbosity: Verbosity,
) -> anyhow::Result<Vec<&'a (String, Vec<u8>)>> {
    let mut different = Vec::new();
    for file in files {
        let place = path.join(&file.0);
        let what = match read::if_there(&place)? {
            Some(found) if found == file.1 => continue,
            Some(_) => "has changed",
            None => "is missing",
        };
        verbosity.warn(format!("`{}` {what}; it is written again", place.display()));
        different.push(file);
    }
    Ok(different)
}

/// Calls `fill` on an empty folder next to `path`, then renames it to `path`, which must not exist.
///
/// `fill` flushes its files itself, as [`write()`] does. When it fails, neither folder is left.
pub fn fill_folder<T>(
    path: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let context = || format!("cannot write `{}`", path.display());
    let partial = Partial::folder(path).with_context(context)?;
    let filled = fill(&partial.path)?;
    partial.rename(path).with_context(context)?;
    Ok(filled)
}

/// A file that is written in pieces, several of them side by side. It has a partial name until [`Growing::finish`]; dropped before that, it
/// is removed.
pub struct Growing {
    partial: Partial,
    out: BufWriter<File>,
    target: PathBuf,
}

impl Growing {
    /// Begins the file `target`, whose folder is made if it is missing.
    pub fn begin(target: &Path) -> anyhow::Result<Self> {
        let begun = || -> anyhow::Result<Self> {
            let partial = Partial::file(target)?;
            let out = BufWriter::new(File::create(&partial.path)?);
            Ok(Self { partial, out, target: target.to_owned() })
        };
        begun().with_context(|| format!("cannot write `{}`", target.display()))
    }

    /// Adds the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.out
            .write_all(bytes)
            .with_context(|| format!("cannot write `{}`", self.target.display()))
    }

    /// Flushes the file to the disk and renames it to its target. False where a file is there by now: that one stays, and this one is removed.
    pub fn finish(self) -> anyhow::Result<bool> {
        let Self { partial, out, target } = self;
        let finished = || -> anyhow::Result<bool> {
            out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
            partial.rename_to_new(&target).context("cannot rename the finished file into place")
        };
        finished().with_context(|| format!("cannot write `{}`", target.display()))
    }
}

/// Removes the partial files and folders in `folder` that no process writes any more: those of killed programs.
pub fn sweep(folder: &Path) -> anyhow::Result<()> {
    for path in read::folder(folder)? {
        if is_partial(&path) {
            remove_abandoned(&path);
        }
    }
    Ok(())
}

/// [`sweep`] of the parts of `target` alone, in its folder.
pub fn sweep_of(target: &Path) -> anyhow::Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    for path in read::folder(folder_of(target))? {
        if is_partial_of(&path, &name) {
            remove_abandoned(&path);
        }
    }
    Ok(())
}

/// Whether `path` is a partial file or folder.
pub fn is_partial(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(PARTIAL)
}

/// Whether `path` is a partial file or folder of one called `name`.
pub fn is_partial_of(path: &Path, name: &str) -> bool {
    let partial = path.file_name().unwrap_or_default().to_string_lossy();
    partial.starts_with(&format!(".{}.", stem(name))) && partial.ends_with(PARTIAL)
}

/// A file or folder that is not finished, locked so that no other process takes it for abandoned. Removed when dropped,
/// if it still has its name: after an error, half a file would take space that other files need.
struct Partial {
    path: PathBuf,
    is_finished: bool,
    _lock: Option<File>,
}

impl Partial {
    fn file(target: &Path) -> anyhow::Result<Self> {
        Self::make(target, &|path| {
            fs::OpenOptions::new().write(true).create_new(true).open(path).map(Some)
        })
    }

    fn folder(target: &Path) -> anyhow::Result<Self> {
        // Only Unix lets a folder be opened, to be locked.
        Self::make(target, &|path| {
            fs::create_dir(path)?;
            if cfg!(unix) { File::open(path).map(Some) } else { Ok(None) }
        })
    }

    /// Makes `.NAME.RANDOM.partial` next to `target`, after removing those of `target` that killed programs left.
    fn make(
        target: &Path,
        make: &dyn Fn(&Path) -> io::Result<Option<File>>,
    ) -> anyhow::Result<Self> {
        let name = target
            .file_name()
            .with_context(|| format!("`{}` does not name a file", target.display()))?
            .to_string_lossy();
        let folder = folder_of(target);
        fs::create_dir_all(folder)?;
        sweep_of(target)?;
        loop {
            let path = folder.join(partial_name(&name));
            let lock = match make(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                // Another process took the folder for abandoned between its making and its opening.
                Err(error) if error.kind() == ErrorKind::NotFound && folder.is_dir() => continue,
                lock => lock?,
            };
            // Another process may have taken it for abandoned before it was locked. Where locks are not supported, none
            // does.
            let taken = lock
                .as_ref()
                .is_some_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
            if !taken && path.symlink_metadata().is_ok() {
                return Ok(Self { path, is_finished: false, _lock: lock });
            }
        }
    }

    /// Renames it to `target`.
    fn rename(mut self, target: &Path) -> anyhow::Result<()> {
        fs::rename(&self.path, target)?;
        self.is_finished = true;
        sync_folder(target)
    }

    /// Renames a file to `target`; false where there is one.
    fn rename_to_new(self, target: &Path) -> anyhow::Result<bool> {
        match fs::hard_link(&self.path, target) {
            Ok(()) => {
                // The file has both names: the partial one goes.
                drop(self);
                sync_folder(target)?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            // A file system without links.
            Err(_) if read::is_there(target)? => Ok(false),
            Err(_) => self.rename(target).map(|()| true),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // The error that led here is the one to report; what cannot be removed is removed next time.
        if !self.is_finished {
            remove(&self.path);
        }
    }
}

/// A name of a partial file or folder of one called `name` that no other process has.
pub(super) fn partial_name(name: &str) -> String {
    let process = std::process::id();
    let random = RandomState::new().hash_one(process);
    format!(".{}.{process}-{random:016x}{PARTIAL}", stem(name))
}

/// The part of `name` that the name of a partial file holds: a name may have 255 bytes.
fn stem(name: &str) -> &str {
    &name[..name.floor_char_boundary(200)]
}

/// Removes a partial file or folder unless another process holds its lock.
fn remove_abandoned(path: &Path) {
    // The lock is held until it is gone, so that the process that has just made it cannot lock it in between.
    if let Ok(file) = read::unblocked().read(true).open(path)
        && file.try_lock().is_ok()
    {
        remove(path);
        drop(file);
    }
}

/// Removes a file or a folder if it is there.
fn remove(path: &Path) {
    let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    let _ = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

fn fill_file(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut writer = BufWriter::new(File::create(path)?);
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

    #[cfg(unix)]
    #[test]
    fn a_named_file_is_written_through_a_link_and_a_pipe_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let put = |name: &str, text: &'static str| {
            write_named(&at(name), move |out| Ok(out.write_all(text.as_bytes())?))
        };
        put("plain", "new").unwrap();
        assert_eq!(fs::read_to_string(at("plain")).unwrap(), "new");

        std::os::unix::fs::symlink("plain", at("link")).unwrap();
        put("link", "by the link").unwrap();
        assert_eq!(fs::read_to_string(at("plain")).unwrap(), "by the link");
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        std::os::unix::fs::symlink("nothing", at("loose")).unwrap();
        assert!(put("loose", "").unwrap_err().to_string().contains("a link to nothing"));

        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        let pipe = at("pipe");
        let reader = std::thread::spawn(move || fs::read_to_string(pipe).unwrap());
        put("pipe", "in the pipe").unwrap();
        assert_eq!(reader.join().unwrap(), "in the pipe");
        assert!(!fs::metadata(at("pipe")).unwrap().is_file());
    }

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
    fn many_writers_of_one_file_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache/key.tokens");
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        write(&path, |out| Ok(out.write_all(b"x")?)).unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(folder.path().join("cache")).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_program_left_is_removed_and_what_another_one_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.md");
        let there = |name: &str| folder.path().join(name).exists();
        for name in [".report.md.1-2.partial", ".report.md.partial", ".other.1-2.partial"] {
            fs::write(folder.path().join(name), "half").unwrap();
        }
        fs::create_dir_all(folder.path().join(".merged.1-2.partial/a")).unwrap();
        fill_folder(&folder.path().join("merged"), |_| {
            assert!(!there(".merged.1-2.partial"));
            write(&path, |out| {
                assert!(!there(".report.md.1-2.partial") && !there(".report.md.partial"));
                sweep(folder.path())?;
                assert!(!there(".other.1-2.partial"));
                Ok(out.write_all(b"whole")?)
            })
        })
        .unwrap();
        assert!(there("merged"));
        assert_eq!(fs::read_to_string(path).unwrap(), "whole");
    }

    #[test]
    fn a_path_without_a_file_name_is_an_error() {
        assert!(write(Path::new("/"), |_| Ok(())).is_err());
    }

    #[test]
    fn a_new_file_replaces_none_that_came_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let mut late = Growing::begin(&path).unwrap();
        late.write(b"late").unwrap();
        assert!(write_new(&path, b"first").unwrap());
        assert!(!late.finish().unwrap());
        assert!(!write_new(&path, b"later").unwrap());
        assert_eq!(fs::read(path).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
