//! The attributes other than country and region, over all countries.

use std::collections::BTreeSet;

use crate::console::units;
use crate::metrics::groups::ATTRIBUTES;
use crate::metrics::paa::PaaEvaluation;
use crate::report::section::{Part, Section};
use crate::report::sections::attributes::attribute_title;
use crate::report::sections::paa::shares::{self, Row};
use crate::report::text::Text;

/// A dot plot of every attribute and all groups in numbers; empty without one. Folded.
pub(super) fn section(evaluation: &PaaEvaluation) -> Section {
    let (names, null) = (shares::names(evaluation), shares::null(evaluation));
    let (mut charts, mut all) = (Vec::new(), Vec::new());
    for attribute in attributes(evaluation) {
        let rows = shares::of_all(evaluation, attribute);
        let labelled: Vec<(&str, &Row<'_>)> = rows.iter().map(|row| (row.label, row)).collect();
        let caption = attribute_title(attribute);
        charts.extend(shares::chart(&caption, &labelled, &names, null, Text::default()));
        all.extend(rows.into_iter().map(|row| (attribute, row)));
    }
    if all.is_empty() {
        return Section::default();
    }
    let cells = |attribute: &str, row: &Row<'_>| {
        let n = [row.n(), row.users()].map(units::count);
        let group = [attribute_title(attribute), row.label.to_owned()];
        group.into_iter().chain(n).map(Text::from).collect()
    };
    let first = ["attribute", "group", "n", "users"];
    let table = all.iter().map(|(attribute, row)| (cells(attribute, row), row));
    let table = Part::Table(shares::table(&first, &names, table, shares::cell));
    let parts = vec![shares::key(&names, null), Part::Charts(charts), table];
    Section::new("groups", "Groups over all countries", parts).folded()
}

/// Every attribute of any model in the order of [`ATTRIBUTES`], others behind.
fn attributes(evaluation: &PaaEvaluation) -> Vec<&str> {
    let all = evaluation.models.iter().flat_map(|model| model.result.groups.keys());
    let all: BTreeSet<&str> = all.map(String::as_str).collect();
    let mut all: Vec<&str> =
        all.into_iter().filter(|name| !["country", "region"].contains(name)).collect();
    let place = |name: &&str| ATTRIBUTES.iter().position(|known| known == name);
    all.sort_by_key(|name| place(name).unwrap_or(ATTRIBUTES.len()));
    all
}
