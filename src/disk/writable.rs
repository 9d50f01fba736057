//! Refuses a folder that cannot be written, before anything is computed for it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result};

use crate::disk::atomic;
use crate::error::InputError;

/// Refuses a folder that can be neither written nor made: the nearest existing path at or above it is not a folder, is
/// read-only, belongs to another user or takes no new folder, or a name is too long. Leaves nothing behind.
pub fn check(folder: &Path) -> Result<()> {
    check_or(folder, "give another folder with `--output`")
}

/// As [`check`], for a folder that is written in because it was given to be read; `remedy`: the hint.
pub fn check_or(folder: &Path, remedy: &str) -> Result<()> {
    let absolute = std::path::absolute(folder)
        .with_context(|| format!("cannot find `{}`", folder.display()))?;
    let message = |there: &Path| {
        format!("output folder `{}` cannot be written: `{}`", folder.display(), there.display())
    };
    let refused = |there: &Path, why: &str| {
        Err(InputError::new(format!("{}: {why}", message(there))).hint(remedy).into())
    };
    let failed = |there: &Path, error| {
        Err(InputError::of_path(message(there), error, |error| error.hint(remedy)))
    };
    let mut new = None;
    for there in absolute.ancestors() {
        match there.symlink_metadata() {
            Ok(_) if !there.is_dir() => return refused(there, "not a folder"),
            Ok(_) => {
                if let Err(error) = access(there) {
                    return failed(there, error);
                }
                let Some(new) = new else { return Ok(()) };
                atomic::sweep_of(new)?;
                return try_folder(new).or_else(|error| match error.kind() {
                    // The folder is there, so that this is said of the new one in it.
                    ErrorKind::NotFound => refused(there, "it takes no new folder"),
                    _ => failed(there, error),
                });
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                new = Some(there);
            }
            Err(error) => return failed(there, error),
        }
    }
    Ok(())
}

/// Refuses a path at which no file can be written: a folder, a pipe, a device, or a file in a folder that [`check`] refuses.
pub fn check_file(path: &Path) -> Result<()> {
    let shown = path.display();
    let refused = |found: &str, hint: String| {
        let message = format!("`{shown}`: expected a file to write, found a {found}");
        Err(InputError::new(message).hint(hint).into())
    };
    match path.metadata() {
        Ok(found) if found.is_dir() => refused(
            "folder",
            format!("give a file in it, such as `{}`", path.join("answers.jsonl").display()),
        ),
        Ok(found) if !found.is_file() => {
            refused("pipe or a device", "leave out `--output` and redirect with `>`".to_owned())
        }
        Ok(_) => Ok(()),
        Err(_) => match path.parent() {
            Some(folder) if folder != Path::new("") => check(folder),
            _ => check(Path::new(".")),
        },
    }
}

/// Makes a partial folder of `new` and removes it again: some file systems take none, such as `/proc`. It has a name of its own, so that no
/// other program takes it for the output of this one.
fn try_folder(new: &Path) -> io::Result<()> {
    let name = new.file_name().unwrap_or_default().to_string_lossy();
    let path = new.with_file_name(atomic::partial_name(&name));
    fs::create_dir(&path)?;
    match fs::remove_dir(&path) {
        // Another program took it for abandoned.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether this process may make files in `folder`: its permissions allow it, and it is not mounted read-only.
#[cfg(unix)]
fn access(folder: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: `path` ends with a zero byte and outlives the call, which only reads it.
    #[expect(unsafe_code, reason = "a C function")]
    let denied = unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) };
    if denied == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// On other systems the first write fails instead.
#[cfg(not(unix))]
fn access(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_under_a_file_or_a_dangling_link_is_refused_and_a_new_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        // As a killed program leaves it.
        std::fs::create_dir(folder.path().join(".a.12-34.partial")).unwrap();
        check(&folder.path().join("a/b/c")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let error = check(&folder.path().join("file/run")).unwrap_err();
        assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("--output"));
        assert!(error.to_string().contains("file`: not a folder"), "{error}");
        check_file(&folder.path().join("a/b")).unwrap();
        check_file(&folder.path().join("file")).unwrap();
        for (path, part) in [
            (folder.path(), "found a folder"),
            (&folder.path().join("file/b"), "not a folder"),
            #[cfg(unix)]
            (Path::new("/dev/null"), "found a pipe or a device"),
        ] {
            let error = check_file(path).unwrap_err();
            let remedy = InputError::of(&error).unwrap().remedy();
            assert!(error.to_string().contains(part) && remedy.is_some(), "{error}");
        }
        let long = folder.path().join("n".repeat(300));
        assert!(check(&long.join("run")).unwrap_err().to_string().contains("too long"));
        if Path::new("/proc/self").exists() {
            let error = check(Path::new("/proc/mvpbench/run")).unwrap_err().to_string();
            assert!(error.ends_with("`/proc`: it takes no new folder"), "{error}");
        }
        #[cfg(unix)]
        {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
            assert!(check(&link.join("run")).is_err());
        }
    }
}
