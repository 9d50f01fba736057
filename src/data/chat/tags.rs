//! Template source -> the same source in the tags that the template engine has.

use super::python_strings;

/// The source with `{% generation %}` as a block without effect, and with Jinja2's line ends, raw blocks and string literals.
///
/// The tag `generation` marks the assistant's text for a mask of tokens, which a preference pair has no use for. It writes nothing,
/// and what is set within it is gone after it, as within `{% with %}`. An error names what is refused.
pub(super) fn as_the_engine_reads(source: &str) -> Result<String, String> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find('{') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let code = out.len();
        let length = match tag.as_bytes().get(1) {
            Some(b'#') => copy(tag, tag.find("#}").map_or(tag.len(), |end| end + 2), &mut out),
            Some(b'{') => code_of(tag, "}}", &mut out)?,
            Some(b'%') => code_of(tag, "%}", &mut out)?,
            _ => copy(tag, 1, &mut out),
        };
        let (tag, after) = tag.split_at(length);
        rest = after;
        match tag_name(tag) {
            Some("generation") => out.replace_range(code.., &tag.replacen("generation", "with", 1)),
            Some("endgeneration") => {
                out.replace_range(code.., &tag.replacen("endgeneration", "endwith", 1));
            }
            Some("raw") => {
                let raw = end_of_raw(rest);
                // Unlike any other tag, this one keeps the line end after it.
                out.push_str(if rest.starts_with('\n') && !tag.ends_with("-%}") {
                    "\n"
                } else {
                    ""
                });
                out.push_str(&rest[..raw]);
                rest = &rest[raw..];
            }
            _ => {}
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Copies the first `length` bytes, and returns how many they are.
fn copy(tag: &str, length: usize, out: &mut String) -> usize {
    out.push_str(&tag[..length]);
    length
}

/// Copies a tag that ends with `close`, which does not count inside a string or brackets, and returns its length.
fn code_of(tag: &str, close: &str, out: &mut String) -> Result<usize, String> {
    let (mut at, mut open) = (2, 0_usize);
    out.push_str(&tag[..at]);
    while let Some(c) = tag[at..].chars().next() {
        let length = match c {
            _ if open == 0 && tag[at..].starts_with(close) => {
                out.push_str(close);
                return Ok(at + close.len());
            }
            '"' | '\'' => {
                let literal = &tag[at..at + end_of_string(&tag[at..], c)];
                python_strings::push_literal(literal, out)?;
                literal.len()
            }
            c => {
                match c {
                    '{' | '(' | '[' => open += 1,
                    '}' | ')' | ']' => open = open.saturating_sub(1),
                    _ => {}
                }
                out.push(c);
                c.len_utf8()
            }
        };
        at += length;
    }
    Ok(tag.len())
}

/// Length of a string literal, with its quotes.
fn end_of_string(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The one word of a tag such as `{%- raw -%}`; none if it has several, or is no such tag.
fn tag_name(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    Some(inside.strip_suffix(['-', '+']).unwrap_or(inside).trim())
}

/// Length of the text up to the tag that ends a raw block.
fn end_of_raw(text: &str) -> usize {
    let mut tags = text.match_indices("{%");
    let ends = |at: usize| {
        let end = text[at..].find("%}").map_or(text.len(), |end| at + end + 2);
        tag_name(&text[at..end]) == Some("endraw")
    };
    tags.find(|(at, _)| ends(*at)).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tags_themselves_are_replaced() {
        for (source, expected) in [
            ("a{% generation %}b{% endgeneration %}c", "a{% with %}b{% endwith %}c"),
            ("{%- generation -%}b{%-endgeneration-%}", "{%- with -%}b{%-endwith-%}"),
            ("{{ '{% generation %}' }}", "{{ '{% generation %}' }}"),
            (
                "{% set a = \"\\\"%}{% generation %}\" %}x",
                "{% set a = \"\\\"%}{% generation %}\" %}x",
            ),
            ("{{ {'a': {'b': 1}} }}{% generation %}", "{{ {'a': {'b': 1}} }}{% with %}"),
            ("a\r\n{% raw %}\r\nb\rc{% endraw %}", "a\n{% raw %}\n\nb\nc{% endraw %}"),
            ("{# {% generation %} #}", "{# {% generation %} #}"),
            (
                "{% raw %}{% generation %}{%- endraw %}{% generation %}",
                "{% raw %}{% generation %}{%- endraw %}{% with %}",
            ),
            ("{% if generation %}{", "{% if generation %}{"),
            ("é {", "é {"),
            ("{% generation", "{% generation"),
            ("{{ 'a", "{{ 'a"),
            ("{# é", "{# é"),
            ("{% raw %}é", "{% raw %}é"),
        ] {
            assert_eq!(as_the_engine_reads(source).as_deref(), Ok(expected), "{source}");
        }
    }
}
