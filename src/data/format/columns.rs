//! The columns that a configuration names for roles, held to the records of a file.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::config::nearest_word;
use crate::data::format::fields::{Columns, Record, shorten};
use crate::error::InputError;

/// The columns of `data.columns`, and which of them the records of a file have.
pub(in crate::data) struct NamedColumns<'a> {
    columns: &'a Columns,
    /// Those that no record had yet.
    unseen: BTreeSet<&'a str>,
    /// The names of the first record's fields.
    first: Vec<String>,
}

impl<'a> NamedColumns<'a> {
    /// None seen yet.
    pub(in crate::data) fn new(columns: &'a Columns) -> Self {
        let unseen =
            columns.values().map(String::as_str).filter(|column| !column.is_empty()).collect();
        Self { columns, unseen, first: Vec::new() }
    }

    /// Notes the columns of a record.
    pub(in crate::data) fn see(&mut self, record: &Record<'_>) {
        if self.columns.is_empty() {
            return;
        }
        if self.first.is_empty() {
            self.first = record.fields.keys().cloned().collect();
        }
        self.unseen.retain(|column| !record.fields.contains_key(*column));
    }

    /// Refuses a column that no record has. `name`: the file, for messages.
    pub(in crate::data) fn check(&self, name: &str) -> Result<()> {
        let Some(unseen) = self.unseen.first() else { return Ok(()) };
        let role = self.columns.iter().find(|(_, column)| column.as_str() == *unseen);
        let role = role.map_or("", |(role, _)| role.name());
        let what = format!("{name}: no record has the column `{unseen}` of `columns.{role}`");
        let names: Vec<&str> = self.first.iter().map(String::as_str).collect();
        let hint = match nearest_word(unseen, &names) {
            Some(nearest) => format!("did you mean `{}`?", shorten(&nearest)),
            None => {
                let names: Vec<_> =
                    names.iter().take(12).map(|name| format!("`{}`", shorten(name))).collect();
                format!("the first record has {}", names.join(", "))
            }
        };
        Err(InputError::new(what).hint(hint).into())
    }
}
