//! How far a policy has moved from its reference, where the run measured it: each figure beside its null.

use crate::metrics::{Evaluation, Kl};
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::section::{Chart, Part, Section};
use crate::report::sections::curves::states;
use crate::report::states::set_names;
use crate::report::svg::{Line, LineChart, Point, Quantity};
use crate::report::table::Table;
use crate::report::text::Text;
use crate::run_folder::drift::Watch;
use crate::run_folder::samples::{self, SampleMeans};

/// Half of a 95 % interval in standard errors.
const HALF_INTERVAL: f64 = 1.96;

/// The divergence of every set over the steps, the lengths of the sampled answers, and what is strong among them; empty for a run that
/// measured nothing of it.
pub fn section(run: &Run) -> Section {
    let all = states(run);
    let names = set_names(run.before.as_ref(), run.after.as_ref());
    let mut parts: Vec<Part> = told(run, &all, &names).into_iter().map(Part::reading).collect();
    let charts: Vec<Chart> =
        names.iter().filter_map(|set| chart(set, &divergences(set, &all))).collect();
    if !charts.is_empty() {
        parts.push(Part::Charts(charts));
        parts.push(Part::Table(divergence_table(&names, &all)));
        parts.push(Part::note(Text::marked(
            "KL divergence of the policy from the reference, in nats per token: exact over the whole vocabulary at every token of held-out \
             chosen answers (`eval.kl_pairs` of each set, evenly spaced), no sampling; the mean over answers with its standard error by \
             users. The reference itself has 0, and so has a fresh adapter. It is measured along these answers, not along the policy's own.",
        )));
    }
    if let Some(table) = length_table(run) {
        parts.push(Part::Table(table));
        parts.push(Part::note(Text::marked(
            "Greedy answers to the prompts of `eval.samples`: tokens of an answer, the base model's mean beside it as its null; the share cut \
             by `max_new_tokens`; the divergence from the reference along these answers themselves, per token, 0 for the reference.",
        )));
    }
    Section::new("drift", "Drift from the reference", parts)
}

/// What is strong, told once as the run told it.
fn told(run: &Run, states: &[(usize, &Evaluation)], names: &[&str]) -> Vec<Text> {
    let mut watch = Watch::default();
    let mut lines: Vec<String> = run.steps.iter().filter_map(|step| watch.step(step)).collect();
    for (step, evaluation) in states {
        for name in names {
            if let Some(kl) = evaluation.set(name).and_then(|set| set.kl.as_ref()) {
                lines.extend(watch.kl(*step, name, kl.value, kl.standard_error));
            }
        }
    }
    if let Some(base) = SampleMeans::of(samples::base(&run.samples)) {
        for state in samples::states(&run.samples) {
            let means = SampleMeans::of(state);
            lines.extend(means.and_then(|means| watch.samples(state[0].step, &means, &base)));
        }
    }
    lines
        .iter()
        .map(|line| Text::marked(line.trim_start_matches("drift: ")))
        .map(capitalised)
        .collect()
}

/// The sentence with a large first letter and its full stop.
fn capitalised(text: Text) -> Text {
    let plain = text.to_string();
    let mut letters = plain.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    Text::marked(&format!("{first}{}.", letters.as_str()))
}

/// The divergence of `set` in each state that measured it.
fn divergences<'a>(set: &str, states: &[(usize, &'a Evaluation)]) -> Vec<(usize, &'a Kl)> {
    let of = |(step, evaluation): &(usize, &'a Evaluation)| {
        Some((*step, evaluation.set(set)?.kl.as_ref()?))
    };
    states.iter().filter_map(of).collect()
}

/// None where nothing but the null was measured.
fn chart(set: &str, divergences: &[(usize, &Kl)]) -> Option<Chart> {
    let (last, kl) = divergences.last().filter(|(step, _)| *step > 0)?;
    let mark = |(step, kl): &(usize, &Kl)| {
        let half = kl.standard_error.map(|error| HALF_INTERVAL * error);
        let interval = half.map(|half| [(kl.value - half).max(0.0), kl.value + half]);
        Point { x: *step as f64, y: kl.value, interval }
    };
    let points = divergences.iter().map(|(step, kl)| (*step as f64, Some(kl.value))).collect();
    let marks = divergences.iter().map(mark).collect();
    let chart = LineChart {
        title: format!("KL divergence from the reference, {set}"),
        x_label: "optimizer step".to_owned(),
        lines: vec![Line { marks, ..Line::new("", Quantity::Margin, points) }],
        reference: Some((0.0, "0: the reference".to_owned())),
        range: None,
    };
    let reading = format!(
        "{:.4} nats per token after step {last}, beside 0 of the reference; {} tokens of {} answers.",
        kl.value, kl.tokens, kl.answers
    );
    Some(Chart {
        unit: "nats per token, with 95 % intervals".to_owned(),
        svg: chart.draw()?,
        caption: chart.title,
        reading: reading.into(),
    })
}

fn divergence_table(names: &[&str], states: &[(usize, &Evaluation)]) -> Table {
    let mut table =
        Table::new(["set", "step", "KL per token, reference 0", "standard error", "answers"]);
    for name in names {
        for (step, kl) in divergences(name, states) {
            table.push([
                (*name).to_owned(),
                step.to_string(),
                format!("{:.4}", kl.value),
                cell::or_none(kl.standard_error.map(|error| format!("{error:.4}"))),
                kl.answers.to_string(),
            ]);
        }
    }
    table
}

/// The means of the sampled answers of each state; none without any.
fn length_table(run: &Run) -> Option<Table> {
    let base = SampleMeans::of(samples::base(&run.samples))?;
    let mut table = Table::new([
        "answers after step",
        "tokens",
        "base model's tokens",
        "cut (%)",
        "KL per token, reference 0",
    ]);
    for state in samples::states(&run.samples) {
        let means = SampleMeans::of(state)?;
        let step =
            if state[0].is_base() { "base model".to_owned() } else { state[0].step.to_string() };
        table.push([
            step,
            format!("{:.1}", means.length),
            format!("{:.1}", base.length),
            cell::percent(means.clipped),
            cell::or_none(means.kl.map(|kl| format!("{kl:.4}"))),
        ]);
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::report::markdown;
    use crate::report::paired::Paired;
    use crate::report::sections::page;
    use crate::run_folder::samples::state_of;
    use crate::run_folder::train_log::StepRecord;

    fn drifted() -> Run {
        let mut run = crate::report::folder::sample::run();
        let kl = |value| Kl { value, standard_error: Some(0.01), answers: 4, tokens: 40 };
        let set = |evaluation: &mut Option<Evaluation>, value| {
            evaluation.as_mut().unwrap().sets[0].kl = Some(kl(value));
        };
        set(&mut run.before, 0.0);
        set(&mut run.after, 0.75);
        run.steps = (1..=12)
            .map(|step| StepRecord {
                step,
                logratios_chosen: Some(-30.0),
                logratios_rejected: Some(-50.0),
                lengths_chosen: Some(20.0),
                lengths_rejected: Some(21.0),
                rewards_margins: Some(2.0),
                ..StepRecord::default()
            })
            .collect();
        run.samples = [
            state_of(0, None, &["twelve chars", "0123456789ab"]),
            state_of(12, Some("a"), &["<b>x", "yyyy"]),
        ]
        .concat();
        run
    }

    fn markdown_of(run: &Run) -> String {
        markdown::page(&page(&[(run, Path::new("runs/a"))], &Paired::default(), &[]))
    }

    #[test]
    fn each_figure_stands_beside_its_null_and_strong_drift_is_told_once() {
        let page = markdown_of(&drifted());
        assert!(page.contains("## Drift from the reference"), "{page}");
        assert!(page.contains("| UF-P-4 | 12 | 0.7500 | 0.0100 | 4 |"), "{page}");
        assert!(page.contains("| UF-P-4 | 0 | 0.0000 | 0.0100 | 4 |"), "{page}");
        assert!(page.contains("| base model | 12.0 | 12.0 | 50.00 | - |"), "{page}");
        assert!(page.contains("| 12 | 4.0 | 12.0 | 50.00 | 0.5000 |"), "{page}");
        for line in [
            "Over steps 1 to 10 the chosen answers are 1.50 nats per token less likely",
            "After step 12 the KL divergence from the reference on `UF-P-4` is 0.75 nats per token",
            "After step 12 the answers to the sample prompts have 4.0 tokens, the base model's 12.0.",
        ] {
            assert_eq!(page.matches(line).count(), 1, "{line}: {page}");
        }
    }

    #[test]
    fn a_run_without_monitors_has_no_section_and_the_null_alone_no_chart() {
        let run = crate::report::folder::sample::run();
        assert!(section(&run).is_empty());
        let mut run = drifted();
        run.after = None;
        run.samples.clear();
        let parts = section(&run).parts;
        assert!(parts.iter().all(|part| !matches!(part, Part::Charts(_))), "{parts:?}");
    }
}
