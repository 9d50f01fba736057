//! A file of records, one at a time, for files that are too large to hold: JSONL, JSON, Parquet or Arrow, packed or not, told apart by what is in
//! it; CSV by its ending.
//!
//! JSON is an array of objects, or objects one after another over several lines. A record that is broken is given as what is wrong with it.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::file;
use crate::console::{interrupt, units};
use crate::data::format::fields::{LONGEST_RECORD, kind};
use crate::data::unpacked::{self, Packing};
use crate::data::{arrow, csv, parquet};
use crate::disk::digest::{self, Hasher};
use crate::disk::{json, read};
use crate::error::InputError;

/// Bytes read at a time; the form of a file is told by the first of them.
const CHUNK: usize = 1 << 18;

/// What is done with a record: the line it begins on, in a Parquet file its row, and its fields or what is wrong with it.
pub type Take<'a> = dyn FnMut(usize, Result<Map<String, Value>, String>) -> Result<()> + 'a;

/// Gives the records of the file `path` to `take` in order. `name`: the file, for messages. Returns the SHA-256 of the file.
///
/// Refuses a file that is not there, is empty or is none of the forms.
pub fn each(path: &Path, name: &str, take: &mut Take<'_>) -> Result<String> {
    let mut file = open(path, name)?;
    let context = || format!("cannot read `{}`", path.display());
    let mut head = Vec::new();
    file.by_ref().take(CHUNK as u64).read_to_end(&mut head).with_context(context)?;
    let mut rows = |row: usize, value: Value| {
        interrupt::check()?;
        take(row, fields(Ok(value)))
    };
    if parquet::is_parquet(&head) {
        parquet::each(open(path, name)?, name, &mut rows)?;
        return digest::of_file(path);
    }
    let bytes = file.metadata().with_context(context)?.len() as usize;
    if arrow::is_arrow(&head) {
        arrow::each(open(path, name)?, bytes, name, &mut rows)?;
        return digest::of_file(path);
    }
    let mut hashed = Hashed { inner: Cursor::new(head).chain(file), hasher: Hasher::default() };
    match Packing::of(hashed.inner.get_ref().0.get_ref()) {
        Some(packing) => {
            let mut unpacked = unpacked::reader(&mut hashed, packing, bytes, name)?;
            text(&mut unpacked, name, take)?;
        }
        None => text(&mut hashed, name, take)?,
    }
    // A packed stream may end before the file does.
    std::io::copy(&mut hashed, &mut std::io::sink()).with_context(context)?;
    Ok(hashed.hasher.finish())
}

/// A reader that takes the digest of what it gives.
struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(into)?;
        self.hasher.update(&into[..n]);
        Ok(n)
    }
}

/// Gives the records of a text of CSV or JSON.
fn text(reader: &mut dyn Read, name: &str, take: &mut Take<'_>) -> Result<()> {
    let mut head = Vec::new();
    reader
        .take(CHUNK as u64)
        .read_to_end(&mut head)
        .map_err(|error| unpacked::reason(error, name))?;
    if let Some(delimiter) = csv::delimiter(name) {
        file::refuse_foreign(&head, name)?;
        return csv::each(Cursor::new(head).chain(reader), delimiter, name, take);
    }
    if parquet::is_parquet(&head) || arrow::is_arrow(&head) {
        return Err(InputError::new(format!(
            "{name}: a packed file of Parquet or Arrow, which is not read in pieces"
        ))
        .hint("unpack it with `gunzip` or `unzstd`: it is packed inside")
        .into());
    }
    let form = form(&head, name)?;
    let mut splitter = Splitter::new(form, take);
    let mut chunk = vec![0; CHUNK];
    let mut all = Cursor::new(head).chain(reader);
    let mut is_begin = true;
    loop {
        let n = all.read(&mut chunk).map_err(|error| unpacked::reason(error, name))?;
        if n == 0 {
            break;
        }
        let bytes = &chunk[..n];
        let bytes = if is_begin { bytes.strip_prefix(BOM).unwrap_or(bytes) } else { bytes };
        is_begin = false;
        splitter.add(bytes)?;
    }
    splitter.end()
}

const BOM: &[u8] = b"\xef\xbb\xbf";

fn open(path: &Path, name: &str) -> Result<File> {
    read::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            InputError::new(format!("`{name}`: no such file")).hint("check the path").into()
        }
        _ => anyhow::Error::from(error).context(format!("cannot read `{name}`")),
    })
}

/// How the records of a file of JSON are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One a line.
    Lines,
    /// The elements of an array.
    Array,
    /// Objects one after another, each over several lines.
    Objects,
}

fn form(head: &[u8], name: &str) -> Result<Form> {
    file::refuse_foreign(head, name)?;
    let head = head.strip_prefix(BOM).unwrap_or(head);
    match head.iter().position(|byte| !byte.is_ascii_whitespace()) {
        None => Err(InputError::new(format!("{name}: the file is empty")).into()),
        Some(at) => match head[at] {
            b'[' => Ok(Form::Array),
            b'{' => {
                let line = head[at..].split(|byte| *byte == b'\n').next().unwrap_or_default();
                Ok(if line.trim_ascii() == b"{" { Form::Objects } else { Form::Lines })
            }
            _ => Err(file::not_json(&String::from_utf8_lossy(head), name)),
        },
    }
}

/// Cuts bytes that arrive in pieces into records.
struct Splitter<'a, 't> {
    form: Form,
    take: &'a mut Take<'t>,
    /// Line of the next byte.
    line: usize,
    /// Line on which `record` begins.
    begun: usize,
    /// Line of its last byte that is not blank.
    ended: usize,
    record: Vec<u8>,
    is_too_long: bool,
    /// Open brackets, the array's own not counted.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    array: Array,
    /// Whether an element of the array has ended, and no comma has come since.
    is_after_element: bool,
    /// Whether `record` begins there.
    lacks_comma: bool,
}

#[derive(PartialEq, Eq)]
enum Array {
    Before,
    Inside,
    After,
}

impl<'a, 't> Splitter<'a, 't> {
    fn new(form: Form, take: &'a mut Take<'t>) -> Self {
        Self {
            form,
            take,
            line: 1,
            begun: 1,
            ended: 1,
            record: Vec::new(),
            is_too_long: false,
            depth: 0,
            in_string: false,
            is_escaped: false,
            array: Array::Before,
            is_after_element: false,
            lacks_comma: false,
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        match self.form {
            Form::Lines => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.begun = self.line;
                    self.push(piece);
                    if piece.ends_with(b"\n") {
                        self.give()?;
                        self.line += 1;
                    }
                }
                Ok(())
            }
            Form::Array | Form::Objects => bytes.iter().try_for_each(|byte| self.add_byte(*byte)),
        }
    }

    fn add_byte(&mut self, byte: u8) -> Result<()> {
        if byte == b'\n' {
            self.line += 1;
        }
        if self.in_string {
            self.push(&[byte]);
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Ok(());
        }
        let is_between = self.depth == 0;
        match byte {
            b'[' if self.form == Form::Array && self.array == Array::Before => {
                self.array = Array::Inside;
            }
            b']' if is_between && self.array == Array::Inside => {
                self.give()?;
                self.array = Array::After;
            }
            b',' if is_between && self.array == Array::Inside => {
                self.give()?;
                self.is_after_element = false;
            }
            _ if self.record.is_empty() && byte.is_ascii_whitespace() => {}
            _ => {
                if self.record.is_empty() {
                    self.begun = self.line;
                    self.lacks_comma = self.is_after_element;
                }
                self.push(&[byte]);
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            self.give()?;
                            self.is_after_element = self.array == Array::Inside;
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) {
        if !bytes.trim_ascii().is_empty() {
            self.ended = self.line;
        }
        if self.record.len() + bytes.len() > LONGEST_RECORD {
            self.is_too_long = true;
        }
        if !self.is_too_long {
            self.record.extend_from_slice(bytes);
        }
    }

    /// Gives the record that has ended, unless it is blank.
    fn give(&mut self) -> Result<()> {
        interrupt::check()?;
        let record = std::mem::take(&mut self.record);
        let is_too_long = std::mem::take(&mut self.is_too_long);
        let value = match std::str::from_utf8(&record) {
            _ if is_too_long => Err(format!("a record of more than {} MiB", LONGEST_RECORD >> 20)),
            Ok(text) if text.trim().is_empty() => return self.keep(record),
            _ if self.array == Array::After => Err("text after the end of the array".to_owned()),
            Ok(text) => json::unique(text.trim()).map_err(|error| {
                // On one line the line of the file is enough.
                let why = error.to_string().replace(" at line 1 column ", " at column ");
                format!("not JSON: {why}")
            }),
            Err(error) => {
                Err(format!("not UTF-8 text: the byte `0x{:02X}`", record[error.valid_up_to()]))
            }
        };
        let fields = fields(value).and_then(|fields| match self.lacks_comma {
            true => Err("a comma is missing before the record".to_owned()),
            false => Ok(fields),
        });
        let fields = fields.map_err(|why| match self.ended - self.begun + 1 {
            1 => why,
            // A quote or a bracket too many takes the records that follow into this one.
            lines => format!("{why}; the broken record spans {} lines", units::count(lines)),
        });
        (self.take)(self.begun, fields)?;
        self.keep(record)
    }

    /// Uses the memory of a record for the next one.
    fn keep(&mut self, mut record: Vec<u8>) -> Result<()> {
        record.clear();
        self.record = record;
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        self.give()?;
        if self.form == Form::Array && self.array != Array::After {
            let why = "the array does not end: the file may be cut short".to_owned();
            (self.take)(self.line, Err(why))?;
        }
        Ok(())
    }
}

fn fields(value: Result<Value, String>) -> Result<Map<String, Value>, String> {
    match value? {
        Value::Object(fields) => Ok(fields),
        other => Err(format!("expected a record, an object, got {}", kind(&other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line and `a`, or what is wrong, of each record.
    fn read(bytes: &[u8]) -> Result<Vec<(usize, Result<i64, String>)>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("x");
        std::fs::write(&path, bytes)?;
        let mut all = Vec::new();
        let sha256 = each(&path, "x", &mut |line, record| {
            all.push((line, record.map(|fields| fields["a"].as_i64().unwrap())));
            Ok(())
        })?;
        assert_eq!(sha256, digest::of_bytes(bytes));
        Ok(all)
    }

    #[test]
    fn lines_an_array_and_objects_over_several_lines_give_the_same_records() {
        let good = |line, a| (line, Ok(a));
        let lines =
            read(b"\xef\xbb\xbf{\"a\": 1}\n\n {\"a\": 2, \"b\": \"]},{\\\"\"}\r\n{\"a\": 3}");
        assert_eq!(lines.unwrap(), [good(1, 1), good(3, 2), good(4, 3)]);
        let array = read(b"[\n{\"a\": 1},{\"a\": 2, \"b\": \"]},{\\\"\"}\n,\n{\n\"a\": 3}\n]\n");
        assert_eq!(array.unwrap(), [good(2, 1), good(2, 2), good(4, 3)]);
        let objects = read(b"\n{\n\"a\": 1\n}\n{\"a\": 2, \"b\": [{}]}");
        assert_eq!(objects.unwrap(), [good(2, 1), good(5, 2)]);
    }

    #[test]
    fn a_broken_record_is_given_with_its_line_and_the_others_are_read() {
        let broken = |bytes: &[u8]| -> Vec<(usize, String)> {
            let all = read(bytes).unwrap();
            assert_eq!(all[0].1, Ok(1));
            all.into_iter().filter_map(|(line, record)| Some((line, record.err()?))).collect()
        };
        let lines = broken(b"{\"a\": 1}\n{\"a\": \n5\n{\"a\": \"\xff\"}\n{\"a\": 1, \"a\": 1}\n");
        assert_eq!(lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4, 5]);
        for ((_, why), part) in lines.iter().zip([
            "not JSON: EOF while parsing a value at column 5",
            "expected a record, an object, got the number `5`",
            "not UTF-8 text: the byte `0xFF`",
            "the key `a` stands twice",
        ]) {
            assert!(why.contains(part), "{why}");
        }
        let array = broken(b"[{\"a\": 1},\n{\"a\": NaN}, 7\n, {\"a\": 2}] x");
        assert_eq!(array.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 2, 3]);
        assert_eq!(array[2].1, "text after the end of the array");
        let cut = broken(b"[{\"a\": 1},\n{\"a\": 2");
        assert_eq!(cut[1], (2, "the array does not end: the file may be cut short".to_owned()));
    }

    #[test]
    fn a_stray_quote_in_an_array_says_how_many_lines_it_takes() {
        let all = read(b"[\n{\"a\": 1},\n{\"a\": \"2\"\"},\n{\"a\": 3},\n{\"a\": 4}\n]\n");
        let all = all.unwrap();
        assert_eq!((all.len(), all[0].clone(), all[1].0), (3, (2, Ok(1)), 3));
        let why = all[1].1.clone().unwrap_err();
        assert!(
            why.starts_with("not JSON: ") && why.ends_with("; the broken record spans 4 lines"),
            "{why}"
        );
        let scalar = read(b"[{\"a\": 1}, 7\n\n, {\"a\": 2}]").unwrap();
        let why = scalar[1].1.clone().unwrap_err();
        assert_eq!(why, "expected a record, an object, got the number `7`");
    }

    #[test]
    fn a_record_of_an_array_without_a_comma_before_it_is_broken() {
        let all = read(b"[{\"a\": 1}\n{\"a\": 2},\n{\"a\": 3} 7, {\"a\": 4}]\n").unwrap();
        let why = "a comma is missing before the record".to_owned();
        assert_eq!(all[..3], [(1, Ok(1)), (2, Err(why)), (3, Ok(3))]);
        assert_eq!((all[3].1.is_err(), all[4].1.clone(), all.len()), (true, Ok(4), 5));
        let objects = read(b"{\n\"a\": 1}\n{\"a\": 2}").unwrap();
        assert_eq!(objects, [(1, Ok(1)), (3, Ok(2))]);
    }

    #[test]
    fn a_file_of_another_form_is_refused() {
        for (bytes, why) in [
            (&b" \n"[..], "x: the file is empty"),
            (b"<html>", "found an HTML or XML page"),
            (b"\x1f\x8b\x08", "not whole gzip data"),
            (b"PAR1", "not a whole Parquet file"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(InputError::of(&error).is_some() && error.to_string().contains(why), "{error}");
        }
        let error = each(Path::new("no/such"), "no/such", &mut |_, _| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "`no/such`: no such file");
    }
}
