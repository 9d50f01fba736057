//! Curves of the training, of one run or of several over each other.

use std::f64::consts::LN_2;

use crate::metrics::{Evaluation, Figure, Metric};
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::section::{Chart, Part, Section};
use crate::report::states::set_names;
use crate::report::svg::{Line, LineChart, Point};
use crate::report::text::Text;
use crate::run_folder::train_log::StepRecord;

/// Styles of runs; an eighth run has the first style again.
const RUN_CLASSES: usize = 7;

/// The first and the last value of a reading are means over one of so many parts of the steps.
const ENDS: usize = 10;

/// The style of run number `index`.
pub fn run_class(index: usize) -> String {
    format!("run{}", index % RUN_CLASSES)
}

/// Loss, margin, accuracy and log-probabilities over the steps; empty for runs without steps.
pub fn parts(runs: &[&Run]) -> Vec<Part> {
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
    grid(charts.into_iter().flatten().collect())
}

fn grid(charts: Vec<Chart>) -> Vec<Part> {
    if charts.is_empty() { vec![] } else { vec![Part::Charts(charts)] }
}

/// Whether every run has the loss that starts at ln 2.
fn is_sigmoid(runs: &[&Run]) -> bool {
    runs.iter()
        .all(|run| run.setting("dpo.loss").is_none_or(|loss| loss.as_str() == Some("sigmoid")))
}

/// One value of a step, one curve a run; none where no step has the value.
fn chart(
    runs: &[&Run],
    caption: &str,
    unit: &str,
    reference: Option<(f64, String)>,
    value: impl Fn(&StepRecord) -> Option<f64>,
) -> Option<Chart> {
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
    let changes = runs.iter().filter_map(|run| {
        let [from, to] = ends(&run.steps, &value)?;
        let change = format!("{} to {}", digits(from), digits(to));
        let who = (runs.len() > 1).then(|| Text::code(&run.name).and(": "));
        Some(who.unwrap_or_default().and(change))
    });
    let reading =
        Text::from("From the first tenth of the steps to the last: ").and(joined(changes)).and(".");
    Some(Chart { caption: caption.to_owned(), unit: unit.to_owned(), svg: chart.draw()?, reading })
}

/// Of chosen and rejected answers; of several runs, both of each.
fn log_probabilities(runs: &[&Run]) -> Option<Chart> {
    type Side = (&'static str, fn(&StepRecord) -> Option<f64>);
    let sides: [Side; 2] =
        [("chosen", |step| step.logps_chosen), ("rejected", |step| step.logps_rejected)];
    let mut lines = Vec::new();
    let mut changes = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        for (side, value) in sides {
            let (name, class) = if runs.len() > 1 {
                (format!("{}, {side}", run.name), run_class(index))
            } else {
                (side.to_owned(), side.to_owned())
            };
            if let Some([from, to]) = ends(&run.steps, &value) {
                changes.push(Text::from(format!("{name} {} to {}", digits(from), digits(to))));
            }
            lines.push(Line { name, class, points: points(&run.steps, &value), marks: vec![] });
        }
    }
    let caption = "Log-probability of the answers".to_owned();
    let chart = LineChart {
        title: caption.clone(),
        x_label: "optimizer step".to_owned(),
        lines,
        reference: None,
    };
    let reading = Text::from(
        "Mean summed log-probability under the policy, first tenth of the steps to the last: ",
    )
    .and(joined(changes.into_iter()))
    .and(".");
    Some(Chart { caption, unit: "nats".to_owned(), svg: chart.draw()?, reading })
}

/// The texts with semicolons between them.
fn joined(texts: impl Iterator<Item = Text>) -> Text {
    texts.reduce(|all, one| all.and("; ").and(one)).unwrap_or_default()
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

/// OPA and preference accuracy of every set over the steps; empty for a run that was not evaluated during training.
pub fn evaluations(run: &Run) -> Section {
    let mut charts = Vec::new();
    if !run.during.is_empty() {
        let states = states(run);
        let names = set_names(run.before.as_ref(), run.after.as_ref());
        charts.extend(names.into_iter().filter_map(|name| evaluation_chart(name, &states)));
    }
    Section::new("evaluations", "Evaluation during training", grid(charts))
}

/// Every evaluation with its step, in order.
fn states(run: &Run) -> Vec<(usize, &Evaluation)> {
    let last = run.steps.last().map_or(0, |step| step.step);
    let before = run.before.iter().map(|evaluation| (0, evaluation));
    let during = run.during.iter().map(|(step, evaluation)| (*step, evaluation));
    let is_new = run.during.iter().all(|(step, _)| *step != last);
    let after = run.after.iter().filter(|_| is_new).map(|evaluation| (last, evaluation));
    before.chain(during).chain(after).collect()
}

/// The figure of each state with its step. Before the first step policy and reference are one, so OPA has no figure of that state.
fn figures<'a>(
    set: &str,
    metric: Metric,
    states: &[(usize, &'a Evaluation)],
) -> Vec<(f64, &'a Figure)> {
    let has = |step: usize| metric != Metric::Opa || step > 0;
    let figure = |(step, evaluation): &(usize, &'a Evaluation)| {
        Some((*step as f64, evaluation.set(set)?.overall.get(metric)))
    };
    states.iter().filter(|(step, _)| has(*step)).filter_map(figure).collect()
}

fn evaluation_chart(set: &str, states: &[(usize, &Evaluation)]) -> Option<Chart> {
    let line = |metric: Metric, name: &str, class: &str| {
        let figures = figures(set, metric, states);
        Line {
            name: name.to_owned(),
            class: class.to_owned(),
            points: figures.iter().map(|(x, figure)| (*x, Some(100.0 * figure.value))).collect(),
            marks: figures.iter().map(|(x, figure)| mark(*x, figure)).collect(),
        }
    };
    let chart = LineChart {
        title: format!("{set} during training"),
        x_label: "optimizer step".to_owned(),
        lines: vec![
            line(Metric::PreferenceAccuracy, "accuracy", "after"),
            line(Metric::Opa, "OPA", "opa"),
        ],
        reference: Some((50.0, cell::CHANCE.to_owned())),
    };
    let reading = format!(
        "{} states of the model; OPA begins after the first step, for before it policy and reference are one, and its chance is 50 %.",
        states.len()
    );
    Some(Chart {
        unit: "%, with 95 % intervals".to_owned(),
        svg: chart.draw()?,
        caption: chart.title,
        reading: reading.into(),
    })
}

fn mark(x: f64, figure: &Figure) -> Point {
    let interval = figure.low.zip(figure.high).map(|(low, high)| [100.0 * low, 100.0 * high]);
    Point { x, y: 100.0 * figure.value, interval }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_of_opa_begins_after_the_first_step() {
        let mut run = crate::report::folder::sample::run();
        run.steps = vec![StepRecord { step: 10, ..StepRecord::default() }];
        run.during = vec![(5, run.after.clone().unwrap())];
        let steps = |metric| -> Vec<f64> {
            figures("UF-P-4", metric, &states(&run)).iter().map(|(step, _)| *step).collect()
        };
        assert_eq!(steps(Metric::PreferenceAccuracy), [0.0, 5.0, 10.0]);
        assert_eq!(steps(Metric::Opa), [5.0, 10.0]);
        let Part::Charts(charts) = &evaluations(&run).parts[0] else { panic!("charts") };
        assert!(charts[0].svg.contains(cell::CHANCE), "{}", charts[0].svg);
    }

    #[test]
    fn a_reading_compares_the_first_with_the_last_tenth_and_skips_missing_values() {
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
