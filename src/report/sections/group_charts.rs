//! Groups as dot plots with intervals, one chart an attribute.

use crate::console::units;
use crate::metrics::groups::Group;
use crate::metrics::{Figure, Metric, Metrics, SetResult};
use crate::report::cell;
use crate::report::section::{Chart, Part, Symbol};
use crate::report::sections::attributes::attribute_title;
use crate::report::states::States;
use crate::report::svg::dots::symbol;
use crate::report::svg::{DotChart, DotRow, Mark, Shape};

/// Prefix of the attributes that share one chart.
const VALUES: &str = "value_";

/// What one symbol of a chart stands for.
#[derive(Debug, Clone, Copy)]
struct Series {
    class: &'static str,
    shape: Shape,
    metric: Metric,
    /// In the description of a mark.
    name: &'static str,
    /// In the key.
    full_name: &'static str,
}

const BEFORE: Series = Series {
    class: "before",
    shape: Shape::Ring,
    metric: Metric::PreferenceAccuracy,
    name: "accuracy before",
    full_name: "preference accuracy before",
};

const AFTER: [Series; 2] = [
    Series {
        class: "after",
        shape: Shape::Disc,
        metric: Metric::PreferenceAccuracy,
        name: "accuracy after",
        full_name: "preference accuracy after",
    },
    Series {
        class: "opa",
        shape: Shape::Diamond,
        metric: Metric::Opa,
        name: "OPA",
        full_name: "OPA after (dashed line: chance 50 %)",
    },
];

/// The key of the symbols and the charts of `groups`, which are large enough for a number.
pub fn parts(groups: &[&Group], set: &States<'_>) -> [Part; 2] {
    let before = set.before.map(|_| BEFORE);
    let after = AFTER.into_iter().filter(|_| set.is_tuned());
    let symbols = before.into_iter().chain(after).map(|series| Symbol {
        svg: symbol(series.shape, 7.0, 7.0, series.class),
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
    let row = |group: &&Group| {
        let name = match group.attribute.strip_prefix(VALUES) {
            Some(value) => format!("{value}: {}", group.label),
            None => group.label.clone(),
        };
        let metrics = group.metrics.as_ref()?;
        let marks = marks(earlier(group, set.before), metrics, set.is_tuned());
        Some(DotRow { name, count: units::count(group.n), marks })
    };
    let chart = DotChart {
        title: title.to_owned(),
        x_label: "% of pairs".to_owned(),
        count_label: "n".to_owned(),
        rows: groups.iter().filter_map(row).collect(),
        reference: Some(50.0),
    };
    Some(Chart {
        caption: title.to_owned(),
        unit: String::new(),
        svg: chart.draw()?,
        reading: reading(groups).into(),
    })
}

/// The figures of `group` before tuning.
fn earlier<'a>(group: &Group, before: Option<&'a SetResult>) -> Option<&'a Metrics> {
    let same =
        |other: &&Group| (&other.attribute, &other.label) == (&group.attribute, &group.label);
    before?.groups.iter().find(same)?.metrics.as_ref()
}

/// The marks of one group, from top to bottom.
fn marks(before: Option<&Metrics>, metrics: &Metrics, is_tuned: bool) -> Vec<Mark> {
    let mark = |series: &Series, metrics: &Metrics| {
        let figure: &Figure = metrics.get(series.metric);
        Mark {
            class: series.class.to_owned(),
            shape: series.shape,
            value: 100.0 * figure.value,
            interval: figure.low.zip(figure.high).map(|(low, high)| [100.0 * low, 100.0 * high]),
            description: format!("{} {}", series.name, cell::figure(series.metric, figure)),
        }
    };
    let mut marks: Vec<Mark> = before.into_iter().map(|metrics| mark(&BEFORE, metrics)).collect();
    marks.extend(AFTER.iter().filter(|_| is_tuned).map(|series| mark(series, metrics)));
    marks
}

/// Which groups have the lowest and the highest accuracy.
fn reading(groups: &[&Group]) -> String {
    let accuracy = |group: &Group| {
        group.metrics.as_ref().map_or(f64::NAN, |metrics| metrics.preference_accuracy.value)
    };
    let by_accuracy = |a: &&&Group, b: &&&Group| accuracy(a).total_cmp(&accuracy(b));
    let named = |group: &Group| {
        let value = group.attribute.strip_prefix(VALUES);
        let name = value.map_or_else(|| group.label.clone(), |v| format!("{v} {}", group.label));
        format!("{name} ({:.1} %)", 100.0 * accuracy(group))
    };
    match groups.iter().min_by(by_accuracy).zip(groups.iter().max_by(by_accuracy)) {
        Some((low, high)) if groups.len() > 1 => format!(
            "Preference accuracy is lowest for {} and highest for {}.",
            named(low),
            named(high)
        ),
        _ => "Only one group is large enough for a number.".to_owned(),
    }
}
