//! A Parquet file as JSON lines, so that one reader reads all formats.
//!
//! Row `n` becomes line `n`, the line that messages name. Integers, strings, lists and groups become their JSON counterparts; a NaN
//! becomes null, a binary column Base64.

use std::fmt::Write;

use anyhow::Result;
use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::error::InputError;
use crate::error::contained::contained;

/// First bytes of a Parquet file.
const MAGIC: &[u8] = b"PAR1";

/// Longest text of one file, in bytes: a few kilobytes of compressed pages can claim any size.
const MOST_TEXT: usize = 16 << 30;

/// Whether `bytes` begin as a Parquet file does.
pub(super) fn is_parquet(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The rows of a Parquet file as one JSON object a line. `name`: the file, for messages.
pub(super) fn to_lines(bytes: &[u8], name: &str) -> Result<String> {
    let bytes = Bytes::copy_from_slice(bytes);
    // The parquet crate checks less than it reads.
    contained(|| lines(bytes, name), |_| broken(name, "its pages do not hold what its footer says"))
}

fn lines(bytes: Bytes, name: &str) -> Result<String> {
    let reader =
        SerializedFileReader::new(bytes).map_err(|error| broken(name, &error.to_string()))?;
    let rows = reader.get_row_iter(None).map_err(|error| broken(name, &error.to_string()))?;
    let mut text = String::new();
    for (row, fields) in (1..).zip(rows) {
        let fields =
            fields.map_err(|error| broken(&format!("{name}:{row}"), &error.to_string()))?;
        writeln!(text, "{}", fields.to_json_value())?;
        if text.len() > MOST_TEXT {
            return Err(broken(&format!("{name}:{row}"), "more than 16 GiB of text"));
        }
    }
    Ok(text)
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

    #[test]
    fn a_record_that_is_wrong_is_named_by_its_row() {
        let error = parse(&file(&ROWS, "refused", Compression::SNAPPY), "a").unwrap_err();
        assert!(error.to_string().starts_with("a:1: "), "{error}");
        assert!(error.to_string().contains("`rejected`"), "{error}");
    }

    #[test]
    fn no_damage_panics_and_none_is_silent_about_the_file() {
        let whole = file(&ROWS, "rejected", Compression::SNAPPY);
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                if let Err(error) = to_lines(&bytes, "a.parquet") {
                    assert!(error.to_string().starts_with("a.parquet"), "{error}");
                }
            }
            assert!(to_lines(&whole[..at], "a.parquet").is_err(), "cut to {at}");
        }
    }
}
