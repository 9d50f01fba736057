//! The paper's three axes: accuracy, intra-profile consistency, inter-group fairness.

use crate::metrics::{Metric, SetResult};
use crate::report::cell;
use crate::report::groups::{attribute_title, axes_of, widest};
use crate::report::html::table;
use crate::report::markup::paragraph;
use crate::report::table::Table;

/// A table of the axes before and after, and one of the gaps; empty for a set without them.
pub fn axes(before: Option<&SetResult>, after: Option<&SetResult>) -> String {
    if after.or(before).is_none_or(|set| set.axes.is_empty()) {
        return String::new();
    }
    let mut rows = Table::new(["axis", "before", "after", "change"]);
    let none = || cell::NONE.to_owned();
    for (metric, name) in [(Metric::Opa, "OPA"), (Metric::PreferenceAccuracy, "accuracy")] {
        // Before tuning policy and reference are one, so that OPA says nothing of that state.
        let before = before.filter(|_| metric != Metric::Opa || after.is_none());
        let figure = |set: Option<&SetResult>| {
            set.map_or_else(none, |set| cell::figure(metric, set.overall.get(metric)))
        };
        let change = after.and_then(|set| set.change.as_ref()).filter(|_| before.is_some());
        let change = change.map_or_else(none, |c| cell::change(metric, c.overall.get(metric)));
        rows.push([format!("{name}: share won"), figure(before), figure(after), change]);
        let agreement = |set: Option<&SetResult>| {
            let consistency = axes_of(set, metric).and_then(|axes| axes.consistency.as_ref());
            consistency.map_or_else(none, |c| cell::figure(metric, &c.agreement))
        };
        let consistency = axes_of(after, metric).and_then(|axes| axes.consistency.as_ref());
        let change = consistency.and_then(|c| c.change.as_ref()).filter(|_| before.is_some());
        rows.push([
            format!("{name}: agreement of one user's instances"),
            agreement(before),
            agreement(after),
            change.map_or_else(none, |figure| cell::change(metric, figure)),
        ]);
        let chance = |set: Option<&SetResult>| {
            let consistency = axes_of(set, metric).and_then(|axes| axes.consistency.as_ref());
            consistency.map_or_else(none, |c| format!("{:.2}", 100.0 * c.by_chance))
        };
        rows.push([
            format!("{name}: the same with outcomes that know no user"),
            chance(before),
            chance(after),
            none(),
        ]);
        let gap = |set: Option<&SetResult>| {
            axes_of(set, metric).and_then(widest).map_or_else(none, |fairness| {
                format!(
                    "{} ({})",
                    cell::figure(metric, &fairness.gap),
                    fairness.attribute.replace('_', " ")
                )
            })
        };
        rows.push([format!("{name}: widest gap between groups"), gap(before), gap(after), none()]);
    }
    let html = table(&rows, |_| "")
        + &paragraph(
            "note",
            "All in percent. Agreement: of a user's pairs of instances, the share with the same outcome, meaned over users with two or more. \
             Gap: the best group's share less the worst's.",
        );
    html + &gaps(before, after)
}

/// The gap of every attribute, best and worst group.
fn gaps(before: Option<&SetResult>, after: Option<&SetResult>) -> String {
    let metric = Metric::PreferenceAccuracy;
    let Some(now) = axes_of(after.or(before), metric) else { return String::new() };
    if now.fairness.is_empty() {
        return paragraph(
            "missing",
            "No attribute has two groups that are large enough, so there are no gaps.",
        );
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
        let earlier = axes_of(before.filter(|_| after.is_some()), metric)
            .and_then(|axes| axes.fairness.iter().find(|f| f.attribute == fairness.attribute));
        let end = |extreme: &crate::metrics::axes::Extreme| {
            format!("{}, {:.2} (n = {})", extreme.label, 100.0 * extreme.value, extreme.n)
        };
        rows.push([
            attribute_title(&fairness.attribute),
            fairness.groups.to_string(),
            earlier.map_or_else(|| cell::NONE.to_owned(), |f| cell::figure(metric, &f.gap)),
            cell::figure(metric, &fairness.gap),
            format!("{:.2}", 100.0 * fairness.shuffled_gap),
            end(&fairness.best),
            end(&fairness.worst),
        ]);
    }
    let real = now.fairness.iter().filter(|f| f.gap.value > f.shuffled_gap).count();
    table(&rows, |_| "")
        + &paragraph(
            "reading",
            &format!(
                "{real} of {} gaps are wider than 95 of 100 gaps that shuffling the users over the groups gives; a narrower one says nothing of the groups.",
                now.fairness.len()
            ),
        )
}
