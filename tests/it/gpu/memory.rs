//! The memory of a step at a 7B's shape, on a card that only counts.

use std::path::Path;

use mvpbench::config::Projection;
use mvpbench::model::shape::Shape;
use serde_json::{Value, json};

use super::{copy_tokenizer, environment, place};
use crate::command::{Place, records};
use crate::require::{Need, skip};

/// A model of Llama-2-7b's shape with this many layers: [`hollow`].
pub(super) fn hollow_model(place: &Place, layers: usize) {
    hollow(place, &json!({ "num_hidden_layers": layers }));
}

/// A model of Llama-2-7b's shape with these changes of `config.json`, whose weights take no room on disk: a file of zeros, which are not
/// stored.
pub(super) fn hollow(place: &Place, changes: &Value) {
    let mut config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": 32, "num_hidden_layers": 32,
        "vocab_size": 32_000, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "tie_word_embeddings": false,
        "bos_token_id": 1, "eos_token_id": 2,
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    place.write("model/config.json", config.to_string());
    copy_tokenizer(place);
    let shape = Shape::parse(&config.to_string(), "model").unwrap();
    let (mut header, mut bytes) = (serde_json::Map::new(), 0);
    let mut add = |name: &str, shape: &[usize]| {
        let from = bytes;
        bytes += 2 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "BF16", "shape": shape, "data_offsets": [from, bytes] });
        header.insert(name.to_owned(), entry);
    };
    add("model.embed_tokens.weight", &[shape.vocab, shape.hidden]);
    if !shape.tied {
        add("lm_head.weight", &[shape.vocab, shape.hidden]);
    }
    add("model.norm.weight", &[shape.hidden]);
    for layer in 0..shape.layers {
        for projection in Projection::ALL {
            let (out, from) = shape.projection(projection);
            let (block, part) = (projection.module(), projection.name());
            let name = format!("model.layers.{layer}.{block}.{part}");
            add(&format!("{name}.weight"), &[out, from]);
            if shape.has_bias(projection) {
                add(&format!("{name}.bias"), &[out]);
            }
        }
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(&format!("model.layers.{layer}.{norm}.weight"), &[shape.hidden]);
        }
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    let length = (file.len() + bytes) as u64;
    let file = place.write("model/model.safetensors", file);
    std::fs::File::options().write(true).open(file).unwrap().set_len(length).unwrap();
}

/// Configures a run of `model` on the sample.
pub(super) fn train_on_the_sample(place: &Place) -> &Place {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny/data/MVP_train.json");
    place
        .configure("model.path", "model")
        .configure("data.train", vec![sample.to_str().unwrap()])
        .configure("output.dir", "run")
}

#[test]
fn a_gpus_memory_is_what_the_plan_says_at_the_shape_of_a_7b() {
    if environment().is_empty() {
        return skip(Need::EmulatedCard, ""); // the pool of a real card holds what other tests leave there
    }
    let mut place = place();
    hollow_model(&place, 8);
    place.environment.push(("EMULATED_ONLY_COUNTED", "yes".into()));
    train_on_the_sample(&place).configure("train.epochs", 1);
    for (column, activations) in [(1, "keep"), (2, "recompute")] {
        let (output, kept) =
            (format!("--output={activations}"), format!("train.activations={activations}"));
        let arguments = ["--config", "config.toml", "--device=cuda", "--set", &kept, &output];
        let plan = place.succeed(&[&arguments[..], &["--dry-run"]].concat());
        let line = plan.lines().find(|line| line.starts_with("peak while training")).unwrap();
        let planned = line.split("  ").filter(|part| !part.is_empty()).nth(column).unwrap().trim();
        let planned: f64 = planned.strip_suffix(" GiB").unwrap().parse().unwrap();
        place.succeed(&arguments);
        let steps = records(&place.path(&format!("{activations}/train.jsonl")));
        let tensors = steps.last().unwrap()["peak_memory_gib"].as_f64().unwrap();
        // Beside its tensors a card holds CUDA's context; and the plan has room for what an allocator cannot use.
        let measured = tensors + 640.0 / 1024.0;
        assert!(
            (measured..1.1 * measured).contains(&planned),
            "{activations}: {planned} planned, {measured} taken"
        );
    }
}
