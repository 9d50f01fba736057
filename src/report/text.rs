//! A line of text for any page: plain words and code, without the markup of either page.

use std::fmt;

use crate::console::units;

/// Characters of one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// Words. Data stands here as it is; the renderer escapes it.
    Plain(String),
    /// A name that the reader may type, such as a key of the configuration.
    Code(String),
}

/// Spans one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(Vec<Span>);

impl Text {
    /// Text that is code as a whole.
    pub fn code(code: impl Into<String>) -> Self {
        Self(vec![Span::Code(code.into())])
    }

    /// A sentence of the program in which `` `x` `` is code; a backtick without a partner stays one.
    pub fn marked(sentence: &str) -> Self {
        let mut text = Self::default();
        let mut rest = sentence;
        while let Some((plain, code, after)) = split_code(rest) {
            text = text.and(plain).and(Self::code(code));
            rest = after;
        }
        text.and(rest)
    }

    /// This text with `more` behind it.
    pub fn and(mut self, more: impl Into<Self>) -> Self {
        for span in more.into().0 {
            match (self.0.last_mut(), span) {
                (_, Span::Plain(more)) if more.is_empty() => {}
                (Some(Span::Plain(last)), Span::Plain(more))
                | (Some(Span::Code(last)), Span::Code(more)) => last.push_str(&more),
                (_, span) => self.0.push(span),
            }
        }
        self
    }

    /// The characters without any mark of style.
    pub fn plain(&self) -> String {
        let spans = self.0.iter().map(|span| match span {
            Span::Plain(text) | Span::Code(text) => &**text,
        });
        spans.collect()
    }

    /// The spans; neighbours differ in style.
    pub fn spans(&self) -> &[Span] {
        &self.0
    }
}

/// What stands before, within and after the first pair of backticks.
fn split_code(text: &str) -> Option<(&str, &str, &str)> {
    let (plain, rest) = text.split_once('`')?;
    let (code, after) = rest.split_once('`')?;
    Some((plain, code, after))
}

impl From<String> for Text {
    fn from(plain: String) -> Self {
        Self(vec![Span::Plain(plain)])
    }
}

impl From<&str> for Text {
    fn from(plain: &str) -> Self {
        plain.to_owned().into()
    }
}

impl From<&String> for Text {
    fn from(plain: &String) -> Self {
        plain.clone().into()
    }
}

/// As a console shows it, code between backticks.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spans = self.0.iter().map(|span| match span {
            Span::Plain(plain) => plain.clone(),
            Span::Code(code) => format!("`{code}`"),
        });
        f.pad(&spans.collect::<String>())
    }
}

/// `text` in one line: every run of whitespace is one space.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most `limit` characters of `text`, with the full length where some are left out.
pub fn shortened(text: &str, limit: usize) -> String {
    let length = text.chars().count();
    if length <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit).collect();
    format!("{kept} … ({} characters in all)", units::count(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_mark_code_in_sentences_and_not_in_data() {
        let code = |code: &str| Span::Code(code.into());
        let plain = |plain: &str| Span::Plain(plain.into());
        assert_eq!(Text::marked("a `b` c").spans(), [plain("a "), code("b"), plain(" c")]);
        assert_eq!(Text::marked("odd ` tick").spans(), [plain("odd ` tick")]);
        assert_eq!(Text::marked("`a` and `b").spans(), [code("a"), plain(" and `b")]);
        assert_eq!(Text::marked("`a``b`").spans(), [code("ab")]);
        assert_eq!(Text::from("a `b`").and(" c").spans(), [plain("a `b` c")]);
        assert_eq!(Text::marked("a `b` c").plain(), "a b c");
        assert_eq!(format!("{:<6}|", Text::from("a ").and(Text::code("b"))), "a `b` |");
    }

    #[test]
    fn a_long_text_says_how_long_it_was() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöü!", 3), "äöü … (4 characters in all)");
    }
}
