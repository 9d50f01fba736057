//! A half-done run of which one input has changed names that file, and resumes when it is what it was.

use std::fs;

use mvpbench::disk::seal;
use serde_json::{Value, json};

use super::kills;
use crate::command::Place;
use crate::eval::encoder;
use crate::golden;

const COMMAND: [&str; 2] = ["--config", "config.toml"];

/// A run that reads every kind of input from its own folder: [`kills::place`] with an adapter to start from, samples and a chat template.
fn place() -> Place {
    let place = kills::place();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        let bytes = fs::read(golden::path("models/tiny-gqa").join(file)).unwrap();
        place.write(&format!("model/{file}"), bytes);
    }
    place.write("model/generation_config.json", r#"{"eos_token_id": 2}"#);
    for file in encoder::FILES {
        let bytes = fs::read(encoder::folder().join(file)).unwrap();
        place.write(&format!("encoder/{file}"), bytes);
    }
    place.write("mine.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
    place.write("samples.txt", "Why?\nHow?\n");
    let place = place
        .set("model.path", "model")
        .set("data.chat_template", "mine.jinja")
        .set("eval.spmr.embedder", "encoder")
        .set("eval.samples.prompts", "samples.txt")
        .set("eval.samples.max_new_tokens", 4);
    let first =
        ["--set", "train.max_steps=1", "--set", "output.dir=first", "--set", "eval.sets=[]"];
    let more = ["--set", "eval.samples.prompts=", "--set", "eval.best_metric=none", "-q"];
    let first = [&COMMAND[..], &first, &more, &["--set", "eval.every=0"]].concat();
    place.succeed(&first);
    fs::rename(place.path("first/adapter"), place.path("start")).unwrap();
    place.set("lora.init_from", "start")
}

/// Starts the run and kills it as soon as it has begun.
fn half(place: &Place) {
    let mut job = place.start(&COMMAND);
    job.wait_for("the head", || kills::phase(&place.path("run")) == "evaluation before");
    assert!(job.kill());
}

/// The JSON file with one more space: what is read from it is the same.
fn spaced(bytes: &[u8]) -> Vec<u8> {
    [bytes, b" "].concat()
}

/// The safetensors file with the sign of its last number turned.
fn turned(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 0x80;
    bytes
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(from));
    text.replacen(from, to, 1).into_bytes()
}

type Change = fn(&[u8]) -> Vec<u8>;

#[test]
fn a_half_done_run_names_the_input_that_has_changed() {
    let place = place();
    half(&place);
    let other: Change = |bytes| replaced(bytes, "?", "!");
    let changes: [(&str, &str, Change); 12] = [
        ("model/tokenizer.json", " (tokenizer)", spaced),
        ("model/tokenizer_config.json", " (tokenizer)", spaced),
        ("model/generation_config.json", " (generation config)", |_| {
            json!({"eos_token_id": [2, 5]}).to_string().into()
        }),
        ("mine.jinja", " (chat template)", |bytes| {
            replaced(bytes, "{{ m.content }}", "{{ m.content }} ")
        }),
        ("start/adapter_model.safetensors", " (adapter)", turned),
        ("start/adapter_config.json", " (adapter)", spaced),
        ("encoder/modules.json", " (sentence encoder)", spaced),
        ("encoder/sentence_bert_config.json", " (sentence encoder)", spaced),
        ("encoder/1_Pooling/config.json", " (sentence encoder)", spaced),
        ("encoder/model.safetensors", " (sentence encoder)", turned),
        ("samples.txt", "", other),
        ("train.jsonl", "", |bytes| replaced(bytes, "\"id\":0", "\"id\":1000")),
    ];
    for (file, part, change) in changes {
        let was = place.bytes(file);
        place.write(file, change(&was));
        let named = format!("`{file}`{part} is not what the run in `run` began with");
        place.refuse(&COMMAND, &[&named]);
        place.write(file, was);
    }
    // Two at once, one of them new.
    let was = place.bytes("mine.jinja");
    place.write("mine.jinja", "{{ messages[0].content }}");
    place.write("model/special_tokens_map.json", "{}");
    place.refuse(
        &COMMAND,
        &["`model/special_tokens_map.json` (tokenizer) and `mine.jinja` (chat template) are not what"],
    );
    place.write("mine.jinja", was);
    fs::remove_file(place.path("model/special_tokens_map.json")).unwrap();
    fs::rename(place.path("model/generation_config.json"), place.path("away")).unwrap();
    place.refuse(&COMMAND, &["`model/generation_config.json` (generation config) is not what"]);
    fs::rename(place.path("away"), place.path("model/generation_config.json")).unwrap();

    let whole = self::place();
    whole.succeed(&COMMAND);
    place.succeed(&COMMAND);
    kills::assert_same(&place, &kills::outcome(&whole), "after refusals");
}

/// The head of `run/config.toml` as earlier versions wrote it, with the digest of all inputs alone.
fn make_head_earlier(place: &Place) {
    let text = String::from_utf8(place.bytes("run/config.toml")).unwrap();
    let seal = "# sha256 of the other lines: ";
    let parts = ["tokenizer", "chat template", "generation config", "adapter", "sentence encoder"];
    let stays = |line: &&str| {
        let begins = |part| line.starts_with(&format!("# {part}: "));
        !line.starts_with(seal) && !parts.iter().any(begins)
    };
    let kept: Vec<&str> = text.split_inclusive('\n').filter(stays).collect();
    assert!(text.lines().count() > kept.len() + parts.len());
    let digits = seal::digits(kept.concat().as_bytes());
    let head = kept.iter().position(|line| *line == "\n").unwrap();
    let sealed = format!("{}{seal}{digits}\n{}", kept[..head].concat(), kept[head..].concat());
    place.write("run/config.toml", sealed);
}

#[test]
fn a_half_done_run_of_an_earlier_version_resumes_and_refuses_as_that_did() {
    let place = place();
    half(&place);
    make_head_earlier(&place);
    let was = place.bytes("start/adapter_model.safetensors");
    place.write("start/adapter_model.safetensors", turned(&was));
    place.refuse(
        &COMMAND,
        &["the start adapter, the sentence encoder or the prompts of `eval.samples` are not what"],
    );
    place.write("start/adapter_model.safetensors", was);
    let was = place.bytes("encoder/modules.json");
    place.write("encoder/modules.json", spaced(&was));
    place.refuse(&COMMAND, &["the sentence encoder or the prompts"]);
    place.write("encoder/modules.json", was);
    // What is read from it is the same, which the digest of all inputs tells.
    place.write("model/tokenizer.json", spaced(&place.bytes("model/tokenizer.json")));
    place.succeed(&COMMAND);
}

#[test]
fn a_half_done_evaluation_names_the_adapter_that_has_changed() {
    let place = place();
    let evaluate = [
        "eval",
        "--model",
        "model",
        "--adapter",
        "start",
        "--data",
        "a=test.jsonl",
        "--output",
        "out",
    ];
    let ended = |output: std::process::Output| {
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = ended(place.mvpbench(&evaluate).output().unwrap());
    assert_eq!(code, Some(0), "{said}");
    let was = place.bytes("start/adapter_config.json");
    let mut config: Value = serde_json::from_slice(&was).unwrap();
    config["lora_alpha"] = json!(config["lora_alpha"].as_f64().unwrap() * 2.0);
    place.write("start/adapter_config.json", config.to_string());
    let (code, said) = ended(place.mvpbench(&evaluate).output().unwrap());
    assert_eq!(code, Some(2), "{said}");
    let named =
        "`start/adapter_config.json` (adapter) is not what the evaluation in `out` began with";
    assert!(said.contains(named), "{said}");
    place.write("start/adapter_config.json", was);
    let (code, said) = ended(place.mvpbench(&evaluate).output().unwrap());
    assert_eq!(code, Some(0), "{said}");
}
