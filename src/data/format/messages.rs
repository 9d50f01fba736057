//! A prompt or an answer in every spelling that files have: a text, a message or a list of messages, with `role` and `content` or with
//! `from` and `value`, and contents that are texts or lists of text parts.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::data::chat::message;
use crate::data::format::fields::{Record, kind, shorten};
use crate::error::InputError;

/// The speakers of ShareGPT files and their roles. `function_call` is the assistant's, and holds calls of tools as JSON.
const SPEAKERS: [(&str, &str); 10] = [
    ("human", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("assistant", "assistant"),
    ("model", "assistant"),
    ("system", "system"),
    ("observation", "tool"),
    ("tool", "tool"),
    ("function_response", "tool"),
    (CALLS, "assistant"),
];

/// The speaker of calls.
const CALLS: &str = "function_call";

/// A prompt or an answer.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::data) enum Said {
    /// A text.
    Text(String),
    /// One or more messages, with `role` and `content`.
    Messages(Vec<Value>),
}

impl Said {
    /// The field `key`: a text, a message or a list of messages.
    pub(in crate::data) fn read(record: &Record<'_>, key: &str) -> Result<Self> {
        match record.get(key) {
            Some(Value::String(text)) => Ok(Self::Text(text.clone())),
            Some(value) if value.is_array() || role(value).is_some() => {
                Ok(Self::Messages(messages_of(record, key, value)?))
            }
            Some(other) => Err(record.wrong(key, "a string or a list of messages", other).into()),
            None => Err(record.missing(key, "string").into()),
        }
    }

    /// The messages; a text is one of this role.
    pub(in crate::data) fn messages(self, role: &str) -> Vec<Value> {
        match self {
            Self::Text(text) => vec![message(role, &text)],
            Self::Messages(messages) => messages,
        }
    }
}

/// Whether a message is the assistant's or follows one of it, so that an answer may begin with it.
pub(in crate::data) fn answers(message: &Value) -> bool {
    matches!(role(message), Some("assistant" | "tool"))
}

/// The role of a message in either spelling; none if it has none.
pub(in crate::data) fn role(message: &Value) -> Option<&str> {
    if let Some(role) = message.get("role") {
        return role.as_str();
    }
    let speaker = message.get("from")?.as_str()?;
    Some(SPEAKERS.iter().find(|(name, _)| *name == speaker).map_or(speaker, |(_, role)| role))
}

/// The field `key` as a list of one or more messages.
pub(in crate::data) fn messages(record: &Record<'_>, key: &str) -> Result<Vec<Value>> {
    match record.get(key) {
        Some(value @ (Value::Array(_) | Value::Object(_))) => messages_of(record, key, value),
        Some(other) => Err(record.wrong(key, "a list of messages", other).into()),
        None => Err(record.missing(key, "list of messages").into()),
    }
}

/// The messages of a value: a list of them, or one.
pub(in crate::data) fn messages_of(
    record: &Record<'_>,
    key: &str,
    value: &Value,
) -> Result<Vec<Value>> {
    let key = record.named(key);
    match value {
        Value::Array(list) if list.is_empty() => {
            Err(InputError::new(format!("{}: `{key}` has no messages", record.place)).into())
        }
        Value::Array(list) => {
            let one = |(place, message)| one(record, &format!("{key}[{place}]"), message);
            list.iter().enumerate().map(one).collect()
        }
        other => Ok(vec![one(record, key, other)?]),
    }
}

/// One message with `role` and `content`; its other fields stay.
fn one(record: &Record<'_>, at: &str, found: &Value) -> Result<Value> {
    let turn = match found {
        Value::Object(fields) if !fields.contains_key("role") && fields.contains_key("from") => {
            turn(record, at, fields)?
        }
        other => other.clone(),
    };
    let refused = |field: &str, found: &Value| {
        InputError::new(format!(
            "{}: `{at}.{field}` must be a string, got {}",
            record.place,
            kind(found)
        ))
        .hint("a message is an object with the texts `role` and `content`; `content` may be null beside `tool_calls`, or a list of text parts")
    };
    let role = turn.get("role").unwrap_or(&Value::Null);
    if !role.is_string() {
        return Err(refused("role", role).into());
    }
    match turn.get("content").unwrap_or(&Value::Null) {
        Value::String(_) => {}
        Value::Null if turn["tool_calls"].is_array() => {}
        Value::Array(parts) if !parts.is_empty() => {
            for (place, part) in parts.iter().enumerate() {
                check_part(record, &format!("{at}.content[{place}]"), part)?;
            }
        }
        other => return Err(refused("content", other).into()),
    }
    Ok(turn)
}

/// A message of `from` and `value`.
fn turn(record: &Record<'_>, at: &str, fields: &Map<String, Value>) -> Result<Value> {
    let speaker = match &fields["from"] {
        Value::String(speaker) => &**speaker,
        other => {
            let found = kind(other);
            let what = format!("{}: `{at}.from` must be a string, got {found}", record.place);
            return Err(InputError::new(what).into());
        }
    };
    let Some((_, role)) = SPEAKERS.iter().find(|(name, _)| *name == speaker) else {
        let names: Vec<_> = SPEAKERS.iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(InputError::new(format!(
            "{}: `{at}.from` is `{}`, which is no known speaker",
            record.place,
            shorten(speaker)
        ))
        .hint(format!("the speakers are {}", names.join(", ")))
        .into());
    };
    let said = fields.get("value").unwrap_or(&Value::Null);
    let mut turn = Map::new();
    turn.insert("role".to_owned(), (*role).into());
    if speaker == CALLS {
        turn.insert("content".to_owned(), Value::Null);
        turn.insert("tool_calls".to_owned(), calls(record, at, said)?);
    } else {
        if !said.is_string() && !said.is_array() {
            let found = kind(said);
            let what = format!("{}: `{at}.value` must be a string, got {found}", record.place);
            return Err(InputError::new(what).into());
        }
        turn.insert("content".to_owned(), said.clone());
    }
    let others = fields.iter().filter(|(key, _)| !["from", "value"].contains(&&***key));
    turn.extend(others.map(|(key, value)| (key.clone(), value.clone())));
    Ok(Value::Object(turn))
}

/// The calls of a `function_call`: the JSON of one `{"name", "arguments"}` or of a list of them.
fn calls(record: &Record<'_>, at: &str, said: &Value) -> Result<Value> {
    let refused = || {
        InputError::new(format!(
            "{}: `{at}.value` of a `{CALLS}` must be JSON with `name` and `arguments`, got {}",
            record.place,
            kind(said)
        ))
    };
    let parsed: Value = match said {
        Value::String(text) => serde_json::from_str(text).map_err(|_| refused())?,
        other => other.clone(),
    };
    let list = match parsed {
        Value::Array(list) if !list.is_empty() => list,
        call @ Value::Object(_) => vec![call],
        _ => return Err(refused().into()),
    };
    if !list.iter().all(|call| call["name"].is_string() && call.get("arguments").is_some()) {
        return Err(refused().into());
    }
    Ok(list.into_iter().map(|call| json!({"type": "function", "function": call})).collect())
}

/// Refuses a part of a content that is no text.
fn check_part(record: &Record<'_>, at: &str, part: &Value) -> Result<()> {
    let place = record.place;
    let Value::Object(fields) = part else {
        let found = kind(part);
        let what = format!("{place}: `{at}` must be a part of a content, an object, got {found}");
        return Err(InputError::new(what).into());
    };
    let set = fields.iter().filter(|(_, value)| !value.is_null());
    match (fields.get("type"), fields.get("text")) {
        (Some(Value::String(of)), _) if of != "text" => {
            let what = format!("{place}: `{at}` is a part of the type `{}`", shorten(of));
            let hint =
                "parts of the type `text` are read; leave out records with images, audio or video";
            Err(InputError::new(what).hint(hint).into())
        }
        (Some(Value::String(_)), Some(Value::String(_))) => {
            match set.map(|(key, _)| key).find(|key| !["type", "text"].contains(&&***key)) {
                Some(key) => {
                    let what = format!("{place}: `{at}` has the field `{}`", shorten(key));
                    let hint = "a part of text has the fields `type` and `text` alone";
                    Err(InputError::new(what).hint(hint).into())
                }
                None => Ok(()),
            }
        }
        _ => {
            let what = format!("{place}: `{at}` must have a `type` and a `text`");
            Err(InputError::new(what).into())
        }
    }
}

/// The text of a content: of a string, or of its parts with a line break between two; empty for none.
pub(in crate::data) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<_> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}
