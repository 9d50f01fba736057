//! A translation as TOML: our keys in their order, above each where it comes from, and at the head what differs.

use std::fmt::Write;

use toml::Value;

use super::draft::{Draft, Setting};
use super::{Fate, Row};
use crate::config::keys::{KEYS, SECTIONS};
use crate::error::one_line;

/// Longest line of a comment, in characters.
const COLUMNS: usize = 140;

/// The text of a draft's configuration.
pub(super) fn text(draft: &Draft<'_>) -> String {
    let mut out =
        format!("# {}, of {}, by `mvpbench import-config`.\n", one_line(draft.name), draft.program);
    list(&mut out, &draft.rows, Fate::Missing, "To be filled in:");
    list(&mut out, &draft.rows, Fate::Differs, "What this run does otherwise:");
    list(
        &mut out,
        &draft.rows,
        Fate::Unknown,
        "Not read, as asked, though it is no key of that program:",
    );
    for section in SECTIONS {
        let of_section = |setting: &&Setting| {
            setting.key.rsplit_once('.').is_some_and(|(name, _)| name == *section)
        };
        let mut settings: Vec<&Setting> = draft.settings.iter().filter(of_section).collect();
        settings.sort_by_key(|setting| KEYS.iter().position(|key| key.name == setting.key));
        if settings.is_empty() {
            continue;
        }
        let _ = write!(out, "\n[{section}]\n");
        for setting in settings {
            for line in &setting.comment {
                comment(&mut out, line);
            }
            let name = setting.key.rsplit('.').next().unwrap_or(setting.key);
            let _ = writeln!(out, "{name} = {}", value(&setting.value));
        }
    }
    out
}

/// A value on one line, a list of sources on several.
fn value(value: &Value) -> String {
    match value {
        Value::Array(list) if list.len() > 1 && list.iter().any(Value::is_table) => {
            let lines: Vec<_> = list.iter().map(|item| format!("    {item},\n")).collect();
            format!("[\n{}]", lines.concat())
        }
        value => value.to_string(),
    }
}

fn list(out: &mut String, rows: &[Row], fate: Fate, heading: &str) {
    let mut rows: Vec<&Row> = rows.iter().filter(|row| row.fate == fate).collect();
    rows.sort_by_key(|row| row.line);
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "#\n# {heading}");
    for row in rows {
        comment(out, &format!("- {}: {}: {}", row.key, row.value, row.said));
    }
}

/// Lines that begin with `#`, none of them long.
fn comment(out: &mut String, text: &str) {
    let text = one_line(text);
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.chars().count() + word.chars().count() >= COLUMNS && line.len() > 3 {
            let _ = writeln!(out, "{line}");
            line = String::from("#  ");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(out, "{line}");
}
