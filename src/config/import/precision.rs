//! The number type of the weights, by the flags of transformers' `Trainer`.

use anyhow::Result;

use super::Fate::{Differs, Translated};
use super::draft::Draft;

/// The number type of the weights by the flags of a Trainer; `default`: where neither flag is set.
pub(super) fn translate(
    draft: &mut Draft<'_>,
    bf16: &'static str,
    dtype: Option<&'static str>,
    default: &'static str,
) -> Result<()> {
    let ours = "model.dtype";
    let flag = |draft: &Draft<'_>, key: &str| -> Result<Option<bool>> {
        let Some(node) = draft.given(key) else { return Ok(None) };
        match (node.value.flag(), node.value.text()) {
            (Some(flag), _) => Ok(Some(flag)),
            // Axolotl: where the device has it.
            (None, Some("auto" | "full")) => Ok(Some(true)),
            _ => Err(draft.wrong(key, node, "`true` or `false`").into()),
        }
    };
    let (is_bf16, is_fp16) = (flag(draft, bf16)?, flag(draft, "fp16")?);
    let of_weights = match dtype {
        Some(key) => draft.word(key)?,
        None => None,
    };
    if let (Some(key), Some(word)) = (dtype, of_weights.as_deref()) {
        let known = ["auto", "bfloat16", "float16", "float32", "bf16", "fp16", "fp32"];
        if let Some(node) = draft.given(key).filter(|_| !known.contains(&word)) {
            return Err(draft
                .wrong(key, node, "one of `auto`, `bfloat16`, `float16`, `float32`")
                .into());
        }
    }
    let is_half = |word: &str| matches!(word, "float16" | "fp16");
    if is_fp16 == Some(true) || of_weights.as_deref().is_some_and(is_half) {
        let key = if is_fp16 == Some(true) { "fp16" } else { dtype.unwrap_or("fp16") };
        let said = "there is no fp16 here: `model.dtype = \"bf16\"`, which has fewer digits and a wider range";
        let shown = draft.shown(key);
        draft.set(ours, "bf16", format!("{shown}: {said}"));
        draft.note(key, Differs, said);
    } else if is_bf16.unwrap_or(default == "bf16")
        || of_weights.as_deref().is_some_and(|word| word.starts_with("bf"))
    {
        match (is_bf16, dtype) {
            (Some(true), _) => draft.translate_as(
                bf16,
                ours,
                "bf16",
                "the frozen weights are bf16, the adapter f32",
            ),
            (_, Some(key))
                if draft.given(key).is_some_and(|node| node.value.text() != Some("auto"))
                    && is_bf16 == Some(false) =>
            {
                draft.translate(key, ours, "bf16");
            }
            _ => draft.set_default(ours, "bf16", bf16),
        }
    } else {
        match is_bf16 {
            Some(_) => draft.translate(bf16, ours, "f32"),
            None => draft.set_default(ours, default, bf16),
        }
    }
    for key in [Some(bf16), Some("fp16"), dtype].into_iter().flatten() {
        if draft.given(key).is_some() && !draft.is_noted(key) {
            draft.note(key, Translated, "a part of `model.dtype`");
        }
    }
    Ok(())
}
