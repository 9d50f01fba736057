//! Names of tensors without the model's prefix, which are read, and under another one: who saved the checkpoint so, and the remedy.

use std::path::Path;

use super::family;
use crate::error::InputError;

/// How a checkpoint names its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// As `LlamaForCausalLM` does, with `model.` before all but the output layer.
    Whole,
    /// Without it, as `LlamaModel` does, and programs that save the inner model.
    Bare,
}

impl Names {
    /// How these names are. A mixture counts as whole, so that the bare ones are not expected.
    pub(super) fn of<'a>(mut names: impl Iterator<Item = &'a str> + Clone) -> Self {
        let bare = names.clone().any(|name| name.starts_with(family::LAYERS));
        match bare && !names.any(|name| name.starts_with(family::PREFIX)) {
            true => Self::Bare,
            false => Self::Whole,
        }
    }

    /// The name in the checkpoint of the tensor that the model calls `name`.
    pub(super) fn stored(self, name: &str) -> &str {
        match self {
            Self::Whole => name,
            Self::Bare => name.strip_prefix(family::PREFIX).unwrap_or(name),
        }
    }
}

/// What stands before the names where a wrapper was saved in place of the model, and how to save the model itself.
const WRAPPERS: &[(&str, &str)] = &[
    (
        "base_model.model.",
        "it was saved with PEFT's wrapper: save `model.merge_and_unload()`, or give the base and the adapter apart",
    ),
    (
        "_orig_mod.",
        "it was saved after `torch.compile`: save `model._orig_mod` in place of `model`",
    ),
    (
        "module.",
        "it was saved inside a wrapper such as DistributedDataParallel: save `model.module`",
    ),
    (
        "language_model.",
        "it holds the language model of a larger one: save that part alone, `model.language_model`, with its config.json",
    ),
];

/// The error for a checkpoint in `folder` whose layers have the right names but for what stands before `layers.`; none for any other.
///
/// - `missing`: names that the model needs and the checkpoint lacks.
/// - `extra`: names that the model does not need.
pub(super) fn refusal(folder: &Path, missing: &[String], extra: &[String]) -> Option<InputError> {
    let (expected, layer) = missing.iter().find_map(|name| at_layers(name))?;
    let begins = extra.iter().find_map(|name| {
        let (begins, rest) = at_layers(name)?;
        (rest == layer && begins != expected).then_some(begins)
    })?;
    let message = format!(
        "checkpoint `{}`: every name of a layer begins with `{begins}layers.`, expected `{expected}layers.`",
        folder.display()
    );
    let wrapper = WRAPPERS.iter().find(|(wrapper, _)| begins.contains(wrapper));
    Some(InputError::new(message).hint(match wrapper {
        Some((_, hint)) => (*hint).to_owned(),
        None if begins.is_empty() => {
            "some of its names have `model.` and some have not: save `LlamaForCausalLM` again".to_owned()
        }
        None => format!(
            "rename the tensors, `{begins}...` to `{expected}...`, or save the model again as `LlamaForCausalLM`"
        ),
    }))
}

/// A name of a layer's tensor, cut before `layers.`.
fn at_layers(name: &str) -> Option<(&str, &str)> {
    let layers = family::LAYERS;
    let at = match name.starts_with(layers) {
        true => 0,
        false => name.find(&format!(".{layers}"))? + 1,
    };
    Some(name.split_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bare_only_if_all_are() {
        let of = |names: &[&str]| Names::of(names.iter().copied());
        let (bare, whole) = ("layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight");
        assert_eq!(of(&["norm.weight", bare, "lm_head.weight"]), Names::Bare);
        assert_eq!(of(&[bare, whole]), Names::Whole);
        assert_eq!(of(&["other.layers.0.weight", "a"]), Names::Whole);
        assert_eq!((Names::Bare.stored(whole), Names::Whole.stored(whole)), (bare, whole));
        assert_eq!(Names::Bare.stored("lm_head.weight"), "lm_head.weight");
    }

    #[test]
    fn a_prefix_of_a_wrapper_is_named_with_its_remedy() {
        let tail = "layers.0.input_layernorm.weight";
        let missing = ["model.norm.weight".to_owned(), format!("model.{tail}")];
        let refusal = |begins: &str| {
            let extra = ["other.weight".to_owned(), format!("{begins}{tail}")];
            refusal(Path::new("m"), &missing, &extra)
        };
        for (begins, hint) in [
            ("base_model.model.model.", "merge_and_unload"),
            ("_orig_mod.model.", "torch.compile"),
            ("module.model.", "model.module"),
            ("language_model.model.", "language model"),
            ("model.language_model.", "language model"),
            ("model.model.", "`model.model....` to `model....`"),
            ("transformer.", "`transformer....` to `model....`"),
            ("", "some of its names"),
        ] {
            let refused = refusal(begins).unwrap();
            let message = format!("begins with `{begins}layers.`, expected `model.layers.`");
            assert!(refused.to_string().contains(&message), "{refused}");
            assert!(refused.remedy().unwrap().contains(hint), "{begins}: {refused}");
        }
        assert!(refusal("model.").is_none());
    }
}
