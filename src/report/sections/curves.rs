//! Curves of the training: charts of one run, or a panel for each of several.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use crate::metrics::{Evaluation, Figure, Metric};
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::section::{Chart, Part, Section, Symbol};
use crate::report::sections::configurations::seeds;
use crate::report::states::set_names;
use crate::report::svg::{Line, LineChart, Multiples, Panel, Point, Quantity, SHARES};
use crate::report::text::Text;
use crate::run_folder::train_log::StepRecord;

/// Most panels of a chart of several runs.
const PANELS: usize = 12;

/// The first and the last value of a reading are means over one of so many parts of the steps.
const ENDS: usize = 10;

/// A value of a step, and its look.
struct Curve {
    /// At the end of its line; empty for the only one of a chart.
    name: &'static str,
    quantity: Quantity,
    value: fn(&StepRecord) -> Option<f64>,
}

/// A chart of one or two values over the steps.
struct Chosen {
    caption: String,
    unit: &'static str,
    /// Place and name of a dashed line.
    reference: Option<(f64, &'static str)>,
    /// Ends of the values' axis; none for those of the values.
    range: Option<[f64; 2]>,
    curves: Vec<Curve>,
}

/// Loss, margin, accuracy, log-probabilities and lengths over the steps; empty for runs without steps.
pub fn parts(runs: &[&Run]) -> Vec<Part> {
    let one = |quantity, value| vec![Curve { name: "", quantity, value }];
    let others = [
        Chosen {
            caption: "Reward margin".to_owned(),
            unit: "chosen less rejected",
            reference: None,
            range: None,
            curves: one(Quantity::Margin, |step| step.rewards_margins),
        },
        Chosen {
            caption: "Reward accuracy".to_owned(),
            unit: "% of the step's pairs: OPA on them",
            reference: Some((50.0, cell::CHANCE)),
            range: Some(SHARES),
            curves: one(Quantity::Opa, |step| step.rewards_accuracies.map(|share| 100.0 * share)),
        },
        Chosen {
            caption: "Log-probability of the answers".to_owned(),
            unit: "nats, mean of the step",
            reference: None,
            range: None,
            curves: vec![
                Curve { name: "chosen", quantity: Quantity::Chosen, value: |s| s.logps_chosen },
                Curve {
                    name: "rejected",
                    quantity: Quantity::Rejected,
                    value: |s| s.logps_rejected,
                },
            ],
        },
        Chosen {
            caption: "Log-ratio of the answers to the reference".to_owned(),
            unit: "nats, policy less reference, mean of the step",
            reference: Some((0.0, "0: the reference")),
            range: None,
            curves: vec![
                Curve { name: "chosen", quantity: Quantity::Chosen, value: |s| s.logratios_chosen },
                Curve {
                    name: "rejected",
                    quantity: Quantity::Rejected,
                    value: |s| s.logratios_rejected,
                },
            ],
        },
        Chosen {
            caption: "Length of the answers".to_owned(),
            unit: "scored tokens, mean of the step",
            reference: None,
            range: None,
            curves: vec![
                Curve { name: "chosen", quantity: Quantity::Chosen, value: |s| s.lengths_chosen },
                Curve {
                    name: "rejected",
                    quantity: Quantity::Rejected,
                    value: |s| s.lengths_rejected,
                },
            ],
        },
    ];
    let is_several = runs.len() > 1;
    let others = others.iter().filter_map(|chart| chart.of(runs, is_several));
    let charts: Vec<Chart> = losses(runs).into_iter().chain(others).collect();
    let key = (runs.len() > 1 && !charts.is_empty()).then(|| Part::Key(key(runs)));
    key.into_iter().chain(grid(charts)).collect()
}

/// A chart of the loss for every `dpo.loss` among the runs: losses of two kinds have no common scale.
fn losses(runs: &[&Run]) -> Vec<Chart> {
    let mut kinds: Vec<&str> = Vec::new();
    for run in runs {
        if !kinds.contains(&loss_of(run)) {
            kinds.push(loss_of(run));
        }
    }
    let is_mixed = kinds.len() > 1;
    let chart = |kind: &str| {
        let chosen = Chosen {
            caption: if is_mixed { format!("Loss, {kind}") } else { "Loss".to_owned() },
            unit: match kind {
                "ipo" | "hinge" => "per pair, mean of the step",
                _ => "nats per pair, mean of the step",
            },
            reference: (kind == SIGMOID).then_some((LN_2, "ln 2: no preference yet")),
            range: None,
            curves: vec![Curve { name: "", quantity: Quantity::Loss, value: |step| step.loss }],
        };
        let alike: Vec<&Run> = runs.iter().copied().filter(|run| loss_of(run) == kind).collect();
        let mut chart = chosen.of(&alike, runs.len() > 1)?;
        if is_mixed {
            let apart = " The loss of another `dpo.loss` is another quantity: the charts of losses cannot be compared.";
            chart.reading = chart.reading.and(Text::marked(apart));
        }
        Some(chart)
    };
    kinds.into_iter().filter_map(chart).collect()
}

/// The loss that starts at ln 2, and the default.
const SIGMOID: &str = "sigmoid";

fn loss_of(run: &Run) -> &str {
    run.setting("dpo.loss").and_then(|loss| loss.as_str()).unwrap_or(SIGMOID)
}

/// What the panels of several runs cannot name at the ends of their curves.
fn key(runs: &[&Run]) -> Vec<Symbol> {
    let symbol = |quantity: Quantity, name: &str| Symbol {
        svg: format!("<path d=\"M0 7h14\" class=\"{} curve\"/>", quantity.class()),
        name: name.to_owned(),
    };
    let mut key = vec![
        symbol(Quantity::Chosen, "log-probability, chosen"),
        symbol(Quantity::Rejected, "log-probability, rejected"),
    ];
    if !seeds(runs).is_empty() {
        let svg =
            format!("<path d=\"M0 2h14v10h-14Z\" class=\"{} band\"/>", Quantity::Loss.class());
        let name =
            "runs that differ in the seed alone: from the lowest to the highest around their mean";
        key.push(Symbol { svg, name: name.to_owned() });
    }
    key
}

/// How many runs have no panel; empty where all have one.
fn not_drawn(runs: &[&Run]) -> String {
    match groups(runs).len().saturating_sub(PANELS) {
        0 => String::new(),
        1 => " One more run is not drawn; its own report has its curves.".to_owned(),
        more => format!(" {more} more runs are not drawn; their own reports have their curves."),
    }
}

/// The runs of each panel: those that differ in the seed alone, or one.
fn groups<'a>(runs: &[&'a Run]) -> Vec<Vec<&'a Run>> {
    let alike = seeds(runs);
    let mut groups: Vec<Vec<&Run>> = Vec::new();
    for &run in runs {
        let same = |other: &&Run| std::ptr::eq(*other, run);
        match alike.iter().find(|group| group.iter().any(same)) {
            // The group stands where its first run would.
            Some(group) if group.first().is_some_and(same) => groups.push(group.clone()),
            Some(_) => {}
            None => groups.push(vec![run]),
        }
    }
    groups
}

impl Chosen {
    /// The chart of one run, or the panels of a page of several; none where no step has the value.
    fn of(&self, runs: &[&Run], is_several: bool) -> Option<Chart> {
        let has = |step: &StepRecord| self.curves.iter().any(|curve| (curve.value)(step).is_some());
        if !runs.iter().any(|run| run.steps.iter().any(has)) {
            return None;
        }
        let svg = match runs {
            [run] if !is_several => self.alone(run)?,
            _ => self.panels(runs)?,
        };
        let changes = runs.iter().flat_map(|run| self.changes(run, is_several));
        let changes = changes.reduce(|all, one| all.and("; ").and(one)).unwrap_or_default();
        let reading = Text::from("From the first tenth of the steps to the last: ").and(changes);
        Some(Chart {
            caption: self.caption.clone(),
            unit: self.unit.to_owned(),
            svg,
            reading: reading.and(".").and(not_drawn(runs)),
        })
    }

    fn alone(&self, run: &Run) -> Option<String> {
        let line =
            |curve: &Curve| Line::new(curve.name, curve.quantity, points(&run.steps, &curve.value));
        let chart = LineChart {
            title: self.caption.clone(),
            x_label: "optimizer step".to_owned(),
            lines: self.curves.iter().map(line).collect(),
            reference: self.reference.map(|(at, name)| (at, name.to_owned())),
            range: self.range,
        };
        chart.draw()
    }

    fn panels(&self, runs: &[&Run]) -> Option<String> {
        let panel = |group: Vec<&Run>| Panel {
            name: match &group[..] {
                [run] => run.name.clone(),
                group => {
                    let names: Vec<&str> = group.iter().map(|run| &*run.name).collect();
                    format!("{} seeds: {}", group.len(), names.join(", "))
                }
            },
            lines: self.curves.iter().map(|curve| line_of(&group, curve)).collect(),
        };
        let title = match self.curves.iter().map(|curve| curve.name).collect::<Vec<_>>()[..] {
            [solid, dashed] => format!("{} ({solid} solid, {dashed} dashed)", self.caption),
            _ => self.caption.clone(),
        };
        let chart = Multiples {
            title,
            x_label: "optimizer step".to_owned(),
            panels: groups(runs).into_iter().take(PANELS).map(panel).collect(),
            reference: self.reference.map(|(at, _)| at),
            range: self.range,
        };
        chart.draw()
    }

    /// `name 0.693 to 0.012` for each curve of `run`; with the run's name where there are several.
    fn changes(&self, run: &Run, is_named: bool) -> Vec<Text> {
        let change = |curve: &Curve| {
            let [from, to] = ends(&run.steps, &curve.value)?;
            let name =
                if curve.name.is_empty() { String::new() } else { format!("{} ", curve.name) };
            let change = format!("{name}{} to {}", digits(from), digits(to));
            let who = is_named.then(|| Text::code(&run.name).and(": "));
            Some(who.unwrap_or_default().and(change))
        };
        self.curves.iter().filter_map(change).collect()
    }
}

/// The curve of one run; of several, their mean over the steps that all have, in a band from the lowest to the highest.
fn line_of(group: &[&Run], curve: &Curve) -> Line {
    if let [run] = group {
        return Line::new("", curve.quantity, points(&run.steps, &curve.value));
    }
    let mut values: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for step in group.iter().flat_map(|run| &run.steps) {
        if let Some(value) = (curve.value)(step).filter(|value| value.is_finite()) {
            values.entry(step.step).or_default().push(value);
        }
    }
    values.retain(|_, values| values.len() == group.len());
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let points = values.iter().map(|(step, values)| (*step as f64, Some(mean(values)))).collect();
    let reach = |values: &[f64]| {
        values.iter().fold([f64::MAX, f64::MIN], |[low, high], v| [low.min(*v), high.max(*v)])
    };
    let band = values.iter().map(|(step, values)| (*step as f64, reach(values))).collect();
    Line { band, ..Line::new("", curve.quantity, points) }
}

fn grid(charts: Vec<Chart>) -> Vec<Part> {
    if charts.is_empty() { vec![] } else { vec![Part::Charts(charts)] }
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
pub(in crate::report::sections) fn states(run: &Run) -> Vec<(usize, &Evaluation)> {
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
    let line = |metric: Metric, name: &str, quantity: Quantity| {
        let figures = figures(set, metric, states);
        let points = figures.iter().map(|(x, figure)| (*x, Some(100.0 * figure.value))).collect();
        let marks = figures.iter().map(|(x, figure)| mark(*x, figure)).collect();
        Line { marks, ..Line::new(name, quantity, points) }
    };
    let chart = LineChart {
        title: format!("{set} during training"),
        x_label: "optimizer step".to_owned(),
        lines: vec![
            line(Metric::PreferenceAccuracy, "accuracy", Quantity::Accuracy),
            line(Metric::Opa, "OPA", Quantity::Opa),
        ],
        reference: Some((50.0, cell::CHANCE.to_owned())),
        range: Some(SHARES),
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
    fn runs_of_other_seeds_share_a_panel_with_a_band_and_others_have_their_own() {
        let run = |name: &str, seed: i64, beta: f64, loss: f64| {
            let mut run = crate::report::folder::sample::run();
            run.name = name.into();
            run.config = format!("[train]\nseed = {seed}\n[dpo]\nbeta = {beta}").parse().unwrap();
            let step = |i: usize| StepRecord { step: i, loss: Some(loss), ..StepRecord::default() };
            run.steps = (1..=4).map(step).collect();
            run
        };
        let all = [run("a", 1, 0.1, 0.5), run("b", 2, 0.1, 0.7), run("c", 1, 0.2, 0.6)];
        let all: Vec<&Run> = all.iter().collect();
        let names = |group: &Vec<&Run>| group.iter().map(|run| &*run.name).collect::<String>();
        assert_eq!(groups(&all).iter().map(names).collect::<Vec<_>>(), ["ab", "c"]);
        let loss = Curve { name: "", quantity: Quantity::Loss, value: |step| step.loss };
        let line = line_of(&groups(&all)[0], &loss);
        assert!((line.points[0].1.unwrap() - 0.6).abs() < 1e-9);
        assert_eq!(line.band[3], (4.0, [0.5, 0.7]));
        let [Part::Key(key), Part::Charts(charts)] = &parts(&all)[..] else { panic!() };
        assert!(key.iter().any(|symbol| symbol.name.contains("from the lowest to the highest")));
        assert!(charts[0].svg.contains(">2 seeds: a, b<") && charts[0].svg.contains(">c<"));
    }

    #[test]
    fn losses_of_two_kinds_never_share_an_axis() {
        let run = |name: &str, kind: &str, loss: f64| {
            let mut run = crate::report::folder::sample::run();
            run.name = name.into();
            run.config = format!("[dpo]\nloss = \"{kind}\"").parse().unwrap();
            run.steps = vec![StepRecord { step: 1, loss: Some(loss), ..StepRecord::default() }];
            run
        };
        let (a, b, c) =
            (run("a", "sigmoid", 0.69), run("b", "ipo", 25.0), run("c", "sigmoid", 0.5));
        let [sigmoid, ipo] = &losses(&[&a, &b, &c])[..] else { panic!("two charts") };
        assert_eq!([&*sigmoid.caption, &ipo.caption], ["Loss, sigmoid", "Loss, ipo"]);
        for (chart, own, other) in [(sigmoid, [">a<", ">c<"], ">b<"), (ipo, [">b<"; 2], ">a<")] {
            assert!(own.iter().all(|name| chart.svg.contains(name)) && !chart.svg.contains(other));
            assert!(chart.reading.to_string().contains("cannot be compared"), "{}", chart.reading);
        }
        assert!(!ipo.svg.contains("reference") && sigmoid.svg.contains("reference"));
        let [alone] = &losses(&[&b])[..] else { panic!("one chart") };
        assert_eq!(alone.caption, "Loss");
        assert!(!alone.reading.to_string().contains("compared"));
    }

    #[test]
    fn more_runs_than_panels_are_said() {
        let run = crate::report::folder::sample::run();
        let step = StepRecord { step: 1, loss: Some(0.6), ..StepRecord::default() };
        let all: Vec<Run> = (0..15)
            .map(|i| Run { name: format!("r{i}"), steps: vec![step.clone()], ..run.clone() })
            .collect();
        let parts = parts(&all.iter().collect::<Vec<_>>());
        let [_, Part::Charts(charts)] = &parts[..] else { panic!() };
        let note = &charts[0].reading;
        assert!(note.to_string().contains("3 more runs are not drawn"), "{note}");
        assert_eq!(charts[0].svg.matches("class=\"group\"").count(), PANELS);
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
