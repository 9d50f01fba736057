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
    [(Metric::PreferenceAccuracy, "accuracy"), (Metric::Opa, "OPA")];

/// Whether `metric` has figures of the state in question: an untuned model has no OPA, since policy and reference are one.
fn has_state(metric: Metric, is_tuned: bool) -> bool {
    is_tuned || metric != Metric::Opa
}

/// The axes before and after, then the gaps of every attribute; empty for a set without axes.
pub fn section(id: String, set: &States<'_>) -> Section {
    let mut parts = Vec::new();
    if !set.newest().axes.is_empty() {
        parts.push(Part::Table(before_and_after(set)));
        parts.push(Part::note(
            "All in percent. Agreement: of a user's pairs of instances, the share with the same outcome, averaged over the users with two or more. \
             Gap: the best group's share less the worst's. Its interval is that of the difference between these two groups: below 0 the second \
             would be the better one, so an interval that holds 0 does not tell which is better.",
        ));
        let sentences = sentences(set.newest(), set.is_tuned());
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
    for (metric, name) in METRICS.into_iter().filter(|(one, _)| has_state(*one, set.is_tuned())) {
        let before = set.before.filter(|_| has_state(metric, false));
        let null =
            if metric == Metric::Opa { format!(", {}", cell::CHANCE) } else { String::new() };
        let mut row = |axis: &str, print: &dyn Fn(&SetResult) -> Option<String>, change| {
            let [before, after] = [before, set.after].map(|set| cell::or_none(set.and_then(print)));
            rows.push([format!("{name}: {axis}"), before, after, cell::or_none(change)]);
        };
        row(
            &format!("share won{null}"),
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
        let widest = [before, set.after].map(|set| widest_gap(set?, metric));
        row(
            &format!("widest gap between groups{}", attributes_of(widest)),
            &|set| Some(cell::figure(metric, &widest_gap(set, metric)?.gap)),
            None,
        );
    }
    rows
}

/// The attributes of the widest gaps before and after: ` (gender)`, or ` (gender, then age)`.
fn attributes_of(widest: [Option<&Fairness>; 2]) -> String {
    let mut names: Vec<String> =
        widest.iter().flatten().map(|fairness| attribute_words(&fairness.attribute)).collect();
    names.dedup();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", then ")) }
}

/// Consistency and widest gap of each metric with what the table has no column for: users, groups, the gap of shuffled users.
fn sentences(set: &SetResult, is_tuned: bool) -> Vec<Text> {
    let mut sentences = Vec::new();
    for axes in set.axes.iter().filter(|axes| has_state(axes.metric, is_tuned)) {
        let (metric, name) = (axes.metric, axes.metric.name());
        if let Some(consistency) = &axes.consistency {
            sentences.push(format!(
                "Consistency of {name}: {} % agreement within a user, {} % by chance; {}.",
                cell::figure(metric, &consistency.agreement),
                cell::percent(consistency.by_chance),
                units::counted(consistency.agreement.n, "user")
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
        "best (%)",
        "best n",
        "worst group",
        "worst (%)",
        "worst n",
    ]);
    for fairness in &now.fairness {
        let same = |other: &&Fairness| other.attribute == fairness.attribute;
        let earlier = axes_of(set.earlier(), metric).and_then(|a| a.fairness.iter().find(same));
        let gap = [
            attribute_title(&fairness.attribute),
            fairness.groups.to_string(),
            cell::or_none(earlier.map(|earlier| cell::figure(metric, &earlier.gap))),
            cell::figure(metric, &fairness.gap),
            cell::percent(fairness.shuffled_gap),
        ];
        let extremes = [&fairness.best, &fairness.worst].into_iter().flat_map(extreme);
        rows.push(gap.into_iter().chain(extremes));
    }
    let all = now.fairness.len();
    let wide = now.fairness.iter().filter(|f| f.gap.value > f.shuffled_gap).count();
    let reading = format!(
        "{wide} of {all} gaps are wider than 95 of 100 gaps that shuffling the users over the groups gives; by chance {:.2} would be (5 % of {all}). A \
         narrower one says nothing of the groups.",
        0.05 * all as f64
    );
    vec![Part::Table(rows), Part::reading(reading)]
}

pub(in crate::report::sections) fn extreme(group: &Extreme) -> [String; 3] {
    [group.label.clone(), cell::percent(group.value), units::count(group.n)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::folder::sample::run;

    #[test]
    fn the_number_of_wide_gaps_stands_beside_that_expected_by_chance() {
        let mut run = run();
        let fairness = |gap: f64| Fairness {
            attribute: "age".into(),
            groups: 2,
            gap: run.after.as_ref().unwrap().sets[0].overall.opa,
            best: Extreme { label: "a".into(), value: 0.9, n: 10 },
            worst: Extreme { label: "b".into(), value: 0.1, n: 10 },
            shuffled_gap: gap,
            p_value: None,
            p_adjusted: None,
        };
        let mut all = vec![fairness(0.9); 12];
        all.push(fairness(0.1));
        let set = &mut run.after.as_mut().unwrap().sets[0];
        set.axes.iter_mut().for_each(|axes| axes.fairness.clone_from(&all));
        let section = section("a".into(), &run.states()[0]);
        let Some(Part::Sentence(_, reading)) = section.parts.last() else { panic!("a reading") };
        let expected = "1 of 13 gaps are wider than 95 of 100 gaps that shuffling";
        assert!(reading.to_string().starts_with(expected), "{reading}");
        assert!(reading.to_string().contains("by chance 0.65 would be (5 % of 13)"), "{reading}");
        // Every number of a table has a cell of its own.
        let tables = section.parts.iter().filter_map(|part| match part {
            Part::Table(table) => Some(table),
            _ => None,
        });
        let [axes, gaps] = &tables.collect::<Vec<_>>()[..] else { panic!("two tables") };
        let cells = |table: &Table, row: usize| -> Vec<String> {
            table.rows()[row].cells.iter().map(Text::plain).collect()
        };
        let widest = cells(axes, 3);
        assert_eq!(widest[0], "accuracy: widest gap between groups (age)");
        assert!(widest[2].starts_with("75.00 [") && widest[2].ends_with(']'), "{widest:?}");
        assert_eq!(cells(gaps, 0)[4..], ["90.00", "a", "90.00", "10", "b", "10.00", "10"]);
        assert_eq!(attributes_of([None, None]), "");
    }
}
