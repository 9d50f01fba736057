//! Text as HTML and SVG hold it. Everything written here is well-formed XML too, so that any parser can check a page.

/// `text` where markup would be read: the five special characters as entities, control characters as U+FFFD.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(letter),
            // XML has no place for these, nor for the two noncharacters.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ if letter.is_control() => escaped.push('\u{fffd}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A paragraph; what stands in backticks is set as code.
pub fn paragraph(class: &str, text: &str) -> String {
    format!("<p class=\"{class}\">{}</p>\n", with_code(text))
}

/// Escaped text in which `` `x` `` is `<code>x</code>`; an odd backtick stays one.
pub fn with_code(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let mut marked = String::new();
    for (i, part) in parts.iter().enumerate() {
        let is_code = i % 2 == 1 && i + 1 < parts.len();
        match (i, is_code) {
            (0, _) => marked += &escape(part),
            (_, true) => marked += &format!("<code>{}</code>", escape(part)),
            (_, false) if i % 2 == 1 => marked += &format!("`{}", escape(part)),
            _ => marked += &escape(part),
        }
    }
    marked
}

/// At most `limit` characters of `text`, and how many there were where some are left out.
pub fn shortened(text: &str, limit: usize) -> String {
    let length = text.chars().count();
    if length <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit).collect();
    format!("{kept} … ({} characters in all)", crate::console::units::count(length))
}

/// Text where a line break would end the heading or the item.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text as inline code, whatever backticks are in it.
pub(super) fn code(text: &str) -> String {
    let ticks = "`".repeat(longest_ticks(text) + 1);
    format!("{ticks}{}{ticks}", one_line(text))
}

/// A code block whose fence is longer than any run of backticks in it.
pub(super) fn fenced(language: &str, text: &str) -> String {
    let fence = "`".repeat((longest_ticks(text) + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

fn longest_ticks(text: &str) -> usize {
    text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_is_shown_and_not_read() {
        assert_eq!(
            escape("<script>\"a\" & 'b'\u{0}\u{1b}\n"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\u{fffd}\u{fffd}\n"
        );
        assert_eq!(with_code("a `<b>` c"), "a <code>&lt;b&gt;</code> c");
        assert_eq!(with_code("odd ` tick"), "odd ` tick");
    }

    #[test]
    fn a_long_text_says_how_long_it_was() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöü!", 3), "äöü … (4 characters in all)");
    }
}
