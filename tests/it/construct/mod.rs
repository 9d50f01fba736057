//! The data sets of the paper, built from the original downloads.

mod prism_pairs;
mod ufp4;

use std::process::Output;

use serde_json::Value;

use crate::command::Place;

/// Runs `mvpbench data` with `arguments`.
fn data(place: &Place, arguments: &[&str]) -> Output {
    place.mvpbench(&[&["data"], arguments].concat()).output().unwrap()
}

/// What a command that succeeds says: on stdout, and on stderr.
#[track_caller]
fn succeed(output: &Output) -> (String, String) {
    let [out, said] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{said}");
    (out, said)
}

#[track_caller]
fn assert_refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in [&["error: "], parts].concat() {
        assert!(said.contains(part), "expected `{part}` in: {said}");
    }
}

fn json(place: &Place, file: &str) -> Value {
    serde_json::from_slice(&place.bytes(file)).unwrap()
}

/// JSON lines of `records`.
fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}
