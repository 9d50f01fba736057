//! A row of `conversations.jsonl` -> a conversation: turns of one message and the answers of several models.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::row::Fields;

/// The fields of a row, by the codebook.
pub(super) const FIELDS: &[&str] = &[
    "conversation_id",
    "user_id",
    "conversation_type",
    "opening_prompt",
    "conversation_turns",
    "conversation_history",
    "performance_attributes",
    "choice_attributes",
    "open_feedback",
    "generated_datetime",
    "timing_duration_s",
    "timing_duration_mins",
    "included_in_balanced_subset",
];

/// The fields of an item of `conversation_history`.
const ITEM: &[&str] = &[
    "turn",
    "role",
    "content",
    "model_name",
    "model_provider",
    "score",
    "if_chosen",
    "within_turn_id",
];

/// A conversation of a person with several models.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// `conversation_id`.
    pub id: String,
    /// `user_id`.
    pub user: String,
    /// `unguided`, `values guided` or `controversy guided`.
    pub kind: String,
    /// Its turns in order, at least one.
    pub turns: Vec<Turn>,
}

/// One message and its answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Turn {
    /// Number of the turn, from 0.
    pub number: u64,
    /// The person's message.
    pub message: String,
    /// The answers in the order of the file: up to four in turn 0, two in the others.
    pub replies: Vec<Reply>,
}

/// An answer of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// `model_name`.
    pub model: String,
    /// The answer; empty where the model gave none.
    pub text: String,
    /// How good the person finds it, 0 to 100; none where they gave no score.
    pub score: Option<f64>,
    /// Whether the person chose it; more than one of a turn may say so.
    pub is_chosen: bool,
}

impl Turn {
    /// The answer that continues the conversation: of those that are chosen the first of the highest score. None where no answer is chosen,
    /// or an empty one.
    pub fn chosen(&self) -> Option<&Reply> {
        let score = |reply: &Reply| reply.score.unwrap_or(f64::NEG_INFINITY);
        let chosen = self.replies.iter().filter(|reply| reply.is_chosen);
        let best =
            chosen.reduce(|best, other| if score(other) > score(best) { other } else { best });
        best.filter(|reply| !reply.text.trim().is_empty())
    }
}

impl Conversation {
    /// A conversation of a row, or what is wrong with it.
    pub(super) fn read(row: &Fields<'_>) -> Result<Self, String> {
        let id = row.name("conversation_id")?;
        let user = row.name("user_id")?;
        let mut turns: BTreeMap<u64, (Option<String>, Vec<Reply>)> = BTreeMap::new();
        for (at, item) in row.objects("conversation_history")?.into_iter().enumerate() {
            row.note_unknown("conversation_history[].", item, ITEM);
            let (number, said) =
                item_of(item).map_err(|why| format!("`conversation_history[{at}]`: {why}"))?;
            let (message, replies) = turns.entry(number).or_default();
            match said {
                Said::Message(_) if message.is_some() => {
                    return Err(format!(
                        "`conversation_history[{at}]`: a second message of turn {number}"
                    ));
                }
                Said::Message(text) => *message = Some(text),
                Said::Reply(reply) => replies.push(reply),
            }
        }
        let turns: Vec<Turn> = turns
            .into_iter()
            .map(|(number, (message, replies))| match message {
                Some(message) => Ok(Turn { number, message, replies }),
                None => Err(format!(
                    "turn {number} of `conversation_history` has no message of the user"
                )),
            })
            .collect::<Result<_, _>>()?;
        if turns.is_empty() {
            return Err("`conversation_history` is empty".to_owned());
        }
        Ok(Self { id, user, kind: row.text("conversation_type")?, turns })
    }
}

/// An item of a history.
enum Said {
    Message(String),
    Reply(Reply),
}

fn item_of(item: &Map<String, Value>) -> Result<(u64, Said), String> {
    let fields = Fields::of(item);
    let number = fields.whole("turn")?.ok_or("`turn` is missing")?;
    let text = match fields.get("content") {
        Some(Value::String(_)) => fields.text("content")?,
        None => return Err("`content` is missing or null".to_owned()),
        Some(_) => return Err("`content` must be a string".to_owned()),
    };
    let said = match &*fields.text("role")? {
        "user" => Said::Message(text),
        "model" => Said::Reply(Reply {
            model: fields.text("model_name")?,
            text,
            score: fields.rating("score")?,
            is_chosen: fields.flag("if_chosen")?,
        }),
        other => return Err(format!("`role` must be `user` or `model`, got `{other}`")),
    };
    Ok((number, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(history: Value) -> Result<Conversation, String> {
        let Value::Object(row) = serde_json::json!({
            "conversation_id": "c0", "user_id": "user0", "conversation_type": "unguided", "conversation_history": history,
        }) else {
            unreachable!()
        };
        Conversation::read(&Fields::of(&row))
    }

    fn said(turn: u64, role: &str, content: &str) -> Value {
        serde_json::json!({"turn": turn, "role": role, "content": content})
    }

    #[test]
    fn turns_hold_one_message_and_its_answers_in_order() {
        let mut reply = said(0, "model", "Hello!");
        reply["score"] = 88.into();
        reply["if_chosen"] = true.into();
        reply["model_name"] = "m".into();
        let conversation = read(Value::from(vec![
            said(1, "user", "And?"),
            said(0, "user", "Hi"),
            reply,
            said(0, "model", "EMPTY STRING"),
        ]))
        .unwrap();
        let [first, second] = &conversation.turns[..] else { panic!() };
        assert_eq!((first.number, &*first.message, first.replies.len()), (0, "Hi", 2));
        assert!(first.replies[0].is_chosen && first.replies[0].score == Some(88.0));
        assert_eq!((&*first.replies[1].text, first.replies[1].score), ("", None));
        assert_eq!((&*second.message, second.replies.len()), ("And?", 0));
    }

    #[test]
    fn of_several_chosen_answers_the_one_with_the_highest_score_continues() {
        let turn = |replies: &[(&str, Option<f64>, bool)]| Turn {
            replies: (replies.iter())
                .map(|&(text, score, is_chosen)| Reply {
                    model: String::new(),
                    text: text.into(),
                    score,
                    is_chosen,
                })
                .collect(),
            ..Turn::default()
        };
        for (replies, chosen) in [
            (&[("a", Some(90.0), false), ("b", None, true)][..], Some("b")),
            (
                &[("a", Some(9.0), true), ("b", Some(80.0), true), ("c", Some(80.0), true)],
                Some("b"),
            ),
            (&[("a", None, true), ("b", Some(1.0), true)], Some("b")),
            (&[("a", Some(2.0), true), (" ", Some(9.0), true)], None),
            (&[("a", Some(9.0), false)], None),
            (&[], None),
        ] {
            assert_eq!(turn(replies).chosen().map(|reply| &*reply.text), chosen);
        }
    }

    #[test]
    fn a_history_that_is_null_empty_or_of_another_schema_is_refused() {
        for (history, why) in [
            (Value::Null, "`conversation_history` is missing or null"),
            (Value::from(Vec::<Value>::new()), "`conversation_history` is empty"),
            (
                Value::from(vec![said(0, "system", "x")]),
                "[0]`: `role` must be `user` or `model`, got `system`",
            ),
            (
                Value::from(vec![said(0, "user", "x"), said(0, "user", "y")]),
                "[1]`: a second message of turn 0",
            ),
            (
                Value::from(vec![said(0, "model", "x")]),
                "turn 0 of `conversation_history` has no message",
            ),
            (
                serde_json::json!([{"turn": 0, "role": "user", "content": null}]),
                "`content` is missing or null",
            ),
            (
                serde_json::json!([{"turn": -1, "role": "user", "content": "x"}]),
                "`turn` must be a whole number",
            ),
        ] {
            let error = read(history).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
