//! `mvpbench data split` from the command line.

use std::collections::BTreeSet;

use mvpbench::disk::lock;
use serde_json::Value;

use super::verbs::{assert_refused, succeed};
use crate::command::Place;

/// Twenty people of four countries with three records each, as an array.
fn people(place: &Place) {
    let records: Vec<String> = (0..60)
        .map(|i| {
            format!(
                "{{\"id\": \"r{i}\", \"question\": \"q{i}\", \"answer_w\": \"a\", \"answer_l\": \"b\",\n  \"user_id\": \"u{}\", \"birth_country/region\": \"{}\", \"score\": 1.50}}",
                i / 3,
                ["Chile", "Kenya", "New Zealand", "Peru"][i / 3 % 4]
            )
        })
        .collect();
    place.write("people.json", format!("[{}]", records.join(", ")));
}

fn array(place: &Place, name: &str) -> Vec<Value> {
    serde_json::from_slice(&place.bytes(name)).unwrap()
}

#[test]
fn split_keeps_users_apart_and_copies_records_as_they_stand() {
    let place = Place::new();
    people(&place);
    let split = |seed: &str, output: &str| {
        let arguments = ["data", "split", "--input", "people.json", "--test-share", "0.3"];
        succeed(&place, &[arguments.as_slice(), &["--seed", seed, "--output", output]].concat())
    };
    assert!(split("5", "one").contains("users on both sides: 0"));
    let (train, test) = (array(&place, "one/train.json"), array(&place, "one/test.json"));
    assert_eq!(train.len() + test.len(), 60);
    let users = |records: &[Value]| -> BTreeSet<String> {
        records.iter().map(|record| record["user_id"].to_string()).collect()
    };
    assert!(users(&train).is_disjoint(&users(&test)) && !test.is_empty());
    let text = String::from_utf8(place.bytes("one/train.json")).unwrap();
    assert_eq!(text.matches("\"score\": 1.50}").count(), train.len());

    let manifest: Value = serde_json::from_slice(&place.bytes("one/manifest.json")).unwrap();
    assert_eq!((&manifest["by"], &manifest["seed"]), (&"user".into(), &5.into()));
    assert_eq!(manifest["test"]["records"], test.len());
    assert_eq!(manifest["inputs"][0]["sha256"].as_str().unwrap().len(), 64);

    split("5", "two");
    for name in ["train.json", "test.json", "manifest.json"] {
        assert_eq!(place.bytes(&format!("one/{name}")), place.bytes(&format!("two/{name}")));
    }
    split("6", "three");
    assert_ne!(place.bytes("one/test.json"), place.bytes("three/test.json"));
}

#[test]
fn split_goes_on_from_its_own_half_and_refuses_another() {
    let place = Place::new();
    people(&place);
    let split = ["data", "split", "--input", "people.json", "--output", "out"];
    let said = succeed(&place, &split);
    let names = ["train.json", "test.json", "manifest.json"];
    let whole = names.map(|name| place.bytes(&format!("out/{name}")));
    for killed_after in 0..=3 {
        for name in &names[killed_after..] {
            std::fs::remove_file(place.path(&format!("out/{name}"))).unwrap();
        }
        place.write("out/.test.json.12-34.partial", "half");
        assert_eq!(succeed(&place, &split), said);
        assert_eq!(names.map(|name| place.bytes(&format!("out/{name}"))), whole);
        assert!(!place.path("out/.test.json.12-34.partial").exists());
    }
    let other = [&split[..], &["--seed", "77"]].concat();
    let what = "`out` holds another split: `--seed` was `12`, is `77`";
    assert_refused(&place, &other, &[what, "hint: give another folder"]);
    assert_eq!(place.bytes("out/train.json"), whole[0]);
    std::fs::remove_file(place.path("out/manifest.json")).unwrap();
    assert_refused(&place, &other, &["`out/train.json` already exists, of another split"]);
}

#[cfg(unix)]
#[test]
fn split_names_the_input_that_has_changed_also_where_it_ended_before_its_manifest() {
    let place = Place::new();
    people(&place);
    let one = |prompt: &str| {
        let record = format!(
            r#"[{{"question": "{prompt}", "answer_w": "a", "answer_l": "b", "user_id": "v"}}]"#
        );
        place.write("one.json", record);
    };
    one("Why?");
    let inputs = ["data", "split", "--input", "people.json", "one.json"];
    let split = [&inputs[..], &["--test-share", "0.9", "--output", "out"]].concat();
    // No file may grow beyond 4 KiB, and only the test side does.
    let command = place.mvpbench(&split);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    let ended = limited.current_dir(place.folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let is_there = |name: &str| place.path("out").join(name).exists();
    assert_eq!(["train.json", "test.json"].map(is_there), [true, false], "{said}");

    one("How?");
    let what = "`out` holds another split: `one.json` has changed";
    assert_refused(&place, &split, &[what, "or the inputs"]);
    one("Why?");
    succeed(&place, &split);
    assert!(!is_there(".split.json"), "the manifest has all that it tells");
    one("How?");
    assert_refused(&place, &split, &[what]);
    let fewer =
        ["data", "split", "--input", "people.json", "--test-share", "0.9", "--output", "out"];
    assert_refused(&place, &fewer, &["another split: `one.json` is not given"]);
}

#[test]
fn split_is_refused_while_another_program_writes_and_its_lock_hinders_nobody() {
    let place = Place::new();
    people(&place);
    let split = ["data", "split", "--input", "people.json", "--output", "out"];
    let held = lock::folder(&place.path("out")).unwrap();
    assert_refused(&place, &split, &["another program is writing in `out`", "hint: wait for it"]);
    assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 1);
    drop(held);
    let said = succeed(&place, &split);
    assert_eq!(succeed(&place, &split), said);
    assert!(succeed(&place, &["data", "stats", "out"]).contains("- instances: 60"));
    succeed(&place, &["data", "review", "sample", "out"]);
    // A folder that has the lock alone, such as of a command that was refused, is as good as an empty one.
    drop(lock::folder(&place.path("new")).unwrap());
    succeed(&place, &["data", "split", "--input", "people.json", "--output", "new"]);
}

#[test]
fn split_holds_whole_countries_out() {
    let place = Place::new();
    people(&place);
    let arguments = ["data", "split", "--input", "people.json", "--by", "country"];
    let more = ["--countries", "Peru,New Zealand", "--output", "out"];
    succeed(&place, &[arguments.as_slice(), &more].concat());
    let countries = |name: &str| -> BTreeSet<String> {
        let records = array(&place, name);
        records.iter().map(|record| record["birth_country/region"].to_string()).collect()
    };
    assert_eq!(countries("out/test.json").len(), 2);
    assert!(countries("out/train.json").is_disjoint(&countries("out/test.json")));
}

#[test]
fn split_refuses_to_overwrite_and_what_cannot_be_decided() {
    let place = Place::new();
    people(&place);
    place.write("pairs.json", r#"[{"prompt": "p", "chosen": "a", "rejected": "b"}]"#);
    place.write("broken.json", "[{\"question\": 1}]");
    place.write("there/test.json", "mine");
    let refuse = |more: &[&str], parts: &[&str]| {
        let arguments = [&["data", "split", "--input"], more].concat();
        assert_refused(&place, &arguments, parts);
    };
    refuse(&["people.json", "--output", "there"], &["`there/test.json` already exists", "hint"]);
    assert_eq!(place.bytes("there/test.json"), b"mine");
    let to = ["--output", "out"];
    let with = |more: &[&'static str]| [more, &to].concat();
    refuse(&with(&["pairs.json"]), &["pairs.json:1: the record has no `user_id`", "--by record"]);
    refuse(&with(&["broken.json"]), &["broken.json:1"]);
    refuse(&with(&["nowhere.json"]), &["nowhere.json"]);
    refuse(&with(&["people.json", "people.json"]), &["the same bytes"]);
    refuse(&with(&["people.json", "--test-share", "1"]), &["`--test-share`", "got `1`"]);
    refuse(&with(&["people.json", "--countries", "Peru"]), &["--by country"]);
    refuse(
        &with(&["people.json", "--by", "country", "--countries", "Perú"]),
        &["`Perú`", "`Peru`"],
    );
    assert!(!place.path("out").exists());
}

#[test]
fn split_copies_conversations_without_a_template() {
    let place = Place::new();
    let messages = |text: &str| format!(r#"[{{"role": "user", "content": "{text}"}}]"#);
    let records: Vec<String> = (0..40)
        .map(|i| {
            let (prompt, chosen, rejected) = (messages(&format!("q{i}")), messages("a"), messages("b"));
            format!(r#"{{"prompt": {prompt}, "chosen": {chosen}, "rejected": {rejected}, "user_id": {i}}}"#)
        })
        .collect();
    place.write("messages.jsonl", records.join("\n"));
    let arguments = ["data", "split", "--input", "messages.jsonl", "--test-share", "0.5"];
    succeed(&place, &[arguments.as_slice(), &["--output", "out"]].concat());
    assert_eq!(array(&place, "out/train.json").len() + array(&place, "out/test.json").len(), 40);
}
