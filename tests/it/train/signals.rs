//! SIGTERM and Ctrl-C in every phase of a run: it saves, prints how to resume, and ends with the same bytes.
#![cfg(unix)]

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::command::Place;
use crate::golden::path;
use crate::running::Running;
use crate::train::kills::{self, assert_same, outcome, phase, place};

const COMMAND: [&str; 2] = ["--config", "config.toml"];

#[test]
fn a_run_that_is_stopped_in_any_phase_saves_and_the_same_command_resumes() {
    let whole = place();
    whole.succeed(&["--config", "config.toml"]);
    let whole = outcome(&whole);
    for (i, wanted) in kills::LONG_PHASES.into_iter().enumerate() {
        let (place, signal) = (place(), ["-TERM", "-INT"][i % 2]);
        let mut child = place.start_heard(&COMMAND);
        child.wait_for(wanted, || phase(&place.path("run")) == wanted);
        child.send(signal);
        let (said, code) = child.end();
        assert_eq!(code, Some([143, 130][i % 2]), "{wanted}: {said}");
        assert!(said.contains("the same command resumes"), "{wanted}: {said}");
        assert!(!said.contains("panicked"), "{wanted}: {said}");
        assert!(!place.path("run/report.md").exists(), "{wanted}: it went on to the end");
        match wanted {
            "training" | "evaluation during" => {
                assert!(place.path("run/checkpoints").exists(), "{wanted}: nothing is saved");
            }
            "after" => assert!(place.path("run/adapter").exists()),
            _ => {}
        }
        place.succeed(&["--config", "config.toml", "-q"]);
        assert_same(&place, &whole, wanted);
    }
}

/// A run on the golden pairs repeated `copies` times, with a token budget that makes each pass one micro-batch.
fn long(copies: usize) -> Place {
    let place = Place::golden("tiny")
        .set("data.train", vec!["pairs.jsonl"])
        .set("train.micro_batch_tokens", 2_000_000);
    let golden = std::fs::read_to_string(path("pairs.jsonl")).unwrap();
    place.write("pairs.jsonl", golden.repeat(copies));
    place
}

#[test]
fn tokenising_is_stopped_too_and_has_written_nothing() {
    let place = long(2000);
    let mut child = place.start_heard(&COMMAND);
    // The first line is printed after the signal handler is set.
    while child.read_byte() != b'\n' {}
    std::thread::sleep(Duration::from_millis(20));
    child.send("-INT");
    let (said, code) = child.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("the same command resumes"), "{said}");
    assert!(!place.path("run").exists() && !place.path("cache").exists(), "{said}");
}

#[test]
fn a_pass_that_is_stopped_resumes_and_gives_the_same_numbers() {
    let (whole, place) = (long(40), long(40));
    let small = ["--set", "train.micro_batch_tokens=1", "--set", "train.max_steps=1", "--set"];
    let set = [&small[..], &["eval.sets=[{name=\"a\",files=[\"pairs.jsonl\"]}]"]].concat();
    whole.succeed(&[&["--config", "config.toml", "-q"], &set[..]].concat());
    let mut child = place.start_heard(&[&COMMAND, &set[..]].concat());
    child.wait_for("a line of progress", || place.path("run/run.lock").exists());
    std::thread::sleep(Duration::from_millis(300));
    child.send("-TERM");
    let (said, code) = child.end();
    assert_eq!(code, Some(143), "{said}");
    assert!(place.path("run/eval/.sums-a-before.json").exists(), "{said}");
    let output = place.run(&[&["--config", "config.toml"], &set[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("of 520 pairs are done"), "{said}");
    for file in ["run/eval/before.json", "run/eval/scores-a-before.jsonl", "run/eval/after.json"] {
        assert_eq!(place.bytes(file), whole.bytes(file), "{file}");
    }
    assert_eq!(std::fs::read_dir(place.path("run/eval")).unwrap().count(), 4, "all else is gone");
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    // One micro-batch holds all pairs; the first signal takes effect after it.
    let place = long(600);
    let mut child = place.start_heard(&COMMAND);
    child.wait_for("reference", || place.path("run/train.jsonl").exists());
    std::thread::sleep(Duration::from_millis(100));
    child.send("-INT");
    std::thread::sleep(Duration::from_millis(50));
    assert!(!child.has_ended(), "the first signal waits for the micro-batch");
    child.send("-INT");
    let sent = Instant::now();
    let (said, code) = child.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(!said.contains("the same command resumes"), "{said}");
    assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
}

#[test]
fn the_one_rank_of_a_launcher_saves_on_the_signal_that_launchers_pass_on() {
    let (whole, place) = (place(), place());
    whole.succeed(&COMMAND);
    let mut command = place.command(&COMMAND);
    command.env("SLURM_STEP_NUM_TASKS", "1");
    let mut child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    child.wait_for("training", || phase(&place.path("run")) == "training");
    child.send("-USR1");
    let (said, code) = child.end();
    assert_eq!(code, Some(143), "{said}");
    assert!(said.contains("the same command resumes"), "{said}");
    place.succeed(&[&COMMAND[..], &["-q"]].concat());
    assert_same(&place, &outcome(&whole), "after SIGUSR1");
}
