//! The AlignX record (arXiv 2503.15463): a post, a preferred comment and another, and what is known of the person who prefers it.
//!
//! `Preference Direction`, 90 numbers without names, is not read.

use anyhow::Result;
use serde_json::Value;

use crate::config::LayoutName;
use crate::data::format::fields::{Record, kind};
use crate::data::format::messages::Said;
use crate::data::format::parts::{Notes, two_answers};
use crate::data::format::{Layout, Shape, field};
use crate::error::InputError;

/// A text about the person.
const DEMOGRAPHIC: &str = "Demographic Information";
/// Comments of the person on other posts.
const CONTENT: &str = "User-Generated Content";
/// Pairs of comments on other posts that the person compared.
const FEEDBACK: &str = "Pair-wise Comparative Feedback";

pub(super) const LAYOUT: Layout = Layout {
    name: LayoutName::Alignx,
    prompt: &[field("prompt", Shape::Text)],
    answers: &[field("chosen", Shape::Text), field("rejected", Shape::Text)],
    optional: &[DEMOGRAPHIC, CONTENT, FEEDBACK],
    fits: |record| [DEMOGRAPHIC, CONTENT, FEEDBACK].iter().any(|key| record.peek(key).is_some()),
    read_prompt: prompt,
    read: two_answers,
    sample: r#"{"prompt": "Tea or coffee?", "chosen": "Tea.", "rejected": "Coffee.", "Demographic Information": "A sailor.", "User-Generated Content": [{"prompt": "Cats?", "comment": "Yes."}], "Pair-wise Comparative Feedback": [{"prompt": "Dogs?", "chosen": "No.", "rejected": "Maybe."}]}"#,
};

/// The user's message of the prompt that the authors evaluate with, for the parts of the person that a record has.
fn prompt(record: &Record<'_>, _: &mut Notes<'_>) -> Result<Said> {
    let post = record.text("prompt")?;
    let mut person = listed(
        record,
        CONTENT,
        "**This person has commented on some posts:**",
        &[("prompt", "*Post:*"), ("comment", "*Comment:*")],
    )?;
    person += &listed(
        record,
        FEEDBACK,
        "**This person has chosen or rejected comments on some posts:**",
        &[("prompt", "*Post:*"), ("chosen", "*Chosen:*"), ("rejected", "*Rejected:*")],
    )?;
    if record.peek(DEMOGRAPHIC).is_some() {
        person += record.text(DEMOGRAPHIC)?;
    }
    Ok(Said::Text(format!(
        "***Task***\n\n**Post:**\n{post}\n\n***Historical Behavior and User Preferences***\n\n{person}\n\n***Response:***\n\n"
    )))
}

/// The items of a list under a title, numbered, each with the texts of `fields` under their labels; empty for an empty list or none.
fn listed(record: &Record<'_>, key: &str, title: &str, fields: &[(&str, &str)]) -> Result<String> {
    let items = match record.get(key) {
        None => return Ok(String::new()),
        Some(Value::Array(items)) if items.is_empty() => return Ok(String::new()),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(record.wrong(key, "a list", other).into()),
    };
    let mut text = format!("{title}\n\n");
    for (at, item) in items.iter().enumerate() {
        text += &format!("{}. ", at + 1);
        for (name, label) in fields {
            let found = item.get(name).unwrap_or(&Value::Null);
            let Some(said) = found.as_str() else {
                return Err(InputError::new(format!(
                    "{}: `{key}[{at}].{name}` must be a string, got {}",
                    record.place,
                    kind(found)
                ))
                .into());
            };
            text += &format!("{label}\n{said}\n\n");
        }
    }
    Ok(text)
}
