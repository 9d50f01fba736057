//! A reply of a judge who is asked for a JSON object of scores.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::judge::protocol::messages::First;
use crate::judge::reply::{after_thinking, objects};
use crate::metrics::paa::Scores;

/// What the reply says.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The three scores and whether there is a hard violation.
    pub scores: Scores,
    /// The value dimensions that the judge used.
    pub dimensions: Vec<String>,
    /// Its reason, one sentence.
    pub reason: String,
}

/// The schema of a reply, for an endpoint that takes one.
pub fn schema() -> Value {
    let score = serde_json::json!({"type": "integer", "minimum": 0, "maximum": 100});
    serde_json::json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["score_1", "score_2", "score_3", "dimensions", "hard_violation", "reason"],
        "properties": {
            "score_1": score, "score_2": score, "score_3": score,
            "dimensions": {"type": "array", "items": {"type": "string"}},
            "hard_violation": {"type": "boolean"},
            "reason": {"type": "string"},
        },
    })
}

/// The fields of a reply. A judge may add others; a score that is missing or outside 0 to 100 is no reply.
#[derive(Deserialize)]
struct Reply {
    score_1: Value,
    score_2: Value,
    score_3: Value,
    #[serde(default)]
    dimensions: Vec<String>,
    hard_violation: bool,
    #[serde(default)]
    reason: String,
}

/// Reads a reply: the JSON object in it, bare, in a fence or after text. None where there is none, or several that differ.
///
/// `first`: which reference answer was shown first, so which one `score_1` is of.
pub fn read(reply: &str, first: First) -> Option<Said> {
    let objects = objects(after_thinking(reply)?);
    let mut said = objects.into_iter().filter_map(|object| of_object(object, first));
    let one = said.next()?;
    said.all(|other| other.scores == one.scores).then_some(one)
}

fn of_object(object: Map<String, Value>, first: First) -> Option<Said> {
    let reply: Reply = serde_json::from_value(Value::Object(object)).ok()?;
    let score = |value: &Value| {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| (0.0..=100.0).contains(number))
    };
    let (one, two) = (score(&reply.score_1)?, score(&reply.score_2)?);
    let (score_w, score_l) = if first == First::Preferred { (one, two) } else { (two, one) };
    let hard_violation = reply.hard_violation;
    let scores = Scores { score_w, score_l, score_model: score(&reply.score_3)?, hard_violation };
    Some(Said { scores, dimensions: reply.dimensions, reason: reply.reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &str = r#"{"score_1": 90, "score_2": "20", "score_3": 85.5, "dimensions": ["safety"], "hard_violation": false, "reason": "It {fits}."}"#;

    #[test]
    fn scores_are_read_bare_in_a_fence_and_after_text_and_belong_to_the_answer_that_was_shown() {
        for reply in [
            REPLY.to_owned(),
            format!("```json\n{REPLY}\n```"),
            format!("Here you are {{as asked}}:\n{REPLY}\nDone."),
            format!("<think>{{\"score_1\": 1}}</think>{REPLY}"),
            format!("{REPLY}\n{REPLY}"),
        ] {
            let said = read(&reply, First::Preferred).unwrap();
            assert_eq!((said.scores.score_w, said.scores.score_l), (90.0, 20.0), "{reply}");
            let said = read(&reply, First::Rejected).unwrap();
            assert_eq!((said.scores.score_w, said.scores.score_l), (20.0, 90.0), "{reply}");
            assert_eq!((said.scores.score_model, &*said.reason), (85.5, "It {fits}."));
            assert_eq!(said.dimensions, ["safety"]);
        }
    }

    #[test]
    fn a_reply_that_lacks_a_score_or_has_two_opinions_is_not_read() {
        for reply in [
            String::new(),
            "90, 20, 85".into(),
            REPLY.replace("85.5", "101"),
            REPLY.replace("85.5", "-1"),
            REPLY.replace("85.5", "null"),
            REPLY.replace("\"score_3\": 85.5, ", ""),
            REPLY.replace("\"hard_violation\": false, ", ""),
            REPLY[..REPLY.len() - 1].to_owned(),
            format!("{REPLY} or rather {}", REPLY.replace("85.5", "10")),
        ] {
            assert_eq!(read(&reply, First::Preferred), None, "{reply}");
        }
    }

    #[test]
    fn the_schema_names_every_field_that_is_read() {
        let required = schema()["required"].clone();
        let reply: Value = serde_json::from_str(REPLY).unwrap();
        for name in required.as_array().unwrap() {
            assert!(reply.get(name.as_str().unwrap()).is_some(), "{name}");
        }
    }
}
