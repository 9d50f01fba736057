//! The shares of groups over several models, as rows, marks and cells: what every table and chart of PAA is made of.

use std::collections::BTreeMap;

use crate::console::units;
use crate::metrics::paa::{Breakdown, JudgedModel, PaaEvaluation, PaaGroup};
use crate::report::cell;
use crate::report::section::{Chart, Part, Symbol};
use crate::report::svg::models;
use crate::report::svg::{Dot, DotRow, Dots};
use crate::report::table::Table;
use crate::report::text::Text;

/// A group in every model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row<'a> {
    /// The group, as the records spell it.
    pub(super) label: &'a str,
    /// In the order of the models; none where a model has no answer of the group.
    pub(super) groups: Vec<Option<&'a PaaGroup>>,
}

/// The groups of `attribute` within `region`, in every model; by label.
pub(super) fn rows_within<'a>(
    evaluation: &'a PaaEvaluation,
    attribute: &str,
    region: &str,
) -> Vec<Row<'a>> {
    let of = |model: &'a JudgedModel| model.result.groups_by_region.get(attribute);
    rows(&evaluation.models.iter().map(of).collect::<Vec<_>>(), region)
}

/// The groups of `breakdowns`, one of each model, under one attribute; by label.
pub(super) fn rows<'a>(breakdowns: &[Option<&'a Breakdown>], attribute: &str) -> Vec<Row<'a>> {
    let mut all: BTreeMap<&str, Vec<Option<&PaaGroup>>> = BTreeMap::new();
    for (model, breakdown) in breakdowns.iter().enumerate() {
        for (label, group) in breakdown.iter().filter_map(|all| all.get(attribute)).flatten() {
            let groups = all.entry(label).or_insert_with(|| vec![None; breakdowns.len()]);
            groups[model] = Some(group);
        }
    }
    all.into_iter().map(|(label, groups)| Row { label, groups }).collect()
}

/// The groups of every model under `attribute`.
pub(super) fn of_all<'a>(evaluation: &'a PaaEvaluation, attribute: &str) -> Vec<Row<'a>> {
    let breakdowns = evaluation.models.iter().map(|model| Some(&model.result.groups));
    rows(&breakdowns.collect::<Vec<_>>(), attribute)
}

/// The names of the models.
pub(super) fn names(evaluation: &PaaEvaluation) -> Vec<&str> {
    evaluation.models.iter().map(|model| &*model.result.name).collect()
}

/// What an answer that does not fit gets: the share of rejected reference answers that the judges accept.
pub(super) fn null(evaluation: &PaaEvaluation) -> Option<f64> {
    let judge = evaluation.calibration.filter(|judge| judge.rejected > 0)?;
    Some(1.0 - judge.specificity())
}

impl Row<'_> {
    fn present(&self) -> impl Iterator<Item = &PaaGroup> {
        self.groups.iter().flatten().copied()
    }

    /// Whether any model has a figure.
    pub(super) fn has_figure(&self) -> bool {
        self.present().any(|group| group.paa.is_some())
    }

    /// The most answers that a model has.
    pub(super) fn n(&self) -> usize {
        self.present().map(|group| group.n).max().unwrap_or(0)
    }

    /// The most users that a model has.
    pub(super) fn users(&self) -> usize {
        self.present().map(|group| group.users).max().unwrap_or(0)
    }

    /// Mean of the models' shares, of those with a figure where there are any.
    pub(super) fn mean(&self) -> f64 {
        let figures: Vec<f64> = self.present().filter_map(|group| Some(group.paa?.value)).collect();
        let shares = match figures.is_empty() {
            true => self.present().map(raw).collect(),
            false => figures,
        };
        shares.iter().sum::<f64>() / shares.len() as f64
    }
}

/// The share of aligned answers, however few there are.
pub(super) fn raw(group: &PaaGroup) -> f64 {
    group.aligned as f64 / group.n as f64
}

/// `61.11 [48.31, 71.26]`, or nothing for a group without a figure.
pub(super) fn cell(group: Option<&PaaGroup>) -> String {
    cell::or_none(group.and_then(|group| group.paa).map(|figure| cell::share(&figure)))
}

/// `1 of 18`, or nothing without an answer.
pub(super) fn count(group: Option<&PaaGroup>) -> String {
    let count =
        |group: &PaaGroup| format!("{} of {}", units::count(group.aligned), units::count(group.n));
    cell::or_none(group.map(count))
}

/// `Kenya: 61.1 % [48.3, 71.3], n 36`; a group without a figure has its count instead.
pub(super) fn described(label: &str, group: &PaaGroup) -> String {
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let n = units::count(group.n);
    let Some(figure) = group.paa else {
        let people = if group.users == 1 { "user" } else { "users" };
        return format!(
            "{label}: {} of {n} answers of {} {people}, too few for a figure",
            units::count(group.aligned),
            group.users
        );
    };
    let ends = figure
        .low
        .zip(figure.high)
        .map_or_else(String::new, |(low, high)| format!(" [{}, {}]", percent(low), percent(high)));
    format!("{label}: {} %{ends}, n {n}", percent(figure.value))
}

fn dot(model: &str, label: &str, group: &PaaGroup) -> Dot {
    let figure = group.paa;
    Dot {
        value: figure.map_or_else(|| raw(group), |figure| figure.value),
        ends: figure.and_then(|figure| Some([figure.low?, figure.high?])),
        is_small: figure.is_none(),
        title: format!("{model}, {}", described(label, group)),
    }
}

/// A dot plot of `rows`, each with its label; none without a row.
pub(super) fn chart(
    caption: &str,
    rows: &[(&str, &Row<'_>)],
    models: &[&str],
    null: Option<f64>,
    reading: Text,
) -> Option<Chart> {
    let row = |(label, row): &(&str, &Row<'_>)| {
        let marks = models.iter().zip(&row.groups);
        DotRow {
            label: (*label).to_owned(),
            n: units::count(row.n()),
            dots: marks.map(|(model, group)| group.map(|g| dot(model, label, g))).collect(),
        }
    };
    let rows = rows.iter().map(row).collect();
    let svg = Dots { title: caption.to_owned(), rows, null }.draw()?;
    Some(Chart { caption: caption.to_owned(), unit: "PAA, %".into(), svg, reading })
}

/// The key of the charts of all models.
pub(super) fn key(models: &[&str], null: Option<f64>) -> Part {
    let mut symbols: Vec<Symbol> = models
        .iter()
        .enumerate()
        .map(|(index, name)| Symbol {
            svg: models::mark(index, false, 7.0, 7.0),
            name: (*name).to_owned(),
        })
        .collect();
    symbols.push(Symbol {
        svg: models::mark(0, true, 7.0, 7.0),
        name: "open mark: too few answers or users for a figure".into(),
    });
    if let Some(null) = null {
        symbols.push(Symbol {
            svg: "<line x1=\"7\" y1=\"0\" x2=\"7\" y2=\"14\" class=\"null\"/>".into(),
            name: format!(
                "null: the judge accepts {:.1} % of answers that go against the preferences",
                100.0 * null
            ),
        });
    }
    Part::Key(symbols)
}

/// A table of `rows` after the columns `first`, with a column for each model.
pub(super) fn table<'a>(
    first: &[&str],
    models: &[&str],
    rows: impl IntoIterator<Item = (Vec<Text>, &'a Row<'a>)>,
    print: fn(Option<&PaaGroup>) -> String,
) -> Table {
    let unit = |model: &&str| format!("{model} (%)");
    let header = first.iter().map(|name| (*name).to_owned()).chain(models.iter().map(unit));
    let mut table = Table::new(header);
    for (cells, row) in rows {
        let shares = row.groups.iter().map(|group| Text::from(print(*group)));
        table.push(cells.into_iter().chain(shares));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::judged::sample::{MODELS, judged_folder};

    #[test]
    fn a_group_without_a_figure_is_a_count_and_an_open_mark() {
        let folder = judged_folder();
        let rows = of_all(&folder.evaluation, "country");
        let (large, small): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.has_figure());
        assert!((large.len(), small.len()) == (25, 50), "{} and {}", large.len(), small.len());
        let Some(group) = small[0].groups[0] else { panic!("{:?}", small[0]) };
        assert!(cell(Some(group)) == "-" && count(Some(group)).contains(" of "));
        assert!(described("X", group).ends_with("too few for a figure"));
        let dot = dot(MODELS[0], "X", group);
        assert!(dot.is_small && dot.ends.is_none());
        assert!(large[0].mean() <= 1.0 && large[0].n() == 18 && large[0].users() == 6);
    }
}
