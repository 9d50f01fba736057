//! A benchmark in the released layout, made for a test.

use std::process::Output;

use mvpbench::disk::digest;
use serde_json::{Value, json};

use crate::command::Place;

/// The record `n` of a person who has three: `people` of four countries.
pub(super) fn record(n: usize) -> Value {
    let person = n / 3;
    let country = ["Chile", "United States", "Korea, Republic of", "Prefer not to say"][person % 4];
    let gender = ["Male", "Female"][person % 2];
    let safety = if person.is_multiple_of(2) { 90 } else { 20 };
    let level = if person.is_multiple_of(2) { "High" } else { "Low" };
    json!({
        "id": format!("p{n}"),
        "question": format!("What about <{n}> & so on, \"if\" it rains?"),
        "answer_w": format!("A careful answer to {n}, and a long one."),
        "answer_l": format!("No {n}."),
        "user_id": format!("user{person}"),
        "stated_prefs": {"values": 1, "safety": safety, "fluency": 70, "other": null, "other_text": null},
        "preference": format!("{level} safety"),
        "age": "25-34 years old",
        "gender": gender,
        "employment_status": "Retired",
        "education": "Vocational",
        "marital_status": "Married",
        "english_proficiency": "Fluent",
        "birth_country/region": country,
        "self_description": "=I am 'me'",
        "system_string": "",
    })
}

/// Writes `records` into `DIR/name` as an array; what a manifest lists of it.
pub(super) fn write(place: &Place, name: &str, records: &[Value]) -> Value {
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    place.write(name, &text);
    let file = name.rsplit('/').next().unwrap();
    json!({"file": file, "sha256": digest::of_bytes(text.as_bytes()), "records": records.len()})
}

/// A benchmark of `people` in the folder `MVP`, with its splits by user and its manifest.
pub(super) fn benchmark(place: &Place, people: usize) {
    let all: Vec<Value> = (0..3 * people).map(record).collect();
    let of = |first: usize, last: usize| &all[3 * first..3 * last];
    let files = [
        write(place, "MVP/MVPBench.json", &all),
        write(place, "MVP/train.json", of(0, people - 4)),
        write(place, "MVP/validation.json", of(people - 4, people - 2)),
        write(place, "MVP/test.json", of(people - 2, people)),
    ];
    place.write("MVP/manifest.json", json!({"files": files}).to_string());
}

pub(super) fn run(place: &Place, arguments: &[&str]) -> Output {
    place.mvpbench(&[&["data"], arguments].concat()).output().unwrap()
}

#[track_caller]
pub(super) fn succeed(place: &Place, arguments: &[&str]) -> String {
    let output = run(place, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub(super) fn assert_refused(place: &Place, arguments: &[&str], parts: &[&str]) {
    let output = run(place, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?}: expected `{part}` in: {said}");
    }
}
