//! Files of JSON lines, one record a line, each with its digest as the last field.

use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::disk::{atomic, read, seal};
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

/// Writes `records`, in order, each line with its digest. The file appears whole or not at all.
pub fn write<T: Serialize>(path: &Path, records: &[T]) -> anyhow::Result<()> {
    atomic::write(path, |out| {
        for record in records {
            out.write_all(&line(record)?)?;
        }
        Ok(())
    })
}

/// A record as a line of a file, with its digest and a line break.
pub fn line<T: Serialize>(record: &T) -> anyhow::Result<Vec<u8>> {
    let mut line = seal::on_a_line(record)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads what [`write_checked`] wrote. A broken line, or one that its digest does not match, is an [`InputError`] that
/// names the file, the line and the id of its pair.
///
/// An empty file has no records; a caller that needs some refuses it.
pub fn read<T: Line>(path: &Path) -> anyhow::Result<Vec<T>> {
    let file = read::open(path).map_err(|error| {
        InputError::of_path(format!("cannot open `{}`", path.display()), error, |error| error)
    })?;
    records(path, BufReader::new(file))
}

/// As [`read()`], of `bytes` that were read already: a caller that digests a file parses what it digested. `path`: for messages.
pub fn parse<T: Line>(path: &Path, bytes: &[u8]) -> anyhow::Result<Vec<T>> {
    records(path, bytes)
}

fn records<T: Line>(path: &Path, lines: impl BufRead) -> anyhow::Result<Vec<T>> {
    let mut records = Vec::new();
    for (index, line) in lines.lines().enumerate() {
        let place = || format!("{}:{}", path.display(), index + 1);
        let line = line.map_err(|error| InputError::of_path(place(), error, |error| error))?;
        if T::SKIPS_BLANK_LINES && line.trim().is_empty() {
            continue;
        }
        let broken = |why: &dyn std::fmt::Display| {
            InputError::new(format!("{}: {}not {}: {why}", place(), id_of(&line), T::NOUN))
                .hint("run the command that wrote the file again: it computes what is broken anew")
        };
        let object = seal::open(line.as_bytes()).map_err(|error| broken(&error))?;
        let record: T = serde_json::from_slice(&object).map_err(|error| broken(&error))?;
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

/// What a log holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged<T> {
    /// The records of the whole lines, in order.
    pub records: Vec<T>,
    /// Numbers of the lines that are no record or that their digest does not match, from 1.
    pub broken_lines: Vec<usize>,
}

/// The records of a log, and the lines that hold none; empty without a file.
///
/// A line without a line break at its end is not counted as broken: a killed program leaves half a line.
pub fn read_log<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Logged<T>> {
    let bytes = read::if_there(path)?.unwrap_or_default();
    let mut log = Logged { records: Vec::new(), broken_lines: Vec::new() };
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let ended = line.strip_suffix(b"\n");
        let record = opened(ended.unwrap_or(line));
        match record {
            Some(record) => log.records.push(record),
            None if ended.is_some() => log.broken_lines.push(index + 1),
            None => {}
        }
    }
    Ok(log)
}

/// The record of a line that its digest matches.
fn opened<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    serde_json::from_slice(&seal::open(line).ok()?).ok()
}

/// "line 3" or "lines 3, 5": at most ten numbers, then how many more.
pub fn numbered(noun: &str, numbers: &[usize]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<_> = numbers.iter().take(SHOWN).map(usize::to_string).collect();
    let plural = if numbers.len() == 1 { "" } else { "s" };
    let more = match numbers.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{noun}{plural} {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_broken_line_of_a_log_costs_no_other_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let empty = Logged { records: Vec::<Value>::new(), broken_lines: Vec::new() };
        assert_eq!(read_log::<Value>(&path).unwrap(), empty);
        let records: Vec<Value> = (1..=4).map(|step| json!({"step": step, "loss": 0.5})).collect();
        write(&path, &records).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = text.replacen("\"step\":2,\"loss\":0.5", "\"step\":2,\"loss\":0.4", 1);
        std::fs::write(&path, &changed[..changed.len() - 5]).unwrap();
        let log = read_log::<Value>(&path).unwrap();
        assert_eq!(log.records, [records[0].clone(), records[2].clone()]);
        assert_eq!(log.broken_lines, [2], "the cut last line is no damage");
        assert_eq!(numbered("line", &log.broken_lines), "line 2");
        assert_eq!(numbered("step", &[1; 12]), "steps 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 and 2 more");
    }

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Step {
        step: u32,
    }

    impl Line for Step {
        const NOUN: &'static str = "a step";
        const SKIPS_BLANK_LINES: bool = false;

        fn check(&self) -> anyhow::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_are_parsed_as_the_file_is_whatever_the_file_holds_by_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps.jsonl");
        write_checked(&path, &[Step { step: 1 }, Step { step: 2 }]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = read::<Step>(&path).unwrap();
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(parse::<Step>(&path, &bytes).unwrap(), read);
        let error = parse::<Step>(&path, b"{}\n").unwrap_err().to_string();
        assert!(error.contains("steps.jsonl:1: not a step"), "{error}");
    }

    #[test]
    fn a_log_of_a_long_run_is_verified_in_well_under_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let record = json!({"text": "x".repeat(400), "step": 1});
        write(&path, &vec![record; 24_000]).unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(read_log::<Value>(&path).unwrap().records.len(), 24_000);
        assert!(begun.elapsed().as_secs_f64() < 5.0, "{:?}", begun.elapsed());
    }
}
