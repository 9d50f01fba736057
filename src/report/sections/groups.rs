//! Groups of a set's pairs: drawn, in numbers, and those that fare worst.

use crate::console::units;
use crate::metrics::Metric;
use crate::metrics::groups::Group;
use crate::report::cell;
use crate::report::section::{Part, Section};
use crate::report::sections::attributes::group_name;
use crate::report::sections::group_charts;
use crate::report::states::States;
use crate::report::table::Table;

/// Rows of the table of worst groups.
const WORST: usize = 8;

/// Charts of every attribute, the worst groups, every group in numbers, and the groups without a number; empty for a set
/// without groups.
pub fn section(id: String, set: &States<'_>) -> Section {
    let (large, small) = by_size(&set.newest().groups);
    let mut parts = Vec::new();
    if !large.is_empty() {
        parts.extend(group_charts::parts(&set.newest().groups.iter().collect::<Vec<_>>(), set));
        parts.push(Part::heading("Groups with the lowest preference accuracy"));
        parts.push(Part::Table(worst(&large, set.is_tuned())));
        parts.push(Part::note(
            "The lowest of many groups is low by chance too; read it with its interval.",
        ));
        parts.push(Part::heading("Every group in numbers"));
        parts.push(Part::Table(every(&large, set.is_tuned())));
    }
    if !small.is_empty() {
        parts.push(Part::note(too_small(&small)));
    }
    Section::new(id, format!("{}: groups", set.name), parts).folded()
}

/// The groups that are large enough for a number, and the others.
fn by_size(groups: &[Group]) -> (Vec<&Group>, Vec<&Group>) {
    groups.iter().partition(|group| group.metrics.is_some())
}

/// The groups with the lowest accuracy, lowest first.
fn worst(groups: &[&Group], is_tuned: bool) -> Table {
    let accuracy = |group: &&&Group| {
        group.metrics.as_ref().map_or(f64::NAN, |metrics| metrics.preference_accuracy.value)
    };
    let mut sorted: Vec<&&Group> = groups.iter().collect();
    sorted.sort_by(|a, b| accuracy(a).total_cmp(&accuracy(b)));
    sorted.truncate(WORST);
    let mut rows = Table::new(["group", "n", "accuracy", "change", &opa_header("OPA")]);
    for group in sorted {
        let Cells { name, pairs, accuracy, change, opa, .. } = Cells::of(group, is_tuned);
        rows.push([name, pairs, accuracy, change, opa]);
    }
    rows
}

/// Every group, in the order of the attributes.
fn every(groups: &[&Group], is_tuned: bool) -> Table {
    let opa = opa_header("opa (%)");
    let mut rows =
        Table::new(["group", "pairs", "users", "preference_accuracy (%)", "change", &opa]);
    for group in groups {
        let Cells { name, pairs, users, opa, accuracy, change } = Cells::of(group, is_tuned);
        rows.push([name, pairs, users, accuracy, change, opa]);
    }
    rows
}

/// The column of OPA with its null.
fn opa_header(name: &str) -> String {
    format!("{name}, {}", cell::CHANCE)
}

/// What the tables print of a group.
struct Cells {
    name: String,
    pairs: String,
    users: String,
    opa: String,
    accuracy: String,
    change: String,
}

impl Cells {
    /// Before tuning, every pair ties in OPA, so there is no OPA of that state.
    fn of(group: &Group, is_tuned: bool) -> Self {
        let print = |metric: Metric| {
            group.metrics.as_ref().map(|metrics| cell::figure(metric, metrics.get(metric)))
        };
        let accuracy = Metric::PreferenceAccuracy;
        let change = group.change.as_ref();
        Self {
            name: group_name(&group.attribute, &group.label),
            pairs: units::count(group.n),
            users: units::count(group.clusters),
            opa: cell::or_none(print(Metric::Opa).filter(|_| is_tuned)),
            accuracy: cell::or_none(print(accuracy)),
            change: cell::or_none(change.map(|c| cell::change(accuracy, c.get(accuracy)))),
        }
    }
}

/// A sentence that names the groups without a number.
fn too_small(groups: &[&Group]) -> String {
    let named: Vec<String> = groups
        .iter()
        .map(|group| format!("{} ({})", group_name(&group.attribute, &group.label), group.n))
        .collect();
    format!("Too few pairs, or too few users, for a number: {}.", named.join(", "))
}
