//! The conversational form of a preference record, as TRL has it: lists of messages, each with `role` and `content`.

use anyhow::Result;
use serde_json::{Map, Value};

use crate::data::chat::{ChatTemplate, Variables, message};
use crate::data::format::fields::{Record, kind, shorten, strip};
use crate::error::InputError;

/// A preference record whose texts are messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::data) struct Conversation {
    prompt: Vec<Value>,
    chosen: Vec<Value>,
    rejected: Vec<Value>,
    variables: Variables,
}

/// Arguments of transformers' `apply_chat_template` that are no variables of a template.
const ARGUMENTS: [&str; 14] = [
    "conversation",
    "messages",
    "chat_template",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "sanitize_control_tokens",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "tokenizer_kwargs",
];

impl Conversation {
    /// The conversation of a record, if its prompt or one of its answers is a list.
    ///
    /// Where `prompt` is a list, the answers are the messages after it. Otherwise both answers are whole conversations, the
    /// messages at the start that both share are the prompt (TRL's `extract_prompt`), and a plain `prompt` is not read.
    pub(in crate::data) fn read(record: &Record<'_>) -> Result<Option<Self>> {
        let is_list = |key: &str| record.peek(key).is_some_and(Value::is_array);
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
        let mut conversation = Self { prompt, chosen, rejected, variables: Variables::default() };
        if let Some(Value::String(profile)) = record.get("profile") {
            conversation.add_profile(profile);
        }
        Ok(Some(conversation))
    }

    /// The list `prompt` of a record that has no answers, after its profile.
    pub(in crate::data) fn prompt_alone(record: &Record<'_>) -> Result<Self> {
        let prompt = messages(record, "prompt")?;
        let mut conversation = Self { prompt, ..Self::default() };
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
            variables: Variables::default(),
        }
    }

    /// Adds what the record's other columns give its template: `tools` and `chat_template_kwargs`, as in TRL, and a text `system`
    /// as the system message, unless the messages begin with one. Returns whether there is such a text.
    pub(in crate::data) fn add_columns(&mut self, record: &Record<'_>) -> Result<bool> {
        self.variables = variables(record)?;
        let has_system = self.prompt.first().is_some_and(|first| first["role"] == "system");
        match record.peek("system") {
            Some(Value::String(text)) if !has_system && !strip(text).is_empty() => {
                self.prompt.insert(0, message("system", record.text("system")?));
                Ok(true)
            }
            _ => Ok(false),
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
        let is_empty = |message: &Value| {
            message["tool_calls"].is_null()
                && message["content"].as_str().unwrap_or_default().is_empty()
        };
        let empty = |answer: &[Value]| answer.iter().all(is_empty);
        usize::from(empty(&self.chosen)) + usize::from(empty(&self.rejected))
    }

    /// Role and text of each message of the prompt, or what it has besides texts.
    pub(in crate::data) fn plain_messages(&self) -> Result<Vec<(String, String)>, String> {
        if self.variables != Variables::default() {
            return Err("the record has `tools` or `chat_template_kwargs`".to_owned());
        }
        let one = |message: &Value| {
            let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
            let role = text("role");
            if !["system", "user", "assistant"].contains(&&*role) {
                return Err(format!("a message has the role `{}`", shorten(&role)));
            }
            if message["tool_calls"].is_array() {
                return Err("a message has `tool_calls`".to_owned());
            }
            Ok((role, text("content")))
        };
        self.prompt.iter().map(one).collect()
    }

    /// A conversation of these messages that an answer follows: role and text of each.
    pub(in crate::data) fn of_messages(messages: &[(&str, &str)]) -> Self {
        let prompt = messages.iter().map(|(role, text)| message(role, text)).collect();
        Self { prompt, ..Self::default() }
    }

    /// The prompt as the template writes it, up to where an answer begins.
    pub(in crate::data) fn prompt_text(&self, template: &ChatTemplate) -> Result<String> {
        template.render(&self.prompt, &self.variables, true)
    }

    /// Prompt, chosen and rejected answer as the template writes them.
    pub(in crate::data) fn texts(&self, template: &ChatTemplate) -> Result<[String; 3]> {
        template.texts(&self.prompt, [&self.chosen, &self.rejected], &self.variables)
    }
}

/// `tools` and `chat_template_kwargs` of a record.
fn variables(record: &Record<'_>) -> Result<Variables> {
    let expected = "a list of functions, each an object, or the same as JSON text";
    let parsed = match record.get("tools") {
        Some(Value::String(json)) => serde_json::from_str(json).map_err(|error| {
            let found = shorten(json);
            InputError::new(format!("{}: `tools` is no JSON: {error}, in `{found}`", record.place))
                .hint(format!("it must be {expected}"))
        })?,
        Some(value) => value.clone(),
        None => Value::Null,
    };
    let tools = match parsed {
        Value::Null => None,
        Value::Array(list) if list.iter().all(Value::is_object) => Some(list),
        other => return Err(record.wrong("tools", expected, &other).into()),
    };
    let others = match record.get("chat_template_kwargs") {
        None => Map::new(),
        Some(Value::Object(fields)) => fields.clone(),
        Some(other) => return Err(record.wrong("chat_template_kwargs", "an object", other).into()),
    };
    if let Some(name) = others.keys().find(|name| ARGUMENTS.contains(&name.as_str())) {
        return Err(InputError::new(format!(
            "{}: `chat_template_kwargs.{name}` is no variable of a chat template",
            record.place
        ))
        .hint("in transformers it is an argument of `apply_chat_template`, which is always called the same way here; remove it")
        .into());
    }
    Ok(Variables { tools, others })
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
            let calls = field == "content" && message["tool_calls"].is_array() && found.is_null();
            if !found.is_string() && !calls {
                return Err(InputError::new(format!(
                    "{}: `{key}[{place}].{field}` must be a string, got {}",
                    record.place,
                    kind(found)
                ))
                .hint("a message is an object with the texts `role` and `content`; `content` may be null beside `tool_calls`")
                .into());
            }
        }
    }
    Ok(list.clone())
}

#[cfg(test)]
mod tests;
