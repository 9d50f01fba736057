//! A table in a box that scrolls where the window is narrow, with its CSV.

use crate::report::csv;
use crate::report::html::words::inline;
use crate::report::markup::escape;
use crate::report::printed::{Figure, numeric};
use crate::report::table::{Row, RowKind, Table};
use crate::report::text::{Span, Text};

/// Rows from which on a table can be sorted.
const SORTED_FROM: usize = 3;

/// Letters in a row from which on a word, such as a digest, is broken anywhere rather than widening its column.
const LONG: usize = 24;

/// The table called `label`; a column of numbers is aligned at their ends.
pub(super) fn element(table: &Table, label: &str) -> String {
    let numeric = numeric(table);
    let heads = table.header().iter().zip(&numeric);
    let heads: String = heads
        .map(|(name, is_number)| {
            let class = if *is_number { " class=\"number\"" } else { "" };
            format!("<th scope=\"col\"{class}>{}</th>", inline(name))
        })
        .collect();
    let rows: String = table.rows().iter().map(|one| row(one, &numeric)).collect();
    let is_sorted = table.rows().len() >= SORTED_FROM && numeric.contains(&true);
    let class = if is_sorted { " class=\"sorted\"" } else { "" };
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\"><table{class}>\n\
         <thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n\
         <div class=\"csv\"><a download=\"{file}\" href=\"{address}\" aria-label=\"CSV: {name}\">CSV</a></div>\n",
        name = escape(label),
        file = escape(&csv::file_name(label)),
        address = csv::address(table),
    )
}

fn row(row: &Row, numeric: &[bool]) -> String {
    let class = match row.kind {
        RowKind::Plain => "",
        RowKind::Own => " class=\"own\"",
        RowKind::Paper => " class=\"paper\"",
    };
    let cells = row.cells.iter().zip(numeric);
    let cells: String = cells.map(|(text, is_number)| cell(text, *is_number)).collect();
    format!("<tr{class}>{cells}</tr>\n")
}

/// A cell; a figure has its value for sorting, and its interval in one piece, so that a line breaks before it and not inside.
fn cell(text: &Text, is_number: bool) -> String {
    let printed = text.plain();
    let is_long =
        printed.split_whitespace().any(|word| pieces(word).any(|piece| piece.len() > LONG));
    let class = match (is_number, is_long) {
        (true, _) => " class=\"number\"",
        (false, true) => " class=\"long\"",
        (false, false) => "",
    };
    let figure = Figure::of(&printed);
    let value = figure
        .as_ref()
        .map_or_else(String::new, |figure| format!(" data-value=\"{}\"", figure.value()));
    let content = match (figure, printed.split_once(" [")) {
        (Some(_), Some((number, ends))) => {
            format!("{} <span class=\"bounds\">[{}</span>", escape(number), escape(ends))
        }
        (Some(_), None) => inline(text),
        (None, _) => with_breaks(text),
    };
    format!("<td{class}{value}>{content}</td>")
}

/// The text with a place for a line break after the joints of a name, such as `_`: a narrow window breaks it there and not inside
/// a word.
fn with_breaks(text: &Text) -> String {
    let break_up = |text: &str| pieces(text).map(escape).collect::<Vec<_>>().join("<wbr/>");
    let span = |span: &Span| match span {
        Span::Plain(plain) => break_up(plain),
        Span::Code(code) => format!("<code>{}</code>", break_up(code)),
    };
    text.spans().iter().map(span).collect()
}

/// `text` cut after each `_`, `/` and `.` between two letters.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let joint = |(at, letter): (usize, char)| {
        let [before, after] = [text[..at].chars().next_back(), text[at + 1..].chars().next()];
        let is_inside = [before, after].iter().all(|side| side.is_some_and(char::is_alphabetic));
        is_inside.then_some(at + letter.len_utf8())
    };
    let joints = text.char_indices().filter(|(_, letter)| ['_', '/', '.'].contains(letter));
    let mut ends: Vec<usize> = joints.filter_map(joint).collect();
    ends.push(text.len());
    let mut start = 0;
    ends.into_iter().map(move |end| &text[std::mem::replace(&mut start, end)..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_name_its_csv_and_the_values_that_it_is_sorted_by() {
        let mut table = Table::new(["group", "OPA"]);
        for figure in ["1,048.21 [46.10, 50.30]", "-", "7"] {
            table.push(["a", figure]);
        }
        let html = element(&table, "x & y");
        for part in [
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"x &amp; y\"><table class=\"sorted\">",
            "<th scope=\"col\">group</th><th scope=\"col\" class=\"number\">OPA</th>",
            "<td class=\"number\" data-value=\"1048.21\">1,048.21 <span class=\"bounds\">[46.10, 50.30]</span></td>",
            "<td class=\"number\">-</td>",
            "<a download=\"x-y.csv\" href=\"data:text/csv;charset=utf-8,group%2COPA%2COPA%20low",
        ] {
            assert!(html.contains(part), "`{part}` is not in\n{html}");
        }
    }

    #[test]
    fn a_name_breaks_at_its_joints_and_a_digest_anywhere() {
        let shown = |text: Text| cell(&text, false);
        assert_eq!(
            shown("opa_margin (%), 1.5 a.b".into()),
            "<td>opa_<wbr/>margin (%), 1.5 a.<wbr/>b</td>"
        );
        assert_eq!(shown(Text::code("lora.rank")), "<td><code>lora.<wbr/>rank</code></td>");
        let digest = "0123456789abcdef".repeat(4);
        assert_eq!(shown((&digest).into()), format!("<td class=\"long\">{digest}</td>"));
        assert!(shown("a widest gap, 5.0 [4.1, 6.3]".into()).starts_with("<td>a"));
    }
}
