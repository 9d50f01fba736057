//! A reader that has gone, a stderr that is closed or full: the work goes on to its end.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use crate::command::Place;
use crate::golden::pairs;
use crate::require::{Need, skip};

/// A small run of a few steps with an evaluation set.
fn place() -> Place {
    Place::golden("tiny").set("train.max_steps", 2).evaluate("golden", pairs())
}

/// Runs `program` and behind it `streams`, such as `| head -1`; its exit status and what the shell saw of it.
fn status(place: &Place, program: &Command, streams: &str) -> (i32, String) {
    let mut shell = Command::new("sh");
    let (inside, after) = match streams.strip_prefix('|') {
        Some(_) => ("", streams),
        None => match streams.split_once('|') {
            Some((inside, _)) => (inside, &streams[inside.len()..]),
            None => (streams, ""),
        },
    };
    let script = format!("( \"$@\" {inside}; echo $? > code ) {after}");
    shell.args(["-c", &script, "sh"]).arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        shell.env(name, value.unwrap());
    }
    let output = shell.current_dir(place.folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = std::fs::read_to_string(place.path("code")).unwrap();
    (code.trim().parse().unwrap(), said)
}

#[test]
fn a_training_run_outlives_the_reader_of_its_lines() {
    for streams in ["2>&1 | head -3", "2>&1 | true", "2>&- ", "| head -1", "| true", "2>&- >&-"] {
        let place = place();
        let (code, said) = status(&place, &place.command(&["--config", "config.toml"]), streams);
        assert_eq!(code, 0, "{streams}: {said}");
        assert!(!said.contains("panicked"), "{streams}: {said}");
        assert!(place.path("run/adapter/adapter_model.safetensors").exists(), "{streams}");
        assert!(place.path("run/report.html").exists(), "{streams}");
    }
}

#[test]
fn a_full_stderr_loses_lines_and_a_full_stdout_is_an_error() {
    if !Path::new("/dev/full").exists() {
        return skip(Need::FullDevice, "");
    }
    let place = place();
    let train = place.command(&["--config", "config.toml"]);
    assert_eq!(status(&place, &train, "2>/dev/full"), (0, String::new()));
    for arguments in [&["data", "stats"][..], &["data", "inspect"]] {
        let program = place.mvpbench(&[arguments, &["--config", "config.toml"]].concat());
        let (code, said) = status(&place, &program, ">/dev/full");
        assert_eq!(code, 1, "{arguments:?}: {said}");
        assert!(said.contains("error: cannot write to standard output: No space left"), "{said}");
    }
    for (program, part) in [
        (place.mvpbench(&generate()), "keeps its answers with `--output FILE`"),
        (place.mvpbench(&["report", "run"]), "what was to be printed is lost, files are kept"),
        (place.command(&["--help"]), "hint: "),
        (place.mvpbench(&["generate", "--help"]), "hint: "),
        (place.mvpbench(&["--version"]), "hint: "),
    ] {
        let (code, said) = status(&place, &program, ">/dev/full");
        assert_eq!(code, 1, "{program:?}: {said}");
        assert!(said.contains("error: cannot write to standard output: No space left"), "{said}");
        assert!(said.contains(part) && !said.contains("finished work"), "{program:?}: {said}");
    }
}

fn generate() -> [&'static str; 8] {
    let model = ["generate", "--model", "embedded:tiny/model", "--prompt", "a", "-q"];
    [model[0], model[1], model[2], model[3], model[4], model[5], "--max-new-tokens", "4"]
}

/// Rust opens the null device in the place of a closed standard output, so that nothing would fail.
#[cfg(target_os = "linux")]
#[test]
fn what_is_printed_alone_is_not_lost_in_a_closed_stdout_without_a_word() {
    let place = place();
    let stats = ["data", "stats", "--config", "config.toml"];
    for (arguments, expected, part) in [
        (&generate()[..], 2, "standard output is closed, so the answers would be lost"),
        (&stats, 1, "cannot write to standard output: Bad file descriptor"),
        (&["train", "--help"], 1, "cannot write to standard output: Bad file descriptor"),
        (&["train", "--config", "config.toml", "-q"], 0, ""),
        (&["report", "run"], 0, ""),
    ] {
        let (code, said) = status(&place, &place.mvpbench(arguments), ">&-");
        assert_eq!(code, expected, "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    for streams in [">/dev/null", "<&- >/dev/null", ">a.txt"] {
        let (code, said) = status(&place, &place.mvpbench(&generate()), streams);
        assert_eq!(code, 0, "{streams}: {said}");
    }
}

#[test]
fn a_verb_whose_reader_has_gone_ends_without_a_word() {
    let place = place();
    place.succeed(&["--config", "config.toml", "-q"]);
    let config = ["--config", "config.toml"];
    let model = crate::golden::text("models/tiny");
    for arguments in [
        [&["data", "inspect", "--rows", "100000"][..], &config].concat(),
        [&["data", "stats"][..], &config].concat(),
        vec!["report", "run"],
        vec!["generate", "--model", &model, "--prompt", "a", "--max-new-tokens", "4", "-q"],
        [&["train", "--dry-run", "-q", "--output", "dry"][..], &config].concat(),
        vec!["train", "--print-config", "tiny.toml"],
        vec!["doctor", "--quick"],
    ] {
        for reader in ["| head -1", "| true"] {
            let (code, said) = status(&place, &place.mvpbench(&arguments), reader);
            assert_eq!(code, 0, "{arguments:?}: {said}");
            assert!(!said.contains("panicked") && !said.contains("error"), "{arguments:?}: {said}");
        }
    }
}
