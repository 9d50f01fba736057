//! The statistics of a benchmark as a page: tables, sentences and the map, each written once for every output.

mod people;
mod texts;

use super::Statistics;
use crate::console::units::{self, counted};
use crate::data::groups::DIMENSIONS;
use crate::report::cell::percent;
use crate::report::section::{Page, Part, Section, Tile};
use crate::report::table::Table;
use crate::report::text::Text;

/// The page; `title`: what the user calls the benchmark.
pub(super) fn page(statistics: &Statistics<'_>, title: &str) -> Page {
    let cautions = cautions(statistics);
    let mut intro = vec![Part::Tiles(tiles(statistics))];
    if !cautions.is_empty() {
        intro.push(Part::List(cautions));
    }
    Page {
        title: format!("{title}: statistics of a benchmark"),
        heading: format!("Statistics of {title}"),
        intro,
        sections: vec![
            files(statistics),
            people::countries(statistics),
            people::demographics(statistics),
            dimensions(statistics),
            texts::lengths(statistics),
            texts::duplicates(statistics),
            texts::leakage(statistics),
            missing(statistics),
        ],
    }
}

/// A share in percent with one digit: `47.3`.
fn short_percent(part: usize, whole: usize) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1}", 100.0 * part as f64 / whole as f64) }
}

fn tiles(statistics: &Statistics<'_>) -> Vec<Tile> {
    let Statistics { benchmark, people, lengths, leakage, .. } = statistics;
    let tile = |name: &str, value: String, lines: Vec<String>| Tile {
        name: name.to_owned(),
        value,
        lines,
    };
    let [fewest, middle, most] = people.records_each;
    let mut tiles = vec![
        tile("instances", units::count(benchmark.records().len()), vec![]),
        tile(
            "users",
            units::count(people.users),
            vec![format!("{fewest} to {most} records each, median {middle}")],
        ),
        tile("countries of birth", units::count(people.countries), vec!["PRISM has 74".into()]),
    ];
    let [characters, _] = lengths.longer;
    if let Some(share) = characters.share {
        let interval = match (share.low, share.high) {
            (Some(low), Some(high)) => format!("[{}, {}], ", percent(low), percent(high)),
            _ => String::new(),
        };
        tiles.push(tile(
            "preferred answer is longer",
            format!("{} %", percent(share.value)),
            vec![format!("{interval}null 50 %")],
        ));
    }
    if !leakage.pairs.is_empty() {
        let users: usize = leakage.pairs.iter().map(|pair| pair.users).sum();
        tiles.push(tile("users in two splits", units::count(users), vec!["null 0".into()]));
    }
    tiles
}

/// What to know before the figures, a sentence each.
fn cautions(statistics: &Statistics<'_>) -> Vec<Text> {
    let Statistics { benchmark, people, dimensions, leakage, .. } = statistics;
    let mut all: Vec<String> = benchmark.absent.clone();
    if people.without_user > 0 {
        all.push(format!(
            "{} without `user_id`: nobody's, so left out of users, countries and demographics.",
            counted(people.without_user, "record")
        ));
    }
    for file in benchmark.files.iter().filter(|file| file.is_counted) {
        if let Some(unread) = &file.entries.unread {
            all.push(format!(
                "{}: fields that are no record's of a benchmark: {unread}.",
                file.name
            ));
        }
    }
    if dimensions.disagreeing > 0 {
        all.push(format!(
            "`preference` and `stated_prefs` disagree in {} of {}.",
            units::count(dimensions.disagreeing),
            counted(dimensions.compared, "record")
        ));
    }
    let unknown = people.unknown();
    if !unknown.is_empty() {
        let named: Vec<String> = unknown
            .iter()
            .take(8)
            .map(|(field, answer)| format!("`{}` of `{field}`", answer.label))
            .collect();
        let more = match unknown.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        all.push(format!("Answers that PRISM's survey has not: {}{more}.", named.join(", ")));
    }
    if let Some([left, foreign]) = leakage.whole.filter(|counts| *counts != [0, 0]) {
        all.push(format!(
            "The splits are not the whole: {} in no split, {} of the splits not in the whole.",
            counted(left, "record"),
            counted(foreign, "record")
        ));
    }
    all.iter().map(|sentence| Text::marked(sentence)).collect()
}

fn files(statistics: &Statistics<'_>) -> Section {
    let mut table = Table::new(["file", "records", "manifest", "SHA-256"]);
    for file in &statistics.benchmark.files {
        table.push([
            file.name.clone(),
            units::count(file.entries.records.len()),
            if file.is_in_manifest { "agrees" } else { "none" }.to_owned(),
            file.sha256.chars().take(16).collect(),
        ]);
    }
    let mut parts = vec![Part::Table(table)];
    if statistics.benchmark.files.iter().any(|file| !file.is_counted) {
        parts.push(Part::note(
            "Everything below is of the file with all records; its splits are read for what they share.",
        ));
    }
    Section::new("files", "Files", parts)
}

fn dimensions(statistics: &Statistics<'_>) -> Section {
    let dimensions = &statistics.dimensions;
    let mut table =
        Table::new(["dimension", "High", "Low", "no label", "rated High", "rated Low", "disagree"]);
    for (name, one) in DIMENSIONS.iter().zip(&dimensions.each) {
        let counts =
            [one.high, one.low, one.unlabelled, one.stated_high, one.stated_low, one.disagreeing];
        table.push(std::iter::once((*name).to_owned()).chain(counts.map(units::count)));
    }
    let mut parts = vec![
        Part::Table(table),
        Part::note(Text::marked(
            "Records. High and Low: labels in `preference`. Rated: `stated_prefs` of 80 or more is High, of 60 or less Low, and between them no \
             label, as the paper maps ratings. Disagree: records with both fields that do not say the same of the dimension; the null is 0, since \
             one follows from the other.",
        )),
    ];
    if dimensions.disagreeing > 0 {
        let example = |(id, what): &(String, String)| Text::code(id).and(format!(": {what}"));
        parts.push(Part::heading("Records whose two fields disagree, the first"));
        parts.push(Part::List(dimensions.examples.iter().map(example).collect()));
    }
    if !dimensions.unknown.is_empty() {
        let named: Vec<String> = (dimensions.unknown.iter().take(10))
            .map(|(part, count)| format!("`{part}` ({})", units::count(*count)))
            .collect();
        let more = match dimensions.unknown.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        parts.push(Part::reading(Text::marked(&format!(
            "Parts of `preference` that are no High or Low of a dimension, with their records: {}{more}.",
            named.join(", ")
        ))));
    }
    Section::new("dimensions", "Value dimensions", parts)
}

fn missing(statistics: &Statistics<'_>) -> Section {
    let missing = statistics.benchmark.missing();
    let records = statistics.benchmark.records().len();
    if missing.is_empty() {
        let parts = vec![Part::reading("No record lacks a field.")];
        return Section::new("missing", "Missing fields", parts);
    }
    let mut table = Table::new(["field", "records without", "share (%)"]);
    for (field, count) in missing {
        table.push([
            Text::code(field),
            units::count(count).into(),
            short_percent(count, records).into(),
        ]);
    }
    let note = "Empty texts count as missing. PRISM itself leaves self descriptions and system strings empty where somebody gave none.";
    Section::new("missing", "Missing fields", vec![Part::Table(table), Part::note(note)])
}
