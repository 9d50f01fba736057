//! The MVPBench record: the authors' released layout and their training prompt.

use anyhow::Result;

use crate::config::LayoutName;
use crate::data::format::fields::Record;
use crate::data::format::messages::Said;
use crate::data::format::parts::{Notes, Part};
use crate::data::format::{Layout, Shape, always, field};
use crate::data::groups;

pub(super) const LAYOUT: Layout = Layout {
    name: LayoutName::Mvpbench,
    prompt: &[field("question", Shape::Text)],
    answers: &[field("answer_w", Shape::Text), field("answer_l", Shape::Text)],
    optional: &[
        "age",
        "gender",
        "employment_status",
        "education",
        "marital_status",
        "birth_country/region",
        "birth_country",
    ],
    fits: always,
    read_prompt: prompt,
    read: pair,
    sample: r#"{"id": "m", "question": "Why?", "answer_w": "So.", "answer_l": "No.", "user_id": "u1",
        "stated_prefs": {"values": 50, "creativity": 3.5, "other": null, "other_text": ""},
        "preference": "High fluency, Low creativity", "age": "18-24", "gender": "Male",
        "employment_status": "x", "education": "y", "marital_status": "z",
        "english_proficiency": "Fluent", "birth_country/region": "Chad", "self_description": "s",
        "system_string": "t"}"#,
};

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
fn prompt(record: &Record<'_>, notes: &mut Notes<'_>) -> Result<Said> {
    let mut values = <[String; PROFILE.len()]>::default();
    for (value, (_, fields)) in values.iter_mut().zip(PROFILE) {
        match record.label(fields)? {
            Some(label) => *value = label,
            None => notes.counts.miss(fields[0]),
        }
    }
    let values = values.each_ref().map(String::as_str);
    Ok(Said::Text(format!("{}\n{QUESTION}{}", profile(values), record.text("question")?)))
}

/// Stands before the question of the training prompt.
pub const QUESTION: &str = "Question: ";

/// The first line of the training prompt: `User profile: Age: ..., Birth Country/Region: ....`. `values`: age, gender, employment,
/// education, marital status and birth country; a label without one is empty.
pub fn profile(values: [&str; 6]) -> String {
    let fields: Vec<_> =
        PROFILE.iter().zip(values).map(|((label, _), value)| format!("{label}: {value}")).collect();
    format!("User profile: {}.", fields.join(", "))
}

/// The texts, and the values that the person stated; what an MVPBench record should have and does not is counted.
fn pair(layout: &Layout, record: &Record<'_>, notes: &mut Notes<'_>) -> Result<Vec<Part>> {
    match groups::values(record)? {
        Some(values) => notes.groups.extend(values),
        None => notes.counts.miss("stated_prefs"),
    }
    if record.label(&["user_id"])?.is_none() {
        notes.counts.miss("user_id");
    }
    if !notes.groups.contains_key("english_proficiency") {
        notes.counts.miss("english_proficiency");
    }
    let prompt = (layout.read_prompt)(record, notes)?;
    let [chosen, rejected] = [record.text("answer_w")?, record.text("answer_l")?]
        .map(|text| Said::Text(text.to_owned()));
    Ok(Part::only(notes.texts(prompt, chosen, rejected)))
}
