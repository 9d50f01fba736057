//! The data sets of the paper, built from the original downloads.

mod benchmark;
mod mvpbench;
mod mvpbench_beside;
mod mvpbench_load;
mod prism_pairs;
mod reproduce;
mod review;
mod review_page;
mod stats;
mod ufp4;

use std::fmt::Write;
use std::process::Output;

use serde_json::{Value, json as object};

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

/// The JSON of a file.
fn json(place: &Place, file: &str) -> Value {
    serde_json::from_slice(&place.bytes(file)).unwrap()
}

/// JSON lines of `records`.
fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

/// Writes PRISM's two files of `users`, each with `conversations` of one turn, into `place`. User `n` rates safety 90 and creativity 40
/// where `n` is even, and the other way round where it is odd.
pub(crate) fn prism(place: &Place, users: usize, conversations: usize) {
    let (mut survey, mut held) = (String::new(), String::new());
    for user in 0..users {
        let (safety, creativity) = if user % 2 == 0 { (90, 40) } else { (40, 90) };
        let country = ["Chad", "Chile", "Japan"][user % 3];
        let row = object!({
            "user_id": format!("user{user}"), "survey_only": false, "num_completed_conversations": conversations,
            "self_description": "EMPTY STRING", "system_string": "Be brief.", "age": "25-34 years old", "gender": "Female",
            "employment_status": "Student", "education": "Vocational", "marital_status": "Married",
            "english_proficiency": "Fluent", "location": {"birth_country": country},
            "stated_prefs": {
                "values": 10, "creativity": creativity, "fluency": 70, "factuality": 80, "diversity": 61, "safety": safety,
                "personalisation": 60, "helpfulness": 79.5, "other": null, "other_text": null,
            },
        });
        writeln!(survey, "{row}").unwrap();
        for number in 0..conversations {
            let id = user * conversations + number;
            let row = object!({
                "conversation_id": format!("c{id}"), "user_id": format!("user{user}"), "conversation_type": "unguided",
                "opening_prompt": "Hello", "conversation_turns": 1, "open_feedback": "EMPTY STRING",
                "conversation_history": [
                    {"turn": 0, "role": "user", "content": format!("Hello number {id}, how are you?")},
                    {"turn": 0, "role": "model", "content": "Well.", "model_name": "m", "model_provider": "p", "score": 80,
                        "if_chosen": true, "within_turn_id": 0},
                    {"turn": 0, "role": "model", "content": "Badly.", "model_name": "n", "model_provider": "p", "score": 20,
                        "if_chosen": false, "within_turn_id": 1},
                ],
            });
            writeln!(held, "{row}").unwrap();
        }
    }
    place.write("survey.jsonl", survey);
    place.write("conversations.jsonl", held);
}

/// The number of the conversation in a prompt.
pub(crate) fn number(prompt: &str) -> usize {
    let after = prompt.split("Hello number ").nth(1).unwrap();
    after.split(',').next().unwrap().parse().unwrap()
}

/// An item of a reply, whose question is `name`.
pub(crate) fn item(name: &str) -> Value {
    object!({
        "question": format!("What would you do about {name} today?"),
        "answer_w": format!("Take care with {name}, and ask somebody who knows."),
        "answer_l": format!("Do whatever you like with {name}, it will be fine."),
    })
}

/// A reply of three items on the conversation `number`.
pub(crate) fn reply(number: usize) -> String {
    let items = (0..3).map(|place| item(&format!("matter {number} of {place}")));
    Value::from_iter(items).to_string()
}
