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
mod tests {
    use super::*;
    use crate::data::format::fields::Place;

    fn read(json: &str) -> Result<Option<Conversation>> {
        let fields = serde_json::from_str(json).unwrap();
        let record = Record::new(Place { file: "a.json", line: 1 }, fields);
        let mut conversation = Conversation::read(&record)?;
        if let Some(conversation) = &mut conversation {
            conversation.add_columns(&record)?;
        }
        Ok(conversation)
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

    /// A conversation with these columns beside it, its prompt rendered by a template that shows what reaches it.
    fn shown(columns: &str) -> String {
        let json =
            format!(r#"{{"prompt": [{USER}], "chosen": [{A}], "rejected": [{B}], {columns}}}"#);
        let template = crate::data::chat::tests::template(
            "{% for t in tools or [] %}<{{ t | tojson }}>{% endfor %}{{ think }}{% for m in messages %}{{ m.role }}:{{ m.content }}|{% endfor %}",
        );
        match read(&json) {
            Ok(conversation) => conversation.unwrap().prompt_text(&template).unwrap(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn tools_variables_and_a_system_text_reach_the_template() {
        let tools = r#"[{"name": "z", "a": 1}]"#;
        let quoted = serde_json::to_string(tools).unwrap();
        for (columns, expected) in [
            (format!(r#""tools": {tools}"#), r#"<{"name": "z", "a": 1}>user:q|"#),
            (format!(r#""tools": {quoted}"#), r#"<{"name": "z", "a": 1}>user:q|"#),
            (r#""tools": "null""#.to_owned(), "user:q|"),
            (r#""chat_template_kwargs": {"think": "hm"}"#.to_owned(), "hmuser:q|"),
            (r#""system": "Be kind.""#.to_owned(), "system:Be kind.|user:q|"),
            (r#""system": " ""#.to_owned(), "user:q|"),
            (
                r#""tools": "[{]""#.to_owned(),
                "a.json:1: `tools` is no JSON: key must be a string at line 1 column 3, in `[{]`",
            ),
            (
                r#""tools": ["f"]"#.to_owned(),
                "a.json:1: `tools` must be a list of functions, each an object, or the same as JSON text, got a list",
            ),
            (
                r#""chat_template_kwargs": "think""#.to_owned(),
                "a.json:1: `chat_template_kwargs` must be an object, got the string `think`",
            ),
            (
                r#""chat_template_kwargs": {"tokenize": true}"#.to_owned(),
                "a.json:1: `chat_template_kwargs.tokenize` is no variable of a chat template",
            ),
        ] {
            assert_eq!(shown(&columns), expected);
        }
    }

    #[test]
    fn a_system_message_of_the_conversation_stays_alone() {
        let json = format!(
            r#"{{"prompt": [{{"role": "system", "content": "own"}}, {USER}], "chosen": [{A}], "rejected": [{B}], "system": "other"}}"#
        );
        let conversation = read(&json).unwrap().unwrap();
        assert_eq!(conversation.prompt[0]["content"], "own");
        assert_eq!(conversation.prompt.len(), 2);
    }

    #[test]
    fn a_call_of_a_tool_needs_no_content() {
        let call = r#"{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]}"#;
        let json = format!(r#"{{"prompt": [{USER}], "chosen": [{call}], "rejected": [{B}]}}"#);
        let conversation = read(&json).unwrap().unwrap();
        assert_eq!(conversation.empty_answers(), 0);
        let template = crate::data::chat::tests::template(
            "{% for m in messages %}{% if m.tool_calls is defined %}{{ m.tool_calls[0].function.name }}{% endif %}{{ m.content is defined }};{% endfor %}",
        );
        let [prompt, chosen, rejected] = conversation.texts(&template).unwrap();
        assert_eq!([&*prompt, &*chosen, &*rejected], ["True;", "fFalse;", "True;"]);
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

    #[test]
    fn a_prompt_without_answers_has_its_profile_too() {
        let json = format!(r#"{{"prompt": [{USER}], "profile": " old "}}"#);
        let fields = serde_json::from_str(&json).unwrap();
        let record = Record::new(Place { file: "a.json", line: 1 }, fields);
        let alone = Conversation::prompt_alone(&record).unwrap();
        assert_eq!(alone.prompt, Conversation::of_texts(["old\nq", "", ""]).prompt);
    }

    #[test]
    fn each_empty_answer_of_a_conversation_is_counted() {
        for (answers, empty) in [(["a", "b"], 0), (["", "b"], 1), (["a", ""], 1), (["", ""], 2)] {
            let [chosen, rejected] = answers;
            assert_eq!(Conversation::of_texts(["q", chosen, rejected]).empty_answers(), empty);
        }
    }
}
