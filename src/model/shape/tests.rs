use super::*;
use crate::disk::fields::{Known, Only};
use crate::model::family::Defaults;
use serde_json::json;

fn llama2() -> Value {
    json!({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-5, "vocab_size": 32000,
        "max_position_embeddings": 4096, "tie_word_embeddings": false, "rope_scaling": null, "pretraining_tp": 1
    })
}

fn with(changes: Value) -> Result<Shape> {
    let mut config = llama2();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    Shape::parse(&config.to_string(), "config.json")
}

#[test]
fn llama_2_7b_has_its_published_number_of_parameters() {
    let config = with(json!({})).unwrap();
    assert_eq!(config.parameters(), 6_738_415_616);
    assert_eq!(config.heads, Heads { heads: 32, kv_heads: 32, head_dim: 128 });
    assert_eq!(config.rope, Rope { theta: 10_000.0, scaling: RopeScaling::None, partial: 1.0 });
}

#[test]
fn both_forms_of_rope_are_read() {
    let new =
        with(json!({"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}})).unwrap();
    assert_eq!(new.rope, Rope { theta: 500_000.0, scaling: RopeScaling::None, partial: 1.0 });
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let old = with(json!({"rope_theta": 500000.0, "rope_scaling": llama3})).unwrap();
    assert_eq!(old.rope.theta.to_bits(), 500_000f64.to_bits());
    assert!(matches!(old.rope.scaling, RopeScaling::Llama3 { .. }));
    assert_eq!(
        with(json!({"rope_scaling": {"type": "linear", "factor": 2.0}})).unwrap().rope.scaling,
        RopeScaling::Linear { factor: 2.0 }
    );
}

#[test]
fn rope_scaling_replaces_rope_parameters_and_its_base() {
    let parameters = json!({"rope_type": "default", "rope_theta": 500000.0});
    let linear = json!({"rope_type": "linear", "factor": 4.0});
    let both = with(json!({"rope_parameters": parameters, "rope_scaling": linear})).unwrap();
    let scaling = RopeScaling::Linear { factor: 4.0 };
    assert_eq!(both.rope, Rope { theta: 10_000.0, scaling, partial: 1.0 });
    let empty = with(json!({"rope_parameters": parameters, "rope_scaling": {}})).unwrap();
    assert_eq!(empty.rope, Rope { theta: 500_000.0, scaling: RopeScaling::None, partial: 1.0 });
}

#[test]
fn llama3_scaling_takes_its_first_context_from_the_nearest_place() {
    let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
    let positions = |mut changes: Value, inside: Option<f64>| {
        changes["rope_scaling"] = scaling.clone();
        if let Some(inside) = inside {
            changes["rope_scaling"]["original_max_position_embeddings"] = inside.into();
        }
        match with(changes).unwrap().rope.scaling {
            RopeScaling::Llama3 { original_max_positions, .. } => original_max_positions as usize,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(positions(json!({}), None), 4096);
    assert_eq!(positions(json!({}), Some(8192.0)), 8192);
    let above = json!({"original_max_position_embeddings": 2048});
    assert_eq!(positions(above, Some(8192.0)), 2048);
}

#[test]
fn fields_without_effect_are_accepted() {
    let fields = json!({
        "architectures": ["LlamaForCausalLM"], "torch_dtype": "float16", "use_cache": true, "transformers_version": "4.31.0",
        "attention_bias": null, "mlp_bias": false, "head_dim": null, "temperature": 0.6, "unsloth_version": "2026.1",
        "layer_types": ["full_attention"], "sliding_window": null, "quantization_config": null, "a_field_of_2027": false
    });
    assert_eq!(with(fields).unwrap(), with(json!({})).unwrap());
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    for (changes, named) in [
        (json!({"model_type": "mistral"}), "model_type"),
        (json!({"hidden_act": "gelu"}), "hidden_act"),
        (json!({"attention_bias": "some"}), "attention_bias"),
        (json!({"mlp_bias": 1}), "mlp_bias"),
        (json!({"attention_dropout": 1.0}), "attention_dropout"),
        (json!({"attention_dropout": "0.1"}), "attention_dropout"),
        (json!({"quantization_config": {"bits": 4}}), "quantization_config"),
        (json!({"rope_scaling": {"rope_type": "su", "factor": 2.0}}), "su"),
        (json!({"rope_scaling": {"rope_type": "yarn"}}), "factor"),
        (json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "truncate": 1}}), "truncate"),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "finetuned": false}}),
            "finetuned",
        ),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "beta_fast": "32"}}),
            "beta_fast",
        ),
        (json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": "1"}}), "mscale"),
        (
            json!({"rope_theta": 1.0, "rope_scaling": {"rope_type": "yarn", "factor": 2.0}}),
            "rope_theta",
        ),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "short_factor": [1.0]}}),
            "short_factor",
        ),
        (json!({"rope_scaling": {"rope_type": "dynamic"}}), "factor"),
        (
            json!({"head_dim": 2, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
            "dynamic",
        ),
        (json!({"rope_scaling": {"rope_type": "longrope", "long_factor": [1.0]}}), "short_factor"),
        (
            json!({"rope_scaling": {"rope_type": "longrope", "short_factor": vec![1.0; 64], "long_factor": vec![1.0; 63]}}),
            "long_factor",
        ),
        (
            json!({"rope_scaling": {"rope_type": "longrope", "short_factor": vec![1.0; 64], "long_factor": vec![0.0; 64]}}),
            "long_factor",
        ),
        (json!({"partial_rotary_factor": 1.5}), "partial_rotary_factor"),
        (json!({"partial_rotary_factor": 0.0}), "partial_rotary_factor"),
        (json!({"rope_scaling": {"rope_type": "llama3"}}), "factor"),
        (json!({"num_key_value_heads": 5}), "num_key_value_heads"),
        (json!({"hidden_size": "big"}), "hidden_size"),
        (json!({"vocab_size": null}), "vocab_size"),
        (json!({"num_hidden_layers": 0}), "num_hidden_layers"),
        (json!({"rms_norm_eps": -1.0}), "rms_norm_eps"),
        (json!({"is_causal": false}), "is_causal"),
        (json!({"pruned_heads": {"0": [1]}}), "pruned_heads"),
        (json!({"layer_types": ["full_attention", "sliding_attention"]}), "layer_types"),
        (json!({"logit_scale": 0.5}), "logit_scale"),
        (json!({"a_field_of_2027": "on"}), "a_field_of_2027"),
        (json!({"rope_parameters": {"rope_type": "default", "mscale": 1.0}}), "mscale"),
        (json!({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}), "full_attention"),
        (
            json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.01}}),
            "partial_rotary_factor",
        ),
    ] {
        let error = with(changes).unwrap_err();
        assert!(InputError::of(&error).is_some() && error.to_string().contains(named), "{error}");
    }
    let error = with(json!({"model_type": "mistral"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "config.json: `model_type` must be `\"llama\"`, got `\"mistral\"`"
    );
    let remedy = "this program trains models of the Llama family only";
    assert_eq!(InputError::of(&error).and_then(InputError::remedy), Some(remedy));
    assert!(Shape::parse("[1]", "config.json").is_err());
    assert!(Shape::parse("{", "config.json").is_err());
}

#[test]
fn biases_are_counted_and_what_a_field_does_not_do_is_said() {
    let plain = with(json!({})).unwrap();
    assert!(plain.notes.is_empty());
    let biased =
        with(json!({"attention_bias": true, "mlp_bias": true, "hidden_act": "swish"})).unwrap();
    let added = 32 * (4 * 4096 + 2 * 11_008 + 4096);
    assert_eq!(biased.parameters(), plain.parameters() + added);
    assert!(biased.notes.is_empty());
    let attention = with(json!({"attention_bias": true})).unwrap();
    let has = Projection::ALL.map(|projection| attention.has_bias(projection));
    assert_eq!(has, [true, true, true, true, false, false, false]);
    let linear = json!({"rope_type": "linear", "factor": 1.0, "partial_rotary_factor": 0.25});
    for (changes, said, partial) in [
        (json!({"attention_dropout": 0.1}), "`attention_dropout` is 0.1 and is computed as 0", 1.0),
        (json!({"partial_rotary_factor": 0.5}), "is 0.5, and every head turns whole", 1.0),
        (json!({"rope_scaling": linear}), "the first 32 of the 128 elements", 0.25),
        (
            json!({"rope_scaling": {"factor": 8.0}}),
            "`rope_type` is missing, which means `default`, so that `factor` changes",
            1.0,
        ),
    ] {
        let shape = with(changes).unwrap();
        assert!(shape.notes.len() == 1 && shape.notes[0].contains(said), "{:?}", shape.notes);
        assert!(shape.rope.partial.total_cmp(&partial).is_eq());
    }
}

#[test]
fn every_kind_is_read_from_either_form_with_its_own_defaults() {
    let read = |rope: Value| with(json!({ "rope_parameters": rope })).unwrap();
    let dynamic = read(json!({"rope_type": "dynamic", "factor": 2.0}));
    let scaling = RopeScaling::Dynamic { factor: 2.0, max_positions: 4096.0 };
    assert_eq!((dynamic.rope.scaling, dynamic.max_positions), (scaling, 8192));
    let yarn = |fields: Value| {
        let mut rope = json!({"type": "yarn", "factor": 16.0, "finetuned": true});
        rope.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        match read(rope).rope.scaling {
            RopeScaling::Yarn { factor, original_max_positions, attention_factor, .. } => {
                (factor, original_max_positions, attention_factor)
            }
            other => panic!("{other:?}"),
        }
    };
    let close = |got: (f64, f64, f64), want: (f64, f64, f64)| {
        let distance = (got.0 - want.0).abs() + (got.1 - want.1).abs() + (got.2 - want.2).abs();
        assert!(distance <= 1e-12, "{got:?} {want:?}");
    };
    let usual = 0.1 * 16f64.ln() + 1.0;
    close(yarn(json!({})), (16.0, 4096.0, usual));
    close(
        yarn(json!({"factor": null, "original_max_position_embeddings": 1024})),
        (4.0, 1024.0, 0.1 * 4f64.ln() + 1.0),
    );
    close(yarn(json!({"attention_factor": 1})), (16.0, 4096.0, 1.0));
    close(yarn(json!({"mscale": 0.0, "mscale_all_dim": 1.0})), (16.0, 4096.0, usual));
    close(
        yarn(json!({"mscale": 0.5, "mscale_all_dim": 1.0})),
        (16.0, 4096.0, (0.05 * 16f64.ln() + 1.0) / usual),
    );
    let list = vec![1.0; 64];
    let long = json!({"rope_type": "longrope", "short_factor": list, "long_factor": list, "original_max_position_embeddings": 1024});
    let RopeScaling::LongRope { attention_factor, .. } = read(long).rope.scaling else {
        panic!("another kind")
    };
    assert!((attention_factor - (1.0 + 4f64.ln() / 1024f64.ln()).sqrt()).abs() <= 1e-12);
}

#[test]
fn another_family_is_another_row() {
    const DEFAULTS: Defaults =
        Defaults { rms_norm_eps: 1e-5, rope_theta: 1e6, max_positions: 32_768, tied: true };
    const OTHER: Family = Family {
        model_type: "other",
        name: "Other",
        fields: &[("hidden_act", Known::OneOf(&[Only::Word("gelu")])), ("window", Known::Unset)],
        defaults: DEFAULTS,
    };
    const TWO: &[Family] = &[OTHER, Family { model_type: "llama", name: "Llama", ..OTHER }];
    let parse = |changes: Value| {
        let mut config = json!({
            "model_type": "other", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1,
            "num_attention_heads": 4, "head_dim": 8, "vocab_size": 10
        });
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        Shape::parse_as(TWO, &config.to_string(), "config.json")
    };
    let shape = parse(json!({"hidden_act": "gelu"})).unwrap();
    assert_eq!(shape.heads, Heads { heads: 4, kv_heads: 4, head_dim: 8 });
    assert_eq!((shape.max_positions, shape.tied), (32_768, true));
    assert!(shape.rms_norm_eps.total_cmp(&1e-5).is_eq());
    assert_eq!(shape.rope, Rope { theta: 1e6, scaling: RopeScaling::None, partial: 1.0 });
    // q and o are 64 by 32, as are k and v; tied, the embedding counts once.
    assert_eq!(shape.parameters(), 4 * 64 * 32 + 3 * 64 * 96 + 2 * 64 + 10 * 64 + 64);
    for (changes, named) in [
        (json!({"hidden_act": "silu"}), "`hidden_act` must be `\"gelu\"`"),
        (json!({"window": 7}), "`window` must be unset"),
        (json!({"attention_bias": true}), "`attention_bias` is `true`, and this version does not"),
        (json!({"model_type": "third"}), "must be `\"other\"` or `\"llama\"`, got"),
        (json!({"model_type": null}), "got nothing"),
    ] {
        let error = parse(changes).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    let missing = parse(json!({"vocab_size": null})).unwrap_err();
    let remedy = "is this the folder of a Other checkpoint?";
    assert_eq!(InputError::of(&missing).and_then(InputError::remedy), Some(remedy));
}
