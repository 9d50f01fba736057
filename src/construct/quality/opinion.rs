//! A model's opinion of a sample, by the criteria that people are asked, as one more reviewer.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::criteria::CRITERIA;
use super::marks::{JUDGE, Mark};
use super::reviewed::Records;
use super::sample::{Drawn, Sample};
use crate::data::entries::{Entry, PROFILE};
use crate::judge::chat::Item;
use crate::judge::chat::outcome::Outcome;
use crate::judge::chat::request::{Message, Parameters, Role};
use crate::judge::reply;

/// Most tokens of a reply: a model that thinks aloud needs more than the object has.
const MAX_TOKENS: u32 = 1_024;

/// What stands before a record in the message.
const BEFORE: &str = "You review one record of a data set. A person with the profile and the preferences below asks a question. Two answers were \
written for them: the preferred answer is meant to fit their preferences better than the other answer. Judge the record alone, by these criteria:\n\n";

/// What stands after it.
const AFTER: &str = "\n\nReply with one JSON object and nothing else, its values true or false, with a reason of at most one sentence:\n";

/// How a model is asked.
pub fn parameters(model: &str, takes_schema: bool) -> Parameters {
    Parameters {
        model: model.to_owned(),
        temperature: Some(0.0),
        top_p: None,
        max_tokens: Some(MAX_TOKENS),
        seed: None,
        schema: takes_schema.then(|| ("review".to_owned(), schema())),
        extra: Map::new(),
    }
}

fn schema() -> Value {
    let names: Vec<&str> = CRITERIA.iter().map(|one| one.name).chain(["reason"]).collect();
    let mut properties: Map<String, Value> = CRITERIA
        .iter()
        .map(|criterion| (criterion.name.to_owned(), json!({"type": "boolean"})))
        .collect();
    properties.insert("reason".to_owned(), json!({"type": "string"}));
    json!({"type": "object", "additionalProperties": false, "required": names, "properties": properties})
}

/// What is asked of each record of a sample. Refuses one that the benchmark does not hold any more.
pub fn items(sample: &Sample, records: &Records) -> Result<Vec<Item>> {
    let item = |drawn: &Drawn| {
        let text = message(sample.record(records, drawn)?);
        Ok(Item::of(drawn.id.clone(), vec![Message { role: Role::User, text }]))
    };
    sample.records.iter().map(item).collect()
}

fn message(record: &Entry) -> String {
    let criteria: Vec<String> =
        CRITERIA.iter().map(|one| format!("- {}: {}", one.name, one.question)).collect();
    let profile: Vec<String> = PROFILE
        .iter()
        .filter_map(|(name, _)| {
            Some(format!("{}: {}", name.replace('_', " "), record.field(name)?))
        })
        .collect();
    let description = record
        .field("self_description")
        .map(|text| format!("\nSelf description: {text}"))
        .unwrap_or_default();
    let reply: Vec<String> = CRITERIA.iter().map(|one| format!("\"{}\": ...", one.name)).collect();
    format!(
        "{BEFORE}{}\n\nProfile: {}{description}\nPreferences: {}\n\nQuestion:\n{}\n\nPreferred answer:\n{}\n\nOther answer:\n{}{AFTER}{{{}, \"reason\": \"...\"}}",
        criteria.join("\n"),
        profile.join(", "),
        record.preference.as_deref().unwrap_or("not stated"),
        record.question,
        record.answer_w,
        record.answer_l,
        reply.join(", ")
    )
}

/// What a reply says: yes or no to each criterion, and the reason. None where it lacks one, or says two things.
pub fn read(text: &str) -> Option<([Option<bool>; CRITERIA.len()], String)> {
    let objects = reply::objects(reply::after_thinking(text)?);
    let mut said = objects.iter().filter_map(of_object);
    let one = said.next()?;
    said.all(|other| other.0 == one.0).then_some(one)
}

fn of_object(object: &Map<String, Value>) -> Option<([Option<bool>; CRITERIA.len()], String)> {
    let mut marks = [None; CRITERIA.len()];
    for (mark, criterion) in marks.iter_mut().zip(CRITERIA) {
        *mark = Some(match object.get(criterion.name)? {
            Value::Bool(is_yes) => *is_yes,
            Value::String(text) if text.trim().eq_ignore_ascii_case("yes") => true,
            Value::String(text) if text.trim().eq_ignore_ascii_case("no") => false,
            _ => return None,
        });
    }
    let reason = object.get("reason").and_then(Value::as_str).unwrap_or_default();
    Some((marks, reason.trim().to_owned()))
}

/// What a model is called among the reviewers. `base`: the address of its endpoint, as two endpoints may call different models the same.
pub fn reviewer(model: &str, base: &str) -> String {
    format!("{JUDGE}{model} at {base}")
}

/// The marks of `reviewer`, a model, on a sample; and for each record without one, its id and why.
pub fn marks(
    sample: &Sample,
    outcomes: &[Outcome],
    reviewer: &str,
) -> (Vec<Mark>, Vec<(String, String)>) {
    let (mut marks, mut without) = (Vec::new(), Vec::new());
    for (drawn, outcome) in sample.records.iter().zip(outcomes) {
        let said = match outcome {
            Outcome::Answer(answer) => read(&answer.text).ok_or_else(|| {
                format!("no verdict in the reply, which ended by `{}`", answer.finish.name())
            }),
            Outcome::Failed(failure) => Err(failure.to_string()),
        };
        match said {
            Err(why) => without.push((drawn.id.clone(), why)),
            Ok((given, comment)) => marks.push(Mark {
                id: drawn.id.clone(),
                sha256_of_texts: drawn.sha256.clone(),
                sample: sample.sample.clone(),
                reviewer: reviewer.to_owned(),
                user: drawn.user.clone(),
                marks: given,
                comment,
            }),
        }
    }
    (marks, without)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &str =
        r#"{"fits": true, "distinct": "no", "natural": false, "reason": " It {fits}. "}"#;

    #[test]
    fn a_verdict_is_read_bare_in_a_fence_and_after_thought() {
        let expected = Some(([Some(true), Some(false), Some(false)], "It {fits}.".to_owned()));
        for reply in [
            REPLY.to_owned(),
            format!("```json\n{REPLY}\n```"),
            format!("<think>{{\"fits\": false}}</think>So: {REPLY}"),
            format!("{REPLY}{REPLY}"),
        ] {
            assert_eq!(read(&reply), expected, "{reply}");
        }
    }

    #[test]
    fn a_reply_that_lacks_a_criterion_or_says_two_things_is_none() {
        for reply in [
            String::new(),
            "Yes".into(),
            REPLY.replace("\"distinct\": \"no\", ", ""),
            REPLY.replace("\"no\"", "\"maybe\""),
            REPLY.replace("true", "null"),
            format!("{REPLY}{}", REPLY.replace("true", "false")),
            format!("<think>{REPLY}"),
        ] {
            assert_eq!(read(&reply), None, "{reply}");
        }
    }

    #[test]
    fn the_schema_names_every_criterion() {
        let schema = schema();
        for criterion in CRITERIA {
            assert_eq!(schema["properties"][criterion.name]["type"], "boolean");
        }
        assert_eq!(schema["required"].as_array().unwrap().len(), CRITERIA.len() + 1);
    }
}
