//! The loss by its name there, and the settings of a loss that have no counterpart.

use anyhow::Result;

use super::Fate::{Differs, Harmless};
use super::draft::Draft;
use crate::config::LossType;
use crate::config::elsewhere;
use crate::disk::yaml::Yaml;
use crate::error::InputError;

/// Options of a loss whose every value but the default makes another loss, and what it is.
const OTHER_LOSSES: &[(&str, &str)] = &[
    ("f_divergence_type", "the divergence is the reverse KL here, `reverse_kl`"),
    ("ld_alpha", "LD-DPO's weights of the tokens beyond the shorter answer are not computed"),
    ("use_weighting", "WPO's weights of the pairs are not computed"),
    ("dpo_use_weighting", "WPO's weights of the pairs are not computed"),
    (
        "dpo_norm_loss",
        "the loss is not divided by the lengths; `sigmoid_norm` is DPO of means per token",
    ),
    ("sync_ref_model", "the reference stays what it is when training begins"),
    ("reference_free", "the loss needs its reference; `simpo` has none"),
    ("discopop_tau", "`discopop` has its paper's temperature, 0.05"),
    ("pref_bco_weight", "BCO's running mean is not computed; `bco_pair` is without one"),
    ("reward_model", "no reward model is read"),
    ("trainer_cls", "the trainer is this program's own"),
];

/// Refuses the options that make a loss another one.
pub(super) fn refuse_others(draft: &mut Draft<'_>) -> Result<()> {
    for (key, why) in OTHER_LOSSES {
        let Some(node) = draft.given(key) else { continue };
        let is_none = node.value.is_idle() || node.value.equals(&draft.known.default(key));
        // A weight of zero, and LD-DPO's of one, change nothing.
        let number = node.value.number();
        let is_neutral = match *key {
            "pref_bco_weight" => number.is_some_and(|weight| weight.abs() < 1e-6),
            "ld_alpha" => number.is_some_and(|alpha| alpha.to_bits() == 1f64.to_bits()),
            _ => false,
        };
        if !is_none && !is_neutral {
            let hint = "remove the key for a run without it";
            return Err(draft.without_counterpart(key, why).hint(hint).into());
        }
        draft.note(key, Harmless, "off, as here");
    }
    Ok(())
}

/// The loss of `name` under ours; an error for one that is not computed here. `key`: where it stands.
fn named(draft: &Draft<'_>, key: &str, name: &str) -> Result<&'static str> {
    let known = LossType::NAMES.iter().copied().find(|known| *known == name);
    known.or_else(|| elsewhere::loss(name)).ok_or_else(|| {
        let place = draft.place(draft.given(key).map_or(0, |node| node.line));
        let names = LossType::NAMES.join(", ");
        InputError::new(format!("{place}: `{key}`: the loss `{name}` has no counterpart here"))
            .hint(format!("the losses are {names}"))
            .into()
    })
}

/// The loss of a list of names with weights, as TRL has it: one loss, and SFT beside it.
pub(super) fn translate(draft: &mut Draft<'_>, key: &str, weights_key: &str) -> Result<()> {
    let Some(node) = draft.given(key) else {
        draft.set_default("dpo.loss", "sigmoid", key);
        if draft.given(weights_key).is_some() {
            return Err(draft
                .without_counterpart(weights_key, "it weighs losses that are not named")
                .into());
        }
        return Ok(());
    };
    let names: Vec<String> = match &node.value {
        Yaml::Text(name) => vec![name.clone()],
        value => value
            .words()
            .ok_or_else(|| draft.wrong(key, node, "the name of a loss, or a list of them"))?,
    };
    let weights = weights(draft, weights_key, names.len())?;
    let mut others = names.iter().zip(&weights).filter(|(name, _)| *name != "sft");
    let (Some((name, weight)), None) = (others.next(), others.next()) else {
        let why = "one loss is computed, and SFT beside it";
        return Err(draft.without_counterpart(key, why).into());
    };
    let loss = named(draft, key, name)?;
    if (weight - 1.0).abs() > f64::EPSILON {
        let why = "the loss has the weight 1; multiply the learning rate for another";
        return Err(draft.without_counterpart(weights_key, why).into());
    }
    draft.translate(key, "dpo.loss", loss);
    let sft: Vec<f64> = names
        .iter()
        .zip(&weights)
        .filter(|(name, _)| *name == "sft")
        .map(|(_, weight)| *weight)
        .collect();
    if let [weight] = sft[..] {
        let about = "a mean per pair here, and per token of a batch there";
        let from = if draft.given(weights_key).is_some() { weights_key } else { key };
        draft.translate_as(from, "dpo.sft_weight", weight, about);
    } else if sft.len() > 1 {
        return Err(draft.without_counterpart(key, "SFT stands twice").into());
    }
    if draft.given(weights_key).is_some() && !draft.is_noted(weights_key) {
        draft.note(weights_key, Harmless, "1, as here");
    }
    Ok(())
}

fn weights(draft: &Draft<'_>, key: &str, losses: usize) -> Result<Vec<f64>> {
    let Some(node) = draft.given(key) else { return Ok(vec![1.0; losses]) };
    let list = match &node.value {
        Yaml::List(list) => list.iter().map(|node| node.value.number()).collect(),
        value => value.number().map(|weight| vec![weight]),
    };
    match list {
        Some(list) if list.len() == losses => Ok(list),
        _ => Err(draft
            .wrong(key, node, &format!("a list of {losses} numbers, one for each loss"))
            .into()),
    }
}

/// The loss of one name.
pub(super) fn translate_name(
    draft: &mut Draft<'_>,
    key: &str,
    default: &'static str,
) -> Result<()> {
    match draft.text(key)? {
        Some(name) => {
            let loss = named(draft, key, name)?;
            draft.translate(key, "dpo.loss", loss);
        }
        None => draft.set_default("dpo.loss", default, key),
    }
    Ok(())
}

/// Label smoothing, where the loss reads it.
pub(super) fn smoothing(draft: &mut Draft<'_>, key: &str) -> Result<()> {
    let Some(smoothing) = draft.number(key)? else { return Ok(()) };
    let loss = draft
        .settings
        .iter()
        .find(|setting| setting.key == "dpo.loss")
        .and_then(|setting| setting.value.as_str());
    let loss = LossType::ALL.into_iter().find(|known| Some(known.name()) == loss);
    if smoothing.abs() < f64::MIN_POSITIVE {
        draft.note(key, Harmless, "0, as here");
    } else if loss.is_some_and(|loss| !loss.reads("label_smoothing")) {
        draft.note(key, Harmless, "the loss does not read it, there and here");
    } else if loss == Some(LossType::Sigmoid) && draft.program != super::Program::LlamaFactory {
        let said = "conservative DPO here, as in TRL 0.24; TRL 1.16 reads it with `robust` and `exo_pair` alone";
        let shown = draft.shown(key);
        draft.set("dpo.label_smoothing", smoothing, format!("{shown}: {said}"));
        draft.note(key, Differs, said);
    } else {
        draft.translate(key, "dpo.label_smoothing", smoothing);
    }
    Ok(())
}
