//! TRL's training runs, repeated by `train`: every logged number of every step, the adapter and its scores.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use serde_json::Value;

use crate::command::{Place, records};
use crate::golden::{json, pairs, path, text};
use crate::require::{Need, skip};

/// Case and run, as in `tests/data/golden/cases/<case>/run_<run>`.
pub(crate) const RUNS: [(&str, &str); 7] = [
    ("tiny", "lr5e-5"),
    ("tiny", "lr1e-3"),
    ("tiny", "cosine_clip"),
    ("tiny-gqa", "lr5e-5"),
    ("tiny-gqa", "lr1e-3"),
    ("tiny-gqa", "cosine_clip"),
    ("tiny-alllinear", "lr1e-3"),
];

/// Largest allowed differences from TRL's run.
pub(crate) struct Tolerances {
    /// Loss and rewards of a step, absolute.
    pub(crate) loss: f64,
    /// Share of a step's pairs with a margin above 0.
    pub(crate) accuracy: f64,
    /// Mean log-probabilities of a step, in nats.
    pub(crate) logps: f64,
    /// Gradient norm of a step, relative.
    pub(crate) grad_norm: f64,
    /// Error of the adapter after training (L2), as a share of its change.
    pub(crate) change: f64,
    /// Error of an adapter element, as a share of the learning rate.
    pub(crate) element: f64,
    /// Log-probabilities after training, in nats.
    pub(crate) after: f64,
    /// OPA after training, absolute.
    pub(crate) opa: f64,
}

/// The table in the golden README.
pub(crate) const F32: Tolerances = Tolerances {
    loss: 1e-4,
    accuracy: 1e-9,
    logps: 1e-3,
    grad_norm: 1e-4,
    change: 1e-2,
    element: 1.0,
    after: 1e-2,
    opa: 1e-9,
};

/// Of bf16, on the CPU as on the emulated card: twice what was seen. An accuracy counts the signs of margins, and those of the first steps
/// are smaller than the rounding.
pub(crate) const BF16: Tolerances = Tolerances {
    loss: 1.2e-2,
    accuracy: 1.0,
    logps: 0.25,
    grad_norm: 2e-2,
    change: 0.2,
    element: 8.0,
    after: 0.5,
    opa: 0.16,
};

fn tensors(file: &std::path::Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(file, &Device::Cpu).unwrap()
}

/// Configures `place` with TRL's settings.
fn configure(place: &Place, case: &str, settings: &Value) {
    let logps = json(&format!("cases/{case}/logps.json"));
    let whole = |value: &Value| value.as_i64().unwrap();
    let real = |value: &Value| value.as_f64().unwrap();
    place
        .configure("model.path", text(logps["model"].as_str().unwrap()))
        .configure("lora.rank", whole(&logps["r"]))
        .configure("lora.alpha", real(&logps["alpha"]))
        .configure("lora.dropout", 0.0)
        .configure("lora.target_modules", toml::Value::try_from(&logps["targets"]).unwrap())
        .configure("lora.init_from", place.path("start").to_str().unwrap())
        .configure("dpo.beta", real(&settings["beta"]))
        .configure("data.train", vec![pairs()])
        .configure("data.max_prompt_tokens", 0)
        .configure("data.max_length", whole(&settings["max_length"]))
        .configure("data.shuffle", false)
        .configure("train.epochs", whole(&settings["num_train_epochs"]))
        .configure("train.learning_rate", real(&settings["learning_rate"]))
        .configure("train.scheduler", settings["lr_scheduler_type"].as_str().unwrap())
        .configure("train.warmup_steps", whole(&settings["warmup_steps"]))
        .configure("train.weight_decay", real(&settings["weight_decay"]))
        .configure("train.max_grad_norm", real(&settings["max_grad_norm"]))
        .configure("train.per_device_batch_size", whole(&settings["per_device_train_batch_size"]))
        .configure(
            "train.gradient_accumulation_steps",
            whole(&settings["gradient_accumulation_steps"]),
        )
        .configure("output.dir", "run")
        .configure_set("golden", pairs(), &[]);
}

#[track_caller]
fn assert_near(what: &str, got: &Value, want: f64, tolerance: f64) {
    let got = got.as_f64().unwrap_or(f64::NAN);
    assert!(
        (got - want).abs() <= tolerance,
        "{what}: got {got}, expected {want}, tolerance {tolerance:e}"
    );
}

fn assert_steps(name: &str, got: &[Value], want: &[Value], tolerances: &Tolerances) {
    assert_eq!(got.len(), want.len(), "{name}: optimizer steps");
    for (got, want) in got.iter().zip(want) {
        let number = |key: &str| want[key].as_f64().unwrap();
        for (key, tolerance) in [
            ("step", 0.0),
            ("num_tokens", 0.0),
            ("epoch", 1e-9),
            ("loss", tolerances.loss),
            ("grad_norm", tolerances.grad_norm * number("grad_norm")),
            ("learning_rate", 1e-9 * number("learning_rate")),
            ("rewards/chosen", tolerances.loss),
            ("rewards/rejected", tolerances.loss),
            ("rewards/margins", tolerances.loss),
            ("rewards/accuracies", tolerances.accuracy),
            ("logps/chosen", tolerances.logps),
            ("logps/rejected", tolerances.logps),
        ] {
            assert_near(
                &format!("{name}, step {}: {key}", want["step"]),
                &got[key],
                number(key),
                tolerance,
            );
        }
    }
}

fn assert_adapter(
    name: &str,
    place: &Place,
    folder: &std::path::Path,
    tolerances: &Tolerances,
    learning_rate: f64,
) {
    let (init, want) = (
        tensors(&folder.join("adapter_init.safetensors")),
        tensors(&folder.join("adapter_final.safetensors")),
    );
    let got = tensors(&place.path("run/adapter/adapter_model.safetensors"));
    assert_eq!(got.len(), want.len(), "{name}: tensors of the adapter");
    let square =
        |t: Tensor| f64::from(t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
    let (mut error, mut change) = (0.0, 0.0);
    for (key, want) in &want {
        let difference = (&got[key] - want).unwrap();
        let largest = difference
            .abs()
            .unwrap()
            .flatten_all()
            .unwrap()
            .max(0)
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        let bound = tolerances.element * learning_rate;
        assert!(
            f64::from(largest) <= bound,
            "{name}: {key} is off by {largest}, more than {bound}"
        );
        error += square(difference);
        change += square((want - &init[key]).unwrap());
    }
    assert!(
        (error / change).sqrt() <= tolerances.change,
        "{name}: the adapter's change is off by {}",
        (error / change).sqrt()
    );
}

#[test]
fn every_step_of_every_run_equals_trls() {
    for (case, run) in RUNS {
        assert_run(&Place::new(), case, run, &[], &F32);
    }
}

#[test]
fn every_run_in_bf16_stays_near_trls_in_f32() {
    for (case, run) in RUNS {
        // At 5e-5 the changes whose signs an OPA counts are smaller than the rounding.
        let opa = if run == "lr5e-5" { 1.0 } else { BF16.opa };
        let tolerances = Tolerances { opa, ..BF16 };
        assert_run(&Place::new(), case, run, &["--set", "model.dtype=bf16"], &tolerances);
    }
}

/// Each way to multiply in bf16 that this processor has, and the one that is emulated; the run says which it was.
#[test]
fn a_run_in_bf16_takes_the_products_that_it_is_told() {
    let arguments = ["--config", "config.toml", "--set", "model.dtype=bf16"];
    for products in ["widened", "avx512-bf16", "avx512-bf16-emulated", "amx", "amx-emulated"] {
        let environment = vec![("MVPBENCH_CPU_PRODUCT", products.into())];
        let place = Place { environment, ..Place::new() };
        let (_, golden) = prepare(&place, "tiny", "lr1e-3");
        let output = place.run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_there = match products {
            "avx512-bf16" => has_avx512_bf16(),
            "amx" => has_amx(),
            _ => true,
        };
        if !is_there {
            assert_eq!(output.status.code(), Some(2), "{said}");
            let why = "this processor has no such instructions";
            assert!(said.contains(&format!("`MVPBENCH_CPU_PRODUCT={products}`: {why}")), "{said}");
            continue;
        }
        assert!(output.status.success(), "{said}");
        assert!(said.contains(&format!("bf16 by {products} products on cpu")), "{said}");
        let packed = format!("weights: packed for {products} products besides, in ");
        assert_eq!(said.contains(&packed), products != "widened", "{said}");
        let got = records(&place.path("run/train.jsonl"));
        assert_steps(products, &got, golden["per_step"].as_array().unwrap(), &BF16);
    }
    let place =
        Place { environment: vec![("MVPBENCH_CPU_PRODUCT", "fast".into())], ..Place::new() };
    prepare(&place, "tiny", "lr1e-3");
    place.refuse(&arguments, &["`MVPBENCH_CPU_PRODUCT=fast`", "widened"]);
}

/// What the emulation stands for on other machines: the adapters have the same bytes.
#[test]
fn a_run_by_the_instructions_of_amx_is_that_of_their_emulation() {
    if !has_amx() {
        return skip(Need::Amx, "The instructions are compared with their emulation.");
    }
    let adapter = |products: &str| {
        let environment = vec![("MVPBENCH_CPU_PRODUCT", products.into())];
        let place = Place { environment, ..Place::new() };
        prepare(&place, "tiny", "lr1e-3");
        place.succeed(&["--config", "config.toml", "--set", "model.dtype=bf16"]);
        place.bytes("run/adapter/adapter_model.safetensors")
    };
    assert!(adapter("amx") == adapter("amx-emulated"), "the emulation is another arithmetic");
}

/// By the system's list, which is not how the program finds out.
fn has_amx() -> bool {
    let list = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = list.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    ["amx_bf16", "amx_tile"].iter().all(|flag| flags.split_whitespace().any(|one| one == *flag))
}

fn has_avx512_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Configures `place` for a golden run, with its start; the run's folder and its trajectory.
fn prepare(place: &Place, case: &str, run: &str) -> (PathBuf, Value) {
    let folder = path(&format!("cases/{case}/run_{run}"));
    let golden = json(&format!("cases/{case}/run_{run}/trajectory.json"));
    place.write(
        "start/adapter_model.safetensors",
        std::fs::read(folder.join("adapter_init.safetensors")).unwrap(),
    );
    place.write(
        "start/adapter_config.json",
        std::fs::read(path(&format!("adapters/{case}-nonzero/adapter_config.json"))).unwrap(),
    );
    configure(place, case, &golden["settings"]);
    (folder, golden)
}

/// Trains in an empty `place` with TRL's settings and compares log, adapter and scores with TRL's.
pub(crate) fn assert_run(
    place: &Place,
    case: &str,
    run: &str,
    arguments: &[&str],
    tolerances: &Tolerances,
) {
    let name = format!("{case} {run}");
    let (folder, golden) = prepare(place, case, run);
    place.succeed(&[&["--config", "config.toml"], arguments].concat());

    assert_steps(
        &name,
        &records(&place.path("run/train.jsonl")),
        golden["per_step"].as_array().unwrap(),
        tolerances,
    );
    assert_adapter(
        &name,
        place,
        &folder,
        tolerances,
        golden["settings"]["learning_rate"].as_f64().unwrap(),
    );
    let after = &golden["after_training"];
    let scores = records(&place.path("run/eval/scores-golden-after.jsonl"));
    for (score, want) in scores.iter().zip(after["policy_logps"].as_array().unwrap()) {
        assert_near(
            &name,
            &score["policy_chosen_logps"],
            want[0].as_f64().unwrap(),
            tolerances.after,
        );
        assert_near(
            &name,
            &score["policy_rejected_logps"],
            want[1].as_f64().unwrap(),
            tolerances.after,
        );
    }
    let evaluation: Value = serde_json::from_slice(&place.bytes("run/eval/after.json")).unwrap();
    assert_near(
        &format!("{name}: opa"),
        &evaluation["sets"][0]["overall"]["opa"]["value"],
        after["opa"].as_f64().unwrap(),
        tolerances.opa,
    );
    let before: Value = serde_json::from_slice(&place.bytes("run/eval/before.json")).unwrap();
    let opa = &before["sets"][0]["overall"]["opa"];
    assert_near(&format!("{name}: opa before"), &opa["value"], 0.0, 0.0);
    assert_eq!(opa["ties"], 13, "{name}: an untuned model ties with itself");
}
