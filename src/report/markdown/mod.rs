//! Sections as Markdown: every part but the drawings; of the answers a sample.

mod escape;

use crate::console::units;
use crate::report::section::{Answers, Page, Part, Record, Section, Tile};
use crate::report::table::Table;
use crate::report::text::Text;

use escape::line;

/// A whole page.
pub fn page(page: &Page) -> String {
    let mut blocks = vec![heading(1, &page.heading)];
    blocks.extend(page.intro.iter().flat_map(|part| blocks_of(part, 1)));
    blocks.extend(page.sections.iter().flat_map(|section| section_blocks(section, 2)));
    blocks.join("\n")
}

/// The heading and what is below it; nothing where nothing is below it.
fn section_blocks(section: &Section, rank: usize) -> Vec<String> {
    let parts = section.parts.iter().flat_map(|part| blocks_of(part, rank));
    let inner = section.inner.iter().flat_map(|inner| section_blocks(inner, rank + 1));
    let mut blocks: Vec<String> = parts.chain(inner).collect();
    if !blocks.is_empty() {
        blocks.insert(0, heading(rank, &section.title));
    }
    blocks
}

/// The blocks of a part of a section of rank `rank`, each with a line break at its end.
fn blocks_of(part: &Part, rank: usize) -> Vec<String> {
    match part {
        Part::Heading(text) => vec![heading(rank + 1, text)],
        Part::Sentence(_, text) => vec![format!("{}\n", line(text))],
        Part::Table(table) => vec![rows(table)],
        Part::List(items) => vec![list(items)],
        Part::Tiles(tiles) => vec![list(&tiles.iter().map(tile).collect::<Vec<_>>())],
        Part::Key(_) | Part::Charts(_) => vec![],
        Part::Record(record) => entries(record, rank),
        Part::Answers(answers) => sample(answers, rank),
        Part::Code(code) => vec![escape::fenced(code.language, &code.text)],
        Part::Details { summary, parts } => {
            let inside = parts.iter().flat_map(|part| blocks_of(part, rank + 1));
            std::iter::once(heading(rank + 1, summary)).chain(inside).collect()
        }
    }
}

/// Markdown has six ranks.
fn heading(rank: usize, text: &str) -> String {
    format!("{} {}\n", "#".repeat(rank.min(6)), line(&text.into()))
}

fn rows(table: &Table) -> String {
    let row = |cells: &[Text]| {
        let cells: Vec<String> = cells.iter().map(escape::cell).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("|{}\n", "---|".repeat(table.header().len()));
    let rows = table.rows().iter().map(|one| row(&one.cells));
    [row(table.header()), rule].into_iter().chain(rows).collect()
}

fn list(items: &[Text]) -> String {
    items.iter().map(|item| format!("- {}\n", line(item))).collect()
}

fn tile(tile: &Tile) -> Text {
    let lines: String = tile.lines.iter().map(|line| format!(", {line}")).collect();
    format!("{}: {}{lines}", tile.name, tile.value).into()
}

/// The sample of a set's answers, and where all are.
fn sample(answers: &Answers, rank: usize) -> Vec<String> {
    let (shown, all) = (answers.sample.len(), units::count(answers.total));
    let sentence = Text::from(format!("{shown} of {all} {}, evenly spaced; ", answers.noun))
        .and(Text::code(&answers.file))
        .and(" in the run folder has all.");
    let records = answers.sample.iter().flat_map(|(_, record)| entries(record, rank));
    std::iter::once(format!("{}\n", line(&sentence))).chain(records).collect()
}

fn entries(record: &Record, rank: usize) -> Vec<String> {
    let mut blocks = vec![heading(rank + 1, &record.title)];
    for (name, text) in &record.entries {
        blocks.push(format!("{}:\n", line(&name.into())));
        blocks.push(escape::fenced("text", text));
    }
    blocks
}
