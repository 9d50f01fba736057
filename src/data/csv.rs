//! A CSV or TSV file as records, so that one reader reads all formats.
//!
//! The first row names the columns. A cell is text, whatever it looks like: a number stays the text `4`, JSON stays the text of it. An empty
//! cell is null. Cells may be quoted and then hold the delimiter, doubled quotes and line breaks. A record has the line that it begins on.

use std::fmt::Write;
use std::io::Read;

use anyhow::Result;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use crate::data::format::fields::{LONGEST_RECORD, shorten};
use crate::data::unpacked;
use crate::error::InputError;

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// Most columns of a file.
const MOST_COLUMNS: usize = 1 << 14;

/// What is done with a record: its line, and its fields or what is wrong with it.
type Take<'a> = dyn FnMut(usize, Result<Map<String, Value>, String>) -> Result<()> + 'a;

/// What stands between two cells of the file `name`, by its ending; none for a file of another format.
pub(super) fn delimiter(name: &str) -> Option<u8> {
    let (_, ending) = unpacked::inner_name(name).rsplit_once('.')?;
    match ending {
        _ if ending.eq_ignore_ascii_case("csv") => Some(b','),
        _ if ending.eq_ignore_ascii_case("tsv") => Some(b'\t'),
        _ => None,
    }
}

/// The records of a file as one JSON object a line, each on the line that it begins on in the file.
pub(super) fn to_lines(bytes: &[u8], delimiter: u8, name: &str) -> Result<String> {
    let (mut text, mut at) = (String::new(), 1);
    each(bytes, delimiter, name, &mut |line, fields| {
        // Lines that end with a carriage return alone are not counted by the parser.
        let line = line.max(at + 1);
        let fields = fields.map_err(|why| InputError::new(format!("{name}:{line}: {why}")))?;
        text.extend(std::iter::repeat_n('\n', line - at));
        at = line;
        Ok(write!(text, "{}", Value::Object(fields))?)
    })?;
    Ok(text)
}

/// Gives the records of a file to `take` in order, each with its line.
///
/// Refuses a file without a header, with a column that is named twice, without a record.
pub(super) fn each(
    reader: impl Read,
    delimiter: u8,
    name: &str,
    take: &mut Take<'_>,
) -> Result<()> {
    let mut rows = Rows::new(reader, delimiter, name);
    let Some(header) = rows.next()? else {
        return Err(InputError::new(format!("{name}: the file is empty")).into());
    };
    let columns =
        header.cells.map_err(|why| InputError::new(format!("{name}:{}: {why}", header.line)))?;
    let columns = named(columns, name)?;
    let mut is_empty = true;
    while let Some(Row { line, cells }) = rows.next()? {
        is_empty = false;
        take(line, cells.and_then(|cells| record(&columns, cells)))?;
    }
    if is_empty {
        return Err(InputError::new(format!("{name}: no record follows the header"))
            .hint("the first line names the columns, as `prompt,chosen,rejected`")
            .into());
    }
    Ok(())
}

/// The names of the columns. One without a name is called as pandas calls it: the index that `to_csv` writes has none.
fn named(header: Vec<String>, name: &str) -> Result<Vec<String>> {
    let called = |(at, column): (usize, String)| match column.is_empty() {
        true => format!("Unnamed: {at}"),
        false => column,
    };
    let columns: Vec<String> = header.into_iter().enumerate().map(called).collect();
    if let Some((_, twice)) =
        columns.iter().enumerate().find(|(at, column)| columns[..*at].contains(column))
    {
        return Err(InputError::new(format!(
            "{name}: the column `{}` stands twice in the header",
            shorten(twice)
        ))
        .hint("keep one of the two: it is not known which one is meant")
        .into());
    }
    Ok(columns)
}

fn record(columns: &[String], cells: Vec<String>) -> Result<Map<String, Value>, String> {
    if cells.len() != columns.len() {
        let (found, expected) = (cells.len(), columns.len());
        let plural = if found == 1 { "" } else { "s" };
        return Err(format!(
            "{found} cell{plural}, expected {expected} as in the header; a cell with the delimiter or a line break in it stands in quotes"
        ));
    }
    let value = |cell: String| if cell.is_empty() { Value::Null } else { cell.into() };
    Ok(columns.iter().cloned().zip(cells.into_iter().map(value)).collect())
}

struct Row {
    /// The line that it begins on.
    line: usize,
    cells: Result<Vec<String>, String>,
}

/// Cuts bytes into rows.
struct Rows<'a, R> {
    name: &'a str,
    reader: R,
    parser: Reader,
    chunk: Vec<u8>,
    /// The part of `chunk` that is not parsed yet.
    left: std::ops::Range<usize>,
    line: usize,
    is_begin: bool,
}

impl<'a, R: Read> Rows<'a, R> {
    fn new(reader: R, delimiter: u8, name: &'a str) -> Self {
        let parser = ReaderBuilder::new().delimiter(delimiter).build();
        Self { name, reader, parser, chunk: vec![0; CHUNK], left: 0..0, line: 1, is_begin: true }
    }

    /// Reads on where all of the chunk is parsed. Returns whether the file has ended.
    fn fill(&mut self) -> Result<bool> {
        while self.left.is_empty() {
            crate::console::interrupt::check()?;
            let n = match self.reader.read(&mut self.chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| unpacked::reason(error, self.name))?,
            };
            self.left = 0..n;
            if n == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Skips line breaks before a row.
    fn skip(&mut self) -> Result<bool> {
        if std::mem::take(&mut self.is_begin) {
            let ended = self.fill()?;
            if self.chunk[self.left.clone()].starts_with(b"\xef\xbb\xbf") {
                self.left.start += 3;
            }
            if ended {
                return Ok(true);
            }
        }
        loop {
            if self.fill()? {
                return Ok(true);
            }
            match self.chunk[self.left.start] {
                b'\n' => self.line += 1,
                b'\r' => {}
                _ => return Ok(false),
            }
            self.left.start += 1;
        }
    }

    /// The next row; none at the end of the file.
    fn next(&mut self) -> Result<Option<Row>> {
        if self.skip()? {
            return Ok(None);
        }
        let line = self.line;
        let (mut cells, mut ends) = (vec![0; 1 << 10], vec![0; 64]);
        let (mut n, mut n_ends) = (0, 0);
        let mut is_too_long = false;
        let row = |cells| Ok(Some(Row { line, cells }));
        loop {
            let is_end = self.fill()?;
            // A line break ends a row where no quote is open, and else becomes a part of the cell.
            let input = if is_end { &b"\n"[..] } else { &self.chunk[self.left.clone()] };
            let (result, read, wrote, ended) =
                self.parser.read_record(input, &mut cells[n..], &mut ends[n_ends..]);
            if !is_end {
                self.line += input[..read].iter().filter(|byte| **byte == b'\n').count();
                self.left.start += read;
            }
            (n, n_ends) = (n + wrote, n_ends + ended);
            match result {
                ReadRecordResult::InputEmpty if is_end => {
                    let why =
                        "a quote is not closed before the end of the file, which may be cut short";
                    return row(Err(why.to_owned()));
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if cells.len() >= LONGEST_RECORD => {
                    (n, is_too_long) = (0, true);
                }
                ReadRecordResult::OutputFull => cells.resize(cells.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if ends.len() >= MOST_COLUMNS => {
                    (n_ends, is_too_long) = (0, true);
                }
                ReadRecordResult::OutputEndsFull => ends.resize(ends.len() * 2, 0),
                ReadRecordResult::Record if is_too_long => {
                    let why = format!(
                        "a row of more than {} MiB or {MOST_COLUMNS} cells",
                        LONGEST_RECORD >> 20
                    );
                    return row(Err(why));
                }
                ReadRecordResult::Record => {
                    let cells = texts(&cells[..n], &ends[..n_ends]);
                    return row(cells);
                }
                ReadRecordResult::End => return Ok(None),
            }
        }
    }
}

/// The cells of a row that end at `ends` in `bytes`.
fn texts(bytes: &[u8], ends: &[usize]) -> Result<Vec<String>, String> {
    let starts = [0].into_iter().chain(ends.iter().copied());
    let text = |(from, to): (usize, &usize)| {
        let cell = bytes.get(from..*to).unwrap_or_default();
        std::str::from_utf8(cell).map(str::to_owned).map_err(|error| {
            format!("not UTF-8 text: the byte `0x{:02X}`", cell[error.valid_up_to()])
        })
    };
    starts.zip(ends).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(usize, String)>> {
        let mut all = Vec::new();
        each(bytes, b',', "a.csv", &mut |line, fields| {
            all.push((
                line,
                fields.map_or_else(|why| why, |fields| Value::Object(fields).to_string()),
            ));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn quotes_line_breaks_and_blank_lines_leave_each_record_its_line() {
        let text = "\u{feff}a,b\r\n1,\"x, \"\"y\"\"\"\r\n\r\n\n\"two\r\nlines\",\r\n3,\"{\"\"k\"\": [1]}\"";
        let want = [
            (2, r#"{"a":"1","b":"x, \"y\""}"#),
            (5, r#"{"a":"two\r\nlines","b":null}"#),
            (7, r#"{"a":"3","b":"{\"k\": [1]}"}"#),
        ];
        let want = want.map(|(line, record)| (line, record.to_owned()));
        assert_eq!(read(text.as_bytes()).unwrap(), want);
        // The same in pieces of any size: a row, a quote or a line break may lie on either side of a cut.
        for size in 1..text.len() {
            struct Pieces<'a>(&'a [u8], usize);
            impl Read for Pieces<'_> {
                fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                    let n = self.1.min(self.0.len()).min(into.len());
                    into[..n].copy_from_slice(&self.0[..n]);
                    self.0 = &self.0[n..];
                    Ok(n)
                }
            }
            if size < 3 {
                continue; // the mark of UTF-8 comes in one piece
            }
            let mut all = Vec::new();
            each(Pieces(text.as_bytes(), size), b',', "a.csv", &mut |line, fields| {
                all.push((line, Value::Object(fields.unwrap()).to_string()));
                Ok(())
            })
            .unwrap();
            assert_eq!(all, want, "{size}");
        }
        let lines = to_lines(text.as_bytes(), b',', "a.csv").unwrap();
        let lines: Vec<_> =
            lines.split('\n').enumerate().filter(|(_, line)| !line.is_empty()).collect();
        let expected: Vec<_> = want.iter().map(|(line, record)| (line - 1, &**record)).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_ragged_row_an_open_quote_and_bytes_that_are_no_text_are_given_with_their_line() {
        let all = read(b"a,b\n1,2\n3\n\n4,5,6\n7,caf\xe9\n8,9\n").unwrap();
        let lines: Vec<_> = all.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 5, 6, 7]);
        assert!(all[1].1.starts_with("1 cell, expected 2"), "{}", all[1].1);
        assert!(all[2].1.starts_with("3 cells, expected 2"), "{}", all[2].1);
        assert_eq!(all[3].1, "not UTF-8 text: the byte `0xE9`");
        assert_eq!(all[4].1, r#"{"a":"8","b":"9"}"#);
        for cut in ["a,b\n1,\"2", "a,b\n1,\"2\n3,4\n"] {
            let all = read(cut.as_bytes()).unwrap();
            assert_eq!((all.len(), all[0].0), (1, 2));
            assert!(all[0].1.starts_with("a quote is not closed"), "{}", all[0].1);
        }
        let error = to_lines(b"a,b\n1\n", b',', "d/a.csv").unwrap_err().to_string();
        assert!(error.starts_with("d/a.csv:2: 1 cell, expected 2 as in the header"), "{error}");
    }

    #[test]
    fn a_file_without_header_or_records_and_a_column_twice_are_refused() {
        for (bytes, why) in [
            (&b""[..], "a.csv: the file is empty"),
            (b"\xef\xbb\xbf\r\n\n", "a.csv: the file is empty"),
            (b"a,b\n", "a.csv: no record follows the header"),
            (b"a,b,a\n1,2,3\n", "a.csv: the column `a` stands twice in the header"),
        ] {
            assert_eq!(read(bytes).unwrap_err().to_string(), why);
        }
        let index = read(b",a\n0,x\n").unwrap();
        assert_eq!(index[0].1, r#"{"Unnamed: 0":"0","a":"x"}"#);
    }

    #[test]
    fn wide_rows_long_cells_and_noise_are_records_or_errors_and_never_a_panic() {
        let wide = vec!["x"; 1000].join(",");
        let header = (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(read(format!("{header}\n{wide}\n").as_bytes()).unwrap().len(), 1);
        let endless = vec!["x"; MOST_COLUMNS + 5].join(",");
        let all = read(format!("a,b\n{endless}\n1,2\n").as_bytes()).unwrap();
        assert!(all[0].1.starts_with("a row of more than"), "{}", all[0].1);
        assert_eq!(all[1], (3, r#"{"a":"1","b":"2"}"#.to_owned()));
        let long = "y".repeat(300_000);
        let all = read(format!("a\n\"{long}\"\n").as_bytes()).unwrap();
        assert_eq!(all[0].1.len(), long.len() + r#"{"a":""}"#.len());
        for seed in 0..300 {
            let random = crate::ops::philox::Philox::new(1, seed);
            let noise: Vec<u8> =
                random.permutation(40).iter().map(|n| b"a,\"\r\n\xff'\t"[n % 8]).collect();
            let _ = read(&noise);
        }
    }

    #[test]
    fn each_record_has_a_line_of_its_own_where_carriage_returns_end_the_lines() {
        let text = to_lines(b"a,b\r1,x\r2,y\r", b',', "a.csv").unwrap();
        assert_eq!(text, "\n{\"a\":\"1\",\"b\":\"x\"}\n{\"a\":\"2\",\"b\":\"y\"}");
    }

    #[test]
    fn the_ending_tells_what_stands_between_cells() {
        let of = |name| delimiter(name);
        assert_eq!(
            [of("d/a.csv"), of("a.CSV.gz"), of("a.tsv.zst")],
            [Some(b','), Some(b','), Some(b'\t')]
        );
        assert_eq!([of("a.json"), of("csv"), of("a.csv/b")], [None; 3]);
    }
}
