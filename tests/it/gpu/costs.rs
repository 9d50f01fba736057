//! The cost model beside a run on the emulated card: every launch by kernel with the bytes of its tensors, every product by shape, every
//! copy from the host. A launch that the model does not know ends these tests.

use std::collections::BTreeMap;

use candle_core::DType;
use mvpbench::config::RunConfig;
use mvpbench::console::progress::Verbosity;
use mvpbench::cost::launches::{Launches, Work};
use mvpbench::dry_run::prediction;
use mvpbench::model::decoder::Keep;
use mvpbench::session::inputs::Inputs;
use mvpbench::session::template_choice::TemplateChoice;
use serde_json::{Value, json};

use super::memory::{hollow, train_on_the_sample};
use super::{environment, place};
use crate::command::Place;
use crate::require::{Need, skip};

/// What is compared: launches and bytes by kernel, products by shape, copies and their bytes.
#[derive(Debug, Default, PartialEq)]
struct Counted {
    kernels: BTreeMap<String, [usize; 2]>,
    products: BTreeMap<String, usize>,
    copies: [usize; 2],
}

fn pair(value: &Value) -> [usize; 2] {
    [0, 1].map(|i| value[i].as_u64().unwrap() as usize)
}

impl Counted {
    /// As the driver wrote it.
    fn logged(step: &Value) -> Self {
        let entries = |key: &str| step[key].as_object().unwrap().clone().into_iter();
        Self {
            kernels: entries("kernels").map(|(name, counted)| (name, pair(&counted))).collect(),
            products: entries("products")
                .map(|(shape, times)| (shape, times.as_u64().unwrap() as usize))
                .collect(),
            copies: pair(&step["copies"]),
        }
    }

    /// As the model has it.
    fn predicted(launches: &Launches) -> Self {
        let mut counted = Self { copies: [launches.copies, launches.copied], ..Self::default() };
        for one in &launches.all {
            match &one.work {
                Work::Kernel(kernel) => {
                    let [times, bytes] =
                        counted.kernels.entry(kernel.name.to_string()).or_default();
                    *times += one.count;
                    *bytes += one.count * kernel.reach;
                }
                Work::Product(product) => {
                    let shape = format!(
                        "{},{},{},{},{},{},{}",
                        product.rows,
                        product.columns,
                        product.inner,
                        u8::from(product.over_tokens),
                        u8::from(product.adds),
                        product.factors.size_in_bytes(),
                        product.out.size_in_bytes()
                    );
                    *counted.products.entry(shape).or_default() += one.count;
                }
            }
        }
        counted
    }
}

/// Each difference on a line.
fn differences(got: &Counted, want: &Counted) -> Vec<String> {
    let mut all = Vec::new();
    let names = |a: &BTreeMap<String, _>, b: &BTreeMap<String, _>| {
        a.keys().chain(b.keys()).cloned().collect::<std::collections::BTreeSet<String>>()
    };
    for name in names(&got.kernels, &want.kernels) {
        let [got, want] = [got, want].map(|counted| counted.kernels.get(&name));
        if got != want {
            all.push(format!("{name}: launched {got:?}, predicted {want:?}"));
        }
    }
    let products = |a: &Counted, b: &Counted| {
        a.products
            .keys()
            .chain(b.products.keys())
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
    };
    for shape in products(got, want) {
        let [got, want] = [got, want].map(|counted| counted.products.get(&shape));
        if got != want {
            all.push(format!("product {shape}: computed {got:?}, predicted {want:?}"));
        }
    }
    if got.copies != want.copies {
        all.push(format!("copies {:?}, predicted {:?}", got.copies, want.copies));
    }
    all
}

/// Trains a hollow model for four steps, and compares each after the first, before which a run measures and scores.
fn assert_counted(what: &str, shape: &Value, set: &[(&str, toml::Value)]) {
    let mut place = place();
    hollow(&place, shape);
    place.environment.push(("EMULATED_ONLY_COUNTED", "yes".into()));
    place.environment.push(("EMULATED_LOG", place.path("counts.json").into()));
    train_on_the_sample(&place)
        .configure("model.path", place.path("model").to_str().unwrap())
        .configure("train.max_steps", 4)
        .configure("train.checkpoint_every", 9)
        .configure("train.activations", "keep");
    for (key, value) in set {
        place.configure(key, value.clone());
    }
    place.succeed(&["--config", "config.toml", "-q", "--device", "cuda"]);
    let log: Value = serde_json::from_slice(&place.bytes("counts.json")).unwrap();
    let got: Vec<Counted> = log["steps"].as_array().unwrap().iter().map(Counted::logged).collect();
    let want = predicted(&place);
    assert_eq!((got.len(), want.len()), (5, 4), "{what}");
    for (n, (got, want)) in got.iter().zip(&want).enumerate().skip(1) {
        let differences = differences(got, want);
        assert!(differences.is_empty(), "{what}: step {n}:\n{}", differences.join("\n"));
        assert!(!want.kernels.is_empty() && !want.products.is_empty());
    }
}

/// The model's launches of each step of the run of that place.
fn predicted(place: &Place) -> Vec<Counted> {
    let file = place.path("config.toml");
    let (config, _) = RunConfig::load(file.to_str().unwrap(), &[]).unwrap();
    let template = TemplateChoice::of(&config).unwrap();
    let inputs = Inputs::load(&config, &template, Verbosity::Quiet).unwrap();
    let dtype =
        if config.model.dtype == mvpbench::config::Dtype::F32 { DType::F32 } else { DType::BF16 };
    let keep = match config.train.activations {
        mvpbench::config::Activations::Recompute => Keep::Inputs,
        _ => Keep::Everything,
    };
    let steps = prediction::steps(&config, &inputs, dtype, keep);
    steps.map(|launches| Counted::predicted(&launches)).collect()
}

fn all_modules() -> toml::Value {
    let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    all.to_vec().into()
}

#[test]
fn the_model_of_costs_has_every_launch_product_and_copy_of_a_step() {
    if environment().is_empty() {
        return skip(Need::EmulatedCard, ""); // a real card does not count
    }
    let seven_b = json!({ "num_hidden_layers": 3 });
    let grouped = json!({
        "num_hidden_layers": 2, "hidden_size": 1024, "intermediate_size": 2816, "num_attention_heads": 16,
        "num_key_value_heads": 4, "vocab_size": 4000,
    });
    let odd = json!({
        "num_hidden_layers": 2, "hidden_size": 288, "intermediate_size": 500, "num_attention_heads": 6,
        "num_key_value_heads": 6, "vocab_size": 999, "tie_word_embeddings": true, "attention_bias": true, "mlp_bias": true,
    });
    let small = ("train.micro_batch_tokens", toml::Value::from(700));
    let (f32, again) = (
        ("model.dtype", toml::Value::from("f32")),
        ("train.activations", toml::Value::from("recompute")),
    );
    let seven = ("lora.target_modules", all_modules());
    let dropout = ("lora.dropout", toml::Value::from(0.05));
    let cases: &[(&str, &Value, &[(&str, toml::Value)])] = &[
        ("q and v of a 7B with dropout", &seven_b, &[dropout.clone()]),
        ("q and v of a 7B without dropout, computed again", &seven_b, &[again.clone()]),
        (
            "all of a 7B in small micro-batches",
            &seven_b,
            &[seven.clone(), dropout.clone(), small.clone()],
        ),
        (
            "grouped heads",
            &grouped,
            &[seven.clone(), dropout.clone(), again.clone(), small.clone()],
        ),
        ("grouped heads in f32", &grouped, &[dropout.clone(), f32.clone(), small.clone()]),
        ("biases, a tied head and plain heads", &odd, &[seven.clone(), dropout.clone()]),
        ("the same in f32, computed again", &odd, &[seven.clone(), f32.clone(), again.clone()]),
        (
            "the second layer alone, rsLoRA, in leaves",
            &seven_b,
            &[
                ("lora.target_modules", r".*\.1\.self_attn\.(q|v)_proj".into()),
                ("lora.use_rslora", true.into()),
                ("train.gradient_shards", 2.into()),
                dropout.clone(),
            ],
        ),
    ];
    for (what, shape, set) in cases {
        assert_counted(what, shape, set);
    }
}
