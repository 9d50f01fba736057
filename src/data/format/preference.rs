//! The preference record as UF-P-4 publishes it, `prompt`, `chosen`, `rejected` and perhaps a `profile`, and TRL's of messages.
//!
//! `stated_prefs` gives groups as in MVPBench. An object `metadata` holds where a pair comes from: it is known, and nothing reads it.

use anyhow::Result;
use serde_json::Value;

use crate::data::format::conversation::Conversation;
use crate::data::format::fields::{Record, strip};
use crate::data::format::{Groups, Layout, Texts, plain_pair};
use crate::data::groups;
use crate::data::pair::LoadCounts;

pub(super) const LAYOUT: Layout = Layout {
    name: "preference pair",
    prompt: &["prompt"],
    answers: ["chosen", "rejected"],
    read_prompt: prompt,
    read_pair: pair,
    sample: r#"{"id": 7, "prompt": "p", "chosen": "c", "rejected": "r", "profile": "who"}"#,
};

/// The prompt of a preference record: unchanged, or after the profile, both stripped and a line break between.
///
/// A profile that is an object holds a person's fields, not text: they become groups, and the prompt stays unchanged.
fn prompt(record: &Record<'_>, counts: &mut LoadCounts) -> Result<Texts> {
    if record.peek("prompt").is_some_and(Value::is_array) {
        return Ok(Texts::Messages(Conversation::prompt_alone(record)?));
    }
    let prompt = record.text("prompt")?;
    match record.get("profile") {
        Some(Value::Object(_)) => {
            counts.structured_profiles += 1;
            counts.profiles += 1;
        }
        None => counts.miss("profile"),
        Some(_) => match strip(record.text("profile")?) {
            "" => counts.miss("profile"),
            profile => {
                counts.profiles += 1;
                return Ok(Texts::prompt(format!("{profile}\n{}", strip(prompt))));
            }
        },
    }
    Ok(Texts::prompt(prompt))
}

/// The texts or messages, and the groups of a profile that is an object.
fn pair(
    layout: &Layout,
    record: &Record<'_>,
    groups: &mut Groups,
    counts: &mut LoadCounts,
) -> Result<Texts> {
    if let Some(Value::Object(profile)) = record.get("profile") {
        let profile = Record::new(record.place, profile.clone());
        groups.extend(groups::demographic(&profile)?);
    }
    groups.extend(groups::values(record)?.unwrap_or_default());
    if record.peek("metadata").is_some_and(Value::is_object) {
        record.get("metadata");
    }
    match Conversation::read(record)? {
        Some(conversation) => Ok(Texts::Messages(conversation)),
        None => plain_pair(layout, record, groups, counts),
    }
}
