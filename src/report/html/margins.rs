//! How far the preferred answers are ahead, as distributions before and after tuning.

use crate::report::folder::SetFiles;
use crate::report::html::{figure, grid};
use crate::report::markup::paragraph;
use crate::report::svg::{Histogram, Series};

/// The margins of a set; a sentence where its scores are not there.
pub fn margins(files: &SetFiles) -> String {
    let [before, after] = &files.scores;
    if before.is_empty() && after.is_empty() {
        return paragraph(
            "missing",
            "The scores of the pairs are not in the run folder, so there are no distributions of margins.",
        );
    }
    let mut figures = Vec::new();
    let margins = |scores: &[crate::metrics::PairScore]| -> Vec<f64> {
        scores.iter().map(|score| score.policy_margin()).collect()
    };
    let series = [("before", before), ("after", after)].map(|(name, scores)| Series {
        name: name.to_owned(),
        class: name.to_owned(),
        values: margins(scores),
    });
    let said: Vec<String> = series
        .iter()
        .filter(|series| !series.values.is_empty())
        .map(|series| {
            format!("{} of {} {}", share(&series.values), series.values.len(), series.name)
        })
        .collect();
    figures.extend(chart(
        "Margin of the preferred answer",
        "s(w) − s(l), nats",
        series.into(),
        &format!("Right of 0 the model prefers what the person prefers: {}.", said.join(", ")),
    ));
    if !after.is_empty() {
        let moved: Vec<f64> =
            after.iter().map(|score| score.policy_margin() - score.reference_margin()).collect();
        let ties = moved.iter().filter(|moved| moved.abs() <= 0.0).count();
        let reading = format!(
            "OPA is the share right of 0: {} of {} pairs moved towards the preferred answer, {ties} stayed where they were.",
            share(&moved),
            moved.len()
        );
        let series = Series { name: "after".into(), class: "opa".into(), values: moved };
        figures.extend(chart(
            "OPA margin: how far tuning moved each pair",
            "policy margin − reference margin, nats",
            vec![series],
            &reading,
        ));
    }
    grid(&figures)
}

/// How many are above 0.
fn share(values: &[f64]) -> usize {
    values.iter().filter(|value| **value > 0.0).count()
}

fn chart(caption: &str, unit: &str, series: Vec<Series>, reading: &str) -> Option<String> {
    let series = series.into_iter().filter(|series| !series.values.is_empty()).collect();
    let chart = Histogram {
        title: caption.to_owned(),
        x_label: unit.to_owned(),
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
    Some(figure(caption, "", &drawn.svg, &format!("{reading}{beyond}")))
}
