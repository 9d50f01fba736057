//! The parts of `report.html`: each takes what was read of a run and gives a section, or an empty text where it has nothing to say.

pub mod about;
pub mod answers;
pub mod axes;
pub mod compare;
pub mod curves;
pub mod groups;
pub mod margins;
pub mod sets;
pub mod tiles;

use crate::report::markup::{escape, paragraph, with_code};
use crate::report::table::Table;

const STYLE: &str = include_str!("style.css");

/// A whole page: no request leaves it, and it is well-formed XML too.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"generator\" content=\"mvpbench {}\"/>\n<link rel=\"icon\" href=\"data:,\"/>\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        escape(title)
    )
}

/// A chart under its caption, with a sentence that says what to see in it.
pub fn figure(caption: &str, unit: &str, svg: &str, reading: &str) -> String {
    let unit = if unit.is_empty() {
        String::new()
    } else {
        format!(" <span class=\"unit\">{}</span>", escape(unit))
    };
    format!(
        "<figure>\n<figcaption>{}{unit}</figcaption>\n<div class=\"drawing\">\n{svg}</div>\n{}</figure>\n",
        escape(caption),
        paragraph("reading", reading)
    )
}

/// A table; columns that hold numbers are aligned at their ends. `class` gives a row's class by its first cell.
pub fn table(table: &Table, class: impl Fn(&str) -> &'static str) -> String {
    let numeric: Vec<bool> = (0..table.header().len())
        .map(|column| table.rows().iter().all(|row| is_number(&row[column])))
        .collect();
    let cells = |row: &[String], tag: &str| -> String {
        let cell = |(cell, is_number): (&String, &bool)| {
            let class = if *is_number { " class=\"number\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", with_code(cell))
        };
        row.iter().zip(&numeric).map(cell).collect()
    };
    let rows: String = table
        .rows()
        .iter()
        .map(|row| format!("<tr class=\"{}\">{}</tr>\n", class(&row[0]), cells(row, "td")))
        .collect();
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        cells(table.header(), "th")
    )
}

/// Whether a cell is a number with its interval, or nothing.
fn is_number(cell: &str) -> bool {
    cell.chars().all(|letter| letter.is_ascii_digit() || " +-.,/[]±%".contains(letter))
}

/// A section; empty where `body` is.
pub fn section(id: &str, title: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    format!("<section id=\"{}\">\n<h2>{}</h2>\n{body}</section>\n", escape(id), escape(title))
}

/// Figures side by side where there is room.
pub fn grid(figures: &[String]) -> String {
    let figures = figures.concat();
    if figures.is_empty() { figures } else { format!("<div class=\"grid\">\n{figures}</div>\n") }
}

/// Items of a list, none for none.
pub fn list(class: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: String =
        items.iter().map(|item| format!("<li>{}</li>\n", with_code(item))).collect();
    format!("<ul class=\"{class}\">\n{items}</ul>\n")
}
