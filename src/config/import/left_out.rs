//! Keys of the three programs that have no counterpart here, and what that means for the result: `left_out.toml`.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Fate::{Differs, Harmless};
use super::draft::Draft;
use crate::disk::yaml::Node;

/// The file.
#[derive(Deserialize)]
struct Lines {
    line: Vec<Line>,
}

/// Keys, what becomes of one that is set, and what that means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    keys: Vec<String>,
    fate: LeftOut,
    said: String,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum LeftOut {
    Same,
    Differs,
}

impl Line {
    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|pattern| match pattern.split_once('*') {
            Some((begins, ends)) => {
                key.len() >= begins.len() + ends.len()
                    && key.starts_with(begins)
                    && key.ends_with(ends)
            }
            None => key == pattern,
        })
    }
}

/// Notes every key of the file that is not noted yet.
pub(super) fn note(draft: &mut Draft<'_>) -> Result<()> {
    let lines: Lines =
        toml::from_str(include_str!("left_out.toml")).context("the keys without counterpart")?;
    for key in draft.keys() {
        if draft.is_noted(key)
            || !draft.known.has(key) && !super::is_known(draft.program, &draft.known, key)
        {
            continue;
        }
        let line = lines.line.iter().find(|line| line.has(key));
        let (fate, said) = match (draft.given(key), line) {
            (_, Some(line)) if line.fate == LeftOut::Same => (Harmless, &*line.said),
            (None, _) => (Harmless, "not set"),
            (Some(node), _) if is_default(draft, key, node) => {
                (Harmless, "off, or its default there")
            }
            (_, Some(line)) => (Differs, &*line.said),
            (_, None) => (Differs, "it has no counterpart here, and what it sets is left out"),
        };
        draft.note(key, fate, said);
    }
    Ok(())
}

/// Whether a value sets nothing, or what the program does without it.
fn is_default(draft: &Draft<'_>, key: &str, node: &Node) -> bool {
    let default = draft.known.default(key);
    let is_on_by_default = default.flag() == Some(true);
    node.value.is_idle() && !is_on_by_default || node.value.equals(&default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::import::Program;
    use crate::config::import::known::Known;

    #[test]
    fn every_key_without_counterpart_is_one_of_a_program() {
        let lines: Lines = toml::from_str(include_str!("left_out.toml")).unwrap();
        let known = Program::ALL.map(|program| (program, Known::of(program)));
        for key in lines.line.iter().flat_map(|line| &line.keys) {
            let one = Line { keys: vec![key.clone()], fate: LeftOut::Same, said: String::new() };
            let is_of = |(program, known): &(Program, Known)| {
                known.names().any(|name| one.has(name))
                    || super::super::is_known(*program, known, key)
            };
            assert!(known.iter().any(is_of), "{key}");
        }
    }
}
