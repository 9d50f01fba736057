//! LLaMA-Factory: a file with `stage: dpo`.

mod datasets;

use anyhow::Result;

use super::Fate::{Harmless, Translated};
use super::copied::{self, As, Line};
use super::draft::Draft;
use super::{adapter, losses, precision, recipe};
use crate::error::InputError;

/// Keys that are the same setting here.
const COPIED: &[Line] = &[
    ("model_name_or_path", "model.path", As::Text),
    ("model_revision", "model.revision", As::Text),
    ("lora_rank", "lora.rank", As::Count),
    ("use_rslora", "lora.use_rslora", As::Flag),
    ("pref_beta", "dpo.beta", As::Number),
    ("pref_ftx", "dpo.sft_weight", As::Number),
    ("loraplus_lr_ratio", "train.lora_plus_ratio", As::Number),
    ("learning_rate", "train.learning_rate", As::Number),
    ("num_train_epochs", "train.epochs", As::Number),
    ("weight_decay", "train.weight_decay", As::Number),
    ("max_grad_norm", "train.max_grad_norm", As::Number),
    ("per_device_train_batch_size", "train.per_device_batch_size", As::Count),
    ("gradient_accumulation_steps", "train.gradient_accumulation_steps", As::Count),
    ("seed", "train.seed", As::Count),
];

/// The folder of a Trainer that is given none.
const OUTPUT: &str = "trainer_output";

/// Translates the keys of a file.
pub(super) fn translate(draft: &mut Draft<'_>) -> Result<()> {
    method(draft)?;
    losses::refuse_others(draft)?;
    copied::copy(draft, COPIED)?;
    match draft.text("pref_loss")? {
        Some("orpo" | "kto_pair") => {
            let hint = "`sigmoid`, `hinge`, `ipo` and `simpo` are translated";
            return Err(draft
                .without_counterpart("pref_loss", "this loss is not computed")
                .hint(hint)
                .into());
        }
        _ => losses::translate_name(draft, "pref_loss", "sigmoid")?,
    }
    losses::smoothing(draft, "dpo_label_smoothing")?;
    let is_simpo = draft.text("pref_loss")? == Some("simpo");
    match draft.number("simpo_gamma")? {
        Some(gamma) if is_simpo => draft.translate("simpo_gamma", "dpo.simpo_gamma", gamma),
        Some(_) => draft.note("simpo_gamma", Harmless, "the loss does not read it"),
        None if is_simpo => draft.set_default("dpo.simpo_gamma", 0.5, "simpo_gamma"),
        None => {}
    }
    carried(draft)?;
    match draft.integer("cutoff_len")? {
        Some(length) => draft.translate("cutoff_len", "data.max_length", length),
        None => draft.set_default("data.max_length", 2048, "cutoff_len"),
    }
    let cut = "a long pair is cut in proportion to prompt and answers there; here the prompt stays and the answers are cut";
    draft.set("data.max_prompt_tokens", 0, cut);
    datasets::translate(draft)?;
    let bf16 = if draft.given("pure_bf16").is_some() { "pure_bf16" } else { "bf16" };
    precision(draft, bf16)?;
    recipe::translate(
        draft,
        &recipe::Names { optimizer: "optim", scheduler: "lr_scheduler_type" },
    )?;
    match draft.text("output_dir")? {
        Some(folder) => draft.translate("output_dir", "output.dir", folder),
        None => draft.set_default("output.dir", OUTPUT, "output_dir"),
    }
    Ok(())
}

/// Without `bf16` the weights have the type in which the model is stored.
fn precision(draft: &mut Draft<'_>, bf16: &'static str) -> Result<()> {
    if draft.is_on(bf16) || draft.is_on("fp16") {
        return precision::translate(draft, bf16, None, "f32");
    }
    draft.set(
        "model.dtype",
        "auto",
        format!("{bf16} is not on: the type in which the model is stored there"),
    );
    for key in [bf16, "fp16"] {
        if draft.given(key).is_some() {
            draft.note(key, Translated, "`model.dtype = \"auto\"`");
        }
    }
    Ok(())
}

fn method(draft: &mut Draft<'_>) -> Result<()> {
    match draft.word("stage")?.as_deref() {
        Some("dpo") => draft.note("stage", Translated, "the loss is that of `pref_loss`"),
        Some("kto") => {
            return Err(draft
                .without_counterpart("stage", "KTO learns from single answers, not from pairs")
                .into());
        }
        Some(_) => {
            return Err(draft
                .without_counterpart("stage", "this program trains on preference pairs")
                .into());
        }
        None => {
            let message =
                format!("{}: `stage` is not set, so that it trains on single answers", draft.name);
            return Err(InputError::new(message).hint("`stage: dpo` is translated").into());
        }
    }
    match draft.word("finetuning_type")?.as_deref() {
        None | Some("lora") => {}
        Some("full") => adapter::note_full(draft, "finetuning_type"),
        Some(_) => {
            return Err(draft
                .without_counterpart("finetuning_type", "the adapter is LoRA here")
                .into());
        }
    }
    if draft.given("finetuning_type").is_some() && !draft.is_noted("finetuning_type") {
        draft.note("finetuning_type", Translated, "a LoRA adapter, as always here");
    }
    if let Some(model) = draft.text("ref_model")? {
        match draft.text("model_name_or_path")? == Some(model) {
            true => draft.note("ref_model", Translated, "the base model, as here"),
            false => {
                let why = "the reference is the base model with the adapter off; start from the reference as `model_name_or_path`";
                return Err(draft.without_counterpart("ref_model", why).into());
            }
        }
    }
    Ok(())
}

/// The adapter and the modules that carry it.
fn carried(draft: &mut Draft<'_>) -> Result<()> {
    match draft.number("lora_alpha")? {
        Some(alpha) => draft.translate("lora_alpha", "lora.alpha", alpha),
        None => {
            let rank = draft.integer("lora_rank")?.unwrap_or(8);
            draft.set(
                "lora.alpha",
                2.0 * rank as f64,
                "lora_alpha is not set: twice the rank is LLaMA-Factory's default",
            );
        }
    }
    adapter::dropout(draft)?;
    match draft.given("lora_target") {
        Some(_) => adapter::modules(draft, "lora_target", &["all"], true)?,
        None => {
            adapter::set_all(draft, "lora_target")?;
            draft.rows.retain(|row| row.key != "lora_target");
        }
    }
    let Some(node) = draft.given("adapter_name_or_path") else { return Ok(()) };
    let folders =
        node.value.words().ok_or_else(|| draft.wrong("adapter_name_or_path", node, "a folder"))?;
    match &folders[..] {
        [folder] if !draft.is_on("create_new_adapter") => {
            draft.translate("adapter_name_or_path", "lora.init_from", folder.clone());
            draft.set(
                "dpo.reference",
                "base",
                "LLaMA-Factory measures from the model without the adapter",
            );
        }
        _ => {
            let why = "it merges adapters into the model before it trains; `mvpbench merge` does, and `model_name_or_path` is what it makes";
            return Err(draft.without_counterpart("adapter_name_or_path", why).into());
        }
    }
    Ok(())
}
