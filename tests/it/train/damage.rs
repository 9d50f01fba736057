//! Damaged files of a run: each is repaired, computed again with a warning, or refused by name; none is believed, and none
//! dropped without a word.

use serde_json::Value;

use crate::command::{Place, lines, records};
use crate::golden::{pairs, path, swapped_pairs};

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
    place.write("swapped.jsonl", swapped_pairs());
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
    let mut bytes = place.bytes(file);
    let find = |bytes: &[u8], part: &str| {
        let mut windows = bytes.windows(part.len().max(1));
        let at =
            if part.is_empty() { Some(0) } else { windows.position(|it| it == part.as_bytes()) };
        at.unwrap_or_else(|| panic!("no `{part}` in {file}"))
    };
    let begin = find(&bytes, after);
    let at = begin + find(&bytes[begin..], from);
    bytes.splice(at..at + from.len(), to.bytes());
    place.write(file, bytes);
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
    assert!(told.contains("eval.jsonl` has lost records"), "{told}");
    assert!(place.bytes(ADAPTER) == adapter && place.bytes("run/eval.jsonl") == log);
}

#[test]
fn a_log_of_evaluations_that_is_cut_between_two_lines_is_restored() {
    let place = finished();
    let (adapter, log) = (place.bytes(ADAPTER), place.bytes("run/eval.jsonl"));
    let text = String::from_utf8(log.clone()).unwrap();
    let first: String = text.lines().take(1).map(|line| format!("{line}\n")).collect();
    place.write("run/eval.jsonl", first);
    let told = said(&place);
    assert!(
        told.contains("eval.jsonl` has no record of the evaluation after steps 3, 6, 9; the evaluation after steps 3, 6, 9 is restored"),
        "{told}"
    );
    assert!(place.bytes(ADAPTER) == adapter && place.bytes("run/eval.jsonl") == log);
    assert!(place.path("run/checkpoints/best-step-000003").exists());
    assert!(!said(&place).contains("no record"), "whole again");
}

#[test]
fn a_lost_record_of_one_of_two_sets_is_said_and_restored() {
    let place = Place::golden("tiny")
        .set("train.max_steps", 2)
        .evaluate("a", pairs())
        .evaluate("b", pairs());
    place.succeed(&COMMAND);
    let log = place.bytes("run/eval.jsonl");
    let lines: Vec<String> =
        String::from_utf8(log.clone()).unwrap().lines().map(|line| format!("{line}\n")).collect();
    assert_eq!(lines.len(), 4);
    for lost in 0..4 {
        let mut left = lines.clone();
        left.remove(lost);
        place.write("run/eval.jsonl", left.concat());
        let report = place.mvpbench(&["report", "run", "--output", "pages"]).output().unwrap();
        let told = String::from_utf8(report.stderr).unwrap();
        assert!(told.contains("eval.jsonl`: there is no record of the"), "line {lost}: {told}");
        let told = said(&place);
        assert!(told.contains("eval.jsonl` has lost "), "line {lost}: {told}");
        assert_eq!(place.bytes("run/eval.jsonl"), log, "line {lost}");
    }
    assert!(!said(&place).contains("lost"), "whole again");
}

#[test]
fn a_report_says_which_logs_it_cannot_believe() {
    let place = finished();
    let report = || {
        let output = place.mvpbench(&["report", "run", "--output", "pages"]).output().unwrap();
        assert!(output.status.success());
        let page = String::from_utf8(place.bytes("pages/report.md")).unwrap();
        (String::from_utf8(output.stderr).unwrap(), page)
    };
    assert_eq!(report().0, "");
    let whole = ["run/eval.jsonl", "run/wall_time.json", "run/train.jsonl"]
        .map(|name| (name, place.bytes(name)));
    change(&place, "run/eval.jsonl", "\"step\":3", "\"loss\":", "\"loss\":9");
    change(&place, "run/wall_time.json", "", "\"wall_time_s\":", "\"wall_time_s\":9");
    let log = String::from_utf8(place.bytes("run/train.jsonl")).unwrap();
    place.write("run/train.jsonl", format!("{log}{}\n", log.lines().last().unwrap()));
    let (told, page) = report();
    for part in [
        "line 2 did not match the digest, there is no record of the evaluation after step 3",
        "wall_time.json`: its digest does not match; the wall time here is that of `summary.json`",
        "train.jsonl` has several lines of step 12; the last one is taken",
    ] {
        assert!(told.contains(part) && page.contains(part), "{part}\n{told}\n{page}");
    }
    let told = said(&place);
    assert!(
        told.contains("several lines of step 12") && told.contains("wall_time.json`"),
        "{told}"
    );
    for (name, bytes) in &whole[..1] {
        assert!(place.bytes(name) == *bytes, "{name}");
    }
    assert_eq!(report().0, "", "repaired");
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
fn damaged_figures_of_a_step_are_written_again_from_its_scores_or_its_checkpoint() {
    let place = place().set("eval.kl_pairs", 4);
    place.succeed(&COMMAND);
    let file = |name: &str| format!("run/eval/{name}");
    let (third, sixth) = (file("step-000003.json"), file("step-000006.json"));
    let whole = [&third, &sixth].map(|file| place.bytes(file));
    let damage = |file: &str| change(&place, file, "", "\"beta\"", "\"bets\"");

    // A checkpoint has the adapter of step 3, none that of step 6, whose digest is lost.
    damage(&third);
    damage(&sixth);
    let told = said(&place);
    for file in [&third, &sixth] {
        assert!(told.contains(&format!("`{file}`")), "{told}");
    }
    assert_eq!(told.matches("it is written again from the scores").count(), 2, "{told}");
    assert!(place.bytes(&third) == whole[0]);
    let text = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    let (mended, whole_sixth) = (text(&place.bytes(&sixth)), text(&whole[1]));
    assert_eq!(mended["sets"], whole_sixth["sets"]);
    assert!(whole_sixth["sets"][0]["kl"]["tokens"].as_u64() > Some(0));
    assert!(mended["adapter_sha256"].is_null() && whole_sixth["adapter_sha256"].is_string());
    assert!(!told.contains("left out"), "the report lacks nothing: {told}");
    assert!(!said(&place).contains("written again"), "whole again");

    // Without its scores, the step is evaluated again where its checkpoint is left, and named where it is not.
    let damaged_scores = |step: &str| {
        let scores = file(&format!("scores-golden-{step}.jsonl"));
        change(&place, &scores, "", "policy_chosen_logps\":-", "policy_chosen_logps\":-1");
    };
    damage(&third);
    damaged_scores("step-000003");
    let told = said(&place);
    assert!(told.contains("`step-000003` is computed again"), "{told}");
    assert!(place.bytes(&third) == whole[0]);
    damaged_scores("step-000006");
    let told = said(&place);
    assert!(told.contains("golden-step-000006") && told.contains("no checkpoint of"), "{told}");
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
    assert!(report.contains("in the 5 recorded steps of 6"), "{report}");

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
    change(&place, "run/adapter/adapter_model.safetensors", "", "lora_A", "lora_C");
    let told = said(&place);
    assert!(told.contains("adapter_model.safetensors` has changed; it is written again"), "{told}");
    assert!(place.bytes(ADAPTER) == whole[2]);
    remove(&place, &["run/adapter"]);
    said(&place);
    assert!(place.bytes(ADAPTER) == whole[2]);
    assert_eq!(said(&place).matches("written again").count(), 0);
}

#[test]
fn a_changed_file_of_the_embedded_model_is_named_and_written_again() {
    let place =
        Place::golden("tiny").set("train.max_steps", 1).set("model.path", "embedded:tiny/model");
    place.succeed(&COMMAND);
    // A moved run has its base model at another path.
    let at = serde_json::to_string(&place.path("run/base_model").canonicalize().unwrap()).unwrap();
    change(
        &place,
        "run/adapter/adapter_config.json",
        "base_model",
        at.trim_matches('"'),
        "/old/base_model",
    );
    assert_eq!(said(&place).matches("adapter_config.json").count(), 0);
    change(
        &place,
        "run/adapter/adapter_config.json",
        "base_model",
        at.trim_matches('"'),
        "/old/base_model",
    );
    change(&place, "run/adapter/adapter_config.json", "", "\"r\": ", "\"r\": 1");
    assert!(said(&place).contains("run/adapter/adapter_config.json` has changed"));
    let whole = place.bytes("run/base_model/model.safetensors");
    assert_eq!(said(&place).matches("written again").count(), 0);
    let mut broken = whole.clone();
    *broken.last_mut().unwrap() ^= 1;
    place.write("run/base_model/model.safetensors", broken);
    let told = said(&place);
    assert!(
        told.contains("run/base_model/model.safetensors` has changed; it is written again"),
        "{told}"
    );
    assert!(place.bytes("run/base_model/model.safetensors") == whole);
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

/// The start adapter of the second program is a pipe, so that it stands between its first check and the lock while the
/// first program runs.
#[cfg(unix)]
#[test]
fn what_another_program_began_before_the_lock_is_not_taken_over() {
    let place = Place::golden("tiny").set("train.max_steps", 2).set("train.learning_rate", 1e-3);
    let adapter = path("adapters/tiny-nonzero");
    let config = std::fs::read(adapter.join("adapter_config.json")).unwrap();
    let pipe =
        place.write("slow/adapter_config.json", config).with_file_name("adapter_model.safetensors");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let other = ["--set", "lora.init_from=slow", "--set", "train.learning_rate=0.5"];
    let second = place.start_heard(&[&COMMAND[..], &other].concat());
    // Opening the pipe waits for its reader, who has checked the folder before it reads the adapter.
    let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    place.succeed(&COMMAND);
    let first = (
        place.bytes(ADAPTER),
        place.bytes("run/config.toml"),
        place.bytes("run/adapter/README.md"),
    );
    let weights = std::fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    std::io::Write::write_all(&mut writer, &weights).unwrap();
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
