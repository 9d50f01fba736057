//! Weights that somebody writes or cuts short while a run reads them in their file: it ends and says why, nothing that was computed from
//! them is kept, and with the old file the same command resumes to the same bytes.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::command::Place;
use crate::golden;
use crate::train::kills::{self, assert_same, outcome, phase};

const COMMAND: [&str; 2] = ["--config", "config.toml"];
const WEIGHTS: &str = "model/model.safetensors";

/// The run of [`kills`] with a model of its own.
fn place() -> Place {
    let place = kills::place().set("model.path", "model");
    for entry in fs::read_dir(golden::path("models/tiny-gqa")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        place.write(&format!("model/{name}"), fs::read(path).unwrap());
    }
    place
}

type Outcome = BTreeMap<String, Vec<u8>>;

fn whole() -> Outcome {
    let whole = place();
    whole.succeed(&COMMAND);
    outcome(&whole)
}

/// Ends a run in `wanted` by `damage` to its weights; expects `parts` in what it says, and the bytes of `whole` with the old file.
#[track_caller]
fn resumes(wanted: &str, damage: impl Fn(&Path), status: i32, parts: &[&str], whole: &Outcome) {
    let place = place();
    let (weights, file) = (place.bytes(WEIGHTS), place.path(WEIGHTS));
    let mut child = place.start_heard(&COMMAND);
    child.wait_for(wanted, || phase(&place.path("run")) == wanted);
    damage(&file);
    let (said, code) = child.end();
    assert_eq!(code, Some(status), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!place.path("run/report.md").exists(), "it went on to the end");
    fs::write(&file, weights).unwrap();
    place.succeed(&COMMAND);
    assert_same(&place, whole, wanted);
}

#[test]
fn weights_that_are_written_during_a_run_are_refused_by_name() {
    let last = |file: &Path| {
        let mut bytes = fs::read(file).unwrap();
        let last = bytes.len() as u64 - 1;
        let other = [bytes.pop().unwrap() ^ 1];
        File::options().write(true).open(file).unwrap().write_all_at(&other, last).unwrap();
    };
    let parts = ["model.safetensors` was written while", "the same command then resumes"];
    let whole = whole();
    for wanted in ["evaluation before", "answers before", "training"] {
        resumes(wanted, last, 2, &parts, &whole);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn weights_that_are_cut_short_during_a_run_end_it_with_a_reason() {
    let cut = |file: &Path| File::options().write(true).open(file).unwrap().set_len(0).unwrap();
    resumes("training", cut, 1, &["was cut short", "the same command resumes"], &whole());
}
