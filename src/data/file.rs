//! The bytes of a data file -> its pairs. A JSON array, JSONL, Parquet or Arrow, packed or not, told apart by what is in it; CSV by its ending.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::pair::{LoadCounts, Loaded, Pair};
use crate::config::{LayoutName, Reading};
use crate::data::format::columns::NamedColumns;
pub use crate::data::format::draft::Prompts;
use crate::data::format::fields::{LONGEST_RECORD, Place, Record, kind, shorten};
use crate::data::unpacked::{self, Packing, inner_name};
use crate::data::{arrow, csv, format, parquet};
use crate::disk::{digest, json};
use crate::error::InputError;

/// One file of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFile<B> {
    /// Its name, for messages and [`Pair::source`].
    pub name: String,
    /// What is in it.
    pub bytes: B,
    /// How its records are read.
    pub reading: Reading,
    /// The source that it belongs to, by its place among those of the set.
    pub source: usize,
}

impl<B> From<(String, B)> for DataFile<B> {
    fn from((name, bytes): (String, B)) -> Self {
        Self { name, bytes, reading: Reading::default(), source: 0 }
    }
}

/// Reads files in order. Messages and [`Pair::source`] use the name; files of the same stem have sources with
/// as many folders as tell them apart.
///
/// `columns`: fields of the records that are groups beside the demographic ones. Refuses one that no record has.
pub fn load<B: AsRef<[u8]>>(
    files: &[DataFile<B>],
    columns: &[String],
    prompts: &Prompts<'_>,
) -> Result<Loaded> {
    let mut counts = LoadCounts { files: files.len(), ..LoadCounts::default() };
    let mut pairs = Vec::new();
    let last = files.iter().map(|file| file.source + 1).max();
    let mut by_source = vec![0; last.unwrap_or_default()];
    let names: Vec<&str> = files.iter().map(|file| &*file.name).collect();
    for (file, source) in files.iter().zip(sources(&names)) {
        let before = pairs.len();
        pairs.append(&mut read(file, &source, columns, prompts, &mut counts)?);
        by_source[file.source] += pairs.len() - before;
    }
    if let Some(column) =
        columns.iter().find(|&column| pairs.iter().all(|pair| !pair.groups.contains_key(column)))
    {
        return Err(InputError::new(format!(
            "{}: no record has the field `{column}` of `group_by`",
            names.join(", ")
        ))
        .into());
    }
    counts.count(&pairs);
    let digest = |file: &DataFile<B>| (file.name.clone(), digest::of_bytes(file.bytes.as_ref()));
    let texts =
        pairs.iter().map(|pair: &Pair| pair.prompt.len() + pair.chosen.len() + pair.rejected.len());
    // A packed file is smaller than its texts.
    let bytes = files.iter().map(|file| file.bytes.as_ref().len()).sum::<usize>().max(texts.sum());
    Ok(Loaded { pairs, counts, digests: files.iter().map(digest).collect(), by_source, bytes })
}

/// The stem of each file, or for files of the same stem the shortest end of the path that no other of `names` has: `a/test`, `b/test`.
pub fn sources(names: &[&str]) -> Vec<String> {
    let end = |name: &str, folders: usize| {
        let parts: Vec<&str> = name.split(['/', '\\']).filter(|part| !part.is_empty()).collect();
        let from = parts.len().saturating_sub(folders + 1);
        [&parts[from..parts.len().saturating_sub(1)], &[&*stem(name)]].concat().join("/")
    };
    let parts: Vec<usize> = names.iter().map(|name| name.split(['/', '\\']).count()).collect();
    let mut found = vec![None; names.len()];
    for folders in 0..parts.iter().copied().max().unwrap_or_default() {
        let ends: Vec<String> = names.iter().map(|name| end(name, folders)).collect();
        // The name of each end; none where several names have it.
        let mut owners: HashMap<&str, Option<&str>> = HashMap::new();
        for (end, name) in ends.iter().zip(names) {
            let owner = owners.entry(end).or_insert(Some(name));
            *owner = owner.filter(|owner| owner == name);
        }
        for (at, end) in ends.iter().enumerate() {
            if found[at].is_none() && folders < parts[at] && owners[&**end].is_some() {
                found[at] = Some(end.clone());
            }
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    let named = found.into_iter().zip(names);
    named.map(|(found, name)| found.unwrap_or_else(|| (*name).to_owned())).collect()
}

/// The pairs of one file, plain texts unchanged. `name`: the file, for messages and [`Pair::source`].
pub fn parse(bytes: &[u8], name: &str) -> Result<Vec<Pair>> {
    let file = DataFile::from((name.to_owned(), bytes));
    read(&file, &stem(name), &[], &Prompts::default(), &mut LoadCounts::default())
}

/// `source`: [`Pair::source`] of the pairs; `columns` as in [`load`].
fn read<B: AsRef<[u8]>>(
    file: &DataFile<B>,
    source: &str,
    columns: &[String],
    prompts: &Prompts<'_>,
    counts: &mut LoadCounts,
) -> Result<Vec<Pair>> {
    let (name, reading) = (&*file.name, &file.reading);
    let bytes = json(file.bytes.as_ref(), name)?;
    let elements = elements(&bytes, name)?;
    let mut pairs = Vec::with_capacity(elements.len());
    let mut named = NamedColumns::new(&reading.columns);
    for (place, (line, json)) in elements.into_iter().enumerate() {
        let record = Record::new(Place { file: name, line }, object(json, name, line)?)
            .with_columns(&reading.columns);
        named.see(&record);
        let mut draft = format::draft::draft(&record, source, place + 1, reading, counts)
            .or_else(|error| named.check(name).and(Err(error)))?;
        for column in columns {
            let label = record.label(&[column])?;
            draft.groups.extend(label.map(|label| (column.clone(), label.trim().to_owned())));
        }
        pairs.append(&mut draft.render(&record, prompts, counts)?);
    }
    named.check(name)?;
    Ok(pairs)
}

/// A record's own text, and its owner.
pub(super) struct Owned {
    /// File and line.
    pub(super) place: String,
    /// The record's own text.
    pub(super) json: String,
    pub(super) id: Option<String>,
    pub(super) user: Option<String>,
    pub(super) country: Option<String>,
}

/// The records of one file, each checked to hold a pair.
pub(super) fn owned(bytes: &[u8], name: &str, layout: LayoutName) -> Result<Vec<Owned>> {
    let (stem, bytes) = (stem(name), json(bytes, name)?);
    let mut counts = LoadCounts::default();
    let mut owned = Vec::new();
    for (place, (line, json)) in elements(&bytes, name)?.into_iter().enumerate() {
        let record = Record::new(Place { file: name, line }, object(json, name, line)?);
        let reading = Reading { layout, ..Reading::default() };
        let mut draft = format::draft::draft(&record, &stem, place + 1, &reading, &mut counts)?;
        owned.push(Owned {
            place: record.place.to_string(),
            json: json.trim().to_owned(),
            id: record.label(&["id"])?,
            user: draft.user,
            country: draft.groups.remove("country"),
        });
    }
    Ok(owned)
}

/// A file's name without folder and ending, that of its packing included.
pub(super) fn stem(name: &str) -> String {
    Path::new(inner_name(name))
        .file_stem()
        .map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// The file in JSON: unchanged or unpacked, or the rows of a file of Parquet, Arrow or CSV as lines.
pub(super) fn json<'a>(bytes: &'a [u8], name: &str) -> Result<Cow<'a, [u8]>> {
    let bytes = plain(bytes, name)?;
    let lines = if parquet::is_parquet(&bytes) {
        parquet::to_lines(&bytes, name)?
    } else if arrow::is_arrow(&bytes) {
        arrow::to_lines(&bytes, name)?
    } else if let Some(delimiter) = csv::delimiter(name) {
        refuse_foreign(&bytes, name)?;
        csv::to_lines(&bytes, delimiter, name)?
    } else {
        return Ok(bytes);
    };
    Ok(Cow::Owned(lines.into_bytes()))
}

/// The file as it was before it was packed.
pub(super) fn plain<'a>(bytes: &'a [u8], name: &str) -> Result<Cow<'a, [u8]>> {
    Ok(match Packing::of(bytes) {
        Some(packing) => Cow::Owned(unpacked::all(bytes, packing, name)?),
        None => Cow::Borrowed(bytes),
    })
}

/// The records of one file as JSON, at least one, each with the line it begins on.
pub(super) fn elements<'a>(bytes: &'a [u8], name: &str) -> Result<Vec<(usize, &'a str)>> {
    let text = text(bytes, name)?;
    let elements = match text.trim_start().chars().next() {
        Some('[') => array(text, name)?,
        Some('{') => lines(text),
        Some(_) => return Err(not_json(text, name)),
        None => return Err(InputError::new(format!("{name}: the file is empty")).into()),
    };
    if elements.is_empty() {
        return Err(InputError::new(format!(
            "{name}: the array is empty, expected at least one record"
        ))
        .into());
    }
    Ok(elements)
}

/// Refuses a file that begins as one of another format does.
pub(super) fn refuse_foreign(bytes: &[u8], name: &str) -> Result<()> {
    let foreign: [(&[u8], &str, &str); 10] = [
        (b"PARE", "an encrypted Parquet file", "write it without encryption"),
        (b"\x1f\x8b", "gzip data in packed data", "unpack it with `gunzip`"),
        (b"\x28\xb5\x2f\xfd", "zstd data in packed data", "unpack it with `unzstd`"),
        (b"PK\x03\x04", "a zip archive", "unpack it with `unzip`"),
        (b"BZh91AY", "a bzip2 file", "unpack it with `bunzip2`, or pack it as .gz or .zst"),
        (b"\xfd7zXZ\0", "an xz file", "unpack it with `unxz`, or pack it as .gz or .zst"),
        (b"\x80\x04\x95", "a Python pickle", "write its records as JSONL"),
        (b"\x80\x05\x95", "a Python pickle", "write its records as JSONL"),
        (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
        (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
    ];
    if let Some((_, what, hint)) = foreign.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return Err(InputError::new(format!(
            "{name}: expected a JSON array or JSONL, found {what}"
        ))
        .hint(*hint)
        .into());
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Err(InputError::new(format!(
            "{name}: expected a JSON array or JSONL, found a tar archive"
        ))
        .hint("unpack it with `tar xf`, and name its folder")
        .into());
    }
    Ok(())
}

/// The file as text, without a byte order mark.
pub(super) fn text<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str> {
    refuse_foreign(bytes, name)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + count_lines(&bytes[..error.valid_up_to()]);
        InputError::new(format!(
            "{name}:{line}: expected UTF-8 text, found the byte `0x{:02X}`",
            bytes[error.valid_up_to()]
        ))
        .hint("save the file as UTF-8")
        .into()
    })
}

/// The elements of a JSON array, each with the line it begins on.
fn array<'a>(text: &'a str, name: &str) -> Result<Vec<(usize, &'a str)>> {
    let elements: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| broken(&error, name, 1))?;
    let (mut line, mut from) = (1, 0);
    Ok(elements
        .into_iter()
        .map(|element| {
            let at = element.get().as_ptr() as usize - text.as_ptr() as usize;
            line += count_lines(&text.as_bytes()[from..at]);
            from = at;
            (line, element.get())
        })
        .collect())
}

/// The lines that are not blank, each with its number.
pub(super) fn lines(text: &str) -> Vec<(usize, &str)> {
    text.split('\n')
        .enumerate()
        .map(|(i, line)| (i + 1, line))
        .filter(|(_, line)| !line.trim().is_empty())
        .collect()
}

/// The fields of one record that begins on `line`.
pub(super) fn object(text: &str, name: &str, line: usize) -> Result<Map<String, Value>> {
    if text.len() > LONGEST_RECORD {
        let (found, most) = (text.len(), LONGEST_RECORD >> 20);
        let message =
            format!("{name}:{line}: a record of {found} bytes, expected at most {most} MiB");
        return Err(InputError::new(message)
            .hint("a data file is a JSON array of records, or one record a line")
            .into());
    }
    match json::unique(text).map_err(|error| broken(&error, name, line))? {
        Value::Object(fields) => Ok(fields),
        other => Err(InputError::new(format!(
            "{name}:{line}: expected a record, an object, got {}",
            kind(&other)
        ))
        .into()),
    }
}

/// serde_json's error in a text that begins on `line`, with the line of the file.
fn broken(error: &serde_json::Error, name: &str, line: usize) -> anyhow::Error {
    let message = error.to_string();
    let what = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
    let line = line + error.line().saturating_sub(1);
    if what == "unexpected end of hex escape" || what.contains("lone leading surrogate") {
        return InputError::new(format!(
            "{name}:{line}: half of a UTF-16 surrogate pair at column {}, which is no text",
            error.column()
        ))
        .hint("an escape such as `\\ud83d` is half of a character: write the whole character, or `\\ufffd` in its place")
        .into();
    }
    if what.starts_with(json::TWICE) {
        return InputError::new(format!("{name}:{line}: {what} in one object"))
            .hint("keep one of the two: it is not known which one is meant")
            .into();
    }
    let found = InputError::new(format!(
        "{name}:{line}: not valid JSON at column {}: {what}",
        error.column()
    ));
    let hint = match what {
        _ if error.is_eof() => {
            "the file may be cut short; one that begins with `{` is read as one whole object a line"
        }
        "trailing characters" => "one object a line, or one array with commas between the objects",
        "expected value" | "expected ident" => "JSON has no NaN, Infinity or None; write null",
        _ => return found.into(),
    };
    found.hint(hint).into()
}

/// The error for a text that begins neither an array nor an object.
pub(super) fn not_json(text: &str, name: &str) -> anyhow::Error {
    let text = text.trim_start();
    let (found, hint) = if text.starts_with('<') {
        (
            "an HTML or XML page",
            "the download may have saved an error page; open the file and fetch it again",
        )
    } else if text.starts_with("version https://git-lfs") {
        ("a Git LFS pointer", "fetch the file itself with `git lfs pull`")
    } else {
        ("", "a data file is a JSON array of records, or one record a line")
    };
    let found = if found.is_empty() {
        format!("`{}`", shorten(text.lines().next().unwrap_or_default()))
    } else {
        found.to_owned()
    };
    InputError::new(format!("{name}: expected a JSON array or JSONL, found {found}"))
        .hint(hint)
        .into()
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests;
