//! The paper's three axes: accuracy, intra-profile consistency, inter-group fairness.

use crate::console::units;
use crate::metrics::axes::{Axes, Consistency, Extreme, Fairness};
use crate::metrics::{Metric, SetResult};
use crate::report::cell;
use crate::report::section::{Part, Section};
use crate::report::sections::attributes::{attribute_title, attribute_words};
use crate::report::states::States;
use crate::report::table::Table;
use crate::report::text::Text;

/// The metrics that have axes, as the rows name them.
const METRICS: [(Metric, &str); 2] =
    [(Metric::Opa, "OPA"), (Metric::PreferenceAccuracy, "accuracy")];

/// The axes before and after, then the gaps of every attribute; empty for a set without axes.
pub fn section(id: String, set: &States<'_>) -> Section {
    let mut parts = Vec::new();
    if !set.newest().axes.is_empty() {
        parts.push(Part::Table(before_and_after(set)));
        parts.push(Part::note(
            "All in percent. Agreement: of a user's pairs of instances, the share with the same outcome, averaged over the users with two or more. \
             Gap: the best group's share less the worst's.",
        ));
        let sentences = sentences(set.newest());
        if !sentences.is_empty() {
            parts.push(Part::List(sentences));
        }
        parts.extend(gaps(set));
    }
    Section::new(id, format!("{}: accuracy, consistency, fairness", set.name), parts)
}

/// The attribute whose groups are furthest apart under `metric`.
pub fn widest_gap(set: &SetResult, metric: Metric) -> Option<&Fairness> {
    let axes = axes_of(Some(set), metric)?;
    axes.fairness.iter().max_by(|a, b| a.gap.value.total_cmp(&b.gap.value))
}

/// `gender, 12.30 [4.50, 20.10] (Female 80.00, Male 67.70)`.
pub fn gap_text(fairness: &Fairness, metric: Metric) -> String {
    let Fairness { attribute, gap, best, worst, .. } = fairness;
    format!(
        "{}, {} ({} {}, {} {})",
        attribute_words(attribute),
        cell::figure(metric, gap),
        best.label,
        cell::percent(best.value),
        worst.label,
        cell::percent(worst.value)
    )
}

fn axes_of(set: Option<&SetResult>, metric: Metric) -> Option<&Axes> {
    set?.axes.iter().find(|axes| axes.metric == metric)
}

fn consistency(set: &SetResult, metric: Metric) -> Option<&Consistency> {
    axes_of(Some(set), metric)?.consistency.as_ref()
}

/// Four rows for each metric: share won, agreement, agreement by chance, widest gap.
fn before_and_after(set: &States<'_>) -> Table {
    let mut rows = Table::new(["axis", "before", "after", "change"]);
    for (metric, name) in METRICS {
        // Before tuning, policy and reference are one, so OPA has no figure of that state.
        let before = set.before.filter(|_| metric != Metric::Opa || !set.is_tuned());
        let mut row = |axis: &str, print: &dyn Fn(&SetResult) -> Option<String>, change| {
            let [before, after] = [before, set.after].map(|set| cell::or_none(set.and_then(print)));
            rows.push([format!("{name}: {axis}"), before, after, cell::or_none(change)]);
        };
        row(
            "share won",
            &|set| Some(cell::figure(metric, set.overall.get(metric))),
            before.and(set.change()).map(|c| cell::change(metric, c.overall.get(metric))),
        );
        row(
            "agreement of one user's instances",
            &|set| Some(cell::figure(metric, &consistency(set, metric)?.agreement)),
            before
                .and(set.after)
                .and_then(|set| consistency(set, metric)?.change.as_ref())
                .map(|change| cell::change(metric, change)),
        );
        row(
            "the same with outcomes that know no user",
            &|set| Some(cell::percent(consistency(set, metric)?.by_chance)),
            None,
        );
        row(
            "widest gap between groups",
            &|set| {
                let fairness = widest_gap(set, metric)?;
                let by = attribute_words(&fairness.attribute);
                Some(format!("{} ({by})", cell::figure(metric, &fairness.gap)))
            },
            None,
        );
    }
    rows
}

/// Consistency and widest gap of each metric with what the table has no column for: users, groups, the gap of shuffled users.
fn sentences(set: &SetResult) -> Vec<Text> {
    let mut sentences = Vec::new();
    for axes in &set.axes {
        let (metric, name) = (axes.metric, axes.metric.name());
        if let Some(consistency) = &axes.consistency {
            sentences.push(format!(
                "Consistency of {name}: {} % agreement within a user, {} % by chance; {} users.",
                cell::figure(metric, &consistency.agreement),
                cell::percent(consistency.by_chance),
                units::count(consistency.agreement.n)
            ));
        }
        if let Some(fairness) = widest_gap(set, metric) {
            sentences.push(format!(
                "Widest gap of {name} between groups: {}; shuffled users stay under {} in 95 of 100.",
                gap_text(fairness, metric),
                cell::percent(fairness.shuffled_gap)
            ));
        }
    }
    sentences.into_iter().map(Text::from).collect()
}

/// The gap of every attribute with its best and worst group; a sentence where there is none.
fn gaps(set: &States<'_>) -> Vec<Part> {
    let metric = Metric::PreferenceAccuracy;
    let Some(now) = axes_of(Some(set.newest()), metric) else { return vec![] };
    if now.fairness.is_empty() {
        return vec![Part::missing(
            "No attribute has two groups that are large enough, so there are no gaps.",
        )];
    }
    let mut rows = Table::new([
        "accuracy by",
        "groups",
        "gap before",
        "gap after",
        "shuffled, 95 %",
        "best group",
        "worst group",
    ]);
    for fairness in &now.fairness {
        let same = |other: &&Fairness| other.attribute == fairness.attribute;
        let earlier = axes_of(set.earlier(), metric).and_then(|a| a.fairness.iter().find(same));
        rows.push([
            attribute_title(&fairness.attribute),
            fairness.groups.to_string(),
            cell::or_none(earlier.map(|earlier| cell::figure(metric, &earlier.gap))),
            cell::figure(metric, &fairness.gap),
            cell::percent(fairness.shuffled_gap),
            extreme(&fairness.best),
            extreme(&fairness.worst),
        ]);
    }
    let wide = now.fairness.iter().filter(|f| f.gap.value > f.shuffled_gap).count();
    let reading = format!(
        "{wide} of {} gaps are wider than 95 of 100 gaps that shuffling the users over the groups gives; a narrower one says nothing of the groups.",
        now.fairness.len()
    );
    vec![Part::Table(rows), Part::reading(reading)]
}

fn extreme(group: &Extreme) -> String {
    format!("{}, {} (n = {})", group.label, cell::percent(group.value), group.n)
}
