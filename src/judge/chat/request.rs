//! What is asked: a chat request in the form of OpenAI's Batch lines, named by its content.

use std::borrow::Cow;

use anyhow::{Context, Result};
use async_openai::types::batches::{BatchEndpoint, BatchRequestInput, BatchRequestInputMethod};
use async_openai::types::chat::{
    ChatCompletionRequestAssistantMessage, ChatCompletionRequestMessage,
    ChatCompletionRequestSystemMessage, ChatCompletionRequestUserMessage,
    CreateChatCompletionRequest, ResponseFormat, ResponseFormatJsonSchema,
};
use serde_json::{Map, Value};

use crate::bail_input;
use crate::disk::digest;
use crate::judge::chat::endpoint::{Endpoint, TokenLimit};

/// Hexadecimal digits of a request's name: 128 bits.
const DIGITS: usize = 32;

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The operator's instruction.
    System,
    /// The person who asks.
    User,
    /// The model, in an earlier turn.
    Assistant,
}

impl Role {
    /// `system`, `user` or `assistant`.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    /// The role `system` or `assistant`; any other is the user's.
    pub fn named(role: &str) -> Self {
        match role {
            "system" => Self::System,
            "assistant" => Self::Assistant,
            _ => Self::User,
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// The text.
    pub text: String,
}

/// One conversation to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The item's id in the data.
    pub id: String,
    /// Which of several answers to the same conversation this is, from 0.
    pub repetition: u32,
    /// The conversation.
    pub messages: Vec<Message>,
}

/// Conversations to be answered, made when they are needed: all together may take more memory than what they are made from.
pub trait Items {
    /// How many there are.
    fn count(&self) -> usize;

    /// The one at a place below [`Self::count`].
    fn at(&self, place: usize) -> Result<Cow<'_, Item>>;
}

impl<T: AsRef<[Item]>> Items for T {
    fn count(&self) -> usize {
        self.as_ref().len()
    }

    fn at(&self, place: usize) -> Result<Cow<'_, Item>> {
        self.as_ref().get(place).map(Cow::Borrowed).context("there is no such item")
    }
}

impl Item {
    /// The first answer to the conversation `messages`.
    pub fn of(id: String, messages: Vec<Message>) -> Self {
        Self { id, repetition: 0, messages }
    }
}

/// The model and how it answers; the same for all items.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    /// The model's name at the endpoint.
    pub model: String,
    /// Sampling temperature; none: the endpoint's default.
    pub temperature: Option<f32>,
    /// Share of probability that is sampled from; none: the endpoint's default.
    pub top_p: Option<f32>,
    /// Most tokens of an answer, reasoning included; none: the endpoint's default.
    pub max_tokens: Option<u32>,
    /// Seed of the sampling, where the endpoint heeds one.
    pub seed: Option<i64>,
    /// A name and a JSON schema that the answer must match, for endpoints that take one.
    pub schema: Option<(String, Value)>,
    /// Fields of the endpoint's own, added to the body as they are, such as `chat_template_kwargs`.
    pub extra: Map<String, Value>,
}

impl Parameters {
    /// `model` as a stage asks it: how its tokens are drawn, the most of them, and fields of the endpoint's own.
    pub fn of_stage(
        model: &str,
        [temperature, top_p]: [f64; 2],
        max_tokens: u32,
        extra: &Map<String, Value>,
    ) -> Self {
        Self {
            model: model.to_owned(),
            temperature: Some(temperature as f32),
            top_p: Some(top_p as f32),
            max_tokens: Some(max_tokens),
            seed: None,
            schema: None,
            extra: extra.clone(),
        }
    }
}

/// A request that is ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Digest of the endpoint's address, the body, the item's id and the repetition.
    pub custom_id: String,
    /// The JSON body.
    pub body: Value,
}

impl Request {
    /// The request for `item`. Refuses a field of [`Parameters::extra`] that is set elsewhere.
    pub fn new(endpoint: &Endpoint, parameters: &Parameters, item: &Item) -> Result<Self> {
        let body = body(endpoint.token_limit(), parameters, &item.messages)?;
        let text = serde_json::to_vec(&body)?;
        let parts: [&[u8]; 4] =
            [endpoint.base().as_bytes(), &text, item.id.as_bytes(), &item.repetition.to_le_bytes()];
        let mut custom_id = digest::of_parts(parts);
        custom_id.truncate(DIGITS);
        Ok(Self { custom_id, body })
    }

    /// The request as a line of a Batch file.
    pub fn batch_line(self) -> BatchRequestInput {
        BatchRequestInput {
            custom_id: self.custom_id,
            method: BatchRequestInputMethod::POST,
            url: BatchEndpoint::V1ChatCompletions,
            body: Some(self.body),
        }
    }
}

fn body(limit: TokenLimit, parameters: &Parameters, messages: &[Message]) -> Result<Value> {
    let mut request = CreateChatCompletionRequest {
        model: parameters.model.clone(),
        messages: messages.iter().map(message).collect(),
        ..Default::default()
    };
    if limit == TokenLimit::MaxCompletionTokens {
        request.max_completion_tokens = parameters.max_tokens;
    }
    if let Some((name, schema)) = &parameters.schema {
        request.response_format = Some(ResponseFormat::JsonSchema {
            json_schema: ResponseFormatJsonSchema {
                name: name.clone(),
                schema: schema.clone(),
                strict: Some(true),
                ..Default::default()
            },
        });
    }
    let mut body = serde_json::to_value(request)?;
    let fields = body.as_object_mut().context("a request is an object")?;
    for (name, value) in [("temperature", parameters.temperature), ("top_p", parameters.top_p)] {
        if let Some(value) = value {
            // As it is written: an f32 of 0.7 is 0.699999988079071 as an f64.
            fields.insert(name.to_owned(), value.to_string().parse::<f64>()?.into());
        }
    }
    // OpenAI calls both deprecated; other servers know no others.
    if let (TokenLimit::MaxTokens, Some(tokens)) = (limit, parameters.max_tokens) {
        fields.insert("max_tokens".to_owned(), tokens.into());
    }
    if let Some(seed) = parameters.seed {
        fields.insert("seed".to_owned(), seed.into());
    }
    for (name, value) in &parameters.extra {
        if fields.insert(name.clone(), value.clone()).is_some() {
            bail_input!(
                "the request's field `{name}` is set twice, by its own key and as an extra field"
            );
        }
    }
    Ok(body)
}

fn message(message: &Message) -> ChatCompletionRequestMessage {
    let text = message.text.as_str();
    match message.role {
        Role::System => ChatCompletionRequestSystemMessage::from(text).into(),
        Role::User => ChatCompletionRequestUserMessage::from(text).into(),
        Role::Assistant => ChatCompletionRequestAssistantMessage::from(text).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(id: &str, repetition: u32, text: &str) -> Item {
        let message = Message { role: Role::User, text: text.to_owned() };
        Item { id: id.to_owned(), repetition, messages: vec![message] }
    }

    fn parameters() -> Parameters {
        Parameters {
            model: "m".into(),
            temperature: Some(0.7),
            max_tokens: Some(512),
            ..Parameters::default()
        }
    }

    #[test]
    fn a_request_is_a_line_of_openais_batch_files() {
        let endpoint = Endpoint::open("local", None).unwrap();
        let request = Request::new(&endpoint, &parameters(), &item("a", 0, "Hi")).unwrap();
        let custom_id = request.custom_id.clone();
        assert_eq!(
            serde_json::to_value(request.batch_line()).unwrap(),
            json!({
                "custom_id": custom_id,
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "messages": [{"role": "user", "content": "Hi"}],
                    "model": "m",
                    "temperature": 0.7,
                    "max_tokens": 512,
                }
            })
        );
        let body = body(TokenLimit::MaxCompletionTokens, &parameters(), &[]).unwrap();
        assert_eq!(
            (&body["max_completion_tokens"], &body["max_tokens"]),
            (&json!(512), &json!(null))
        );
    }

    #[test]
    fn whatever_an_answer_depends_on_changes_the_name_of_the_request() {
        let local = Endpoint::open("local", None).unwrap();
        let other = Endpoint::open("http://127.0.0.1:8001/v1", None).unwrap();
        let named = |endpoint, parameters: &Parameters, item| {
            Request::new(endpoint, parameters, &item).unwrap().custom_id
        };
        let first = named(&local, &parameters(), item("a", 0, "Hi"));
        assert_eq!(first, named(&local, &parameters(), item("a", 0, "Hi")));
        let extra = json!({"thinking": {"type": "disabled"}}).as_object().unwrap().clone();
        let warm = Parameters { temperature: Some(0.8), ..parameters() };
        let others = [
            named(&other, &parameters(), item("a", 0, "Hi")),
            named(&local, &parameters(), item("b", 0, "Hi")),
            named(&local, &parameters(), item("a", 1, "Hi")),
            named(&local, &parameters(), item("a", 0, "Ho")),
            named(&local, &warm, item("a", 0, "Hi")),
            named(&local, &Parameters { model: "n".into(), ..parameters() }, item("a", 0, "Hi")),
            named(&local, &Parameters { extra, ..parameters() }, item("a", 0, "Hi")),
        ];
        assert!(!others.contains(&first), "{others:?}");
    }

    #[test]
    fn a_field_that_is_set_twice_is_refused() {
        let extra = json!({"model": "n"}).as_object().unwrap().clone();
        let endpoint = Endpoint::open("local", None).unwrap();
        let parameters = Parameters { extra, ..parameters() };
        assert!(Request::new(&endpoint, &parameters, &item("a", 0, "Hi")).is_err());
    }
}
