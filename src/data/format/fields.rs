//! One record of a data file: a JSON object and its place, and readers of its fields whose errors name both.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde_json::{Map, Value};

use crate::config::ColumnRole;
use crate::error::InputError;

/// The column of each role that a file has under a name of its own (`data.columns`); an empty name for a role that no column has.
pub(in crate::data) type Columns = BTreeMap<ColumnRole, String>;

/// A file and a line in it, shown as `MVP_train.json:12`.
#[derive(Debug, Clone, Copy)]
pub(in crate::data) struct Place<'a> {
    pub(in crate::data) file: &'a str,
    pub(in crate::data) line: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A JSON object and the line it begins on. It remembers which fields were read, so that the others can be named.
pub(in crate::data) struct Record<'a> {
    pub(in crate::data) place: Place<'a>,
    pub(in crate::data) fields: Map<String, Value>,
    columns: Option<&'a Columns>,
    read: RefCell<Vec<String>>,
}

impl<'a> Record<'a> {
    /// A record of which nothing was read yet.
    pub(in crate::data) fn new(place: Place<'a>, fields: Map<String, Value>) -> Self {
        Self { place, fields, columns: None, read: RefCell::default() }
    }

    /// The record with the fields of `columns` under the names of their roles. A column that has a role has no other name.
    pub(in crate::data) fn with_columns(self, columns: &'a Columns) -> Self {
        Self { columns: Some(columns), ..self }
    }

    /// The column of a field; none if it has another role, or the role has no column.
    fn column<'k>(&'k self, key: &'k str) -> Option<&'k str> {
        let columns = || self.columns.into_iter().flatten();
        match columns().find(|(role, _)| role.name() == key) {
            Some((_, column)) => Some(&**column).filter(|column| !column.is_empty()),
            None => columns().all(|(_, column)| column != key).then_some(key),
        }
    }

    /// The name of a field in the file, for messages.
    pub(in crate::data) fn named<'k>(&'k self, key: &'k str) -> &'k str {
        self.column(key).unwrap_or(key)
    }

    /// Whether the record has a field, be it `null`.
    pub(in crate::data) fn has(&self, key: &str) -> bool {
        self.column(key).is_some_and(|column| self.fields.contains_key(column))
    }

    /// The value of a field, which counts as read; `null` is the same as no field.
    pub(in crate::data) fn get(&self, key: &str) -> Option<&Value> {
        let value = self.peek(key)?;
        let column = self.named(key);
        let mut read = self.read.borrow_mut();
        if !read.iter().any(|known| known == column) {
            read.push(column.to_owned());
        }
        Some(value)
    }

    /// The value of a field that decides how the record is read; it does not count as read itself.
    pub(in crate::data) fn peek(&self, key: &str) -> Option<&Value> {
        self.fields.get(self.column(key)?).filter(|value| !value.is_null())
    }

    /// The columns that were read, in the order of the record.
    pub(in crate::data) fn read(&self) -> Vec<String> {
        let read = self.read.borrow();
        self.fields.keys().filter(|key| read.contains(key)).cloned().collect()
    }

    /// The fields that hold something and were not read.
    pub(in crate::data) fn unread(&self) -> impl Iterator<Item = &str> {
        let read = self.read.borrow();
        let holds = |value: &Value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => true,
        };
        self.fields
            .iter()
            .filter(move |(key, value)| holds(value) && !read.contains(key))
            .map(|(key, _)| key.as_str())
    }

    /// A string that must be there, empty or not.
    pub(in crate::data) fn text(&self, key: &str) -> Result<&str> {
        match self.get(key) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(key, "a string", other).into()),
            None => Err(self.missing(key, "string").into()),
        }
    }

    /// The first of `keys` that the record has, a string or a number, as text. A blank string is the same as none.
    pub(in crate::data) fn label(&self, keys: &[&str]) -> Result<Option<String>> {
        for key in keys {
            let text = match self.get(key) {
                None => continue,
                Some(value) => {
                    scalar(value).ok_or_else(|| self.wrong(key, "a string or a number", value))?
                }
            };
            if !text.trim().is_empty() {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The error for a missing field.
    pub(in crate::data) fn missing(&self, key: &str, what: &str) -> InputError {
        let key = self.named(key);
        if self.fields.contains_key(key) {
            return InputError::new(format!("{}: `{key}` is null, expected a {what}", self.place))
                .hint("remove the record or fill it in");
        }
        InputError::new(format!(
            "{}: the record has no `{key}`, found {}",
            self.place,
            self.names()
        ))
        .hint(format!(
            "every record needs a {what} `{key}`: remove this one or fill it in; if no record has it, the file has another layout: \
             `data.columns` says which column is which (docs/layouts.md has the layouts that are read)"
        ))
    }

    /// The error for a field of the wrong type.
    pub(in crate::data) fn wrong(&self, key: &str, expected: &str, found: &Value) -> InputError {
        let key = self.named(key);
        InputError::new(format!("{}: `{key}` must be {expected}, got {}", self.place, kind(found)))
    }

    /// The names of the record's fields, for messages: `` `id`, `text` ``, at most a dozen of them.
    pub(in crate::data) fn names(&self) -> String {
        const SHOWN: usize = 12;
        if self.fields.is_empty() {
            return "no fields".to_owned();
        }
        let mut names: Vec<_> =
            self.fields.keys().take(SHOWN).map(|key| format!("`{}`", shorten(key))).collect();
        if self.fields.len() > SHOWN {
            names.push(format!("and {} more", self.fields.len() - SHOWN));
        }
        names.join(", ")
    }
}

/// A string unchanged, or a number as JSON writes it.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Longest record, in bytes of JSON: reading one takes several times that.
pub(in crate::data) const LONGEST_RECORD: usize = 64 << 20;

/// The key of [`not_text`].
const BYTES: &str = "\0bytes that are not UTF-8 text";

/// What stands for the value of a binary column that is no text: no reader takes it, and [`kind`] says what it is.
pub(in crate::data) fn not_text(bytes: usize) -> Value {
    serde_json::json!({ BYTES: bytes })
}

/// The kind of a value, for messages, with a short value.
pub(in crate::data) fn kind(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.contains_key(BYTES) => {
            format!("{} bytes that are not UTF-8 text", fields[BYTES])
        }
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number `{number}`"),
        Value::String(text) => format!("the string `{}`", shorten(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The first 40 characters of a text, on one line.
pub(in crate::data) fn shorten(text: &str) -> String {
    shorten_to(text, 40)
}

/// The first `most` characters of a text, on one line.
pub(in crate::data) fn shorten_to(text: &str, most: usize) -> String {
    let line: String =
        text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() { format!("{line}...") } else { line }
}

/// Python's `str.strip`, which also takes the four ASCII separators.
pub(in crate::data) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether `str.strip` takes a character.
pub(in crate::data) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Record<'_> {
        Record::new(Place { file: "a.json", line: 7 }, serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_number_where_a_string_belongs_is_an_error_with_its_place() {
        let error = record(r#"{"prompt": 5}"#).text("prompt").unwrap_err().to_string();
        assert_eq!(error, "a.json:7: `prompt` must be a string, got the number `5`");
    }

    #[test]
    fn a_missing_field_names_the_ones_found() {
        let error = record(r#"{"text": "", "id": null}"#).text("prompt").unwrap_err();
        assert_eq!(error.to_string(), "a.json:7: the record has no `prompt`, found `text`, `id`");
        assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("another layout"));
        let error = record(r#"{"text": "", "prompt": null}"#).text("prompt").unwrap_err();
        assert_eq!(error.to_string(), "a.json:7: `prompt` is null, expected a string");
        assert!(!InputError::of(&error).unwrap().remedy().unwrap().contains("another layout"));
    }

    #[test]
    fn a_label_is_a_string_or_a_number_and_a_blank_one_is_none() {
        let record =
            record(r#"{"age": 34, "height": 1.50, "gender": " ", "older": "x", "list": []}"#);
        assert_eq!(record.label(&["age"]).unwrap().as_deref(), Some("34"));
        assert_eq!(record.label(&["gender", "older"]).unwrap().as_deref(), Some("x"));
        assert_eq!(record.label(&["gender"]).unwrap(), None);
        assert!(record.label(&["list"]).is_err());
    }

    #[test]
    fn a_field_that_was_not_read_is_named_unless_it_is_empty() {
        let record = record(
            r#"{"prompt": "p", "old": "x", "score": 0, "none": null, "blank": "", "tags": [], "seen": 1}"#,
        );
        record.text("prompt").unwrap();
        assert!(record.peek("seen").is_some() && record.get("none").is_none());
        assert_eq!(record.unread().collect::<Vec<_>>(), ["old", "score", "seen"]);
        record.get("seen");
        record.label(&["nobody", "old", "score"]).unwrap();
        assert_eq!(record.unread().collect::<Vec<_>>(), ["score"]);
    }

    #[test]
    fn a_long_text_is_shown_by_its_beginning() {
        assert_eq!(shorten(&"é".repeat(100)).chars().count(), 43);
        assert_eq!(shorten("a\nb"), "a b");
    }

    #[test]
    fn all_four_ascii_separators_are_stripped() {
        assert_eq!(strip("\x1c\x1d\x1e\x1f a \x1f\x1e\x1d\x1c"), "a");
        assert_eq!(strip("\x1b\x1f"), "\x1b");
    }
}
