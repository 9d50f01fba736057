//! `mvpbench data build-mvpbench` against a scripted endpoint on loopback.

use std::collections::BTreeSet;

use serde_json::{Value, json as object};

use super::{item, json, number, prism, reply};
use crate::chat::server::{Act, FakeChat, completion};
use crate::command::{Place, lines};
use crate::paa::{files, run};
use crate::running::Running;

pub(super) fn arguments<'a>(chat: &'a FakeChat, more: &[&'a str]) -> Vec<&'a str> {
    let all = [
        "data",
        "build-mvpbench",
        "--survey",
        "survey.jsonl",
        "--conversations",
        "conversations.jsonl",
    ];
    let asked = ["--endpoint", &chat.base, "--chat-model", "m", "--output", "bench"];
    [&all[..], &asked, more].concat()
}

pub(super) fn asked(chat: &FakeChat) -> usize {
    chat.tries().values().sum()
}

/// The recipe in the binary with each of `changes`, as a file of `place`.
pub(super) fn recipe(place: &Place, changes: &[(&str, &str)]) {
    let mut text = mvpbench::construct::mvpbench::recipe::PRESET.1.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    place.write("recipe.toml", text);
}

#[test]
fn a_benchmark_in_the_released_layout_is_built_split_by_user_and_trains() {
    let place = Place::new();
    prism(&place, 12, 2);
    let chat = FakeChat::serve(|prompt, _| Act::Tell(reply(number(prompt))));
    let said = run(&place, &arguments(&chat, &[]), 0);
    assert!(said.contains("items:     72, 0 failed\n"), "{said}");
    assert!(said.contains("12 survey users"), "counts that are not PRISM's are told: {said}");
    let prompt = chat.tries().into_keys().next().unwrap();
    for part in [
        "High safety, High factuality, Low personalisation, Low creativity",
        "They say of themselves: (nothing)",
        "a model behave like this: Be brief.",
        "Person: Hello number",
        "\nModel: Well.\n",
    ] {
        assert!(chat.tries().keys().any(|prompt| prompt.contains(part)), "{part}: {prompt}");
    }
    assert!(!prompt.contains("Badly."), "only the answer that was chosen: {prompt}");

    let all = json(&place, "bench/MVPBench.json");
    let all = all.as_array().unwrap();
    let ids: Vec<_> = all.iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert_eq!(ids, (0..72).map(|n| format!("p{n}")).collect::<Vec<_>>());
    let fields = [
        "id",
        "question",
        "answer_w",
        "answer_l",
        "user_id",
        "stated_prefs",
        "preference",
        "age",
        "gender",
        "employment_status",
        "education",
        "marital_status",
        "english_proficiency",
        "birth_country/region",
        "self_description",
        "system_string",
    ];
    assert!(all[7].as_object().unwrap().keys().eq(fields));
    assert_eq!(
        all[7]["preference"],
        "High creativity, High factuality, Low personalisation, Low safety"
    );
    assert_eq!(
        (&all[7]["user_id"], &all[7]["birth_country/region"]),
        (&object!("user1"), &object!("Chile"))
    );
    assert_eq!(
        (&all[7]["stated_prefs"]["helpfulness"], &all[7]["stated_prefs"]["other"]),
        (&object!(79.5), &Value::Null)
    );

    let mut seen = BTreeSet::new();
    let mut records = 0;
    for side in ["train", "validation", "test"] {
        let side = json(&place, &format!("bench/{side}.json"));
        let users: BTreeSet<String> =
            side.as_array().unwrap().iter().map(|record| record["user_id"].to_string()).collect();
        assert!(seen.is_disjoint(&users));
        seen.extend(users);
        records += side.as_array().unwrap().len();
        assert!(side.as_array().unwrap().iter().all(|record| all.contains(record)));
    }
    assert_eq!((records, seen.len()), (72, 12));
    let manifest = json(&place, "bench/manifest.json");
    for file in manifest["files"].as_array().unwrap() {
        let bytes = place.bytes(&format!("bench/{}", file["file"].as_str().unwrap()));
        assert_eq!(file["sha256"], mvpbench::disk::digest::of_bytes(&bytes));
    }
    assert_eq!(
        manifest["published"][2],
        object!({"what": "conversations", "published": 8011, "found": 24, "differs": true})
    );
    assert_eq!(manifest["model"]["served"], object!(["m"]));

    let sets = r#"eval.sets=[{name = "test", files = ["bench/test.json"]}]"#;
    let train =
        ["--config", "tiny.toml", "--output", "run", "--set", r#"data.train=["bench/train.json"]"#];
    place.succeed(&[&train[..], &["--set", sets, "--set", "train.max_steps=2"]].concat());
    assert!(
        json(&place, "run/eval/after.json")["sets"][0]["overall"]["opa"]["n"].as_u64() > Some(0)
    );

    // Again: nothing is asked and no byte changes; another command is refused by what differs.
    let (before, tries) = (files(&place.path("bench")), asked(&chat));
    run(&place, &arguments(&chat, &[]), 0);
    assert_eq!((files(&place.path("bench")), asked(&chat)), (before.clone(), tries));
    let mut other = arguments(&chat, &[]);
    other[9] = "n";
    assert!(run(&place, &other, 2).contains("`chat-model` was `m`, is `n`"));
    recipe(&place, &[("seed = 12", "seed = 13")]);
    let other = run(&place, &arguments(&chat, &["--config", "recipe.toml"]), 2);
    assert!(other.contains("`recipe` was"), "{other}");
    assert_eq!(files(&place.path("bench")), before);
    // Neither the name of an input nor a price makes another build of it.
    let mut renamed = arguments(&chat, &["--config", "priced.toml"]);
    renamed[3] = "./survey.jsonl";
    let preset = mvpbench::construct::mvpbench::recipe::PRESET.1;
    place.write("priced.toml", format!("{preset}\n[prices.m]\ninput = 1.0\noutput = 2.0\n"));
    run(&place, &renamed, 0);
    assert_eq!((files(&place.path("bench")), asked(&chat)), (before.clone(), tries));
    // A copy without the empty lock is a folder of the same build.
    std::fs::remove_file(place.path("bench/run.lock")).unwrap();
    run(&place, &arguments(&chat, &[]), 0);
    // Replies that are gone are not paid for again in a finished folder.
    let journal = place.bytes("bench/journal.jsonl");
    std::fs::remove_file(place.path("bench/journal.jsonl")).unwrap();
    assert!(run(&place, &arguments(&chat, &[]), 0).contains("nothing is asked"));
    std::fs::remove_file(place.path("bench/test.json")).unwrap();
    assert!(run(&place, &arguments(&chat, &[]), 2).contains("journal.jsonl` is missing"));
    assert_eq!(asked(&chat), tries);
    place.write("bench/journal.jsonl", journal);
    run(&place, &arguments(&chat, &[]), 0);
    assert_eq!((files(&place.path("bench")), asked(&chat)), (before.clone(), tries));
    // A file that was lost is written again, one that was changed is not overwritten.
    std::fs::remove_file(place.path("bench/test.json")).unwrap();
    run(&place, &arguments(&chat, &[]), 0);
    assert_eq!((files(&place.path("bench")), asked(&chat)), (before, tries));
    place.write("bench/test.json", "[]");
    assert!(run(&place, &arguments(&chat, &[]), 2).contains("bench/test.json` was changed after"));
    // Another build from the same replies asks nothing, and leaves them as they are.
    let mistyped = run(
        &place,
        &{
            let mut all = arguments(&chat, &["--replies", "bensh"]);
            all[11] = "bench3";
            all
        },
        2,
    );
    assert!(mistyped.contains("`bensh/journal.jsonl`: no such file"), "{mistyped}");
    let elsewhere = ["--config", "recipe.toml", "--replies", "bench"];
    let mut elsewhere = arguments(&chat, &elsewhere);
    elsewhere[11] = "bench2";
    let mut estimate = elsewhere.clone();
    estimate.push("--dry-run");
    assert!(run(&place, &estimate, 0).contains("requests: 0 to send, 24 answered before"));
    run(&place, &elsewhere, 0);
    assert_eq!(
        (asked(&chat), place.bytes("bench2/MVPBench.json")),
        (tries, place.bytes("bench/MVPBench.json"))
    );
}

#[test]
fn what_cannot_be_used_is_asked_for_once_more_and_then_counted_with_its_reason() {
    let place = Place::new();
    prism(&place, 10, 1);
    // User 0 is asked twice the same, by other words of punctuation and case.
    let chat = FakeChat::serve_whole(|whole, _| {
        let (n, is_second) = (number(whole), whole.contains("Not all of that can be used"));
        let good = |place| item(&format!("matter {n} of {place}"));
        let without = |field: &str| {
            let mut item = good(1);
            item.as_object_mut().unwrap().remove(field);
            item
        };
        let mut same = good(1);
        same["answer_l"] = same["answer_w"].as_str().unwrap().to_uppercase().into();
        let mut cut =
            completion(&object!([good(0), good(1)]).to_string().replace("}]", "}, {\"quest"));
        cut["choices"][0]["finish_reason"] = object!("length");
        match (n, is_second) {
            (0, false) => Act::Say("I cannot do that."),
            (1, false) => Act::Tell(object!([good(0), without("answer_l"), good(2)]).to_string()),
            (2, _) => Act::Tell(object!([good(0), same, good(2)]).to_string()),
            (3, false) => Act::Status("200 OK", "", cut.to_string()),
            (4, _) => Act::Tell(object!([good(0), good(0), good(2)]).to_string()),
            (5, _) => Act::Status("400 Bad Request", "", "{\"error\":\"too long\"}".into()),
            (6, false) => Act::Tell(object!([good(0)]).to_string()),
            (6, true) => Act::Status("400 Bad Request", "", "{\"error\":\"too long\"}".into()),
            (7, false) => {
                let german = "Am besten kochen Sie heute Abend etwas Einfaches, zum Beispiel Reis mit Bohnen und ein wenig Salz dazu.";
                let mut item = good(1);
                item["answer_w"] = german.into();
                Act::Tell(object!([good(0), item, good(2)]).to_string())
            }
            _ => Act::Tell(object!([good(0), good(1), good(2)]).to_string()),
        }
    });
    let said = run(&place, &arguments(&chat, &[]), 0);
    assert!(said.contains("asked:     10 conversations, 7 a second time"), "{said}");
    let manifest = json(&place, "bench/manifest.json");
    let writing = &manifest["counts"]["writing"];
    let kinds = object!({"equal_answers": 1, "no_reply": 3, "repeated_question": 1, "too_few": 2});
    assert_eq!(writing["failed_by_kind"], kinds, "{writing}");
    assert_eq!(
        (&writing["items"], &writing["failed"], &writing["replies_cut"]),
        (&object!(23), &object!(7), &object!(1))
    );
    assert_eq!(writing["mended"], object!(3 + 1 + 1 + 1));
    let failures = String::from_utf8(place.bytes("bench/failures.jsonl")).unwrap();
    let failures: Vec<Value> =
        failures.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = failures.iter().map(|failure| failure["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["p7", "p13", "p15", "p16", "p17", "p19", "p20"]);
    assert_eq!(
        failures[1]["why"],
        "the question is that of p12: `What would you do about matter 4 of 0 today?`"
    );
    assert_eq!(failures[2]["why"], "status 400: too long");
    assert!(
        chat.tries()
            .keys()
            .any(|whole| whole.contains("used: object 2: `answer_l` is missing or no text."))
    );

    // What failed at the endpoint is asked again where that is wanted, and nothing else.
    let tries = asked(&chat);
    assert!(run(&place, &arguments(&chat, &["--retry-failed"]), 0).contains("7 failed"));
    assert_eq!(asked(&chat), tries + 2);
    // A file that somebody changed is not replaced, whatever is asked again.
    place.write("bench/train.json", "[]");
    assert!(
        run(&place, &arguments(&chat, &["--retry-failed"]), 2)
            .contains("train.json` was changed after")
    );
}

#[test]
fn a_build_that_is_killed_resumes_to_the_same_bytes_and_pays_for_nothing_twice() {
    let place = Place::new();
    prism(&place, 60, 2);
    let chat = FakeChat::serve_whole(|whole, attempt| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let n = number(whole);
        // Every fifth first reply is of no use.
        match whole.contains("Not all of that") {
            false if n.is_multiple_of(5) => Act::Say("No."),
            _ if attempt > 20 => Act::Drop,
            _ => Act::Tell(reply(n)),
        }
    });
    run(&place, &arguments(&chat, &[]), 0);
    let whole = files(&place.path("bench"));
    let once = asked(&chat);
    assert_eq!(once, 120 + 24);
    let cut = Place::new();
    prism(&cut, 60, 2);
    let journal = cut.path("bench/journal.jsonl");
    for kept in [10, 50, 90, 125] {
        let mut command = cut.mvpbench(&arguments(&chat, &["-q"]));
        Running::start(&mut command).kill_at("some replies", || lines(&journal) > kept);
    }
    run(&cut, &arguments(&chat, &[]), 0);
    for (path, bytes) in whole.iter().filter(|(path, _)| !path.ends_with("journal.jsonl")) {
        let name = path.rsplit('/').next().unwrap();
        assert!(cut.bytes(&format!("bench/{name}")) == *bytes, "{name} differs");
    }
    // Both runs ask each request once; a kill may lose those in flight, which were not in the journal.
    let tries = chat.tries();
    assert_eq!(tries.len(), once);
    let again: usize = tries.values().map(|n| n - 2).sum();
    let in_flight = 4 * 64;
    assert!(
        again <= in_flight && tries.values().all(|n| (2..=6).contains(n)),
        "{again}: {tries:?}"
    );
    let asked_before = asked(&chat);
    run(&cut, &arguments(&chat, &[]), 0);
    assert_eq!(asked(&chat), asked_before, "what is in the journal is not asked again");
}

#[test]
fn broken_rows_are_named_by_file_and_line_and_the_others_are_built() {
    let place = Place::new();
    prism(&place, 12, 2);
    let mut survey = String::from_utf8(place.bytes("survey.jsonl")).unwrap();
    survey += "{\"user_id\"\n{\"user_id\": \"user90\", \"stated_prefs\": {\"safety\": \"90\"}}\n{\"user_id\": \"user91\", \"stated_prefs\": {\"safety\": 101}}\n";
    let mut held = String::from_utf8(place.bytes("conversations.jsonl")).unwrap();
    held += "{\"conversation_id\": \"c90\", \"user_id\": \"user0\", \"conversation_history\": null}\n{\"conversation_id\": \"c91\"}\n";
    place.write("survey.jsonl", survey);
    place.write("conversations.jsonl", held);
    let chat = FakeChat::serve(|prompt, _| Act::Tell(reply(number(prompt))));
    let said = run(&place, &arguments(&chat, &[]), 0);
    for named in [
        "survey.jsonl:13: not JSON",
        "survey.jsonl:14: `safety` must be a number in 0..=100, got `\"90\"`",
        "survey.jsonl:15: `safety` must be a number in 0..=100, got `101`",
        "conversations.jsonl:25: `conversation_history` is missing or null",
        "conversations.jsonl:26: `user_id` is missing",
        "items:     72, 0 failed",
    ] {
        assert!(said.contains(named), "{named}: {said}");
    }
    let manifest = json(&place, "bench/manifest.json");
    assert_eq!(manifest["broken"].as_array().unwrap().len(), 5);
    assert_eq!(manifest["prism"]["broken_survey_rows"], 3);
    // A file that is none of PRISM's is an error before anything is asked.
    let tries = asked(&chat);
    place.write("survey.jsonl", "{\"id\": 1}\n");
    let said = run(&place, &arguments(&chat, &[]), 2);
    assert!(said.contains("survey.jsonl: no row can be read, the first on line 1"), "{said}");
    assert_eq!(asked(&chat), tries);
}

#[test]
fn odd_replies_and_odd_rows_are_counted_not_passed_over() {
    let place = Place::new();
    prism(&place, 12, 1);
    let survey = String::from_utf8(place.bytes("survey.jsonl")).unwrap();
    let survey =
        survey.replace("\"gender\":\"Female\",", "").replacen("Chad", "Prefer not to say", 1);
    let twice = "{\"user_id\": \"a\", \"user_id\": \"b\", \"stated_prefs\": {}}\n";
    let bytes = [survey.as_bytes(), twice.as_bytes(), b"{\"user_id\": \"\xff\"}\n"].concat();
    place.write("survey.jsonl", bytes);
    let chat = FakeChat::serve_whole(|whole, _| {
        let n = number(whole);
        let mut items: Vec<Value> =
            (0..3).map(|place| item(&format!("matter {n} of {place}"))).collect();
        match n {
            0 => items.push(item("one too many")),
            1 => items[1]["score"] = 3.into(),
            2 => {
                items[0] = object!({
                    "question": "Was soll ich heute Abend kochen?",
                    "answer_w": "Reis mit Bohnen und Salz, das ist einfach.",
                    "answer_l": "Am besten nichts, essen Sie doch morgen.",
                });
            }
            3 => {
                let text = Value::from(items).to_string();
                return Act::Tell(text.replacen(
                    "\"question\":",
                    "\"question\":\"Why?\",\"question\":",
                    1,
                ));
            }
            _ => {}
        }
        Act::Tell(Value::from(items).to_string())
    });
    let said = run(&place, &arguments(&chat, &[]), 0);
    for part in [
        "survey.jsonl:13: not JSON: the key `user_id`",
        "survey.jsonl:14: expected UTF-8 text, found the byte `0xFF`",
        "fields that are missing: `gender` (12 users)",
        "replies:   1 of fewer or more than three objects; fields that are not read: `score`",
        "items:     34, 2 failed (1 doubled key, 1 language)",
    ] {
        assert!(said.replace("\n  ", " ").contains(part), "{part}: {said}");
    }
    let manifest = json(&place, "bench/manifest.json");
    assert_eq!(
        (&manifest["prism"]["birth_countries"], &manifest["prism"]["users_without_country"]),
        (&object!(3), &object!(1))
    );
}
