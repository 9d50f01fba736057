//! The loop of transformers' `Trainer`, which all three programs run: optimizer, schedule, length, checkpoints, precision.

use anyhow::Result;

use super::Fate::{Differs, Harmless};
use super::Program;
use super::draft::Draft;

/// Words for AdamW as PyTorch computes it, moments in f32.
const ADAMW: &[&str] = &[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_apex_fused",
    "adamw_torch_xla",
    "adamw_torch_npu_fused",
];

/// The same with moments that move between the memories.
const PAGED_ADAMW: &[&str] = &["paged_adamw", "paged_adamw_32bit"];

/// AdamW with moments of eight or four bits.
const ROUNDED_ADAMW: &[&str] = &[
    "adamw_bnb_8bit",
    "adamw_8bit",
    "paged_adamw_8bit",
    "adamw_torch_8bit",
    "adamw_torch_4bit",
    "ao_adamw_8bit",
    "ao_adamw_4bit",
    "ao_adamw_fp8",
    "adamw_anyprecision",
];

/// PyTorch's constants of Adam.
const ADAM: [(&str, f64); 3] = [("adam_beta1", 0.9), ("adam_beta2", 0.999), ("adam_epsilon", 1e-8)];

/// More epochs than the steps of any run fill.
const MANY_EPOCHS: f64 = 1_000_000.0;

/// Names of the settings of the loop that differ between the programs.
pub(super) struct Names {
    /// The optimizer.
    pub(super) optimizer: &'static str,
    /// The schedule.
    pub(super) scheduler: &'static str,
}

/// The optimizer, its constants, the schedule with its warm-up, the steps, the order of the pairs, and the checkpoints.
pub(super) fn translate(draft: &mut Draft<'_>, names: &Names) -> Result<()> {
    optimizer(draft, names.optimizer)?;
    scheduler(draft, names.scheduler)?;
    steps(draft)?;
    order(draft)?;
    checkpoints(draft)?;
    activations(draft)
}

fn optimizer(draft: &mut Draft<'_>, key: &str) -> Result<()> {
    let ours = "train.optimizer";
    let default = draft.known.default(key).word().unwrap_or_else(|| "adamw_torch_fused".into());
    match draft.word(key)? {
        None => draft.set_default(ours, "adamw_torch", &format!("{key} ({default})")),
        Some(word) if ADAMW.contains(&&*word) => draft.translate(key, ours, "adamw_torch"),
        Some(word) if PAGED_ADAMW.contains(&&*word) => {
            draft.translate_as(
                key,
                ours,
                "adamw_torch",
                "the same numbers, moments in f32 on the device",
            );
        }
        Some(word) if word == "adamw_hf" => draft.translate(key, ours, "adamw_hf"),
        Some(word) => {
            let said = match ROUNDED_ADAMW.contains(&&*word) {
                true => {
                    "AdamW with moments of a few bits there, in f32 here: `train.optimizer = \"adamw_torch\"`"
                }
                false => {
                    "another optimizer, which needs another learning rate: here it is AdamW, `train.optimizer = \"adamw_torch\"`"
                }
            };
            let shown = draft.shown(key);
            draft.set(ours, "adamw_torch", format!("{shown}: {said}"));
            draft.note(key, Differs, said);
        }
    }
    for (key, expected) in ADAM {
        if let Some(number) = draft.number(key)? {
            let is_ours = number.to_bits() == expected.to_bits();
            match is_ours {
                true => draft.note(key, Harmless, "the same constant here"),
                false => draft.note(key, Differs, format!("AdamW's constant is {expected} here")),
            }
        }
    }
    Ok(())
}

fn scheduler(draft: &mut Draft<'_>, key: &'static str) -> Result<()> {
    let ours = "train.scheduler";
    let mut has_warmup = true;
    match draft.word(key)?.as_deref() {
        None => {
            let default = draft.known.default(key).word().unwrap_or_else(|| "linear".into());
            draft.set_default(ours, default, key);
        }
        Some(word @ ("linear" | "cosine")) => draft.translate(key, ours, word),
        Some("constant_with_warmup") => draft.translate(key, ours, "constant"),
        Some("constant") => {
            draft.translate(key, ours, "constant");
            has_warmup = false;
        }
        Some(word) => {
            let nearest = if word.contains("cosine") { "cosine" } else { "linear" };
            let said = format!(
                "another curve of the learning rate: `{ours} = \"{nearest}\"` is written, which falls to zero"
            );
            let shown = draft.shown(key);
            draft.set(ours, nearest, format!("{shown}: {said}"));
            draft.note(key, Differs, said);
        }
    }
    match has_warmup {
        true => warmup(draft),
        false => {
            for key in ["warmup_steps", "warmup_ratio"] {
                if draft.given(key).is_some() {
                    draft.note(
                        key,
                        Harmless,
                        "`constant` has no warm-up there, `constant_with_warmup` has",
                    );
                }
            }
            draft.set("train.warmup_steps", 0, "constant has no warm-up there");
            Ok(())
        }
    }
}

/// The warm-up: steps, or a share of them, which transformers 5 takes from the same key.
fn warmup(draft: &mut Draft<'_>) -> Result<()> {
    let is_axolotl = draft.program == Program::Axolotl;
    let (steps, ratio) = (draft.number("warmup_steps")?, draft.number("warmup_ratio")?);
    let rounded = match is_axolotl {
        true => "rounded down there, at most one step less",
        false => "",
    };
    match (steps, ratio) {
        (Some(steps), _) if steps > 0.0 && steps < 1.0 && !is_axolotl => {
            draft.translate_as(
                "warmup_steps",
                "train.warmup_ratio",
                steps,
                "below 1 it is a share of the steps",
            );
        }
        (Some(steps), _) if steps > 0.0 || ratio.is_none() || is_axolotl => {
            let node = draft.given("warmup_steps");
            let Some(whole) = node.and_then(|node| node.value.integer()) else {
                return Err(match node {
                    Some(node) => draft.wrong("warmup_steps", node, "a whole number").into(),
                    None => anyhow::anyhow!("`warmup_steps` is not set"),
                });
            };
            draft.translate("warmup_steps", "train.warmup_steps", whole);
            if ratio.is_some() {
                draft.note("warmup_ratio", Harmless, "`warmup_steps` wins");
            }
        }
        (_, Some(ratio)) => {
            draft.translate_as("warmup_ratio", "train.warmup_ratio", ratio, rounded);
            if steps.is_some() {
                draft.note("warmup_steps", Harmless, "0 leaves it to `warmup_ratio`");
            }
        }
        (_, None) if is_axolotl => {
            let comment = "neither warmup_steps nor warmup_ratio is set: Axolotl's default, of at most 100 steps";
            draft.set("train.warmup_ratio", 0.03, comment);
        }
        (_, None) => draft.set_default("train.warmup_steps", 0, "warmup_steps"),
    }
    Ok(())
}

/// The steps of a run, which win over its epochs there.
fn steps(draft: &mut Draft<'_>) -> Result<()> {
    let Some(steps) = draft.integer("max_steps")? else { return Ok(()) };
    if steps <= 0 {
        draft.note("max_steps", Harmless, "no limit, as here");
        return Ok(());
    }
    draft.translate("max_steps", "train.max_steps", steps);
    let why = "max_steps wins over the epochs there, and the data repeats until then";
    draft.set("train.epochs", MANY_EPOCHS, why);
    Ok(())
}

fn order(draft: &mut Draft<'_>) -> Result<()> {
    let comment = format!(
        "the order of {}'s Trainer with the same seed on one device, where nothing else shuffles",
        draft.program
    );
    draft.set("data.order", "transformers", comment);
    match draft.word("train_sampling_strategy")?.as_deref() {
        None | Some("random") => {}
        Some("sequential") => draft.translate("train_sampling_strategy", "data.shuffle", false),
        Some(_) => {
            let said = "batches are made of pairs of like length there, and drawn from all here";
            draft.note("train_sampling_strategy", Differs, said);
        }
    }
    if draft.flag("disable_shuffling")?.unwrap_or(false) {
        draft.translate("disable_shuffling", "data.shuffle", false);
    }
    if let Some(data_seed) = draft.integer("data_seed")? {
        let seed = draft.integer("seed")?.unwrap_or(42);
        match data_seed == seed {
            true => draft.note("data_seed", Harmless, "the same as `seed`"),
            false => draft.note(
                "data_seed",
                Differs,
                "the order of the pairs is drawn from `train.seed` here",
            ),
        }
    }
    Ok(())
}

/// Where checkpoints change no result, `save_steps` and `save_total_limit` have their keys.
fn checkpoints(draft: &mut Draft<'_>) -> Result<()> {
    let strategy = draft.word("save_strategy")?;
    let are_by_steps = strategy.is_none_or(|word| word == "steps");
    if let Some(steps) = draft.number("save_steps")?.filter(|_| are_by_steps) {
        match steps >= 1.0 && steps.fract().abs() < f64::MIN_POSITIVE {
            true => draft.translate("save_steps", "train.checkpoint_every", steps as i64),
            false => draft.note(
                "save_steps",
                Harmless,
                "a share of the steps has no key; `train.checkpoint_every` keeps its own",
            ),
        }
    }
    if let Some(limit) = draft.integer("save_total_limit")?.filter(|limit| *limit >= 1) {
        draft.translate("save_total_limit", "train.keep_checkpoints", limit);
    }
    Ok(())
}

fn activations(draft: &mut Draft<'_>) -> Result<()> {
    let ours = "train.activations";
    for key in
        ["gradient_checkpointing", "activation_checkpointing", "disable_gradient_checkpointing"]
    {
        let Some(node) = draft.given(key) else { continue };
        let is_on = match (node.value.flag(), node.value.text()) {
            (Some(flag), _) => flag != key.starts_with("disable"),
            // Axolotl: `offload` and the like.
            (None, Some(_)) => true,
            (None, None) => return Err(draft.wrong(key, node, "`true` or `false`").into()),
        };
        draft.translate(key, ours, if is_on { "recompute" } else { "keep" });
    }
    let others = [
        "gradient_checkpointing_kwargs",
        "gradient_checkpointing_use_reentrant",
        "activation_checkpointing_kwargs",
        "activation_offloading",
        "use_reentrant_gc",
        "selective_checkpointing",
    ];
    for key in others {
        if draft.given(key).is_some() {
            draft.note(
                key,
                Harmless,
                "`train.activations` decides, which changes no bit of the result",
            );
        }
    }
    Ok(())
}
