//! Damaged files of a run: each is repaired, computed again with a warning, or refused by name; none is believed, and none
//! dropped without a word.

use serde_json::Value;

use crate::command::{Place, lines, records};
use crate::golden::{pairs, path};

const COMMAND: [&str; 2] = ["--config", "config.toml"];
const ADAPTER: &str = "run/adapter/adapter_model.safetensors";

/// A run of 12 steps with an evaluation after every third and a checkpoint after every second. The pairs of the set are
/// swapped, so the first evaluation is the best.
fn place() -> Place {
    let place = Place::golden("tiny")
        .set("lora.rank", 4)
        .set("train.epochs", 6)
        .set("train.learning_rate", 1e-2)
        .set("train.scheduler", "constant")
        .set("train.checkpoint_every", 2)
        .set("train.keep_checkpoints", 2)
        .set("eval.every", 3)
        .set("eval.best_metric", "dpo_loss")
        .evaluate("golden", "swapped.jsonl");
    let swapped = records(&path("pairs.jsonl")).into_iter().map(|mut pair| {
        let (chosen, rejected) = (pair["chosen"].take(), pair["rejected"].take());
        (pair["chosen"], pair["rejected"]) = (rejected, chosen);
        format!("{pair}\n")
    });
    place.write("swapped.jsonl", swapped.collect::<String>());
    place
}

/// [`place`], finished.
fn finished() -> Place {
    let place = place();
    place.succeed(&COMMAND);
    place
}

/// Runs the command, which must succeed; returns what it printed on standard error.
#[track_caller]
fn said(place: &Place) -> String {
    let output = place.run(&COMMAND);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// Replaces the first `from` after `after` in a file.
#[track_caller]
fn change(place: &Place, file: &str, after: &str, from: &str, to: &str) {
    let text = String::from_utf8(place.bytes(file)).unwrap();
    let (head, tail) = text.split_at(text.find(after).unwrap_or_else(|| panic!("no {after}")));
    let changed = format!("{head}{}", tail.replacen(from, to, 1));
    assert_ne!(changed, text, "{file}");
    place.write(file, changed);
}

fn remove(place: &Place, names: &[&str]) {
    for name in names {
        let path = place.path(name);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_wrong_bit_in_the_log_of_evaluations_exports_no_other_adapter() {
    let place = finished();
    let (adapter, log) = (place.bytes(ADAPTER), place.bytes("run/eval.jsonl"));
    let best = "run/checkpoints/best-step-000003";
    assert_eq!(place.bytes(&format!("{best}/adapter_model.safetensors")), adapter);
    let stopped = || remove(&place, &["run/checkpoints/step-000012", "run/adapter"]);

    // The figures and scores of the step are whole: the record is restored from them.
    stopped();
    change(&place, "run/eval.jsonl", "\"step\":3", "\"epoch\"", "\"epoci\"");
    let told = said(&place);
    assert!(
        told.contains(
            "eval.jsonl`: line 2 did not match the digest; the evaluation after step 3 is restored"
        ),
        "{told}"
    );
    assert!(place.bytes(ADAPTER) == adapter && place.bytes("run/eval.jsonl") == log);

    // They are not, but the checkpoint is: the evaluation is computed again.
    stopped();
    change(&place, "run/eval.jsonl", "\"step\":3", "\"loss\":", "\"loss\":9");
    change(
        &place,
        "run/eval/scores-golden-step-000003.jsonl",
        "",
        "policy_chosen_logps\":-",
        "policy_chosen_logps\":-1",
    );
    let told = said(&place);
    assert!(told.contains("`step-000003` is computed again"), "{told}");
    assert!(place.bytes(ADAPTER) == adapter && place.bytes("run/eval.jsonl") == log);

    // Nothing is left of it: refused by name, and no checkpoint is removed.
    stopped();
    remove(&place, &["run/eval/step-000003.json", best]);
    change(&place, "run/eval.jsonl", "\"step\":3", "\"loss\":", "\"loss\":9");
    place.refuse(&COMMAND, &["line 2 did not match", "step 3 is lost", "hint: ", "--resume"]);
    place.refuse(&COMMAND, &["line 2 did not match", "step 3 is lost"]); // the next command too
    assert!(place.path("run/checkpoints/step-000010").exists());
}

#[test]
fn a_lost_log_of_evaluations_is_restored() {
    let place = finished();
    let (adapter, log) = (place.bytes(ADAPTER), place.bytes("run/eval.jsonl"));
    remove(&place, &["run/eval.jsonl"]);
    let told = said(&place);
    assert!(told.contains("eval.jsonl` has lost its records"), "{told}");
    assert!(place.bytes(ADAPTER) == adapter && place.bytes("run/eval.jsonl") == log);
}

#[test]
fn a_wrong_digit_in_scores_or_figures_is_computed_again() {
    let place = finished();
    let names =
        ["before.json", "after.json", "scores-golden-before.jsonl", "scores-golden-after.jsonl"];
    let whole = names.map(|name| place.bytes(&format!("run/eval/{name}")));
    for (name, from, to) in [
        ("scores-golden-before.jsonl", "reference_chosen_logps\":-", "reference_chosen_logps\":-1"),
        ("scores-golden-after.jsonl", "policy_chosen_logps\":-", "policy_chosen_logps\":-1"),
        ("after.json", "\"value\": 0", "\"value\": 1"),
        ("before.json", "\"beta\"", "\"bets\""),
    ] {
        let file = format!("run/eval/{name}");
        change(&place, &file, "", from, to);
        let report = place.mvpbench(&["report", "run", "--output", "pages"]).output().unwrap();
        let told = String::from_utf8_lossy(&report.stderr);
        assert_eq!(report.status.code(), Some(2), "{told}");
        assert!(told.contains(name) && told.contains("its digest does not match"), "{told}");
        let told = said(&place);
        assert!(told.contains(name) && told.contains("is computed again"), "{told}");
        for (name, whole) in names.iter().zip(&whole) {
            assert!(place.bytes(&format!("run/eval/{name}")) == *whole, "{name} after {file}");
        }
    }
}

#[test]
fn a_broken_line_of_the_log_costs_its_own_record_alone_and_a_lost_log_is_said() {
    let place = Place::golden("tiny").set("train.epochs", 3).set("train.checkpoint_every", 2);
    place.succeed(&COMMAND);
    let all = records(&place.path("run/train.jsonl"));
    assert_eq!(all.len(), 6);
    let summary = || -> Value { serde_json::from_slice(&place.bytes("run/summary.json")).unwrap() };
    let training = |name: &str| summary()["training"][name].clone();
    assert_eq!((training("steps"), training("unrecorded_steps")), (6.into(), 0.into()));

    change(&place, "run/train.jsonl", "\"step\":2", "\"loss\":0", "\"loss\":1");
    let told = said(&place);
    assert_eq!(told.matches("line 2 did not match the digest").count(), 1, "{told}");
    assert!(told.contains("no record of step 2"), "{told}");
    let kept = records(&place.path("run/train.jsonl"));
    assert!(kept.len() == 5 && kept[0] == all[0] && kept[1..] == all[2..]);
    assert_eq!((training("steps"), training("unrecorded_steps")), (6.into(), 1.into()));
    assert_eq!(training("first_loss"), all[0]["loss"]);
    let report = String::from_utf8(place.bytes("run/report.md")).unwrap();
    assert!(report.contains("no record of step 2"), "{report}");

    remove(&place, &["run/train.jsonl", "run/checkpoints/step-000006"]);
    let told = said(&place);
    assert_eq!(told.matches("has no record of steps 1, 2, 3, 4;").count(), 1, "{told}");
    assert_eq!(lines(&place.path("run/train.jsonl")), 2);
    assert_eq!((training("steps"), training("unrecorded_steps")), (6.into(), 4.into()));
    assert!(training("first_loss").is_null() && !training("last_loss").is_null());
}

#[test]
fn a_configuration_that_does_not_match_its_digest_is_refused() {
    let place =
        Place::golden("tiny").set("train.max_steps", 2).set("data.train", vec!["pairs.jsonl"]);
    let golden = std::fs::read_to_string(path("pairs.jsonl")).unwrap();
    place.write("pairs.jsonl", &golden);
    place.succeed(&COMMAND);
    let config = place.bytes("run/config.toml");
    place.write(
        "pairs.jsonl",
        golden.replacen("chosen\":\"", "chosen\":\"Well, ", 1).replacen(
            "chosen\": \"",
            "chosen\": \"Well, ",
            1,
        ),
    );
    place.refuse(&COMMAND, &["is not what the run in `run` began with"]);
    // A broken line of the inputs does not switch the check off.
    for (from, to) in [
        ("# inputs: ", "# inputz: "),
        ("sha256 ", "sha256 0"),
        ("# sha256 of", "# sha257 of"),
        ("seed = ", "seed = 1"),
    ] {
        place.write("run/config.toml", &config);
        change(&place, "run/config.toml", "", from, to);
        place.refuse(
            &COMMAND,
            &["`run/config.toml` was changed after it was written", "--allow-config-change"],
        );
    }
    place.write("pairs.jsonl", golden);
    place.succeed(&[&COMMAND[..], &["--allow-config-change"]].concat());
    let text = String::from_utf8(place.bytes("run/config.toml")).unwrap();
    assert!(text.contains("# changed after step 2: `run/config.toml` was changed"), "{text}");
    place.succeed(&COMMAND);
}

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_absent() {
    for file in ["run/train.jsonl", "run/eval.jsonl", "run/eval/before.json"] {
        let place = finished();
        remove(&place, &[file]);
        std::fs::create_dir(place.path(file)).unwrap();
        let output = place.run(&COMMAND);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && told.contains(&format!("cannot read `{file}`")),
            "{told}"
        );
    }
    let place = finished();
    remove(&place, &["run/checkpoints"]);
    place.write("run/checkpoints", "x");
    let output = place.run(&COMMAND);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("cannot read the folder `run/checkpoints`"), "{told}");
}

#[test]
fn a_broken_moment_of_the_best_checkpoint_stops_no_export_and_the_adapter_folder_is_mended() {
    let place = finished();
    let files = ["adapter_config.json", "tokenizer.json", "adapter_model.safetensors", "README.md"];
    let whole = files.map(|name| place.bytes(&format!("run/adapter/{name}")));
    place.write("run/checkpoints/best-step-000003/first_moments.safetensors", "x");
    remove(&place, &["run/adapter/adapter_config.json", "run/adapter/README.md"]);
    place.write("run/adapter/tokenizer.json", "");
    let told = said(&place);
    assert!(
        told.contains("run/adapter/adapter_config.json` is missing; it is written again"),
        "{told}"
    );
    assert!(
        told.contains("run/adapter/tokenizer.json` has changed; it is written again"),
        "{told}"
    );
    for (name, whole) in files.iter().zip(&whole).take(3) {
        assert!(place.bytes(&format!("run/adapter/{name}")) == *whole, "{name}");
    }
    assert!(place.path("run/adapter/README.md").exists());
    remove(&place, &["run/adapter"]);
    said(&place);
    assert!(place.bytes(ADAPTER) == whole[2]);
    assert_eq!(said(&place).matches("written again").count(), 0);
}

#[test]
fn what_a_killed_program_left_is_removed_by_the_next_run() {
    let place = finished();
    let listed = |folder: &str| {
        let entries = std::fs::read_dir(place.path(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let folders = ["run", "run/eval", "run/checkpoints", "run/adapter"];
    let before = folders.map(listed);
    for litter in [
        "run/.report.html.12-34.partial",
        "run/eval/.after.json.12-34.partial",
        "run/eval/.generations-golden-after.journal",
        "run/eval/.sums-golden-after.json",
        "run/eval/.sums-golden-before.json",
        "run/adapter/.README.md.12-34.partial",
        "run/checkpoints/.step-000012.12-34.partial/state.json",
        "run/checkpoints/step-000008/state.json",
    ] {
        place.write(litter, "x");
    }
    said(&place);
    assert_eq!(folders.map(listed), before);
}

#[test]
fn a_checkpoint_to_resume_from_that_is_none_is_refused_at_once() {
    let place = place();
    let refuse = |from: &str, parts: &[&str]| {
        let existed = place.path("run").exists();
        place.refuse(&[&COMMAND[..], &["--resume", from, "--output", "new"]].concat(), parts);
        assert!(!place.path("new").exists() && place.path("run").exists() == existed, "{from}");
    };
    refuse("nosuch", &["`--resume nosuch`: there is no such folder", "hint: leave out `--resume`"]);
    assert!(!place.path("cache").exists(), "nothing is tokenised");
    place.succeed(&COMMAND);
    let known = "hint: the checkpoints are `run/checkpoints/step-000012`";
    refuse("run", &["is the folder of a run, not of a checkpoint", known, "best-step-000003"]);
    refuse("run/checkpoints", &["is no checkpoint: it has no `manifest.json`", known]);
    place.refuse(&[&COMMAND[..], &["--resume", "nosuch"]].concat(), &["no such folder", known]);
    place.write("run/checkpoints/step-000012/second_moments.safetensors", "x");
    refuse("run/checkpoints/step-000012", &["cannot resume from", "does not match its digest"]);
    if cfg!(target_os = "linux") {
        let long = format!("{}/run", "n".repeat(300));
        for output in ["/proc/mvpbench/run", &long] {
            place.refuse(
                &[&COMMAND[..], &["--output", output]].concat(),
                &["cannot be written", "hint: "],
            );
        }
    }
}

/// The data of the second program is a pipe, so that it stands between its first check and the lock while the first
/// program runs.
#[cfg(unix)]
#[test]
fn what_another_program_began_before_the_lock_is_not_taken_over() {
    let place = Place::golden("tiny").set("train.max_steps", 2).set("train.learning_rate", 1e-3);
    let golden = std::fs::read(pairs()).unwrap();
    let pipe = place.path("slow.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let other = ["--set", "data.train=[\"slow.jsonl\"]", "--set", "train.learning_rate=0.5"];
    let second = place.start_heard(&[&COMMAND[..], &other].concat());
    // Opening the pipe waits for its reader, who has checked the folder before it reads data.
    let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    place.succeed(&COMMAND);
    let first = (
        place.bytes(ADAPTER),
        place.bytes("run/config.toml"),
        place.bytes("run/adapter/README.md"),
    );
    std::io::Write::write_all(&mut writer, &golden).unwrap();
    drop(writer);
    let (said, code) = second.end();
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("holds another run") && said.contains("`train.learning_rate` is `0.5`"),
        "{said}"
    );
    assert!(
        first
            == (
                place.bytes(ADAPTER),
                place.bytes("run/config.toml"),
                place.bytes("run/adapter/README.md")
            )
    );
}
