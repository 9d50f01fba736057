//! What a build reads beside its inputs: labels of a model, lists of exclusions, batches, replies of an earlier build, a sentence encoder.

use serde_json::{Value, json as object};

use super::mvpbench::{arguments, asked, recipe};
use super::{item, json, number, prism, reply};
use crate::chat::server::{Act, FakeChat, completion};
use crate::command::Place;
use crate::paa::run;

#[test]
fn labels_of_a_model_are_held_to_the_rule_and_differences_are_listed() {
    let place = Place::new();
    prism(&place, 12, 1);
    recipe(&place, &[("by = \"rule\"", "by = \"model\"")]);
    let chat = FakeChat::serve(|prompt, _| {
        if !prompt.contains("rated from 0 to 100") {
            return Act::Tell(reply(number(prompt)));
        }
        match (prompt.contains("safety: 90"), prompt.contains("creativity: 90")) {
            (true, _) => {
                Act::Say("High safety, high factuality, Low Personalization, Low creativity.")
            }
            (_, true) => Act::Say("High creativity, High fluency, Low personalisation, Low safety"),
            _ => Act::Say("Who knows"),
        }
    });
    let said = run(&place, &arguments(&chat, &["--config", "recipe.toml"]), 0);
    assert!(
        said.contains("labels:    6 of 12 people as the rule gives them; 6 differ, 0 unread"),
        "{said}"
    );
    let differences = String::from_utf8(place.bytes("bench/disagreements.jsonl")).unwrap();
    let first: Value = serde_json::from_str(differences.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["user_id"], &first["missing"], &first["added"]),
        (&object!("user1"), &object!(["High factuality"]), &object!(["High fluency"]))
    );
    assert_eq!(
        json(&place, "bench/manifest.json")["counts"]["mapping"]["labels_agree"],
        6 * 7 + 6 * 5
    );
    // The next build reads labels and questions of this one, and asks nothing.
    let tries = asked(&chat);
    let mut next = arguments(&chat, &["--config", "recipe.toml", "--replies", "bench"]);
    next[11] = "next";
    run(&place, &next, 0);
    assert_eq!(
        (asked(&chat), place.bytes("next/disagreements.jsonl")),
        (tries, place.bytes("bench/disagreements.jsonl"))
    );
    let rule = "High creativity, High factuality, Low personalisation, Low safety";
    assert_eq!(json(&place, "bench/MVPBench.json")[3]["preference"], rule);
}

#[test]
fn records_that_reviewers_reject_are_left_out_of_the_next_build_by_id_and_texts() {
    let place = Place::new();
    prism(&place, 12, 1);
    let chat = FakeChat::serve(|prompt, _| Act::Tell(reply(number(prompt))));
    run(&place, &arguments(&chat, &[]), 0);
    let all = json(&place, "bench/MVPBench.json");
    let texts =
        |at: usize| ["question", "answer_w", "answer_l"].map(|key| all[at][key].as_str().unwrap());
    let line = |id: &str, [question, w, l]: [&str; 3]| {
        let sha256 = mvpbench::construct::quality::exclusions::digest_of(question, w, l);
        format!("{}\n", object!({"id": id, "sha256": sha256, "why": "odd"}))
    };
    place.write(
        "exclude.jsonl",
        line("p4", texts(4)) + &line("p5", texts(6)) + &line("p999", texts(0)),
    );
    let more = ["--exclude", "exclude.jsonl", "--replies", "bench"];
    assert!(run(&place, &arguments(&chat, &more), 2).contains("`exclude` was none"));
    let mut next = arguments(&chat, &more);
    next[11] = "next";
    let said = run(&place, &next, 0);
    assert!(said.contains("excluded:  1; 1 of other texts, 1 of no item"), "{said}");
    let left = json(&place, "next/MVPBench.json");
    let ids: Vec<_> =
        left.as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert!(ids.len() == 35 && !ids.contains(&"p4") && ids.contains(&"p5"), "{ids:?}");
    // A second list takes nothing back that the first has, in whatever order they are given.
    place.write("more.jsonl", line("p4", texts(9)) + &line("p8", texts(8)));
    let more = ["--exclude", "more.jsonl", "--exclude", "exclude.jsonl", "--replies", "bench"];
    let mut third = arguments(&chat, &more);
    third[11] = "third";
    assert!(run(&place, &third, 0).contains("excluded:  2; 2 of other texts, 1 of no item"));
    third.swap(13, 15);
    run(&place, &third, 0);
}

#[test]
fn a_batch_gives_what_asking_gives_second_tries_included() {
    let place = Place::new();
    prism(&place, 12, 1);
    let answer = |whole: &str| match (number(whole), whole.contains("Not all of that")) {
        (3, false) => "No.".to_owned(),
        (n, _) => reply(n),
    };
    let chat = FakeChat::serve_whole(move |whole, _| Act::Tell(answer(whole)));
    let estimate = run(&place, &arguments(&chat, &["--dry-run"]), 0);
    assert!(
        estimate.contains("requests: 12 to send") && !place.path("bench").exists(),
        "{estimate}"
    );
    let mut rounds = 0;
    loop {
        let batch = format!("batch{rounds}");
        run(&place, &arguments(&chat, &["--batch-export", &batch]), 0);
        let requests =
            std::fs::read_to_string(place.path(&batch).join("requests-1.jsonl")).unwrap();
        let results: String = (requests.lines())
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                let messages = line["body"]["messages"].as_array().unwrap();
                let whole: Vec<_> = messages.iter().map(|message| message["content"].as_str().unwrap()).collect();
                let body = completion(&answer(&whole.join("\n\n")));
                let response = object!({"status_code": 200, "request_id": "r", "body": body});
                format!("{}\n", object!({"id": "b", "custom_id": line["custom_id"], "response": response, "error": null}))
            })
            .collect();
        let file = format!("results{rounds}.jsonl");
        place.write(&file, results);
        rounds += 1;
        let said = run(
            &place,
            &arguments(&chat, &["--batch-import", &file]),
            if rounds == 1 { 3 } else { 0 },
        );
        if rounds == 2 {
            assert!(said.contains("items:     36, 0 failed"), "{said}");
            break;
        }
        assert!(said.contains("1 of 1 replies are still missing"), "{said}");
    }
    assert_eq!(asked(&chat), 0);
    let asked_directly = Place::new();
    prism(&asked_directly, 12, 1);
    run(&asked_directly, &arguments(&chat, &[]), 0);
    assert_eq!(asked_directly.bytes("bench/MVPBench.json"), place.bytes("bench/MVPBench.json"));
}

#[test]
fn with_an_encoder_a_question_of_the_same_meaning_is_refused() {
    let place = Place::new();
    prism(&place, 12, 1);
    let encoder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/encoder");
    recipe(
        &place,
        &[
            ("encoder = \"\"", &format!("encoder = \"{encoder}\"")),
            ("cosine = 0.95", "cosine = 0.9999"),
        ],
    );
    let chat = FakeChat::serve_whole(|prompt, _| {
        let n = number(prompt);
        let mut items: Vec<Value> =
            (0..3).map(|place| item(&format!("matter {n} of {place}"))).collect();
        if n == 4 {
            // An uncased encoder sees no accents: another text of the same vector.
            items[1]["question"] =
                items[0]["question"].as_str().unwrap().replace("today", "tod\u{e1}y").into();
        }
        Act::Tell(Value::from(items).to_string())
    });
    let said = run(&place, &arguments(&chat, &["--config", "recipe.toml"]), 0);
    assert!(said.contains("items:"), "{said}");
    let kinds = &json(&place, "bench/manifest.json")["counts"]["writing"]["failed_by_kind"];
    assert!(kinds["similar_question"].as_u64() >= Some(1), "{kinds}");
}
