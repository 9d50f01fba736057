//! TRL: the file of `trl dpo --config`, and the recipes of alignment-handbook, which are such files with a mixture of their own.

mod datasets;

use anyhow::Result;

use super::Fate::{Differs, Translated};
use super::copied::{self, As, Line};
use super::draft::Draft;
use super::{adapter, losses, precision, recipe};

/// Keys that are the same setting here.
const COPIED: &[Line] = &[
    ("model_name_or_path", "model.path", As::Text),
    ("model_revision", "model.revision", As::Text),
    ("lora_r", "lora.rank", As::Count),
    ("lora_alpha", "lora.alpha", As::Number),
    ("use_rslora", "lora.use_rslora", As::Flag),
    ("beta", "dpo.beta", As::Number),
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
    losses::refuse_others(draft)?;
    copied::copy(draft, COPIED)?;
    older(draft)?;
    losses::translate(draft, "loss_type", "loss_weights")?;
    losses::smoothing(draft, "label_smoothing")?;
    if let Some(weight) = draft.number("rpo_alpha")? {
        draft.translate_as(
            "rpo_alpha",
            "dpo.sft_weight",
            weight,
            "a mean per pair here, and per token of a batch there",
        );
    }
    match draft.flag("use_peft")? {
        Some(true) => draft.note("use_peft", Translated, "a LoRA adapter, as always here"),
        _ => adapter::note_full(draft, "use_peft"),
    }
    adapter::dropout(draft)?;
    match draft.given("lora_target_modules") {
        Some(_) => adapter::modules(draft, "lora_target_modules", &["all-linear"], false)?,
        None => adapter::set_pefts(draft, "lora_target_modules"),
    }
    lengths(draft)?;
    datasets::translate(draft)?;
    let dtype = if draft.given("dtype").is_some() { "dtype" } else { "torch_dtype" };
    precision::translate(draft, "bf16", Some(dtype), "bf16")?;
    recipe::translate(
        draft,
        &recipe::Names { optimizer: "optim", scheduler: "lr_scheduler_type" },
    )?;
    devices(draft)?;
    match draft.text("output_dir")? {
        Some(folder) => draft.translate("output_dir", "output.dir", folder),
        None => draft.set_default("output.dir", OUTPUT, "output_dir"),
    }
    Ok(())
}

/// Names of earlier releases for keys of [`COPIED`].
fn older(draft: &mut Draft<'_>) -> Result<()> {
    if let Some(size) = draft.integer("per_gpu_train_batch_size")? {
        draft.translate("per_gpu_train_batch_size", "train.per_device_batch_size", size);
    }
    Ok(())
}

fn lengths(draft: &mut Draft<'_>) -> Result<()> {
    let is_null =
        draft.keys().any(|key| key == "max_length") && draft.given("max_length").is_none();
    match draft.integer("max_length")? {
        Some(length) => draft.translate("max_length", "data.max_length", length),
        None if is_null => draft.translate_as("max_length", "data.max_length", 0, "no limit"),
        None => draft.set_default("data.max_length", 1024, "max_length"),
    }
    match draft.integer("max_prompt_length")? {
        Some(length) => {
            let about = "of earlier releases; TRL 1.16 cuts the whole alone";
            draft.translate_as("max_prompt_length", "data.max_prompt_tokens", length, about);
        }
        None => draft.set("data.max_prompt_tokens", 0, "TRL 1.16 has no limit of a prompt's own"),
    }
    match draft.word("truncation_mode")?.as_deref() {
        None => {}
        Some("keep_start") => {
            draft.note("truncation_mode", Translated, "as here: the end of an answer is cut")
        }
        Some(_) => draft.note(
            "truncation_mode",
            Differs,
            "there the beginning of a long pair is cut, here the end of its answers",
        ),
    }
    Ok(())
}

/// Processes that `trl` starts, each with batches of its own.
fn devices(draft: &mut Draft<'_>) -> Result<()> {
    let Some(processes) = draft.integer("num_processes")?.filter(|processes| *processes > 0) else {
        return Ok(());
    };
    let accumulation = draft.integer("gradient_accumulation_steps")?.unwrap_or(1);
    let Some(product) = accumulation.checked_mul(processes) else { return Ok(()) };
    let about = "as many pairs a step as on that many devices";
    draft.translate_as("num_processes", "train.gradient_accumulation_steps", product, about);
    Ok(())
}
