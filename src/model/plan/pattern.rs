//! Regular expressions as Python's `re` writes them, over names of modules.
//!
//! `fancy-regex` reads a language close to Python's. [`foreign`] refuses by name what the two read differently, or what only one of them
//! has, so that an accepted pattern matches the same names in both.

use fancy_regex::{Regex, RegexBuilder};

use crate::error::{InputError, shown};

/// Steps of backtracking after which a match is given up; a pattern over names of modules needs some hundred.
const MOST_STEPS: usize = 1_000_000;

/// A compiled pattern.
pub(super) struct Pattern {
    /// As it was written, for messages.
    written: String,
    regex: Regex,
}

impl Pattern {
    /// Matches whole names, as `re.fullmatch(pattern, name)`.
    pub(super) fn whole(pattern: &str) -> Result<Self, InputError> {
        Self::new(pattern, &format!(r"\A(?:{pattern})\z"))
    }

    /// Matches whole names or their last parts, as PEFT reads the keys of `rank_pattern`: `re.match(rf"(.*\.)?({key})$", name)`.
    pub(super) fn end(key: &str) -> Result<Self, InputError> {
        Self::new(key, &format!(r"\A(.*\.)?({key})\z"))
    }

    /// Matches the beginnings of names up to the number of their layer, as PEFT reads `layers_pattern`.
    pub(super) fn layers(pattern: &str) -> Result<Self, InputError> {
        Self::new(pattern, &format!(r"\A(?:(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.)"))
    }

    /// Compiles `whole`, which was made of the pattern `written`.
    fn new(written: &str, whole: &str) -> Result<Self, InputError> {
        let refused = |why: &str| {
            InputError::new(format!(
                "the regular expression `{}` is not read here: {why}",
                shown(&written)
            ))
            .hint("write it without that, or give the list of names of modules")
        };
        if let Some(why) = foreign(written) {
            return Err(refused(&why));
        }
        let regex = RegexBuilder::new(whole).backtrack_limit(MOST_STEPS).build();
        // The error shows a part of the pattern, which the message has already.
        let regex = regex.map_err(|error| {
            refused(error.to_string().lines().next_back().unwrap_or("it is no regular expression"))
        })?;
        Ok(Self { written: written.to_owned(), regex })
    }

    /// Whether it matches `name`.
    pub(super) fn matches(&self, name: &str) -> Result<bool, InputError> {
        self.regex.is_match(name).map_err(|_| self.endless(name))
    }

    /// The number of the layer that the group `idx` of [`Pattern::layers`] holds; none without a match.
    pub(super) fn layer(&self, name: &str) -> Result<Option<usize>, InputError> {
        let found = self.regex.captures(name).map_err(|_| self.endless(name))?;
        Ok(found.and_then(|found| found.name("idx")?.as_str().parse().ok()))
    }

    fn endless(&self, name: &str) -> InputError {
        let pattern = shown(&self.written);
        InputError::new(format!(
            "the regular expression `{pattern}` takes more than {MOST_STEPS} steps on `{name}`"
        ))
        .hint("a repetition inside a repetition is tried in very many ways; write it with one")
    }
}

/// What in `pattern` Python and `fancy-regex` read differently; none where they agree, or neither reads it.
fn foreign(pattern: &str) -> Option<String> {
    let (mut rest, mut before) = (pattern, Before::Nothing);
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        let read = match letter {
            '\\' => escape(after, "dDwWsSbBAZtnr123456789").map(|after| (after, Before::Item)),
            '[' => set(after).map(|after| (after, Before::Item)),
            '(' if after.starts_with('?') => {
                group(&after[1..], rest.len() == pattern.len(), before)
            }
            '(' | '|' => Ok((after, Before::Nothing)),
            '*' | '+' | '?' | '{' => repetition(rest, before),
            _ => Ok((after, Before::Item)),
        };
        match read {
            Ok(next) => (rest, before) = next,
            Err(what) => return Some(what),
        }
    }
    None
}

/// What stands before a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The beginning of the pattern, of a group or of an alternative.
    Nothing,
    /// Something that can be repeated.
    Item,
    /// Another repetition.
    Repetition,
}

/// What follows the repetition that `rest` begins with. Python repeats neither nothing nor a repetition; a `?` after one makes it lazy.
fn repetition(rest: &str, before: Before) -> Result<(&str, Before), String> {
    let whole = match rest.strip_prefix('{') {
        Some(after) if is_repetition(after) => after.find('}').map_or(rest.len(), |end| end + 2),
        Some(_) => return Err(format!("`{}` is no repetition", first(rest, 3))),
        None => 1,
    };
    if before != Before::Item {
        return Err(format!("`{}` has nothing to repeat", &rest[..whole]));
    }
    let after = &rest[whole..];
    Ok((after.strip_prefix('?').unwrap_or(after), Before::Repetition))
}

/// What follows the escape that `after` begins with, the backslash left out; `letters`: those that both languages read alike.
fn escape<'a>(after: &'a str, letters: &str) -> Result<&'a str, String> {
    let Some(escaped) = after.chars().next() else { return Err("it ends with `\\`".to_owned()) };
    let rest = &after[escaped.len_utf8()..];
    // Rust's `\<` and `\>` are ends of words, Python's are the letters.
    let is_mark = escaped.is_ascii_punctuation() && !"<>_".contains(escaped);
    match is_mark || letters.contains(escaped) {
        true => Ok(rest),
        false => Err(format!("`\\{escaped}`")),
    }
}

/// What follows the set that `after` begins with, its `[` left out. A set in a set and operations on sets are Rust's alone.
fn set(after: &str) -> Result<&str, String> {
    let body = after.strip_prefix('^').unwrap_or(after);
    let mut rest = body.strip_prefix(']').unwrap_or(body);
    while let Some(letter) = rest.chars().next() {
        let next = &rest[letter.len_utf8()..];
        rest = match letter {
            ']' => return Ok(next),
            '\\' => escape(next, "dDwWsStnr")?,
            '[' => return Err("`[` inside a set".to_owned()),
            '&' | '-' | '~' | '|' if next.starts_with(letter) => {
                return Err(format!("`{letter}{letter}` inside a set"));
            }
            _ => next,
        };
    }
    Err("a set without its `]`".to_owned())
}

/// What follows the beginning of a group, of which `kind` is what stands after its `(?`; and what then stands before a repetition.
fn group(kind: &str, is_first: bool, before: Before) -> Result<(&str, Before), String> {
    let mut known = vec![":", "=", "!", "<=", "<!", ">", "i:", "s:"];
    if is_first {
        // Python takes flags for the whole pattern at its beginning alone.
        known.extend(["i)", "s)"]);
    }
    if let Some(after) = known.iter().find_map(|known| kind.strip_prefix(known)) {
        return Ok((after, Before::Nothing));
    }
    let until = |begin: &str, end: char| Some(kind.strip_prefix(begin)?.split_once(end)?.1);
    // A name, a reference to one, and a comment.
    let name = until("P<", '>').map(|after| (after, Before::Nothing));
    name.or_else(|| Some((until("P=", ')')?, Before::Item)))
        .or_else(|| Some((until("#", ')')?, before)))
        .ok_or_else(|| format!("`(?{}`", first(kind, 2)))
}

/// Whether what follows a `{` is `M}`, `M,}` or `M,N}`. Any other is a letter in Python.
fn is_repetition(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inside.split_once(',') {
        None => is_number(inside),
        Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
    }
}

fn first(text: &str, letters: usize) -> String {
    text.chars().take(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "model.layers.12.self_attn.q_proj";

    #[test]
    fn a_pattern_matches_the_names_that_it_matches_in_python() {
        for (pattern, matches) in [
            (r".*\.q_proj", true),
            ("q_proj", false),
            (r"model\.layers\.[0-9]+\.self_attn\.(q_proj|v_proj)", true),
            (r"model\.layers\.[0-9]\..*", false),
            (
                r"(?:.*?(?:self_attn|mlp).*?(?:k_proj|q_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.x)",
                true,
            ),
            (r"(?i).*\.Q_PROJ", true),
            (r".*(?<!12)\.self_attn\.q_proj", false),
            (r"(?!.*\.(1|3)\.).*q_proj", true),
            (r"model\.layers\.(?P<n>1)2\.self_attn\.q_proj", true),
            (r"(.)odel\.layers\..*\1?.*", true),
            (r".*q_proj$", true),
            (r"^model.*q_proj\Z", true),
            (r"[]m]odel[^]].*", true),
            (r"model(?#comment)\.layers.*", true),
            (r".*\.\d{1,2}\.self.attn\.\w+", true),
            ("a|.*", true),
            (".*|a", true),
            ("", false),
            (r"(?:x{2}?)model.*", false),
            (r"(?:x{0,2}?)model.*?", true),
            (r"(?P<a>m)odel(?P=a)?(?#comment).*", true),
            ("(|model).*", true),
        ] {
            assert_eq!(
                Pattern::whole(pattern).unwrap().matches(NAME).unwrap(),
                matches,
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_key_matches_a_name_and_its_last_parts() {
        for (key, matches) in [
            ("q_proj", true),
            (NAME, true),
            ("^model.*q_proj", true),
            ("roj", false),
            ("self_attn.q_proj", true),
            (r"layers\.1[0-5]\.self_attn\.(q|k)_proj", true),
            ("k_proj|q_proj", true),
            ("model", false),
        ] {
            assert_eq!(Pattern::end(key).unwrap().matches(NAME).unwrap(), matches, "{key}");
        }
    }

    #[test]
    fn the_number_of_a_layer_follows_the_name_of_the_list() {
        for (pattern, layer) in [
            ("layers", Some(12)),
            ("model.layers", Some(12)),
            ("h", None),
            ("lay.*", Some(12)),
            ("ayers", None),
        ] {
            assert_eq!(Pattern::layers(pattern).unwrap().layer(NAME).unwrap(), layer, "{pattern}");
        }
    }

    #[test]
    fn what_python_reads_otherwise_is_refused_by_name() {
        for (pattern, named) in [
            (r"\h+", r"`\h`"),
            (r"\p{L}+", r"`\p`"),
            (r"\<model", r"`\<`"),
            ("[[:alpha:]]+", "`[` inside a set"),
            ("[a-z&&q]", "`&&` inside a set"),
            ("[a--b]", "`--` inside a set"),
            (r"[\b]", r"`\b`"),
            ("a{,3}", "`{,3` is no repetition"),
            ("a{x", "is no repetition"),
            ("(?x)a b", "`(?x)`"),
            ("a(?i)b", "`(?i)`"),
            ("(?<name>a)", "`(?<n`"),
            ("(?i-s:a)", "`(?i-`"),
            ("[ab", "a set without its `]`"),
            ("a\\", "it ends with `\\`"),
            ("(a", "is not read here"),
            ("*a", "`*` has nothing to repeat"),
            ("a|+b", "`+` has nothing to repeat"),
            ("(?:{2}b)", "`{2}` has nothing to repeat"),
            ("a**", "`*` has nothing to repeat"),
            ("a{2}+", "`+` has nothing to repeat"),
            ("(?P<a", "`(?P<`"),
            ("a)", "is not read here"),
        ] {
            for compile in [Pattern::whole, Pattern::end, Pattern::layers] {
                let error = compile(pattern).err().unwrap_or_else(|| panic!("{pattern}"));
                assert!(error.to_string().contains(named), "{pattern}: {error}");
            }
        }
    }

    #[test]
    fn a_match_that_takes_for_ever_is_an_error() {
        let pattern = Pattern::whole(r"(?=(a|a)*b)((a|a)*)*\2c").unwrap();
        let error = pattern.matches(&format!("{}b", "a".repeat(40))).unwrap_err();
        assert!(error.to_string().contains("steps"), "{error}");
    }
}
