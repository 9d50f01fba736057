//! Files that the program wrote itself and reads again: checkpoints, scores, answers, figures, journals, logs.

use candle_core::Device;
use mvpbench::config::{LoraSection, Modules, Projection};
use mvpbench::disk::journal::{Journal, Key};
use mvpbench::disk::{json_lines, seal};
use mvpbench::metrics::Evaluation;
use mvpbench::metrics::score::read_scores;
use mvpbench::metrics::spmr::read_answers;
use mvpbench::model::generation::Generation;
use mvpbench::model::shape::Shape;
use mvpbench::run_folder::eval_log::EvalLog;
use mvpbench::run_folder::train_log::Log;
use mvpbench::train::checkpoint;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{config, damaged, damages, edited, edits, is_tame, text};
use crate::golden;
use crate::memory;
use crate::running::Running;
use crate::train::kills;

/// A line with the digest of what it holds; without one if it is no object.
fn sealed(line: &Value) -> Vec<u8> {
    json_lines::line(line).unwrap_or_else(|_| format!("{line}\n").into_bytes())
}

/// The lines of a JSONL file as one array, edited, each line with the digest of what it holds now.
fn edited_lines(bytes: &[u8], edits: &[super::Edit]) -> Vec<u8> {
    let lines: Vec<Value> = bytes
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    match edited(&Value::from(lines), edits) {
        Value::Array(lines) => lines.iter().flat_map(sealed).collect(),
        other => other.to_string().into_bytes(),
    }
}

#[test]
fn what_a_run_left_is_taken_or_refused_by_name_whatever_became_of_it() {
    let place = kills::place();
    place.succeed(&["--config", "config.toml", "-q"]);
    let model = golden::json("models/tiny-gqa/config.json").to_string();
    let model = Shape::parse(&model, "config.json").unwrap();
    let lora = LoraSection {
        rank: 4,
        target_modules: Modules::of([Projection::QProj, Projection::VProj]),
        ..LoraSection::default()
    };
    let saved = "run/checkpoints/step-000008";
    let mut files: Vec<String> = [
        "run/train.jsonl",
        "run/eval.jsonl",
        "run/eval/before.json",
        "run/eval/scores-a-after.jsonl",
    ]
    .map(str::to_owned)
    .to_vec();
    files.push("run/eval/generations-a-after.jsonl".into());
    for entry in std::fs::read_dir(place.path(saved)).unwrap() {
        files.push(format!("{saved}/{}", entry.unwrap().file_name().to_string_lossy()));
    }
    let whole: Vec<Vec<u8>> = files.iter().map(|name| place.bytes(name)).collect();
    let cases = (any::<prop::sample::Index>(), edits(), damages(), any::<bool>());
    let outcome = TestRunner::new(config(300)).run(&cases, |(which, edits, damages, edit)| {
        let which = which.index(files.len());
        let (name, file) = (files[which].as_str(), place.path(&files[which]));
        let bytes = match (edit, serde_json::from_slice::<Value>(&whole[which])) {
            (true, Ok(json)) if name.ends_with("before.json") => {
                let json = edited(&json, &edits);
                seal::indented(&json).unwrap_or_else(|_| json.to_string().into_bytes())
            }
            (true, Ok(json)) => edited(&json, &edits).to_string().into_bytes(),
            (true, Err(_)) if name.ends_with(".jsonl") => edited_lines(&whole[which], &edits),
            _ => damaged(&whole[which], &damages),
        };
        place.write(name, &bytes);
        let length = bytes.len();
        let outcome = match name {
            "run/train.jsonl" => {
                // Broken lines of a log are left out, and it is never refused.
                let (log, _) = memory::peak_of(|| Log::open(&file, 8));
                prop_assert!(log.is_ok());
                Ok(())
            }
            "run/eval.jsonl" => {
                let log = EvalLog::open(&file, 8);
                prop_assert!(log.is_ok());
                Ok(())
            }
            "run/eval/before.json" => is_tame(name, length, || Evaluation::read(&file)),
            "run/eval/scores-a-after.jsonl" => is_tame(name, length, || read_scores(&file)),
            "run/eval/generations-a-after.jsonl" => is_tame(name, length, || read_answers(&file)),
            _ => {
                let load = || checkpoint::load(&place.path(saved), &model, &lora, &Device::Cpu);
                let loaded = load().map(|_| ());
                // A changed manifest may still mean the same.
                prop_assert!(
                    bytes == whole[which]
                        || loaded.is_err()
                        || name.ends_with("manifest.json")
                        || name.ends_with("adapter_config.json")
                );
                Ok(())
            }
        };
        place.write(name, &whole[which]);
        outcome
    });
    outcome.unwrap();
}

#[test]
fn a_journal_of_anything_is_taken_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.journal");
    let key = Key::of(vec![("the model", "k".to_owned())]);
    let head = json!({"key": key.digest(), "prompts": 3, "inputs": {"the model": "k"}});
    let lines = [head, json!({"row": 2, "ids": [5, 6], "stop": "eos"})];
    let whole: Vec<u8> = lines.iter().flat_map(sealed).collect();
    let whole = &*whole;
    let cases = prop_oneof![
        damages().prop_map(|damages| damaged(whole, &damages)),
        edits().prop_map(|edits| edited_lines(whole, &edits)),
        text().prop_map(String::into_bytes),
    ];
    let outcome = TestRunner::new(config(300)).run(&cases, |bytes| {
        std::fs::write(&path, &bytes).unwrap();
        is_tame("hostile.journal", bytes.len(), || {
            Journal::<Generation>::open(&path, &key, 3).map(|_| ())
        })
    });
    outcome.unwrap();
}

/// A pipe without a writer would be waited for without an end.
#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_file_of_the_run_is_never_waited_for() {
    let place = kills::place();
    place.succeed(&["--config", "config.toml", "-q"]);
    let train = &["train", "--config", "config.toml", "-q"][..];
    let report = &["report", "run"][..];
    let saved = "run/checkpoints/step-000008";
    for (file, commands, is_refused) in [
        ("run/config.toml", &[train, report][..], true),
        ("run/train.jsonl", &[train, report], true),
        ("run/eval.jsonl", &[train, report], true),
        ("run/wall_time.json", &[train, report], true),
        ("run/eval/before.json", &[train, report], true),
        ("run/eval/scores-a-after.jsonl", &[report], true),
        ("run/summary.json", &[train, report], false),
        (&*format!("{saved}/state.json"), &[train], true),
        (&*format!("{saved}/adapter_model.safetensors"), &[train], true),
        ("run/run.lock", &[train], false),
        ("run/adapter/adapter_config.json", &[train], false),
    ] {
        let path = place.path(file);
        let whole = place.path("whole");
        std::fs::rename(&path, &whole).unwrap();
        for arguments in commands {
            let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
            assert!(made.success(), "{file}");
            let mut command = place.mvpbench(arguments);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            let (said, code) = Running::start(&mut command).end();
            assert!(code.is_some_and(|code| code < 3), "{file}, {arguments:?}: {code:?} {said}");
            // Training computes figures again that it cannot read.
            if is_refused && !(file.ends_with("before.json") && code == Some(0)) {
                assert_eq!(code, Some(2), "{file}, {arguments:?}: {said}");
                let name = file.rsplit('/').next().unwrap();
                assert!(said.contains(name) && said.contains("found a pipe"), "{file}: {said}");
            }
            std::fs::remove_file(&path).unwrap();
        }
        std::fs::rename(&whole, &path).unwrap();
    }
}
