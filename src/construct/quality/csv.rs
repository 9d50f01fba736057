//! CSV after RFC 4180, in UTF-8, that a spreadsheet may open: nothing in it is run as a formula.

use anyhow::Result;

use crate::error::InputError;

/// A row: fields between commas, with `\r\n` at its end. [`guarded`] is applied to each.
pub(super) fn line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|field| quoted(&guarded(field))).collect();
    fields.join(",") + "\r\n"
}

fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

/// Whether a spreadsheet would read `text` as a formula, once apostrophes and spaces before it are taken away.
fn is_formula(text: &str) -> bool {
    let bare = text.trim_start_matches(['\'', ' ', '\u{a0}']);
    bare.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

/// `text` with an apostrophe before what a spreadsheet would run.
pub(super) fn guarded(text: &str) -> String {
    if is_formula(text) { format!("'{text}") } else { text.to_owned() }
}

/// `text` without the apostrophe of [`guarded`].
pub(super) fn unguarded(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| is_formula(rest)).unwrap_or(text)
}

/// A row that was read: the line that it begins on, and its fields.
pub(super) type Row = (usize, Vec<String>);

/// The rows of `text`, the file `name`; a blank line is none. Refuses a quote that is never closed and text after a closed one.
pub(super) fn rows(text: &str, name: &str) -> Result<Vec<Row>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut begin) = (1, 1);
    let mut state = State::Start;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\n' {
            line += 1;
        }
        match (state, letter) {
            (State::Quoted, '"') if letters.next_if_eq(&'"').is_some() => field.push('"'),
            (State::Quoted, '"') => state = State::Closed,
            (State::Quoted, letter) => field.push(letter),
            (_, ',') => {
                row.push(unguarded(&std::mem::take(&mut field)).to_owned());
                state = State::Start;
            }
            (_, '\r') if letters.peek() == Some(&'\n') => {}
            (_, '\n' | '\r') => {
                row.push(unguarded(&std::mem::take(&mut field)).to_owned());
                push(&mut rows, &mut row, begin);
                (state, begin) = (State::Start, line);
            }
            (State::Start, '"') => state = State::Quoted,
            (State::Closed, _) => {
                let what = format!("{name}:{line}: text after a closing quote");
                return Err(InputError::new(what).hint(HINT).into());
            }
            (_, letter) => {
                field.push(letter);
                state = State::Plain;
            }
        }
    }
    if state == State::Quoted {
        let what = format!("{name}:{begin}: a quote is opened and never closed");
        return Err(InputError::new(what).hint(HINT).into());
    }
    row.push(unguarded(&field).to_owned());
    push(&mut rows, &mut row, begin);
    Ok(rows)
}

const HINT: &str = "save the table as CSV with commas, in UTF-8; the file may have been cut";

/// Where in a field the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    Quoted,
    Closed,
}

fn push(rows: &mut Vec<Row>, row: &mut Vec<String>, line: usize) {
    let row = std::mem::take(row);
    if row.iter().any(|field| !field.is_empty()) {
        rows.push((line, row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_field_holds_is_read_as_it_was_written() {
        let fields = [
            "plain",
            "a,b",
            "a \"quoted\" one",
            "two\r\nlines",
            "",
            "=1+1",
            "'=1",
            "''=1",
            "-5",
            " =1",
            "@x",
            "'Twas",
            "\tx",
            "é，",
            "＝1",
            "'",
            "\n=1",
        ];
        let text = format!("\u{feff}{}{}", line(fields), line(["x"]));
        let read = rows(&text, "a.csv").unwrap();
        assert_eq!(read[0], (1, fields.map(str::to_owned).to_vec()));
        assert_eq!(read[1].1, ["x"]);
        for part in text.split(',') {
            assert!(
                !part.trim_start_matches(['"', '\u{feff}']).starts_with(['=', '@', '\t']),
                "{part}"
            );
        }
    }

    #[test]
    fn lines_are_counted_through_quoted_breaks_and_blank_ones() {
        let read = rows("a,b\n\n\"1\n2\",3\r4,5", "a.csv").unwrap();
        let lines: Vec<usize> = read.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 4]);
    }

    #[test]
    fn a_file_that_was_cut_is_refused() {
        for (text, part) in
            [("a,\"b", "a.csv:1: a quote is opened"), ("\"a\"b", "text after a closing")]
        {
            let error = rows(text, "a.csv").unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
