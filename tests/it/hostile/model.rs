//! Model folders and adapters: `config.json`, indices, safetensors of any shape, whole or not.

use std::path::Path;

use candle_core::{DType, Device};
use mvpbench::model::adapter;
use mvpbench::model::decoder::Decoder;
use mvpbench::model::shape::Shape;
use mvpbench::model::shard::Shard;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use serde_json::{Value, json};

use super::{config, damaged, damages, edited, edits, is_tame, tame, text, value};
use crate::command::Place;
use crate::golden;

const MODEL: &str = "models/tiny";
const ADAPTER: &str = "adapters/tiny-nonzero";

#[test]
fn a_model_configuration_with_any_values_is_taken_or_refused_by_name() {
    let documents = ["models/tiny", "models/tiny-gqa"]
        .map(|model| golden::json(&format!("{model}/config.json")));
    let cases = (edits(), any::<bool>(), text());
    let outcome = TestRunner::new(config(500)).run(&cases, |(edits, second, text)| {
        for json in [edited(&documents[usize::from(second)], &edits).to_string(), text] {
            let read = || Shape::parse(&json, "m/config.json");
            if let Some(config) = tame("m/config.json", json.len(), read)? {
                prop_assert!(config.parameters() > 0 && config.layers <= 1 << 12, "{config:?}");
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

/// Values that set a field.
fn set() -> impl Strategy<Value = Value> {
    value().prop_filter("a value that sets a field", |value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

#[test]
fn a_field_that_is_not_known_is_refused_by_name() {
    let configs = ["models/tiny", "models/tiny-gqa"]
        .map(|model| golden::json(&format!("{model}/config.json")));
    let adapter = golden::json(&format!("{ADAPTER}/adapter_config.json"));
    let shape = Shape::parse(&configs[0].to_string(), "config.json").unwrap();
    let place = copy(ADAPTER, "adapter");
    let cases = ("[a-z_]{1,20}_of_2027", set(), any::<bool>());
    let outcome = TestRunner::new(config(200)).run(&cases, |(name, value, second)| {
        let mut model = configs[usize::from(second)].clone();
        model[&name] = value.clone();
        let error = Shape::parse(&model.to_string(), "config.json").unwrap_err();
        let expected = format!("config.json: `{name}` is");
        prop_assert!(error.to_string().starts_with(&expected), "{error}");
        let mut fields = adapter.clone();
        fields[&name] = value;
        place.write("adapter/adapter_config.json", fields.to_string());
        let load = adapter::load(&place.path("adapter"), &shape, None, &Device::Cpu);
        let error = load.map(|_| ()).unwrap_err();
        let expected = format!("adapter_config.json: `{name}` is");
        prop_assert!(error.to_string().contains(&expected), "{error}");
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn sizes_beyond_any_model_are_refused() {
    let whole = golden::json("models/tiny/config.json");
    for key in [
        "num_hidden_layers",
        "hidden_size",
        "vocab_size",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
    ] {
        for size in
            [json!(0), json!(-1), json!(1u64 << 40), json!(u64::MAX), json!(1e30), json!("2")]
        {
            let mut config = whole.clone();
            config[key] = size.clone();
            let error = Shape::parse(&config.to_string(), "config.json").unwrap_err();
            assert!(error.to_string().contains(key), "{key} = {size}: {error}");
        }
    }
}

/// A copy of a golden folder as `folder`, to be changed.
fn copy(from: &str, folder: &str) -> Place {
    let place = Place::new();
    for entry in std::fs::read_dir(golden::path(from)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        place.write(&format!("{folder}/{name}"), std::fs::read(path).unwrap());
    }
    place
}

fn read_model(folder: &Path) -> TestCaseResult {
    let length = std::fs::metadata(folder.join("model.safetensors")).map_or(0, |file| file.len());
    is_tame("model", length as usize, || Decoder::load(folder, DType::F32, &Device::Cpu))
}

/// The safetensors file `whole` with another header.
fn with_header(whole: &[u8], header: &Value) -> Vec<u8> {
    let length = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &whole[8 + length..]].concat()
}

fn header_of(whole: &[u8]) -> Value {
    let length = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    serde_json::from_slice(&whole[8..8 + length]).unwrap()
}

/// Damage anywhere, damage of the first 64 bytes (length and beginning of the header), and edits of the header: shapes,
/// offsets, types.
fn safetensors(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let header = header_of(&whole);
    let (first, all) = (whole.clone(), whole.clone());
    prop_oneof![
        1 => damages().prop_map(move |damages| damaged(&all, &damages)),
        2 => damages().prop_map(move |damages| {
            let (start, rest) = first.split_at(64);
            [damaged(start, &damages), rest.to_vec()].concat()
        }),
        4 => edits().prop_map(move |edits| with_header(&whole, &edited(&header, &edits))),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

#[test]
fn weights_that_are_cut_overlap_or_lie_about_their_shape_are_refused_by_name() {
    let place = copy(MODEL, "model");
    let whole = std::fs::read(golden::path(MODEL).join("model.safetensors")).unwrap();
    let outcome = TestRunner::new(config(150)).run(&safetensors(whole), |bytes| {
        let path = place.write("model/model.safetensors", &bytes);
        read_model(&place.path("model"))?;
        is_tame("model.safetensors", bytes.len(), || {
            let shard = Shard::open(&path)?;
            shard.entries().iter().try_for_each(|entry| shard.read(entry).map(|_| ()))
        })
    });
    outcome.unwrap();
}

#[test]
fn an_index_of_anything_is_taken_or_refused_by_name() {
    let place = copy("models/tiny-f16", "model");
    let whole = golden::json("models/tiny-f16/model.safetensors.index.json");
    let cases = prop_oneof![
        edits().prop_map(move |edits| edited(&whole, &edits).to_string()),
        text(),
        value().prop_map(|map| json!({"weight_map": map}).to_string()),
    ];
    let outcome = TestRunner::new(config(100)).run(&cases, |index| {
        place.write("model/model.safetensors.index.json", index);
        is_tame("model", 1 << 20, || Decoder::load(&place.path("model"), DType::F32, &Device::Cpu))
    });
    outcome.unwrap();
}

#[test]
fn an_adapter_of_anything_is_taken_or_refused_by_name() {
    let place = copy(ADAPTER, "adapter");
    let model = golden::json("models/tiny/config.json").to_string();
    let model = Shape::parse(&model, "config.json").unwrap();
    let weights = place.bytes("adapter/adapter_model.safetensors");
    let settings = golden::json(&format!("{ADAPTER}/adapter_config.json"));
    let cases = prop_oneof![
        safetensors(weights.clone()).prop_map(|bytes| (None, Some(bytes))),
        edits().prop_map(move |edits| (Some(edited(&settings, &edits).to_string()), None)),
        text().prop_map(|text| (Some(text), None)),
    ];
    let settings = place.bytes("adapter/adapter_config.json");
    let outcome = TestRunner::new(config(400)).run(&cases, |(json, bytes)| {
        let json = json.map_or(settings.clone(), String::into_bytes);
        let bytes = bytes.unwrap_or_else(|| weights.clone());
        let length = json.len() + bytes.len();
        place.write("adapter/adapter_config.json", json);
        place.write("adapter/adapter_model.safetensors", bytes);
        is_tame("adapter", length, || {
            adapter::load(&place.path("adapter"), &model, None, &Device::Cpu)
        })
    });
    outcome.unwrap();
}
