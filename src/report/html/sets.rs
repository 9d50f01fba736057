//! Every figure of an evaluation set, before, after and changed.

use crate::console::units;
use crate::metrics::{Metric, Metrics, SetResult};
use crate::report::cell;
use crate::report::html::table;
use crate::report::markup::{escape, paragraph};
use crate::report::table::Table;

/// The figures of all pairs, then of each file where there are several.
pub fn figures(before: Option<&SetResult>, after: Option<&SetResult>) -> String {
    let Some(set) = after.or(before) else { return String::new() };
    let change = after.and_then(|after| after.change.as_ref());
    let unscored = match set.unscored_answers {
        0 => String::new(),
        n => format!(
            " {} answers were cut down to no scored token and count as log-probability 0.",
            units::count(n)
        ),
    };
    let mut html = paragraph(
        "note",
        &format!(
            "{} pairs in {} clusters (a user, or a pair without one); {} scored tokens in preferred answers, {} in the others.{unscored}",
            units::count(set.n),
            units::count(set.clusters),
            units::count(set.chosen_tokens),
            units::count(set.rejected_tokens)
        ),
    );
    html += &rows(
        before.map(|set| &set.overall),
        after.map(|set| &set.overall),
        change.map(|change| &change.overall),
    );
    if set.sources.len() > 1 {
        for (source, metrics) in &set.sources {
            html += &format!(
                "<h3>File {}, {} pairs</h3>\n",
                escape(source),
                units::count(metrics.opa.n)
            );
            html += &rows(
                before.and_then(|set| set.sources.get(source)),
                after.and_then(|set| set.sources.get(source)),
                change.and_then(|change| change.sources.get(source)),
            );
        }
    }
    html
}

fn rows(before: Option<&Metrics>, after: Option<&Metrics>, change: Option<&Metrics>) -> String {
    let none = || cell::NONE.to_owned();
    let mut rows = Table::new(["figure", "before", "after", "change", "ties before", "ties after"]);
    for metric in Metric::ALL {
        let of = |metrics: Option<&Metrics>| {
            metrics.map_or_else(none, |metrics| cell::figure(metric, metrics.get(metric)))
        };
        let ties = |metrics: Option<&Metrics>| {
            metrics.and_then(|metrics| metrics.get(metric).ties).map_or_else(none, units::count)
        };
        let change = change.map_or_else(none, |c| cell::change(metric, c.get(metric)));
        rows.push([cell::label(metric), of(before), of(after), change, ties(before), ties(after)]);
    }
    table(&rows, |_| "")
}
