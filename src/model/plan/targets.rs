//! Which modules of a model an adapter's configuration names, and the rank and scale of each: PEFT's rules over the names of all modules.

use super::pattern::Pattern;
use super::{AdapterPlan, ModulePlan};
use crate::config::{LoraSection, Modules, Patterns, Projection};
use crate::error::{InputError, shown};
use crate::model::family;
use crate::model::shape::Shape;

impl AdapterPlan {
    /// What the run's `[lora]` section adapts on a model of `shape`.
    ///
    /// Refuses a module that cannot be adapted here, patterns that are not read, a name or pattern that matches nothing, patterns that
    /// contradict each other, and a section that names no module.
    pub fn of(lora: &LoraSection, shape: &Shape) -> Result<Self, InputError> {
        plan(lora, shape, Author::User)
    }

    /// What an adapter of PEFT with this configuration adapts: a name or pattern that matches nothing is passed over, as PEFT does.
    pub fn of_peft(lora: &LoraSection, shape: &Shape) -> Result<Self, InputError> {
        plan(lora, shape, Author::Peft)
    }
}

/// What to do with an adapter that PEFT computes and this program does not.
pub(in crate::model) const MERGE: &str = "merge it in PEFT, `model.merge_and_unload().save_pretrained(FOLDER)`, save the tokenizer there too, and take FOLDER as the model";

/// Who wrote the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Author {
    /// The user of this program: a name that matches nothing is a slip.
    User,
    /// PEFT, which passes over a name that matches nothing; the tensors of the adapter tell whether it matters.
    Peft,
}

impl Author {
    /// The name of a key in a message.
    fn key(self, name: &str) -> String {
        match self {
            Self::User => format!("`lora.{name}`"),
            Self::Peft => format!("`{name}`"),
        }
    }
}

fn plan(lora: &LoraSection, shape: &Shape, author: Author) -> Result<AdapterPlan, InputError> {
    let modules = family::modules(shape.layers);
    let (target, exclude) =
        (Chosen::new(&lora.target_modules)?, Chosen::new(&lora.exclude_modules)?);
    let (ranks, alphas) = (compiled(&lora.rank_pattern)?, compiled(&lora.alpha_pattern)?);
    let layers = Layers::new(lora)?;
    let mut plan = AdapterPlan::none(shape);
    let (mut excluded, mut adapted) = (Vec::new(), Vec::new());
    for (name, module) in &modules {
        if exclude.has(name, *module)? {
            excluded.push(name.as_str());
        } else if target.has(name, *module)? && layers.have(name, &target, author)? {
            let Some((layer, projection)) = *module else {
                return Err(not_adaptable(name, author));
            };
            let rank = value(&ranks, "rank_pattern", name, author)?.unwrap_or(lora.rank);
            let alpha = value(&alphas, "alpha_pattern", name, author)?.unwrap_or(lora.alpha);
            let planned = ModulePlan { rank, alpha, use_rslora: lora.use_rslora };
            plan.layers[layer].set(projection, Some(planned));
            adapted.push(name.as_str());
        }
    }
    if adapted.is_empty() {
        return Err(nothing_left(lora, !excluded.is_empty(), author));
    }
    if author == Author::User {
        let names: Vec<_> = modules.iter().map(|(name, _)| name.as_str()).collect();
        refuse_idle("target_modules", &lora.target_modules, &names)?;
        refuse_idle("exclude_modules", &lora.exclude_modules, &names)?;
        if let Some(layer) = lora.layers_to_transform.iter().find(|layer| **layer >= shape.layers) {
            return Err(InputError::new(format!(
                "{} has {layer}, but the model has {} layers, counted from 0",
                author.key("layers_to_transform"),
                shape.layers
            )));
        }
        for (key, patterns) in
            [("rank_pattern", names_of(&ranks)), ("alpha_pattern", names_of(&alphas))]
        {
            for (written, pattern) in patterns {
                let mut found = false;
                for name in &adapted {
                    found |= pattern.matches(name)?;
                }
                if !found {
                    return Err(idle(key, written));
                }
            }
        }
    }
    Ok(plan)
}

/// Modules by names or by a compiled pattern.
enum Chosen<'a> {
    Names(&'a [String]),
    AllLinear,
    Pattern(Pattern),
}

impl<'a> Chosen<'a> {
    fn new(modules: &'a Modules) -> Result<Self, InputError> {
        Ok(match modules {
            Modules::Names(names) => Self::Names(names),
            Modules::Pattern(pattern) if pattern.is_empty() => Self::Names(&[]),
            _ if modules.is_all_linear() => Self::AllLinear,
            Modules::Pattern(pattern) => Self::Pattern(Pattern::whole(pattern)?),
        })
    }

    fn has(&self, name: &str, module: Option<(usize, Projection)>) -> Result<bool, InputError> {
        Ok(match self {
            Self::Names(names) => names.iter().any(|known| is_end(name, known)),
            // The output layer is left out, as PEFT does.
            Self::AllLinear => module.is_some(),
            Self::Pattern(pattern) => pattern.matches(name)?,
        })
    }

    /// Whether it gives `name` whole, and not its end.
    fn names_whole(&self, name: &str) -> bool {
        matches!(self, Self::Names(names) if names.iter().any(|known| known == name))
    }
}

/// Whether `end` is `name` or its last parts.
fn is_end(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// `layers_to_transform` and `layers_pattern`.
struct Layers<'a> {
    numbers: &'a [usize],
    patterns: Vec<Pattern>,
}

impl<'a> Layers<'a> {
    fn new(lora: &'a LoraSection) -> Result<Self, InputError> {
        let patterns = lora.layers_pattern.iter().map(|pattern| Pattern::layers(pattern));
        Ok(Self {
            numbers: &lora.layers_to_transform,
            patterns: patterns.collect::<Result<_, _>>()?,
        })
    }

    /// Whether the module `name` is in one of the layers. PEFT takes a module that is named whole from any layer, but not from a list
    /// of 20 names or more, so that a contradiction is refused.
    fn have(&self, name: &str, target: &Chosen<'_>, author: Author) -> Result<bool, InputError> {
        if self.numbers.is_empty() {
            return Ok(true);
        }
        let mut layer = None;
        for pattern in &self.patterns {
            layer = layer.or(pattern.layer(name)?);
        }
        if self.patterns.is_empty() {
            // The first number after two parts of a name.
            let mut parts = name.split('.').skip(2).collect::<Vec<_>>();
            parts.pop();
            layer = parts.into_iter().find_map(|part| part.parse().ok());
        }
        let is_in = layer.is_some_and(|layer| self.numbers.contains(&layer));
        if !is_in && target.names_whole(name) {
            return Err(InputError::new(format!(
                "{} names `{name}`, but {} leaves its layer out",
                author.key("target_modules"),
                author.key("layers_to_transform")
            ))
            .hint("name modules whole, or choose layers, but not both"));
        }
        Ok(is_in)
    }
}

/// The patterns of a table with their values.
type Compiled<'a, T> = Vec<(&'a str, Pattern, T)>;

fn compiled<T: Copy>(patterns: &Patterns<T>) -> Result<Compiled<'_, T>, InputError> {
    patterns.0.iter().map(|(key, value)| Ok((key.as_str(), Pattern::end(key)?, *value))).collect()
}

fn names_of<'a, T>(patterns: &'a Compiled<'_, T>) -> Vec<(&'a str, &'a Pattern)> {
    patterns.iter().map(|(written, pattern, _)| (*written, pattern)).collect()
}

/// The value of the first pattern that matches `name`. A user's two that match with different values are refused: PEFT writes them in
/// the order of their letters, whichever stood first.
fn value<T: Copy + PartialEq>(
    patterns: &Compiled<'_, T>,
    key: &str,
    name: &str,
    author: Author,
) -> Result<Option<T>, InputError> {
    let mut found: Option<(&str, T)> = None;
    for (written, pattern, value) in patterns {
        if !pattern.matches(name)? {
            continue;
        }
        match found {
            None => found = Some((written, *value)),
            Some((first, other)) if author == Author::User && other != *value => {
                return Err(InputError::new(format!(
                    "`{name}` is matched by `{}` and by `{}` of {}, with different values",
                    shown(&first),
                    shown(written),
                    author.key(key)
                ))
                .hint("write patterns that match no module in common"));
            }
            Some(_) => {}
        }
        if author == Author::Peft {
            break;
        }
    }
    Ok(found.map(|(_, value)| value))
}

/// The error that a module outside the decoder layers' linear ones is to be adapted.
fn not_adaptable(name: &str, author: Author) -> InputError {
    let names: Vec<_> =
        Projection::ALL.iter().map(|projection| format!("`{projection}`")).collect();
    InputError::new(format!(
        "{} matches `{name}`, which cannot carry an adapter here",
        author.key("target_modules")
    ))
    .hint(match author {
        Author::User => format!(
            "adapters are computed on the linear layers of a decoder layer: {}; `lora.exclude_modules` leaves a module out",
            names.join(", ")
        ),
        Author::Peft => MERGE.to_owned(),
    })
}

/// The error that no module is adapted, with what chose them.
fn nothing_left(lora: &LoraSection, some_excluded: bool, author: Author) -> InputError {
    let target = shown(&lora.target_modules);
    let mut message =
        format!("{} matches no module of the model, got `{target}`", author.key("target_modules"));
    if some_excluded {
        message +=
            &format!(", less {} `{}`", author.key("exclude_modules"), shown(&lora.exclude_modules));
    }
    if !lora.layers_to_transform.is_empty() {
        let key = author.key("layers_to_transform");
        message += &format!(" in the layers {:?} of {key}", lora.layers_to_transform);
    }
    if !lora.layers_pattern.is_empty() {
        message += &format!(" of {} {:?}", author.key("layers_pattern"), lora.layers_pattern);
    }
    let error = InputError::new(message);
    match &lora.target_modules {
        Modules::Pattern(word) if Projection::NAMES.contains(&word.as_str()) => error
            .hint(format!("a text is a regular expression over whole names; write `[\"{word}\"]`")),
        Modules::Pattern(_) => error.hint(format!(
            "a regular expression must match whole names, such as `{}`",
            family::projection_module(0, Projection::QProj)
        )),
        Modules::Names(_) => error.hint(format!(
            "a name is whole, such as `{}`, or its last parts, such as `q_proj`",
            family::projection_module(0, Projection::QProj)
        )),
    }
}

/// Refuses a user's name or pattern that matches no module at all.
fn refuse_idle(key: &str, modules: &Modules, names: &[&str]) -> Result<(), InputError> {
    match modules {
        Modules::Names(ends) => {
            let idle_one = ends.iter().find(|end| !names.iter().any(|name| is_end(name, end)));
            idle_one.map_or(Ok(()), |end| Err(idle(key, end)))
        }
        Modules::Pattern(pattern) if !pattern.is_empty() && !modules.is_all_linear() => {
            let compiled = Pattern::whole(pattern)?;
            for name in names {
                if compiled.matches(name)? {
                    return Ok(());
                }
            }
            Err(idle(key, pattern))
        }
        Modules::Pattern(_) => Ok(()),
    }
}

fn idle(key: &str, written: &str) -> InputError {
    let key = Author::User.key(key);
    let error = InputError::new(format!("`{}` of {key} matches no module", shown(&written)));
    let likeness = |name: &&&str| strsim::jaro_winkler(name, written);
    let nearest = Projection::NAMES.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|name| likeness(name) > 0.8) {
        Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
        None => error.hint(format!(
            "modules are named as in `{}`",
            family::projection_module(0, Projection::QProj)
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn shape(layers: usize) -> Shape {
        let config = json!({
            "model_type": "llama", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 12,
            "num_hidden_layers": layers, "num_attention_heads": 2, "num_key_value_heads": 1,
        });
        Shape::parse(&config.to_string(), "test").unwrap()
    }

    /// The section that reads as `fields` of PEFT's configuration; PEFT's defaults are `r` 8 and `lora_alpha` 8.
    fn section(fields: &Value) -> LoraSection {
        let of = |name: &str, default: Value| fields.get(name).cloned().unwrap_or(default);
        let listed = |name: &str| match of(name, json!([])) {
            Value::Array(items) => Value::Array(items),
            item => json!([item]),
        };
        serde_json::from_value(json!({
            "rank": of("r", json!(8)), "alpha": 8.0, "use_rslora": of("use_rslora", json!(false)),
            "target_modules": of("target_modules", json!([])),
            "exclude_modules": of("exclude_modules", json!([])),
            "layers_to_transform": listed("layers_to_transform"),
            "layers_pattern": listed("layers_pattern"),
            "rank_pattern": of("rank_pattern", json!({})),
            "alpha_pattern": of("alpha_pattern", json!({})),
        }))
        .unwrap()
    }

    #[test]
    fn the_modules_with_their_ranks_and_scales_are_those_of_peft() {
        let text = include_str!("../../../tests/data/peft_targets.json");
        let golden: Value = serde_json::from_str(text).unwrap();
        let shape = shape(golden["layers"].as_u64().unwrap() as usize);
        let (mut adapted, mut refused) = (0, 0);
        for case in golden["cases"].as_array().unwrap() {
            let fields = &case["config"];
            // What PEFT refuses by the configuration alone is refused where it is read.
            let refusal = case["refused"].as_str().unwrap_or_default();
            if refusal.starts_with("ValueError") && refusal.contains("layers_pattern")
                || refusal.contains("`layers_to_transform`")
            {
                continue;
            }
            let plan = AdapterPlan::of_peft(&section(fields), &shape);
            let Some(modules) = case["modules"].as_object() else {
                assert!(plan.is_err(), "PEFT refuses {fields}");
                refused += 1;
                continue;
            };
            let plan = plan.unwrap_or_else(|error| panic!("{fields}: {error}"));
            let want: BTreeMap<_, _> = modules
                .iter()
                .map(|(name, of)| (name.clone(), (of[0].as_u64(), of[1].as_f64().unwrap())))
                .collect();
            let got: BTreeMap<_, _> = plan
                .iter()
                .map(|(layer, projection, module)| {
                    (format!("{layer}.{projection}"), (Some(module.rank as u64), module.scale()))
                })
                .collect();
            assert_eq!(got.len(), want.len(), "{fields}");
            for (name, (rank, scale)) in &want {
                let (found, at) = got.get(name).unwrap_or_else(|| panic!("{fields}: {name}"));
                assert!(
                    found == rank && (at - scale).abs() <= 1e-12,
                    "{fields}: {name} {found:?} {at}"
                );
            }
            adapted += 1;
            // Ours is stricter about what matches nothing or contradicts itself, and the same otherwise.
            match AdapterPlan::of(&section(fields), &shape) {
                Ok(ours) => assert!(ours == plan && case["all"] == true, "{fields}"),
                Err(error) => assert!(
                    case["all"] == false || error.to_string().contains("with different values"),
                    "{fields}: {error}"
                ),
            }
        }
        assert!(adapted >= 35 && refused >= 8, "{adapted} {refused}");
    }

    fn refusal(fields: Value) -> String {
        let error = AdapterPlan::of(&section(&fields), &shape(4)).unwrap_err();
        format!("{error}\n{}", error.remedy().unwrap_or_default())
    }

    #[test]
    fn what_cannot_be_adapted_and_what_matches_nothing_is_named() {
        for (fields, parts) in [
            (
                json!({"target_modules": ["q_proj", "lm_head"]}),
                &["`lora.target_modules` matches `lm_head`", "`lora.exclude_modules` leaves"][..],
            ),
            (json!({"target_modules": ".*embed.*"}), &["matches `model.embed_tokens`"]),
            (json!({"target_modules": ".*"}), &["matches `model`"]),
            (json!({"target_modules": ["q_proj", "norm"]}), &["matches `model.norm`"]),
            (
                json!({"target_modules": ["q_porj", "v_proj"]}),
                &["`q_porj` of `lora.target_modules` matches no module", "did you mean `q_proj`?"],
            ),
            (
                json!({"target_modules": "q_proj"}),
                &[
                    "`lora.target_modules` matches no module of the model, got `q_proj`",
                    "write `[\"q_proj\"]`",
                ],
            ),
            (
                json!({"target_modules": ["q_proj"], "layers_to_transform": [4]}),
                &[
                    "matches no module of the model",
                    "in the layers [4] of `lora.layers_to_transform`",
                ],
            ),
            (
                json!({"target_modules": ["q_proj"], "layers_to_transform": [1, 4]}),
                &["`lora.layers_to_transform` has 4, but the model has 4 layers"],
            ),
            (
                json!({"target_modules": ["q_proj"], "exclude_modules": ["q_proj"]}),
                &["matches no module of the model", "less `lora.exclude_modules` `q_proj`"],
            ),
            (
                json!({"target_modules": ["q_proj"], "exclude_modules": ".*vision.*"}),
                &["`.*vision.*` of `lora.exclude_modules` matches no module"],
            ),
            (
                json!({"target_modules": ["q_proj"], "alpha_pattern": {"v_proj": 2.0}}),
                &["`v_proj` of `lora.alpha_pattern` matches no module"],
            ),
            (
                json!({"target_modules": ["q_proj"], "rank_pattern": {"q_proj": 2, "0.self_attn.q_proj": 3}}),
                &[
                    "`model.layers.0.self_attn.q_proj` is matched by `q_proj` and by `0.self_attn.q_proj`",
                ],
            ),
            (
                json!({"target_modules": ["model.layers.0.self_attn.q_proj"], "layers_to_transform": [1]}),
                &["names `model.layers.0.self_attn.q_proj`, but `lora.layers_to_transform` leaves"],
            ),
            (
                json!({"target_modules": r"\p{L}+"}),
                &["the regular expression `\\p{L}+` is not read here"],
            ),
        ] {
            let said = refusal(fields);
            for part in parts {
                assert!(said.contains(part), "{part}\n{said}");
            }
        }
    }
}
