//! The requests of stage 2: a conversation with what the person values, and a second one with what is wrong with the first reply.

use std::borrow::Cow;

use anyhow::Result;

use super::checks::{Passed, Refusal};
use super::recipe::Generation;
use super::reply::QUESTIONS;
use crate::construct::prism::{Conversation, Prism};
use crate::judge::chat;
use crate::judge::chat::request::{Items, Message, Role};
use crate::judge::protocol::template;

/// What the prompt shows where a person said nothing.
const NOTHING: &str = "(nothing)";

/// A conversation that questions are written for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Place of the conversation among all, from which the ids of its items follow.
    pub row: usize,
    /// The preference of the person.
    pub preference: &'a str,
}

/// The request of each subject.
pub(super) struct Requests<'a> {
    pub(super) generation: &'a Generation,
    pub(super) prism: &'a Prism,
    pub(super) subjects: &'a [Subject<'a>],
}

impl Items for Requests<'_> {
    fn count(&self) -> usize {
        self.subjects.len()
    }

    fn at(&self, place: usize) -> Result<Cow<'_, chat::Item>> {
        let subject = &self.subjects[place];
        let row = &self.prism.rows[subject.row];
        let person = &self.prism.people[row.person];
        let (history, _) = history(&row.conversation, self.generation.history_characters);
        let or_nothing = |text: &'_ str| match text.trim() {
            "" => NOTHING.to_owned(),
            text => text.to_owned(),
        };
        let (description, system) =
            (or_nothing(&person.self_description), or_nothing(&person.system_string));
        let text = template::fill(&self.generation.prompt, |name| match name {
            "preferences" => subject.preference,
            "self_description" => &description,
            "system_string" => &system,
            _ => &history,
        });
        let system = (!self.generation.system.is_empty())
            .then(|| Message { role: Role::System, text: self.generation.system.clone() });
        let messages = system.into_iter().chain([Message { role: Role::User, text }]).collect();
        Ok(Cow::Owned(chat::Item::of(row.conversation.id.clone(), messages)))
    }
}

/// The conversation as a prompt shows it, each message with the answer that the person went on with, and whether it was cut after `most`
/// characters; 0: never.
pub(super) fn history(conversation: &Conversation, most: usize) -> (String, bool) {
    let mut text = String::new();
    for turn in &conversation.turns {
        text.push_str(&format!("Person: {}\n", turn.message.trim()));
        if let Some(reply) = turn.chosen() {
            text.push_str(&format!("Model: {}\n", reply.text.trim()));
        }
    }
    let end = text.trim_end().len();
    text.truncate(end);
    match text.char_indices().nth(most).filter(|_| most > 0) {
        None => (text, false),
        Some((at, _)) => {
            text.truncate(at);
            text.push_str(" [...]");
            (text, true)
        }
    }
}

/// Adds the reply and what is wrong with it.
pub(super) fn remind(
    messages: &mut Vec<Message>,
    generation: &Generation,
    reply: &str,
    places: &[Result<Passed, Refusal>; QUESTIONS],
) {
    let mut problems = Vec::new();
    for (place, refusal) in places.iter().enumerate() {
        if let Err(refusal) = refusal {
            let problem = format!("object {}: {}", place + 1, refusal.why);
            problems.push(problem);
        }
    }
    let problems = problems.join("; ");
    let text = template::fill(&generation.reminder, |_| &problems);
    match messages.last_mut() {
        // Some endpoints refuse a blank turn.
        Some(last) if reply.trim().is_empty() => last.text += &format!("\n\n{text}"),
        _ => {
            messages.push(Message { role: Role::Assistant, text: reply.to_owned() });
            messages.push(Message { role: Role::User, text });
        }
    }
}
