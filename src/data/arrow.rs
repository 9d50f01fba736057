//! An Arrow file as JSON lines, so that one reader reads all formats: the stream format, which `save_to_disk` of datasets and its cache
//! have, and the file format.
//!
//! Row `n` becomes line `n`. Texts, numbers, lists and structs become their JSON counterparts, a NaN null, a time ISO 8601 text, and a value of
//! the extension type `arrow.json` what its text says. A column of another type is refused by name.

use std::fmt::Write;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};

use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch, temporal_conversions as times};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use chrono::NaiveDateTime;
use serde_json::{Map, Number, Value};

use crate::data::format::fields::{LONGEST_RECORD, not_text, shorten};
use crate::data::unpacked;
use crate::disk::json;
use crate::error::InputError;
use crate::error::bounded::bounded;
use crate::error::contained::contained;

/// First bytes of the file format.
const FILE: &[u8] = b"ARROW1";

/// First bytes of the stream format: the mark of a message.
const STREAM: &[u8] = b"\xff\xff\xff\xff";

/// Last bytes of the stream format: a message of no bytes.
const END: [u8; 8] = *b"\xff\xff\xff\xff\0\0\0\0";

/// Memory that reading may take beside twice the text, in bytes: a batch, a record.
const MEMORY: usize = 512 << 20;

/// Key of a field's metadata that names an extension type.
const EXTENSION: &str = "ARROW:extension:name";

/// The extension type of JSON as text; `Json` of datasets.
const JSON: &str = "arrow.json";

/// Deepest nesting of a type.
const DEEPEST: usize = 32;

/// Whether `bytes` begin as an Arrow file does.
pub(super) fn is_arrow(bytes: &[u8]) -> bool {
    bytes.starts_with(FILE) || bytes.starts_with(STREAM)
}

/// The rows of an Arrow file as one JSON object a line. `name`: the file, for messages.
pub(super) fn to_lines(bytes: &[u8], name: &str) -> Result<String> {
    let mut text = String::new();
    each(Cursor::new(bytes), bytes.len(), name, &mut |_, object| Ok(writeln!(text, "{object}")?))?;
    Ok(text)
}

/// Gives the rows of the Arrow file `file` of `bytes` bytes to `take` one at a time, each with its number from 1.
pub(super) fn each<R: Read + Seek>(
    file: R,
    bytes: usize,
    name: &str,
    take: &mut dyn FnMut(usize, Value) -> Result<()>,
) -> Result<()> {
    let most = unpacked::most(bytes);
    let memory = most.saturating_mul(2).saturating_add(MEMORY);
    let damaged = |_: &str| broken(name, "its buffers do not hold what its messages say");
    bounded(memory, &unpacked::too_much(name, most), || {
        contained(|| rows(file, most, name, take), damaged)
    })
}

fn rows<R: Read + Seek>(
    mut file: R,
    most: usize,
    name: &str,
    take: &mut dyn FnMut(usize, Value) -> Result<()>,
) -> Result<()> {
    let fault = |error: ArrowError| broken(name, &error.to_string());
    let mut head = [0; FILE.len()];
    let is_file = file.read_exact(&mut head).is_ok() && head == *FILE;
    file.rewind()?;
    let mut reader = Rows { row: 0, text: 0, most, name, take };
    if is_file {
        let batches = FileReader::try_new(BufReader::new(file), None).map_err(fault)?;
        check(&batches.schema(), name)?;
        return batches.into_iter().try_for_each(|batch| reader.give(&batch.map_err(fault)?));
    }
    // A stream that is cut between two messages would read as a whole one.
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(END.len() as u64)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    if end != END {
        return Err(broken(name, "it does not end with the mark of its end"));
    }
    file.rewind()?;
    let mut batches = StreamReader::try_new(BufReader::new(file), None).map_err(fault)?;
    check(&batches.schema(), name)?;
    batches.try_for_each(|batch| reader.give(&batch.map_err(fault)?))
}

/// Gives the rows of batches to `take`.
struct Rows<'a, 't> {
    row: usize,
    /// Bytes of all values so far, about.
    text: usize,
    most: usize,
    name: &'a str,
    take: &'a mut (dyn FnMut(usize, Value) -> Result<()> + 't),
}

impl Rows<'_, '_> {
    fn give(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = batch.schema();
        for index in 0..batch.num_rows() {
            crate::console::interrupt::check()?;
            self.row += 1;
            let place = format!("{}:{}", self.name, self.row);
            let columns = schema.fields().iter().zip(batch.columns());
            let object: Map<String, Value> = columns
                .map(|(field, column)| {
                    Ok((field.name().clone(), value(field, column, index, &place)?))
                })
                .collect::<Result<_>>()?;
            let object = Value::Object(object);
            let size = size(&object);
            if size > LONGEST_RECORD {
                crate::bail_input!("{place}: a record of more than {} MiB", LONGEST_RECORD >> 20);
            }
            self.text += size;
            if self.text > self.most {
                return Err(unpacked::too_much(&place, self.most).into());
            }
            (self.take)(self.row, object)?;
        }
        Ok(())
    }
}

/// About the bytes of a value as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(list) => 2 + list.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(key, item)| key.len() + 4 + size(item)).sum::<usize>()
        }
        _ => 4,
    }
}

/// Refuses a column that is named twice or whose type is not read.
fn check(schema: &Schema, name: &str) -> Result<()> {
    for (at, field) in schema.fields().iter().enumerate() {
        let column = shorten(field.name());
        if schema.fields()[..at].iter().any(|earlier| earlier.name() == field.name()) {
            return Err(InputError::new(format!("{name}: the column `{column}` stands twice"))
                .hint("keep one of the two: it is not known which one is meant")
                .into());
        }
        if let Some(what) = unread(field, 0) {
            return Err(InputError::new(format!(
                "{name}: the column `{column}` has the type {what}, which is not read here"
            ))
            .hint(format!(
                "leave it out with `remove_columns(\"{column}\")` of datasets, or write it as text"
            ))
            .into());
        }
    }
    Ok(())
}

/// The type in a field that is not read; none if all of it is.
fn unread(field: &Field, depth: usize) -> Option<String> {
    let extension = field.metadata().get(EXTENSION);
    if let Some(other) = extension.filter(|extension| *extension != JSON) {
        return Some(format!("`{}`", shorten(other)));
    }
    unread_type(field.data_type(), depth)
}

fn unread_type(kind: &DataType, depth: usize) -> Option<String> {
    use DataType::*;
    match kind {
        _ if depth > DEEPEST => Some(format!("of more than {DEEPEST} levels")),
        Null | Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64
        | Float16 | Float32 | Float64 | Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary
        | BinaryView | FixedSizeBinary(_) | Date32 | Date64 | Timestamp(..) => None,
        List(item) | LargeList(item) | FixedSizeList(item, _) => unread(item, depth + 1),
        Struct(fields) => fields.iter().find_map(|field| unread(field, depth + 1)),
        Dictionary(_, values) => unread_type(values, depth + 1),
        other => {
            let text = other.to_string();
            Some(format!("`{}`", shorten(&text)))
        }
    }
}

/// The value of `field` in row `index` of its column.
fn value(field: &Field, column: &dyn Array, index: usize, place: &str) -> Result<Value> {
    let value = plain(column.data_type(), column, index, place)?;
    if field.metadata().get(EXTENSION).is_none_or(|extension| extension != JSON) {
        return Ok(value);
    }
    match value {
        Value::String(text) => json::unique(&text).map_err(|error| {
            let column = shorten(field.name());
            InputError::new(format!("{place}: the column `{column}` of JSON holds none: {error}"))
                .into()
        }),
        other => Ok(other),
    }
}

fn plain(kind: &DataType, column: &dyn Array, index: usize, place: &str) -> Result<Value> {
    use DataType::*;
    if column.is_null(index) {
        return Ok(Value::Null);
    }
    macro_rules! number {
        ($kind:ty) => {
            column.as_primitive::<$kind>().value(index).into()
        };
    }
    let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    Ok(match kind {
        Boolean => column.as_boolean().value(index).into(),
        Int8 => number!(Int8Type),
        Int16 => number!(Int16Type),
        Int32 => number!(Int32Type),
        Int64 => number!(Int64Type),
        UInt8 => number!(UInt8Type),
        UInt16 => number!(UInt16Type),
        UInt32 => number!(UInt32Type),
        UInt64 => number!(UInt64Type),
        Float16 => float(column.as_primitive::<Float16Type>().value(index).to_f64()),
        Float32 => float(column.as_primitive::<Float32Type>().value(index).into()),
        Float64 => float(column.as_primitive::<Float64Type>().value(index)),
        Utf8 => column.as_string::<i32>().value(index).into(),
        LargeUtf8 => column.as_string::<i64>().value(index).into(),
        Utf8View => column.as_string_view().value(index).into(),
        Binary => text(column.as_binary::<i32>().value(index)),
        LargeBinary => text(column.as_binary::<i64>().value(index)),
        BinaryView => text(column.as_binary_view().value(index)),
        FixedSizeBinary(_) => text(column.as_fixed_size_binary().value(index)),
        Date32 => day(times::date32_to_datetime(column.as_primitive::<Date32Type>().value(index))),
        Date64 => day(times::date64_to_datetime(column.as_primitive::<Date64Type>().value(index))),
        Timestamp(unit, zone) => {
            let time = match unit {
                TimeUnit::Second => times::timestamp_s_to_datetime(
                    column.as_primitive::<TimestampSecondType>().value(index),
                ),
                TimeUnit::Millisecond => times::timestamp_ms_to_datetime(
                    column.as_primitive::<TimestampMillisecondType>().value(index),
                ),
                TimeUnit::Microsecond => times::timestamp_us_to_datetime(
                    column.as_primitive::<TimestampMicrosecondType>().value(index),
                ),
                TimeUnit::Nanosecond => times::timestamp_ns_to_datetime(
                    column.as_primitive::<TimestampNanosecondType>().value(index),
                ),
            };
            let zone = if zone.is_some() { "Z" } else { "" };
            time.map_or(Value::Null, |time| {
                format!("{}{zone}", time.format("%Y-%m-%dT%H:%M:%S%.f")).into()
            })
        }
        List(item) => list(item, &*column.as_list::<i32>().value(index), place)?,
        LargeList(item) => list(item, &*column.as_list::<i64>().value(index), place)?,
        FixedSizeList(item, _) => list(item, &*column.as_fixed_size_list().value(index), place)?,
        Struct(fields) => {
            let fields = fields.iter().zip(column.as_struct().columns());
            let fields = fields.map(|(field, column)| {
                Ok((field.name().clone(), value(field, column, index, place)?))
            });
            Value::Object(fields.collect::<Result<_>>()?)
        }
        Dictionary(keys, values) => match &**keys {
            Int8 => entry::<Int8Type>(values, column, index, place)?,
            Int16 => entry::<Int16Type>(values, column, index, place)?,
            Int32 => entry::<Int32Type>(values, column, index, place)?,
            Int64 => entry::<Int64Type>(values, column, index, place)?,
            UInt8 => entry::<UInt8Type>(values, column, index, place)?,
            UInt16 => entry::<UInt16Type>(values, column, index, place)?,
            UInt32 => entry::<UInt32Type>(values, column, index, place)?,
            _ => entry::<UInt64Type>(values, column, index, place)?,
        },
        // `check` has refused every other type.
        _ => Value::Null,
    })
}

fn list(item: &Field, values: &dyn Array, place: &str) -> Result<Value> {
    (0..values.len()).map(|index| value(item, values, index, place)).collect()
}

/// The value that a dictionary has for the key in row `index`.
fn entry<K: ArrowDictionaryKeyType>(
    kind: &DataType,
    column: &dyn Array,
    index: usize,
    place: &str,
) -> Result<Value> {
    let dictionary = column.as_dictionary::<K>();
    match dictionary.key(index) {
        Some(key) => plain(kind, dictionary.values(), key, place),
        None => Ok(Value::Null),
    }
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => not_text(bytes.len()),
    }
}

fn day(time: Option<NaiveDateTime>) -> Value {
    time.map_or(Value::Null, |time| time.format("%Y-%m-%d").to_string().into())
}

fn broken(place: &str, what: &str) -> anyhow::Error {
    let what = what.trim_end_matches(['.', '\n']);
    InputError::new(format!("{place}: not a whole Arrow file: {what}"))
        .hint("the file may be cut short or damaged; fetch or write it again")
        .into()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// A file of `tests/data/sources`, which scripts/interop/make_sources.py wrote with pyarrow and datasets.
    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sources").join(name)
    }

    fn lines(name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(golden(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Value>> {
        let text = to_lines(bytes, "a.arrow")?;
        Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    #[test]
    fn every_type_is_what_pyarrow_reads_in_both_formats() {
        let want = lines("types.jsonl");
        for name in ["types.stream.arrow", "types.file.arrow", "types.lz4.arrow"] {
            let bytes = std::fs::read(golden(name)).unwrap();
            assert!(is_arrow(&bytes));
            let rows = read(&bytes).unwrap();
            assert_eq!(rows.len(), want.len(), "{name}");
            for (row, want) in rows.iter().zip(&want) {
                for (key, want) in want.as_object().unwrap() {
                    assert_eq!(row[key], *want, "{name}: {key}");
                }
            }
            assert_eq!(rows, want, "{name}: no column more");
        }
    }

    #[test]
    fn saved_data_sets_are_what_datasets_reads() {
        for (files, want) in [
            (
                &["selected/data-00000-of-00002.arrow", "selected/data-00001-of-00002.arrow"][..],
                "selected.jsonl",
            ),
            (&["dict/train/data-00000-of-00001.arrow"], "dict.train.jsonl"),
        ] {
            let rows: Vec<Value> = files
                .iter()
                .flat_map(|file| read(&std::fs::read(golden(file)).unwrap()).unwrap())
                .collect();
            assert_eq!(rows, lines(want));
        }
    }

    #[test]
    fn a_type_that_is_not_read_is_refused_by_column_and_name() {
        let error = read(&std::fs::read(golden("duration.arrow")).unwrap()).unwrap_err();
        let error = InputError::of(&error).unwrap();
        assert!(
            error.to_string().starts_with("a.arrow: the column `took` has the type `Duration"),
            "{error}"
        );
        assert!(error.remedy().unwrap().contains("remove_columns(\"took\")"));
    }

    /// The buffers of a stream, message after message.
    fn bodies(stream: &[u8]) -> Vec<std::ops::Range<usize>> {
        let (mut bodies, mut at) = (Vec::new(), 0);
        while stream[at..] != END {
            let length = i32::from_le_bytes(stream[at + 4..at + 8].try_into().unwrap()) as usize;
            let message = arrow_ipc::root_as_message(&stream[at + 8..at + 8 + length]).unwrap();
            let from = at + 8 + length;
            at = from + message.bodyLength() as usize;
            bodies.push(from..at);
        }
        bodies
    }

    /// Damage elsewhere may claim a buffer of any size, which ends the program: `no_damage_of_an_arrow_file_is_silent_or_a_panic`.
    #[test]
    fn damaged_buffers_are_errors_or_other_rows_and_a_cut_file_is_refused() {
        let stream = std::fs::read(golden("types.stream.arrow")).unwrap();
        let batches = StreamReader::try_new(&*stream, None).unwrap();
        let mut file =
            arrow_ipc::writer::FileWriter::try_new(Vec::new(), &batches.schema()).unwrap();
        batches.for_each(|batch| file.write(&batch.unwrap()).unwrap());
        let file = file.into_inner().unwrap();
        assert_eq!(read(&file).unwrap(), read(&stream).unwrap());
        for whole in [&stream, &file] {
            for at in (0..whole.len()).step_by(11) {
                assert!(to_lines(&whole[..at], "a.arrow").is_err(), "cut to {at}");
            }
        }
        for at in bodies(&stream).into_iter().flatten() {
            let mut bytes = stream.clone();
            bytes[at] ^= [1, 0x80, 0xff][at % 3];
            if let Err(error) = to_lines(&bytes, "a.arrow") {
                assert!(error.to_string().starts_with("a.arrow"), "{error}");
            }
        }
    }
}
