//! SPMR in a whole run: answers and cosines before and after training, a resume after a kill, and counts of skipped
//! pairs.

use serde_json::{Value, json};

use crate::command::{Place, lines, records, resealed};
use crate::eval::encoder::folder as encoder;
use crate::golden::{pairs, path};

/// A run on the golden pairs that measures SPMR with the tiny encoder.
pub(crate) fn place() -> Place {
    Place::golden("tiny")
        .set("train.epochs", 1)
        .set("train.learning_rate", 1e-2)
        .evaluate_by("golden", pairs(), &["opa", "spmr"])
        .set("eval.spmr.embedder", encoder().to_str().unwrap())
        .set("eval.spmr.max_new_tokens", 12)
        .set("eval.spmr.threshold", 0.5)
}

fn figures(place: &Place, when: &str) -> Value {
    let evaluation: Value =
        serde_json::from_slice(&place.bytes(&format!("run/eval/{when}.json"))).unwrap();
    evaluation["sets"][0]["spmr"].clone()
}

fn file(when: &str) -> String {
    format!("run/eval/generations-golden-{when}.jsonl")
}

#[test]
fn a_run_measures_spmr_before_and_after_and_its_files_agree() {
    let place = place();
    let printed = place.succeed(&["--config", "config.toml"]);
    assert!(printed.contains("golden SPMR"), "{printed}");
    for when in ["before", "after"] {
        let lines = records(&place.path(&file(when)));
        assert_eq!(lines.len(), 13);
        let spmr = figures(&place, when);
        for (key, cosine) in [("answer_alone", "cosine"), ("with_prompt", "cosine_with_prompt")] {
            let cosines: Vec<f64> =
                lines.iter().map(|line| line[cosine].as_f64().unwrap()).collect();
            let above = cosines.iter().filter(|cosine| **cosine > 0.5).count();
            let figure = &spmr[key]["spmr"];
            assert_eq!(figure["n"], 13);
            assert!((figure["value"].as_f64().unwrap() - above as f64 / 13.0).abs() <= 1e-12);
            let mean = cosines.iter().sum::<f64>() / 13.0;
            assert!((spmr[key]["cosine_mean"]["value"].as_f64().unwrap() - mean).abs() <= 1e-12);
            let counts = spmr[key]["histogram"]["counts"].as_array().unwrap();
            assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 13);
        }
        let pairs = records(&path("pairs.jsonl"));
        for (line, pair) in lines.iter().zip(&pairs) {
            assert_eq!(line["reference"], pair["chosen"]);
            assert!(line["generated_tokens"].as_u64().unwrap() <= 12);
        }
    }
    assert!(figures(&place, "before")["change"].is_null());
    assert_eq!(figures(&place, "after")["change"]["answer_alone"]["n"], 13);
    assert_ne!(place.bytes(&file("before")), place.bytes(&file("after")));
    for page in ["run/report.md", "run/adapter/README.md"] {
        let page = String::from_utf8(place.bytes(page)).unwrap();
        assert!(page.contains("golden SPMR") && page.contains("cosine above 0.5 under"), "{page}");
    }
}

#[test]
fn answers_are_transformers_greedy_ones() {
    let place = place();
    let golden = crate::golden::json("cases/tiny/generate.json");
    let golden = golden["base"].as_array().unwrap();
    let pairs = golden.iter().map(|case| {
        json!({"prompt": case["prompt"], "chosen": "yes", "rejected": "no"}).to_string()
    });
    place.write("pairs.jsonl", pairs.collect::<Vec<_>>().join("\n"));
    let sets = "eval.sets=[{name=\"golden\",files=[\"pairs.jsonl\"],metrics=[\"opa\",\"spmr\"]}]";
    place.succeed(&[
        "--config",
        "config.toml",
        "--set",
        sets,
        "--set",
        "eval.spmr.max_new_tokens=32",
    ]);
    let lines = records(&place.path(&file("before")));
    assert_eq!(lines.len(), golden.len());
    for (line, case) in lines.iter().zip(golden) {
        let single = &case["single"];
        assert_eq!((&line["prompt"], &line["generation"]), (&case["prompt"], &single["text"]));
        assert_eq!(line["generated_tokens"], single["new_ids"].as_array().unwrap().len());
        assert_eq!(line["ended"], single["stopped_at_eos"]);
    }
}

#[test]
fn the_same_command_changes_nothing_and_restores_lost_files() {
    let place = place();
    place.succeed(&["--config", "config.toml"]);
    let names = [file("before"), file("after"), "run/eval/after.json".to_owned()];
    let whole: Vec<_> = names.iter().map(|name| place.bytes(name)).collect();
    let bytes = || names.iter().map(|name| place.bytes(name)).collect::<Vec<_>>();
    place.succeed(&["--config", "config.toml"]);
    assert_eq!(bytes(), whole);
    for lost in [
        &["run/eval/after.json"][..],
        &["run/eval/before.json", "run/eval/after.json"],
        &[&names[1], &names[2]],
    ] {
        lost.iter().for_each(|name| std::fs::remove_file(place.path(name)).unwrap());
        place.succeed(&["--config", "config.toml"]);
        assert_eq!(bytes(), whole, "{lost:?}");
    }
}

#[test]
fn a_pair_with_a_blank_preferred_answer_is_counted_and_skipped() {
    let place = place();
    let pair = |prompt: &str, chosen: &str| {
        json!({"prompt": prompt, "chosen": chosen, "rejected": "no"}).to_string()
    };
    let pairs = [pair("one", "yes"), pair("two", " \n"), pair("three", "so"), pair("four", "")];
    place.write("pairs.jsonl", pairs.join("\n"));
    let sets = "eval.sets=[{name=\"golden\",files=[\"pairs.jsonl\"],metrics=[\"opa\",\"spmr\"]}]";
    place.succeed(&["--config", "config.toml", "--set", sets]);
    let spmr = figures(&place, "after");
    assert_eq!(
        (&spmr["answer_alone"]["spmr"]["n"], &spmr["blank_references"]),
        (&json!(2), &json!(2))
    );
    let page = String::from_utf8(place.bytes("run/report.md")).unwrap();
    assert!(
        page.contains("2 pairs were left out because their preferred answer is blank"),
        "{page}"
    );

    place.write("pairs.jsonl", pair("two", ""));
    let output = place.run(&["--config", "config.toml", "--set", sets, "--output", "other"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("evaluation set `golden`") && said.contains("no prompt was answered"),
        "{said}"
    );
}

#[test]
fn max_prompts_spreads_over_the_set_and_counts_the_rest() {
    let place = place();
    place.succeed(&["--config", "config.toml", "--set", "eval.spmr.max_prompts=4"]);
    let ids = |value: &[Value]| value.iter().map(|line| line["id"].clone()).collect::<Vec<_>>();
    let (asked, all) = (records(&place.path(&file("after"))), records(&path("pairs.jsonl")));
    assert_eq!(ids(&asked), [0, 3, 6, 9].map(|i| all[i]["id"].clone()));
    assert_eq!(figures(&place, "after")["unasked"], 9);
}

#[test]
fn without_an_encoder_spmr_is_skipped_with_a_note() {
    let place = place();
    let output = place.run(&["--config", "config.toml", "--set", "eval.spmr.embedder="]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(
            "SPMR of `golden` is left out: `eval.spmr.embedder` names no sentence encoder"
        ),
        "{said}"
    );
    assert!(figures(&place, "after").is_null());
    assert!(!place.path(&file("before")).exists());
}

#[test]
fn a_missing_or_broken_encoder_is_refused_before_anything_is_written() {
    let place = place();
    place.write("encoder/config.json", "{}");
    for (embedder, parts) in [
        ("/nowhere/minilm", &["sentence encoder `/nowhere/minilm` does not exist", "hub id"][..]),
        ("encoder", &["`eval.spmr.embedder`", "encoder/modules.json"]),
    ] {
        let output = place.run(&[
            "--config",
            "config.toml",
            "--set",
            &format!("eval.spmr.embedder={embedder}"),
        ]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        parts.iter().for_each(|part| assert!(said.contains(part), "expected `{part}` in: {said}"));
        assert!(!place.path("run").exists());
    }
}

#[test]
fn a_run_killed_while_it_answers_resumes_with_the_answers_it_has() {
    let place = place();
    let pairs: Vec<_> = records(&path("pairs.jsonl"));
    let many: Vec<String> = (0..150)
        .flat_map(|i| {
            pairs.iter().map(move |pair| {
                let mut pair = pair.clone();
                pair["id"] = format!("{i}-{}", pair["id"]).into();
                pair["prompt"] = format!("{i} {}", pair["prompt"].as_str().unwrap()).into();
                pair.to_string()
            })
        })
        .collect();
    place.write("many.jsonl", many.join("\n"));
    let sets = "eval.sets=[{name=\"golden\",files=[\"many.jsonl\"],metrics=[\"opa\",\"spmr\"]}]";
    let arguments = |output| {
        [
            "--config",
            "config.toml",
            "--set",
            sets,
            "--set",
            "eval.spmr.max_new_tokens=48",
            "--output",
            output,
        ]
    };
    place.succeed(&arguments("whole"));

    let journal = place.path("run/eval/.generations-golden-before.journal");
    place.start(&arguments("run")).kill_at("20 lines", || lines(&journal) >= 20);
    let done = lines(&journal) - 1;
    assert!(done < many.len());
    let output = place.run(&arguments("run"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("of 1950 prompts are done"), "{said}");
    for file in [
        "before.json",
        "after.json",
        "generations-golden-before.jsonl",
        "generations-golden-after.jsonl",
    ] {
        let of = |run: &str| String::from_utf8(place.bytes(&format!("{run}/eval/{file}"))).unwrap();
        let expected = of("whole").replace("\"whole/", "\"run/"); // the adapter's folder
        assert_eq!(of("run"), resealed(&expected), "{file}");
    }
    assert!(!journal.exists());
}
