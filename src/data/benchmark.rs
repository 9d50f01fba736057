//! MVPBench records -> items of preference alignment: the question, who asks it and what they value, apart.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;

use crate::config::{LayoutName, Reading};
use crate::console::units::counted;
use crate::data::format::fields::{Place, Record};
use crate::data::pair::LoadCounts;
use crate::data::{file, format, groups};
use crate::error::{InputError, shown};

/// Fields of a profile, and where each is read from, first one found.
const PROFILE: [(&str, &[&str]); 8] = [
    ("age", &["age"]),
    ("gender", &["gender"]),
    ("employment_status", &["employment_status", "employment"]),
    ("education", &["education"]),
    ("marital_status", &["marital_status"]),
    ("english_proficiency", &["english_proficiency"]),
    ("birth_country", &["birth_country/region", "birth_country"]),
    ("self_description", &["self_description"]),
];

/// One record of a benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The record's id, or `<file stem>:<place in the file>`.
    pub id: String,
    /// `user_id`.
    pub user: Option<String>,
    /// Stem of the file, with folders where two files share it.
    pub source: String,
    /// Demographic fields and stated values, by which figures are broken down.
    pub groups: BTreeMap<String, String>,
    /// The question alone, without the profile.
    pub question: String,
    /// What the person values, such as `High fluency, Low creativity`.
    pub preferences: String,
    /// `answer_w`.
    pub preferred: String,
    /// `answer_l`.
    pub rejected: String,
    /// Fields of the profile that the record has.
    pub profile: BTreeMap<String, String>,
}

/// What is kept of the reference answers, most of the memory of a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// Both.
    Keep,
    /// Neither: both are empty.
    Drop,
}

/// The items of some files, name and bytes each, and what was seen in each. Files of the same stem have sources with as many folders as
/// tell them apart. Reference answers that are dropped are not counted.
///
/// Refuses a file that is named twice, and two records of a file with the same id: their answers could not be told apart.
pub fn load_all<B: AsRef<[u8]>>(
    files: &[(String, B)],
    references: References,
) -> Result<(Vec<Item>, Vec<LoadCounts>)> {
    let names: Vec<&str> = files.iter().map(|(name, _)| &**name).collect();
    let (mut items, mut all_counts) = (Vec::new(), Vec::new());
    for (at, ((name, bytes), source)) in files.iter().zip(file::sources(&names)).enumerate() {
        if names[..at].contains(&&**name) {
            return Err(InputError::new(format!("`{name}` is given twice"))
                .hint("give each file once")
                .into());
        }
        let (found, counts) = of_file(bytes.as_ref(), name, &source, references)?;
        let mut seen = HashSet::new();
        if let Some(item) = found.iter().find(|item| !seen.insert(&*item.id)) {
            let what = format!("{name}: two records have the id `{}`", shown(&item.id));
            let hint = "answers are told apart by it: give each record an id of its own";
            return Err(InputError::new(what).hint(hint).into());
        }
        all_counts.push(counts);
        items.extend(found);
    }
    Ok((items, all_counts))
}

/// What the user should know of a file, a line each: columns that are not read, reference answers that are equal or blank.
pub fn notes(counts: &LoadCounts) -> Vec<String> {
    let LoadCounts { equal_answers: equal, empty_answers: blank, .. } = *counts;
    let mut notes = Vec::from_iter(counts.unread_line());
    if equal > 0 {
        notes.push(format!("{} with equal reference answers", counted(equal, "record")));
    }
    if blank > 0 {
        notes.push(counted(blank, "blank reference answer"));
    }
    notes
}

/// The items of one file: JSONL, a JSON array or Parquet of MVPBench records. `name`: for messages.
///
/// A record without `preference` has it from `stated_prefs`; one without either is refused, since there is nothing to judge by.
pub fn load(bytes: &[u8], name: &str) -> Result<Vec<Item>> {
    Ok(of_file(bytes, name, &file::stem(name), References::Keep)?.0)
}

fn of_file(
    bytes: &[u8],
    name: &str,
    source: &str,
    references: References,
) -> Result<(Vec<Item>, LoadCounts)> {
    let bytes = file::json(bytes, name)?;
    let (mut items, mut counts) = (Vec::new(), LoadCounts { files: 1, ..LoadCounts::default() });
    for (number, (line, json)) in file::elements(&bytes, name)?.into_iter().enumerate() {
        let record = Record::new(Place { file: name, line }, file::object(json, name, line)?);
        let mut item = item(&record, source, number + 1, &mut counts)?;
        counts.leave_unread(record.unread());
        counts.pairs += 1;
        match references {
            References::Keep => {
                let is_blank = |answer: &str| usize::from(answer.trim().is_empty());
                counts.empty_answers += is_blank(&item.preferred) + is_blank(&item.rejected);
                counts.equal_answers += usize::from(item.preferred == item.rejected);
            }
            References::Drop => (item.preferred, item.rejected) = Default::default(),
        }
        items.push(item);
    }
    Ok((items, counts))
}

fn item(record: &Record<'_>, stem: &str, number: usize, counts: &mut LoadCounts) -> Result<Item> {
    if record.peek("question").is_none() {
        return Err(record
            .missing("question", "the MVPBench layout")
            .hint("preference alignment is judged on MVPBench records, which have question and profile apart")
            .into());
    }
    let reading = Reading { layout: LayoutName::Mvpbench, ..Reading::default() };
    let draft = format::draft::draft(record, stem, number, &reading, counts)?;
    let [_, preferred, rejected] = draft.plain();
    let stated = || groups::preference(record);
    let preferences = match record.label(&["preference"])? {
        Some(preference) => preference,
        None => stated()?.ok_or_else(|| {
            InputError::new(format!(
                "{}: the record has neither `preference` nor `stated_prefs`, so there is nothing to judge by",
                record.place
            ))
        })?,
    };
    let mut profile = BTreeMap::new();
    for (field, keys) in PROFILE {
        if let Some(value) = record.label(keys)? {
            profile.insert(field.to_owned(), value.trim().to_owned());
        }
    }
    Ok(Item {
        question: record.text("question")?.to_owned(),
        preferences,
        profile,
        id: draft.id,
        user: draft.user,
        source: stem.to_owned(),
        groups: draft.groups,
        preferred,
        rejected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_has_question_profile_and_preferences_apart() {
        let json = r#"{"id": 7, "question": "Why?", "answer_w": "So.", "answer_l": "No.", "user_id": "u1", "preference": "High safety",
            "age": "18-24", "birth_country": "Chad", "gender": " ", "stated_prefs": {"safety": 90}}"#;
        let [item] = &load(json.replace('\n', " ").as_bytes(), "d/MVP_test.json").unwrap()[..]
        else {
            panic!()
        };
        assert_eq!((&*item.id, item.user.as_deref(), &*item.source), ("7", Some("u1"), "MVP_test"));
        assert_eq!((&*item.question, &*item.preferences), ("Why?", "High safety"));
        assert_eq!((&*item.preferred, &*item.rejected), ("So.", "No."));
        assert_eq!(item.profile.keys().collect::<Vec<_>>(), ["age", "birth_country"]);
        assert_eq!((&*item.groups["country"], &*item.groups["value_safety"]), ("Chad", "high"));
    }

    #[test]
    fn files_and_records_that_could_be_taken_for_each_other_are_told_apart_or_refused() {
        let record = |id: &str| {
            format!(
                "{{\"id\": \"{id}\", \"question\": \"Why?\", \"answer_w\": \"a\", \"answer_l\": \"b\", \"preference\": \"High safety\"}}\n"
            )
        };
        let of = |files: &[(&str, String)]| {
            let files: Vec<_> =
                files.iter().map(|(name, text)| ((*name).to_owned(), text)).collect();
            load_all(&files, References::Keep)
        };
        let (items, counts) =
            of(&[("a/test.json", record("1") + &record("2")), ("b/test.json", record("1"))])
                .unwrap();
        let sources: Vec<_> = items.iter().map(|item| &*item.source).collect();
        let counts: Vec<_> = counts.iter().map(|counts| counts.pairs).collect();
        assert_eq!((sources, counts), (vec!["a/test", "a/test", "b/test"], vec![2, 1]));
        let twice = of(&[("a.json", record("1") + &record("1"))]).unwrap_err().to_string();
        assert!(twice.contains("a.json: two records have the id `1`"), "{twice}");
        let named = of(&[("a.json", record("1")), ("a.json", record("1"))]).unwrap_err();
        assert!(named.to_string().contains("`a.json` is given twice"), "{named}");
    }

    #[test]
    fn columns_that_are_not_read_and_odd_references_are_said() {
        let all = r#"{"id": 1, "question": "Why?", "answer_w": "a", "answer_l": "a", "user_id": "u", "preference": "High safety",
            "stated_prefs": {"safety": 90}, "age": "x", "gender": "x", "employment_status": "x", "education": "x", "marital_status": "x",
            "english_proficiency": "x", "birth_country/region": "x", "self_description": "x"}"#;
        let odd = r#"{"id": 2, "question": "Why?", "answer_w": "a", "answer_l": " ", "preference": "High safety", "maritial_status": "x",
            "birth_country": "x", "employment": "x"}"#;
        let file =
            [("a.jsonl".to_owned(), [all, odd].map(|text| text.replace('\n', " ")).join("\n"))];
        let of = |references| notes(&load_all(&file, references).unwrap().1[0]);
        let unread = "columns that are not read: `maritial_status`";
        let odd = ["1 record with equal reference answers", "1 blank reference answer"];
        assert_eq!(of(References::Keep), [unread, odd[0], odd[1]]);
        assert_eq!(of(References::Drop), [unread]);
    }

    #[test]
    fn preferences_that_are_missing_come_from_the_stated_values_and_from_nowhere_else() {
        let of = |more: &str| {
            load(
                format!(r#"{{"question": "Why?", "answer_w": "a", "answer_l": "b"{more}}}"#)
                    .as_bytes(),
                "a.json",
            )
        };
        let stated = r#", "stated_prefs": {"values": 90, "fluency": 80, "safety": 95, "creativity": 60, "diversity": 61, "factuality": null}"#;
        assert_eq!(of(stated).unwrap()[0].preferences, "High safety, High fluency, Low creativity");
        let error = of("").unwrap_err().to_string();
        assert!(error.contains("a.json:1") && error.contains("nothing to judge by"), "{error}");
        assert!(load(br#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#, "a.json").is_err());
    }
}
