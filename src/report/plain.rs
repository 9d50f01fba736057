//! Sections as lines of a console: every part but the drawings.

use crate::console::wrap::{COLUMNS, wrap};
use crate::report::section::{Page, Part, Record, Section};

/// Columns that the lines after the first of an item, and the text of a record, are indented by.
const INDENT: usize = 2;

/// A whole page, in lines of at most [`COLUMNS`].
pub fn page(page: &Page) -> String {
    let mut blocks = vec![wrap(&page.heading, COLUMNS, 0)];
    blocks.extend(page.intro.iter().flat_map(blocks_of));
    blocks.extend(page.sections.iter().flat_map(|section| section_blocks(section, '=')));
    blocks.join("\n\n") + "\n"
}

/// The heading, underlined, and what is below it; nothing where nothing is below it.
fn section_blocks(section: &Section, line: char) -> Vec<String> {
    let parts = section.parts.iter().flat_map(blocks_of);
    let inner = section.inner.iter().flat_map(|inner| section_blocks(inner, '-'));
    let mut blocks: Vec<String> = parts.chain(inner).collect();
    if let Some(first) = blocks.first_mut() {
        *first = format!("{}\n{first}", underlined(&section.title, line));
    }
    blocks
}

fn underlined(title: &str, line: char) -> String {
    let length = title.chars().count().min(COLUMNS);
    format!("{}\n{}", wrap(title, COLUMNS, 0), String::from(line).repeat(length))
}

fn blocks_of(part: &Part) -> Vec<String> {
    match part {
        Part::Heading(text) => vec![underlined(text, '-')],
        Part::Sentence(_, text) => vec![wrap(&text.to_string(), COLUMNS, 0)],
        Part::Table(table) => vec![table.to_text(1).trim_end().to_owned()],
        Part::List(items) => vec![list(items.iter().map(ToString::to_string))],
        Part::Tiles(tiles) => vec![list(tiles.iter().map(|tile| {
            let lines: String = tile.lines.iter().map(|line| format!(", {line}")).collect();
            format!("{}: {}{lines}", tile.name, tile.value)
        }))],
        Part::Key(_) | Part::Charts(_) => vec![],
        Part::Record(one) => vec![record(one)],
        Part::Answers(answers) => answers.sample.iter().map(|(_, sample)| record(sample)).collect(),
        Part::Code(code) => vec![code.text.trim_end().to_owned()],
        Part::Details { summary, parts } => std::iter::once(underlined(summary, '-'))
            .chain(parts.iter().flat_map(blocks_of))
            .collect(),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> =
        items.map(|item| wrap(&format!("- {item}"), COLUMNS, INDENT)).collect();
    items.join("\n")
}

fn record(record: &Record) -> String {
    let mut lines = vec![record.title.clone()];
    for (name, text) in &record.entries {
        lines.push(wrap(&format!("{name}: {text}"), COLUMNS, INDENT));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::section::Tile;
    use crate::report::table::Table;
    use crate::report::text::Text;

    #[test]
    fn every_part_but_the_drawings_is_there_in_lines_of_80_columns() {
        let mut table = Table::new(["name", "n"]);
        table.push(["a cell", "12"]);
        let tile = Tile { name: "users".into(), value: "3".into(), lines: vec!["more".into()] };
        let long = "word ".repeat(40);
        let mut outer = Section::new(
            "a",
            "Outer",
            vec![
                Part::note(Text::marked(&format!("{long}`key`"))),
                Part::Table(table),
                Part::Tiles(vec![tile]),
                Part::List(vec![long.as_str().into()]),
                Part::Charts(vec![]),
                Part::Details { summary: "More".into(), parts: vec![Part::reading("inside")] },
            ],
        );
        outer.add(Section::new("b", "Inner", vec![Part::lead("a lead")]));
        outer.add(Section::new("c", "Nothing", vec![]));
        let page = Page { heading: "Page".into(), sections: vec![outer], ..Page::default() };
        let text = super::page(&page);
        for part in [
            "Page\n\nOuter\n=====\nword word",
            "`key`",
            "name    n\na cell  12",
            "- users: 3, more",
            "More\n----",
            "inside",
            "Inner\n-----\na lead",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
        assert!(!text.contains("Nothing"));
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }
}
