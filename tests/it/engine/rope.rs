//! Every kind of RoPE, biases, and heads of which a part turns, against transformers: `rope.json`, by `scripts/interop/rope_golden.py`.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use mvpbench::config::Projection;
use mvpbench::data::pack::Pack;
use mvpbench::data::token_pair::TokenPair;
use mvpbench::model::decoder::Decoder;
use mvpbench::model::generation::{GenerationSettings, Generator};
use mvpbench::model::shape::Shape;
use serde_json::Value;

use crate::golden::{ids, json, path};

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The bias of the script.
fn bias(layer: usize, projection: Projection, out: usize) -> Tensor {
    let at = |i: usize| 0.2 * ((1 + i + 7 * layer + 31 * projection as usize) as f64).sin();
    Tensor::new((0..out).map(at).collect::<Vec<_>>(), &Device::Cpu).unwrap()
}

/// The golden model `tiny` in f64, with `changes` of its config.json.
fn model(changes: &Value) -> Decoder {
    let mut config = json("models/tiny/config.json");
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let shape = Shape::parse(&config.to_string(), "config.json").unwrap();
    let file = path("models/tiny/model.safetensors");
    let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    let biases: HashMap<String, (usize, Projection)> = (0..2)
        .flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)))
        .map(|(layer, p)| {
            (format!("model.layers.{layer}.{}.{}.bias", p.module(), p.name()), (layer, p))
        })
        .collect();
    Decoder::assemble(shape, DType::F64, &Device::Cpu, &mut |name, dims| {
        let tensor = match biases.get(name) {
            Some(&(layer, projection)) => bias(layer, projection, dims[0]),
            None => tensors[name].to_dtype(DType::F64)?,
        };
        assert_eq!(tensor.dims(), dims, "{name}");
        Ok(tensor.into())
    })
    .unwrap()
}

fn assert_near(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let is_near = (got - want).abs() <= tolerance * want.abs().max(1e-30);
        assert!(is_near, "{what}, number {i}: {got}, expected {want}");
    }
}

fn logps(model: &Decoder, pairs: &[TokenPair]) -> Vec<f64> {
    let batch = model.batch(&Pack::new(pairs)).unwrap();
    model.logps(&batch, None).unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

#[test]
fn every_kind_has_transformers_frequencies_log_probabilities_and_greedy_tokens() {
    let golden = json("rope.json");
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 22);
    for (name, case) in cases {
        let mut model = model(&case["config"]);
        let head_dim = model.shape.heads.head_dim;
        let lengths = ids(&golden["lengths"]);
        for (length, want) in lengths.iter().zip(case["inverse_frequencies"].as_array().unwrap()) {
            let got = model.shape.rope.frequencies(head_dim, *length);
            assert_near(&format!("{name}, {length} tokens"), &got, &numbers(want), 1e-6);
        }
        let factor = model.shape.rope.attention_factor();
        assert_near(name, &[factor], &[case["attention_factor"].as_f64().unwrap()], 1e-12);

        for (of, want) in ["short", "long"].into_iter().zip(case["logps"].as_array().unwrap()) {
            let all = ids(&golden[of]);
            let pair = |cut: usize| TokenPair {
                prompt: all[..cut].to_vec(),
                chosen: all[cut..].to_vec(),
                ..TokenPair::default()
            };
            let got: Vec<f64> = logps(&model, &[pair(1)]).into_iter().step_by(5).collect();
            // Angles are f32 there.
            assert_near(&format!("{name}, {of}"), &got, &numbers(want), 3e-6);
        }

        model.shape.max_positions = 512; // transformers generates beyond it
        let prompts: Vec<Vec<u32>> = ids(&golden["prompts"])
            .into_iter()
            .map(|count| ids(&golden["long"])[..count as usize].to_vec())
            .collect();
        let settings = GenerationSettings { max_new_tokens: 12, batch: 2, ..Default::default() };
        let generator = Generator::new(&model, None, settings).unwrap();
        let got = generator.generate(&prompts, |_| Ok(())).unwrap();
        for (got, want) in got.iter().zip(case["generated"].as_array().unwrap()) {
            assert_eq!(got.ids, ids(want), "{name}");
        }
    }
}

/// A pair whose answers lie on both sides of the switch, and others on one side, in one pack and each answer alone.
#[test]
fn packing_and_sharing_change_nothing_where_angles_depend_on_the_length() {
    let golden = json("rope.json");
    let all = ids(&golden["long"]);
    let pair = |prompt: usize, chosen: usize, rejected: usize| TokenPair {
        prompt: all[..prompt].to_vec(),
        chosen: all[prompt..prompt + chosen].to_vec(),
        rejected: all[90 - rejected..].to_vec(),
        ..TokenPair::default()
    };
    for name in ["dynamic", "longrope", "partial, dynamic", "both, yarn, swish"] {
        let model = model(&golden["cases"][name]["config"]);
        let mut pairs = [pair(20, 8, 30), pair(10, 5, 5), pair(40, 20, 9), pair(30, 3, 2)];
        let apart = model.shape.rope.set_apart(&mut pairs);
        let expected = match name {
            "longrope" => 2,
            "both, yarn, swish" => 0,
            _ => 3,
        };
        assert_eq!(apart, expected, "{name}");
        let together = logps(&model, &pairs);
        let alone: Vec<f64> = pairs
            .iter()
            .flat_map(|pair| [&pair.chosen, &pair.rejected].map(|answer| (&pair.prompt, answer)))
            .flat_map(|(prompt, answer)| {
                let (prompt, chosen) = (prompt.clone(), answer.clone());
                logps(&model, &[TokenPair { prompt, chosen, ..TokenPair::default() }])
            })
            .collect();
        assert_near(name, &together, &alone, 1e-12);
    }
}
