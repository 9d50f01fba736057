//! The user's input before any check: keys, values and the place of each.

use std::fmt;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::keys::{self, Kind, SECTIONS};
use crate::bail_input;
use crate::error::InputError;

/// One key with its value.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// The dotted key; a bare name where the file has something other than a known section.
    pub(super) key: String,
    /// The value.
    pub(super) value: Value,
    /// Its place.
    pub(super) source: Source<'a>,
}

/// The place of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source<'a> {
    /// In a file.
    File {
        /// The file's name in messages.
        name: &'a str,
        /// All of its text.
        text: &'a str,
    },
    /// In the argument of a `--set`.
    Argument(&'a str),
    /// In other options, as they were typed.
    Options(&'a str),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, .. } => f.write_str(name),
            Self::Argument(argument) => write!(f, "`--set {argument}`"),
            Self::Options(options) => write!(f, "`{options}`"),
        }
    }
}

impl Source<'_> {
    /// The source with the line of `key`'s value, such as `eval.sets[1].files`, where it has lines.
    pub(super) fn line_of(&self, key: &str) -> String {
        match self {
            Self::File { name, text } => {
                let root = DeTable::parse(text).ok();
                match root.and_then(|root| offset(root.get_ref(), key)) {
                    Some(offset) => format!("{name}:{}", place(text, offset).0),
                    None => (*name).to_owned(),
                }
            }
            Self::Argument(_) | Self::Options(_) => self.to_string(),
        }
    }
}

/// The entries of a file, key by key.
pub(super) fn file<'a>(text: &'a str, name: &'a str) -> anyhow::Result<Vec<Entry<'a>>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source::File { name, text };
    let table: Table = toml::from_str(text).map_err(|error| syntax_error(text, name, &error))?;
    let mut entries = Vec::new();
    let mut values: Vec<(String, Value)> = table.into_iter().collect();
    while let Some((key, value)) = values.pop() {
        match value {
            Value::Table(table) if SECTIONS.contains(&key.as_str()) => {
                values.extend(
                    table.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)),
                );
            }
            value => entries.push(Entry { key, value, source }),
        }
    }
    let root = DeTable::parse(text).ok();
    let offset = |key: &str| root.as_ref().and_then(|root| offset(root.get_ref(), key));
    entries.sort_by_cached_key(|entry| offset(&entry.key));
    Ok(entries)
}

/// The entry of the argument of a `--set`.
pub(super) fn argument(argument: &str) -> anyhow::Result<Entry<'_>> {
    let source = Source::Argument(argument);
    let Some((key, value)) = argument.split_once('=') else {
        bail_input!("{source}: expected `section.key=value`, found no `=`");
    };
    let (key, value) = (key.trim(), value.trim());
    if SECTIONS.contains(&key) {
        bail_input!("{source}: expected `section.key=value`, `{key}` is a section");
    }
    if key.starts_with("eval.sets.") || key.starts_with("eval.sets[") {
        bail_input!("{source}: expected `eval.sets=[...]`, the list is replaced as a whole");
    }
    Ok(Entry { key: key.to_owned(), value: argument_value(keys::kind(key), value), source })
}

/// A value as TOML, or as bare words where a shell removed the quotes.
fn argument_value(kind: Option<&Kind>, typed: &str) -> Value {
    let list = || typed.strip_prefix('[')?.strip_suffix(']');
    match (kind, typed.parse()) {
        (
            Some(Kind::Text | Kind::OptionalText | Kind::OptionalDay | Kind::Choice(_)),
            Ok(value @ Value::String(_)),
        ) => value,
        (Some(Kind::Text | Kind::OptionalText | Kind::OptionalDay | Kind::Choice(_)), _) => {
            Value::String(typed.to_owned())
        }
        (_, Ok(value)) => value,
        (
            Some(
                Kind::Choices(_) | Kind::Files | Kind::Sources | Kind::Modules { .. } | Kind::Words,
            ),
            Err(_),
        ) if let Some(list) = list() => {
            list.split(',').map(|word| word.trim().trim_matches('"')).collect::<Vec<_>>().into()
        }
        (_, Err(_)) => Value::String(typed.to_owned()),
    }
}

/// `file:line:column: what is wrong: the line`.
fn syntax_error(text: &str, name: &str, error: &toml::de::Error) -> InputError {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let Some(span) = error.span() else { return InputError::new(format!("{name}: {message}")) };
    let (line, column) = place(text, span.start);
    let found: String =
        text.lines().nth(line - 1).unwrap_or_default().trim().chars().take(100).collect();
    let error = InputError::new(format!("{name}:{line}:{column}: {message}, in `{found}`"));
    match language(text) {
        Some(language) => error.hint(format!(
            "this is {language}, and a configuration is TOML: `train --print-config llama2-7b.toml` prints one to begin with"
        )),
        None => error,
    }
}

/// The other language that a text is in, by its first line that is no comment.
fn language(text: &str) -> Option<&'static str> {
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#') && *line != "---")?;
    let key = first.split_once(':').map(|(key, _)| key.trim());
    let is_name = |key: &str| {
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    if first.starts_with('{') {
        Some("JSON")
    } else if key.is_some_and(is_name) {
        Some("YAML")
    } else {
        None
    }
}

/// Line and column of a byte, both from 1, the column in characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// The byte at which the value of `key` begins.
fn offset(root: &DeTable<'_>, key: &str) -> Option<usize> {
    let mut table = root;
    let mut found: Option<&Spanned<DeValue<'_>>> = None;
    for step in key.split('.') {
        if let Some(value) = found {
            table = value.get_ref().as_table()?;
        }
        let mut indices = step.split('[');
        let mut value = table.get(indices.next()?)?;
        for index in indices {
            value =
                value.get_ref().as_array()?.get(index.strip_suffix(']')?.parse::<usize>().ok()?)?;
        }
        found = Some(value);
    }
    found.map(|value| value.span().start)
}
