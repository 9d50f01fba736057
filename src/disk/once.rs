//! Files of a folder that a command writes once: the same command again changes none, another one is refused.
//!
//! One program writes in a folder at a time: [`Streams`] locks it, and [`write()`] is called by one that has.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::disk::atomic::Growing;
use crate::disk::digest::Hasher;
use crate::disk::{atomic, lock, read};
use crate::error::InputError;

/// The manifest of a data set, written last: a folder that has it is whole.
pub const MANIFEST: &str = "manifest.json";

/// Writes those of `files`, name and content, that the folder `output` does not hold yet, in order: a manifest that comes last tells that
/// all are whole. A killed program leaves some of them. Refuses, before anything is written, a file with other content, which is
/// `of_another`, such as `of another split`.
///
/// The caller has locked the folder, such as by [`lock::folder`].
pub fn write(output: &Path, files: &[(&str, &[u8])], of_another: &str) -> Result<()> {
    let mut absent = Vec::new();
    for &(name, bytes) in files {
        let path = output.join(name);
        atomic::sweep_of(&path)?;
        match read::if_there(&path)? {
            None => absent.push((path, bytes)),
            Some(found) if found == bytes => {}
            Some(_) => return Err(another(&path, of_another)),
        }
    }
    for (path, bytes) in absent {
        if !atomic::write_new(&path, bytes)? {
            return Err(another(&path, of_another));
        }
    }
    Ok(())
}

fn another(path: &Path, of_another: &str) -> anyhow::Error {
    InputError::new(format!("`{}` already exists, {of_another}", path.display()))
        .hint("give another folder with `--output`")
        .into()
}

/// Files of a folder too large to hold, written side by side in pieces as [`write()`] does whole ones: a file that is there is compared
/// with the pieces, and none that is new has its name before all are whole. The folder is locked from [`Streams::begin`] to the end.
pub struct Streams<'a> {
    output: &'a Path,
    of_another: &'a str,
    files: Vec<Stream>,
    _lock: File,
}

struct Stream {
    path: PathBuf,
    hasher: Hasher,
    place: Place,
}

enum Place {
    New(Growing),
    There(BufReader<File>),
}

impl<'a> Streams<'a> {
    /// Begins the files `names` of the folder `output`; `of_another` as in [`write()`]. Refuses a folder in which another
    /// program is writing.
    pub fn begin(output: &'a Path, names: &[String], of_another: &'a str) -> Result<Self> {
        let lock = lock::folder(output)?;
        let begin = |name: &String| -> Result<Stream> {
            let path = output.join(name);
            atomic::sweep_of(&path)?;
            let place = match read::is_there(&path)? {
                true => {
                    let file = read::open(&path)
                        .with_context(|| format!("cannot read `{}`", path.display()))?;
                    Place::There(BufReader::new(file))
                }
                false => Place::New(Growing::begin(&path)?),
            };
            Ok(Stream { path, hasher: Hasher::default(), place })
        };
        let files = names.iter().map(begin).collect::<Result<_>>()?;
        Ok(Self { output, of_another, files, _lock: lock })
    }

    /// Adds the next bytes to the file at `place` of the names. Refuses those that the file there does not have.
    pub fn write(&mut self, place: usize, bytes: &[u8]) -> Result<()> {
        let Stream { path, hasher, place } = &mut self.files[place];
        hasher.update(bytes);
        match place {
            Place::New(file) => file.write(bytes),
            Place::There(file) => match has_next(file, path, bytes)? {
                true => Ok(()),
                false => Err(another(path, self.of_another)),
            },
        }
    }

    /// Ends the files. `last` makes the content of the file `name` from their SHA-256, in the order of the names; it is written once all
    /// others are whole.
    pub fn finish(
        self,
        name: &str,
        last: impl FnOnce(&[String]) -> Result<Vec<u8>>,
    ) -> Result<Vec<String>> {
        let (mut digests, mut grown) = (Vec::new(), Vec::new());
        for Stream { path, hasher, place } in self.files {
            digests.push(hasher.finish());
            match place {
                Place::New(file) => grown.push((path, file)),
                Place::There(mut file) => {
                    let more = file.read(&mut [0]).with_context(|| unreadable(&path))?;
                    if more > 0 {
                        return Err(another(&path, self.of_another));
                    }
                }
            }
        }
        let last = last(&digests)?;
        let path = self.output.join(name);
        if read::if_there(&path)?.is_some_and(|found| found != last) {
            return Err(another(&path, self.of_another));
        }
        for (path, file) in grown {
            if !file.finish()? {
                return Err(another(&path, self.of_another));
            }
        }
        write(self.output, &[(name, &last)], self.of_another)?;
        Ok(digests)
    }
}

fn unreadable(path: &Path) -> String {
    format!("cannot read `{}`", path.display())
}

/// Whether `bytes` are the next ones of `file`.
fn has_next(file: &mut impl Read, path: &Path, mut bytes: &[u8]) -> Result<bool> {
    let mut found = [0; 1 << 13];
    while !bytes.is_empty() {
        let most = bytes.len().min(found.len());
        let n = file.read(&mut found[..most]).with_context(|| unreadable(path))?;
        if n == 0 || found[..n] != bytes[..n] {
            return Ok(false);
        }
        bytes = &bytes[n..];
    }
    Ok(true)
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

    /// Writes `pieces` as one file and its digest as another.
    fn stream(folder: &Path, pieces: &[&str]) -> Result<Vec<String>> {
        let mut streams = Streams::begin(folder, &["in/a.json".to_owned()], "of another build")?;
        pieces.iter().try_for_each(|piece| streams.write(0, piece.as_bytes()))?;
        streams.finish("manifest.json", |digests| Ok(digests.concat().into_bytes()))
    }

    #[test]
    fn pieces_make_the_file_once_and_other_pieces_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let digests = stream(folder.path(), &["ab", "c"]).unwrap();
        assert_eq!(digests, [crate::disk::digest::of_bytes(b"abc")]);
        let a = folder.path().join("in/a.json");
        let before = std::fs::metadata(&a).unwrap().modified().unwrap();
        assert_eq!(stream(folder.path(), &["a", "bc"]).unwrap(), digests);
        assert_eq!(std::fs::metadata(&a).unwrap().modified().unwrap(), before);
        for pieces in [&["abd"][..], &["ab"], &["abcd"]] {
            let error = stream(folder.path(), pieces).unwrap_err().to_string();
            assert!(error.contains("a.json` already exists, of another build"), "{error}");
        }
        assert_eq!(std::fs::read(a).unwrap(), b"abc");
    }

    #[test]
    fn a_manifest_of_another_build_keeps_every_new_file_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("manifest.json"), "old").unwrap();
        let error = stream(folder.path(), &["abc"]).unwrap_err().to_string();
        assert!(error.contains("manifest.json` already exists"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path().join("in")).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_in_which_another_program_writes_is_refused_until_that_ends() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a.json".to_owned()];
        let streams = Streams::begin(folder.path(), &names, "of another build").unwrap();
        let error = Streams::begin(folder.path(), &names, "of another build").err().unwrap();
        assert!(error.to_string().contains("another program is writing in `"), "{error}");
        streams.finish(MANIFEST, |_| Ok(b"{}".to_vec())).unwrap();
        Streams::begin(folder.path(), &names, "of another build").unwrap();
    }

    #[test]
    fn a_file_that_appears_while_its_pieces_come_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let a = folder.path().join("a.json");
        let names = ["a.json".to_owned()];
        let mut streams = Streams::begin(folder.path(), &names, "of another build").unwrap();
        streams.write(0, b"new").unwrap();
        std::fs::write(&a, "by hand").unwrap();
        let error = streams.finish(MANIFEST, |_| Ok(b"{}".to_vec())).unwrap_err().to_string();
        assert!(error.contains("a.json` already exists, of another build"), "{error}");
        assert_eq!(std::fs::read(a).unwrap(), b"by hand");
        assert!(!folder.path().join(MANIFEST).exists());
    }
}
