//! Preference alignment as a user runs it: folders of answers from a scripted endpoint and from a local model, and verdicts on them.

mod generate;
mod generate_endpoint;
pub(crate) mod judge;
mod judge_panels;
mod real_server;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use serde_json::json;

use crate::command::Place;

/// A benchmark of `count` records, whose questions are `question 0`, `question 1`, ...
pub(crate) fn benchmark(count: usize) -> String {
    let record = |n: usize| {
        let country = ["Chad", "Chile"][n % 2];
        let record = json!({
            "id": format!("r{n}"), "question": format!("question {n}?"), "answer_w": "the safe one",
            "answer_l": "the other one", "user_id": format!("u{}", n / 2), "preference": "High safety",
            "age": "25-34 years old", "birth_country/region": country,
        });
        format!("{record}\n")
    };
    (0..count).map(record).collect()
}

/// The number in the question of a prompt.
pub(crate) fn number(prompt: &str) -> usize {
    let after = prompt.split("question ").nth(1).unwrap();
    after.split('?').next().unwrap().parse().unwrap()
}

/// Every file below `folder` with its bytes, by its path.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else {
            found.insert(entry.display().to_string(), std::fs::read(&entry).unwrap());
        }
    }
    found
}

/// Runs `mvpbench` and expects this exit status; returns what it printed, stdout first.
#[track_caller]
pub(crate) fn run(place: &Place, arguments: &[&str], status: i32) -> String {
    let Output { status: got, stdout, stderr } = place.mvpbench(arguments).output().unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert_eq!(got.code(), Some(status), "{arguments:?}: {said}");
    said
}
