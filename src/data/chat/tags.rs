//! Template source -> the same source in the tags that the template engine has.

/// The source with `{% generation %}` as a block without effect.
///
/// The tag marks the assistant's text for a mask of tokens, which a preference pair has no use for. It writes nothing, and what is
/// set within it is gone after it, as within `{% with %}`.
pub(super) fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let length = match tag.as_bytes().get(1) {
            Some(b'#') => tag.find("#}").map_or(tag.len(), |end| end + 2),
            Some(b'{') => end_of_code(tag, "}}"),
            Some(b'%') => end_of_code(tag, "%}"),
            _ => 1,
        };
        let (tag, after) = tag.split_at(length);
        rest = after;
        match tag_name(tag) {
            Some("generation") => out.push_str(&tag.replacen("generation", "with", 1)),
            Some("endgeneration") => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            Some("raw") => {
                out.push_str(tag);
                let raw = end_of_raw(rest);
                out.push_str(&rest[..raw]);
                rest = &rest[raw..];
            }
            _ => out.push_str(tag),
        }
    }
    out.push_str(rest);
    out
}

/// Length of a tag that ends with `close`, which does not count inside a string.
fn end_of_code(tag: &str, close: &str) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in tag.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if tag[at..].starts_with(close) => return at + close.len(),
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
        }
    }
    tag.len()
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
            assert_eq!(without_generation(source), expected);
        }
    }
}
