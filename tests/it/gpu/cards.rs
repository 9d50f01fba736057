//! Cards and drivers that are not like the emulated one: what is refused before a model is read, and what works without.

use candle_core::{Device, Tensor, safetensors};
use serde_json::Value;

use super::{environment, place, wide_model};
use crate::command::Place;
use crate::golden::pairs;
use crate::require::{Need, skip};

const COMMAND: [&str; 4] = ["--config", "config.toml", "--device", "cuda"];

fn with(variable: &'static str, value: &str) -> Place {
    let mut place = Place { environment: place().environment, ..Place::golden("tiny-gqa") };
    place.environment.push((variable, value.into()));
    place.set("train.max_steps", 1).evaluate("golden", pairs())
}

#[test]
fn a_driver_older_than_the_kernels_is_refused_before_anything_is_read() {
    if environment().is_empty() {
        return skip(Need::EmulatedCard, "");
    }
    let place = with("EMULATED_DRIVER", "11080").set("model.path", "nowhere");
    let output = place.run(&COMMAND);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the driver is for CUDA 11.8, and candle's kernels"), "{said}");
    assert!(said.contains("hint: install a newer driver"), "{said}");
}

#[test]
fn a_card_without_memory_pools_trains_the_same_adapter() {
    if environment().is_empty() {
        return skip(Need::EmulatedCard, "");
    }
    let adapter = |place: Place| {
        place.succeed(&COMMAND);
        place.bytes("run/adapter/adapter_model.safetensors")
    };
    assert_eq!(adapter(with("EMULATED_NO_POOLS", "yes")), adapter(with("EMULATED_CARDS", "1")));
}

/// Modules of a run that the card of `capability` was given as its own code, and the adapter.
fn cubins(capability: &str) -> (u64, Vec<u8>) {
    let mut place = with("EMULATED_CAPABILITY", capability);
    place.environment.push(("EMULATED_LOG", place.path("counts.json").into()));
    place.succeed(&COMMAND);
    let counts: Value = serde_json::from_slice(&place.bytes("counts.json")).unwrap();
    let adapter = place.bytes("run/adapter/adapter_model.safetensors");
    (counts["cubins"].as_u64().unwrap(), adapter)
}

#[test]
fn a_card_loads_its_own_code_and_one_that_none_was_made_for_the_ptx() {
    if environment().is_empty() {
        return skip(Need::EmulatedCard, "");
    }
    let [hopper, ada, other] = ["90", "89", "87"].map(cubins);
    assert!(hopper.0 > 5 && ada.0 == hopper.0, "{} {}", hopper.0, ada.0);
    assert_eq!(other.0, 0);
    assert!(hopper.1 == ada.1 && hopper.1 == other.1);
}

#[test]
fn a_pair_without_a_number_is_named_and_not_its_neighbour() {
    let place = place();
    wide_model(&place, 64);
    // The embedding of a byte that only one pair has: finite, and the sum of its squares is not.
    let file = place.path("model/model.safetensors");
    let mut tensors = safetensors::load(&file, &Device::Cpu).unwrap();
    let embeddings = &tensors["model.embed_tokens.weight"];
    let (rows, width) = embeddings.dims2().unwrap();
    let large = Tensor::full(1e38f32, (1, width), &Device::Cpu).unwrap();
    let large = large.to_dtype(embeddings.dtype()).unwrap();
    let byte = 3 + 0xCE;
    let parts = [
        embeddings.narrow(0, 0, byte).unwrap(),
        large,
        embeddings.narrow(0, byte + 1, rows - byte - 1).unwrap(),
    ];
    tensors.insert("model.embed_tokens.weight".into(), Tensor::cat(&parts, 0).unwrap());
    safetensors::save(&tensors, &file).unwrap();
    let pair = |id: &str, prompt: &str| serde_json::json!({"id": id, "prompt": prompt, "chosen": "yes", "rejected": "no"});
    place.write(
        "pairs.jsonl",
        format!("{}\n{}\n", pair("healthy", "A river?"), pair("broken", "\u{3a9}?")),
    );
    let words = ["eval", "--model", "model", "--data", "a=pairs.jsonl", "--metrics", "opa"];
    let words = [&words[..], &["--device", "cuda", "--output", "out"]].concat();
    let output = place.mvpbench(&words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("pair `broken`: "), "{said}");
}
