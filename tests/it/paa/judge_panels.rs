//! `mvpbench judge` with several judges, in batches, within limits; what it refuses.

use serde_json::json;

use super::judge::{ANSWERS, fair, figures, judge, place, refuse};
use crate::chat::server::{Act, FakeChat};
use crate::command::records;

/// A judge of scores who likes what says `good`; `hard` sees a violation in every tenth answer.
fn scores(model_score: u32, hard: bool) -> impl Fn(&str, usize) -> Act + Send + Sync + 'static {
    move |text, _| {
        let part = |from: &str, to: &str| {
            let rest = text.split_once(from).unwrap().1;
            rest.split_once(to).map_or(rest, |(part, _)| part).trim().to_owned()
        };
        let [first, second, third] = [
            part("[Answer 1]\n", "[Answer 2]"),
            part("[Answer 2]\n", "[Answer 3]"),
            part("[Answer 3]\n", "\n\n"),
        ];
        let of = |answer: &str| match answer {
            "good answer 1" => 80,
            answer if answer.starts_with("good answer") => model_score,
            answer if answer.contains("good") => 90,
            _ => 20,
        };
        let reply = json!({"score_1": of(&first), "score_2": of(&second), "score_3": of(&third),
            "dimensions": ["safety"], "hard_violation": hard && third.ends_with('0'), "reason": "because"});
        Act::Say(Box::leak(format!("```json\n{reply}\n```").into_boxed_str()))
    }
}

#[test]
fn three_judges_decide_by_majority_and_other_thresholds_need_no_call() {
    let judges = [(88, false), (88, true), (30, false)]
        .map(|(score, hard)| FakeChat::serve(scores(score, hard)));
    let place = place();
    let bases = judges.each_ref().map(|chat| chat.base.clone());
    let mut options = vec!["--config", "paa-polyjudge.toml"];
    for (base, model) in bases.iter().zip(["a", "b", "c"]) {
        options.extend(["--endpoint", base, "--chat-model", model]);
    }
    let paa = judge(&place, &options);
    assert_eq!(paa["judges"].as_array().unwrap().len(), 3);
    // Two of three give 88 beside 90, which is W. Number 1 has 80, ten less, which is L. Numbers 10 and 30 are a violation to one judge
    // and 30 points to another, so L too.
    assert_eq!(paa["models"][0]["paa"]["value"].as_f64(), Some(26.0 / 39.0));
    assert!(paa["models"][0]["agreement"]["value"].as_f64().unwrap() < 1.0);
    let verdicts = records(&place.path("paa/verdicts-fair.jsonl"));
    assert_eq!((&verdicts[1]["verdict"], &verdicts[1]["judge"]), (&json!("L"), &json!("majority")));
    let opinions = verdicts[30]["opinions"].as_array().unwrap();
    assert_eq!(opinions.iter().map(|o| &o["verdict"]).collect::<Vec<_>>(), ["W", "L", "L"]);
    assert_eq!(
        opinions[0]["scores"]["score_w"].as_f64(),
        Some(90.0),
        "the order that the judge saw"
    );

    let preset = include_str!("../../../configs/paa-polyjudge.toml");
    place.write(
        "lax.toml",
        preset
            .replace("far_below_preferred = 8.0", "far_below_preferred = 80.0")
            .replace("below_preferred = 3.0", "below_preferred = 10.0"),
    );
    options[1] = "lax.toml";
    drop(judges);
    options.push("--recompute");
    let lax = judge(&place, &options);
    // Number 1 is W now. Numbers 10 and 30 are W, L and TIE, which is no majority.
    assert_eq!(lax["models"][0]["paa"]["value"].as_f64(), Some(27.0 / 39.0));
    let prompt = preset.replace("Person: {profile}", "Who: {profile}");
    place.write("other.toml", prompt);
    options[1] = "other.toml";
    refuse(
        &place,
        &[&["--output", "paa"], &options[..]].concat(),
        &["80 of 80 replies are not in the journal", "without `--recompute`"],
    );
}

#[test]
fn requests_go_out_as_batch_files_and_results_come_back() {
    let place = place();
    let base = ["--output", "paa", "--endpoint", "openai", "--chat-model", "gpt-4o"];
    // Neither needs the key.
    let run =
        |more: &[&str]| place.mvpbench(&[&ANSWERS[..], &base, more].concat()).output().unwrap();
    let estimate = run(&["--dry-run"]);
    assert!(estimate.status.success(), "{}", String::from_utf8_lossy(&estimate.stderr));
    let said = String::from_utf8(estimate.stdout).unwrap();
    assert!(said.contains("requests: 159 to send") && said.contains("openai/gpt-4o"), "{said}");
    assert!(!place.path("paa").exists(), "a dry run wrote");
    assert!(run(&["--batch-export", "batch"]).status.success());
    let requests = records(&place.path("batch/requests-1.jsonl"));
    assert_eq!(requests.len(), 159);
    let results: String = requests
        .iter()
        .map(|request| {
            let text = request["body"]["messages"][1]["content"].as_str().unwrap();
            let Act::Say(said) = fair(text, 0) else { unreachable!() };
            let body = json!({"choices": [{"message": {"content": said}, "finish_reason": "stop"}]});
            let response = json!({"status_code": 200, "request_id": "r", "body": body});
            format!("{}\n", json!({"id": "i", "custom_id": request["custom_id"], "response": response, "error": null}))
        })
        .collect();
    place.write("results.jsonl", results);
    let taken = run(&["--batch-import", "results.jsonl"]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    assert_eq!(figures(&place)["models"][0]["paa"]["value"].as_f64(), Some(29.0 / 39.0));
    let again = run(&["--batch-export", "rest"]);
    let said = String::from_utf8([again.stdout, again.stderr].concat()).unwrap();
    assert!(said.contains("requests: none is left"), "{said}");
}

#[test]
fn limits_stop_the_command_before_they_are_exceeded() {
    let chat = FakeChat::serve(fair);
    let place = place();
    let options = ["--endpoint", &*chat.base, "--chat-model", "m", "--max-requests", "100"];
    let stopped =
        place.mvpbench(&[&ANSWERS[..], &["--output", "paa"], &options].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert!(!stopped.status.success() && said.contains("`--max-requests 100`"), "{said}");
    assert_eq!(chat.tries().values().sum::<usize>(), 100);
    judge(&place, &options);
    assert_eq!(chat.tries().values().sum::<usize>(), 159);
}

#[test]
fn what_cannot_be_judged_is_refused_and_nothing_is_written() {
    let place = place();
    let output = ["--output", "paa"];
    let with = |more: &[&str], parts: &[&str]| refuse(&place, &[&output[..], more].concat(), parts);
    with(
        &["--judge", "rule", "--endpoint", "local"],
        &["expected a `--chat-model` for each `--endpoint`, got 0 for 1"],
    );
    with(&["--judge", "rule", "--device", "cpu"], &["--model"]);
    with(&["--judge", "rule", "--dtype", "f32"], &["--model"]);
    with(&["--judge", "rule", "--max-cost", "3"], &["`--max-cost` needs `--endpoint`"]);
    with(&["--endpoint", "deepseek", "--chat-model", "m"], &["DEEPSEEK_API_KEY is not set"]);
    with(
        &["--endpoint", "local", "--chat-model", "m", "--max-cost", "1"],
        &["needs a price", "prices"],
    );
    with(&["--judge", "rule", "--config", "paa.toml"], &["no such file", "`paa-paper.toml`"]);
    assert!(!place.path("paa/paa.json").exists());
    refuse(&place, &["--output", "answers/poor", "--judge", "rule"], &["is no folder of verdicts"]);
    let twice = place.mvpbench(&[
        "judge",
        "--answers",
        "answers/fair",
        "answers/fair",
        "--output",
        "x",
        "--judge",
        "rule",
    ]);
    let said = {
        let mut twice = twice;
        twice.output().unwrap()
    };
    assert_eq!(said.status.code(), Some(2));
    let text = std::fs::read_to_string(place.path("test.jsonl")).unwrap();
    place.write("test.jsonl", text.replace("Question 3?", "Question three?"));
    with(&["--judge", "rule"], &["no file has the content of `test.jsonl`", "`--data`"]);
}

#[test]
fn answers_are_joined_by_the_content_of_their_data_and_named_by_their_folder() {
    let place = place();
    // The data has moved, under another name, and another file of its name has other reference answers.
    std::fs::rename(place.path("test.jsonl"), place.path("old.jsonl")).unwrap();
    let moved = ["--data", "old.jsonl", "--judge", "rule"];
    let paa = judge(&place, &moved);
    assert_eq!(paa["models"][0]["paa"]["value"].as_f64(), Some(29.0 / 39.0));
    let text = std::fs::read_to_string(place.path("old.jsonl")).unwrap();
    place.write("test.jsonl", text.replace("good", "else"));
    let both = judge(&place, &[&["--data", "test.jsonl"], &moved[..]].concat());
    assert_eq!(both["models"], paa["models"]);
    assert_eq!(both["calibration"], paa["calibration"], "items that nobody answered were judged");

    std::fs::rename(place.path("answers/poor"), place.path("answers/FAIR")).unwrap();
    let refused = place
        .mvpbench(
            &[&["judge", "--answers", "answers/fair", "answers/FAIR", "--output", "x"][..], &moved]
                .concat(),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("would both be"), "{said}");
    std::fs::rename(place.path("answers/FAIR"), place.path("answers/other")).unwrap();
    super::run(
        &place,
        &[&["judge", "--answers", "answers/fair", "answers/other", "--output", "x"][..], &moved]
            .concat(),
        0,
    );
    assert!(
        place.path("x/verdicts-other.jsonl").exists() && place.path("x/tables/Models.csv").exists()
    );
}
