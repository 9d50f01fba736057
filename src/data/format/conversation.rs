//! The conversational form of a preference record, as TRL has it: lists of messages, each with `role` and `content`.

use anyhow::Result;
use serde_json::Value;

use crate::data::chat::{ChatTemplate, message};
use crate::data::format::fields::{Record, kind, strip};
use crate::error::InputError;

/// A preference record whose texts are messages.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::data) struct Conversation {
    prompt: Vec<Value>,
    chosen: Vec<Value>,
    rejected: Vec<Value>,
}

impl Conversation {
    /// The conversation of a record, if its prompt or one of its answers is a list.
    ///
    /// Where `prompt` is a list, the answers are the messages after it. Otherwise both answers are whole conversations, the
    /// messages at the start that both share are the prompt (TRL's `extract_prompt`), and a plain `prompt` is not read.
    pub(in crate::data) fn read(record: &Record<'_>) -> Result<Option<Self>> {
        let is_list = |key: &str| record.get(key).is_some_and(Value::is_array);
        if !["prompt", "chosen", "rejected"].into_iter().any(is_list) {
            return Ok(None);
        }
        let (mut chosen, mut rejected) =
            (messages(record, "chosen")?, messages(record, "rejected")?);
        let prompt = if is_list("prompt") {
            messages(record, "prompt")?
        } else {
            let most = chosen.len().min(rejected.len()) - 1;
            let same = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count().min(most);
            if same == 0 {
                return Err(InputError::new(format!(
                    "{}: `chosen` and `rejected` begin with different messages, and there is no list `prompt`",
                    record.place
                ))
                .hint("give `prompt` as a list of messages, or begin both answers with the same ones")
                .into());
            }
            rejected.drain(..same);
            chosen.drain(..same).collect()
        };
        let mut conversation = Self { prompt, chosen, rejected };
        if let Some(Value::String(profile)) = record.get("profile") {
            conversation.add_profile(profile);
        }
        Ok(Some(conversation))
    }

    /// The list `prompt` of a record that has no answers, after its profile.
    pub(in crate::data) fn prompt_alone(record: &Record<'_>) -> Result<Self> {
        let prompt = messages(record, "prompt")?;
        let mut conversation = Self { prompt, chosen: Vec::new(), rejected: Vec::new() };
        if let Some(Value::String(profile)) = record.get("profile") {
            conversation.add_profile(profile);
        }
        Ok(conversation)
    }

    /// One question and its answers.
    pub(in crate::data) fn of_texts([prompt, chosen, rejected]: [&str; 3]) -> Self {
        Self {
            prompt: vec![message("user", prompt)],
            chosen: vec![message("assistant", chosen)],
            rejected: vec![message("assistant", rejected)],
        }
    }

    /// Puts a profile before the user's first message, both stripped, as before a plain prompt.
    fn add_profile(&mut self, profile: &str) {
        let profile = strip(profile);
        let user = self.prompt.iter_mut().find(|message| message["role"] == "user");
        if let (false, Some(first)) = (profile.is_empty(), user) {
            let content = first["content"].as_str().unwrap_or_default();
            first["content"] = format!("{profile}\n{}", strip(content)).into();
        }
    }

    /// Number of empty answers, 0 to 2.
    pub(in crate::data) fn empty_answers(&self) -> usize {
        let empty = |answer: &[Value]| answer.iter().all(|message| message["content"] == "");
        usize::from(empty(&self.chosen)) + usize::from(empty(&self.rejected))
    }

    /// The prompt as the template writes it, up to where an answer begins.
    pub(in crate::data) fn prompt_text(&self, template: &ChatTemplate) -> Result<String> {
        template.render(&self.prompt, true)
    }

    /// Prompt, chosen and rejected answer as the template writes them.
    pub(in crate::data) fn texts(&self, template: &ChatTemplate) -> Result<[String; 3]> {
        template.texts(&self.prompt, &self.chosen, &self.rejected)
    }
}

/// A list of one or more messages.
fn messages(record: &Record<'_>, key: &str) -> Result<Vec<Value>> {
    let list = match record.get(key) {
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(Value::Array(_)) => {
            return Err(
                InputError::new(format!("{}: `{key}` has no messages", record.place)).into()
            );
        }
        Some(other) => {
            let expected = "a list of messages, as the record's other texts are";
            return Err(record.wrong(key, expected, other).into());
        }
        None => return Err(record.missing(key, "list").into()),
    };
    for (place, message) in list.iter().enumerate() {
        for field in ["role", "content"] {
            let found = message.get(field).unwrap_or(&Value::Null);
            if !found.is_string() {
                return Err(InputError::new(format!(
                    "{}: `{key}[{place}].{field}` must be a string, got {}",
                    record.place,
                    kind(found)
                ))
                .hint("a message is an object with the texts `role` and `content`")
                .into());
            }
        }
    }
    Ok(list.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::fields::Place;

    fn read(json: &str) -> Result<Option<Conversation>> {
        let fields = serde_json::from_str(json).unwrap();
        Conversation::read(&Record { place: Place { file: "a.json", line: 1 }, fields })
    }

    const USER: &str = r#"{"role": "user", "content": "q"}"#;
    const A: &str = r#"{"role": "assistant", "content": "a"}"#;
    const B: &str = r#"{"role": "assistant", "content": "b"}"#;

    #[test]
    fn a_shared_beginning_is_the_prompt() {
        let explicit =
            read(&format!(r#"{{"prompt": [{USER}], "chosen": [{A}], "rejected": [{B}]}}"#));
        let implicit = read(&format!(
            r#"{{"prompt": "q", "chosen": [{USER}, {A}], "rejected": [{USER}, {B}]}}"#
        ));
        let explicit = explicit.unwrap().unwrap();
        assert_eq!(explicit, implicit.unwrap().unwrap());
        assert_eq!(explicit, Conversation::of_texts(["q", "a", "b"]));
        // Equal answers: the last message of both is the answer.
        let equal = format!(r#"{{"chosen": [{USER}, {A}], "rejected": [{USER}, {A}]}}"#);
        assert_eq!(read(&equal).unwrap().unwrap(), Conversation::of_texts(["q", "a", "a"]));
    }

    #[test]
    fn a_profile_goes_before_the_first_question() {
        let json = format!(
            r#"{{"prompt": [{USER}], "chosen": [{A}], "rejected": [{B}], "profile": " old "}}"#
        );
        assert_eq!(read(&json).unwrap().unwrap(), Conversation::of_texts(["old\nq", "a", "b"]));
    }

    #[test]
    fn what_is_no_message_is_an_error_with_its_place() {
        for (json, expected) in [
            (
                format!(r#"{{"prompt": [{USER}], "chosen": "a", "rejected": [{B}]}}"#),
                "a.json:1: `chosen` must be a list of messages",
            ),
            (
                format!(
                    r#"{{"prompt": [{USER}], "chosen": [{{"role": "user"}}], "rejected": [{B}]}}"#
                ),
                "a.json:1: `chosen[0].content` must be a string, got null",
            ),
            (
                format!(r#"{{"prompt": [3], "chosen": [{A}], "rejected": [{B}]}}"#),
                "a.json:1: `prompt[0].role` must be a string, got null",
            ),
            (
                format!(r#"{{"chosen": [], "rejected": [{B}]}}"#),
                "a.json:1: `chosen` has no messages",
            ),
            (
                format!(r#"{{"prompt": [{USER}], "chosen": [{A}]}}"#),
                "a.json:1: the record has no `rejected`",
            ),
            (
                format!(r#"{{"chosen": [{A}], "rejected": [{B}]}}"#),
                "a.json:1: `chosen` and `rejected` begin with different messages",
            ),
        ] {
            let error = read(&json).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
