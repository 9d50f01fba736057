//! `mvpbench generate --endpoint`: against a scripted endpoint on loopback.

use std::time::Duration;

use mvpbench::judge::protocol::PRESETS;
use serde_json::{Value, json};

use super::{benchmark, files, number, run};
use crate::chat::server::{Act, FakeChat, completion};
use crate::command::{Place, lines, records};
use crate::running::Running;

fn place(count: usize) -> Place {
    let place = Place::new();
    place.write("test.jsonl", benchmark(count));
    place
}

fn arguments<'a>(chat: &'a FakeChat, more: &[&'a str]) -> Vec<&'a str> {
    let all = ["generate", "--endpoint", &chat.base, "--chat-model", "m", "-q"];
    [&all[..], &["--data", "test.jsonl", "--output", "answers/m"], more].concat()
}

fn asked(chat: &FakeChat) -> usize {
    chat.tries().values().sum()
}

#[test]
fn an_endpoint_that_fails_in_every_way_fills_the_folder_and_is_asked_once() {
    let place = place(12);
    let chat = FakeChat::serve(|text, attempt| match (number(text), attempt) {
        (0, 0) => Act::Status("429 Too Many Requests", "Retry-After: 1\r\n", String::new()),
        (1, 0) => Act::Status("500 Internal Server Error", "", "oops".into()),
        (2, 0) => Act::Drop,
        (3, 0) => Act::Cut,
        (4, 0) => Act::Status("200 OK", "", "{\"choices\":[{".into()),
        (5, 0) => Act::Status(
            "400 Bad Request",
            "X-Request-Id: r-5\r\n",
            "{\"error\":\"too long\"}".into(),
        ),
        (6, _) => {
            let mut body = completion("half an");
            body["choices"][0]["finish_reason"] = json!("length");
            Act::Status("200 OK", "X-Request-Id: r-6\r\n", body.to_string())
        }
        _ => Act::Say("fine"),
    });
    let said = run(&place, &arguments(&chat, &[]), 0);
    assert!(said.contains("12 items, 1 without an answer, 1 cut"), "{said}");
    assert!(said.contains("warning: 1 items have no answer"), "{said}");
    let about: Value = serde_json::from_slice(&place.bytes("answers/m/answers.json")).unwrap();
    assert_eq!(about["answered_by"]["endpoint"], chat.base);
    assert_eq!(about["answered_by"]["served"], json!(["m"]));
    assert_eq!(
        (&about["failed"], &about["cut"], &about["name"]),
        (&1.into(), &1.into(), &"m".into())
    );
    let answers = records(&place.path("answers/m/answers.jsonl"));
    assert_eq!((&answers[0]["answer"], &answers[0]["finish"]), (&"fine".into(), &"stop".into()));
    assert_eq!(answers[5]["answer"], Value::Null);
    assert_eq!(answers[5]["finish"], "status 400: too long");
    assert_eq!(answers[6]["finish"], "length");
    let journal = String::from_utf8(place.bytes("answers/m/journal.jsonl")).unwrap();
    assert!(journal.contains("\"r-5\"") && journal.contains("\"r-6\""), "{journal}");
    let prompt = chat.tries().into_keys().next().unwrap();
    assert!(
        prompt.starts_with("User Profile: Age: 25-34 years old, Birth Country: Chad\nQuestion: "),
        "{prompt}"
    );

    // Again: nothing is asked and no byte changes.
    let (before, tries) = (files(&place.path("answers")), asked(&chat));
    run(&place, &arguments(&chat, &[]), 0);
    assert_eq!((files(&place.path("answers")), asked(&chat)), (before.clone(), tries));
    let mut other = arguments(&chat, &[]);
    other[4] = "n";
    assert!(run(&place, &other, 2).contains("`chat-model` was `m`, is `n`"));
    assert_eq!((files(&place.path("answers")), asked(&chat)), (before, tries));
    // What failed is asked again, and nothing else.
    assert!(
        run(&place, &arguments(&chat, &["--retry-failed"]), 0).contains(" 0 without an answer")
    );
    assert_eq!(asked(&chat), tries + 1);
    // Answers that were changed by hand come back from the journal.
    let whole = place.bytes("answers/m/answers.jsonl");
    place.write("answers/m/answers.jsonl", "{}\n");
    assert!(run(&place, &arguments(&chat, &[]), 0).contains("warning: "));
    assert_eq!((place.bytes("answers/m/answers.jsonl"), asked(&chat)), (whole, tries + 1));
}

#[test]
fn a_killed_run_pays_for_nothing_twice() {
    let place = place(300);
    let chat = FakeChat::serve(|_, _| Act::Slow(Duration::from_millis(60)));
    let journal = place.path("answers/m/journal.jsonl");
    for kept in [30, 100, 180] {
        let mut command = place.mvpbench(&arguments(&chat, &[]));
        Running::start(&mut command).kill_at("some answers", || lines(&journal) > kept);
    }
    run(&place, &arguments(&chat, &[]), 0);
    let again = asked(&chat) - 300;
    assert!(again <= 3 * 64, "{again}: only what was in flight is asked again");
    assert_eq!(chat.tries().len(), 300);
    assert_eq!(lines(&place.path("answers/m/answers.jsonl")), 300);
}

#[test]
fn limits_end_with_status_3_and_a_dry_run_sends_and_writes_nothing() {
    let place = place(10);
    let chat = FakeChat::serve(|_, _| Act::Say("fine"));
    let unknown = run(&place, &arguments(&chat, &["--dry-run"]), 0);
    for part in ["requests: 10 to send", "at most 5,120 of answers", "2026-10-14", "[prices.\"m\"]"]
    {
        assert!(unknown.contains(part), "{part}: {unknown}");
    }
    let refused = run(&place, &arguments(&chat, &["--max-cost", "1"]), 2);
    assert!(refused.contains("[prices.\"m\"]"), "{refused}");
    assert_eq!((asked(&chat), place.path("answers").exists()), (0, false));
    let stopped = run(&place, &arguments(&chat, &["--max-requests", "4"]), 3);
    assert!(
        stopped.contains("stopped at `--max-requests 4`: 6 of 10 requests are left"),
        "{stopped}"
    );
    assert!(
        stopped.contains("hint: run the same command again") && !stopped.contains("error"),
        "{stopped}"
    );
    assert!(!place.path("answers/m/answers.json").exists());
    let before = files(&place.path("answers"));
    let left = run(&place, &arguments(&chat, &["--dry-run"]), 0);
    assert!(left.contains("requests: 6 to send, 4 answered before"), "{left}");
    assert_eq!((files(&place.path("answers")), asked(&chat)), (before, 4));
    // A dollar for each token, of which the endpoint counts nine an answer.
    let prices = "\n[prices.m]\ninput = 1000000.0\noutput = 1000000.0\n";
    place.write("priced.toml", PRESETS[0].1.to_owned() + prices);
    let priced = ["--config", "priced.toml"];
    assert!(
        run(&place, &arguments(&chat, &[&priced[..], &["--dry-run"]].concat()), 0)
            .contains("of priced.toml")
    );
    let stopped = run(&place, &arguments(&chat, &[&priced[..], &["--max-cost", "10"]].concat()), 3);
    assert!(stopped.contains("USD 0.00 spent"), "{stopped}");
    let done = run(&place, &arguments(&chat, &priced), 0);
    assert!(done.contains("cost:    USD 90.00"), "{done}");
    assert_eq!(asked(&chat), 10);
}

#[test]
fn a_batch_goes_out_and_comes_back_without_a_request() {
    let place = place(5);
    let chat = FakeChat::serve(|_, _| Act::Say("asked"));
    let out = run(&place, &arguments(&chat, &["--batch-export", "batch"]), 0);
    assert!(
        out.contains("requests: batch/requests-1.jsonl") && out.contains("--batch-import"),
        "{out}"
    );
    assert!(!place.path("answers").exists());
    let requests = records(&place.path("batch/requests-1.jsonl"));
    assert_eq!((requests.len(), &requests[0]["url"]), (5, &"/v1/chat/completions".into()));
    assert_eq!(requests[0]["body"]["temperature"], 0.7);
    let result = |request: &Value| {
        let mut body = completion("batched");
        body["model"] = json!("m-2026");
        let response = json!({"status_code": 200, "request_id": "b", "body": body});
        format!(
            "{}\n",
            json!({"id": "x", "custom_id": request["custom_id"], "response": response, "error": null})
        )
    };
    let stranger = result(&json!({"custom_id": "stranger"}));
    place.write("out-1.jsonl", result(&requests[0]) + &result(&requests[1]) + &stranger);
    place.write("out-2.jsonl", requests[2..].iter().map(result).collect::<String>());
    let some = run(&place, &arguments(&chat, &["--batch-import", "out-1.jsonl"]), 3);
    assert!(some.contains("3 of 5 requests are left") && some.contains("stranger"), "{some}");
    let files = ["--batch-import", "out-1.jsonl", "--batch-import", "out-2.jsonl"];
    let all = run(&place, &arguments(&chat, &files), 0);
    assert!(all.contains("5 items, 0 without") && all.contains("served as m-2026"), "{all}");
    assert_eq!(asked(&chat), 0);
    let answers = records(&place.path("answers/m/answers.jsonl"));
    assert!(answers.iter().all(|answer| answer["answer"] == "batched"));
    // What expired in a batch comes back from the next one.
    let mut late = arguments(&chat, &["--batch-import", "late.jsonl"]);
    late[9] = "answers/late";
    let expired = |request: &Value| {
        let error = json!({"code": "batch_expired", "message": "too late"});
        format!(
            "{}\n",
            json!({"id": "x", "custom_id": request["custom_id"], "response": null, "error": error})
        )
    };
    place.write(
        "late.jsonl",
        expired(&requests[0]) + &requests[1..].iter().map(result).collect::<String>(),
    );
    let left = run(&place, &late, 3);
    for part in ["1 requests open", "too late", "1 of 5 requests are left", "hint: export what is"]
    {
        assert!(left.contains(part), "{part}: {left}");
    }
    place.write("late.jsonl", result(&requests[0]));
    assert!(run(&place, &late, 0).contains("5 items, 0 without"));
    let twice = run(&place, &arguments(&chat, &["--dry-run", "--batch-import", "out-1.jsonl"]), 2);
    assert!(twice.contains("--batch-import"), "{twice}");
}

#[test]
fn a_limit_beside_an_option_that_sends_nothing_is_refused() {
    let place = place(2);
    let chat = FakeChat::serve(|_, _| Act::Say("asked"));
    for limit in [["--max-requests", "1"], ["--max-cost", "1"]] {
        for way in [&["--dry-run"][..], &["--batch-export", "b"], &["--batch-import", "r.jsonl"]] {
            let said = run(&place, &arguments(&chat, &[&limit[..], way].concat()), 2);
            assert!(said.contains(limit[0]) && said.contains(way[0]), "{said}");
        }
    }
    assert!(!place.path("b").exists());
}

#[test]
fn the_same_command_in_other_words_resumes() {
    let place = place(6);
    let chat = FakeChat::serve(|_, _| Act::Say("fine"));
    run(&place, &arguments(&chat, &["--max-requests", "4"]), 3);
    let mut command = arguments(&chat, &[]);
    let (base, folder) = (format!("{}/", chat.base), place.path("test.jsonl"));
    command[2] = &base;
    command[7] = folder.to_str().unwrap();
    assert!(run(&place, &command, 0).contains("6 items, 0 without"));
    assert_eq!(asked(&chat), 6);
}

#[test]
fn a_key_in_place_of_a_variables_name_is_shown_and_written_nowhere() {
    const KEY: &str = "sk-live-0123456789abcdef";
    let place = place(2);
    let chat = FakeChat::serve(|_, _| Act::Say("asked"));
    place.write("r.jsonl", "");
    let mut commands: Vec<Vec<&str>> =
        [&[][..], &["--dry-run"], &["--batch-export", "b"], &["--batch-import", "r.jsonl"]]
            .iter()
            .map(|way| arguments(&chat, &[way, &["--key-env", KEY][..]].concat()))
            .collect();
    let all = ["--endpoint", &chat.base, "--chat-model", "m", "--key-env", KEY];
    commands.push([&["generate", "--prompt", "a", "--output", "o.jsonl"][..], &all].concat());
    for way in [&[][..], &["--recompute"]] {
        let judge = ["judge", "--answers", "answers/m", "--output", "paa"];
        commands.push([&judge[..], &all, way].concat());
    }
    for command in commands {
        let said = run(&place, &command, 2);
        assert!(said.contains("takes the name of an environment variable"), "{said}");
        assert!(!said.contains(&KEY[..8]), "{said}");
    }
    for (name, bytes) in files(place.folder.path()) {
        assert!(!String::from_utf8_lossy(&bytes).contains(KEY), "{name}");
    }
    assert_eq!(asked(&chat), 0);
}

#[test]
fn the_key_is_in_no_file_and_no_message() {
    const KEY: &str = "sk-0123456789abcdef";
    let mut place = place(6);
    place.environment.push(("MY_KEY", KEY.into()));
    place.environment.push(("SHORT_KEY", "sk-1".into()));
    let chat = FakeChat::serve(|text, _| match number(text) {
        0 => Act::Say("your key is sk-0123456789abcdef"),
        1 => Act::Status("400 Bad Request", "", "Bearer sk-0123456789abcdef is odd".into()),
        2 => {
            let mut body = completion("fine");
            body["model"] = json!("m of sk-0123456789abcdef");
            body["choices"][0]["finish_reason"] = json!("sk-0123456789abcdef");
            Act::Status("200 OK", "X-Request-Id: sk-0123456789abcdef\r\n", body.to_string())
        }
        // Cut in the middle of the key where a message shows the beginning of a reply.
        3 => Act::Status("200 OK", "", format!("{}sk-0123456789abcdef", "x".repeat(70))),
        _ => Act::Say("fine"),
    });
    let said = run(&place, &arguments(&chat, &["--key-env", "MY_KEY"]), 0);
    assert_eq!(chat.keys(), [format!("Bearer {KEY}")]);
    assert!(said.contains("[key]"), "{said}");
    let export =
        run(&place, &arguments(&chat, &["--key-env", "MY_KEY", "--batch-export", "batch"]), 0);
    let denied = FakeChat::serve(|_, _| {
        Act::Status("401 Unauthorized", "", "no sk-0123456789abcdef".into())
    });
    let mut other = arguments(&denied, &["--key-env", "MY_KEY"]);
    other[9] = "denied";
    let error = run(&place, &other, 2);
    let short = run(&place, &arguments(&chat, &["--key-env", "SHORT_KEY"]), 2);
    assert!(short.contains("SHORT_KEY must have at least 8 characters"), "{short}");
    for text in [said, export, error, short] {
        assert!(!text.contains(&KEY[..10]), "{text}");
    }
    for (name, bytes) in files(place.folder.path()) {
        assert!(!String::from_utf8_lossy(&bytes).contains(&KEY[..10]), "{name}");
    }
}

#[test]
fn prompts_to_an_endpoint_are_answered_on_stdout_or_into_a_file() {
    let place = Place::new();
    let chat = FakeChat::serve(|text, _| match text {
        "bad" => Act::Status("400 Bad Request", "", "{\"error\":\"no\"}".into()),
        _ => Act::Say("fine"),
    });
    let all = ["generate", "--endpoint", &chat.base, "--chat-model", "m", "-q"];
    let typed = run(&place, &[&all[..], &["--prompt", "a", "--prompt", "b"]].concat(), 0);
    let lines: Vec<Value> = typed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines[1],
        json!({"id": "prompt:2", "prompt": "b", "completion": "fine", "stop": "stop", "prompt_tokens": 7, "completion_tokens": 2})
    );
    place.write(
        "p.jsonl",
        "{\"prompt\": \"c\"}\n{\"prompt\": [{\"role\": \"user\", \"content\": \"bad\"}]}\n",
    );
    let file = [&all[..], &["--prompts", "p.jsonl", "--output", "out.jsonl"]].concat();
    assert!(run(&place, &file, 0).contains("warning: 1 of 2 prompts have no answer"));
    let written = records(&place.path("out.jsonl"));
    assert_eq!(
        (&written[0]["completion"], &written[1]["completion"]),
        (&"fine".into(), &Value::Null)
    );
    assert!(!place.path("out.jsonl.journal").exists());
    assert!(run(&place, &file, 2).contains("already exists"));
}
