//! What a merge says of itself in its output, in `merge.json`: by it the same command knows its own work, and a file that has changed since.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Difference, Merge, Merged, copied};
use crate::data::chat;
use crate::disk::{atomic, digest, read, seal};
use crate::error::InputError;
use crate::model::lora::Adapter;
use crate::model::{adapter, weights};

/// The file in the output that a command recognises its own work by.
const RECORD_FILE: &str = "merge.json";

/// What was merged, and what came of it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Digest of base, adapter, dtype and probes.
    key: String,
    /// SHA-256 of every other file that was written, by its name in the folder; none in a record of an earlier version.
    digests: Option<BTreeMap<String, String>>,
    tensors: usize,
    changed: usize,
    files: usize,
    bytes: usize,
    dtype: String,
    difference: Option<Difference>,
}

impl Record {
    fn of(merge: &Merge<'_>, adapter: &Adapter, folder: &Path, merged: &Merged) -> Result<Self> {
        Ok(Self {
            key: key(merge, adapter)?,
            digests: Some(digests(folder)?),
            tensors: merged.tensors,
            changed: merged.changed,
            files: merged.files,
            bytes: merged.bytes,
            dtype: merged.dtype.as_str().to_owned(),
            difference: merged.difference.clone(),
        })
    }

    /// The record of `folder`; none if it has none or a broken one.
    fn read(folder: &Path) -> Result<Option<Self>> {
        let bytes = read::if_there(&folder.join(RECORD_FILE))?;
        let object = bytes.and_then(|bytes| seal::open(&bytes).ok());
        Ok(object.and_then(|object| serde_json::from_slice(&object).ok()))
    }
}

/// Leaves the record of a merge in its folder.
pub(super) fn write(
    merge: &Merge<'_>,
    adapter: &Adapter,
    folder: &Path,
    merged: &Merged,
) -> Result<()> {
    let text = seal::indented(&Record::of(merge, adapter, folder, merged)?)?;
    atomic::write(&folder.join(RECORD_FILE), |out| Ok(out.write_all(&text)?))
}

/// Digest of everything that the output depends on.
fn key(merge: &Merge<'_>, adapter: &Adapter) -> Result<String> {
    let how = format!("{:?} {:?}", merge.stored, merge.probes);
    let mut parts: Vec<Vec<u8>> =
        vec![weights::digest(merge.model)?.into(), adapter::digest(adapter)?.into(), how.into()];
    parts.extend(copied(merge)?.into_iter().flat_map(|(name, bytes)| [name.into(), bytes]));
    Ok(digest::of_parts(parts))
}

/// SHA-256 of every file that a merge has written into `folder`, by its name there.
fn digests(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut paths = read::folder(folder)?;
    paths.extend(read::folder(&folder.join(chat::ADDITIONAL_TEMPLATES))?);
    paths.retain(|path| path.is_file());
    let one = |path: &PathBuf| {
        let name = path.strip_prefix(folder)?.to_str().context("a name that is not UTF-8")?;
        Ok((name.to_owned(), digest::of_file(path)?))
    };
    paths.par_iter().map(one).collect()
}

/// The first of the files `written`, with their digests, that `folder` no longer holds as it was written, and what became of it.
fn first_changed(
    folder: &Path,
    written: &BTreeMap<String, String>,
) -> Result<Option<(String, &'static str)>> {
    let one = |(name, digest): (&String, &String)| -> Result<_> {
        let path = folder.join(name);
        if !read::is_there(&path)? {
            return Ok(Some((name.clone(), "is missing")));
        }
        let is_same = digest::of_file(&path)? == *digest;
        Ok((!is_same).then(|| (name.clone(), "has changed since")))
    };
    let all: Vec<_> = written.par_iter().map(one).collect::<Result<_>>()?;
    Ok(all.into_iter().flatten().next())
}

/// What an earlier command with the same inputs has written. Refuses an output of anything else, and one in which a file is another
/// than it wrote.
pub(super) fn earlier(merge: &Merge<'_>, adapter: &Adapter) -> Result<Merged> {
    atomic::sweep_of(merge.output)?;
    let refused = || already_exists(merge.output);
    let record = Record::read(merge.output)?.ok_or_else(refused)?;
    let changed = |what: String| -> anyhow::Error {
        InputError::new(format!("output folder `{}` holds {what}", merge.output.display()))
            .hint("remove the folder to merge again, or give another with `--output`")
            .into()
    };
    let Some(written) = &record.digests else {
        let what = "a merge by an earlier version, whose `merge.json` does not tell whether its files have changed";
        return Err(changed(what.to_owned()));
    };
    if record.key != key(merge, adapter)? {
        return Err(refused().into());
    }
    if let Some((name, became)) = first_changed(merge.output, written)? {
        return Err(changed(format!("this merge, but `{name}` {became}")));
    }
    let dtype = record.dtype.parse().map_err(|_| refused())?;
    let Record { tensors, changed, files, bytes, difference, .. } = record;
    Ok(Merged { tensors, changed, files, bytes, dtype, difference, is_earlier: true })
}

fn already_exists(output: &Path) -> InputError {
    InputError::new(format!("output folder `{}` already exists", output.display()))
        .hint("give another folder with `--output`")
}

/// Refuses an output that exists and that no merge has written.
pub fn refuse_foreign(output: &Path) -> Result<()> {
    if output.exists() && !output.join(RECORD_FILE).exists() {
        return Err(already_exists(output).into());
    }
    Ok(())
}
