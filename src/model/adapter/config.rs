//! `adapter_config.json`: written as PEFT 0.21 does, read by a table of its fields.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::config::{LoraSection, Modules, Patterns, Projection};
use crate::disk::fields::{Known, Only, refuse_unknown};
use crate::error::{InputError, shown};
use crate::model::plan::MERGE;

/// `adapter_config.json` of an adapter of `lora`, with every field that PEFT 0.21 writes. `revision`: of the `base_model`, none for a
/// folder.
pub fn config_json(lora: &LoraSection, base_model: &str, revision: Option<&str>) -> Value {
    let target_modules = match &lora.target_modules {
        // What PEFT makes of it too, and what every other reader knows.
        all if all.is_all_linear() => json!(Projection::NAMES),
        modules => json!(modules),
    };
    let exclude_modules = match &lora.exclude_modules {
        none if none.is_empty() => Value::Null,
        modules => json!(modules),
    };
    let list = |items: Value| if items == json!([]) { Value::Null } else { items };
    let alphas = lora.alpha_pattern.0.iter().map(|(key, alpha)| (key.clone(), number(*alpha)));
    json!({
        "alora_invocation_tokens": null, "alpha_pattern": alphas.collect::<Map<_, _>>(), "arrow_config": null, "auto_mapping": null,
        "base_model_name_or_path": base_model, "bias": "none", "corda_config": null, "ensure_weight_tying": false, "eva_config": null,
        "exclude_modules": exclude_modules, "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
        "layer_replication": null, "layers_pattern": list(json!(lora.layers_pattern)),
        "layers_to_transform": list(json!(lora.layers_to_transform)), "loftq_config": {}, "lora_alpha": number(lora.alpha),
        "lora_bias": false, "lora_dropout": lora.dropout, "megatron_config": null, "megatron_core": "megatron.core",
        "modules_to_save": null, "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": lora.rank,
        "rank_pattern": lora.rank_pattern, "revision": revision, "target_modules": target_modules, "target_parameters": null,
        "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_dora": false, "use_qalora": false,
        "use_rslora": lora.use_rslora
    })
}

/// Whole numbers without a fraction: PEFT's `lora_alpha` is an integer wherever it can be.
fn number(x: f64) -> Value {
    if x.fract().abs() < f64::EPSILON && x.abs() < 1e15 { json!(x as i64) } else { json!(x) }
}

/// Fields of PEFT's `LoraConfig` up to 0.21 and the values of them that are plain LoRA.
///
/// What changes the weights or their use is read below, must be unset, or has the values that are computed. The rest is a record of
/// how the adapter was made: the sub-configurations of the initialisations count only beside their value of `init_lora_weights`.
const KNOWN: &[(&str, Known)] = &[
    ("peft_type", Known::Any),
    ("r", Known::Any),
    ("lora_alpha", Known::Any),
    ("use_rslora", Known::Any),
    ("target_modules", Known::Any),
    ("bias", Known::OneOf(&[Only::Word("none")])),
    ("alora_invocation_tokens", Known::Unset),
    ("alpha_pattern", Known::Any),
    ("arrow_config", Known::Unset),
    ("enable_lora", Known::Unset),
    ("exclude_modules", Known::Any),
    ("fan_in_fan_out", Known::Unset),
    ("kasa_config", Known::Unset),
    ("layer_replication", Known::Unset),
    ("layers_to_transform", Known::Any),
    ("lora_bias", Known::Unset),
    ("megatron_config", Known::Unset),
    ("modules_to_save", Known::Unset),
    ("monteclora_config", Known::Unset),
    ("rank_pattern", Known::Any),
    ("target_parameters", Known::Unset),
    ("trainable_token_indices", Known::Unset),
    ("use_bdlora", Known::Unset),
    ("use_dora", Known::Unset),
    ("use_qalora", Known::Unset),
    ("velora_config", Known::Unset),
    ("auto_mapping", Known::Any),
    ("base_model_name_or_path", Known::Any),
    ("corda_config", Known::Any),
    ("ensure_weight_tying", Known::Any),
    ("eva_config", Known::Any),
    ("inference_mode", Known::Any),
    ("init_lora_weights", Known::Any),
    ("layers_pattern", Known::Any),
    ("loftq_config", Known::Any),
    ("lora_dropout", Known::Any),
    ("lora_ga_config", Known::Any),
    ("megatron_core", Known::Any),
    ("merge_weights", Known::Any),
    ("peft_version", Known::Any),
    ("qalora_group_size", Known::Any),
    ("revision", Known::Any),
    ("runtime_config", Known::Any),
    ("task_type", Known::OneOf(&[Only::Word("CAUSAL_LM")])),
];

/// Initialisations after which an adapter is plain LoRA on the base as it is. PEFT takes the start of any other (PiSSA, OLoRA, CorDA) out
/// of the base whenever it loads the adapter, or quantises the base (LoftQ).
const PLAIN_STARTS: [&str; 5] = ["gaussian", "orthogonal", "mica", "eva", "lora_ga"];

/// Fields that ask for what PEFT can merge into the base.
const MERGEABLE: [&str; 5] =
    ["bias", "modules_to_save", "target_parameters", "trainable_token_indices", "use_dora"];

/// The largest rank, number of a layer, or count of anything else that is read.
const LARGEST: u64 = 65_536;

/// Reads the fields of an `adapter_config.json` as a `[lora]` section; `file` names it in errors.
///
/// Refuses every field that is not in the table of known ones, by name, unless it is null, `false` or empty.
pub(super) fn read_config(fields: &Value, file: &str) -> Result<LoraSection> {
    let Value::Object(all) = fields else {
        return Err(InputError::new(format!("{file}: expected a JSON object")).into());
    };
    let read = Fields { all, file };
    if read.get("peft_type").and_then(Value::as_str) != Some("LORA") {
        return Err(read.wrong("peft_type", "`\"LORA\"`").hint(MERGE).into());
    }
    let start = read.get("init_lora_weights").filter(|value| !value.is_boolean());
    if start.is_some_and(|start| PLAIN_STARTS.iter().all(|plain| start != plain)) {
        return Err(read
            .wrong(
                "init_lora_weights",
                "`true`, `false` or an initialisation that leaves the base as it is",
            )
            .hint(format!(
                "save it as plain LoRA with PEFT: `model.save_pretrained(FOLDER, path_initial_model_for_weight_conversion=START)`, where \
                 START is the adapter as it was before training; or {MERGE}"
            ))
            .into());
    }
    refuse_unknown(file, all, &[KNOWN]).map_err(|error| {
        let message = error.to_string();
        let is_mergeable = |name: &str| message.contains(&format!("{file}: `{name}` must be"));
        if MERGEABLE.iter().any(|name| is_mergeable(name)) { error.hint(MERGE) } else { error }
    })?;
    let rank = read.get("r").and_then(rank_of);
    let rank = rank.ok_or_else(|| read.wrong("r", "a positive whole number"))?;
    let alpha = read.get("lora_alpha").and_then(alpha_of);
    let alpha =
        alpha.ok_or_else(|| read.wrong("lora_alpha", "a number above 0 that f32 can hold"))?;
    let use_rslora = read
        .get("use_rslora")
        .map_or(Some(false), Value::as_bool)
        .ok_or_else(|| read.wrong("use_rslora", "`true` or `false`"))?;
    let target_modules = read.modules("target_modules")?.filter(|modules| !modules.is_empty());
    let lora = LoraSection {
        rank,
        alpha,
        use_rslora,
        target_modules: target_modules.ok_or_else(|| read.wrong("target_modules", MODULES))?,
        exclude_modules: read.modules("exclude_modules")?.unwrap_or(Modules::NONE),
        layers_to_transform: read.list("layers_to_transform", "whole numbers", whole)?,
        layers_pattern: read
            .list("layers_pattern", "texts", |value| value.as_str().map(str::to_owned))?,
        rank_pattern: read.patterns("rank_pattern", "positive whole numbers", rank_of)?,
        alpha_pattern: read.patterns(
            "alpha_pattern",
            "numbers above 0 that f32 can hold",
            alpha_of,
        )?,
        ..LoraSection::default()
    };
    if !lora.layers_pattern.is_empty() && lora.layers_to_transform.is_empty() {
        let expected = "unset without `layers_to_transform`, as PEFT demands";
        return Err(read.wrong("layers_pattern", expected).into());
    }
    if matches!(lora.target_modules, Modules::Pattern(_)) {
        for name in ["layers_to_transform", "layers_pattern"] {
            if read.get(name).is_some_and(|value| *value != json!([])) {
                let expected = "unset beside a `target_modules` that is a text, as PEFT demands";
                return Err(read.wrong(name, expected).into());
            }
        }
    }
    Ok(lora)
}

const MODULES: &str = "a list of names of modules, a regular expression, or `\"all-linear\"`";

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().filter(|number| *number <= LARGEST).map(|number| number as usize)
}

fn rank_of(value: &Value) -> Option<usize> {
    whole(value).filter(|rank| *rank > 0)
}

fn alpha_of(value: &Value) -> Option<f64> {
    value.as_f64().filter(|alpha| (*alpha as f32).is_normal() && *alpha > 0.0)
}

/// The fields of a file.
struct Fields<'a> {
    all: &'a Map<String, Value>,
    file: &'a str,
}

impl<'a> Fields<'a> {
    /// A field that is set; null is not.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.all.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, expected: &str) -> InputError {
        InputError::new(format!(
            "{}: `{name}` must be {expected}, got `{}`",
            self.file,
            shown(self.all.get(name).unwrap_or(&Value::Null))
        ))
    }

    /// Names of modules or a pattern; none where the field is not set.
    fn modules(&self, name: &str) -> Result<Option<Modules>, InputError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let modules = match value {
            Value::String(pattern) => Some(Modules::Pattern(pattern.clone())),
            Value::Array(names) => {
                let names = names.iter().map(|name| Some(name.as_str()?.to_owned()));
                names.collect::<Option<_>>().map(Modules::Names)
            }
            _ => None,
        };
        modules.map(Some).ok_or_else(|| self.wrong(name, MODULES))
    }

    /// A list, or one item alone; empty where the field is not set.
    fn list<T>(
        &self,
        name: &str,
        of: &str,
        item: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, InputError> {
        let items = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(item).collect(),
            Some(value) => item(value).map(|item| vec![item]),
        };
        items.ok_or_else(|| self.wrong(name, &format!("a list of {of}")))
    }

    /// A table of patterns in the order of the file; empty where the field is not set.
    fn patterns<T>(
        &self,
        name: &str,
        of: &str,
        item: impl Fn(&Value) -> Option<T>,
    ) -> Result<Patterns<T>, InputError> {
        let wrong = || self.wrong(name, &format!("an object of {of}"));
        let Some(value) = self.get(name) else { return Ok(Patterns::default()) };
        let entries = value.as_object().ok_or_else(wrong)?.iter();
        let all = entries.map(|(pattern, value)| Some((pattern.clone(), item(value)?)));
        all.collect::<Option<_>>().map(Patterns).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PEFT 0.21 writes, with `changes`; null takes a field away.
    fn with(changes: Value) -> Result<LoraSection> {
        let mut fields = json!({
            "peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none", "use_rslora": false, "use_dora": false,
            "modules_to_save": null, "layers_to_transform": null, "rank_pattern": {}, "target_modules": ["v_proj", "q_proj"],
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => fields.as_object_mut().unwrap().remove(name),
                _ => fields.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        read_config(&fields, "adapter_config.json")
    }

    #[test]
    fn a_configuration_without_use_rslora_scales_by_the_rank() {
        let without = with(json!({"use_rslora": null})).unwrap();
        let target_modules = Modules::Names(vec!["v_proj".to_owned(), "q_proj".to_owned()]);
        let expected = LoraSection { rank: 8, alpha: 16.0, target_modules, ..Default::default() };
        assert_eq!(without, expected);
        assert!(with(json!({"use_rslora": true})).unwrap().use_rslora);
        assert!(with(json!({"use_rslora": "no"})).is_err());
    }

    #[test]
    fn what_chooses_modules_is_read_in_every_form_that_peft_takes() {
        let names = |names: &[&str]| Modules::Names(names.iter().map(|&n| n.to_owned()).collect());
        let pattern = |text: &str| Modules::Pattern(text.to_owned());
        let target = |value: Value| with(json!({"target_modules": value})).unwrap().target_modules;
        assert_eq!(target(json!(["a.q_proj"])), names(&["a.q_proj"]));
        assert_eq!(target(json!("all-linear")), pattern("all-linear"));
        let read = with(json!({
            "exclude_modules": r".*\.0\..*", "layers_to_transform": 1, "layers_pattern": "layers",
            "rank_pattern": {"v_proj": 2, "q_proj": 4}, "alpha_pattern": {"q_proj": 0.5},
        }))
        .unwrap();
        assert_eq!(read.exclude_modules, pattern(r".*\.0\..*"));
        assert_eq!(
            (read.layers_to_transform, read.layers_pattern),
            (vec![1], vec!["layers".to_owned()])
        );
        // The first that matches counts, so that the order is that of the file.
        assert_eq!(read.rank_pattern.0, [("v_proj".to_owned(), 2), ("q_proj".to_owned(), 4)]);
        assert_eq!(read.alpha_pattern.0, [("q_proj".to_owned(), 0.5)]);
        let lists = with(json!({"layers_to_transform": [3, 1], "layers_pattern": ["h", "layers"]}));
        assert_eq!(lists.unwrap().layers_to_transform, [3, 1]);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (changes, named) in [
            (json!({"peft_type": "LOHA"}), "`peft_type` must be `\"LORA\"`, got `\"LOHA\"`"),
            (json!({"peft_type": "IA3"}), "`peft_type` must be `\"LORA\"`, got `\"IA3\"`"),
            (json!({"peft_type": null}), "`peft_type` must be `\"LORA\"`"),
            (json!({"modules_to_save": ["lm_head"]}), "`modules_to_save` must be unset"),
            (json!({"layer_replication": [[0, 2]]}), "`layer_replication` must be unset"),
            (json!({"trainable_token_indices": [1]}), "`trainable_token_indices` must be unset"),
            (json!({"target_parameters": ["a"]}), "`target_parameters` must be unset"),
            (json!({"use_dora": true}), "`use_dora` must be unset"),
            (json!({"use_qalora": true}), "`use_qalora` must be unset"),
            (json!({"lora_bias": true}), "`lora_bias` must be unset"),
            (json!({"fan_in_fan_out": true}), "`fan_in_fan_out` must be unset"),
            (json!({"bias": "all"}), "`bias` must be `\"none\"`"),
            (json!({"bias": "lora_only"}), "`bias` must be `\"none\"`"),
            (json!({"alora_invocation_tokens": [1, 2]}), "`alora_invocation_tokens` must be unset"),
            (json!({"use_bdlora": {"nblocks": 2}}), "`use_bdlora` must be unset"),
            (json!({"kasa_config": {"beta": 1e-4}}), "`kasa_config` must be unset"),
            (json!({"arrow_config": {"top_k": 3}}), "`arrow_config` must be unset"),
            (json!({"monteclora_config": {"num_samples": 8}}), "`monteclora_config` must be unset"),
            (json!({"velora_config": {"num_groups": 1}}), "`velora_config` must be unset"),
            (json!({"init_lora_weights": "pissa"}), "`init_lora_weights` must be"),
            (json!({"init_lora_weights": "pissa_niter_16"}), "got `\"pissa_niter_16\"`"),
            (json!({"init_lora_weights": "olora"}), "`init_lora_weights` must be"),
            (json!({"init_lora_weights": "corda"}), "`init_lora_weights` must be"),
            (
                json!({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}),
                "`init_lora_weights` must be",
            ),
            (json!({"init_lora_weights": 1}), "`init_lora_weights` must be"),
            (json!({"a_kind_of_2027": {"on": true}}), "`a_kind_of_2027` is `{\"on\":true}`"),
            (json!({"a_number": 0}), "`a_number` is `0`"),
            (json!({"r": 0}), "`r` must be"),
            (json!({"r": 65_537}), "`r` must be"),
            (json!({"lora_alpha": null}), "`lora_alpha` must be"),
            (
                json!({"lora_alpha": 0}),
                "`lora_alpha` must be a number above 0 that f32 can hold, got `0`",
            ),
            (json!({"lora_alpha": 1e300}), "f32 can hold, got `1e+300`"),
            (
                json!({"task_type": "SEQ_CLS"}),
                "`task_type` must be `\"CAUSAL_LM\"` to be computed here, got `\"SEQ_CLS\"`",
            ),
            (
                json!({"lora_alpha": -16}),
                "`lora_alpha` must be a number above 0 that f32 can hold, got `-16`",
            ),
            (json!({"target_modules": []}), "`target_modules` must be"),
            (json!({"target_modules": ""}), "`target_modules` must be"),
            (json!({"target_modules": [1]}), "`target_modules` must be"),
            (json!({"target_modules": null}), "`target_modules` must be"),
            (json!({"exclude_modules": 1}), "`exclude_modules` must be"),
            (json!({"rank_pattern": {"q_proj": 0}}), "`rank_pattern` must be"),
            (json!({"rank_pattern": ["q_proj"]}), "`rank_pattern` must be"),
            (json!({"alpha_pattern": {"q_proj": "x"}}), "`alpha_pattern` must be"),
            (json!({"alpha_pattern": {"q_proj": -1}}), "`alpha_pattern` must be"),
            (json!({"layers_to_transform": [-1]}), "`layers_to_transform` must be"),
            (json!({"layers_pattern": 1}), "`layers_pattern` must be"),
            (json!({"layers_pattern": "layers"}), "`layers_pattern` must be unset without"),
            (
                json!({"target_modules": ".*q_proj", "layers_to_transform": [1]}),
                "`layers_to_transform` must be unset beside",
            ),
        ] {
            let error = with(changes).unwrap_err();
            let message = error.to_string();
            assert!(InputError::of(&error).is_some() && message.contains(named), "{message}");
        }
    }

    #[test]
    fn plain_lora_is_read_however_it_was_initialised() {
        let plain = with(json!({})).unwrap();
        for start in [
            json!(true),
            json!(false),
            json!("gaussian"),
            json!("orthogonal"),
            json!("mica"),
            json!("eva"),
            json!("lora_ga"),
        ] {
            assert_eq!(with(json!({"init_lora_weights": start})).unwrap(), plain);
        }
        // A converted CorDA adapter keeps the configuration of its start.
        let made = json!({"init_lora_weights": true, "corda_config": {"corda_method": "ipm"}, "a_kind_of_2027": {}, "another": false});
        assert_eq!(with(made).unwrap(), plain);
        let error = with(json!({"init_lora_weights": "pissa"})).unwrap_err();
        let hint = InputError::of(&error).and_then(InputError::remedy).unwrap_or_default();
        assert!(hint.contains("path_initial_model_for_weight_conversion"), "{hint}");
    }

    #[test]
    fn empty_lists_and_the_largest_rank_are_read() {
        assert!(with(json!({"modules_to_save": [], "rank_pattern": {}})).is_ok());
        assert_eq!(with(json!({"r": 65_536})).unwrap().rank, 65_536);
        assert_eq!(with(json!({"r": 1})).unwrap().rank, 1);
    }

    #[test]
    fn the_exported_alpha_is_an_integer_where_it_is_whole() {
        let exported = |alpha| {
            let json = config_json(&LoraSection { alpha, ..Default::default() }, "base", None);
            (json["lora_alpha"].to_string(), read_config(&json, "exported").unwrap().alpha)
        };
        for (alpha, written) in
            [(32.0, "32"), (2.0, "2"), (0.5, "0.5"), (1e15, "1000000000000000.0")]
        {
            let (text, read) = exported(alpha);
            assert_eq!(text, written);
            assert!(read.total_cmp(&alpha).is_eq(), "{read}");
        }
    }

    #[test]
    fn what_is_exported_is_read_back_as_it_was() {
        let patterns = |pairs: &[(&str, usize)]| {
            Patterns(pairs.iter().map(|(key, rank)| ((*key).to_owned(), *rank)).collect())
        };
        let names = |names: &[&str]| Modules::Names(names.iter().map(|&n| n.to_owned()).collect());
        let plain = LoraSection::default();
        for lora in [
            plain.clone(),
            LoraSection {
                target_modules: names(&["q_proj", "layers.0.mlp.up_proj"]),
                exclude_modules: names(&["lm_head"]),
                rank_pattern: patterns(&[("q_proj", 3), (r"0\.mlp\.\w+", 7)]),
                alpha_pattern: Patterns(vec![("q_proj".to_owned(), 0.5)]),
                ..plain.clone()
            },
            LoraSection {
                layers_to_transform: vec![1, 3],
                layers_pattern: vec!["layers".to_owned()],
                use_rslora: true,
                ..plain.clone()
            },
            LoraSection {
                target_modules: Modules::Pattern(r".*\.(q|v)_proj".to_owned()),
                exclude_modules: Modules::Pattern(r".*\.0\..*".to_owned()),
                ..plain.clone()
            },
        ] {
            assert_eq!(read_config(&config_json(&lora, "base", None), "exported").unwrap(), lora);
        }
        let all =
            LoraSection { target_modules: Modules::Pattern("all-linear".to_owned()), ..plain };
        let read = read_config(&config_json(&all, "base", None), "exported").unwrap();
        assert_eq!(read.target_modules, Modules::of(Projection::ALL));
    }
}
