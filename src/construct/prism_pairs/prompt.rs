//! The conversation before an answer as the prompt of a pair, and the person as its profile.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use crate::construct::prism::{Conversation, Profile};
use crate::data::format::mvpbench::{self, QUESTION};

/// Stands before an earlier answer in a transcript.
const ANSWER: &str = "Answer: ";

/// The form of prompts and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Text, for any model: `Question: ...` and `Answer: ...`, the last question at its end
    Transcript,
    /// Messages with role and content, for models with a chat template
    Messages,
}

/// The profile of a person: the first line of MVPBench's training prompt.
pub fn profile(person: &Profile) -> String {
    mvpbench::profile([
        &person.age,
        &person.gender,
        &person.employment_status,
        &person.education,
        &person.marital_status,
        &person.birth_country,
    ])
}

/// The conversation up to the message of the turn at `turn`, with the chosen answers. The first message has MVPBench's `Question: `, so
/// that profile and prompt of the first turn together are its training prompt.
pub fn prompt(form: Form, conversation: &Conversation, turn: usize) -> Value {
    let turns = &conversation.turns[..=turn];
    let answered = |at: usize| if at < turn { turns[at].chosen() } else { None };
    match form {
        Form::Transcript => {
            let mut lines = Vec::new();
            for (at, turn) in turns.iter().enumerate() {
                lines.push(format!("{QUESTION}{}", turn.message.trim()));
                lines.extend(answered(at).map(|reply| format!("{ANSWER}{}", reply.text.trim())));
            }
            lines.join("\n").into()
        }
        Form::Messages => {
            let mut messages = Vec::new();
            for (at, turn) in turns.iter().enumerate() {
                let before = if at == 0 { QUESTION } else { "" };
                let content = format!("{before}{}", turn.message);
                messages.push(json!({"role": "user", "content": content}));
                messages.extend(
                    answered(at).map(|reply| json!({"role": "assistant", "content": reply.text})),
                );
            }
            messages.into()
        }
    }
}

/// An answer of a pair.
pub fn answer(form: Form, text: &str) -> Value {
    match form {
        Form::Transcript => text.into(),
        Form::Messages => json!([{"role": "assistant", "content": text}]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::construct::prism::{Reply, Turn};

    fn conversation() -> Conversation {
        let turn = |number, message: &str, replies: &[(&str, bool)]| Turn {
            number,
            message: message.to_owned(),
            replies: (replies.iter())
                .map(|(text, is_chosen)| Reply {
                    model: String::new(),
                    text: (*text).to_owned(),
                    score: None,
                    is_chosen: *is_chosen,
                })
                .collect(),
        };
        Conversation {
            id: "c".to_owned(),
            user: "u".to_owned(),
            kind: String::new(),
            turns: vec![
                turn(0, "Hi", &[("No.", false), ("Hello!\n", true)]),
                turn(1, "And?", &[("So.", true)]),
            ],
        }
    }

    #[test]
    fn a_later_turn_has_the_conversation_with_the_chosen_answers() {
        let of = |form, turn| prompt(form, &conversation(), turn);
        assert_eq!(of(Form::Transcript, 0), "Question: Hi");
        assert_eq!(of(Form::Transcript, 1), "Question: Hi\nAnswer: Hello!\nQuestion: And?");
        let messages = json!([
            {"role": "user", "content": "Question: Hi"},
            {"role": "assistant", "content": "Hello!\n"},
            {"role": "user", "content": "And?"},
        ]);
        assert_eq!(of(Form::Messages, 1), messages);
    }

    #[test]
    fn profile_and_first_turn_are_the_training_prompt_of_mvpbench() {
        let person = Profile {
            age: "25-34 years old".to_owned(),
            gender: "Female".to_owned(),
            birth_country: "Chad".to_owned(),
            ..Profile::default()
        };
        let parse = |record: Value| {
            let pairs = crate::data::file::parse(record.to_string().as_bytes(), "a.json").unwrap();
            pairs[0].prompt.clone()
        };
        let ours = parse(json!({
            "prompt": prompt(Form::Transcript, &conversation(), 0), "profile": profile(&person), "chosen": "a", "rejected": "b",
        }));
        let theirs = parse(json!({
            "question": "Hi", "answer_w": "a", "answer_l": "b", "age": "25-34 years old", "gender": "Female",
            "birth_country/region": "Chad",
        }));
        assert_eq!(ours, theirs);
    }
}
