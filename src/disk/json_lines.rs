//! Files of JSON lines: one record a line, written whole, read with the file and the line in every complaint.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::disk::atomic;
use crate::error::InputError;

/// Writes one line per record, in order. The file appears whole or not at all.
pub fn write<T: Serialize>(path: &Path, records: &[T]) -> Result<()> {
    atomic::write(path, |out| {
        for record in records {
            serde_json::to_writer(&mut *out, record)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Reads what [`write`] wrote; blank lines are allowed. An unreadable line is an [`InputError`].
///
/// - `wrong`: what a line is not, such as `not a pair's scores`.
/// - `check`: refuses a record that parses and cannot be used.
pub fn read<T: DeserializeOwned>(
    path: &Path,
    wrong: impl Fn(&str) -> String,
    check: impl Fn(&T) -> Result<()>,
) -> Result<Vec<T>> {
    let file = File::open(path)
        .map_err(|error| InputError::new(format!("cannot open `{}`: {error}", path.display())))?;
    let mut records = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}:{}", path.display(), index + 1);
        let line = line.map_err(|error| InputError::new(format!("{}: {error}", place())))?;
        if line.trim().is_empty() {
            continue;
        }
        let record: T = serde_json::from_str(&line)
            .map_err(|error| InputError::new(format!("{}: {}: {error}", place(), wrong(&line))))?;
        check(&record).with_context(place)?;
        records.push(record);
    }
    Ok(records)
}

/// The records at the beginning of a log that one program after another appends to, up to the first line that is none: a killed
/// program may have left half a line. A log that is not there has no records.
pub fn read_log<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect())
}
