//! One record of a data file: a JSON object and its place, and readers of its fields whose errors name both.

use std::fmt;

use anyhow::Result;
use serde_json::{Map, Value};

use crate::error::InputError;

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

/// A JSON object and the line it begins on.
pub(in crate::data) struct Record<'a> {
    pub(in crate::data) place: Place<'a>,
    pub(in crate::data) fields: Map<String, Value>,
}

impl Record<'_> {
    /// The value of a field; `null` is the same as no field.
    pub(in crate::data) fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
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
        InputError::new(format!(
            "{}: the record has no `{key}`, found {}",
            self.place,
            self.names()
        ))
        .hint(format!("every record needs a {what} `{key}`; remove the record or fill it in"))
    }

    /// The error for a field of the wrong type.
    pub(in crate::data) fn wrong(&self, key: &str, expected: &str, found: &Value) -> InputError {
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

/// The kind of a value, for messages, with a short value.
pub(in crate::data) fn kind(value: &Value) -> String {
    match value {
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
    const SHOWN: usize = 40;
    let line: String =
        text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() { format!("{line}...") } else { line }
}

/// Python's `str.strip`, which also takes the four ASCII separators.
pub(in crate::data) fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Record<'_> {
        Record {
            place: Place { file: "a.json", line: 7 },
            fields: serde_json::from_str(json).unwrap(),
        }
    }

    #[test]
    fn a_number_where_a_string_belongs_is_an_error_with_its_place() {
        let error = record(r#"{"prompt": 5}"#).text("prompt").unwrap_err().to_string();
        assert_eq!(error, "a.json:7: `prompt` must be a string, got the number `5`");
    }

    #[test]
    fn a_missing_field_names_the_ones_found() {
        let error =
            record(r#"{"text": "", "prompt": null}"#).text("prompt").unwrap_err().to_string();
        assert_eq!(error, "a.json:7: the record has no `prompt`, found `text`, `prompt`");
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
    fn a_long_text_is_shown_by_its_beginning() {
        assert_eq!(shorten(&"é".repeat(100)).chars().count(), 43);
        assert_eq!(shorten("a\nb"), "a b");
    }
}
