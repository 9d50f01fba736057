//! The preference record as UF-P-4 publishes it: `prompt`, `chosen`, `rejected` and perhaps a `profile`.

use std::borrow::Cow;

use anyhow::Result;
use serde_json::Value;

use crate::data::format::fields::{Record, strip};
use crate::data::pair::LoadCounts;

/// The prompt of a preference record: as it stands, or both stripped and a line break between where there is a profile.
///
/// A profile that is an object is a person's fields, not text: they become groups, and the prompt is taken as it stands.
pub(in crate::data) fn preference_prompt<'a>(
    record: &'a Record<'_>,
    counts: &mut LoadCounts,
) -> Result<Cow<'a, str>> {
    let prompt = record.text("prompt")?;
    match record.get("profile") {
        Some(Value::Object(_)) => counts.structured_profiles += 1,
        None => counts.miss("profile"),
        Some(_) if strip(record.text("profile")?).is_empty() => counts.miss("profile"),
        Some(_) => {
            return Ok(format!("{}\n{}", strip(record.text("profile")?), strip(prompt)).into());
        }
    }
    Ok(prompt.into())
}
