//! Groups and axes in words and tables, for every kind of page.

use crate::console::units;
use std::fmt::Write as _;

use crate::metrics::axes::{Axes, Fairness};
use crate::metrics::groups::Group;
use crate::metrics::{Metric, SetResult};
use crate::report::cell;
use crate::report::markup::one_line;
use crate::report::table::Table;

/// An attribute as a heading: `English proficiency`.
pub fn attribute_title(attribute: &str) -> String {
    if let Some(value) = attribute.strip_prefix("value_") {
        return format!("Stated value: {value}");
    }
    let words = attribute.replace('_', " ");
    let words = words.replace("english", "English");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A group by attribute and label: `value safety: high`.
pub fn group_name(attribute: &str, label: &str) -> String {
    format!("{}: {}", attribute.replace('_', " "), one_line(label))
}

/// The axes of one metric.
pub fn axes_of(set: Option<&SetResult>, metric: Metric) -> Option<&Axes> {
    set?.axes.iter().find(|axes| axes.metric == metric)
}

/// The attribute whose groups are furthest apart.
pub fn widest(axes: &Axes) -> Option<&Fairness> {
    axes.fairness.iter().max_by(|a, b| a.gap.value.total_cmp(&b.gap.value))
}

/// `gender, 12.30 [4.50, 20.10] (Female 80.00, Male 67.70)`.
pub fn gap_text(fairness: &Fairness, metric: Metric) -> String {
    let percent = |value: f64| format!("{:.2}", 100.0 * value);
    format!(
        "{}, {} ({} {}, {} {})",
        fairness.attribute.replace('_', " "),
        cell::figure(metric, &fairness.gap),
        one_line(&fairness.best.label),
        percent(fairness.best.value),
        one_line(&fairness.worst.label),
        percent(fairness.worst.value)
    )
}

/// The groups that have a number, and those that are too small for one.
pub fn by_size(groups: &[Group]) -> (Vec<&Group>, Vec<&Group>) {
    groups.iter().partition(|group| group.metrics.is_some())
}

/// The axes and the groups of a set for `report.md`; empty where it has none.
pub fn markdown(set: &SetResult) -> String {
    let mut page = String::new();
    for axes in &set.axes {
        let metric = axes.metric;
        if let Some(consistency) = &axes.consistency {
            let _ = writeln!(
                page,
                "- Consistency of {}: {} % agreement within a user, {:.2} % by chance; {} users.",
                metric.name(),
                cell::figure(metric, &consistency.agreement),
                100.0 * consistency.by_chance,
                units::count(consistency.agreement.n)
            );
        }
        if let Some(fairness) = widest(axes) {
            let _ = writeln!(
                page,
                "- Widest gap of {} between groups: {}; shuffled users stay under {:.2} in 95 of 100.",
                metric.name(),
                gap_text(fairness, metric),
                100.0 * fairness.shuffled_gap
            );
        }
    }
    let (large, small) = by_size(&set.groups);
    if !large.is_empty() {
        let mut table =
            Table::new(["group", "pairs", "users", "opa (%)", "preference_accuracy (%)", "change"]);
        for group in large {
            let Some(metrics) = &group.metrics else { continue };
            let change = group.change.as_ref().map_or_else(
                || cell::NONE.to_owned(),
                |change| cell::change(Metric::PreferenceAccuracy, &change.preference_accuracy),
            );
            table.push([
                group_name(&group.attribute, &group.label),
                units::count(group.n),
                units::count(group.clusters),
                cell::figure(Metric::Opa, &metrics.opa),
                cell::figure(Metric::PreferenceAccuracy, &metrics.preference_accuracy),
                change,
            ]);
        }
        let _ = write!(page, "\n{}", table.to_markdown());
    }
    if !small.is_empty() {
        let _ = write!(page, "\n{}\n", too_small(&small));
    }
    if page.is_empty() { page } else { format!("\n### {}: groups\n\n{page}", one_line(&set.name)) }
}

/// A sentence that names the groups without a number.
pub fn too_small(groups: &[&Group]) -> String {
    let named: Vec<String> = groups
        .iter()
        .map(|group| format!("{} ({})", group_name(&group.attribute, &group.label), group.n))
        .collect();
    format!("Too few pairs, or pairs of one user, for a number: {}.", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_read_as_headings() {
        assert_eq!(attribute_title("english_proficiency"), "English proficiency");
        assert_eq!(attribute_title("age"), "Age");
        assert_eq!(attribute_title("value_safety"), "Stated value: safety");
    }
}
