//! A reply of the model that writes questions -> what it holds: a JSON array of objects, also in a fence, after thoughts, or cut.

use serde_json::{Map, Value, json};

use crate::judge::reply::after_thinking;

/// Questions that are asked for at once.
pub(super) const QUESTIONS: usize = 3;

/// A question with both answers, before any check; a field that is missing or no text is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Draft {
    pub(super) question: Option<String>,
    pub(super) preferred: Option<String>,
    pub(super) rejected: Option<String>,
}

/// What a reply holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    /// The objects in order, at most [`QUESTIONS`]; fewer where the reply has fewer or is cut.
    Drafts(Vec<Draft>),
    /// No array of objects.
    NoArray,
}

/// The schema of a reply, for an endpoint that takes one. Its root is an object, since endpoints take no other.
pub(super) fn schema() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["items"],
        "properties": {"items": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["question", "answer_w", "answer_l"],
                "properties": {"question": text, "answer_w": text, "answer_l": text},
            },
        }},
    })
}

/// Reads a reply. Objects beyond the third are not read; fields beyond the three neither.
pub(super) fn read(reply: &str) -> Read {
    let Some(reply) = after_thinking(reply) else { return Read::NoArray };
    let mut rest = reply;
    while let Some(start) = rest.find('[') {
        rest = &rest[start + 1..];
        let drafts = objects(rest);
        if !drafts.is_empty() {
            return Read::Drafts(drafts);
        }
    }
    Read::NoArray
}

/// The objects that `text`, the inside of an array, begins with.
fn objects(text: &str) -> Vec<Draft> {
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while found.len() < QUESTIONS && rest.starts_with('{') {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Map<String, Value>>();
        let Some(Ok(mut object)) = values.next() else { break };
        let mut text = |key: &str| match object.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        found.push(Draft {
            question: text("question"),
            preferred: text("answer_w"),
            rejected: text("answer_l"),
        });
        rest = rest[values.byte_offset()..].trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: &str = r#"{"question": "Why [so]?", "answer_w": "a", "answer_l": "b"}"#;

    fn questions(reply: &str) -> usize {
        match read(reply) {
            Read::Drafts(drafts) => {
                let whole = |draft: &&Draft| draft.question.as_deref() == Some("Why [so]?");
                assert_eq!(drafts.iter().filter(whole).count(), drafts.len(), "{reply}");
                drafts.len()
            }
            Read::NoArray => 0,
        }
    }

    #[test]
    fn an_array_is_read_bare_in_a_fence_after_text_and_inside_the_schemas_object() {
        let array = format!("[{ITEM}, {ITEM},\n{ITEM}]");
        for reply in [
            array.clone(),
            format!("```json\n{array}\n```"),
            format!("Here are [three] of them:\n{array}\nDone."),
            format!("<think>[{{\"question\": 1}}]</think>{array}"),
            format!("{{\"items\": {array}}}"),
            format!("[{ITEM}, {ITEM}, {ITEM}, {ITEM}]"),
        ] {
            assert_eq!(questions(&reply), 3, "{reply}");
        }
    }

    #[test]
    fn a_reply_that_is_cut_keeps_its_whole_objects() {
        assert_eq!(questions(&format!("[{ITEM}, {ITEM}, {}", &ITEM[..20])), 2);
        assert_eq!(questions(&format!("[{ITEM}")), 1);
        for reply in ["", "[]", "[1, 2]", "none", ITEM, "<think>[{}", "[{"] {
            assert_eq!(read(reply), Read::NoArray, "{reply}");
        }
    }

    #[test]
    fn a_field_that_is_no_text_is_missing() {
        let reply = r#"[{"question": "q", "answer_w": ["a"], "more": 1}]"#;
        let draft = Draft { question: Some("q".into()), preferred: None, rejected: None };
        assert_eq!(read(reply), Read::Drafts(vec![draft]));
    }
}
