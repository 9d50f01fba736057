//! A pair of conversations: the messages of its prompt and of both answers, and what the record gives the template beside them.

use anyhow::Result;
use serde_json::{Map, Value};

use crate::data::chat::{ChatTemplate, Rendered, Variables, message};
use crate::data::format::fields::{Record, shorten, strip};
use crate::data::format::messages::text_of;
use crate::error::InputError;

/// A prompt and two answers as messages.
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
    /// A prompt and the answers to it.
    pub(in crate::data) fn new(
        prompt: Vec<Value>,
        chosen: Vec<Value>,
        rejected: Vec<Value>,
    ) -> Self {
        Self { prompt, chosen, rejected, variables: Variables::default() }
    }

    /// Two whole conversations: the messages at the start that both share are the prompt, as in TRL's `extract_prompt`, but for the
    /// last message of the shorter. `names`: the fields of the two.
    pub(in crate::data) fn of_whole(
        record: &Record<'_>,
        names: [&str; 2],
        [mut chosen, mut rejected]: [Vec<Value>; 2],
    ) -> Result<Self> {
        let most = chosen.len().min(rejected.len()).saturating_sub(1);
        let same = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count().min(most);
        if same == 0 {
            let [chosen, rejected] = names.map(|name| record.named(name));
            return Err(InputError::new(format!(
                "{}: `{chosen}` and `{rejected}` begin with different messages, and there is no list `prompt`",
                record.place
            ))
            .hint("give `prompt` as a list of messages, or begin both answers with the same ones")
            .into());
        }
        rejected.drain(..same);
        let prompt = chosen.drain(..same).collect();
        Ok(Self::new(prompt, chosen, rejected))
    }

    /// A prompt without answers.
    pub(in crate::data) fn prompt_alone(prompt: Vec<Value>) -> Self {
        Self { prompt, ..Self::default() }
    }

    /// The messages of the prompt.
    pub(in crate::data) fn prompt_mut(&mut self) -> &mut [Value] {
        &mut self.prompt
    }

    /// One question and its answers.
    pub(in crate::data) fn of_texts([prompt, chosen, rejected]: [&str; 3]) -> Self {
        let answer = |text: &str| vec![message("assistant", text)];
        Self::new(vec![message("user", prompt)], answer(chosen), answer(rejected))
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

    /// Whether both answers begin with the messages of the prompt.
    pub(in crate::data) fn repeats_prompt(&self) -> bool {
        [&self.chosen, &self.rejected].iter().all(|answer| answer.starts_with(&self.prompt))
    }

    /// Joins the text parts of contents where `template` does not write their texts, as one made for strings does not. Returns whether
    /// it did.
    pub(in crate::data) fn join_parts(&mut self, template: &ChatTemplate) -> bool {
        let all = || self.prompt.iter().chain(&self.chosen).chain(&self.rejected);
        if !all().any(|message| message["content"].is_array()) {
            return false;
        }
        let joined = |messages: &[Value]| -> Vec<Value> {
            let one = |message: &Value| {
                let mut message = message.clone();
                if message["content"].is_array() {
                    message["content"] = text_of(&message["content"]).into();
                }
                message
            };
            messages.iter().map(one).collect()
        };
        let takes_parts = |answer: &[Value]| {
            let whole = [&self.prompt, answer].concat();
            let render = |messages: &[Value]| template.render(messages, &self.variables, false);
            let Ok(of_strings) = render(&joined(&whole)) else { return true };
            let Ok(of_parts) = render(&whole) else { return false };
            let is_lost = |text: &str| of_strings.contains(text) && !of_parts.contains(text);
            let quoted =
                |text: &str| text.matches("'type'").count() + text.matches("\"type\"").count();
            let texts = whole.iter().filter_map(|message| message["content"].as_array()).flatten();
            let mut texts = texts.filter_map(|part| part["text"].as_str());
            quoted(&of_parts) <= quoted(&of_strings) && !texts.any(|text| is_lost(strip(text)))
        };
        if takes_parts(&self.chosen) && takes_parts(&self.rejected) {
            return false;
        }
        self.prompt = joined(&self.prompt);
        self.chosen = joined(&self.chosen);
        self.rejected = joined(&self.rejected);
        true
    }

    /// Number of empty answers, 0 to 2.
    pub(in crate::data) fn empty_answers(&self) -> usize {
        let is_empty = |message: &Value| {
            message["tool_calls"].is_null() && text_of(&message["content"]).is_empty()
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
            let role = message["role"].as_str().unwrap_or_default().to_owned();
            if !["system", "user", "assistant"].contains(&&*role) {
                return Err(format!("a message has the role `{}`", shorten(&role)));
            }
            if message["tool_calls"].is_array() {
                return Err("a message has `tool_calls`".to_owned());
            }
            Ok((role, text_of(&message["content"])))
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
    pub(in crate::data) fn texts(&self, template: &ChatTemplate) -> Result<Rendered> {
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

/// Puts a profile before the user's first message, both stripped, as before a plain prompt.
pub(in crate::data) fn add_profile(prompt: &mut [Value], profile: &str) {
    let profile = strip(profile);
    let user = prompt.iter_mut().find(|message| message["role"] == "user");
    let (false, Some(first)) = (profile.is_empty(), user) else { return };
    let before = |text: &str| Value::from(format!("{profile}\n{}", strip(text)));
    match &mut first["content"] {
        Value::Array(parts) => {
            let text = parts.first().and_then(|part| part["text"].as_str()).map(before);
            if let (Some(part), Some(text)) = (parts.first_mut(), text) {
                part["text"] = text;
            }
        }
        content => *content = before(content.as_str().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
