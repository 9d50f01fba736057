//! Several ranks, each with a card: the gradients go over NCCL and their sum has the same bytes on any number of ranks.

use std::time::{Duration, Instant};

use candle_core::safetensors;

use super::environment;
use crate::command::{Place, records};
use crate::golden::pairs;
use crate::kernels::shared_library;
use crate::ranks::failures::{END, kill, ranks};
use crate::require::{Need, compiler, skip};

const COMMAND: [&str; 4] = ["--config", "config.toml", "--device", "cuda"];
const ADAPTER: &str = "run/adapter/adapter_model.safetensors";
/// Of a run.
const STEPS: usize = 2;

/// A short run with dropout whose step is cut into four leaves.
fn place() -> Place {
    let mut place = Place::golden("tiny-gqa")
        .set("lora.rank", 4)
        .set("lora.dropout", 0.1)
        .set("train.max_steps", STEPS as i64)
        .set("train.per_device_batch_size", 2)
        .set("train.total_batch_size", 8)
        .set("train.gradient_shards", 4)
        .evaluate("golden", pairs());
    place.environment = environment();
    for (name, value) in &mut place.environment {
        if *name == "LD_PRELOAD" {
            let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/gpu/nccl.cpp");
            let library = shared_library(compiler().unwrap(), &format!("#include {here:?}\n"), &[]);
            *value = std::env::join_paths([library, value.clone().into()]).unwrap();
        }
    }
    place
}

#[test]
fn gradients_over_nccl_have_the_same_bytes_on_any_number_of_ranks() {
    if environment().is_empty() {
        return skip(Need::EmulatedCard, ""); // a machine may have one card, whose ranks NCCL refuses
    }
    let one = place();
    one.succeed(&COMMAND);
    let losses = |place: &Place| -> Vec<f64> {
        records(&place.path("run/train.jsonl"))
            .iter()
            .map(|r| r["loss"].as_f64().unwrap())
            .collect()
    };
    let adapter = safetensors::load(one.path(ADAPTER), &candle_core::Device::Cpu).unwrap();
    let values: usize = adapter.values().map(|tensor| tensor.elem_count()).sum();
    for ranks in [2, 3] {
        let mut several = place();
        let log = several.path("nccl.jsonl");
        several.environment.push(("EMULATED_CARDS", ranks.to_string().into()));
        several.environment.push(("EMULATED_NCCL_LOG", log.clone().into()));
        several.succeed(&[&COMMAND[..], &["--ranks", &ranks.to_string()]].concat());
        assert_eq!(losses(&several), losses(&one), "{ranks} ranks");
        assert_eq!(several.bytes(ADAPTER), one.bytes(ADAPTER), "{ranks} ranks");
        // A rank has one node of these trees: it sends the others their slices of it, and its own slice of the sum to each.
        let sent = records(&log);
        assert_eq!(sent.len(), ranks);
        let all: u64 = sent.iter().map(|rank| rank["sent"].as_u64().unwrap()).sum();
        assert_eq!(all, (2 * (ranks - 1) * 4 * values * STEPS) as u64, "{ranks} ranks");
    }
}

#[test]
fn a_rank_that_dies_ends_ranks_that_wait_for_its_gradients() {
    if environment().is_empty() {
        return skip(Need::EmulatedCard, "");
    }
    let mut place = place().set("train.max_steps", 1000);
    place.environment.push(("EMULATED_CARDS", "2".into()));
    let mut job = place.start_heard(&[&COMMAND[..], &["--ranks", "2"]].concat());
    job.wait_for("a step", || {
        std::fs::read(place.path("run/train.jsonl")).is_ok_and(|log| log.contains(&b'\n'))
    });
    let found = ranks(&place);
    kill(&found.iter().find(|(rank, _)| *rank == 1).expect("a second rank").1);
    let begun = Instant::now();
    let (said, code) = job.end();
    assert_ne!(code, Some(0), "{said}");
    while !ranks(&place).is_empty() {
        assert!(begun.elapsed() < END, "a rank lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}
