//! The memory of a step at a 7B's shape, on a card that only counts.

use std::path::Path;

use serde_json::{Value, json};

use super::{copy_tokenizer, environment, place};
use crate::command::{Place, records};
use crate::require::{Need, skip};

/// A model of Llama-2-7b's shape with this many layers, whose weights take no room on disk: a file of zeros, which are not stored.
pub(super) fn hollow_model(place: &Place, layers: usize) {
    let (hidden, intermediate, vocab) = (4096, 11008, 32_000);
    let config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": hidden,
        "intermediate_size": intermediate, "num_attention_heads": 32, "num_key_value_heads": 32, "num_hidden_layers": layers,
        "vocab_size": vocab, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "tie_word_embeddings": false,
        "bos_token_id": 1, "eos_token_id": 2,
    });
    place.write("model/config.json", config.to_string());
    copy_tokenizer(place);
    let (mut header, mut bytes) = (serde_json::Map::new(), 0);
    let mut add = |name: &str, shape: &[usize]| {
        let from = bytes;
        bytes += 2 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "BF16", "shape": shape, "data_offsets": [from, bytes] });
        header.insert(name.to_owned(), entry);
    };
    add("model.embed_tokens.weight", &[vocab, hidden]);
    add("lm_head.weight", &[vocab, hidden]);
    add("model.norm.weight", &[hidden]);
    for layer in 0..layers {
        for (name, shape) in [
            ("self_attn.q_proj", &[hidden, hidden][..]),
            ("self_attn.k_proj", &[hidden, hidden]),
            ("self_attn.v_proj", &[hidden, hidden]),
            ("self_attn.o_proj", &[hidden, hidden]),
            ("mlp.gate_proj", &[intermediate, hidden]),
            ("mlp.up_proj", &[intermediate, hidden]),
            ("mlp.down_proj", &[hidden, intermediate]),
            ("input_layernorm", &[hidden]),
            ("post_attention_layernorm", &[hidden]),
        ] {
            add(&format!("model.layers.{layer}.{name}.weight"), shape);
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
