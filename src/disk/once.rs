//! Files of a folder that a command writes once: the same command again changes none, another one is refused.

use std::path::Path;

use anyhow::Result;

use crate::disk::{atomic, read};
use crate::error::InputError;

/// Writes those of `files`, name and content, that the folder `output` does not hold yet, in order: a manifest that comes last tells that
/// all are whole. A killed program leaves some of them. Refuses, before anything is written, a file with other content, which is
/// `of_another`, such as `of another split`.
pub fn write(output: &Path, files: &[(&str, &[u8])], of_another: &str) -> Result<()> {
    let mut absent = Vec::new();
    for &(name, bytes) in files {
        let path = output.join(name);
        atomic::sweep_of(&path)?;
        match read::if_there(&path)? {
            None => absent.push((path, bytes)),
            Some(found) if found == bytes => {}
            Some(_) => {
                let message = format!("`{}` already exists, {of_another}", path.display());
                return Err(InputError::new(message)
                    .hint("give another folder with `--output`")
                    .into());
            }
        }
    }
    for (path, bytes) in absent {
        atomic::write(&path, |out| Ok(out.write_all(bytes)?))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_and_what_differs_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8]); 2] = [("a.json", b"1"), ("manifest.json", b"2")];
        write(folder.path(), &files, "of another build").unwrap();
        let a = folder.path().join("a.json");
        let before = std::fs::metadata(&a).unwrap().modified().unwrap();
        write(folder.path(), &files, "of another build").unwrap();
        assert_eq!(std::fs::metadata(&a).unwrap().modified().unwrap(), before);
        std::fs::remove_file(folder.path().join("manifest.json")).unwrap();
        let other: [(&str, &[u8]); 2] = [("b.json", b"1"), ("a.json", b"3")];
        let error = write(folder.path(), &other, "of another build").unwrap_err().to_string();
        assert!(error.contains("a.json` already exists, of another build"), "{error}");
        assert!(!folder.path().join("b.json").exists());
    }
}
