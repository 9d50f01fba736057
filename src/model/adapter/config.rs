//! `adapter_config.json`: written as PEFT 0.21 does, read by a table of its fields.

use anyhow::Result;
use serde_json::{Value, json};

use crate::config::Projection;
use crate::disk::fields::{Known, Only, refuse_unknown};
use crate::error::{InputError, shown};
use crate::model::lora::Adapter;

/// `adapter_config.json` with every field that PEFT 0.21 writes. `revision`: of the `base_model`, none for a folder.
pub fn config_json(
    adapter: &Adapter,
    targets: &[Projection],
    dropout: f64,
    base_model: &str,
    revision: Option<&str>,
) -> Value {
    let names: Vec<_> = targets.iter().map(|projection| projection.name()).collect();
    json!({
        "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
        "base_model_name_or_path": base_model, "bias": "none", "corda_config": null, "ensure_weight_tying": false, "eva_config": null,
        "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "layer_replication": null,
        "layers_pattern": null, "layers_to_transform": null, "loftq_config": {}, "lora_alpha": number(adapter.alpha), "lora_bias": false,
        "lora_dropout": dropout, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null, "peft_type": "LORA",
        "peft_version": "0.21.2", "qalora_group_size": 16, "r": adapter.rank, "rank_pattern": {}, "revision": revision, "target_modules": names,
        "target_parameters": null, "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_dora": false, "use_qalora": false,
        "use_rslora": adapter.use_rslora
    })
}

/// Whole numbers without a fraction: PEFT's `lora_alpha` is an integer wherever it can be.
fn number(x: f64) -> Value {
    if x.fract().abs() < f64::EPSILON && x.abs() < 1e15 { json!(x as i64) } else { json!(x) }
}

/// What an `adapter_config.json` says of the adapter itself.
#[derive(Debug, PartialEq)]
pub(super) struct AdapterConfig {
    pub(super) rank: usize,
    pub(super) alpha: f64,
    /// Scaled by `alpha / sqrt(rank)`, not by `alpha / rank`.
    pub(super) use_rslora: bool,
    /// In the order of [`Projection::ALL`], at least one.
    pub(super) targets: Vec<Projection>,
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
    ("alpha_pattern", Known::Unset),
    ("arrow_config", Known::Unset),
    ("enable_lora", Known::Unset),
    ("exclude_modules", Known::Unset),
    ("fan_in_fan_out", Known::Unset),
    ("kasa_config", Known::Unset),
    ("layer_replication", Known::Unset),
    ("layers_to_transform", Known::Unset),
    ("lora_bias", Known::Unset),
    ("megatron_config", Known::Unset),
    ("modules_to_save", Known::Unset),
    ("monteclora_config", Known::Unset),
    ("rank_pattern", Known::Unset),
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

/// Reads the fields of an `adapter_config.json`; `file` names it in errors.
///
/// Refuses every field that is not in the table of known ones, by name, unless it is null, `false` or empty.
pub(super) fn read_config(fields: &Value, file: &str) -> Result<AdapterConfig> {
    let Value::Object(all) = fields else {
        return Err(InputError::new(format!("{file}: expected a JSON object")).into());
    };
    let field = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let wrong = |name: &str, expected: &str| {
        InputError::new(format!(
            "{file}: `{name}` must be {expected}, got `{}`",
            shown(fields.get(name).unwrap_or(&Value::Null))
        ))
    };
    if field("peft_type").and_then(Value::as_str) != Some("LORA") {
        return Err(wrong("peft_type", "`\"LORA\"`").into());
    }
    let start = field("init_lora_weights").filter(|value| !value.is_boolean());
    if start.is_some_and(|start| PLAIN_STARTS.iter().all(|plain| start != plain)) {
        return Err(wrong(
            "init_lora_weights",
            "`true`, `false` or an initialisation that leaves the base as it is",
        )
        .hint(
            "save it as plain LoRA with PEFT: `model.save_pretrained(FOLDER, path_initial_model_for_weight_conversion=START)`, where START is the \
             adapter as it was before training",
        )
        .into());
    }
    refuse_unknown(file, all, &[KNOWN])?;
    let rank = field("r")
        .and_then(Value::as_u64)
        .filter(|r| (1..=65_536).contains(r))
        .ok_or_else(|| wrong("r", "a positive whole number"))?;
    let alpha = field("lora_alpha")
        .and_then(Value::as_f64)
        .filter(|alpha| (*alpha as f32).is_normal() && *alpha > 0.0)
        .ok_or_else(|| wrong("lora_alpha", "a number above 0 that f32 can hold"))?;
    let use_rslora = field("use_rslora")
        .map_or(Some(false), Value::as_bool)
        .ok_or_else(|| wrong("use_rslora", "`true` or `false`"))?;
    let modules = || {
        let error = wrong("target_modules", "a list of projections of a decoder layer");
        match field("target_modules") {
            Some(Value::String(_)) => error.hint(
                "PEFT reads a text as a regular expression over the names of all modules: write the list of the projections \
                 that the file of weights has, such as `[\"q_proj\", \"v_proj\"]`",
            ),
            _ => error,
        }
    };
    let named = field("target_modules").and_then(Value::as_array).ok_or_else(modules)?;
    let named: Vec<_> =
        named.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(modules)?;
    if let Some(unknown) = named.iter().find(|name| projection(name).is_none()) {
        return Err(InputError::new(format!(
            "{file}: target module `{}` is no projection of a decoder layer",
            shown(unknown)
        ))
        .into());
    }
    let named: Vec<_> = named.iter().filter_map(|name| projection(name)).collect();
    let targets: Vec<_> = Projection::ALL.into_iter().filter(|p| named.contains(p)).collect();
    if targets.is_empty() {
        return Err(modules().into());
    }
    Ok(AdapterConfig { rank: rank as usize, alpha, use_rslora, targets })
}

/// The projection that a target module names: `q_proj`, or with its path, as PEFT writes it for `all-linear`,
/// `model.layers.3.self_attn.q_proj`. Whether the adapter has it in every layer is for its tensors to say.
fn projection(module: &str) -> Option<Projection> {
    let (is_layer, name) = match module.rsplit_once('.') {
        None => (true, module),
        Some((path, name)) => {
            let parts: Vec<&str> = path.split('.').collect();
            let is_layer = match &parts[..] {
                [before @ .., "layers", number, "self_attn" | "mlp"] => {
                    ["", "model", "base_model.model.model"].contains(&&*before.join("."))
                        && number.parse::<u32>().is_ok()
                }
                _ => false,
            };
            (is_layer, name)
        }
    };
    Projection::ALL.into_iter().find(|projection| projection.name() == name).filter(|_| is_layer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lora::LoraTensors;

    /// What PEFT 0.21 writes, with `changes`; null takes a field away.
    fn with(changes: Value) -> Result<AdapterConfig> {
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
        let targets = vec![Projection::QProj, Projection::VProj];
        assert_eq!(without, AdapterConfig { rank: 8, alpha: 16.0, use_rslora: false, targets });
        assert!(with(json!({"use_rslora": true})).unwrap().use_rslora);
        assert!(with(json!({"use_rslora": "no"})).is_err());
    }

    #[test]
    fn a_target_module_may_have_its_path() {
        let targets = |names: Value| with(json!({"target_modules": names})).map(|c| c.targets);
        let all_linear = ["self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"]
            .map(|name| [0, 1].map(|layer| format!("model.layers.{layer}.{name}")));
        assert_eq!(
            targets(json!(all_linear.concat())).unwrap(),
            [Projection::QProj, Projection::VProj, Projection::UpProj]
        );
        for other in [
            "lm_head",
            "model.embed_tokens",
            "vision.layers.0.self_attn.q_proj",
            "x.q_proj",
            ".q_proj",
        ] {
            let error = targets(json!(["q_proj", other])).unwrap_err().to_string();
            assert!(error.contains(&format!("`{other}` is no projection")), "{error}");
        }
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (changes, named) in [
            (json!({"peft_type": "LOHA"}), "`peft_type` must be `\"LORA\"`, got `\"LOHA\"`"),
            (json!({"peft_type": "IA3"}), "`peft_type` must be `\"LORA\"`, got `\"IA3\"`"),
            (json!({"peft_type": null}), "`peft_type` must be `\"LORA\"`"),
            (json!({"modules_to_save": ["lm_head"]}), "`modules_to_save` must be unset"),
            (json!({"layers_to_transform": [0]}), "`layers_to_transform` must be unset"),
            (json!({"layers_to_transform": 0}), "`layers_to_transform` must be unset"),
            (json!({"layer_replication": [[0, 2]]}), "`layer_replication` must be unset"),
            (json!({"trainable_token_indices": [1]}), "`trainable_token_indices` must be unset"),
            (json!({"target_parameters": ["a"]}), "`target_parameters` must be unset"),
            (json!({"rank_pattern": {"q_proj": 4}}), "`rank_pattern` must be unset"),
            (json!({"alpha_pattern": {"q_proj": 4}}), "`alpha_pattern` must be unset"),
            (json!({"use_dora": true}), "`use_dora` must be unset"),
            (json!({"use_qalora": true}), "`use_qalora` must be unset"),
            (json!({"lora_bias": true}), "`lora_bias` must be unset"),
            (json!({"fan_in_fan_out": true}), "`fan_in_fan_out` must be unset"),
            (json!({"bias": "all"}), "`bias` must be `\"none\"`"),
            (json!({"bias": "lora_only"}), "`bias` must be `\"none\"`"),
            (json!({"exclude_modules": ["q_proj"]}), "`exclude_modules` must be unset"),
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
            (json!({"target_modules": ["q_proj", "lm_head"]}), "target module `lm_head`"),
            (json!({"target_modules": []}), "`target_modules` must be"),
            (json!({"target_modules": "all-linear"}), "`target_modules` must be"),
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
            let adapter =
                Adapter { rank: 4, alpha, use_rslora: false, tensors: LoraTensors::default() };
            let json = config_json(&adapter, &[Projection::QProj], 0.0, "base", None);
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
}
