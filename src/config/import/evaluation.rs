//! Pairs that are held out, and evaluations during training: keys of transformers' `Trainer` -> `eval.every`, `eval.best_metric`.

use anyhow::Result;

use super::Fate::{Differs, Harmless, Translated};
use super::draft::Draft;

/// Names of the strategy of evaluations, the later one first.
pub(super) const STRATEGIES: [&str; 2] = ["eval_strategy", "evaluation_strategy"];

/// Notes pairs that are held out there, which are trained on here.
pub(super) fn held_out(draft: &mut Draft<'_>, key: &str) -> Result<()> {
    let Some(share) = draft.number(key)? else { return Ok(()) };
    match share > 0.0 {
        true => {
            let said = "that part of the pairs is held out there and trained on here; `mvpbench data split` makes two files of one";
            draft.note(key, Differs, said);
        }
        false => draft.note(key, Harmless, "nothing is held out, as here"),
    }
    Ok(())
}

/// Evaluations during training, by the keys of transformers' `Trainer`: `eval.every`, and the figure that chooses the best of them.
pub(super) fn during_training(draft: &mut Draft<'_>) -> Result<()> {
    let word = match draft.given_of(&STRATEGIES) {
        Some((key, _)) => draft.word(key)?,
        // Axolotl evaluates by steps where it has their number.
        None if draft.program == super::Program::Axolotl => Some("steps".into()),
        None => None,
    };
    let has_set = draft.settings.iter().any(|setting| setting.key == "eval.sets");
    let every = draft.number("eval_steps")?;
    let is_by_steps = word.as_deref() == Some("steps");
    let whole = every.filter(|every| *every >= 1.0 && every.fract().abs() < f64::MIN_POSITIVE);
    let said = match (is_by_steps && has_set, whole) {
        (true, Some(every)) => {
            draft.translate("eval_steps", "eval.every", every as i64);
            None
        }
        _ if !has_set => {
            Some("no pairs to evaluate are named; name them in `[[eval.sets]]`, and `eval.every`")
        }
        _ => Some(
            "evaluations by epochs or shares have no key; the sets are evaluated before and after training, and `eval.every` asks for more",
        ),
    };
    for key in STRATEGIES.into_iter().chain(["eval_steps"]) {
        if draft.given(key).is_some() && !draft.is_noted(key) {
            draft.note(key, Harmless, said.unwrap_or("`eval.every` has the steps"));
        }
    }
    best(draft, said.is_none())
}

fn best(draft: &mut Draft<'_>, has_evaluations: bool) -> Result<()> {
    let metric =
        draft.text("metric_for_best_model")?.map(|name| name.strip_prefix("eval_").unwrap_or(name));
    let patience = ["early_stopping_patience", "early_stopping_steps"];
    let patience = patience.into_iter().find(|key| draft.given(key).is_some());
    let wants = draft.is_on("load_best_model_at_end") || patience.is_some();
    let ours = match metric.unwrap_or("loss") {
        "loss" => Some("dpo_loss"),
        "rewards/accuracies" => Some("opa"),
        "rewards/margins" => Some("reward_margin_mean"),
        _ => None,
    };
    let said = match (wants, has_evaluations, ours) {
        (false, ..) => None,
        (true, false, _) => Some(
            "the best of several evaluations is exported there, the last adapter here: name `[[eval.sets]]`, `eval.every` and `eval.best_metric`",
        ),
        (true, true, None) => Some(
            "the figure that chooses the best adapter has no counterpart: the last one is exported here",
        ),
        (true, true, Some(figure)) => {
            let key = if draft.is_on("load_best_model_at_end") {
                "load_best_model_at_end"
            } else {
                patience.unwrap_or_default()
            };
            draft.translate(key, "eval.best_metric", figure);
            if let Some(key) = patience {
                let count = draft.integer(key)?.unwrap_or(1);
                draft.translate(key, "eval.patience", count);
            }
            None
        }
    };
    for key in ["load_best_model_at_end", "metric_for_best_model"].into_iter().chain(patience) {
        if draft.given(key).is_some() && !draft.is_noted(key) {
            match said {
                Some(said) => draft.note(key, Differs, said),
                None if wants => draft.note(key, Translated, "`eval.best_metric`"),
                None => {
                    draft.note(key, Harmless, "the adapter of the last step is exported, as there")
                }
            }
        }
    }
    Ok(())
}
