//! Every figure of an evaluation set: before, after, and the difference.

use crate::console::units;
use crate::metrics::{Metric, Metrics, SetResult};
use crate::report::cell;
use crate::report::section::{Part, Section};
use crate::report::sections::margins;
use crate::report::set_files::SetFiles;
use crate::report::states::States;
use crate::report::table::Table;

/// The figures of all pairs, then of each file where there are several, then the margins of the pairs.
pub fn section(id: String, set: &States<'_>, files: &SetFiles) -> Section {
    let newest = set.newest();
    let change = set.change();
    let mut parts = vec![
        Part::note(counts(newest)),
        figures(
            set.before.map(|set| &set.overall),
            set.after.map(|set| &set.overall),
            change.map(|change| &change.overall),
        ),
    ];
    if newest.sources.len() > 1 {
        for (source, metrics) in &newest.sources {
            let pairs = units::counted(metrics.opa.n, "pair");
            parts.push(Part::heading(format!("File {source}, {pairs}")));
            parts.push(figures(
                set.before.and_then(|set| set.sources.get(source)),
                set.after.and_then(|set| set.sources.get(source)),
                change.and_then(|change| change.sources.get(source)),
            ));
        }
    }
    parts.extend(set.before.and_then(ties_before).map(Part::note));
    parts.push(margins::part(files));
    Section::new(id, format!("{}: figures", set.name), parts)
}

/// Why OPA has no figure before tuning.
fn ties_before(set: &SetResult) -> Option<String> {
    let ties = set.overall.opa.ties.filter(|&ties| ties > 0)?;
    Some(format!(
        "Before tuning {} of {} pairs tie in OPA: policy and reference are one model there, so OPA has no before and no change. Its null is 50 %.",
        units::count(ties),
        units::count(set.n)
    ))
}

fn counts(set: &SetResult) -> String {
    let unscored = match set.unscored_answers {
        0 => String::new(),
        n => format!(
            " {} cut down to no scored token: log-probability 0.",
            units::counted(n, "answer")
        ),
    };
    format!(
        "{} in {} (a user, or a pair without one); {} in preferred answers, {} in the others.{unscored}",
        units::counted(set.n, "pair"),
        units::counted(set.clusters, "cluster"),
        units::counted(set.chosen_tokens, "scored token"),
        units::count(set.rejected_tokens)
    )
}

/// The order of the rows: what can be compared with before leads.
const ROWS: [Metric; 6] = [
    Metric::PreferenceAccuracy,
    Metric::Opa,
    Metric::PreferenceAccuracyNormalized,
    Metric::OpaMarginMean,
    Metric::RewardMarginMean,
    Metric::DpoLoss,
];

/// One row per metric: before, after, the paired difference, and the ties of strict comparisons. OPA has neither a before nor a
/// change.
fn figures(before: Option<&Metrics>, after: Option<&Metrics>, change: Option<&Metrics>) -> Part {
    let mut rows = Table::new(["figure", "before", "after", "change", "ties before", "ties after"]);
    for metric in ROWS {
        let has_before = metric != Metric::Opa;
        let (before, change) = (before.filter(|_| has_before), change.filter(|_| has_before));
        let figure = |metrics: Option<&Metrics>| {
            cell::or_none(metrics.map(|metrics| cell::figure(metric, metrics.get(metric))))
        };
        let ties = |metrics: Option<&Metrics>| {
            cell::or_none(metrics.and_then(|metrics| metrics.get(metric).ties).map(units::count))
        };
        rows.push([
            cell::label(metric),
            figure(before),
            figure(after),
            cell::or_none(change.map(|change| cell::change(metric, change.get(metric)))),
            ties(before),
            ties(after),
        ]);
    }
    Part::Table(rows)
}
