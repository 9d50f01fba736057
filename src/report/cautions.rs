//! Sentences that must stand above figures, since the figures alone would be read as more than they are.

use crate::metrics::{Metric, PairScore, SetResult};
use crate::report::cell;
use crate::report::set_files::SetFiles;
use crate::report::states::States;
use crate::report::text::Text;
use crate::run_folder::train_log::StepRecord;

/// Beginning of the path of a file compiled into the binary: the synthetic sample.
pub(in crate::report) const EMBEDDED: &str = "embedded:";

/// The words beside a figure of the set that chose the exported step.
pub const CHOSEN: &str = "chosen on this set";

/// The sentences about a run, the most important first; `exported_best`: whether a comparison chose the exported step.
pub fn of(
    config: &toml::Table,
    exported_best: bool,
    files: &[SetFiles],
    states: &[States<'_>],
) -> Vec<Text> {
    let mut all = about_sets(config, exported_best, states);
    all.extend(states.iter().filter_map(|set| {
        let files = files.iter().find(|files| files.name == set.name)?;
        let [before, after] = &files.scores;
        falling(set.after?, before, after)
    }));
    all
}

/// The sentence about a run whose steps all had a learning rate of 0.
pub fn unlearned(steps: &[StepRecord]) -> Option<Text> {
    let is_zero = |step: &StepRecord| step.learning_rate <= 0.0;
    (!steps.is_empty() && steps.iter().all(is_zero)).then(|| {
        Text::marked(
            "The learning rate was 0 in every step, so nothing was learned: the tuned model is the one before tuning, and every pair ties.",
        )
    })
}

/// Those that hold whatever the figures are: the synthetic sample, the set that chose the exported step.
pub fn about_sets(config: &toml::Table, exported_best: bool, states: &[States<'_>]) -> Vec<Text> {
    let chosen = chosen_set(config, exported_best)
        .filter(|chosen| states.iter().any(|set| set.name == *chosen))
        .and_then(|set| chosen(config, set));
    [sample(config), chosen].into_iter().flatten().collect()
}

/// The set whose evaluations chose the exported step; none where the last step was exported.
pub fn chosen_set(config: &toml::Table, exported_best: bool) -> Option<&str> {
    let eval = config.get("eval")?;
    if !exported_best || matches!(eval.get("best_metric")?.as_str()?, "" | "none") {
        return None;
    }
    match eval.get("best_set").and_then(toml::Value::as_str) {
        Some(name) if !name.is_empty() => Some(name),
        _ => eval.get("sets")?.as_array()?.first()?.get("name")?.as_str(),
    }
}

fn chosen(config: &toml::Table, set: &str) -> Option<Text> {
    let metric = config.get("eval")?.get("best_metric")?.as_str()?;
    let text = format!(
        "{CHOSEN}. `eval.best_metric` took the step with the best `{metric}` here, so its figures are too good; `eval.best_set` can name \
         another set."
    );
    Some(Text::from(format!("{set}: ")).and(Text::marked(&text)))
}

/// The sets whose files are the sample inside the binary.
fn sample(config: &toml::Table) -> Option<Text> {
    let is_embedded =
        |file: &toml::Value| file.as_str().is_some_and(|path| path.starts_with(EMBEDDED));
    let is_sample = |set: &&toml::Value| {
        let files = set.get("files").and_then(toml::Value::as_array);
        files.into_iter().flatten().any(is_embedded)
    };
    let sets = config.get("eval")?.get("sets")?.as_array()?;
    let names: Vec<&str> =
        sets.iter().filter(is_sample).filter_map(|set| set.get("name")?.as_str()).collect();
    (!names.is_empty()).then(|| {
        Text::from(format!(
            "{}: a synthetic sample, which says nothing about alignment. It is made to be learnt and shows the pipeline.",
            names.join(", ")
        ))
    })
}

/// A fall of the preferred answers' log-probability beside an OPA above chance.
fn falling(set: &SetResult, before: &[PairScore], after: &[PairScore]) -> Option<Text> {
    let mean = |scores: &[PairScore]| {
        let sum: f64 = scores.iter().map(|score| score.policy_chosen_logps).sum();
        (!scores.is_empty()).then(|| sum / scores.len() as f64)
    };
    let (from, to) = (mean(before)?, mean(after)?);
    let opa = set.overall.get(Metric::Opa);
    (before.len() == after.len() && to < from && opa.value > 0.5).then(|| {
        Text::from(format!(
            "{}: the log-probability of the preferred answers fell from {from:.1} to {to:.1} nats, beside an OPA of {} %. Tuning made \
             these answers less likely; in most pairs the other answer lost more.",
            set.name,
            cell::percent(opa.value)
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::metrics::score::pair_of;
    use crate::report::folder::Run;
    use crate::report::folder::sample::run;

    fn said(run: &Run) -> String {
        let cautions = run.report(Path::new("runs/a")).cautions;
        cautions.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    fn with_config(eval: &str) -> Run {
        let sets = "[[eval.sets]]\nname = \"UF-P-4\"\nfiles = [\"embedded:tiny/data/x.json\"]\n\
                    [[eval.sets]]\nname = \"mine\"\nfiles = [\"mine.json\"]\n";
        let mut run = run();
        run.config = format!("[eval]\n{eval}\n{sets}").parse().unwrap();
        run
    }

    #[test]
    fn the_sample_and_no_other_set_says_that_it_says_nothing() {
        let said = said(&with_config(""));
        assert!(said.starts_with("UF-P-4: a synthetic sample"), "{said}");
        assert!(said.contains("says nothing about alignment") && !said.contains("mine"), "{said}");
        assert_eq!(self::said(&run()), "");
    }

    #[test]
    fn the_set_that_chose_the_step_is_named_and_another_is_not() {
        let mut run = with_config("best_metric = \"opa\"");
        assert_eq!(run.chosen_set(), None, "the last step was exported");
        run.summary.as_mut().unwrap().training.as_mut().unwrap().exported = Some("step 4".into());
        assert_eq!(run.chosen_set(), Some("UF-P-4"));
        assert!(said(&run).contains("UF-P-4: chosen on this set. `eval.best_metric` took"));
        let mut other = with_config("best_metric = \"opa\"\nbest_set = \"held out\"");
        other.summary = run.summary.clone();
        assert_eq!(other.chosen_set(), Some("held out"));
        assert!(!said(&other).contains(CHOSEN), "{}", said(&other));
    }

    #[test]
    fn a_run_without_a_learning_rate_says_that_it_learned_nothing() {
        let mut run = run();
        let step =
            |step, learning_rate| StepRecord { step, learning_rate, ..StepRecord::default() };
        run.steps = vec![step(1, 0.0), step(2, 0.0)];
        assert!(said(&run).contains("nothing was learned"), "{}", said(&run));
        run.steps[1].learning_rate = 1e-9;
        assert_eq!(said(&run), "", "a warm-up begins at 0");
    }

    #[test]
    fn a_fall_of_the_preferred_answers_is_said_with_its_numbers() {
        let mut run = run();
        let scores = |chosen: f64| {
            (0..4).map(|i| pair_of(&i.to_string(), None, [chosen, -50.0, -39.0, -40.0])).collect()
        };
        run.sets[0].scores = [scores(-39.04), scores(-86.3)];
        let fell = said(&run);
        assert!(fell.contains("fell from -39.0 to -86.3 nats, beside an OPA of 75.00 %"), "{fell}");
        run.sets[0].scores.swap(0, 1);
        assert_eq!(said(&run), "", "a rise is no caution");
    }
}
