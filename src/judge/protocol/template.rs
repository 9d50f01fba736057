//! Prompts with placeholders, `{question}`; any other brace stays as it is.

use anyhow::Result;

use crate::bail_input;

/// Placeholders of a prompt.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Those without which the prompt makes no sense.
    pub needed: &'static [&'static str],
    /// Those it may have too.
    pub optional: &'static [&'static str],
}

/// A part of a prompt.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

/// Refuses a prompt that lacks a placeholder it needs or has one that is not known.
pub fn check(prompt: &str, allowed: Allowed) -> Result<()> {
    let found: Vec<_> = pieces(prompt)
        .filter_map(|piece| match piece {
            Piece::Placeholder(name) => Some(name),
            Piece::Text(_) => None,
        })
        .collect();
    let known = || allowed.needed.iter().chain(allowed.optional);
    if let Some(unknown) = found.iter().find(|name| !known().any(|known| known == *name)) {
        let known: Vec<_> = known().map(|name| format!("`{{{name}}}`")).collect();
        bail_input!("there is no `{{{unknown}}}`; the prompt may have {}", known.join(", "));
    }
    if let Some(missing) = allowed.needed.iter().find(|name| !found.contains(name)) {
        bail_input!("`{{{missing}}}` is missing");
    }
    Ok(())
}

/// The prompt with the text of each placeholder in its place. Texts are not read for placeholders again.
pub fn fill<'v>(prompt: &str, value: impl Fn(&str) -> &'v str) -> String {
    let mut filled = String::with_capacity(prompt.len());
    for piece in pieces(prompt.strip_prefix('\n').unwrap_or(prompt)) {
        filled.push_str(match piece {
            Piece::Text(text) => text,
            Piece::Placeholder(name) => value(name),
        });
    }
    filled
}

/// Text and placeholders in order: a name of lower-case letters and `_` in braces.
fn pieces(prompt: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = prompt;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let placeholder = |from: &str| -> Option<usize> {
            let inside = from.strip_prefix('{')?;
            let end = inside.find(|c: char| !is_name(c))?;
            (end > 0 && inside[end..].starts_with('}')).then_some(end)
        };
        if let Some(length) = placeholder(rest) {
            let name = &rest[1..=length];
            rest = &rest[length + 2..];
            return Some(Piece::Placeholder(name));
        }
        let next = rest.char_indices().skip(1).find(|&(at, _)| placeholder(&rest[at..]).is_some());
        let (text, after) = rest.split_at(next.map_or(rest.len(), |(at, _)| at));
        rest = after;
        Some(Piece::Text(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_of_json_stay_and_texts_are_filled_in_once() {
        let filled = fill("\n{a}: {\"x\": 0, \"y\": {}} {b}{b} {", |name| match name {
            "a" => "{b}",
            _ => "é",
        });
        assert_eq!(filled, "{b}: {\"x\": 0, \"y\": {}} éé {");
    }

    #[test]
    fn a_prompt_has_what_it_needs_and_nothing_unknown() {
        let allowed = Allowed { needed: &["question"], optional: &["profile"] };
        check("{question}", allowed).unwrap();
        check("{profile}{question} {\"a\": 1}", allowed).unwrap();
        assert!(check("{profile}", allowed).is_err());
        assert!(check("{question} {answer}", allowed).is_err());
    }
}
