//! Sections as one HTML file that requests nothing. It is well-formed XML too.

use crate::report::markup::escape;
use crate::report::section::{Chart, Kind, Page, Part, Record, Section, Symbol, Tile};
use crate::report::svg::style;
use crate::report::table::{RowKind, Table};
use crate::report::text::{Span, Text};

/// The style sheet of the page; that of its drawings is [`style::css`].
const STYLE: &str = include_str!("style.css");

/// A whole page.
pub fn page(page: &Page) -> String {
    let sections: String = page.sections.iter().map(|one| section(one, 2)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"generator\" content=\"mvpbench {version}\"/>\n<link rel=\"icon\" href=\"data:,\"/>\n\
         <title>{title}</title>\n<style>\n{drawings}{STYLE}</style>\n</head>\n<body>\n\
         <header>\n{heading}{intro}</header>\n<main>\n{sections}</main>\n</body>\n</html>\n",
        drawings = style::css(),
        version = env!("CARGO_PKG_VERSION"),
        title = escape(&page.title),
        heading = heading(1, &page.heading),
        intro = parts(&page.intro, 1),
    )
}

/// A section with a heading of rank `rank`; empty where there is nothing to show.
fn section(shown: &Section, rank: usize) -> String {
    if shown.is_empty() {
        return String::new();
    }
    let inner: String = shown.inner.iter().map(|inner| section(inner, rank + 1)).collect();
    format!(
        "<section id=\"{}\">\n{}{}{inner}</section>\n",
        escape(&shown.id),
        heading(rank, &shown.title),
        parts(&shown.parts, rank)
    )
}

fn parts(parts: &[Part], rank: usize) -> String {
    parts.iter().map(|one| part(one, rank)).collect()
}

/// A part of a section of rank `rank`.
fn part(part: &Part, rank: usize) -> String {
    match part {
        Part::Heading(text) => heading(rank + 1, text),
        Part::Sentence(kind, text) => paragraph(*kind, text),
        Part::Table(table) => rows(table),
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
        Part::Record(record) => entries(record, rank),
        Part::Code(code) => format!("<pre>{}</pre>\n", escape(code.text.trim_end())),
        Part::Details { summary, parts: inside } => format!(
            "<details><summary>{}</summary>\n{}</details>\n",
            escape(summary),
            parts(inside, rank + 1)
        ),
    }
}

/// HTML has six ranks.
fn heading(rank: usize, text: &str) -> String {
    let rank = rank.min(6);
    format!("<h{rank}>{}</h{rank}>\n", escape(text))
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

fn inline(text: &Text) -> String {
    let span = |span: &Span| match span {
        Span::Plain(plain) => escape(plain),
        Span::Code(code) => format!("<code>{}</code>", escape(code)),
    };
    text.spans().iter().map(span).collect()
}

/// A table; a column of numbers is aligned at their ends.
fn rows(table: &Table) -> String {
    let is_number = |column: usize| table.rows().iter().all(|row| is_number(&row.cells[column]));
    let numeric: Vec<bool> = (0..table.header().len()).map(is_number).collect();
    let cells = |row: &[Text], tag: &str| -> String {
        let cell = |(cell, is_number): (&Text, &bool)| {
            let class = if *is_number { " class=\"number\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", inline(cell))
        };
        row.iter().zip(&numeric).map(cell).collect()
    };
    let class = |kind: RowKind| match kind {
        RowKind::Plain => "",
        RowKind::Own => " class=\"own\"",
        RowKind::Paper => " class=\"paper\"",
    };
    let row = |row: &crate::report::table::Row| {
        format!("<tr{}>{}</tr>\n", class(row.kind), cells(&row.cells, "td"))
    };
    let rows: String = table.rows().iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        cells(table.header(), "th")
    )
}

/// Whether a cell is a number, with its interval or without, or empty.
fn is_number(cell: &Text) -> bool {
    let is_part = |letter: char| letter.is_ascii_digit() || " +-.,/[]±%".contains(letter);
    cell.to_string().chars().all(is_part)
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

fn entries(record: &Record, rank: usize) -> String {
    let entry = |(name, text): &(String, String)| {
        format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(text))
    };
    let entries: String = record.entries.iter().map(entry).collect();
    format!("<div class=\"sample\">{}<dl>{entries}</dl></div>\n", heading(rank + 1, &record.title))
}
