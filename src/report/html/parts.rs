//! The parts of a section.

use crate::report::html::words::{entries, heading, inline};
use crate::report::html::{answers, table};
use crate::report::labels::Labels;
use crate::report::markup::escape;
use crate::report::section::{Chart, Kind, Part, Symbol, Tile};
use crate::report::text::Text;

/// Parts of a section of rank `rank`.
pub(super) fn parts(parts: &[Part], rank: usize, labels: &mut Labels) -> String {
    parts.iter().map(|one| part(one, rank, labels)).collect()
}

fn part(part: &Part, rank: usize, labels: &mut Labels) -> String {
    match part {
        Part::Heading(text) => {
            labels.below(text);
            heading(rank + 1, text)
        }
        Part::Sentence(kind, text) => paragraph(*kind, text),
        Part::Table(rows) => table::element(rows, &labels.next()),
        Part::List(items) => {
            list("notes", items.iter().map(|item| format!("<li>{}</li>\n", inline(item))))
        }
        Part::Tiles(tiles) => list("tiles", tiles.iter().map(tile)),
        Part::Key(symbols) => list("key", symbols.iter().map(symbol)),
        Part::Charts(charts) if charts.is_empty() => String::new(),
        Part::Charts(charts) => {
            let charts: String = charts.iter().map(figure).collect();
            format!("<div class=\"grid\">\n{charts}</div>\n")
        }
        Part::Record(record) => entries(record, rank, "sample"),
        Part::Answers(all) => answers::element(all, rank),
        Part::Code(code) => {
            let name = escape(&labels.next());
            let text = escape(code.text.trim_end());
            format!("<pre tabindex=\"0\" role=\"region\" aria-label=\"{name}\">{text}</pre>\n")
        }
        Part::Details { summary, parts: inside } => {
            labels.below(summary);
            format!(
                "<details><summary>{}</summary>\n{}</details>\n",
                escape(summary),
                parts(inside, rank + 1, labels)
            )
        }
    }
}

fn paragraph(kind: Kind, text: &Text) -> String {
    let class = match kind {
        Kind::Lead => "lead",
        Kind::Note => "note",
        Kind::Reading => "reading",
        Kind::Missing => "missing",
    };
    format!("<p class=\"{class}\">{}</p>\n", inline(text))
}

fn list(class: &str, items: impl Iterator<Item = String>) -> String {
    format!("<ul class=\"{class}\">\n{}</ul>\n", items.collect::<String>())
}

fn tile(tile: &Tile) -> String {
    let line = |line: &String| format!("<span class=\"range\">{}</span>", escape(line));
    let lines: String = tile.lines.iter().map(line).collect();
    format!(
        "<li><span class=\"what\">{}</span><span class=\"value\">{}</span>{lines}</li>\n",
        escape(&tile.name),
        escape(&tile.value)
    )
}

fn symbol(symbol: &Symbol) -> String {
    format!(
        "<li><svg viewBox=\"0 0 14 14\" aria-hidden=\"true\">{}</svg>{}</li>\n",
        symbol.svg,
        escape(&symbol.name)
    )
}

/// A chart under its caption, with its reading below.
fn figure(chart: &Chart) -> String {
    let unit = match &*chart.unit {
        "" => String::new(),
        unit => format!(" <span class=\"unit\">{}</span>", escape(unit)),
    };
    format!(
        "<figure>\n<figcaption>{}{unit}</figcaption>\n<div class=\"drawing\">\n{}</div>\n{}</figure>\n",
        escape(&chart.caption),
        chart.svg,
        paragraph(Kind::Reading, &chart.reading)
    )
}
