//! Whether an adapter to start from is what the run's `[lora]` section describes.

use std::path::Path;

use anyhow::Result;
use toml::Value;

use crate::config::{LoraSection, Modules};
use crate::error::InputError;
use crate::model::family;
use crate::model::plan::AdapterPlan;

/// Refuses an adapter whose configuration `file` gives other ranks, those of `own`, than its tensors have, which are those of `plan`.
pub(super) fn same_ranks(file: &str, plan: &AdapterPlan, own: &AdapterPlan) -> Result<()> {
    let other = plan.iter().zip(own.iter()).find(|((.., has), (.., says))| has.rank != says.rank);
    let Some(((.., has), (.., says))) = other else { return Ok(()) };
    let message = format!(
        "{file} says rank {}, the adapter's tensors have rank {}: the two files are of different adapters",
        says.rank, has.rank
    );
    Err(InputError::new(message).hint("put the files of one adapter together").into())
}

/// Refuses an adapter that the run's section does not describe; the shapes of the tensors tell a wrong `lora.rank`.
///
/// - `sections`, `plans`: of the run, and of the adapter in `folder`.
pub(super) fn agree(
    folder: &Path,
    sections: [&LoraSection; 2],
    plans: [&AdapterPlan; 2],
) -> Result<()> {
    let [expected, found] = sections;
    let name = folder.display();
    let modules = plans.map(|plan| plan.iter().map(|(l, p, _)| (l, p)).collect::<Vec<_>>());
    if modules[0] != modules[1] {
        let [theirs, ours] = [found, expected].map(chosen);
        return Err(InputError::new(format!("adapter `{name}` adapts {theirs}, expected {ours}"))
            .hint(format!("set {}", choosing(sections)?))
            .into());
    }
    let has_patterns = |section: &LoraSection| {
        !section.rank_pattern.is_empty() || !section.alpha_pattern.is_empty()
    };
    if !sections.iter().any(|section| has_patterns(section)) {
        return uniform(folder, sections);
    }
    for ((layer, projection, ours), (.., theirs)) in plans[0].iter().zip(plans[1].iter()) {
        if ours != theirs {
            let of = |module: &crate::model::plan::ModulePlan| {
                let rslora = if module.use_rslora { ", rsLoRA" } else { "" };
                format!("rank {}, alpha {}{rslora}", module.rank, module.alpha)
            };
            return Err(InputError::new(format!(
                "adapter `{name}` has {} at `{}`, expected {}",
                of(theirs),
                family::projection_module(layer, projection),
                of(ours)
            ))
            .hint(format!(
                "set `lora.rank = {}`, `lora.alpha = {:?}`, `lora.use_rslora = {}`, `lora.rank_pattern = {}`, `lora.alpha_pattern = {}`",
                found.rank,
                found.alpha,
                found.use_rslora,
                Value::try_from(&found.rank_pattern)?,
                Value::try_from(&found.alpha_pattern)?
            ))
            .into());
        }
    }
    Ok(())
}

/// [`agree`] of an adapter and a section that are the same in every module.
fn uniform(folder: &Path, [expected, found]: [&LoraSection; 2]) -> Result<()> {
    let (name, alpha, use_rslora) = (folder.display(), found.alpha, found.use_rslora);
    if expected.alpha.total_cmp(&alpha).is_ne() {
        let message =
            format!("adapter `{name}` was trained with alpha {alpha}, expected {}", expected.alpha);
        return Err(InputError::new(message).hint(format!("set `lora.alpha = {alpha:?}`")).into());
    }
    if expected.use_rslora != use_rslora {
        let message = format!(
            "adapter `{name}` was trained with `use_rslora` {use_rslora}, expected {}",
            expected.use_rslora
        );
        let hint = format!("set `lora.use_rslora = {use_rslora}`");
        return Err(InputError::new(message).hint(hint).into());
    }
    Ok(())
}

/// What a section adapts, in words.
fn chosen(section: &LoraSection) -> String {
    let words = |modules: &Modules| match modules {
        Modules::Names(names) => {
            format!("[{}]", names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(","))
        }
        Modules::Pattern(pattern) => format!("{pattern:?}"),
    };
    let mut text = words(&section.target_modules);
    if !section.exclude_modules.is_empty() {
        text += &format!(" without {}", words(&section.exclude_modules));
    }
    if !section.layers_to_transform.is_empty() {
        text += &format!(" of layers {:?}", section.layers_to_transform);
    }
    text
}

/// The keys that choose modules, as the adapter has them, where the run has them otherwise.
fn choosing([expected, found]: [&LoraSection; 2]) -> Result<String> {
    let of = |section: &LoraSection| -> Result<[Value; 4]> {
        let mut names = section.clone();
        names.target_modules.sort();
        names.exclude_modules.sort();
        Ok([
            Value::try_from(&names.target_modules)?,
            Value::try_from(&names.exclude_modules)?,
            Value::try_from(&section.layers_to_transform)?,
            Value::try_from(&section.layers_pattern)?,
        ])
    };
    let keys = ["target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"];
    let (ours, theirs) = (of(expected)?, of(found)?);
    let differing = keys.iter().zip(ours.iter().zip(&theirs)).filter(|(_, (a, b))| a != b);
    let settings: Vec<_> = differing
        .map(|(key, (_, value))| format!("`lora.{key} = {}`", value.to_string().replace(", ", ",")))
        .collect();
    Ok(settings.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Patterns, Projection};
    use crate::model::shape::Shape;

    fn shape() -> Shape {
        let config = r#"{"model_type": "llama", "vocab_size": 9, "hidden_size": 8, "intermediate_size": 12,
            "num_hidden_layers": 2, "num_attention_heads": 2}"#;
        Shape::parse(config, "test").unwrap()
    }

    fn section() -> LoraSection {
        let target_modules = Modules::of([Projection::QProj, Projection::DownProj]);
        LoraSection { rank: 3, alpha: 6.0, target_modules, ..LoraSection::default() }
    }

    #[test]
    fn an_adapter_that_the_section_describes_is_taken_and_another_one_refused_with_its_remedy() {
        let agree = |expected: &LoraSection, found: LoraSection| {
            let plans = [expected, &found].map(|lora| AdapterPlan::of(lora, &shape()).unwrap());
            super::agree(Path::new("a"), [expected, &found], [&plans[0], &plans[1]])
        };
        let hint = |expected: &LoraSection, found: LoraSection| {
            let error = agree(expected, found).unwrap_err();
            InputError::of(&error).unwrap().remedy().unwrap().to_owned()
        };
        let pattern = |rank| Patterns(vec![("q_proj".to_owned(), rank)]);
        let plain = section();
        assert!(agree(&plain, section()).is_ok());
        // The same modules and values in other words.
        let words = Modules::Pattern(r".*\.(q|down)_proj".to_owned());
        assert!(agree(&plain, LoraSection { target_modules: words, ..section() }).is_ok());
        assert!(agree(&plain, LoraSection { rank_pattern: pattern(3), ..section() }).is_ok());
        for (found, expected) in [
            (LoraSection { alpha: 7.5, ..section() }, "set `lora.alpha = 7.5`"),
            (LoraSection { use_rslora: true, ..section() }, "set `lora.use_rslora = true`"),
            (
                LoraSection { target_modules: Modules::of([Projection::QProj]), ..section() },
                "set `lora.target_modules = [\"q_proj\"]`",
            ),
            (
                LoraSection { layers_to_transform: vec![1], ..section() },
                "set `lora.layers_to_transform = [1]`",
            ),
        ] {
            assert_eq!(hint(&plain, found), expected);
        }
        let ranked = hint(&plain, LoraSection { rank_pattern: pattern(4), ..section() });
        assert!(ranked.contains("`lora.rank_pattern = { q_proj = 4 }`"), "{ranked}");
    }
}
