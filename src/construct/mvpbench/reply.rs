//! A reply of the model that writes questions -> what it holds: a JSON array of objects, also in a fence, after thoughts, or cut.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::disk::json;
use crate::judge::reply::after_thinking;

/// Questions that are asked for at once.
pub(super) const QUESTIONS: usize = 3;

/// A question with both answers, before any check; a field that is missing or no text is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Draft {
    pub(super) question: Option<String>,
    pub(super) preferred: Option<String>,
    pub(super) rejected: Option<String>,
    /// The key that stands twice, so that nothing is read.
    pub(super) doubled: Option<String>,
}

/// What a reply holds: the objects of its array.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Drafts {
    /// The first [`QUESTIONS`] of them, in order.
    pub(super) drafts: Vec<Draft>,
    /// How many there are.
    pub(super) objects: usize,
    /// Fields that are not read.
    pub(super) unread: BTreeSet<String>,
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

/// Reads a reply; none where it holds no array of objects.
pub(super) fn read(reply: &str) -> Option<Drafts> {
    let mut rest = after_thinking(reply)?;
    while let Some(start) = rest.find('[') {
        rest = &rest[start + 1..];
        let found = objects(rest);
        if found.objects > 0 {
            return Some(found);
        }
    }
    None
}

/// The objects that `text`, the inside of an array, begins with.
fn objects(text: &str) -> Drafts {
    let (mut found, mut rest) = (Drafts::default(), text.trim_start());
    while rest.starts_with('{') {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Map<String, Value>>();
        let Some(Ok(object)) = values.next() else { break };
        let (json, after) = rest.split_at(values.byte_offset());
        found.objects += 1;
        if found.drafts.len() < QUESTIONS {
            found.drafts.push(draft(object, json, &mut found.unread));
        }
        let after = after.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
    }
    found
}

/// The draft of `object`, whose text is `json`.
fn draft(mut object: Map<String, Value>, json: &str, unread: &mut BTreeSet<String>) -> Draft {
    if let Err(error) = json::unique(json) {
        return Draft { doubled: Some(error.to_string()), ..Draft::default() };
    }
    let mut text = |key: &str| match object.remove(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let draft = Draft {
        question: text("question"),
        preferred: text("answer_w"),
        rejected: text("answer_l"),
        doubled: None,
    };
    unread.extend(object.into_iter().map(|(key, _)| key));
    draft
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: &str = r#"{"question": "Why [so]?", "answer_w": "a", "answer_l": "b"}"#;

    /// Drafts and objects of a reply of nothing but [`ITEM`]s.
    fn counts(reply: &str) -> (usize, usize) {
        let Some(found) = read(reply) else { return (0, 0) };
        let whole = |draft: &&Draft| draft.question.as_deref() == Some("Why [so]?");
        assert_eq!(found.drafts.iter().filter(whole).count(), found.drafts.len(), "{reply}");
        (found.drafts.len(), found.objects)
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
        ] {
            assert_eq!(counts(&reply), (3, 3), "{reply}");
        }
        assert_eq!(counts(&format!("[{ITEM}, {ITEM}, {ITEM}, {ITEM}]")), (3, 4));
    }

    #[test]
    fn a_reply_that_is_cut_keeps_its_whole_objects() {
        assert_eq!(counts(&format!("[{ITEM}, {ITEM}, {}", &ITEM[..20])), (2, 2));
        assert_eq!(counts(&format!("[{ITEM}")), (1, 1));
        for reply in ["", "[]", "[1, 2]", "none", ITEM, "<think>[{}", "[{"] {
            assert_eq!(read(reply), None, "{reply}");
        }
    }

    #[test]
    fn a_field_that_is_no_text_is_missing_and_a_key_that_stands_twice_spoils_its_object() {
        let reply = r#"[{"question": "q", "answer_w": ["a"], "more": 1}, {"question": "q", "question": "r"}]"#;
        let found = read(reply).unwrap();
        assert_eq!(found.drafts[0], Draft { question: Some("q".into()), ..Draft::default() });
        assert_eq!(found.drafts[1].question, None);
        assert!(found.drafts[1].doubled.as_ref().unwrap().contains("the key `question`"));
        assert!(found.unread.iter().eq(["more"]));
    }
}
