//! A file of JSON lines -> rows; a row that is broken is kept apart with its place and the reason.

use std::cell::RefCell;
use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::console::interrupt;
use crate::disk::{digest, json};
use crate::error::{InputError, shown};

/// What PRISM writes for a text that somebody left empty.
const EMPTY: &str = "EMPTY STRING";

/// A row that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// The rows of a file.
#[derive(Debug)]
pub(super) struct Rows<T> {
    /// Those that were read, each with its line.
    pub(super) read: Vec<(usize, T)>,
    /// The others.
    pub(super) broken: Vec<Broken>,
    /// Fields that are not of the schema, each once.
    pub(super) unknown_fields: BTreeSet<String>,
    /// The `user_id` of each broken row that has one.
    pub(super) broken_users: BTreeSet<String>,
    /// SHA-256 of the file.
    pub(super) sha256: String,
}

/// What a row is read from: a JSON object, and the fields of it that the schema has.
pub(super) struct Fields<'a> {
    fields: &'a Map<String, Value>,
    /// Fields that are not of the schema.
    unknown: RefCell<BTreeSet<String>>,
}

/// Reads the rows of `bytes`, the file `name`. `known`: the fields of the schema; `read`: makes a row or says what is wrong with it.
///
/// Refuses a file in which no row can be read.
pub(super) fn rows<T>(
    bytes: &[u8],
    name: &str,
    known: &[&str],
    read: impl Fn(&Fields<'_>) -> Result<T, String>,
) -> Result<Rows<T>> {
    let bytes_of_rows = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut rows = Rows {
        read: Vec::new(),
        broken: Vec::new(),
        unknown_fields: BTreeSet::new(),
        broken_users: BTreeSet::new(),
        sha256: digest::of_bytes(bytes),
    };
    for (at, line) in bytes_of_rows.split(|byte| *byte == b'\n').enumerate() {
        interrupt::check()?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let mut user = None;
        let row = match object(line) {
            Ok(object) => {
                user = object.get("user_id").and_then(Value::as_str).map(str::to_owned);
                let fields = Fields::of(&object);
                fields.note_unknown("", &object, known);
                let row = read(&fields);
                rows.unknown_fields.append(&mut fields.unknown.take());
                row
            }
            Err(why) => Err(why),
        };
        match row {
            Ok(row) => rows.read.push((at + 1, row)),
            Err(why) => {
                rows.broken.push(Broken { file: name.to_owned(), line: at + 1, why });
                rows.broken_users.extend(user);
            }
        }
    }
    if rows.read.is_empty() {
        let found = match rows.broken.first() {
            None => "the file is empty".to_owned(),
            Some(broken) => {
                format!("no row can be read, the first on line {}: {}", broken.line, broken.why)
            }
        };
        return Err(InputError::new(format!("{name}: {found}"))
            .hint("the file is `survey.jsonl` or `conversations.jsonl` of PRISM, one JSON object a line")
            .into());
    }
    Ok(rows)
}

/// The object on a line, in which no key stands twice.
fn object(line: &[u8]) -> Result<Map<String, Value>, String> {
    let text = std::str::from_utf8(line).map_err(|error| {
        format!("expected UTF-8 text, found the byte `0x{:02X}`", line[error.valid_up_to()])
    })?;
    match json::unique(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("expected a JSON object".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

impl<'a> Fields<'a> {
    /// The fields of an object inside a row.
    pub(super) fn of(fields: &'a Map<String, Value>) -> Self {
        Self { fields, unknown: RefCell::default() }
    }

    /// Notes the fields of `object`, a part of this row at `path`, that are not among `known`.
    pub(super) fn note_unknown(&self, path: &str, object: &Map<String, Value>, known: &[&str]) {
        let unknown = object.keys().filter(|key| !known.contains(&key.as_str()));
        self.unknown.borrow_mut().extend(unknown.map(|key| format!("{path}{key}")));
    }

    /// The value of a field; `null` is the same as no field.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// A name that must be there and is not blank.
    pub(super) fn name(&self, key: &str) -> Result<String, String> {
        match self.text(key)? {
            name if name.trim().is_empty() => Err(format!("`{key}` is missing")),
            name => Ok(name),
        }
    }

    /// A text; empty where there is none, or where PRISM says that it was left empty.
    pub(super) fn text(&self, key: &str) -> Result<String, String> {
        match self.get(key) {
            None => Ok(String::new()),
            Some(Value::String(text)) if text.trim() == EMPTY => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(wrong(key, "a string", other)),
        }
    }

    /// A boolean; false where there is none.
    pub(super) fn flag(&self, key: &str) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(wrong(key, "true or false", other)),
        }
    }

    /// A whole number from 0; none where there is none. A float without a fraction counts as one.
    pub(super) fn whole(&self, key: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let whole = value.as_u64().or_else(|| {
            let number = value.as_f64()?;
            (number >= 0.0 && number.fract() == 0.0 && number < 1e15).then_some(number as u64)
        });
        whole.map(Some).ok_or_else(|| wrong(key, "a whole number", value))
    }

    /// A rating of 0 to 100; none where there is none. A number in a string is none of PRISM's.
    pub(super) fn rating(&self, key: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64().filter(|rating| (0.0..=100.0).contains(rating)) {
            Some(rating) => Ok(Some(rating)),
            None => Err(wrong(key, "a number in 0..=100", value)),
        }
    }

    /// An object that must be there.
    pub(super) fn object(&self, key: &str) -> Result<&'a Map<String, Value>, String> {
        match self.get(key) {
            Some(Value::Object(object)) => Ok(object),
            Some(other) => Err(wrong(key, "an object", other)),
            None => Err(format!("`{key}` is missing or null")),
        }
    }

    /// A list of objects that must be there.
    pub(super) fn objects(&self, key: &str) -> Result<Vec<&'a Map<String, Value>>, String> {
        let items = match self.get(key) {
            Some(Value::Array(items)) => items,
            Some(other) => return Err(wrong(key, "a list", other)),
            None => return Err(format!("`{key}` is missing or null")),
        };
        let object = |(at, item): (usize, &'a Value)| {
            item.as_object().ok_or_else(|| format!("`{key}[{at}]` is no object"))
        };
        items.iter().enumerate().map(object).collect()
    }
}

fn wrong(key: &str, expected: &str, found: &Value) -> String {
    format!("`{key}` must be {expected}, got `{}`", shown(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Rows<String>> {
        rows(text.as_bytes(), "s.jsonl", &["user_id"], |row| row.name("user_id"))
    }

    #[test]
    fn a_broken_row_is_named_with_its_line_and_the_others_are_read() {
        let text = "{\"user_id\": \"a\", \"new\": 1}\n\n{\"user_id\": 3}\n[1]\n{\"user_id\"\n{\"user_id\": \"EMPTY STRING\"}\n{\"user_id\": \"b\"}";
        let rows = names(text).unwrap();
        assert_eq!(rows.read, [(1, "a".to_owned()), (7, "b".to_owned())]);
        let broken: Vec<_> = rows.broken.iter().map(|row| (row.line, &*row.why)).collect();
        assert_eq!(broken[0], (3, "`user_id` must be a string, got `3`"));
        assert_eq!(broken[1], (4, "expected a JSON object"));
        assert!(broken[2].0 == 5 && broken[2].1.starts_with("not JSON: "), "{broken:?}");
        assert_eq!(broken[3], (6, "`user_id` is missing"));
        assert!(rows.unknown_fields.iter().eq(["new"]));
    }

    #[test]
    fn a_file_without_one_good_row_is_refused() {
        assert!(names("\n").unwrap_err().to_string().contains("s.jsonl: the file is empty"));
        let error = names("{}").unwrap_err().to_string();
        assert!(error.contains("no row can be read, the first on line 1: `user_id` is"), "{error}");
        assert!(rows(b"\xff", "s.jsonl", &[], |_| Ok(())).is_err());
    }

    #[test]
    fn a_line_that_is_no_text_or_has_a_key_twice_breaks_its_row_alone() {
        let text = b"{\"user_id\": \"a\"}\r\n{\"user_id\": \"\xff\"}\n{\"user_id\": \"b\", \"user_id\": \"c\"}\n{\"user_id\": \"d\"}";
        let rows = rows(text, "s.jsonl", &["user_id"], |row| row.name("user_id")).unwrap();
        assert_eq!(rows.read, [(1, "a".to_owned()), (4, "d".to_owned())]);
        let broken: Vec<_> = rows.broken.iter().map(|row| (row.line, &*row.why)).collect();
        assert_eq!(broken[0], (2, "expected UTF-8 text, found the byte `0xFF`"));
        assert!(broken[1].0 == 3 && broken[1].1.contains("the key `user_id`"), "{broken:?}");
    }

    #[test]
    fn a_rating_is_a_number_of_0_to_100_and_nothing_else() {
        for (json, expected) in
            [("0", Some(0.0)), ("100", Some(100.0)), ("59.5", Some(59.5)), ("null", None)]
        {
            let row: Map<String, Value> =
                serde_json::from_str(&format!("{{\"r\": {json}}}")).unwrap();
            assert_eq!(Fields::of(&row).rating("r"), Ok(expected));
        }
        for json in ["-1", "100.5", "\"80\"", "true", "[80]"] {
            let row: Map<String, Value> =
                serde_json::from_str(&format!("{{\"r\": {json}}}")).unwrap();
            assert!(Fields::of(&row).rating("r").unwrap_err().contains("0..=100"), "{json}");
        }
    }
}
