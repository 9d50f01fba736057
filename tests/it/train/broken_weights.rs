//! A base model with a value that is no number: the tensor is named, and no pair or prompt is blamed.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use crate::command::Place;
use crate::golden::{self, pairs};

/// A run whose model's `tensor` has a NaN in its last place.
fn place(tensor: &str) -> Place {
    let place = Place::golden("tiny").set("model.path", "model");
    for entry in std::fs::read_dir(golden::path("models/tiny")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        place.write(&format!("model/{name}"), std::fs::read(path).unwrap());
    }
    let file = place.path("model/model.safetensors");
    let mut tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let whole = tensors[tensor].to_dtype(DType::F32).unwrap();
    let mut values: Vec<f32> = whole.flatten_all().unwrap().to_vec1().unwrap();
    *values.last_mut().unwrap() = f32::NAN;
    let broken = Tensor::from_vec(values, whole.dims(), &Device::Cpu).unwrap();
    tensors.insert(tensor.to_owned(), broken);
    candle_core::safetensors::save(&tensors, &file).unwrap();
    place
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    for tensor in [
        "model.embed_tokens.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "lm_head.weight",
    ] {
        let place = place(tensor);
        let said = format!("the base model's `{tensor}` has values that are not finite");
        for dtype in ["f32", "bf16"] {
            let set = format!("model.dtype={dtype}");
            let arguments = ["--config", "config.toml", "--set", &set, "--output", dtype];
            place.refuse(&arguments, &[&said, "hint: "]);
        }
        let data = format!("some={}", pairs());
        let evaluate = ["eval", "--model", "model", "--data", &data, "--output", "out"];
        let answer = ["generate", "--model", "model", "--prompt", "a", "--max-new-tokens", "4"];
        // The last row of the embedding is of a token that this prompt and its answer lack.
        let answer = (!tensor.contains("embed")).then_some(&answer[..]);
        for arguments in [&evaluate[..]].into_iter().chain(answer) {
            let output = place.mvpbench(arguments).output().unwrap();
            let heard = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {heard}");
            assert!(heard.contains(&said) && heard.contains("hint: "), "{arguments:?}: {heard}");
        }
    }
}
