//! `mvpbench data build-prism-pairs`: PRISM's scores as preference pairs.

use std::collections::BTreeSet;

use mvpbench::data::chat::ChatTemplate;
use mvpbench::data::file::{self, Prompts};
use mvpbench::data::tokenizer::Tokenizer;
use mvpbench::disk::lock;
use serde_json::{Value, json};

use super::{assert_refused, data, json, lines, succeed};
use crate::command::Place;
use crate::golden;

fn person(user: &str) -> Value {
    json!({
        "user_id": user, "survey_only": false, "num_completed_conversations": 1, "self_description": "I read.",
        "system_string": "Be kind.", "age": "25-34 years old", "gender": "Female", "employment_status": "Retired",
        "education": "Vocational", "marital_status": "Married", "english_proficiency": "Fluent",
        "location": {"birth_country": "Chad", "birth_region": "Africa"},
        "stated_prefs": {"values": 70, "creativity": 20, "fluency": 90, "factuality": 100, "diversity": 55, "safety": 80,
            "personalisation": 61, "helpfulness": null, "other": null, "other_text": null},
    })
}

/// An item of a conversation: the person's message, or an answer with its score and whether it is chosen.
fn said(turn: u64, text: &str, scored: Option<(Value, bool)>) -> Value {
    match scored {
        None => json!({"turn": turn, "role": "user", "content": text}),
        Some((score, is_chosen)) => json!({
            "turn": turn, "role": "model", "content": text, "model_name": format!("m-{text}"), "model_provider": "p",
            "score": score, "if_chosen": is_chosen, "within_turn_id": 0,
        }),
    }
}

fn conversation(id: &str, user: &str, history: Vec<Value>) -> Value {
    json!({
        "conversation_id": id, "user_id": user, "conversation_type": "unguided", "opening_prompt": "Hi",
        "conversation_turns": 2, "conversation_history": history, "performance_attributes": {}, "choice_attributes": {},
        "open_feedback": "EMPTY STRING", "generated_datetime": "2023-12-01",
    })
}

/// A conversation of two turns, four answers and two.
fn two_turns() -> Vec<Value> {
    let scored = |score: u64, is_chosen| Some((Value::from(score), is_chosen));
    vec![
        said(0, "Hi", None),
        said(0, "A", scored(80, true)),
        said(0, "B", scored(40, false)),
        said(0, "EMPTY STRING", scored(1, false)),
        said(0, "C", scored(40, false)),
        said(1, "And?", None),
        said(1, "D", scored(10, false)),
        said(1, "E", scored(90, true)),
    ]
}

/// A place with PRISM's files of `users` people who had one conversation each.
fn prism(users: usize) -> Place {
    let place = Place::new();
    let name = |at: usize| format!("user{at}");
    let people: Vec<_> = (0..users).map(|at| person(&name(at))).collect();
    let held: Vec<_> =
        (0..users).map(|at| conversation(&format!("c{at}"), &name(at), two_turns())).collect();
    place.write("survey.jsonl", lines(&people));
    place.write("conversations.jsonl", lines(&held));
    place
}

fn build(place: &Place, output: &str, more: &[&str]) -> std::process::Output {
    let base = [
        "build-prism-pairs",
        "--survey",
        "survey.jsonl",
        "--conversations",
        "conversations.jsonl",
        "--output",
        output,
    ];
    data(place, &[&base[..], more].concat())
}

#[test]
fn two_answers_of_a_turn_are_a_pair_with_the_conversation_before_them_and_the_profile() {
    let place = prism(1);
    let (out, _) = succeed(&build(&place, "out", &["--test-share", "0"]));
    let file = json(&place, "out/train.json");
    let records = file.as_array().unwrap();
    let of = |record: &Value| {
        ["id", "prompt", "chosen", "rejected"].map(|key| record[key].as_str().unwrap().to_owned())
    };
    let all: Vec<_> = records.iter().map(of).collect();
    assert_eq!(
        all,
        [
            ["c0:0:0-1", "Question: Hi", "A", "B"],
            ["c0:0:0-3", "Question: Hi", "A", "C"],
            ["c0:1:0-1", "Question: Hi\nAnswer: A\nQuestion: And?", "E", "D"],
        ]
    );
    let counts = &json(&place, "out/manifest.json")["counts"];
    let count = |key: &str| counts[key].as_u64().unwrap();
    assert_eq!((count("pairs_considered"), count("pairs_with_an_empty_answer")), (7, 3));
    assert_eq!((count("ties"), count("pairs"), count("pairs_of_the_first_turn")), (1, 3, 2));
    assert!(out.contains("out/train.json: 3 pairs, 1 user"), "{out}");
    let metadata = &records[2]["metadata"];
    assert_eq!((&metadata["score_chosen"], &metadata["score_rejected"]), (&json!(90), &json!(10)));
    assert_eq!((&metadata["turn"], &metadata["system_string"]), (&json!(1), &json!("Be kind.")));
}

#[test]
fn the_files_load_without_a_note_and_their_people_have_groups() {
    let place = prism(1);
    succeed(&build(&place, "out", &["--test-share", "0"]));
    let files = [("out/train.json".to_owned(), place.bytes("out/train.json")).into()];
    let loaded = file::load(&files, &[], &Prompts::default()).unwrap();
    let noted = loaded.counts.to_string();
    let lines: Vec<_> = noted.lines().filter(|line| !line.starts_with("  first ")).collect();
    assert_eq!(lines[0], "3 pairs from 1 file");
    assert!(lines[1].starts_with("layout preference: 3 records with `id`,"), "{noted}");
    assert_eq!(lines.len(), 2, "{noted}");
    let pair = &loaded.pairs[0];
    assert_eq!(
        pair.prompt,
        "User profile: Age: 25-34 years old, Gender: Female, Employment: Retired, Education: Vocational, Marital Status: Married, \
         Birth Country/Region: Chad.\nQuestion: Hi"
    );
    assert_eq!(pair.user.as_deref(), Some("user0"));
    let group = |key: &str| pair.groups.get(key).map(String::as_str);
    assert_eq!((group("country"), group("english_proficiency")), (Some("Chad"), Some("Fluent")));
    assert_eq!((group("value_safety"), group("value_creativity")), (Some("high"), Some("low")));
    assert_eq!(
        (group("value_personalisation"), group("value_helpfulness")),
        (Some("middle"), None)
    );
}

#[test]
fn messages_go_through_a_chat_template_with_the_profile_first() {
    let place = prism(1);
    succeed(&build(&place, "out", &["--test-share", "0", "--form", "messages"]));
    let tokenizer = Tokenizer::load(&golden::path("models/tiny")).unwrap();
    let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    let template = ChatTemplate::new(source.to_owned(), &tokenizer, "t".to_owned()).unwrap();
    let prompts = Prompts { template: Some(&template), ..Prompts::default() };
    let files = [("out/train.json".to_owned(), place.bytes("out/train.json")).into()];
    let loaded = file::load(&files, &[], &prompts).unwrap();
    assert_eq!(loaded.counts.unread_line(), None);
    let prompt = &loaded.pairs[2].prompt;
    assert!(prompt.starts_with("[user]User profile: Age: 25-34"), "{prompt}");
    assert!(prompt.ends_with("Chad.\nQuestion: Hi[assistant]A[user]And?[assistant]"), "{prompt}");
    assert_eq!(loaded.pairs[2].chosen, "E");
}

#[test]
fn a_persons_pairs_are_on_one_side_and_the_same_build_changes_no_byte() {
    let place = prism(20);
    let options = ["--test-share", "0.2", "--validation-share", "0.1"];
    succeed(&build(&place, "out", &options));
    let files = ["out/train.json", "out/validation.json", "out/test.json"];
    let users = files.map(|file| -> BTreeSet<String> {
        let records = json(&place, file);
        let user = |record: &Value| record["user_id"].as_str().unwrap().to_owned();
        records.as_array().unwrap().iter().map(user).collect()
    });
    assert_eq!(users.each_ref().map(BTreeSet::len), [14, 2, 4]);
    assert_eq!(users.iter().flatten().collect::<BTreeSet<_>>().len(), 20);
    let seen = || {
        let file = |file: &&str| {
            (place.bytes(file), place.path(file).metadata().unwrap().modified().unwrap())
        };
        files.iter().chain(&["out/manifest.json"]).map(file).collect::<Vec<_>>()
    };
    let before = seen();
    succeed(&build(&place, "out", &options));
    assert_eq!(seen(), before);
    let other = build(&place, "out", &["--test-share", "0.3"]);
    assert_refused(&other, &["already exists, of another build"]);
    assert!(seen() == before);
    for (share, why) in [("1", "must be at least 0 and below 1"), ("0.01", "would have no pairs")] {
        assert_refused(&build(&place, "new", &["--test-share", share]), &[why]);
    }
    let margin = build(&place, "new", &["--min-margin", "101"]);
    assert_refused(&margin, &["`--min-margin` must be in 0..=100, got `101`"]);
}

#[test]
fn odd_turns_are_counted_and_broken_rows_named() {
    let place = prism(2);
    let scored = |score: Value, is_chosen| Some((score, is_chosen));
    let odd = [
        // Two chosen answers: the higher one continues the conversation. A null score makes no pair.
        conversation(
            "two",
            "user0",
            vec![
                said(0, "Hi", None),
                said(0, "A", scored(30.into(), true)),
                said(0, "B", scored(70.into(), true)),
                said(0, "C", scored(Value::Null, false)),
                said(1, "And?", None),
                said(1, "D", scored(50.into(), true)),
                said(1, "E", scored(49.into(), false)),
            ],
        ),
        // No chosen answer: the turn after it has no history.
        conversation(
            "none",
            "user1",
            vec![
                said(0, "Hi", None),
                said(0, "A", scored(30.into(), false)),
                said(1, "And?", None),
                said(1, "D", scored(50.into(), true)),
                said(1, "E", scored(10.into(), false)),
            ],
        ),
        conversation(
            "bad",
            "user1",
            vec![said(0, "Hi", None), said(0, "A", scored("7".into(), true))],
        ),
        conversation("stranger", "nobody", two_turns()),
    ];
    place.write("conversations.jsonl", lines(&odd) + "{\"conversation_id\"\n");
    let (out, said) = succeed(&build(&place, "out", &["--test-share", "0", "--min-margin", "2"]));
    for part in [
        "conversations.jsonl:3: `conversation_history[1]`: `score` must be a number in 0..=100",
        "conversations.jsonl:4: `user_id`: `nobody` is not in the survey",
        "conversations.jsonl:5: not JSON",
    ] {
        assert!(said.contains(part), "expected `{part}` in: {said}");
    }
    let file = json(&place, "out/train.json");
    let records = file.as_array().unwrap();
    assert_eq!(records.len(), 1, "{file}");
    assert_eq!((&records[0]["chosen"], &records[0]["rejected"]), (&json!("B"), &json!("A")));
    let manifest = json(&place, "out/manifest.json");
    let count = |key: &str| manifest["counts"][key].as_u64().unwrap();
    assert_eq!((count("pairs_not_scored"), count("pairs_below_margin")), (2, 1));
    assert_eq!((count("turns_of_unknown_history"), count("turns_of_one_answer")), (1, 1));
    assert_eq!(count("turns_of_several_chosen"), 1);
    assert_eq!(manifest["broken"].as_array().unwrap().len(), 3);
    assert!(out.contains("broken rows, left out"), "{out}");
    succeed(&build(&place, "margin1", &["--test-share", "0"]));
    let later = &json(&place, "margin1/train.json")[1]["prompt"];
    assert_eq!(later, "Question: Hi\nAnswer: B\nQuestion: And?");
}

#[test]
fn a_folder_in_which_another_program_writes_is_refused() {
    let place = prism(20);
    let held = lock::folder(&place.path("out")).unwrap();
    assert_refused(&build(&place, "out", &[]), &["another program is writing in `out`"]);
    assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 1);
    drop(held);
    succeed(&build(&place, "out", &[]));
}
