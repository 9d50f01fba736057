//! Adapters that PEFT made in every form of their configuration, scored here: `scripts/interop/make_adapters_golden.py`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::command::{Place, records};
use crate::golden::{self, path};

/// Largest distance of two sums, in nats or as a share of the sum: both are f32 in other orders.
const TOLERANCE: f64 = 3e-5;

fn folder() -> PathBuf {
    path("../peft_adapters")
}

/// Runs `mvpbench` with the model that the adapters are of.
fn mvpbench(place: &Place, arguments: &[&str]) -> std::process::Output {
    let model = path("models/tiny-gqa").display().to_string();
    place.mvpbench(&[arguments, &["--model", &model]].concat()).output().unwrap()
}

/// The sums of the golden pairs under the adapter in a folder.
fn scored(place: &Place, adapter: &str, output: &str) -> Vec<[f64; 2]> {
    let data = format!("golden={}", golden::pairs());
    let settings = ["--set", "data.max_length=0", "--set", "data.max_prompt_tokens=0"];
    let arguments = ["eval", "--data", &data, "--adapter", adapter, "--output", output, "-q"];
    let done = mvpbench(place, &[&arguments[..], &settings].concat());
    assert!(done.status.success(), "{adapter}: {}", String::from_utf8_lossy(&done.stderr));
    let scores = records(&place.path(&format!("{output}/eval/scores-golden-after.jsonl")));
    let sum = |score: &Value, name: &str| score[name].as_f64().unwrap();
    let both = ["policy_chosen_logps", "policy_rejected_logps"];
    scores.iter().map(|score| both.map(|name| sum(score, name))).collect()
}

#[test]
fn an_adapter_of_every_form_has_the_sums_that_peft_gives() {
    let text = std::fs::read_to_string(folder().join("sums.json")).unwrap();
    let sums: Value = serde_json::from_str(&text).unwrap();
    let place = Place::new();
    let mut seen = Vec::new();
    for (name, pairs) in sums["sums"].as_object().unwrap() {
        let adapter = folder().join(name).display().to_string();
        let scores = scored(&place, &adapter, name);
        for (pair, want) in pairs.as_array().unwrap().iter().enumerate() {
            for (got, want) in scores[pair].iter().zip(golden::numbers(want)) {
                let apart = (got - want).abs() / want.abs().max(1.0);
                assert!(apart <= TOLERANCE, "{name}, pair {pair}: {got}, expected {want}");
            }
        }
        // `default-keys` has the tensors of `regex`, under other names.
        let twin = seen.iter().find(|(_, other)| *other == scores).map(|(other, _)| *other);
        assert_eq!(twin, (name == "default-keys").then_some("regex"), "{name}");
        seen.push((name.as_str(), scores));

        // Merged, it is the model that was scored with it.
        let merged = format!("merged-{name}");
        let done = mvpbench(&place, &["merge", "--adapter", &adapter, "--output", &merged, "-q"]);
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(seen.len(), 6);
}

#[test]
fn an_adapter_whose_two_files_disagree_or_that_asks_for_more_is_refused_by_name() {
    let place = Place::new();
    let refused = |adapter: &str, changes: Value, parts: &[&str]| {
        let from = folder().join(adapter);
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(from.join("adapter_config.json")).unwrap())
                .unwrap();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        place.write("adapter/adapter_config.json", config.to_string());
        let weights = "adapter_model.safetensors";
        place.write(&format!("adapter/{weights}"), std::fs::read(from.join(weights)).unwrap());
        let arguments = ["merge", "--adapter", "adapter", "--output", "out"];
        let done = mvpbench(&place, &arguments);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{said}");
        for part in parts {
            assert!(said.contains(part), "expected `{part}` in: {said}");
        }
    };
    let file = "adapter/adapter_config.json: ";
    let merge = "hint: merge it in PEFT, `model.merge_and_unload()";
    for (adapter, changes, parts) in [
        (
            "regex",
            json!({"target_modules": r".*\.(q|v|o)_proj"}),
            &["`base_model.model.model.layers.0.self_attn.o_proj.lora_A.weight` is missing"][..],
        ),
        (
            "regex",
            json!({"target_modules": r".*\.q_proj"}),
            &["4 tensors belong neither to this model nor to its target modules"],
        ),
        (
            "regex",
            json!({"target_modules": r"\p{L}+"}),
            &[file, r"`\p{L}+` is not read here: `\p`"],
        ),
        (
            "regex",
            json!({"target_modules": ".*"}),
            &[file, "`target_modules` matches `model`", merge],
        ),
        (
            "regex",
            json!({"target_modules": ["q_proj", "lm_head"]}),
            &[file, "`target_modules` matches `lm_head`", merge],
        ),
        (
            "regex",
            json!({"target_modules": ["c_attn"]}),
            &[file, "`target_modules` matches no module of the model, got `c_attn`"],
        ),
        (
            "upper-layer",
            json!({"layers_to_transform": [0]}),
            &["`base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` is missing"],
        ),
        ("patterns", json!({"rank_pattern": {}}), &["has shape [3, 64], expected [2, 64]"]),
        ("regex", json!({"use_dora": true}), &[file, "`use_dora` must be unset", merge]),
        ("regex", json!({"bias": "all"}), &[file, "`bias` must be `\"none\"`", merge]),
        (
            "regex",
            json!({"modules_to_save": ["lm_head"]}),
            &["`modules_to_save` must be unset", merge],
        ),
        ("regex", json!({"trainable_token_indices": [1]}), &["`trainable_token_indices`", merge]),
        (
            "regex",
            json!({"init_lora_weights": "pissa"}),
            &["`init_lora_weights` must be", "START", "merge it"],
        ),
        ("regex", json!({"rank_pattern": {"(": 2}}), &[file, "the regular expression `(`"]),
    ] {
        refused(adapter, changes, parts);
    }
    let done = mvpbench(&place, &["merge", "--adapter", "nowhere", "--output", "out"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("an adapter is a folder with `adapter_config.json`"), "{said}");
}
