//! Files of JSON lines, one record a line.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::disk::atomic;
use crate::error::InputError;

/// A record of a file in which a broken line is an error.
pub trait Line: Serialize + DeserializeOwned {
    /// What an error calls a record, such as `a pair's scores`.
    const NOUN: &'static str;
    /// Whether a blank line is skipped; otherwise it is an error.
    const SKIPS_BLANK_LINES: bool;

    /// Refuses invalid values.
    fn check(&self) -> anyhow::Result<()>;
}

/// Writes checked `records`, in order. The file appears whole or not at all.
pub fn write_checked<T: Line>(path: &Path, records: &[T]) -> anyhow::Result<()> {
    records.iter().try_for_each(T::check)?;
    write(path, records)
}

/// Writes `records`, in order. The file appears whole or not at all.
pub fn write<T: Serialize>(path: &Path, records: &[T]) -> anyhow::Result<()> {
    atomic::write(path, |out| {
        for record in records {
            serde_json::to_writer(&mut *out, record)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Reads what [`write_checked`] wrote. A broken line is an [`InputError`] that names the file, the line and the id of
/// its pair.
///
/// An empty file has no records; a caller that needs some refuses it.
pub fn read<T: Line>(path: &Path) -> anyhow::Result<Vec<T>> {
    let file = File::open(path)
        .map_err(|error| InputError::new(format!("cannot open `{}`: {error}", path.display())))?;
    let mut records = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}:{}", path.display(), index + 1);
        let line = line.map_err(|error| InputError::new(format!("{}: {error}", place())))?;
        if T::SKIPS_BLANK_LINES && line.trim().is_empty() {
            continue;
        }
        let record: T = serde_json::from_str(&line).map_err(|error| {
            InputError::new(format!("{}: {}not {}: {error}", place(), id_of(&line), T::NOUN))
        })?;
        record.check().with_context(place)?;
        records.push(record);
    }
    Ok(records)
}

/// "pair `x`: " if the broken line still has an id, otherwise nothing.
fn id_of(line: &str) -> String {
    let record: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let id = record.as_ref().and_then(|record| record.get("id")).and_then(|id| id.as_str());
    id.map_or_else(String::new, |id| format!("pair `{id}`: "))
}

/// The records of a log before its first broken line; empty without a file.
///
/// A killed program may leave half a line at the end of its log.
pub fn read_log<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect())
}
