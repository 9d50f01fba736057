//! The MVPBench record: the authors' released layout and their training prompt.

use std::borrow::Cow;

use anyhow::Result;

use crate::data::format::fields::Record;
use crate::data::pair::LoadCounts;

/// The fields of the training prompt: the label before each in the prompt, and where it is read from.
const PROFILE: [(&str, &[&str]); 6] = [
    ("Age", &["age"]),
    ("Gender", &["gender"]),
    ("Employment", &["employment_status"]),
    ("Education", &["education"]),
    ("Marital Status", &["marital_status"]),
    ("Birth Country/Region", &["birth_country/region", "birth_country"]),
];

/// The authors' training prompt; the answer follows it directly.
///
/// A field that is missing, null or blank leaves nothing after its label (`Age: , Gender: Female, ...`) and is counted.
pub(in crate::data) fn mvpbench_prompt(
    record: &Record<'_>,
    counts: &mut LoadCounts,
) -> Result<Cow<'static, str>> {
    let mut prompt = String::from("User profile: ");
    for (place, (label, fields)) in PROFILE.into_iter().enumerate() {
        let value = record.label(fields)?;
        if value.is_none() {
            counts.miss(fields[0]);
        }
        let comma = if place == 0 { "" } else { ", " };
        prompt.push_str(&format!("{comma}{label}: {}", value.as_deref().unwrap_or_default()));
    }
    prompt.push_str(".\nQuestion: ");
    prompt.push_str(record.text("question")?);
    Ok(prompt.into())
}
