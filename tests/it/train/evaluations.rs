//! Evaluations during training: interruptions change nothing, the best adapter is exported, and patience ends a run.

use crate::command::{Place, lines, records, resealed};
use crate::golden::{pairs, swapped_pairs};

const ADAPTER: &str = "adapter_model.safetensors";

/// A run of 12 steps with an evaluation after every third and a checkpoint after every second.
fn place() -> Place {
    Place::golden("tiny")
        .set("lora.rank", 4)
        .set("lora.dropout", 0.1)
        .set("train.epochs", 6)
        .set("train.learning_rate", 1e-3)
        .set("train.checkpoint_every", 2)
        .set("train.scheduler", "constant")
        .set("eval.every", 3)
}

/// [`place`] that evaluates the golden pairs.
fn evaluated() -> Place {
    place().evaluate("golden", pairs())
}

/// Every file of `eval/`, and `eval.jsonl`, by name.
fn evaluations(place: &Place) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(place.path("run/eval")).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .map(|name| (name.clone(), place.bytes(&format!("run/eval/{name}"))))
        .chain([("eval.jsonl".to_owned(), place.bytes("run/eval.jsonl"))])
        .collect();
    files.sort();
    files
}

/// Mean loss of a score file by its definition, `-log sigmoid(0.1 * ((pw - pl) - (rw - rl)))`.
fn loss(place: &Place, when: &str) -> f64 {
    let scores = records(&place.path(&format!("run/eval/scores-golden-{when}.jsonl")));
    let losses = scores.iter().map(|score| {
        let of = |name: &str| score[name].as_f64().unwrap();
        let margin = of("policy_chosen_logps")
            - of("policy_rejected_logps")
            - (of("reference_chosen_logps") - of("reference_rejected_logps"));
        (1.0 + (-0.1 * margin).exp()).ln()
    });
    losses.sum::<f64>() / scores.len() as f64
}

#[test]
fn an_interrupted_run_ends_with_the_same_adapter_and_the_same_evaluations() {
    let place = || evaluated().set("eval.best_metric", "dpo_loss");
    let whole = place();
    whole.succeed(&["--config", "config.toml"]);
    let names: Vec<_> = evaluations(&whole).into_iter().map(|(name, _)| name).collect();
    for step in [3, 6, 9, 12] {
        assert!(names.contains(&format!("step-{step:06}.json")), "{names:?}");
    }
    for steps in [2, 3, 6, 9, 12] {
        let place = place();
        let log = place.path("run/train.jsonl");
        place
            .start(&["--config", "config.toml"])
            .kill_at(&format!("step {steps}"), || lines(&log) >= steps);
        place.succeed(&["--config", "config.toml"]);
        let adapter = format!("run/adapter/{ADAPTER}");
        assert_eq!(place.bytes(&adapter), whole.bytes(&adapter), "killed after {steps} steps");
        assert!(evaluations(&place) == evaluations(&whole), "killed after {steps} steps");
    }
}

#[test]
fn an_evaluation_that_was_done_is_read_and_one_of_another_adapter_is_not() {
    let place = evaluated();
    place.succeed(&["--config", "config.toml"]);
    let first = evaluations(&place);
    // Without checkpoints the run starts over. One evaluation is replaced by another adapter's, one is marked.
    std::fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    let other = place.bytes("run/eval/step-000003.json");
    place.write("run/eval/step-000006.json", other);
    let marked = String::from_utf8(place.bytes("run/eval/step-000009.json")).unwrap();
    let marked = resealed(&marked.replace("\"version\": \"", "\"version\": \"read "));
    place.write("run/eval/step-000009.json", &marked);
    place.succeed(&["--config", "config.toml"]);
    let again = evaluations(&place);
    for ((name, was), (_, is)) in first.iter().zip(&again) {
        let read = name == "step-000009.json";
        assert!(if read { is == marked.as_bytes() } else { is == was }, "{name}");
    }
}

#[test]
fn the_adapter_with_the_best_evaluation_is_exported() {
    // Every pair of the set is swapped, so each step makes it worse: the first evaluation is the best.
    let place = place()
        .set("train.learning_rate", 1e-2)
        .set("eval.best_metric", "dpo_loss")
        .evaluate("golden", "swapped.jsonl");
    place.write("swapped.jsonl", swapped_pairs());
    place.succeed(&["--config", "config.toml", "--set", "train.keep_checkpoints=1"]);
    let steps = [3, 6, 9, 12];
    let losses = steps.map(|step| loss(&place, &format!("step-{step:06}")));
    let best = (0..4).fold(0, |best, i| if losses[i] < losses[best] { i } else { best });
    assert_eq!(best, 0, "{losses:?}");
    let bytes = |folder: &str| place.bytes(&format!("run/{folder}/{ADAPTER}"));
    assert_eq!(bytes("adapter"), bytes(&format!("checkpoints/best-step-{:06}", steps[best])));
    assert_ne!(bytes("adapter"), bytes("checkpoints/step-000012"));
    assert!((loss(&place, "after") - losses[best]).abs() <= 0.0);
    for record in records(&place.path("run/eval.jsonl")) {
        let step = record["step"].as_u64().unwrap();
        let when = if step == 0 { "before".to_owned() } else { format!("step-{step:06}") };
        assert!((record["loss"].as_f64().unwrap() - loss(&place, &when)).abs() <= 1e-12);
    }
    for page in ["run/report.md", "run/adapter/README.md"] {
        let text = String::from_utf8(place.bytes(page)).unwrap();
        let exported = format!("step {} of 12, the best by dpo_loss of golden", steps[best]);
        assert!(text.contains(&exported), "{text}");
    }
}

#[test]
fn training_stops_when_patience_ends_and_a_second_command_changes_nothing() {
    let place = evaluated()
        .set("eval.best_metric", "opa")
        .set("eval.patience", 2)
        .set("eval.min_delta", 10.0);
    let output = place.run(&["--config", "config.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    // The later evaluations must beat the first, after step 3, by 10.
    assert!(said.contains("stopped after step 9: 2 evaluations without a better opa"), "{said}");
    assert_eq!(records(&place.path("run/train.jsonl")).len(), 9);
    let report = String::from_utf8(place.bytes("run/report.md")).unwrap();
    assert!(report.contains("| stopped early | after step 9 of 12: "), "{report}");
    let first = (place.bytes("run/train.jsonl"), evaluations(&place));
    place.succeed(&["--config", "config.toml"]);
    assert!(first == (place.bytes("run/train.jsonl"), evaluations(&place)));
    // A run resumed from an earlier checkpoint stops at the same step.
    std::fs::remove_dir_all(place.path("run/checkpoints/step-000009")).unwrap();
    place.succeed(&["--config", "config.toml"]);
    assert_eq!(records(&place.path("run/train.jsonl")).len(), 9);
    assert!(first.1 == evaluations(&place));
}

#[test]
fn a_skipped_step_is_a_warning_even_when_quiet() {
    let place = evaluated();
    // The gradient overflows.
    let sets = ["--set", "eval.sets=[]", "--set", "eval.every=0", "--set", "dpo.beta=1e300"];
    let output = place.run(&[&["--config", "config.toml", "-q"], &sets[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("warning: step 1 skipped, loss 0.69"), "{said}");
    assert!(!said.contains("training pairs"), "{said}");
}

#[test]
fn a_run_that_only_skips_steps_fails_and_saves_none_of_them() {
    let place = place();
    let sets =
        ["--set", "eval.every=0", "--set", "dpo.beta=1e300", "--set", "train.max_skipped_steps=3"];
    let few = ["--set", "train.checkpoint_every=100"];
    let output = place.run(&[&["--config", "config.toml"], &sets[..], &few[..]].concat());
    let heard = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{heard}");
    assert!(heard.contains("3 steps in a row had a non-finite loss or gradient"), "{heard}");
    let log = records(&place.path("run/train.jsonl"));
    assert!(log.len() == 3 && log.iter().all(|record| record["skipped"] == true), "{log:?}");
    let saved = std::fs::read_dir(place.path("run/checkpoints"));
    assert_eq!(saved.map_or(0, |saved| saved.count()), 0);
}

#[test]
fn an_evaluation_is_due_after_every_step_if_every_is_1() {
    let place = evaluated().set("eval.every", 1).set("train.max_steps", 2);
    place.succeed(&["--config", "config.toml"]);
    let steps: Vec<_> = records(&place.path("run/eval.jsonl"))
        .iter()
        .map(|record| record["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [0, 1, 2]);
}

#[test]
fn the_adapter_of_a_finished_run_is_left_untouched() {
    let place = place().set("eval.every", 0).set("train.max_steps", 1);
    place.succeed(&["--config", "config.toml"]);
    let mark = place.write("run/adapter/mark", "");
    place.succeed(&["--config", "config.toml"]);
    assert!(mark.exists(), "the folder was written again");
}

#[test]
fn figures_are_grouped_by_a_column_and_by_files_of_the_same_name() {
    let place = place().set("eval.every", 0).set("train.max_steps", 1);
    let line = |i: usize| {
        let subset = if i < 6 { "easy" } else { "hard" };
        serde_json::json!({
            "prompt": "Why?", "chosen": "So.", "rejected": format!("No {i}."), "user_id": format!("u{i}"), "subset": subset,
        })
        .to_string()
    };
    let lines = |range: std::ops::Range<usize>| range.map(|i| line(i) + "\n").collect::<String>();
    place.write("a/test.jsonl", lines(0..12));
    place.write("b/test.jsonl", lines(3..9));
    let set = "name=\"s\",files=[\"a/test.jsonl\",\"b/test.jsonl\"],group_by=[\"subset\"]";
    place.succeed(&["--config", "config.toml", "--set", &format!("eval.sets=[{{{set}}}]")]);
    let after: serde_json::Value =
        serde_json::from_slice(&place.bytes("run/eval/after.json")).unwrap();
    let set = &after["sets"][0];
    let sources: Vec<_> = set["sources"].as_object().unwrap().keys().collect();
    assert_eq!(sources, ["a/test", "b/test"]);
    let groups: Vec<_> = set["groups"].as_array().unwrap().iter().collect();
    let group = |attribute: &str, label: &str| {
        let found = groups.iter().find(|g| g["attribute"] == attribute && g["label"] == label);
        found.unwrap_or_else(|| panic!("no {attribute} {label} in {groups:?}"))["n"].clone()
    };
    assert_eq!((group("subset", "easy"), group("subset", "hard")), (9.into(), 9.into()));
    assert_eq!((group("file", "a/test"), group("file", "b/test")), (12.into(), 6.into()));
}

#[test]
fn an_update_that_breaks_the_policy_is_blamed_and_not_a_pair() {
    let place = evaluated();
    for set in ["eval.every=1", "eval.every=0"] {
        let sets = [
            "--set",
            "train.learning_rate=1e30",
            "--set",
            "train.scheduler=constant",
            "--set",
            set,
        ];
        let parts = [
            "step 1, with a learning rate of 1e30 and a gradient norm of",
            "hint: lower `train.learning_rate`",
        ];
        place.refuse(&[&["--config", "config.toml", "--output", set], &sets[..]].concat(), &parts);
    }
}

#[test]
fn a_run_that_learns_nothing_says_so_before_and_in_its_report() {
    let place = evaluated();
    let run = |sets: &[&str]| {
        let output = place.run(&[&["--config", "config.toml"], sets].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let said = run(&["--set", "train.learning_rate=0", "--output", "zero"]);
    assert!(said.contains("warning: `train.learning_rate` is 0: the run learns nothing"), "{said}");
    let page = String::from_utf8(place.bytes("zero/report.md")).unwrap();
    assert!(page.contains("so nothing was learned"), "{page}");
    let said = run(&["--set", "train.warmup_steps=500", "--output", "warm"]);
    assert!(
        said.contains("warning: the warm-up of 500 steps") && said.contains("never reaches"),
        "{said}"
    );
    let page = String::from_utf8(place.bytes("warm/report.md")).unwrap();
    assert!(page.contains("the warm-up of 500 steps") && !page.contains("nothing was learned"));
}
