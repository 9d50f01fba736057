//! Sources with weights in a run: resumed to the byte, and each pair's reference computed once.

use std::path::Path;

use crate::command::{Place, lines, records};
use crate::golden::pairs;

const COMMAND: [&str; 2] = ["--config", "config.toml"];

/// A run over a source whose pairs are visited one and a half times.
fn place(weight: f64, seed: i64) -> Place {
    let source = toml::Table::from_iter([
        ("files".to_owned(), pairs().into()),
        ("weight".to_owned(), weight.into()),
    ]);
    Place::golden("tiny")
        .set("data.train", vec![toml::Value::Table(source)])
        .set("lora.dropout", 0.1)
        .set("train.epochs", 1.5)
        .set("train.seed", seed)
        .set("train.checkpoint_every", 2)
        .set("train.per_device_batch_size", 2)
        .set("train.gradient_accumulation_steps", 2)
}

fn steps(place: &Place) -> Vec<(serde_json::Value, serde_json::Value)> {
    records(&place.path("run/train.jsonl"))
        .iter()
        .map(|r| (r["step"].clone(), r["loss"].clone()))
        .collect()
}

#[test]
fn a_weighted_run_resumes_to_the_byte_and_another_weight_or_seed_is_another_run() {
    let whole = place(1.5, 12);
    let run = whole.run(&COMMAND);
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{said}");
    let n = records(Path::new(&pairs())).len();
    let visits = n + (n as f64 * 0.5).round() as usize;
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(&format!("{n} pairs, weight 1.5, {visits} visits")), "{said}");
    let expected = (1.5 * visits.div_ceil(4) as f64).ceil() as usize;
    assert_eq!(steps(&whole).len(), expected);
    let cut = place(1.5, 12);
    let log = cut.path("run/train.jsonl");
    cut.start(&COMMAND).kill_at("step 5", || lines(&log) >= 5);
    cut.succeed(&COMMAND);
    let adapter = "run/adapter/adapter_model.safetensors";
    assert_eq!(cut.bytes(adapter), whole.bytes(adapter));
    assert_eq!(steps(&cut), steps(&whole));
    let other = place(1.5, 13);
    other.succeed(&COMMAND);
    assert_ne!(steps(&other), steps(&whole));
}
