//! Tables as CSV after RFC 4180: inside a link, so that the page stays one file, and as files.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::report::cell;
use crate::report::labels::Labels;
use crate::report::printed::Figure;
use crate::report::section::{Page, Part, Section};
use crate::report::table::Table;

/// Every table of `page` as a file: its name, as a browser saves it from the page, and its bytes.
pub(in crate::report) fn files(page: &Page) -> Vec<(String, Vec<u8>)> {
    let (mut labels, mut files) = (Labels::new(&page.heading), Vec::new());
    of_parts(&page.intro, &mut labels, &mut files);
    page.sections.iter().for_each(|section| of_section(section, &mut labels, &mut files));
    files
}

fn of_section(section: &Section, labels: &mut Labels, files: &mut Vec<(String, Vec<u8>)>) {
    if section.is_empty() {
        return;
    }
    let outer = labels.enter(&section.title, !section.inner.is_empty());
    of_parts(&section.parts, labels, files);
    section.inner.iter().for_each(|inner| of_section(inner, labels, files));
    labels.leave(outer);
}

fn of_parts(parts: &[Part], labels: &mut Labels, files: &mut Vec<(String, Vec<u8>)>) {
    for part in parts {
        match part {
            Part::Heading(text) => labels.below(text),
            Part::Table(table) => files.push((file_name(&labels.next()), text(table).into_bytes())),
            Part::Code(_) => drop(labels.next()),
            Part::Details { summary, parts } => {
                labels.below(summary);
                of_parts(parts, labels, files);
            }
            _ => {}
        }
    }
}

/// The address of a link to `table`.
pub(in crate::report) fn address(table: &Table) -> String {
    format!("data:text/csv;charset=utf-8,{}", percent_encoded(&text(table)))
}

/// The name of the file that a browser saves: letters, digits and hyphens of `label`.
pub(in crate::report) fn file_name(label: &str) -> String {
    let words = label.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!("{}.csv", words.join("-"))
}

/// A figure has a column for each of its numbers, as plain digits; what has no figure is empty.
fn text(table: &Table) -> String {
    let suffixes: Vec<Vec<&str>> =
        (0..table.header().len()).map(|column| suffixes(table, column)).collect();
    let header = table.header().iter().zip(&suffixes).flat_map(|(name, suffixes)| {
        let name = name.plain();
        let more: Vec<String> = suffixes.iter().map(|suffix| format!("{name} {suffix}")).collect();
        std::iter::once(name).chain(more)
    });
    let mut text = line(header);
    for row in table.rows() {
        let cells = row.cells.iter().zip(&suffixes).flat_map(|(cell, suffixes)| {
            let printed = cell.plain();
            let figure = Figure::of(&printed);
            let value = match &figure {
                Some(figure) => figure.value().to_owned(),
                None if printed == cell::NONE => String::new(),
                None => printed,
            };
            let more: Vec<String> =
                suffixes.iter().map(|suffix| of(figure.as_ref(), suffix)).collect();
            std::iter::once(value).chain(more)
        });
        text += &line(cells);
    }
    text
}

/// What the figures of a column have besides their value.
fn suffixes(table: &Table, column: usize) -> Vec<&'static str> {
    let figures = table.rows().iter().filter_map(|row| Figure::of(&row.cells[column].plain()));
    let all: BTreeSet<&str> = figures.flat_map(|figure| figure.suffixes().to_vec()).collect();
    ["low", "high", "sd"].into_iter().filter(|suffix| all.contains(suffix)).collect()
}

/// The number of `figure` that `suffix` names; empty without one.
fn of(figure: Option<&Figure>, suffix: &str) -> String {
    let number = figure.and_then(|figure| {
        let place = figure.suffixes().iter().position(|one| *one == suffix)?;
        figure.numbers().get(place + 1).cloned()
    });
    number.unwrap_or_default()
}

fn line(fields: impl IntoIterator<Item = String>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|text| field(&text)).collect();
    fields.join(",") + "\r\n"
}

/// A field. What a spreadsheet would run as a formula gets an apostrophe before it; a number is none.
fn field(text: &str) -> String {
    let is_formula =
        text.starts_with(['=', '+', '-', '@', '\t', '\r']) && Figure::of(text).is_none();
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(2 * text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text::Text;

    #[test]
    fn figures_are_plain_digits_and_text_is_quoted_and_never_a_formula() {
        let mut table = Table::new(["=group", "n", "OPA"]);
        table.push(["a, \"b\"\nc", "1,234", "48.21 [46.10, 50.30]"]);
        table.push(["=HYPERLINK(1)", "-5", "-"]);
        table.push(["+x", "+6", "60.00 ± 10.00"]);
        assert_eq!(
            text(&table),
            "'=group,n,OPA,OPA low,OPA high,OPA sd\r\n\
             \"a, \"\"b\"\"\nc\",1234,48.21,46.10,50.30,\r\n\
             '=HYPERLINK(1),-5,,,,\r\n\
             '+x,6,60.00,,,10.00\r\n"
        );
        assert_eq!(file_name("MVP_test: figures (2)"), "MVP_test-figures-2.csv");
    }

    #[test]
    fn an_interval_beside_words_has_columns_of_its_own_and_code_has_no_marks() {
        let mut table = Table::new([Text::marked("`key`"), "after".into()]);
        table.push([Text::code("lora.rank"), "51.2 [40.1, 60.3]".into()]);
        table.push(["widest", "gender"]);
        let expected =
            "key,after,after low,after high\r\nlora.rank,51.2,40.1,60.3\r\nwidest,gender,,\r\n";
        assert_eq!(text(&table), expected);
    }

    #[test]
    fn an_address_holds_no_character_that_html_or_a_browser_reads_as_more() {
        let mut table = Table::new(["a\"<&#?ä//"]);
        table.push(["1"]);
        let address = address(&table);
        assert!(
            address.starts_with("data:text/csv;charset=utf-8,a%22%22%3C%26%23%3F%C3%A4%2F%2F")
                || address.contains("%22a%22%22%3C%26%23%3F%C3%A4%2F%2F%22%0D%0A1%0D%0A"),
            "{address}"
        );
    }
}
