//! Keys that are the same setting under another name: a table of them -> settings, the program's default where one is not set.

use anyhow::Result;
use toml::Value;

use super::draft::Draft;
use crate::disk::yaml::Yaml;

/// Which values a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// A number.
    Number,
    /// A whole number.
    Count,
    /// True or false.
    Flag,
    /// A text.
    Text,
}

/// The key there, the key here, and its values.
pub(super) type Line = (&'static str, &'static str, As);

/// Translates the keys of a table.
pub(super) fn copy(draft: &mut Draft<'_>, lines: &[Line]) -> Result<()> {
    for (theirs, ours, kind) in lines {
        match draft.given(theirs) {
            Some(node) => {
                let Some(value) = value(&node.value, *kind) else {
                    let expected = match kind {
                        As::Number => "a number",
                        As::Count => "a whole number",
                        As::Flag => "`true` or `false`",
                        As::Text => "a text",
                    };
                    return Err(draft.wrong(theirs, node, expected).into());
                };
                draft.translate(theirs, ours, value);
            }
            None => {
                if let Some(default) = value(&draft.known.default(theirs), *kind) {
                    draft.set_default(ours, default, theirs);
                }
            }
        }
    }
    Ok(())
}

fn value(node: &Yaml, kind: As) -> Option<Value> {
    match kind {
        As::Number => node.number().map(Value::Float),
        As::Count => node.integer().map(Value::Integer),
        As::Flag => node.flag().map(Value::Boolean),
        As::Text => node.text().map(|text| Value::String(text.to_owned())),
    }
}
