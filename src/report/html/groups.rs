//! Groups as dot plots with intervals, and the groups that fare worst.

use crate::console::units;
use crate::metrics::groups::Group;
use crate::metrics::{Figure, Metric, Metrics, SetResult};
use crate::report::cell;
use crate::report::groups::{attribute_title, by_size, group_name, too_small};
use crate::report::html::{figure, grid, table};
use crate::report::markup::{escape, paragraph};
use crate::report::svg::dots::symbol;
use crate::report::svg::{DotChart, DotRow, Mark, Shape};
use crate::report::table::Table;

/// Rows of the table of worst groups.
const WORST: usize = 8;

/// The attributes that share one chart.
const VALUES: &str = "value_";

/// Charts of every attribute, the worst groups, and the groups without a number; empty for a set without groups.
pub fn groups(before: Option<&SetResult>, after: Option<&SetResult>) -> String {
    let Some(set) = after.or(before) else { return String::new() };
    let (large, small) = by_size(&set.groups);
    let mut html = String::new();
    if !large.is_empty() {
        html += &key(before.is_some(), after.is_some());
        let earlier = before.filter(|_| after.is_some());
        let mut charts = Vec::new();
        for (title, members) in charted(&large) {
            charts.extend(chart(&title, &members, earlier, after.is_some()));
        }
        html += &grid(&charts);
        html += &worst(&large, after.is_some());
    }
    if !small.is_empty() {
        html += &paragraph("note", &too_small(&small));
    }
    html
}

/// The groups of each chart with its title: an attribute's, or those of all stated values.
fn charted<'a>(groups: &[&'a Group]) -> Vec<(String, Vec<&'a Group>)> {
    let mut charts: Vec<(String, Vec<&Group>)> = Vec::new();
    for &group in groups {
        let title = if group.attribute.starts_with(VALUES) {
            "Stated values".to_owned()
        } else {
            attribute_title(&group.attribute)
        };
        match charts.iter_mut().find(|(known, _)| *known == title) {
            Some((_, members)) => members.push(group),
            None => charts.push((title, vec![group])),
        }
    }
    charts
}

fn chart(
    title: &str,
    groups: &[&Group],
    before: Option<&SetResult>,
    is_tuned: bool,
) -> Option<String> {
    let row = |group: &&Group| {
        let metrics = group.metrics.as_ref()?;
        let earlier = before.and_then(|set| {
            let same = |g: &&Group| g.attribute == group.attribute && g.label == group.label;
            set.groups.iter().find(same)?.metrics.as_ref()
        });
        let label = group.label.clone();
        let name = match group.attribute.strip_prefix(VALUES) {
            Some(value) => format!("{value}: {label}"),
            None => label,
        };
        Some(DotRow {
            name,
            count: units::count(group.n),
            marks: marks(earlier, metrics, is_tuned),
        })
    };
    let chart = DotChart {
        title: title.to_owned(),
        x_label: "% of pairs".to_owned(),
        count_label: "n".to_owned(),
        rows: groups.iter().filter_map(row).collect(),
        reference: Some(50.0),
    };
    let accuracy = |group: &&&Group| {
        group.metrics.as_ref().map_or(f64::NAN, |metrics| metrics.preference_accuracy.value)
    };
    let ends = groups
        .iter()
        .min_by(|a, b| accuracy(a).total_cmp(&accuracy(b)))
        .zip(groups.iter().max_by(|a, b| accuracy(a).total_cmp(&accuracy(b))));
    let reading = match ends {
        Some((low, high)) if groups.len() > 1 => {
            let said = |group: &&Group| {
                let attribute = group.attribute.strip_prefix(VALUES);
                let name = attribute
                    .map_or_else(|| group.label.clone(), |v| format!("{v} {}", group.label));
                format!("{name} ({:.1} %)", 100.0 * accuracy(&group))
            };
            format!(
                "Preference accuracy is lowest for {} and highest for {}.",
                said(low),
                said(high)
            )
        }
        _ => "Only one group is large enough for a number.".to_owned(),
    };
    Some(figure(title, "", &chart.draw()?, &reading))
}

/// Accuracy before and after, and OPA, of one group.
fn marks(before: Option<&Metrics>, metrics: &Metrics, is_tuned: bool) -> Vec<Mark> {
    let mark = |class: &str, shape: Shape, name: &str, metric: Metric, figure: &Figure| Mark {
        class: class.to_owned(),
        shape,
        value: 100.0 * figure.value,
        interval: figure.low.zip(figure.high).map(|(low, high)| [100.0 * low, 100.0 * high]),
        description: format!("{name} {}", cell::figure(metric, figure)),
    };
    let accuracy = Metric::PreferenceAccuracy;
    let (before_name, after_name) = ("accuracy before", "accuracy after");
    if !is_tuned {
        return vec![mark(
            "before",
            Shape::Ring,
            before_name,
            accuracy,
            &metrics.preference_accuracy,
        )];
    }
    let mut marks = Vec::new();
    if let Some(before) = before {
        marks.push(mark("before", Shape::Ring, before_name, accuracy, &before.preference_accuracy));
    }
    marks.push(mark("after", Shape::Disc, after_name, accuracy, &metrics.preference_accuracy));
    marks.push(mark("opa", Shape::Diamond, "OPA", Metric::Opa, &metrics.opa));
    marks
}

/// What the symbols of the charts are.
fn key(has_before: bool, has_after: bool) -> String {
    let mut entries = Vec::new();
    if has_before {
        entries.push(("before", Shape::Ring, "preference accuracy before"));
    }
    if has_after {
        entries.push(("after", Shape::Disc, "preference accuracy after"));
        entries.push(("opa", Shape::Diamond, "OPA after"));
    }
    let entry = |(class, shape, name): (&str, Shape, &str)| {
        let symbol = symbol(shape, 7.0, 7.0, class);
        format!(
            "<li><svg viewBox=\"0 0 14 14\" aria-hidden=\"true\">{symbol}</svg>{}</li>\n",
            escape(name)
        )
    };
    let entries: String = entries.into_iter().map(entry).collect();
    format!("<ul class=\"key\">\n{entries}</ul>\n")
}

/// The groups with the lowest accuracy.
fn worst(groups: &[&Group], is_tuned: bool) -> String {
    let mut sorted: Vec<(&Group, &Metrics)> =
        groups.iter().filter_map(|group| Some((*group, group.metrics.as_ref()?))).collect();
    sorted.sort_by(|a, b| a.1.preference_accuracy.value.total_cmp(&b.1.preference_accuracy.value));
    sorted.truncate(WORST);
    let mut rows = Table::new(["group", "n", "accuracy", "change", "OPA"]);
    for (group, metrics) in sorted {
        let change = group.change.as_ref().map_or_else(
            || cell::NONE.to_owned(),
            |change| cell::change(Metric::PreferenceAccuracy, &change.preference_accuracy),
        );
        let opa =
            if is_tuned { cell::figure(Metric::Opa, &metrics.opa) } else { cell::NONE.to_owned() };
        rows.push([
            group_name(&group.attribute, &group.label),
            units::count(group.n),
            cell::figure(Metric::PreferenceAccuracy, &metrics.preference_accuracy),
            change,
            opa,
        ]);
    }
    format!("<h3>Groups with the lowest preference accuracy</h3>\n{}", table(&rows, |_| ""))
        + &paragraph(
            "note",
            "The lowest of many groups is low by chance too; read it with its interval.",
        )
}
