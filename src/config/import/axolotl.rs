//! Axolotl: a file with `rl: dpo`, `ipo` or `simpo`.

mod datasets;

use anyhow::Result;

use super::Fate::{Differs, Harmless, Translated};
use super::copied::{self, As, Line};
use super::draft::Draft;
use super::{adapter, losses, precision, recipe};
use crate::disk::yaml::{Node, Yaml};
use crate::error::InputError;

/// Keys that are the same setting here.
const COPIED: &[Line] = &[
    ("base_model", "model.path", As::Text),
    ("lora_r", "lora.rank", As::Count),
    ("lora_alpha", "lora.alpha", As::Number),
    ("peft_use_rslora", "lora.use_rslora", As::Flag),
    ("loraplus_lr_ratio", "train.lora_plus_ratio", As::Number),
    ("learning_rate", "train.learning_rate", As::Number),
    ("num_epochs", "train.epochs", As::Number),
    ("weight_decay", "train.weight_decay", As::Number),
    ("micro_batch_size", "train.per_device_batch_size", As::Count),
    ("output_dir", "output.dir", As::Text),
];

/// Methods of `rl` that are not computed here, and why.
const OTHER_METHODS: &[(&str, &str)] = &[
    ("orpo", "ORPO's odds ratio is not computed; `rl: simpo` is another loss without a reference"),
    ("kto", "KTO learns from single answers, not from pairs"),
    ("grpo", "it generates its answers while it trains"),
    ("gdpo", "it generates its answers while it trains"),
    ("ebft", "it generates its answers while it trains"),
];

/// Translates the keys of a file.
pub(super) fn translate(draft: &mut Draft<'_>) -> Result<()> {
    method(draft)?;
    losses::refuse_others(draft)?;
    copied::copy(draft, COPIED)?;
    for key in ["revision_of_model", "model_revision"] {
        if let Some(revision) = draft.text(key)? {
            draft.translate(key, "model.revision", revision);
        }
    }
    beta(draft)?;
    carried(draft)?;
    lengths(draft)?;
    datasets::translate(draft)?;
    steps(draft)?;
    let bf16 = if draft.given("bfloat16").is_some() { "bfloat16" } else { "bf16" };
    precision::translate(draft, bf16, None, "auto")?;
    recipe::translate(draft, &recipe::Names { optimizer: "optimizer", scheduler: "lr_scheduler" })?;
    special_tokens(draft)?;
    for key in ["float16", "float32"] {
        if draft.is_on(key) {
            draft.note(key, Differs, "the weights are bf16 or f32 by `model.dtype`, which `bf16` and `fp16` of the file set");
        }
    }
    Ok(())
}

fn method(draft: &mut Draft<'_>) -> Result<()> {
    let Some(method) = draft.word("rl")? else {
        let message =
            format!("{}: `rl` is not set, so that it trains on single answers", draft.name);
        return Err(InputError::new(message)
            .hint("`rl: dpo`, `ipo` and `simpo` are translated")
            .into());
    };
    match method.as_str() {
        "dpo" => {
            draft.note("rl", Translated, "the loss is that of `dpo_loss_type`");
            losses::translate(draft, "dpo_loss_type", "dpo_loss_weights")?;
            losses::smoothing(draft, "dpo_label_smoothing")?;
        }
        "ipo" => draft.translate("rl", "dpo.loss", "ipo"),
        "simpo" => {
            let about = "TRL's CPO trainer cuts and tokenises in its own way there";
            draft.translate_as("rl", "dpo.loss", "simpo", about);
            let gamma = draft.number("simpo_gamma")?;
            match gamma {
                Some(gamma) => draft.translate("simpo_gamma", "dpo.simpo_gamma", gamma),
                None => draft.set("dpo.simpo_gamma", 0.5, "simpo_gamma is not set: TRL's default"),
            }
            match draft.number("cpo_alpha")? {
                Some(alpha) => draft.translate("cpo_alpha", "dpo.sft_weight", alpha),
                None => draft.set(
                    "dpo.sft_weight",
                    1.0,
                    "cpo_alpha is not set: TRL's default of an SFT term beside SimPO",
                ),
            }
        }
        other => {
            let why = OTHER_METHODS.iter().find(|(name, _)| *name == other);
            let why = why.map_or("it is no method of preference pairs here", |(_, why)| *why);
            let hint = "`rl: dpo`, `ipo` and `simpo` are translated";
            return Err(draft.without_counterpart("rl", why).hint(hint).into());
        }
    }
    if let Some(weight) = draft.number("rpo_alpha")? {
        draft.translate_as(
            "rpo_alpha",
            "dpo.sft_weight",
            weight,
            "a mean per pair here, and per token of a batch there",
        );
    }
    Ok(())
}

/// The first of the keys that it reads beta from.
fn beta(draft: &mut Draft<'_>) -> Result<()> {
    let inner = draft.given("trl");
    if let Some(node) = inner {
        draft.refuse_unknown_inside("trl", "trl", node)?;
    }
    if let Some(node) = inner.and_then(|node| node.value.get("beta")) {
        let Some(beta) = node.value.number() else {
            return Err(draft.wrong("trl.beta", node, "a number").into());
        };
        draft.set("dpo.beta", beta, format!("trl.beta: {}", node.value));
        draft.note_inside("trl.beta".into(), node, Translated, format!("`dpo.beta = {beta}`"));
    } else if let Some((key, _)) = draft.given_of(&["rl_beta", "dpo_beta"]) {
        let beta = draft.number(key)?.unwrap_or(0.1);
        draft.translate(key, "dpo.beta", beta);
    } else {
        draft.set("dpo.beta", 0.1, "rl_beta is not set: TRL's default");
    }
    if let Some(Node { value: Yaml::Table(table), .. }) = inner {
        for (key, node) in table.iter().filter(|(key, _)| key != "beta") {
            let path = format!("trl.{key}");
            let is_default = node.value.is_idle() || node.value.equals(&draft.known.default(&path));
            let (fate, said) = match is_default {
                true => (Harmless, "off, or its default there"),
                false => (
                    Differs,
                    "it belongs to methods that generate while they train, and is not read",
                ),
            };
            draft.note_inside(path, node, fate, said);
        }
    }
    Ok(())
}

/// The adapter and the modules that carry it.
fn carried(draft: &mut Draft<'_>) -> Result<()> {
    match draft.text("adapter")? {
        Some("lora") => draft.note("adapter", Translated, "a LoRA adapter, as always here"),
        Some("qlora") => {
            draft.note(
                "adapter",
                Differs,
                "a LoRA adapter on weights of 4 bits there, of bf16 or f32 here",
            );
        }
        Some(_) => {
            let hint = "`adapter: lora` and `qlora` are translated";
            return Err(draft
                .without_counterpart("adapter", "the adapter is LoRA here")
                .hint(hint)
                .into());
        }
        None => adapter::note_full(draft, "adapter"),
    }
    let has_adapter = draft.given("adapter").is_some();
    for key in ["lora_r", "lora_alpha"] {
        if has_adapter && draft.given(key).is_none() {
            let message =
                format!("{}: `{key}` is not set, and Axolotl has no default of it", draft.name);
            return Err(InputError::new(message).hint("add it").into());
        }
    }
    if draft.given("lora_model_dir").is_some() {
        let said = "for DPO Axolotl makes a fresh adapter and does not read it, and so it is here; `lora.init_from` starts from it";
        draft.note("lora_model_dir", Differs, said);
    }
    adapter::dropout(draft)?;
    if draft.flag("lora_target_linear")?.unwrap_or(false) {
        adapter::set_all(draft, "lora_target_linear")?;
        if draft.given("lora_target_modules").is_some() {
            draft.note("lora_target_modules", Harmless, "`lora_target_linear` adds all the others");
        }
    } else if draft.given("lora_target_modules").is_some() {
        adapter::modules(draft, "lora_target_modules", &["all-linear"], false)?;
    } else if has_adapter {
        let message = format!(
            "{}: neither `lora_target_linear` nor `lora_target_modules` is set",
            draft.name
        );
        return Err(InputError::new(message)
            .hint("Axolotl has no default of them: add one")
            .into());
    }
    if draft.given("lora_target_linear").is_some() && !draft.is_noted("lora_target_linear") {
        draft.note("lora_target_linear", Harmless, "`lora_target_modules` has the modules");
    }
    adapter::pattern(draft, "lora_rank_pattern", "lora.rank_pattern")?;
    adapter::pattern(draft, "lora_alpha_pattern", "lora.alpha_pattern")?;
    if let Some(node) = draft.given("peft_layers_to_transform").filter(|node| !node.value.is_idle())
    {
        let Yaml::List(list) = &node.value else {
            return Err(draft.wrong("peft_layers_to_transform", node, "a list of layers").into());
        };
        let layers: Option<Vec<i64>> = list.iter().map(|node| node.value.integer()).collect();
        let layers = layers.ok_or_else(|| {
            draft.wrong("peft_layers_to_transform", node, "a list of whole numbers")
        })?;
        draft.translate("peft_layers_to_transform", "lora.layers_to_transform", layers);
    }
    Ok(())
}

fn lengths(draft: &mut Draft<'_>) -> Result<()> {
    match draft.integer("sequence_len")? {
        Some(length) => draft.translate("sequence_len", "data.max_length", length),
        None => draft.set_default("data.max_length", 512, "sequence_len"),
    }
    draft.set("data.max_prompt_tokens", 0, "Axolotl has no limit of a prompt's own");
    match draft.word("excess_length_strategy")?.as_deref() {
        Some("truncate") => draft.note(
            "excess_length_strategy",
            Translated,
            "as here: the end of a long answer is cut",
        ),
        _ => {
            let said = "a pair longer than `sequence_len` is dropped there, here its answers are cut; `mvpbench data stats` counts them";
            draft.note("excess_length_strategy", Differs, said);
        }
    }
    if draft.given("max_prompt_len").is_some() {
        draft.note("max_prompt_len", Harmless, "DPO does not read it there");
    }
    Ok(())
}

/// Batches of a step, the norm of its gradient, the seed.
fn steps(draft: &mut Draft<'_>) -> Result<()> {
    let ours = "train.gradient_accumulation_steps";
    match (draft.integer("gradient_accumulation_steps")?, draft.integer("batch_size")?) {
        (Some(steps), _) => {
            draft.translate("gradient_accumulation_steps", ours, steps);
            if draft.given("batch_size").is_some() {
                draft.note(
                    "batch_size",
                    Harmless,
                    "`gradient_accumulation_steps` and `micro_batch_size` make it",
                );
            }
        }
        (None, Some(batch)) => {
            let micro = draft.integer("micro_batch_size")?.unwrap_or(1).max(1);
            draft.translate_as(
                "batch_size",
                ours,
                (batch / micro).max(1),
                "divided by `micro_batch_size`",
            );
        }
        (None, None) => draft.set_default(ours, 1, "gradient_accumulation_steps"),
    }
    match draft.number("max_grad_norm")? {
        Some(norm) => draft.translate("max_grad_norm", "train.max_grad_norm", norm),
        None => {
            draft.set("train.max_grad_norm", 1.0, "max_grad_norm is not set: transformers' default")
        }
    }
    match draft.integer("seed")? {
        Some(seed) => draft.translate("seed", "train.seed", seed),
        None => draft.set_default("train.seed", 42, "seed"),
    }
    Ok(())
}

/// Special tokens: padding has none here, another EOS or BOS is the tokenizer's.
fn special_tokens(draft: &mut Draft<'_>) -> Result<()> {
    let Some(node) = draft.given("special_tokens") else { return Ok(()) };
    draft.refuse_unknown_inside("special_tokens", "special_tokens", node)?;
    let Yaml::Table(table) = &node.value else { return Ok(()) };
    for (key, node) in table.iter().filter(|(_, node)| !node.value.is_idle()) {
        let (fate, said) = match key.as_str() {
            "pad_token" | "unk_token" => (Harmless, "nothing is padded here"),
            _ => (
                Differs,
                "the tokenizer is the model's own as it stands: an answer ends with its EOS, which `tokenizer_config.json` names",
            ),
        };
        draft.note_inside(format!("special_tokens.{key}"), node, fate, said);
    }
    if !draft.is_noted("special_tokens") {
        draft.note("special_tokens", Harmless, "empty");
    }
    Ok(())
}
