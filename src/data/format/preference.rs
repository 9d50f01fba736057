//! The preference record: `prompt`, `chosen`, `rejected` and perhaps a `profile`, as UF-P-4 publishes it, and TRL's of messages.
//!
//! `stated_prefs` gives groups as in MVPBench. An object `metadata` holds where a pair comes from: it is known, and nothing reads it.

use anyhow::Result;
use serde_json::Value;

use crate::config::LayoutName;
use crate::data::format::conversation::add_profile;
use crate::data::format::fields::{Record, strip};
use crate::data::format::messages::Said;
use crate::data::format::parts::{Notes, Part, two_answers};
use crate::data::format::{Layout, Shape, always, field};
use crate::data::groups;

pub(super) const LAYOUT: Layout = Layout {
    name: LayoutName::Preference,
    prompt: &[field("prompt", Shape::Said)],
    answers: &[field("chosen", Shape::Said), field("rejected", Shape::Said)],
    optional: &["profile", "system"],
    fits: always,
    read_prompt: prompt,
    read: pair,
    sample: r#"{"id": 7, "prompt": "p", "chosen": "c", "rejected": "r", "profile": "who"}"#,
};

/// The prompt of a preference record: unchanged, or after the profile, both stripped and a line break between.
///
/// A profile that is an object holds a person's fields, not text: they become groups, and the prompt stays unchanged.
fn prompt(record: &Record<'_>, notes: &mut Notes<'_>) -> Result<Said> {
    let prompt = Said::read(record, "prompt")?;
    let profile = match record.get("profile") {
        Some(Value::Object(_)) => {
            notes.counts.structured_profiles += 1;
            notes.counts.profiles += 1;
            return Ok(prompt);
        }
        None => "",
        Some(_) => strip(record.text("profile")?),
    };
    if profile.is_empty() {
        notes.counts.miss("profile");
        return Ok(prompt);
    }
    notes.counts.profiles += 1;
    Ok(match prompt {
        Said::Text(prompt) => Said::Text(format!("{profile}\n{}", strip(&prompt))),
        Said::Messages(mut messages) => {
            add_profile(&mut messages, profile);
            Said::Messages(messages)
        }
    })
}

/// The texts or messages, and the groups of a profile that is an object.
fn pair(layout: &Layout, record: &Record<'_>, notes: &mut Notes<'_>) -> Result<Vec<Part>> {
    if let Some(Value::Object(profile)) = record.get("profile") {
        let profile = Record::new(record.place, profile.clone());
        notes.groups.extend(groups::demographic(&profile)?);
    }
    notes.groups.extend(groups::values(record)?.unwrap_or_default());
    if record.peek("metadata").is_some_and(Value::is_object) {
        record.get("metadata");
    }
    two_answers(layout, record, notes)
}
