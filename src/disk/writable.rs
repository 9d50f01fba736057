//! Refuses a folder that cannot be written, before anything is computed for it.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use crate::error::InputError;

/// Refuses a folder that can be neither written nor made: the nearest existing path at or above it is not a folder, is
/// read-only, or belongs to another user. Writes nothing.
pub fn check(folder: &Path) -> Result<()> {
    let absolute = std::path::absolute(folder)
        .with_context(|| format!("cannot find `{}`", folder.display()))?;
    let Some(there) = absolute.ancestors().find(|path| path.symlink_metadata().is_ok()) else {
        return Ok(());
    };
    let why = match there.is_dir() {
        true => access(there).err().map(|error| error.to_string()),
        false => Some("not a folder".to_owned()),
    };
    let Some(why) = why else { return Ok(()) };
    let (folder, there) = (folder.display(), there.display());
    let message = format!("output folder `{folder}` cannot be written: `{there}`: {why}");
    Err(InputError::new(message).hint("give another folder with `--output`").into())
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
        check(&folder.path().join("a/b/c")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let error = check(&folder.path().join("file/run")).unwrap_err();
        assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("--output"));
        assert!(error.to_string().contains("file`: not a folder"), "{error}");
        #[cfg(unix)]
        {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
            assert!(check(&link.join("run")).is_err());
        }
    }
}
