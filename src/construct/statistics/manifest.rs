//! `manifest.json` beside a benchmark's files: which bytes each of them has.

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::disk::once::MANIFEST;
use crate::disk::read;
use crate::error::InputError;

/// Fields under which `data split` has one file each.
const SIDES: [&str; 3] = ["train", "validation", "test"];

/// A file as the manifest has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Listed {
    file: String,
    sha256: String,
    #[serde(default)]
    records: Option<usize>,
}

/// The files that a manifest lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    listed: Vec<Listed>,
}

impl Manifest {
    /// The manifest in a folder; none where there is none. One that cannot be read is refused.
    pub(super) fn beside(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MANIFEST);
        let Some(bytes) = read::if_there(&path)? else { return Ok(None) };
        let wrong = |why: &dyn std::fmt::Display| {
            InputError::new(format!("{}: not a manifest: {why}", path.display())).hint(
                "make the benchmark again, or move the manifest away to read the files as they are",
            )
        };
        let fields: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|error| wrong(&error))?;
        let mut values: Vec<&Value> = SIDES.iter().filter_map(|side| fields.get(*side)).collect();
        match fields.get("files") {
            Some(Value::Array(files)) => values.extend(files),
            Some(_) => return Err(wrong(&"`files` must be a list").into()),
            None => {}
        }
        let mut listed = Vec::new();
        for value in values.into_iter().filter(|value| value.get("file").is_some()) {
            listed.push(Listed::deserialize(value).map_err(|error| wrong(&error))?);
        }
        Ok(Some(Self { listed }))
    }

    /// Whether the manifest lists the file `path`. Refuses one whose digest or number of records is another.
    pub(super) fn check(&self, path: &Path, sha256: &str, records: usize) -> Result<bool> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(listed) = self.listed.iter().find(|listed| listed.file == name) else {
            return Ok(false);
        };
        let differs = |what: &str,
                       expected: &dyn std::fmt::Display,
                       found: &dyn std::fmt::Display| {
            let message = format!(
                "`{}` is not the file that `{MANIFEST}` beside it lists: {what} expected {expected}, found {found}",
                path.display()
            );
            InputError::new(message).hint(
                "the file was changed since it was made: make it again, or move the manifest away to read it as it is",
            )
        };
        if listed.sha256 != sha256 {
            return Err(differs("SHA-256", &listed.sha256, &sha256).into());
        }
        match listed.records {
            Some(expected) if expected != records => {
                Err(differs("number of records", &expected, &records).into())
            }
            _ => Ok(true),
        }
    }

    /// A sentence for each file that is listed and not in `folder`.
    pub(super) fn absent(&self, folder: &Path) -> Vec<String> {
        let is_absent = |listed: &&Listed| {
            !listed.file.contains(['/', '\\']) && !folder.join(&listed.file).exists()
        };
        let sentence = |listed: &Listed| {
            format!(
                "`{}` lists `{}`, which is not there.",
                folder.join(MANIFEST).display(),
                listed.file
            )
        };
        self.listed.iter().filter(is_absent).map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Result<Option<Manifest>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(MANIFEST), text).unwrap();
        Manifest::beside(folder.path())
    }

    #[test]
    fn sides_of_a_split_and_files_of_a_build_are_checked_and_inputs_are_not() {
        let text = r#"{"by": "user", "inputs": [{"file": "a.json", "sha256": "00"}], "train": {"file": "train.json", "sha256": "aa", "records": 3},
            "files": [{"file": "MVPBench.json", "sha256": "bb", "bytes": 1}]}"#;
        let all = manifest(text).unwrap().unwrap();
        assert!(all.check(Path::new("d/train.json"), "aa", 3).unwrap());
        assert!(all.check(Path::new("MVPBench.json"), "bb", 9).unwrap());
        assert!(!all.check(Path::new("a.json"), "zz", 1).unwrap());
        let error = all.check(Path::new("d/train.json"), "ab", 3).unwrap_err().to_string();
        assert!(error.contains("SHA-256 expected aa, found ab"), "{error}");
        let error = all.check(Path::new("train.json"), "aa", 4).unwrap_err().to_string();
        assert!(error.contains("number of records expected 3, found 4"), "{error}");
        assert_eq!(all.absent(Path::new("nowhere")).len(), 2);
    }

    #[test]
    fn a_manifest_that_is_none_is_refused() {
        for text in ["", "[]", r#"{"files": {}}"#, r#"{"files": [{"file": "a", "sha256": 5}]}"#] {
            let error = manifest(text).unwrap_err().to_string();
            assert!(error.contains("manifest.json: not a manifest"), "{text}: {error}");
        }
        assert_eq!(manifest("{}").unwrap().unwrap().listed, []);
    }
}
