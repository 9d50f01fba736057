//! SIGTERM and Ctrl-C, in every phase of a run: what is done is saved, how to go on is said, and the end is the same.
#![cfg(unix)]

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::command::Place;
use crate::golden::path;
use crate::kills::{assert_same, outcome, phase, place};

pub(crate) fn start(place: &Place, set: &[&str]) -> Child {
    let arguments = [&["--config", "config.toml"], set].concat();
    let mut command = place.command(&arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn send(child: &Child, signal: &str) {
    let status =
        std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// What the child said and its exit status, which must come within some seconds.
pub(crate) fn end(mut child: Child) -> (String, Option<i32>) {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (said, child.wait().unwrap().code())
}

/// Waits until `seen`, which must come before the child ends.
pub(crate) fn wait_for(child: &mut Child, what: &str, mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {what}");
        assert!(begun.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn a_run_that_is_stopped_in_any_phase_saves_and_the_same_command_goes_on() {
    let whole = place();
    whole.succeed(&["--config", "config.toml"]);
    let whole = outcome(&whole);
    for (i, wanted) in [
        "evaluation before",
        "answers before",
        "reference",
        "training",
        "evaluation during",
        "after",
    ]
    .into_iter()
    .enumerate()
    {
        let (place, signal) = (place(), ["-TERM", "-INT"][i % 2]);
        let mut child = start(&place, &[]);
        wait_for(&mut child, wanted, || phase(&place.path("run")) == wanted);
        send(&child, signal);
        let (said, code) = end(child);
        assert_eq!(code, Some(1), "{wanted}: {said}");
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

/// `copies` of the golden pairs as training data.
fn long(copies: usize) -> Place {
    let place = Place::new();
    let golden = std::fs::read_to_string(path("pairs.jsonl")).unwrap();
    place.write("pairs.jsonl", golden.repeat(copies));
    let model = path("models/tiny");
    place.write(
        "config.toml",
        format!("[model]\npath = {model:?}\n[data]\ntrain = [\"pairs.jsonl\"]\n[train]\nmicro_batch_tokens = 2000000\n[output]\ndir = \"run\"\n"),
    );
    place
}

#[test]
fn tokenising_is_stopped_too_and_has_written_nothing() {
    let place = long(2000);
    let mut child = start(&place, &[]);
    let stderr = child.stderr.as_mut().unwrap();
    // The first line comes once signals are listened to.
    let mut said = [0];
    while said != *b"\n" {
        stderr.read_exact(&mut said).unwrap();
    }
    std::thread::sleep(Duration::from_millis(20));
    send(&child, "-INT");
    let (said, code) = end(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the same command resumes"), "{said}");
    assert!(!place.path("run").exists() && !place.path("cache").exists(), "{said}");
}

#[test]
fn a_pass_that_is_stopped_goes_on_where_it_was_and_gives_the_same_numbers() {
    let (whole, place) = (long(40), long(40));
    let small = ["--set", "train.micro_batch_tokens=1", "--set", "train.max_steps=1", "--set"];
    let set = [&small[..], &["eval.sets=[{name=\"a\",files=[\"pairs.jsonl\"]}]"]].concat();
    whole.succeed(&[&["--config", "config.toml", "-q"], &set[..]].concat());
    let mut child = start(&place, &set);
    wait_for(&mut child, "a line of progress", || place.path("run/run.lock").exists());
    std::thread::sleep(Duration::from_millis(300));
    send(&child, "-TERM");
    let (said, code) = end(child);
    assert_eq!(code, Some(1), "{said}");
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
    // One micro-batch of everything: the first signal is heard when it is done.
    let place = long(600);
    let mut child = start(&place, &[]);
    wait_for(&mut child, "reference", || place.path("run/train.jsonl").exists());
    std::thread::sleep(Duration::from_millis(100));
    send(&child, "-INT");
    std::thread::sleep(Duration::from_millis(50));
    assert!(child.try_wait().unwrap().is_none(), "the first signal waits for the micro-batch");
    send(&child, "-INT");
    let sent = Instant::now();
    let (said, code) = end(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("the same command resumes"), "{said}");
    assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
}
