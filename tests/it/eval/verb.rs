//! `mvpbench eval`: a run's figures without training, results for other tools, and an error for every wrong argument.

use std::process::Output;

use serde_json::{Value, json};

use crate::command::Place;
use crate::eval::encoder::{copy, folder as encoder};
use crate::golden::path;

fn value(place: &Place, file: &str) -> Value {
    serde_json::from_slice(&place.bytes(file)).unwrap()
}

/// Runs `mvpbench eval` of the tiny model on the golden pairs, with the arguments `more`.
fn eval(place: &Place, more: &[&str]) -> Output {
    let (model, pairs) = (path("models/tiny"), path("pairs.jsonl"));
    let data = format!("golden={}", pairs.display());
    let base = ["eval", "--model", model.to_str().unwrap(), "--data", &data, "--output", "out"];
    place.mvpbench(&[&base[..], more].concat()).output().unwrap()
}

#[track_caller]
fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in [&["error: "], parts].concat() {
        assert!(said.contains(part), "expected `{part}` in: {said}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn an_adapter_gets_the_figures_of_the_run_that_made_it() {
    let place = crate::eval::spmr::place();
    place.succeed(&["--config", "config.toml"]);
    let embedder = encoder();
    let printed = succeed(&eval(
        &place,
        &[
            "--adapter",
            "run/adapter",
            "--metrics",
            "opa,spmr",
            "--embedder",
            embedder.to_str().unwrap(),
            "--set",
            "eval.spmr.max_new_tokens=12",
            "--set",
            "eval.spmr.threshold=0.5",
        ],
    ));
    assert!(
        printed.contains("this run: OPA, chance 50 %") && printed.contains("golden SPMR"),
        "{printed}"
    );
    for file in [
        "scores-golden-before",
        "scores-golden-after",
        "generations-golden-before",
        "generations-golden-after",
    ] {
        assert_eq!(
            place.bytes(&format!("out/eval/{file}.jsonl")),
            place.bytes(&format!("run/eval/{file}.jsonl")),
            "{file}"
        );
    }
    for when in ["before", "after"] {
        let (ours, runs) = (
            value(&place, &format!("out/eval/{when}.json")),
            value(&place, &format!("run/eval/{when}.json")),
        );
        assert_eq!(ours["sets"], runs["sets"], "{when}");
    }
    assert_eq!(value(&place, "out/eval/after.json")["adapter"], "run/adapter");

    // The report exists, has no training section, and can be written again without the model.
    for page in ["out/report.md", "out/report.html"] {
        let first = String::from_utf8(place.bytes(page)).unwrap();
        assert!(first.contains("golden") && first.contains("SPMR"), "{first}");
        assert!(!first.contains("optimizer steps") && !first.contains("training step"), "{first}");
        std::fs::remove_file(place.path(page)).unwrap();
        let output = place.mvpbench(&["report", "out"]).output().unwrap();
        succeed(&output);
        assert_eq!(String::from_utf8(place.bytes(page)).unwrap(), first);
    }
}

#[test]
fn results_are_in_the_form_of_lm_evaluation_harness() {
    let place = Place::new();
    let pair = |chosen: &str| {
        json!({"prompt": "p", "chosen": chosen, "rejected": "no", "user_id": chosen}).to_string()
    };
    place.write("a.jsonl", [pair("yes"), pair("maybe")].join("\n"));
    place.write("b.jsonl", pair("so"));
    succeed(&eval(&place, &["--data", "two=a.jsonl,b.jsonl"]));
    let (results, before) =
        (value(&place, "out/results.json"), value(&place, "out/eval/before.json"));
    let figure = |set: usize, metric: &str| before["sets"][set]["overall"][metric].clone();
    for (i, task) in ["golden", "two"].into_iter().enumerate() {
        let entry = &results["results"][task];
        assert_eq!(entry["alias"], task);
        assert!(entry["opa,none"].is_null(), "an untuned model ties with itself");
        for metric in [
            "preference_accuracy",
            "preference_accuracy_normalized",
            "opa_margin_mean",
            "reward_margin_mean",
            "dpo_loss",
        ] {
            assert_eq!(
                entry[format!("{metric},none")],
                figure(i, metric)["value"],
                "{task} {metric}"
            );
            let (low, high) = (
                figure(i, metric)["low"].as_f64().unwrap(),
                figure(i, metric)["high"].as_f64().unwrap(),
            );
            let error = entry[format!("{metric}_stderr,none")].as_f64().unwrap();
            assert!((error - (high - low) / 3.919_928).abs() <= 1e-6, "{task} {metric}");
            assert_eq!(results["higher_is_better"][task][metric], metric != "dpo_loss");
        }
        assert_eq!(results["configs"][task]["task"], task);
        assert_eq!(results["versions"][task], 1);
        assert_eq!(results["n-shot"][task], 0);
    }
    assert_eq!(results["n-samples"]["golden"], json!({"original": 13, "effective": 13}));
    assert_eq!(results["group_subtasks"], json!({"golden": [], "two": ["two_a", "two_b"]}));
    assert_eq!(results["results"]["two_b"]["preference_accuracy_stderr,none"], "N/A"); // one user
    assert_eq!(results["n-samples"]["two_a"]["effective"], 2);
    assert_eq!(results["config"]["bootstrap_iters"], 1000);
    assert!(results["config"]["model_args"].as_str().unwrap().starts_with("pretrained="));
    for key in
        ["git_hash", "date", "model_name", "model_name_sanitized", "total_evaluation_time_seconds"]
    {
        assert!(!results[key].is_null(), "{key}");
    }
}

#[test]
fn the_same_command_reads_what_is_there_and_another_is_refused() {
    let place = Place::new();
    let first = succeed(&eval(&place, &[]));
    let scores = "out/eval/scores-golden-before.jsonl";
    let written = std::fs::metadata(place.path(scores)).unwrap().modified().unwrap();
    assert_eq!(succeed(&eval(&place, &[])), first);
    assert_eq!(std::fs::metadata(place.path(scores)).unwrap().modified().unwrap(), written);
    for (more, part) in [
        (&["--set", "data.max_length=40"][..], "`data.max_length` is `40`, was `1024`"),
        (&["--set", "eval.score_eos=false"], "`eval.score_eos` is `false`, was `true`"),
        (&["--set", "eval.tokenization=prefix"], "`eval.tokenization` is `\"prefix\"`"),
        (&["--data", "more=x.jsonl"], "eval.sets[1]"),
        (&["--metrics", "spmr", "--embedder", "e"], "eval.sets[0].metrics"),
    ] {
        assert_refused(&eval(&place, more), &["holds another evaluation", part, "--output"]);
    }
    // The same file names with other content.
    std::fs::remove_dir_all(place.path("out")).unwrap();
    let record =
        |chosen: &str| json!({"prompt": "p", "chosen": chosen, "rejected": "no"}).to_string();
    place.write("x.jsonl", record("a"));
    succeed(&eval(&place, &["--data", "more=x.jsonl"]));
    place.write("x.jsonl", record("b"));
    assert_refused(
        &eval(&place, &["--data", "more=x.jsonl"]),
        &["is not what the evaluation in `out` began with"],
    );
}

#[test]
fn a_folder_with_anything_else_in_it_is_left_alone() {
    let place = Place::new();
    place.write("out/config.toml", "");
    assert_refused(
        &eval(&place, &[]),
        &["`out` holds `config.toml` and is not the folder of an evaluation"],
    );
    assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 1);
}

#[test]
fn an_adapter_that_is_not_there_or_of_another_shape_is_refused() {
    let place = Place::new();
    assert_refused(
        &eval(&place, &["--adapter", "nowhere"]),
        &["nowhere/adapter_config.json", "hint: "],
    );
    let gqa = path("adapters/tiny-gqa-nonzero");
    assert_refused(
        &eval(&place, &["--adapter", gqa.to_str().unwrap()]),
        &["has shape [32, 16], expected [64, 16]", "another shape"],
    );
    assert!(!place.path("out").exists());
    // Any rank is accepted: the adapter's own configuration has it.
    let any = path("adapters/tiny-alllinear-nonzero");
    succeed(&eval(&place, &["--adapter", any.to_str().unwrap()]));
}

#[test]
fn data_that_cannot_be_scored_is_refused_by_the_file() {
    let place = Place::new();
    place.write("empty.jsonl", "");
    place.write("array.json", "[]");
    place.write("bytes.jsonl", [b'{', b'"', 0xff, b'"', b'}']);
    place.write("half.jsonl", "{\"prompt\": \"a\", \"chosen\": \"b\"}\n");
    for (data, parts) in [
        ("x=empty.jsonl", &["empty.jsonl"][..]),
        ("x=array.json", &["array.json"]),
        ("x=bytes.jsonl", &["bytes.jsonl:1", "UTF-8"]),
        ("x=half.jsonl", &["half.jsonl:1", "rejected"]),
        ("x=nowhere.jsonl", &["nowhere.jsonl"]),
        (
            "nowhere.jsonl",
            &["`--data nowhere.jsonl`", "expected NAME=FILES", "--data MVP_test=nowhere.jsonl"],
        ),
        ("x=", &["--data golden=", "`eval.sets[1].files[0]` must not be empty"]),
        ("../x=half.jsonl", &["`eval.sets[1].name` must be", "`\"../x\"`"]),
        ("GOLDEN=half.jsonl", &["another name than `eval.sets[0].name`"]),
    ] {
        assert_refused(&eval(&place, &["--data", data]), parts);
    }
    assert!(!place.path("out").exists());
}

#[test]
fn options_that_nothing_would_read_are_refused() {
    let place = copy();
    std::fs::remove_file(place.path("encoder/1_Pooling/config.json")).unwrap();
    for (more, parts) in [
        (
            &["--metrics", "spmr"][..],
            &["`--metrics spmr` needs a sentence encoder", "--embedder"][..],
        ),
        (
            &["--embedder", "encoder"],
            &["expected `--metrics spmr` with `--embedder`", "--metrics opa,spmr"],
        ),
        (
            &["--metrics", "opa,spmr", "--embedder", "encoder"],
            &["encoder/1_Pooling/config.json", "expected the pooling mode"],
        ),
        (
            &["--set", "train.epochs=3"],
            &["`--set train.epochs=3`: an evaluation does not read `train.epochs`"],
        ),
        (&["--set", "lora.rnak=3"], &["unknown key `lora.rnak`", "did you mean `lora.rank`?"]),
        (&["--set", "model.path=x"], &["`--set model.path=...` and `--model", "set the same key"]),
        (&["--set", "data.max_length=-1"], &["`data.max_length` must be at least 0, got `-1`"]),
        (&["--device", "cuda"], &["`--device cuda`"]),
    ] {
        assert_refused(&eval(&place, more), parts);
    }
    assert!(!place.path("out").exists());
}

#[test]
fn two_evaluations_without_an_output_have_two_folders_and_the_same_command_resumes_its_own() {
    let place = Place::new();
    let model = path("models/tiny");
    let data = format!("golden={}", path("pairs.jsonl").display());
    let run = |more: &[&str]| {
        let base = ["eval", "--model", model.to_str().unwrap(), "--data", &data];
        succeed(&place.mvpbench(&[&base[..], more].concat()).output().unwrap());
        let mut folders: Vec<_> = std::fs::read_dir(place.path("runs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        folders.sort();
        folders
    };
    let first = run(&[]);
    assert!(first.len() == 1 && first[0].starts_with("eval-tiny-golden-"), "{first:?}");
    assert_eq!(run(&[]), first);
    let both = run(&["--set", "data.max_length=40"]);
    assert!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
    let adapter = path("adapters/tiny-nonzero");
    let all = run(&["--adapter", adapter.to_str().unwrap()]);
    assert!(all.iter().any(|name| name.starts_with("eval-tiny-nonzero-golden-")), "{all:?}");
}
