//! A table in a box that scrolls where the window is narrow, with its CSV.

use crate::report::csv;
use crate::report::html::words::inline;
use crate::report::markup::escape;
use crate::report::printed::{Figure, numeric};
use crate::report::table::{Row, RowKind, Table};
use crate::report::text::Text;

/// Rows from which on a table can be sorted.
const SORTED_FROM: usize = 3;

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
    let printed = text.to_string();
    let class = if is_number { " class=\"number\"" } else { "" };
    let value = Figure::of(&printed)
        .map_or_else(String::new, |figure| format!(" data-value=\"{}\"", figure.value()));
    let content = match printed.split_once(" [") {
        Some((number, ends)) if is_number => {
            format!("{} <span class=\"bounds\">[{}</span>", escape(number), escape(ends))
        }
        _ => inline(text),
    };
    format!("<td{class}{value}>{content}</td>")
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
}
