//! Text as Markdown holds it, in GitHub's dialect: data is shown and never read as markup.
//!
//! A mark is escaped only where it would be read as one: `_` inside a word and `[` without a link stay as they are, so that the page
//! can be read unrendered too.

use crate::report::text::{Span, Text, one_line};

/// A paragraph, a heading or an item, in one line.
pub(super) fn line(text: &Text) -> String {
    let line: String = text.spans().iter().map(|span| inline(span, code)).collect();
    without_block_mark(line.trim())
}

/// A cell of a table.
pub(super) fn cell(text: &Text) -> String {
    let cell: String = text.spans().iter().map(|span| inline(span, code_in_cell)).collect();
    cell.trim().to_owned()
}

/// A code block whose fence is longer than any run of backticks in it.
pub(super) fn fenced(language: &str, text: &str) -> String {
    let fence = "`".repeat((longest_ticks(text) + 1).max(3));
    let lines: Vec<String> = text.trim_end().lines().map(without_controls).collect();
    format!("{fence}{language}\n{}\n{fence}\n", lines.join("\n"))
}

fn inline(span: &Span, code: fn(&str) -> String) -> String {
    match span {
        Span::Plain(text) => plain(text),
        Span::Code(text) if text.trim().is_empty() => plain(text),
        Span::Code(text) => code(&without_controls(&one_line(text))),
    }
}

/// Plain text with a backslash before every mark; a run of whitespace is one space.
fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let after = letters.peek().copied().unwrap_or(' ');
        let is_mark = match letter {
            '\\' | '`' | '*' | '<' | '&' | '|' | '~' | '#' | '$' => true,
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            ']' => matches!(after, '(' | '[' | ':'),
            ':' => after == '/',
            _ => false,
        };
        match letter {
            _ if letter.is_whitespace() && after.is_whitespace() && letters.peek().is_some() => {}
            _ if letter.is_whitespace() => escaped.push(' '),
            _ if letter.is_control() => escaped.push('\u{fffd}'),
            _ if is_mark => escaped.extend(['\\', letter]),
            _ => escaped.push(letter),
        }
        before = letter;
    }
    escaped
}

/// `line` with a backslash where its beginning would make it a list, a quotation, a rule or a check box.
fn without_block_mark(line: &str) -> String {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &line[digits..];
    let is_check_box = ["[ ]", "[x]", "[X]"].iter().any(|mark| line.starts_with(mark));
    if line.starts_with(['-', '+', '>']) || is_check_box {
        format!("\\{line}")
    } else if digits > 0 && rest.starts_with(['.', ')']) {
        format!("{}\\{rest}", &line[..digits])
    } else {
        line.to_owned()
    }
}

/// Code between more backticks than it has in a row; a space keeps its own backticks apart from them.
fn code(text: &str) -> String {
    let ticks = "`".repeat(longest_ticks(text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{space}{text}{space}{ticks}")
}

/// The same in a cell, where a `|` between backticks would still end the cell.
fn code_in_cell(text: &str) -> String {
    if text.contains('|') { format!("<code>{}</code>", plain(text)) } else { code(text) }
}

fn longest_ticks(text: &str) -> usize {
    text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0)
}

fn without_controls(line: &str) -> String {
    let visible = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    line.chars().map(|letter| if letter == '\t' { letter } else { visible(letter) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_with_marks_is_shown_as_it_is() {
        for (data, shown) in [
            ("a|b", r"a\|b"),
            ("**bold** _soft_ ~~gone~~", r"\*\*bold\*\* \_soft\_ \~\~gone\~\~"),
            ("<b> &amp; `code` \\", r"\<b> \&amp; \`code\` \\"),
            ("[text](address) ![image][1]", r"[text\](address) ![image\][1]"),
            ("[1]: address", r"[1\]: address"),
            ("C # $x$", r"C \# \$x\$"),
            ("http://host/a: b", r"http\://host/a: b"),
            ("two\r\nlines\tand \u{1b}[31m", "two lines and \u{fffd}[31m"),
            // Marks that are none where they stand.
            ("MVP_test, 48.21 [46.10, 50.30] %", "MVP_test, 48.21 [46.10, 50.30] %"),
            ("größe_ß > 3 - 2", "größe_ß > 3 - 2"),
        ] {
            assert_eq!(line(&data.into()), shown);
            assert_eq!(cell(&data.into()), shown);
        }
    }

    #[test]
    fn a_line_of_data_begins_no_list_no_quotation_and_no_heading() {
        for (data, shown) in [
            ("- item", r"\- item"),
            ("+ item", r"\+ item"),
            ("> said", r"\> said"),
            ("---", r"\---"),
            ("# title", r"\# title"),
            ("12. item", r"12\. item"),
            ("12) item", r"12\) item"),
            ("[x] done", r"\[x] done"),
            ("    indented", "indented"),
        ] {
            assert_eq!(line(&data.into()), shown);
        }
        assert_eq!(cell(&"-".into()), "-");
        assert_eq!(cell(&"+3.21".into()), "+3.21");
    }

    #[test]
    fn code_holds_backticks_and_bars() {
        for (text, in_line, in_cell) in [
            ("a*b", "`a*b`", "`a*b`"),
            ("a`b", "``a`b``", "``a`b``"),
            ("`a`", "`` `a` ``", "`` `a` ``"),
            ("a\nb", "`a b`", "`a b`"),
            (r"a\|b", r"`a\|b`", r"<code>a\\\|b</code>"),
            ("", "", ""),
        ] {
            assert_eq!(line(&Text::code(text)), in_line);
            assert_eq!(cell(&Text::code(text)), in_cell);
        }
        assert_eq!(line(&Text::from("a ").and(Text::code("b")).and(" c")), "a `b` c");
    }

    #[test]
    fn backticks_do_not_end_a_block() {
        assert_eq!(fenced("toml", "a = '''\n```\n'''\n"), "````toml\na = '''\n```\n'''\n````\n");
        assert_eq!(fenced("text", "a\r\n\tb\u{1b}"), "```text\na\n\tb\u{fffd}\n```\n");
    }
}
