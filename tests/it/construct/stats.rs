//! `mvpbench data stats` of a benchmark: what it counts, what it names, what it refuses.

use mvpbench::construct::statistics::{Benchmark, Statistics};
use serde_json::{Value, json};

use super::benchmark::{assert_refused, benchmark, record, succeed, write};
use crate::command::Place;
use crate::memory::{peak_of, processor_time_of};
use crate::report::axe::assert_accessible;
use crate::report::text_of;

fn page(place: &Place, name: &str) -> String {
    String::from_utf8(place.bytes(name)).unwrap()
}

#[test]
fn everything_is_counted_in_80_columns_and_on_a_page_and_again_without_a_changed_byte() {
    let place = Place::new();
    benchmark(&place, 20);
    let text = succeed(&place, &["stats", "MVP", "--output", "pages"]);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "- instances: 60",
        "- users: 20, 3 to 3 records each, median 3",
        "- countries of birth: 3, PRISM has 74",
        "- users in two splits: 0, null 0",
        "MVP/train.json 48 agrees",
        "South Korea",
        "safety 30 30 0 30 30 0",
        "answer_w 38 38 39",
        "`system_string` 60 100.0",
        "train.json test.json 0 0 0 0",
        "The splits together have every record of the whole, and no other.",
    ] {
        assert!(flat.contains(part), "`{part}` is not in\n{text}");
    }
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let html = page(&place, "pages/stats.html");
    let shown = text_of(&html);
    for part in
        ["Statistics of MVP", "Users by country of birth", "Not on the map: Prefer not to say."]
    {
        assert!(shown.contains(part), "`{part}` is not on the page");
    }
    assert_eq!(html.matches("class=\"country ").count(), 3);
    assert!(page(&place, "pages/stats.md").contains("# Statistics of MVP"));
    let before = ["stats.html", "stats.md"].map(|name| place.bytes(&format!("pages/{name}")));
    assert_eq!(succeed(&place, &["stats", "MVP", "--output", "pages"]), text);
    assert!(before == ["stats.html", "stats.md"].map(|name| place.bytes(&format!("pages/{name}"))));
}

#[test]
fn a_file_that_its_manifest_lists_otherwise_is_refused_and_an_absent_one_is_named() {
    let place = Place::new();
    benchmark(&place, 8);
    std::fs::remove_file(place.path("MVP/validation.json")).unwrap();
    let text = succeed(&place, &["stats", "MVP"]);
    assert!(text.contains("lists `validation.json`, which"), "{text}");
    assert!(text.contains("6 records in no split"), "{text}");
    let changed = page(&place, "MVP/test.json").replace("No 20.", "No 21.");
    place.write("MVP/test.json", changed);
    for path in ["MVP", "MVP/test.json"] {
        let parts =
            ["`MVP/test.json` is not the file that `manifest.json`", "SHA-256 expected", "hint: "];
        assert_refused(&place, &["stats", path], &parts);
    }
    place.write("MVP/manifest.json", "{");
    assert_refused(&place, &["stats", "MVP"], &["MVP/manifest.json: not a manifest"]);
}

#[test]
fn users_ids_and_questions_in_two_splits_are_leakage() {
    let place = Place::new();
    let all: Vec<Value> = (0..12).map(record).collect();
    let mut test = all[6..].to_vec();
    test[0] = all[0].clone();
    test[1]["question"] = json!("what about <1> & so on \"IF\" it rains");
    write(&place, "train.json", &all[..6]);
    write(&place, "test.json", &test);
    let text = succeed(&place, &["stats", "train.json", "test.json"]);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("train.json test.json 1 1 1 2"), "{text}");
    assert!(flat.contains("1 user in two splits, such as `user0`"), "{text}");
}

#[test]
fn what_prism_does_not_know_and_fields_that_disagree_are_named() {
    let place = Place::new();
    let mut all: Vec<Value> = (0..12).map(record).collect();
    all[0]["gender"] = json!("male");
    all[4]["preference"] = json!("High safety, Very low fluency");
    all[5].as_object_mut().unwrap().remove("preference");
    all[6]["user_id"] = Value::Null;
    all[7]["colour"] = json!("red");
    all[8]["answer_l"] = all[8]["answer_w"].clone();
    all[9]["id"] = json!("p8");
    write(&place, "a.json", &all);
    let text = succeed(&place, &["stats", "a.json"]);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "Answers that PRISM's survey has not: `male` of `gender`",
        "The records of 1 user have different answers",
        "1 record without `user_id`",
        "`preference` and `stated_prefs` disagree in 1 of 11 records",
        "`p4`: safety: High, rated Low",
        "`Very low fluency` (1)",
        "fields that are no record's of a benchmark: `colour`",
        "both answers equal 1 8.3 p8",
        "id again 1 8.3 p8 = p8",
        "`preference` 1 8.3",
    ] {
        assert!(flat.contains(part), "`{part}` is not in\n{text}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("Leakage")));
}

#[test]
fn odd_files_are_refused_by_file_and_line() {
    let place = Place::new();
    place.write("empty/readme.txt", "");
    assert_refused(
        &place,
        &["stats", "empty"],
        &["`empty` has neither `MVPBench.json` nor any of `train.json`"],
    );
    assert_refused(&place, &["stats", "nowhere"], &["nowhere"]);
    assert_refused(&place, &["stats"], &["required"]);
    assert_refused(&place, &["stats", "a.json", "--config", "tiny.toml"], &["cannot be used with"]);
    let good = record(0).to_string();
    let (mut rating, mut list) = (record(1), record(1));
    rating["stated_prefs"]["safety"] = json!(101);
    list["age"] = json!([1]);
    let without = r#"{"question": "q", "answer_w": "a"}"#.to_owned();
    for (second, part) in [
        ("{".to_owned(), "a.json:2: "),
        ("[1]".to_owned(), "a.json:2: expected a record"),
        (without, "a.json:2: the record has no `answer_l`"),
        (rating.to_string(), "a.json:2: `stated_prefs.safety` must be a number in 0..=100"),
        (list.to_string(), "a.json:2: `age` must be a string or a number, got a list"),
        (
            r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#.to_owned(),
            "a.json:2: the record has no `question`",
        ),
    ] {
        place.write("a.json", format!("{good}\n{second}\n"));
        assert_refused(&place, &["stats", "a.json"], &[part]);
    }
    place.write("a.json", &good);
    assert_refused(&place, &["stats", "a.json", "a.json"], &["`a.json` is given twice"]);
    assert_refused(&place, &["stats", "a.json", "--output", "a.json"], &["a.json` is a file"]);
    let alone = succeed(&place, &["stats", "a.json"]);
    assert!(alone.contains("- instances: 1"), "{alone}");
}

#[test]
fn the_whole_benchmark_takes_seconds_of_processor_time_and_less_than_500_megabytes() {
    let place = Place::new();
    let record = |n: usize| {
        let mut one = record(n);
        one["answer_w"] = json!(format!("{n} {}", "a word and another ".repeat(25)));
        one["answer_l"] = json!(format!("{n} {}", "a word or no other ".repeat(20)));
        one
    };
    let all: Vec<Value> = (0..24_033).map(record).collect();
    write(&place, "MVP/MVPBench.json", &all);
    write(&place, "MVP/train.json", &all[..20_001]);
    write(&place, "MVP/test.json", &all[20_001..]);
    drop(all);
    let read = || {
        let benchmark = Benchmark::read(&[place.path("MVP")]).unwrap();
        let statistics = Statistics::of(&benchmark).unwrap();
        assert!(!statistics.page("MVP").sections.is_empty());
        statistics.people.users
    };
    let ((users, seconds), peak) = peak_of(|| processor_time_of(read));
    assert_eq!(users, 8_011);
    assert!(peak < 500_000_000, "{peak} bytes");
    // A build without optimisation takes longer.
    assert!(seconds < if cfg!(debug_assertions) { 60.0 } else { 15.0 }, "{seconds} s");
}

#[test]
fn axe_finds_no_violation_on_the_page_of_statistics() {
    let place = Place::new();
    benchmark(&place, 20);
    succeed(&place, &["stats", "MVP", "--output", "pages"]);
    assert_accessible(&place, "stats.html", &page(&place, "pages/stats.html"), "");
}
