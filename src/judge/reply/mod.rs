//! A judge's reply as text in, Yes or No or scores out; none where it cannot be read, which is never counted as a No.

pub mod scores;
pub mod yes_no;

use serde_json::{Map, Value};

/// The reply after what a model thought aloud before it: `<think>...</think>` or `<thinking>...</thinking>`.
///
/// None where the thought was not finished, so there is no reply.
pub fn after_thinking(reply: &str) -> Option<&str> {
    let mut rest = reply;
    for [open, close] in [["<think>", "</think>"], ["<thinking>", "</thinking>"]] {
        rest = match (rest.rfind(close), rest.contains(open)) {
            (Some(end), _) => &rest[end + close.len()..],
            (None, true) => return None,
            (None, false) => rest,
        };
    }
    Some(rest.trim())
}

/// The JSON objects in a text that are in no other.
pub fn objects(text: &str) -> Vec<Map<String, Value>> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find('{') {
        let mut values = serde_json::Deserializer::from_str(&rest[start..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(Value::Object(object))) => {
                found.push(object);
                rest = &rest[start + values.byte_offset()..];
            }
            _ => rest = &rest[start + 1..],
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_thinks_aloud_is_no_part_of_its_reply() {
        for (reply, expected) in [
            ("<think>No? Hm.</think>\n\nYes", Some("Yes")),
            ("No? Hm.</think> Yes", Some("Yes")), // a server that hides the opening tag
            ("<thinking>a</thinking>Yes", Some("Yes")),
            ("<think>No", None),
            (" Yes ", Some("Yes")),
        ] {
            assert_eq!(after_thinking(reply), expected, "{reply}");
        }
    }
}
