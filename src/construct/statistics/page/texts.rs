//! Lengths, duplicates and leakage.

use crate::console::units::{self, counted};
use crate::construct::statistics::Statistics;
use crate::construct::statistics::lengths::{Longer, TEXTS};
use crate::report::cell;
use crate::report::section::{Part, Section};
use crate::report::table::Table;
use crate::report::text::Text;

use super::short_percent;

/// Lengths of texts, and which answer is longer.
pub(super) fn lengths(statistics: &Statistics<'_>) -> Section {
    let lengths = &statistics.lengths;
    let mut parts = Vec::new();
    for (unit, spreads) in [("characters", &lengths.characters), ("words", &lengths.words)] {
        let mut table = Table::new([unit, "min", "5 %", "median", "mean", "95 %", "max"]);
        for (name, one) in TEXTS.iter().zip(spreads) {
            table.push([
                (*name).to_owned(),
                units::count(one.shortest),
                units::count(one.p5),
                units::count(one.median),
                format!("{:.1}", one.mean),
                units::count(one.p95),
                units::count(one.longest),
            ]);
        }
        parts.push(Part::Table(table));
    }
    let blank: Vec<String> = (TEXTS.iter().zip(lengths.blank))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("`{name}` {}", units::count(count)))
        .collect();
    if !blank.is_empty() {
        let sentence = format!("Blank texts: {}.", blank.join(", "));
        parts.push(Part::reading(Text::marked(&sentence)));
    }
    parts.push(Part::heading("Is the preferred answer the longer one?"));
    let mut table =
        Table::new(["by", "answer_w longer (%)", "null (%)", "pairs", "equal", "mean difference"]);
    for Longer { unit, share, ties, mean_difference } in lengths.longer {
        table.push([
            unit.name().to_owned(),
            share.map_or_else(|| cell::NONE.to_owned(), |share| cell::share(&share)),
            "50.00".to_owned(),
            share.map_or_else(|| "0".to_owned(), |share| units::count(share.n)),
            units::count(ties),
            format!("{mean_difference:+.1}"),
        ]);
    }
    parts.push(Part::Table(table));
    parts.push(Part::note(
        "The share is of the pairs whose answers differ in length, with a 95 % interval that draws users. Away from 50 % a model can learn \
         length in place of values: compare a tuned model with the one that always picks the longer answer, whose accuracy this share is.",
    ));
    Section::new("lengths", "Lengths", parts)
}

/// Texts that occur twice.
pub(super) fn duplicates(statistics: &Statistics<'_>) -> Section {
    let duplicates = &statistics.duplicates;
    let mut table = Table::new(["what", "records", "share (%)", "the first"]);
    for found in &duplicates.found {
        let examples = match &found.examples[..] {
            [] => cell::NONE.to_owned(),
            examples => examples.join(", "),
        };
        table.push([
            found.what.to_owned(),
            units::count(found.records),
            short_percent(found.records, duplicates.of),
            examples,
        ]);
    }
    let note = "The null is 0 everywhere, but for questions that several users ask: people ask alike. Nearly and normalised: equal in lower case \
                without punctuation. `p7 = p3`: record p7 repeats p3.";
    let parts = vec![Part::Table(table), Part::note(Text::marked(note))];
    Section::new("duplicates", "Duplicates", parts)
}

/// What splits share; empty where there are fewer than two.
pub(super) fn leakage(statistics: &Statistics<'_>) -> Section {
    let leakage = &statistics.leakage;
    if leakage.pairs.is_empty() {
        return Section::default();
    }
    let mut table = Table::new(["between", "and", "users", "ids", "questions", "normalised"]);
    for pair in &leakage.pairs {
        let [one, other] = pair.between.clone().map(|name| short_name(&name));
        let counts = [pair.users, pair.ids, pair.questions, pair.near_questions];
        table.push([one, other].into_iter().chain(counts.map(units::count)));
    }
    let mut parts = vec![
        Part::Table(table),
        Part::note(
            "Users, ids and questions that stand in both splits, each counted once. The null is 0 for users and ids of splits by user; two people \
             may ask the same question, and splits by record or by country share users.",
        ),
    ];
    if let Some(pair) = leakage.pairs.iter().find(|pair| pair.users > 0) {
        let user = pair.example.clone().unwrap_or_default();
        let sentence = Text::from(format!("{} in two splits, such as ", users(leakage)))
            .and(Text::code(user))
            .and(": figures of the test split are then no figures of unseen people.");
        parts.push(Part::reading(sentence));
    }
    if leakage.whole == Some([0, 0]) {
        parts.push(Part::reading(
            "The splits together have every record of the whole, and no other.",
        ));
    }
    Section::new("leakage", "Leakage between splits", parts)
}

fn users(leakage: &crate::construct::statistics::Leakage) -> String {
    counted(leakage.pairs.iter().map(|pair| pair.users).sum(), "user")
}

/// The name of a file without the folder.
fn short_name(name: &str) -> String {
    name.rsplit(['/', '\\']).next().unwrap_or(name).to_owned()
}
