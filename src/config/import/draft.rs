//! What a translation has so far: our keys with where each comes from, and what became of each key of the file.

use anyhow::Result;
use toml::Value;

use super::known::Known;
use super::{Fate, Program, Row};
use crate::config::nearest;
use crate::disk::yaml::{Node, Yaml};
use crate::error::{InputError, shown};

/// Keys whose values are not shown: they open an account.
const SECRET: &[&str] = &["hub_token", "api_key", "secret", "webhook"];

/// One of our keys, with its value and the comment above it.
pub(super) struct Setting {
    /// The key, such as `train.learning_rate`.
    pub(super) key: &'static str,
    /// Its value.
    pub(super) value: Value,
    /// Where it comes from, one line each.
    pub(super) comment: Vec<String>,
}

/// The keys of one file and what they became.
pub(super) struct Draft<'a> {
    /// Whose file it is.
    pub(super) program: Program,
    /// The file's name in messages.
    pub(super) name: &'a str,
    /// The keys that the program has.
    pub(super) known: Known,
    /// The file's keys.
    keys: &'a [(String, Node)],
    /// Ours, in the order in which they were set.
    pub(super) settings: Vec<Setting>,
    /// What became of the file's keys.
    pub(super) rows: Vec<Row>,
}

impl<'a> Draft<'a> {
    /// Of the keys of a file of `program`.
    pub(super) fn new(program: Program, name: &'a str, keys: &'a [(String, Node)]) -> Self {
        let known = Known::of(program);
        Self { program, name, known, keys, settings: Vec::new(), rows: Vec::new() }
    }

    /// The value of `key` where it is set to something but null.
    pub(super) fn given(&self, key: &str) -> Option<&'a Node> {
        let found = self.keys.iter().find(|(known, _)| known == key).map(|(_, node)| node);
        found.filter(|node| node.value != Yaml::Null)
    }

    /// The first of several names of a setting that the file has, and its value.
    pub(super) fn given_of(&self, names: &[&'static str]) -> Option<(&'static str, &'a Node)> {
        names.iter().find_map(|name| Some((*name, self.given(name)?)))
    }

    /// Whether `key` stands in the file and is true.
    pub(super) fn is_on(&self, key: &str) -> bool {
        self.given(key).is_some_and(|node| node.value.flag() == Some(true))
    }

    /// The file and a line of it, for messages.
    pub(super) fn place(&self, line: usize) -> String {
        if line == 0 { self.name.to_owned() } else { format!("{}:{line}", self.name) }
    }

    /// The error for a value that its key cannot have.
    pub(super) fn wrong(&self, key: &str, node: &Node, expected: &str) -> InputError {
        let place = self.place(node.line);
        InputError::new(format!(
            "{place}: `{key}` must be {expected}, got `{}`",
            shown(&node.value)
        ))
    }

    /// The error for a key whose value asks for what this program has not.
    pub(super) fn without_counterpart(&self, key: &str, why: &str) -> InputError {
        let (line, value) = match self.given(key) {
            Some(node) => (node.line, shown(&node.value)),
            None => (0, shown(&self.known.default(key))),
        };
        let place = self.place(line);
        InputError::new(format!("{place}: `{key}: {value}` has no counterpart here: {why}"))
    }

    /// The number of `key`; none where it is not set.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(node) = self.given(key) else { return Ok(None) };
        let number = node.value.number().ok_or_else(|| self.wrong(key, node, "a number"))?;
        Ok(Some(number))
    }

    /// The whole number of `key`; none where it is not set.
    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>> {
        let Some(node) = self.given(key) else { return Ok(None) };
        let integer =
            node.value.integer().ok_or_else(|| self.wrong(key, node, "a whole number"))?;
        Ok(Some(integer))
    }

    /// The text of `key`; none where it is not set.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(node) = self.given(key) else { return Ok(None) };
        let text = node.value.text().ok_or_else(|| self.wrong(key, node, "a text"))?;
        Ok(Some(text))
    }

    /// The word of `key`, a choice; none where it is not set.
    pub(super) fn word(&self, key: &str) -> Result<Option<String>> {
        let Some(node) = self.given(key) else { return Ok(None) };
        let word = node.value.word().ok_or_else(|| self.wrong(key, node, "a word"))?;
        Ok(Some(word))
    }

    /// The flag of `key`; none where it is not set.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(node) = self.given(key) else { return Ok(None) };
        let flag = node.value.flag().ok_or_else(|| self.wrong(key, node, "`true` or `false`"))?;
        Ok(Some(flag))
    }

    /// Sets one of our keys. A key that is set again gets another value and one more line of comment.
    pub(super) fn set(
        &mut self,
        key: &'static str,
        value: impl Into<Value>,
        comment: impl Into<String>,
    ) {
        let (value, comment) = (value.into(), comment.into());
        match self.settings.iter_mut().find(|setting| setting.key == key) {
            Some(setting) => {
                setting.value = value;
                setting.comment.push(comment);
            }
            None => self.settings.push(Setting { key, value, comment: vec![comment] }),
        }
    }

    /// Sets one of our keys to what the program does where the file is silent about `theirs`.
    pub(super) fn set_default(&mut self, key: &'static str, value: impl Into<Value>, theirs: &str) {
        let comment = format!("{theirs} is not set: {}'s default", self.program);
        self.set(key, value, comment);
    }

    /// Sets one of our keys to the value of the key `theirs` of the file, and notes it.
    pub(super) fn translate(&mut self, theirs: &str, key: &'static str, value: impl Into<Value>) {
        self.translate_as(theirs, key, value, "");
    }

    /// [`Self::translate`] with what is to be known about it; empty for nothing.
    pub(super) fn translate_as(
        &mut self,
        theirs: &str,
        key: &'static str,
        value: impl Into<Value>,
        about: &str,
    ) {
        let value = value.into();
        let colon = if about.is_empty() { "" } else { ": " };
        self.set(key, value.clone(), format!("{}{colon}{about}", self.shown(theirs)));
        self.note(theirs, Fate::Translated, format!("`{key} = {}`{colon}{about}", shown(&value)));
    }

    /// Notes what became of a key of the file; a key that stands in no file has its default there.
    pub(super) fn note(&mut self, key: &str, fate: Fate, said: impl Into<String>) {
        let node = self.keys.iter().find(|(known, _)| known == key).map(|(_, node)| node);
        let (line, value) = match node {
            Some(node) => (node.line, self.value_shown(key, &node.value)),
            None => (usize::MAX, "not set".to_owned()),
        };
        let said = said.into();
        let row = Row { line, key: key.to_owned(), value, fate, said };
        if !self.rows.contains(&row) {
            self.rows.push(row);
        }
    }

    /// Notes what became of a key inside a table of the file, such as `datasets[0].path`.
    pub(super) fn note_inside(
        &mut self,
        key: String,
        node: &Node,
        fate: Fate,
        said: impl Into<String>,
    ) {
        let row = Row { line: node.line, key, value: shown(&node.value), fate, said: said.into() };
        self.rows.push(row);
    }

    /// Whether something was noted about `key` itself.
    pub(super) fn has_row(&self, key: &str) -> bool {
        self.rows.iter().any(|row| row.key == key)
    }

    /// Whether something was noted about `key`, or about what is inside it.
    pub(super) fn is_noted(&self, key: &str) -> bool {
        let inside =
            |row: &Row| row.key.strip_prefix(key).is_some_and(|rest| rest.starts_with(['[', '.']));
        self.rows.iter().any(|row| row.key == key || inside(row))
    }

    /// `key: value` as the file has it, on one line.
    pub(super) fn shown(&self, key: &str) -> String {
        match self.given(key) {
            Some(node) => format!("{key}: {}", self.value_shown(key, &node.value)),
            None => format!("{key} is not set"),
        }
    }

    fn value_shown(&self, key: &str, value: &Yaml) -> String {
        let is_secret = key == "env" || SECRET.iter().any(|word| key.contains(word));
        if is_secret { "(not shown)".into() } else { shown(value) }
    }

    /// Every key of the file, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.keys.iter().map(|(key, _)| key.as_str())
    }

    /// Refuses keys of the table behind `key` that the program does not read; `path`: that of the table in the list of keys.
    pub(super) fn refuse_unknown_inside(&self, key: &str, path: &str, node: &Node) -> Result<()> {
        let Yaml::Table(table) = &node.value else {
            return Err(self.wrong(key, node, "a table").into());
        };
        for (inner, value) in table {
            if !self.known.has(&format!("{path}.{inner}")) {
                let place = self.place(value.line);
                let program = self.program;
                let message = format!(
                    "{place}: `{key}` has the key `{}`, which {program} does not read",
                    shown(inner)
                );
                return Err(InputError::new(message).hint(self.nearest_inside(path, inner)).into());
            }
        }
        Ok(())
    }

    fn nearest_inside(&self, path: &str, typed: &str) -> String {
        let names = self.known.inside(path);
        match nearest::nearest_word(typed, &names) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("its keys are {}", names.join(", ")),
        }
    }
}
