//! A list of messages beside the answers that follow it: `messages`, ShareGPT's `conversations`, ms-swift's rejected answers.

use anyhow::Result;
use serde_json::Value;

use crate::config::LayoutName;
use crate::data::chat::message;
use crate::data::format::fields::Record;
use crate::data::format::messages::{self, Said, answers, messages};
use crate::data::format::parts::{Notes, Part, answer_names, whole};
use crate::data::format::{Layout, Shape, always, field};
use crate::error::InputError;

pub(super) const MESSAGES: Layout = Layout {
    name: LayoutName::Messages,
    prompt: &[field("messages", Shape::Asked)],
    answers: &[field("chosen", Shape::Answer), field("rejected", Shape::Answer)],
    optional: &["system"],
    fits: always,
    read_prompt: |record, _| Ok(Said::Messages(messages(record, "messages")?)),
    read: answers_after_messages,
    sample: r#"{"messages": [{"role": "user", "content": "Name a river."}], "chosen": {"role": "assistant", "content": "The Rhine."}, "rejected": {"role": "assistant", "content": "A chair."}}"#,
};

pub(super) const SHAREGPT_RANKING: Layout = Layout {
    name: LayoutName::SharegptRanking,
    prompt: &[field("conversations", Shape::Asked)],
    answers: &[field("chosen", Shape::Answer), field("rejected", Shape::Answer)],
    optional: &["system"],
    fits: always,
    read_prompt: |record, _| Ok(Said::Messages(messages(record, "conversations")?)),
    read: answers_after_messages,
    sample: r#"{"conversations": [{"from": "human", "value": "Name a river."}], "chosen": {"from": "gpt", "value": "The Rhine."}, "rejected": {"from": "gpt", "value": "A chair."}}"#,
};

pub(super) const MS_SWIFT: Layout = Layout {
    name: LayoutName::MsSwift,
    prompt: &[field("messages", Shape::Messages)],
    answers: &[field("rejected_response", Shape::Text)],
    optional: &["system"],
    fits: ends_with_an_answer,
    read_prompt: |record, _| Ok(Said::Messages(asked_and_answer(record)?.0)),
    read: |_, record, notes| {
        let (asked, answer) = asked_and_answer(record)?;
        let rejected = record.text("rejected_response")?;
        let (chosen, rejected) = (vec![answer], vec![message("assistant", rejected)]);
        let texts =
            notes.texts(Said::Messages(asked), Said::Messages(chosen), Said::Messages(rejected));
        Ok(Part::only(texts))
    },
    sample: r#"{"messages": [{"role": "user", "content": "Name a metal."}, {"role": "assistant", "content": "Iron."}], "rejected_response": "Wood."}"#,
};

pub(super) const MS_SWIFT_MESSAGES: Layout = Layout {
    name: LayoutName::MsSwiftMessages,
    prompt: &[],
    answers: &[field("messages", Shape::Messages), field("rejected_messages", Shape::Messages)],
    optional: &["system"],
    fits: always,
    read_prompt: |record, _| Ok(Said::Messages(asked_and_answer(record)?.0)),
    read: |_, record, _| {
        let names = ["messages", "rejected_messages"];
        whole(record, names, [messages(record, names[0])?, messages(record, names[1])?])
    },
    sample: r#"{"messages": [{"role": "user", "content": "Name a metal."}, {"role": "assistant", "content": "Iron."}], "rejected_messages": [{"role": "user", "content": "Name a metal."}, {"role": "assistant", "content": "Wood."}]}"#,
};

/// The pair of messages and two answers. An answer that is a whole conversation begins with those messages, and is what follows them.
fn answers_after_messages(
    layout: &Layout,
    record: &Record<'_>,
    notes: &mut Notes<'_>,
) -> Result<Vec<Part>> {
    let [chosen, rejected] = answer_names(layout)?;
    let asked = (layout.read_prompt)(record, notes)?.messages("user");
    let answer = |name: &str| match Said::read(record, name)? {
        Said::Messages(messages) if !messages.first().is_some_and(answers) => {
            match messages.strip_prefix(&*asked) {
                Some(answer) if answer.first().is_some_and(answers) => {
                    Ok(Said::Messages(answer.to_vec()))
                }
                _ => {
                    let (name, place) = (record.named(name), record.place);
                    let asked = record.named(layout.prompt[0].name);
                    let what = format!(
                        "{place}: `{name}` is a conversation, which must begin with the messages of `{asked}`, and an answer follow"
                    );
                    let hint = "give the answer alone, or leave `layout` out where both answers are whole conversations";
                    Err(anyhow::Error::from(InputError::new(what).hint(hint)))
                }
            }
        }
        said => Ok(said),
    };
    let (chosen, rejected) = (answer(chosen)?, answer(rejected)?);
    Ok(Part::only(notes.texts(Said::Messages(asked), chosen, rejected)))
}

/// Whether `messages` has an answer at its end and a question before it.
fn ends_with_an_answer(record: &Record<'_>) -> bool {
    let list = record.peek("messages").and_then(Value::as_array);
    list.is_some_and(|list| {
        list.len() > 1 && list.last().is_some_and(|last| messages::role(last) == Some("assistant"))
    })
}

/// `messages` without the answer at its end, and that answer.
fn asked_and_answer(record: &Record<'_>) -> Result<(Vec<Value>, Value)> {
    let mut asked = messages(record, "messages")?;
    match asked.pop() {
        Some(answer) if !asked.is_empty() && answers(&answer) => Ok((asked, answer)),
        _ => {
            let what =
                format!("{}: `messages` must end with an answer after a question", record.place);
            let hint = "its last message is the preferred answer, of the role `assistant`";
            Err(InputError::new(what).hint(hint).into())
        }
    }
}
