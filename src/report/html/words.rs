//! Headings, lines and records, of which everything else is made.

use crate::report::markup::escape;
use crate::report::section::Record;
use crate::report::text::{Span, Text};

/// HTML has six ranks.
pub(super) fn heading(rank: usize, text: &str) -> String {
    let rank = rank.min(6);
    format!("<h{rank}>{}</h{rank}>\n", escape(text))
}

/// Words and code of a line.
pub(super) fn inline(text: &Text) -> String {
    let span = |span: &Span| match span {
        Span::Plain(plain) => escape(plain),
        Span::Code(code) => format!("<code>{}</code>", escape(code)),
    };
    text.spans().iter().map(span).collect()
}

/// Texts under their names, below a heading of rank `rank + 1`.
pub(super) fn entries(record: &Record, rank: usize, class: &str) -> String {
    let entry = |(name, text): &(String, String)| {
        format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(text))
    };
    let entries: String = record.entries.iter().map(entry).collect();
    format!("<div class=\"{class}\">{}<dl>{entries}</dl></div>\n", heading(rank + 1, &record.title))
}
