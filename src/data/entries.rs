//! The records of a benchmark as they stand in a file, for statistics and for review: what can be counted is not refused.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::console::interrupt;
use crate::data::format::fields::{Place, Record};
use crate::data::pair::LoadCounts;
use crate::data::{file, groups};

/// Demographic fields of a person, and where each is read from, first one found.
pub const PROFILE: [(&str, &[&str]); 7] = [
    ("age", &["age"]),
    ("gender", &["gender"]),
    ("employment_status", &["employment_status", "employment"]),
    ("education", &["education"]),
    ("marital_status", &["marital_status"]),
    ("english_proficiency", &["english_proficiency"]),
    ("birth_country", &["birth_country/region", "birth_country", "country"]),
];

/// Texts of a person, which a record may lack too.
pub const DESCRIPTIONS: [&str; 2] = ["self_description", "system_string"];

/// What stands in front of the dimension in the names of the groups of stated values.
const VALUE: &str = "value_";

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line that it begins on.
    pub line: usize,
    /// `id`; none where it is missing.
    pub id: Option<String>,
    /// `user_id`.
    pub user: Option<String>,
    /// The question alone, without the profile.
    pub question: String,
    /// The preferred answer.
    pub answer_w: String,
    /// The other answer.
    pub answer_l: String,
    /// `preference`, such as `High fluency, Low creativity`.
    pub preference: Option<String>,
    /// What `stated_prefs` amounts to: `high`, `middle` or `low` for each dimension that is rated. None where the field is missing.
    pub stated: Option<BTreeMap<String, String>>,
    /// Fields of [`PROFILE`] and [`DESCRIPTIONS`] that hold something, in that order.
    pub profile: Vec<(&'static str, String)>,
}

impl Entry {
    /// A field of [`PROFILE`] or [`DESCRIPTIONS`].
    pub fn field(&self, name: &str) -> Option<&str> {
        self.profile.iter().find(|(field, _)| *field == name).map(|(_, value)| &**value)
    }
}

/// The records of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries {
    /// In the order of the file.
    pub records: Vec<Entry>,
    /// How many records lack each field that records of a benchmark have.
    pub missing: BTreeMap<String, usize>,
    /// Fields that hold something and are no record's of a benchmark, named and shortened; none where there are none.
    pub unread: Option<String>,
}

/// The records of `bytes`, the file `name`: a JSON array, JSONL or Parquet in the benchmark's layout.
///
/// Refuses a record without the texts `question`, `answer_w` and `answer_l`, and a field of another kind than it has.
pub fn load(bytes: &[u8], name: &str) -> Result<Entries> {
    let bytes = file::json(bytes, name)?;
    let (mut records, mut missing) = (Vec::new(), BTreeMap::new());
    let mut counts = LoadCounts::default();
    for (line, json) in file::elements(&bytes, name)? {
        interrupt::check()?;
        let record = Record::new(Place { file: name, line }, file::object(json, name, line)?);
        records.push(entry(&record, line, &mut missing)?);
        counts.leave_unread(record.unread());
    }
    Ok(Entries { records, missing, unread: counts.unread_columns() })
}

fn entry(record: &Record<'_>, line: usize, missing: &mut BTreeMap<String, usize>) -> Result<Entry> {
    let mut label = |name: &str, keys: &[&str]| -> Result<Option<String>> {
        let label = record.label(keys)?.map(|label| label.trim().to_owned());
        if label.is_none() {
            *missing.entry(name.to_owned()).or_default() += 1;
        }
        Ok(label)
    };
    let (id, user) = (label("id", &["id"])?, label("user_id", &["user_id"])?);
    let preference = label("preference", &["preference"])?;
    let mut profile = Vec::new();
    for (name, keys) in PROFILE {
        profile.extend(label(name, keys)?.map(|value| (name, value)));
    }
    for name in DESCRIPTIONS {
        profile.extend(label(name, &[name])?.map(|value| (name, value)));
    }
    let stated = groups::values(record)?;
    if stated.is_none() {
        *missing.entry("stated_prefs".to_owned()).or_default() += 1;
    }
    let dimension = |(key, level): (String, String)| {
        (key.strip_prefix(VALUE).map_or_else(|| key.clone(), str::to_owned), level)
    };
    Ok(Entry {
        line,
        id,
        user,
        question: record.text("question")?.to_owned(),
        answer_w: record.text("answer_w")?.to_owned(),
        answer_l: record.text("answer_l")?.to_owned(),
        preference,
        stated: stated.map(|levels| levels.into_iter().map(dimension).collect()),
        profile,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(more: &str) -> Result<Entries> {
        let json = format!(r#"{{"question": "Why?", "answer_w": "So.", "answer_l": ""{more}}}"#);
        load(json.as_bytes(), "a.json")
    }

    #[test]
    fn a_field_that_is_missing_is_counted_and_one_that_nobody_knows_is_named() {
        let entries = one(
            r#", "id": 7, "age": " ", "gender": "x", "stated_prefs": {"safety": 80}, "colour": 1"#,
        )
        .unwrap();
        let [entry] = &entries.records[..] else { panic!() };
        assert_eq!(
            (entry.id.as_deref(), entry.field("gender"), entry.field("age")),
            (Some("7"), Some("x"), None)
        );
        assert_eq!(entry.stated.as_ref().unwrap()["safety"], "high");
        assert_eq!((entries.missing["age"], entries.missing.get("gender")), (1, None));
        assert_eq!((entries.missing["user_id"], entries.missing["system_string"]), (1, 1));
        assert!(entries.unread.unwrap().contains("colour"));
        assert_eq!(one("").unwrap().missing["stated_prefs"], 1);
    }

    #[test]
    fn texts_that_are_missing_and_ratings_out_of_range_are_refused_with_their_line() {
        let error = load(br#"{"question": "Why?", "answer_w": "a"}"#, "a.json").unwrap_err();
        assert!(error.to_string().contains("a.json:1: the record has no `answer_l`"), "{error}");
        let error = one(r#", "stated_prefs": {"safety": 101}"#).unwrap_err().to_string();
        assert!(error.contains("a.json:1: `stated_prefs.safety` must be"), "{error}");
    }
}
