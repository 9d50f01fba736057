//! Reads the body of a response, and writes the part of it that is kept.
//!
//! Not by the types of async-openai: servers leave out fields that those require, and have reasons to finish that those
//! do not know. An answer that was paid for must not be lost to that.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::shown;
use crate::judge::chat::cost;
use crate::judge::chat::outcome::{Answer, Failure, Finish, Usage};

/// What a response says besides its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// The name under which the endpoint says it answered.
    pub(super) model: Option<String>,
    /// The provider's name of the request, by which it can be asked about.
    pub(super) request_id: String,
}

#[derive(Deserialize)]
struct Body {
    choices: Vec<Choice>,
    usage: Option<Counts>,
    // Whatever their types: an answer is not lost to them.
    #[serde(default)]
    model: Value,
    #[serde(default)]
    id: Value,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Arc<str>>,
    refusal: Option<Arc<str>>,
    /// DeepSeek's and Ark's name.
    reasoning_content: Option<String>,
    /// vLLM's and OpenRouter's.
    reasoning: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    completion_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    reasoning_tokens: Option<u64>,
}

/// The answer in a body of status 200 with what is said beside it, or what is wrong with the body.
pub(super) fn answer(body: &[u8]) -> Result<(Answer, Heard), String> {
    let wrong = |error: serde_json::Error| {
        let text = String::from_utf8_lossy(body);
        format!("`{}`, which is no chat completion: {error}", shown(&text.trim()))
    };
    let body: Body = serde_json::from_slice(body).map_err(wrong)?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let heard = Heard { model: text(&body.model), request_id: text(&body.id).unwrap_or_default() };
    let Some(Choice { message, finish_reason }) = body.choices.into_iter().next() else {
        return Err("a chat completion without a choice".to_owned());
    };
    let reasoning = message.reasoning_content.or(message.reasoning);
    let usage = body.usage.and_then(|counts| {
        let counted = counts.completion_tokens_details.and_then(|details| details.reasoning_tokens);
        Some(Usage {
            prompt: counts.prompt_tokens?,
            completion: counts.completion_tokens.unwrap_or(0),
            reasoning: counted
                .unwrap_or_else(|| reasoning.as_deref().map_or(0, cost::estimated_tokens)),
        })
    });
    let refusal = message.refusal.filter(|refusal| !refusal.is_empty());
    let content = message.content.filter(|content| !content.is_empty());
    let finish = match (finish_reason, &refusal, &content) {
        (_, Some(_), None) => Finish::Refusal,
        (Some(reason), ..) => match &*reason {
            "stop" => Finish::Stop,
            "length" => Finish::Length,
            "content_filter" => Finish::ContentFilter,
            _ => Finish::Other(Some(reason)),
        },
        (None, ..) => Finish::Other(None),
    };
    Ok((Answer { text: content.or(refusal).unwrap_or_default(), finish, usage }, heard))
}

/// The body that [`answer`] reads the same answer and model from.
pub(super) fn body(answer: &Answer, heard: &Heard) -> Value {
    let (content, refusal, reason) = match &answer.finish {
        Finish::Refusal => (None, Some(&*answer.text), Some("stop")),
        finish => {
            let reason = match finish {
                Finish::Length => Some("length"),
                Finish::ContentFilter => Some("content_filter"),
                Finish::Other(reason) => reason.as_deref(),
                Finish::Stop | Finish::Refusal => Some("stop"),
            };
            (Some(&*answer.text), None, reason)
        }
    };
    let usage = answer.usage.map(|usage| {
        json!({
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt.saturating_add(usage.completion),
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        })
    });
    json!({
        "object": "chat.completion",
        "model": heard.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": content, "refusal": refusal},
            "finish_reason": reason,
        }],
        "usage": usage,
    })
}

/// What a server says about an error: the message in its JSON, or the text.
pub(super) fn error_text(body: &[u8]) -> String {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let message = value.as_ref().and_then(|value| {
        let error = &value["error"];
        [&error["message"], error, &value["message"], &value["detail"]]
            .into_iter()
            .find_map(Value::as_str)
    });
    let text = message.map_or_else(|| String::from_utf8_lossy(body), Into::into);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A failure of the response of `status` with `body`.
pub(super) fn failure(status: u16, body: &Value) -> Failure {
    let text = error_text(body.to_string().as_bytes());
    Failure { status: Some(status), why: text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Answer {
        answer(body.to_string().as_bytes()).unwrap().0
    }

    #[test]
    fn an_answer_is_read_whatever_a_server_leaves_out_or_adds() {
        let bare = read(json!({"choices": [{"message": {"content": "Yes"}}]}));
        assert_eq!((&*bare.text, &bare.finish, bare.usage), ("Yes", &Finish::Other(None), None));
        let reasoned = read(json!({
            "created": 99999999999u64,
            "choices": [{
                "message": {"content": "No", "reasoning_content": "Let me think about it.", "x": 1},
                "finish_reason": "abort",
            }],
            "usage": {"prompt_tokens": 5, "completion_tokens": 9, "extra": null},
        }));
        assert_eq!(&*reasoned.text, "No");
        assert_eq!(reasoned.finish, Finish::Other(Some("abort".into())));
        assert_eq!(reasoned.usage, Some(Usage { prompt: 5, completion: 9, reasoning: 6 }));
    }

    #[test]
    fn a_refusal_and_a_filtered_answer_are_answers() {
        let refused = json!({"content": null, "refusal": "I cannot."});
        let refused = read(json!({"choices": [{"message": refused, "finish_reason": "stop"}]}));
        assert_eq!((&*refused.text, &refused.finish), ("I cannot.", &Finish::Refusal));
        let message = json!({"content": null});
        let filtered =
            read(json!({"choices": [{"message": message, "finish_reason": "content_filter"}]}));
        assert_eq!((&*filtered.text, &filtered.finish), ("", &Finish::ContentFilter));
        for answer in [refused, filtered] {
            assert_eq!(read(body(&answer, &Heard::default())), answer, "kept as it was");
        }
    }

    #[test]
    fn the_served_model_and_the_request_are_heard_and_odd_ones_lose_no_answer() {
        let choices = json!([{"message": {"content": "Yes"}}]);
        let heard = |body: Value| answer(body.to_string().as_bytes()).unwrap().1;
        let said = heard(json!({"id": "chat-1", "model": "gpt-4o-2024-08-06", "choices": choices}));
        assert_eq!(said.model.as_deref(), Some("gpt-4o-2024-08-06"));
        assert_eq!(said.request_id, "chat-1");
        let odd = heard(json!({"id": 7, "model": ["a"], "choices": choices}));
        assert_eq!(odd, Heard::default());
    }

    #[test]
    fn garbage_is_no_answer() {
        for text in
            ["", "<html>busy</html>", "{\"choices\":[]}", "{\"error\":{}}", "{\"choices\":["]
        {
            assert!(answer(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(error_text(b"{\"error\":{\"message\":\"no\\nsuch\"}}"), "no such");
        assert_eq!(error_text(b"{\"error\":\"no\"}"), "no");
        assert_eq!(error_text(b"{\"detail\":\"no\"}"), "no");
        assert_eq!(error_text(b" bad gateway\n"), "bad gateway");
    }
}
