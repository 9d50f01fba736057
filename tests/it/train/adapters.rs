//! Runs whose adapter differs by module: what is trained, written, resumed and planned.

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::command::{Place, lines};
use crate::golden::pairs;

const COMMAND: [&str; 2] = ["--config", "config.toml"];
const WEIGHTS: &str = "run/adapter/adapter_model.safetensors";

/// A run of four steps of the model with grouped heads and two layers, with `lora` as its section's keys.
fn place(lora: &[(&str, toml::Value)]) -> Place {
    let place = Place::golden("tiny-gqa")
        .set("lora.rank", 4)
        .set("lora.dropout", 0.1)
        .set("train.max_steps", 4)
        .set("train.learning_rate", 1e-3)
        .set("train.checkpoint_every", 1)
        .set("train.gradient_accumulation_steps", 1)
        .evaluate("golden", pairs());
    for (key, value) in lora {
        place.configure(&format!("lora.{key}"), value.clone());
    }
    place
}

fn toml(value: &Value) -> toml::Value {
    toml::Value::try_from(value).unwrap()
}

/// The adapted modules of an exported adapter with their ranks, as `0.q_proj`; every B has moved.
fn exported(place: &Place) -> BTreeMap<String, usize> {
    let bytes = place.bytes(WEIGHTS);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut found = BTreeMap::new();
    for (name, tensor) in tensors.tensors() {
        let parts: Vec<&str> = name.split('.').collect();
        let module = format!("{}.{}", parts[4], parts[6]);
        if name.contains("lora_B") {
            assert!(tensor.data().iter().any(|byte| *byte != 0), "{name} got no gradient");
            found.insert(module, tensor.shape()[1]);
        }
    }
    found
}

/// Each form of a section, and the modules with their ranks that it adapts.
fn forms() -> Vec<(Value, BTreeMap<String, usize>)> {
    let of = |modules: &[(&str, usize)]| {
        modules.iter().map(|(name, rank)| ((*name).to_owned(), *rank)).collect()
    };
    let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let every: Vec<_> = (0..2).flat_map(|l| all.map(|name| (format!("{l}.{name}"), 4))).collect();
    let every: BTreeMap<_, _> = every.into_iter().collect();
    let but = |names: &[&str]| {
        let mut some = every.clone();
        some.retain(|name, _| !names.contains(&name.as_str()));
        some
    };
    vec![
        (json!({"target_modules": "all-linear"}), every.clone()),
        (
            json!({"target_modules": "all-linear", "exclude_modules": ["lm_head", "0.mlp.up_proj"]}),
            but(&["0.up_proj"]),
        ),
        (
            json!({"target_modules": r"model\.layers\.1\..*_proj", "exclude_modules": r".*\.mlp\..*"}),
            of(&[("1.q_proj", 4), ("1.k_proj", 4), ("1.v_proj", 4), ("1.o_proj", 4)]),
        ),
        (
            json!({"target_modules": ["model.layers.0.mlp.down_proj", "self_attn.k_proj"]}),
            of(&[("0.down_proj", 4), ("0.k_proj", 4), ("1.k_proj", 4)]),
        ),
        (
            json!({"target_modules": ["q_proj", "gate_proj"], "layers_to_transform": [1], "layers_pattern": ["layers"]}),
            of(&[("1.q_proj", 4), ("1.gate_proj", 4)]),
        ),
        (
            json!({
                "target_modules": ["q_proj", "up_proj"], "rank_pattern": {"q_proj": 7, r"1\.mlp\.\w+": 1},
                "alpha_pattern": {"layers.0.self_attn.q_proj": 3.5}, "use_rslora": true,
            }),
            of(&[("0.q_proj", 7), ("1.q_proj", 7), ("0.up_proj", 4), ("1.up_proj", 1)]),
        ),
    ]
}

#[test]
fn a_run_of_every_form_trains_its_modules_and_exports_what_it_was_given() {
    for (lora, modules) in forms() {
        let keys: Vec<_> = lora
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.as_str(), toml(value)))
            .collect();
        let place = place(&keys);
        place.succeed(&COMMAND);
        assert_eq!(exported(&place), modules, "{lora}");
        let config: Value =
            serde_json::from_slice(&place.bytes("run/adapter/adapter_config.json")).unwrap();
        for (key, value) in lora.as_object().unwrap() {
            let written = &config[key];
            match (key.as_str(), value.as_str()) {
                ("target_modules", Some("all-linear")) => {
                    assert_eq!(written.as_array().map(Vec::len), Some(7));
                }
                ("target_modules" | "exclude_modules", None) => {
                    let set = |names: &Value| {
                        let mut names: Vec<_> = names.as_array().unwrap().clone();
                        names.sort_by_key(Value::to_string);
                        names
                    };
                    assert_eq!(set(written), set(value), "{lora}");
                }
                _ => assert_eq!(written, value, "{lora}: {key}"),
            }
        }

        // The adapter is what the run scored, for a second reader and as the start of another run.
        let data = format!("golden={}", pairs());
        let model = crate::golden::text("models/tiny-gqa");
        let eval = ["eval", "--model", &model, "--data", &data, "--adapter", "run/adapter"];
        let done = place.mvpbench(&[&eval[..], &["--output", "out"]].concat()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let scores = |run: &str| place.bytes(&format!("{run}/eval/scores-golden-after.jsonl"));
        assert_eq!(scores("out"), scores("run"), "{lora}");
        let start = ["--set", "lora.init_from=run/adapter", "--output", "second"];
        place.succeed(&[&COMMAND[..], &start].concat());
        let start = place.run(
            &[
                &COMMAND[..],
                &["--set", "lora.target_modules=[o_proj]", "--set", "lora.init_from=run/adapter"],
                &["--output", "other"],
            ]
            .concat(),
        );
        assert_eq!(start.status.code(), Some(2), "{lora}");
    }
}

#[test]
fn a_run_whose_modules_differ_resumes_to_the_same_bytes_after_a_kill() {
    let lora = [
        ("target_modules", toml(&json!("all-linear"))),
        ("exclude_modules", toml(&json!(r".*\.0\.mlp\..*"))),
        ("rank_pattern", toml(&json!({"q_proj": 7, r"1\.mlp\.\w+": 1}))),
        ("alpha_pattern", toml(&json!({"v_proj": 3.5}))),
    ];
    let whole = place(&lora);
    whole.succeed(&COMMAND);
    for steps in [1, 3] {
        let place = place(&lora);
        let log = place.path("run/train.jsonl");
        place.start(&COMMAND).kill_at(&format!("step {steps}"), || lines(&log) >= steps);
        place.succeed(&COMMAND);
        assert_eq!(place.bytes(WEIGHTS), whole.bytes(WEIGHTS), "killed after {steps} steps");
    }
    let other = ["--set", "lora.rank_pattern={q_proj=6}", "--allow-config-change"];
    whole
        .refuse(&[&COMMAND[..], &other].concat(), &["checkpoints do not fit", "lora.rank_pattern"]);
}

#[test]
fn the_plan_of_a_run_counts_each_module_by_its_rank() {
    let trained = |lora: &[(&str, toml::Value)]| {
        let said = place(lora).succeed(&[&COMMAND[..], &["--dry-run"]].concat());
        let (_, after) = said.split_once(" in all, ").unwrap();
        after.split_once(" trained").unwrap().0.replace(',', "")
    };
    // Hidden 64, keys and values 32 wide: at rank 4, q has 4 * 128 parameters a layer and v 4 * 96.
    assert_eq!(trained(&[]), "1792");
    assert_eq!(trained(&[("layers_to_transform", toml(&json!([1])))]), "896");
    assert_eq!(trained(&[("rank_pattern", toml(&json!({"q_proj": 8})))]), "2816");
}

#[test]
fn what_names_no_module_or_one_that_cannot_be_adapted_is_refused_before_anything_is_written() {
    let place = place(&[]);
    for (set, parts) in [
        ("lora.target_modules=[q_porj]", &["`q_porj`", "matches no module"][..]),
        (
            "lora.target_modules=[q_porj,v_proj]",
            &["`q_porj` of `lora.target_modules`", "did you mean `q_proj`?"],
        ),
        (
            "lora.target_modules=[q_proj,lm_head]",
            &["matches `lm_head`, which cannot carry an adapter"],
        ),
        ("lora.target_modules=q_proj", &["write `[\"q_proj\"]`"]),
        ("lora.target_modules=(", &["the regular expression `(` is not read here"]),
        ("lora.layers_to_transform=[2]", &["matches no module", "layers [2]"]),
        ("lora.rank_pattern={o_proj=2}", &["`o_proj` of `lora.rank_pattern` matches no module"]),
        ("lora.rank_pattern={q_proj=0}", &["must be in 1..=1024, got `0`"]),
        (
            "lora.layers_pattern=[layers]",
            &["`lora.layers_pattern` needs `lora.layers_to_transform`"],
        ),
    ] {
        place.refuse(&[&COMMAND[..], &["--set", set]].concat(), parts);
        assert!(!place.path("run").exists());
    }
}
