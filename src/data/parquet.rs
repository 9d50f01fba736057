//! A Parquet file as JSON lines, so that one reader reads all formats.
//!
//! Row `n` becomes line `n`, the line that messages name. Integers, strings, lists and groups become their JSON counterparts, a NaN
//! becomes null. A binary column without the mark of UTF-8 text is text all the same, as some writers leave the mark out; bytes that
//! are none become [`not_text`], which whoever reads the column refuses.

use std::fmt::Write;
use std::fs::File;

use anyhow::{Context, Result};
use bytes::Bytes;
use parquet::basic::Compression;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::Value;

use crate::data::format::fields::{LONGEST_RECORD, not_text, shorten};
use crate::data::unpacked::{most, too_much};
use crate::error::InputError;
use crate::error::bounded::bounded;
use crate::error::contained::contained;

/// First bytes of a Parquet file.
const MAGIC: &[u8] = b"PAR1";

/// Memory that reading may take beside twice the text, in bytes: pages, a record.
const MEMORY: usize = 512 << 20;

/// Whether `bytes` begin as a Parquet file does.
pub(super) fn is_parquet(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The rows of a Parquet file as one JSON object a line. `name`: the file, for messages.
pub(super) fn to_lines(bytes: &[u8], name: &str) -> Result<String> {
    let (bytes, most) = (Bytes::copy_from_slice(bytes), most(bytes.len()));
    let mut text = String::new();
    each_row(bytes, most, name, &mut |row, object| {
        writeln!(text, "{object}")?;
        if text.len() > most {
            return Err(too_much(&format!("{name}:{row}"), most).into());
        }
        Ok(())
    })?;
    Ok(text)
}

/// Gives the rows of the Parquet file `file` to `take` one at a time, each with its number from 1. `name`: the file, for messages.
pub(super) fn each(
    file: File,
    name: &str,
    take: &mut dyn FnMut(usize, Value) -> Result<()>,
) -> Result<()> {
    let bytes = file.metadata().with_context(|| format!("cannot read `{name}`"))?.len();
    each_row(file, most(bytes as usize), name, take)
}

/// `most`: bytes that the texts of the file may have.
fn each_row<R: ChunkReader + 'static>(
    file: R,
    most: usize,
    name: &str,
    take: &mut dyn FnMut(usize, Value) -> Result<()>,
) -> Result<()> {
    // The parquet crate checks less than it reads.
    let damaged = |_: &str| broken(name, "its pages do not hold what its footer says");
    let memory = most.saturating_mul(2).saturating_add(MEMORY);
    bounded(memory, &too_much(name, most), || contained(|| rows(file, name, most, take), damaged))
}

fn rows<R: ChunkReader + 'static>(
    file: R,
    name: &str,
    most: usize,
    take: &mut dyn FnMut(usize, Value) -> Result<()>,
) -> Result<()> {
    let reader =
        SerializedFileReader::new(file).map_err(|error| broken(name, &error.to_string()))?;
    refuse_twins(reader.metadata().file_metadata().schema(), name)?;
    let columns = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    let foreign = columns
        .map(|column| column.compression())
        .find(|compression| matches!(compression, Compression::BROTLI(_) | Compression::LZO));
    if let Some(compression) = foreign {
        let compression = compression.to_string();
        let compression = compression.split('(').next().unwrap_or_default();
        return Err(InputError::new(format!("{name}: compressed with {compression}, which is not read here"))
            .hint("write it with zstd, snappy or gzip, as `df.to_parquet(FILE, compression=\"zstd\")` does")
            .into());
    }
    let claimed = |group: &parquet::file::metadata::RowGroupMetaData| {
        group
            .columns()
            .iter()
            .map(|column| column.uncompressed_size().max(0) as usize)
            .fold(0, usize::saturating_add)
    };
    let groups = reader.metadata().row_groups().iter();
    if groups.map(claimed).fold(0, usize::saturating_add) > most {
        return Err(too_much(name, most).into());
    }
    let rows = reader.get_row_iter(None).map_err(|error| broken(name, &error.to_string()))?;
    for (row, fields) in (1..).zip(rows) {
        let fields =
            fields.map_err(|error| broken(&format!("{name}:{row}"), &error.to_string()))?;
        if size(&fields) > LONGEST_RECORD {
            crate::bail_input!("{name}:{row}: a record of more than {} MiB", LONGEST_RECORD >> 20);
        }
        take(row, object(&fields))?;
    }
    Ok(())
}

/// Refuses a column or an inner field whose name stands twice: JSON would keep the last.
fn refuse_twins(group: &Type, name: &str) -> Result<()> {
    if !group.is_group() {
        return Ok(());
    }
    let fields = group.get_fields();
    for (at, field) in fields.iter().enumerate() {
        if fields[..at].iter().any(|earlier| earlier.name() == field.name()) {
            let column = shorten(field.name());
            return Err(InputError::new(format!("{name}: the column `{column}` stands twice"))
                .hint("keep one of the two: it is not known which one is meant")
                .into());
        }
        refuse_twins(field, name)?;
    }
    Ok(())
}

/// Bytes of the texts of a row, without copying one.
fn size(row: &Row) -> usize {
    fn of(field: &Field) -> usize {
        match field {
            Field::Str(text) => text.len(),
            Field::Bytes(bytes) => bytes.len(),
            Field::Group(row) => size(row),
            Field::ListInternal(list) => list.elements().iter().map(of).sum(),
            Field::MapInternal(map) => map.entries().iter().map(|(k, v)| of(k) + of(v)).sum(),
            _ => 8,
        }
    }
    row.get_column_iter().map(|(_, field)| of(field)).sum()
}

fn object(row: &Row) -> Value {
    row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.into(),
            Err(_) => not_text(bytes.len()),
        },
        Field::Group(row) => object(row),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let key = |key: &Field| match value(key) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            map.entries().iter().map(|(name, field)| (key(name), value(field))).collect()
        }
        plain => plain.to_json_value(),
    }
}

fn broken(place: &str, what: &str) -> anyhow::Error {
    let what = what.trim_end_matches(['.', '\n']);
    InputError::new(format!("{place}: not a whole Parquet file: {what}"))
        .hint("the file may be cut short, damaged or encrypted; fetch or write it again")
        .into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::{Compression, ZstdLevel};
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::data::file::parse;

    /// Rows of `id`, `prompt`, `chosen`, the column `last` and an optional `profile`, in row groups of two.
    fn file(rows: &[[&str; 3]], last: &str, compression: Compression) -> Vec<u8> {
        let schema = format!(
            "message pairs {{
                required int64 id;
                required binary prompt (STRING);
                required binary chosen (STRING);
                required binary {last} (STRING);
                optional binary profile (STRING);
            }}"
        );
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut out = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(properties)).unwrap();
        for (group, rows) in rows.chunks(2).enumerate() {
            let mut columns = writer.next_row_group().unwrap();
            let mut column = columns.next_column().unwrap().unwrap();
            let ids: Vec<i64> = (0..rows.len()).map(|i| (2 * group + i) as i64).collect();
            column.typed::<Int64Type>().write_batch(&ids, None, None).unwrap();
            column.close().unwrap();
            for text in 0..3 {
                let texts: Vec<ByteArray> = rows.iter().map(|row| row[text].into()).collect();
                let mut column = columns.next_column().unwrap().unwrap();
                column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
                column.close().unwrap();
            }
            let mut column = columns.next_column().unwrap().unwrap();
            let absent = vec![0; rows.len()];
            column.typed::<ByteArrayType>().write_batch(&[], Some(&absent), None).unwrap();
            column.close().unwrap();
            columns.close().unwrap();
        }
        writer.close().unwrap();
        out
    }

    const ROWS: [[&str; 3]; 3] = [["p", "a", "b"], ["two\nlines \"q\"", "é", "…"], ["p", "a", "b"]];

    #[test]
    fn a_parquet_file_gives_the_pairs_of_the_same_json() {
        let json: Vec<String> = (0..)
            .zip(ROWS)
            .map(|(id, [prompt, chosen, rejected])| {
                serde_json::json!({"id": id, "prompt": prompt, "chosen": chosen, "rejected": rejected})
                    .to_string()
            })
            .collect();
        let want = parse(json.join("\n").as_bytes(), "d/a.parquet").unwrap();
        let level = ZstdLevel::default();
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(Default::default()),
            Compression::ZSTD(level),
            Compression::LZ4_RAW,
        ] {
            assert_eq!(parse(&file(&ROWS, "rejected", compression), "d/a.parquet").unwrap(), want);
        }
    }

    /// One row of the binary columns of these names and bytes.
    fn binary(columns: &[(&str, Vec<u8>)], compression: Compression) -> Vec<u8> {
        let names: String =
            columns.iter().map(|(name, _)| format!("required binary {name};")).collect();
        let schema = Arc::new(parse_message_type(&format!("message m {{ {names} }}")).unwrap());
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut out = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for (_, bytes) in columns {
            let mut column = group.next_column().unwrap().unwrap();
            let value = ByteArray::from(bytes.clone());
            column.typed::<ByteArrayType>().write_batch(&[value], None, None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
        out
    }

    #[test]
    fn bytes_without_the_mark_of_text_are_text_if_they_can_be() {
        let columns = |prompt: &[u8]| {
            let columns: [(&str, &[u8]); 4] =
                [("prompt", prompt), ("chosen", b"a"), ("rejected", b"b"), ("image", b"\xff\xd8")];
            let columns = columns.map(|(name, bytes)| (name, bytes.to_vec()));
            binary(&columns, Compression::UNCOMPRESSED)
        };
        let pairs = parse(&columns("Wie? é".as_bytes()), "d/a.parquet").unwrap();
        assert_eq!((&*pairs[0].prompt, &*pairs[0].chosen), ("Wie? é", "a"));
        let error = parse(&columns(b"caf\xe9"), "d/a.parquet").unwrap_err().to_string();
        assert_eq!(
            error,
            "d/a.parquet:1: `prompt` must be a string or a list of messages, got 4 bytes that are not UTF-8 text"
        );
    }

    #[test]
    fn a_column_that_stands_twice_is_refused_within_others_too() {
        let columns =
            [("prompt", b"p".to_vec()), ("chosen", b"a".to_vec()), ("chosen", b"b".to_vec())];
        let bytes = binary(&columns, Compression::UNCOMPRESSED);
        let error = to_lines(&bytes, "a.parquet").unwrap_err().to_string();
        assert_eq!(error, "a.parquet: the column `chosen` stands twice");
        let nested =
            "message m { required group said { required binary role; required binary role; } }";
        let schema = parse_message_type(nested).unwrap();
        let error = refuse_twins(&schema, "a.parquet").unwrap_err().to_string();
        assert_eq!(error, "a.parquet: the column `role` stands twice");
    }

    #[test]
    fn a_small_file_of_endless_text_is_refused() {
        let bomb = |columns: &[(&str, usize)]| {
            let columns: Vec<_> =
                columns.iter().map(|(name, length)| (*name, vec![b'x'; *length])).collect();
            let bytes = binary(&columns, Compression::ZSTD(ZstdLevel::default()));
            assert!(bytes.len() < 100_000, "{}", bytes.len());
            to_lines(&bytes, "a.parquet").unwrap_err().to_string()
        };
        let all = bomb(&[("prompt", 60 << 20), ("chosen", 60 << 20)]);
        assert!(all.starts_with("a.parquet: unpacks to more than "), "{all}");
        let one = bomb(&[("prompt", (64 << 20) + 1)]);
        assert_eq!(one, "a.parquet:1: a record of more than 64 MiB");
    }

    #[test]
    fn a_compression_that_is_not_read_is_named() {
        let columns = [("prompt", b"p".to_vec())];
        let mut bytes = binary(&columns, Compression::SNAPPY);
        // The codec follows the column's path in the footer: field 4, SNAPPY is 1 and BROTLI 4, written as twice that.
        let codec = bytes.windows(8).rposition(|eight| eight == b"prompt\x15\x02").unwrap();
        bytes[codec + 7] = 8;
        let error = to_lines(&bytes, "a.parquet").unwrap_err().to_string();
        assert_eq!(error, "a.parquet: compressed with BROTLI, which is not read here");
    }

    #[test]
    fn prompts_are_read_from_parquet_as_pairs_are() {
        let bytes = file(&ROWS, "rejected", Compression::SNAPPY);
        let loaded = crate::data::prompt::load(&bytes, "d/a.parquet", &Default::default()).unwrap();
        let texts: Vec<_> = loaded.prompts.iter().map(|prompt| prompt.text.as_str()).collect();
        assert_eq!(texts, ROWS.map(|[prompt, ..]| prompt));
    }

    #[test]
    fn a_record_that_is_wrong_is_named_by_its_row() {
        let error = parse(&file(&ROWS, "refused", Compression::SNAPPY), "a").unwrap_err();
        assert!(error.to_string().starts_with("a:1: "), "{error}");
        assert!(error.to_string().contains("`rejected`"), "{error}");
    }

    #[test]
    fn no_damage_panics_and_none_is_silent_about_the_file() {
        let whole = file(&ROWS, "rejected", Compression::SNAPPY);
        let mut rows = std::collections::BTreeSet::new();
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                if let Err(error) = to_lines(&bytes, "a.parquet") {
                    let message = error.to_string();
                    assert!(message.starts_with("a.parquet"), "{message}");
                    let row = message["a.parquet".len()..].strip_prefix(':');
                    rows.extend(row.and_then(|row| row.split(':').next()?.parse::<usize>().ok()));
                }
            }
            assert!(to_lines(&whole[..at], "a.parquet").is_err(), "cut to {at}");
        }
        // Rows count from 1; a damaged footer may promise one more than there are.
        assert!(rows.first() == Some(&1) && rows.last() == Some(&(ROWS.len() + 1)), "{rows:?}");
    }
}
