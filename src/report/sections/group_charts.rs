//! Groups as forest plots, one chart an attribute.

use crate::console::units;
use crate::metrics::groups::Group;
use crate::metrics::{Metric, Metrics, SetResult};
use crate::report::section::{Chart, Part, Symbol};
use crate::report::sections::attributes::attribute_title;
use crate::report::states::States;
use crate::report::svg::{Forest, ForestGroup, ForestRow, Quantity, State};

/// Prefix of the attributes that share one chart.
const VALUES: &str = "value_";

/// What one row of a group shows, in the chart and in the key.
#[derive(Debug, Clone, Copy)]
struct Series {
    quantity: Quantity,
    state: State,
    metric: Metric,
    label: &'static str,
    /// In the key.
    full_name: &'static str,
}

const BEFORE: Series = Series {
    quantity: Quantity::Accuracy,
    state: State::Before,
    metric: Metric::PreferenceAccuracy,
    label: "before",
    full_name: "preference accuracy before",
};

const AFTER: [Series; 2] = [
    Series {
        quantity: Quantity::Accuracy,
        state: State::After,
        metric: Metric::PreferenceAccuracy,
        label: "accuracy",
        full_name: "preference accuracy after",
    },
    Series {
        quantity: Quantity::Opa,
        state: State::After,
        metric: Metric::Opa,
        label: "OPA",
        full_name: "OPA after (dashed line: chance 50 %)",
    },
];

/// The key of the symbols and the charts of `groups`, those without a number as text.
pub fn parts(groups: &[&Group], set: &States<'_>) -> [Part; 2] {
    let before = set.before.map(|_| BEFORE);
    let after = AFTER.into_iter().filter(|_| set.is_tuned());
    let symbols = before.into_iter().chain(after).map(|series| Symbol {
        svg: series.quantity.mark(series.state, 7.0, 7.0),
        name: series.full_name.to_owned(),
    });
    let charts =
        charted(groups).into_iter().filter_map(|(title, members)| chart(&title, &members, set));
    [Part::Key(symbols.collect()), Part::Charts(charts.collect())]
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

fn chart(title: &str, groups: &[&Group], set: &States<'_>) -> Option<Chart> {
    let group = |group: &&Group| {
        let name = match group.attribute.strip_prefix(VALUES) {
            Some(value) => format!("{value}: {}", group.label),
            None => group.label.clone(),
        };
        match &group.metrics {
            Some(metrics) => {
                let rows = rows(earlier(group, set.before), metrics, set.is_tuned());
                ForestGroup { name, rows, note: String::new() }
            }
            None => {
                let note = format!("n = {}, too few", units::count(group.n));
                ForestGroup { name, rows: vec![], note }
            }
        }
    };
    let forest = Forest { title: title.to_owned(), groups: groups.iter().map(group).collect() };
    Some(Chart {
        caption: title.to_owned(),
        unit: "% of pairs".to_owned(),
        svg: forest.draw()?,
        reading: reading(groups).into(),
    })
}

/// The figures of `group` before tuning.
fn earlier<'a>(group: &Group, before: Option<&'a SetResult>) -> Option<&'a Metrics> {
    let same =
        |other: &&Group| (&other.attribute, &other.label) == (&group.attribute, &group.label);
    before?.groups.iter().find(same)?.metrics.as_ref()
}

/// The rows of one group, from top to bottom.
fn rows(before: Option<&Metrics>, metrics: &Metrics, is_tuned: bool) -> Vec<ForestRow> {
    let row = |series: &Series, metrics: &Metrics| ForestRow {
        label: series.label.to_owned(),
        quantity: series.quantity,
        state: series.state,
        figure: *metrics.get(series.metric),
        paper: None,
    };
    let mut rows: Vec<ForestRow> =
        before.into_iter().map(|metrics| row(&BEFORE, metrics)).collect();
    rows.extend(AFTER.iter().filter(|_| is_tuned).map(|series| row(series, metrics)));
    rows
}

/// Which groups have the lowest and the highest accuracy.
fn reading(groups: &[&Group]) -> String {
    let accuracy = |group: &Group| {
        group.metrics.as_ref().map_or(f64::NAN, |metrics| metrics.preference_accuracy.value)
    };
    let large: Vec<&Group> =
        groups.iter().copied().filter(|group| group.metrics.is_some()).collect();
    let by_accuracy = |a: &&&Group, b: &&&Group| accuracy(a).total_cmp(&accuracy(b));
    let named = |group: &Group| {
        let value = group.attribute.strip_prefix(VALUES);
        let name = value.map_or_else(|| group.label.clone(), |v| format!("{v} {}", group.label));
        format!("{name} ({:.1} %)", 100.0 * accuracy(group))
    };
    match large.iter().min_by(by_accuracy).zip(large.iter().max_by(by_accuracy)) {
        Some((low, high)) if large.len() > 1 => format!(
            "Preference accuracy is lowest for {} and highest for {}.",
            named(low),
            named(high)
        ),
        _ => "Only one group is large enough for a number.".to_owned(),
    }
}
