//! Curves of the training, of one run or of several over each other.

use std::f64::consts::LN_2;

use crate::metrics::{Figure, Metric};
use crate::report::folder::Run;
use crate::report::html::{figure, grid};
use crate::report::svg::{Line, LineChart, Point};
use crate::run_folder::train_log::StepRecord;

/// Styles of runs; a seventh run begins again.
const RUN_CLASSES: usize = 7;

/// Share of the steps that the first and the last value of a reading are means over.
const ENDS: usize = 10;

/// The style of run number `index`.
pub fn run_class(index: usize) -> String {
    format!("run{}", index % RUN_CLASSES)
}

/// Loss, margin, accuracy and log-probabilities over the steps; empty for runs without steps.
pub fn curves(runs: &[&Run]) -> String {
    let loss = is_sigmoid(runs).then(|| (LN_2, "ln 2: no preference yet".to_owned()));
    let half = Some((50.0, "a coin".to_owned()));
    let charts = [
        chart(runs, "Loss", "nats per pair, mean of the step", loss, |step| step.loss),
        chart(runs, "Reward margin", "chosen less rejected", None, |step| step.rewards_margins),
        chart(runs, "Reward accuracy", "% of the step's pairs", half, |step| {
            step.rewards_accuracies.map(|share| 100.0 * share)
        }),
        log_probabilities(runs),
    ];
    grid(&charts)
}

/// Whether every run has the loss that starts at ln 2.
fn is_sigmoid(runs: &[&Run]) -> bool {
    runs.iter()
        .all(|run| run.setting("dpo.loss").is_none_or(|loss| loss.as_str() == Some("sigmoid")))
}

fn chart(
    runs: &[&Run],
    caption: &str,
    unit: &str,
    reference: Option<(f64, String)>,
    value: impl Fn(&StepRecord) -> Option<f64>,
) -> String {
    let line = |(index, run): (usize, &&Run)| Line {
        name: if runs.len() > 1 { run.name.clone() } else { String::new() },
        class: run_class(index),
        points: points(&run.steps, &value),
        marks: vec![],
    };
    let chart = LineChart {
        title: caption.to_owned(),
        x_label: "optimizer step".to_owned(),
        lines: runs.iter().enumerate().map(line).collect(),
        reference,
    };
    let said: Vec<String> = runs
        .iter()
        .filter_map(|run| {
            let [from, to] = ends(&run.steps, &value)?;
            let who = if runs.len() > 1 { format!("`{}`: ", run.name) } else { String::new() };
            Some(format!("{who}{} to {}", digits(from), digits(to)))
        })
        .collect();
    let reading = format!("From the first tenth of the steps to the last: {}.", said.join("; "));
    chart.draw().map_or_else(String::new, |svg| figure(caption, unit, &svg, &reading))
}

/// Chosen and rejected; of several runs, both of each.
fn log_probabilities(runs: &[&Run]) -> String {
    let mut lines = Vec::new();
    let mut said = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        for side in ["chosen", "rejected"] {
            let value = |step: &StepRecord| match side {
                "chosen" => step.logps_chosen,
                _ => step.logps_rejected,
            };
            let (name, class) = if runs.len() > 1 {
                (format!("{}, {side}", run.name), run_class(index))
            } else {
                (side.to_owned(), side.to_owned())
            };
            if let Some([from, to]) = ends(&run.steps, &value) {
                said.push(format!("{name} {} to {}", digits(from), digits(to)));
            }
            lines.push(Line { name, class, points: points(&run.steps, &value), marks: vec![] });
        }
    }
    let caption = "Log-probability of the answers";
    let chart = LineChart {
        title: caption.to_owned(),
        x_label: "optimizer step".to_owned(),
        lines,
        reference: None,
    };
    let reading = format!(
        "Mean summed log-probability under the policy, first tenth of the steps to the last: {}.",
        said.join("; ")
    );
    chart.draw().map_or_else(String::new, |svg| figure(caption, "nats", &svg, &reading))
}

fn points(
    steps: &[StepRecord],
    value: &impl Fn(&StepRecord) -> Option<f64>,
) -> Vec<(f64, Option<f64>)> {
    steps.iter().map(|step| (step.step as f64, value(step).filter(|y| y.is_finite()))).collect()
}

/// Means over the first and over the last tenth of the steps.
fn ends(steps: &[StepRecord], value: &impl Fn(&StepRecord) -> Option<f64>) -> Option<[f64; 2]> {
    let values: Vec<f64> = steps.iter().filter_map(value).filter(|y| y.is_finite()).collect();
    let few = values.len().div_ceil(ENDS);
    let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
    (few > 0).then(|| [mean(&values[..few]), mean(&values[values.len() - few..])])
}

/// Three figures, as a reader compares them.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// OPA and preference accuracy of every set over the steps, where the run was evaluated on its way.
pub fn evaluations(run: &Run) -> String {
    if run.during.is_empty() {
        return String::new();
    }
    let last = run.steps.last().map_or(0, |step| step.step);
    let before = run.before.iter().map(|evaluation| (0, evaluation));
    let during = run.during.iter().map(|(step, evaluation)| (*step, evaluation));
    let is_new = run.during.iter().all(|(step, _)| *step != last);
    let after = run.after.iter().filter(|_| is_new).map(|evaluation| (last, evaluation));
    let states: Vec<_> = before.chain(during).chain(after).collect();
    let mut charts = Vec::new();
    for name in crate::report::table1::set_names(run.before.as_ref(), run.after.as_ref()) {
        let line = |metric: Metric, title: &str, class: &str| {
            let figure = |(step, evaluation): &(usize, &crate::metrics::Evaluation)| {
                Some((*step as f64, *evaluation.set(name)?.overall.get(metric)))
            };
            let figures: Vec<_> = states.iter().filter_map(figure).collect();
            Line {
                name: title.to_owned(),
                class: class.to_owned(),
                points: figures.iter().map(|(x, f)| (*x, Some(100.0 * f.value))).collect(),
                marks: figures.iter().map(|(x, figure)| mark(*x, figure)).collect(),
            }
        };
        let chart = LineChart {
            title: format!("{name} during training"),
            x_label: "optimizer step".to_owned(),
            lines: vec![
                line(Metric::Opa, "OPA", "opa"),
                line(Metric::PreferenceAccuracy, "accuracy", "after"),
            ],
            reference: Some((50.0, "a coin".to_owned())),
        };
        let reading = format!(
            "{} states of the model; OPA is 0 before the first step, where policy and reference are one.",
            states.len()
        );
        if let Some(svg) = chart.draw() {
            charts.push(figure(&chart.title, "%, with 95 % intervals", &svg, &reading));
        }
    }
    grid(&charts)
}

fn mark(x: f64, figure: &Figure) -> Point {
    let interval = figure.low.zip(figure.high).map(|(low, high)| [100.0 * low, 100.0 * high]);
    Point { x, y: 100.0 * figure.value, interval }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_compares_the_first_with_the_last_tenth_and_passes_over_what_is_missing() {
        let step = |i: usize| StepRecord {
            step: i,
            loss: (i != 2).then_some(if i <= 3 { 1.0 } else { 0.25 }),
            ..StepRecord::default()
        };
        let steps: Vec<StepRecord> = (1..=30).map(step).collect();
        assert_eq!(ends(&steps, &|step: &StepRecord| step.loss), Some([1.0 - 0.75 / 3.0, 0.25]));
        assert_eq!(ends(&[], &|step: &StepRecord| step.loss), None);
        assert_eq!([0.4567, -12.34, 345.6].map(digits), ["0.457", "-12.3", "346"]);
    }
}
