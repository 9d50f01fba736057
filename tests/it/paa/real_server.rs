//! Both stages against a real server: llama.cpp's, with the model that is compiled into the binary.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::command::{Place, install, records};
use crate::require;

/// The server, until the test ends.
struct Server {
    program: Child,
    base: String,
}

impl Server {
    fn start(packages: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut program = Command::new("python3")
            .arg(root.join("scripts/serve_llama.py"))
            .arg(root.join("configs/tiny/model"))
            .env("PYTHONPATH", packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut base = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut base).unwrap();
        if base.is_empty() {
            let mut said = String::new();
            program.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("the server did not start: {said}");
        }
        // Nobody reads what it says; a full pipe would stop it.
        let mut stderr = program.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self { program, base: base.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.program.stdin.take());
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn a_real_servers_answers_are_our_models_and_its_scores_follow_the_schema() {
    if !require::registry() {
        return;
    }
    let place = Place::new();
    let packages = place.path("packages");
    install(
        &["xllamacpp==2026.10.11549", "gguf==0.19.0", "safetensors==0.8.0", "numpy==2.4.6"],
        &packages,
    );
    let server = Server::start(&packages);

    let sample = std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny/data/MVP_test.json"),
    );
    let sample: Vec<Value> = serde_json::from_slice(&sample.unwrap()).unwrap();
    place.write("test.json", serde_json::to_vec(&sample[..8]).unwrap());
    let protocol = include_str!("../../../configs/paa-polyjudge.toml")
        .replacen("temperature = 0.7", "temperature = 0.0", 1)
        .replacen("max_tokens = 512", "max_tokens = 24", 1)
        .replacen("max_tokens = 512", "max_tokens = 160", 1)
        .replace("calibrate = 200", "calibrate = 2");
    place.write("short.toml", protocol);
    let generate = |who: &[&str], output: &str| {
        let common =
            ["generate", "--data", "test.json", "--config", "short.toml", "--output", output];
        super::run(&place, &[&common[..], who].concat(), 0);
        records(&place.path(output).join("answers.jsonl"))
    };
    let theirs = generate(&["--endpoint", &server.base, "--chat-model", "tiny"], "server");
    let ours = generate(&["--model", "embedded:tiny/model"], "local");
    let same = theirs.iter().zip(&ours).filter(|(a, b)| a["answer"] == b["answer"]).count();
    // Both compute in f32, in another order: two tokens may be about equally probable.
    assert!(same >= 7, "{theirs:?}\n{ours:?}");
    assert!(theirs.iter().all(|line| line["finish"] == "length" || line["finish"] == "stop"));

    let answers = ["--answers", "server", "local"];
    let judge = ["judge", "--config", "short.toml", "--output", "paa", "--endpoint", &server.base];
    let judged =
        place.mvpbench(&[&judge[..], &["--chat-model", "tiny"], &answers].concat()).output();
    let paa: Value = serde_json::from_slice(&place.bytes("paa/paa.json")).unwrap();
    let [model, _] = &paa["models"].as_array().unwrap()[..] else { panic!("{paa}") };
    let of = |key: &str| model[key].as_u64().unwrap();
    assert_eq!(model["paa"]["n"].as_u64().unwrap_or(0) + of("unparsed"), 8, "{model}");
    assert_eq!(of("failed"), 0);
    assert!(!paa["judges"][0]["served"].as_array().unwrap().is_empty());
    // So small a model goes on with its reason until it is cut; up to there the schema has held it.
    let mut verdicts = Vec::new();
    for name in ["server", "local"] {
        verdicts.extend(records(&place.path("paa").join(format!("verdicts-{name}.jsonl"))));
    }
    for verdict in &verdicts {
        let Some((_, reply)) = verdict["reason"].as_str().unwrap().split_once("limit of tokens: ")
        else {
            assert!(verdict["scores"].is_object(), "{verdict}");
            continue;
        };
        let inside = reply.strip_prefix('{').unwrap_or_else(|| panic!("{verdict}")).trim_start();
        // The first key, as far as the model came between blanks.
        let key = "\"score_1\"";
        assert!(inside.starts_with(key) || key.starts_with(inside), "{verdict}");
    }
    let is_any_read = verdicts.iter().any(|verdict| verdict["verdict"] != json!("unparsed"));
    assert_eq!(judged.unwrap().status.code(), Some(i32::from(!is_any_read)));
}
