//! How far the preferred answers are ahead, as distributions before and after tuning.

use crate::metrics::PairScore;
use crate::report::cell;
use crate::report::section::{Chart, Part};
use crate::report::set_files::SetFiles;
use crate::report::svg::{Histogram, Quantity, Series, State};

/// The margins of a set's pairs; a sentence where its scores are not there.
pub fn part(files: &SetFiles) -> Part {
    let [before, after] = &files.scores;
    if before.is_empty() && after.is_empty() {
        return Part::missing(
            "The scores of the pairs are not in the run folder, so there are no distributions of margins.",
        );
    }
    Part::Charts([policy_margins(before, after), moved(after)].into_iter().flatten().collect())
}

/// By how many nats the policy prefers the preferred answer.
fn policy_margins(before: &[PairScore], after: &[PairScore]) -> Option<Chart> {
    let series = [("before", State::Before, before), ("after", State::After, after)];
    let series = series.map(|(name, state, scores)| Series {
        name: name.to_owned(),
        quantity: Quantity::Margin,
        state,
        values: scores.iter().map(PairScore::policy_margin).collect(),
    });
    let series: Vec<Series> =
        series.into_iter().filter(|series| !series.values.is_empty()).collect();
    let counts: Vec<String> = series
        .iter()
        .map(|one| format!("{} of {} {}", positive(&one.values), one.values.len(), one.name))
        .collect();
    let reading =
        format!("Right of 0 the model prefers what the person prefers: {}.", counts.join(", "));
    chart("Margin of the preferred answer", "s(w) − s(l), nats", series, &reading)
}

/// By how many nats tuning moved each pair towards the preferred answer; none without scores after tuning.
fn moved(after: &[PairScore]) -> Option<Chart> {
    if after.is_empty() {
        return None;
    }
    let moved: Vec<f64> =
        after.iter().map(|score| score.policy_margin() - score.reference_margin()).collect();
    let ties = moved.iter().filter(|moved| moved.abs() <= 0.0).count();
    let reading = format!(
        "OPA is the share right of 0: {} of {} pairs moved towards the preferred answer, {ties} stayed where they were; {} is half of them.",
        positive(&moved),
        moved.len(),
        cell::CHANCE
    );
    chart(
        "OPA margin: how far tuning moved each pair",
        "policy margin − reference margin, nats",
        vec![Series {
            name: "after".into(),
            quantity: Quantity::Opa,
            state: State::After,
            values: moved,
        }],
        &reading,
    )
}

fn positive(values: &[f64]) -> usize {
    values.iter().filter(|value| **value > 0.0).count()
}

fn chart(caption: &str, axis: &str, series: Vec<Series>, reading: &str) -> Option<Chart> {
    let chart = Histogram {
        title: caption.to_owned(),
        x_label: axis.to_owned(),
        y_label: "pairs".to_owned(),
        series,
        marker: Some(0.0),
    };
    let drawn = chart.draw()?;
    let beyond = match drawn.beyond {
        0 => String::new(),
        1 => " One value lies beyond the axis and is counted in its outermost bin.".to_owned(),
        n => format!(" {n} values lie beyond the axis and are counted in its outermost bins."),
    };
    Some(Chart {
        caption: caption.to_owned(),
        unit: String::new(),
        svg: drawn.svg,
        reading: format!("{reading}{beyond}").into(),
    })
}
