//! The cost model beside a run on the emulated card: every launch by kernel with the bytes of its tensors, every product by shape, every
//! copy from the host. A launch that the model does not know ends these tests.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::DType;
use mvpbench::config::{Activations, Dtype, RunConfig};
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
use crate::golden::pairs;
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
    let kernels: BTreeSet<_> = got.kernels.keys().chain(want.kernels.keys()).collect();
    for name in kernels {
        let [got, want] = [got, want].map(|counted| counted.kernels.get(name));
        if got != want {
            all.push(format!("{name}: launched {got:?}, predicted {want:?}"));
        }
    }
    let products: BTreeSet<_> = got.products.keys().chain(want.products.keys()).collect();
    for shape in products {
        let [got, want] = [got, want].map(|counted| counted.products.get(shape));
        if got != want {
            all.push(format!("product {shape}: computed {got:?}, predicted {want:?}"));
        }
    }
    if got.copies != want.copies {
        all.push(format!("copies {:?}, predicted {:?}", got.copies, want.copies));
    }
    all
}

/// Configures four steps of a hollow model on a card that only counts.
fn prepared(shape: &Value, set: &[(&str, toml::Value)]) -> Place {
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
    place
}

/// Trains, and returns what was counted of each step, and last of what follows the last.
fn counted(place: &Place) -> Vec<Counted> {
    place.succeed(&["--config", "config.toml", "-q", "--device", "cuda"]);
    let log: Value = serde_json::from_slice(&place.bytes("counts.json")).unwrap();
    log["steps"].as_array().unwrap().iter().map(Counted::logged).collect()
}

/// Configuration, inputs and dtype of the run of that place.
fn inputs(place: &Place) -> (RunConfig, Inputs, DType) {
    let file = place.path("config.toml");
    let (config, _) = RunConfig::load(file.to_str().unwrap(), &[]).unwrap();
    let template = TemplateChoice::of(&config).unwrap();
    let inputs = Inputs::load(&config, &template, Verbosity::Quiet).unwrap();
    let dtype = if config.model.dtype == Dtype::F32 { DType::F32 } else { DType::BF16 };
    (config, inputs, dtype)
}

/// Compares each step after the first, before which a run measures and scores.
fn assert_counted(what: &str, shape: &Value, set: &[(&str, toml::Value)]) {
    let place = prepared(shape, set);
    let got = counted(&place);
    let (config, inputs, dtype) = inputs(&place);
    let keep = match config.train.activations {
        Activations::Recompute => Keep::Inputs,
        _ => Keep::Everything,
    };
    let steps = prediction::steps(&config, &inputs, dtype, keep);
    let want: Vec<Counted> = steps.map(|launches| Counted::predicted(&launches)).collect();
    assert_eq!((got.len(), want.len()), (5, 4), "{what}");
    for (n, (got, want)) in got.iter().zip(&want).enumerate().skip(1) {
        let differences = differences(got, want);
        assert!(differences.is_empty(), "{what}: step {n}:\n{}", differences.join("\n"));
        assert!(want.kernels.len() > 15 && want.products.len() > 10, "{what}: {want:?}");
    }
}

#[test]
fn the_model_of_costs_has_every_launch_product_and_copy_of_a_step() {
    if environment().is_empty() {
        return skip(Need::EmulatedCard, ""); // a real card does not count
    }
    let llama = json!({
        "num_hidden_layers": 3, "hidden_size": 512, "intermediate_size": 1376, "num_attention_heads": 4,
        "num_key_value_heads": 4, "vocab_size": 4000,
    });
    let grouped = json!({
        "num_hidden_layers": 2, "hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8,
        "num_key_value_heads": 2, "vocab_size": 3000,
    });
    let odd = json!({
        "num_hidden_layers": 2, "hidden_size": 288, "intermediate_size": 500, "num_attention_heads": 6,
        "num_key_value_heads": 6, "vocab_size": 999, "tie_word_embeddings": true, "attention_bias": true, "mlp_bias": true,
    });
    let of = |key: &'static str, value: toml::Value| (key, value);
    let small = of("train.micro_batch_tokens", 700.into());
    let f32 = of("model.dtype", "f32".into());
    let again = of("train.activations", "recompute".into());
    let dropout = of("lora.dropout", 0.05.into());
    let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let seven = of("lora.target_modules", all.to_vec().into());
    let second = of("lora.target_modules", r".*\.1\.self_attn\.(q|v)_proj".into());
    let leaves = of("train.gradient_shards", 2.into());
    let root = of("lora.use_rslora", true.into());
    for (what, shape, set) in [
        ("q and v with dropout", &llama, &[&dropout][..]),
        ("q and v without dropout, computed again", &llama, &[&again]),
        ("all in small micro-batches", &llama, &[&seven, &dropout, &small]),
        ("grouped heads", &grouped, &[&seven, &dropout, &again, &small]),
        ("grouped heads in f32", &grouped, &[&dropout, &f32, &small]),
        ("biases, a tied head and plain heads", &odd, &[&seven, &dropout]),
        ("the same in f32, computed again", &odd, &[&seven, &f32, &again]),
        ("the second layer alone in leaves", &llama, &[&second, &leaves, &root, &dropout]),
    ] {
        assert_counted(what, shape, &set.iter().map(|&one| one.clone()).collect::<Vec<_>>());
    }
}

/// Scores, divergences and answers. The adapter is converted and looked at between them, which is not counted.
#[test]
fn the_model_of_costs_has_every_launch_and_product_of_an_evaluation() {
    if environment().is_empty() {
        return skip(Need::EmulatedCard, "");
    }
    let shape = json!({
        "num_hidden_layers": 2, "hidden_size": 512, "intermediate_size": 1376, "num_attention_heads": 8,
        "num_key_value_heads": 4, "vocab_size": 4000,
    });
    for dtype in ["bf16", "f32"] {
        let place = prepared(&shape, &[("model.dtype", dtype.into())]);
        let prompts = place.write("prompts.txt", "The river\nWhy is it that one cannot\n");
        place
            .configure_set("golden", pairs(), &[])
            .configure("eval.kl_pairs", 5)
            .configure("eval.samples.prompts", prompts.to_str().unwrap())
            .configure("eval.samples.max_new_tokens", 2);
        let mut got = counted(&place).pop().unwrap();
        let (config, inputs, dtype) = inputs(&place);
        let mut want = Counted::predicted(&prediction::last_evaluation(&config, &inputs, dtype));
        want.copies = got.copies;
        for counted in [&mut got, &mut want] {
            let looks = ["cast_", "fast_sum_", "usqr_"];
            counted.kernels.retain(|name, _| !looks.iter().any(|look| name.starts_with(look)));
        }
        assert!(want.kernels.len() > 10 && want.products.len() > 10, "{want:?}");
        let differences = differences(&got, &want);
        assert!(differences.is_empty(), "{dtype:?}:\n{}", differences.join("\n"));
    }
}
