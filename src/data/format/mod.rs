//! A record in either layout -> the pair it holds: an MVPBench record, or `prompt`, `chosen`, `rejected` as texts or messages.

pub(in crate::data) mod conversation;
pub(in crate::data) mod fields;
pub(in crate::data) mod mvpbench;
pub(in crate::data) mod preference;

use std::borrow::Cow;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::config::PromptFormat;
use crate::data::chat::ChatTemplate;
use crate::data::format::conversation::Conversation;
use crate::data::format::fields::{Place, Record};
use crate::data::format::mvpbench::mvpbench_prompt;
use crate::data::format::preference::preference_prompt;
use crate::data::groups;
use crate::data::pair::{LoadCounts, Markup, Pair};
use crate::error::InputError;

/// The fields by which each layout is recognised.
const MVPBENCH: [&str; 2] = ["answer_w", "answer_l"];
const PREFERENCE: [&str; 2] = ["chosen", "rejected"];

/// How the texts of records become those of pairs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prompts<'a> {
    /// What is made of plain texts; conversations go through the template whatever it is.
    pub format: PromptFormat,
    /// The model's chat template, if it has one.
    pub template: Option<&'a ChatTemplate>,
}

/// A pair as it stands in its record. Of a conversation, the texts of `pair` are empty.
pub(in crate::data) struct Draft {
    pub(in crate::data) pair: Pair,
    conversation: Option<Conversation>,
}

impl Draft {
    /// The pair with its texts rendered. `place`: of its record, for messages.
    pub(in crate::data) fn render(
        self,
        place: Place<'_>,
        prompts: &Prompts<'_>,
        counts: &mut LoadCounts,
    ) -> Result<Pair> {
        let Self { mut pair, conversation } = self;
        let is_conversation = conversation.is_some();
        let conversation = match (conversation, prompts.format) {
            (None, PromptFormat::Mvpbench) => return Ok(pair),
            (None, PromptFormat::Chat) => {
                Conversation::of_texts([&pair.prompt, &pair.chosen, &pair.rejected])
            }
            (Some(conversation), _) => conversation,
        };
        let Some(template) = prompts.template else {
            let what = if is_conversation {
                format!("{place}: the record is a conversation")
            } else {
                "`data.prompt_format` is `chat`".to_owned()
            };
            return Err(InputError::new(format!("{what}, but the model has no chat template"))
                .hint("take a chat model (`chat_template` in tokenizer_config.json, or chat_template.jinja), or plain texts")
                .into());
        };
        counts.empty_answers += conversation.empty_answers();
        [pair.prompt, pair.chosen, pair.rejected] =
            conversation.texts(template).with_context(|| place.to_string())?;
        pair.markup = Markup::Template { bos: template.writes_bos(&pair.prompt) };
        Ok(pair)
    }
}

/// The pair of one record, before any template.
///
/// - `stem`, `number`: stem of the file and the record's place in it, from 1; they make the id where the record has none.
/// - `counts`: missing fields are added to it.
pub(in crate::data) fn draft(
    record: &Record<'_>,
    stem: &str,
    number: usize,
    counts: &mut LoadCounts,
) -> Result<Draft> {
    let has = |fields: [&str; 2]| fields.iter().any(|field| record.fields.contains_key(*field));
    let mut groups = groups::demographic(record)?;
    let user = record.label(&["user_id"])?;
    let mut conversation = None;
    let (prompt, chosen, rejected) = match (has(MVPBENCH), has(PREFERENCE)) {
        (true, false) => {
            match groups::values(record)? {
                Some(values) => groups.extend(values),
                None => counts.miss("stated_prefs"),
            }
            if user.is_none() {
                counts.miss("user_id");
            }
            if !groups.contains_key("english_proficiency") {
                counts.miss("english_proficiency");
            }
            (mvpbench_prompt(record, counts)?, record.text("answer_w")?, record.text("answer_l")?)
        }
        (false, true) => {
            if let Some(Value::Object(profile)) = record.get("profile") {
                let profile = Record { place: record.place, fields: profile.clone() };
                groups.extend(groups::demographic(&profile)?);
            }
            conversation = Conversation::read(record)?;
            if conversation.is_some() {
                (Cow::default(), "", "")
            } else {
                let prompt = preference_prompt(record, counts)?;
                (prompt, record.text("chosen")?, record.text("rejected")?)
            }
        }
        (both, _) => return Err(unknown_layout(record, both)),
    };
    let pair = Pair {
        id: record.label(&["id"])?.unwrap_or_else(|| format!("{stem}:{number}")),
        user,
        source: stem.to_owned(),
        prompt: prompt.into_owned(),
        chosen: chosen.to_owned(),
        rejected: rejected.to_owned(),
        markup: Markup::Plain,
        groups,
    };
    Ok(Draft { pair, conversation })
}

fn unknown_layout(record: &Record<'_>, both: bool) -> anyhow::Error {
    let Place { file, line } = record.place;
    let what = if both { "the fields of both layouts" } else { "the fields of no known layout" };
    InputError::new(format!("{file}:{line}: the record has {what}, found {}", record.names()))
        .hint("a record has either `question`, `answer_w`, `answer_l` (MVPBench) or `prompt`, `chosen`, `rejected`")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(Pair, LoadCounts)> {
        let record = Record {
            place: Place { file: "d/a.json", line: 2 },
            fields: serde_json::from_str(json)?,
        };
        let mut counts = LoadCounts::default();
        let draft = draft(&record, "a", 5, &mut counts)?;
        Ok((draft.render(record.place, &Prompts::default(), &mut counts)?, counts))
    }

    #[test]
    fn the_mvpbench_prompt_is_the_authors_own() {
        let (pair, counts) = read(
            r#"{"id": 17, "question": "Why?", "answer_w": "So.", "answer_l": "", "user_id": "user3", "age": 34, "gender": "Female",
            "employment_status": "Student", "education": "Some University", "marital_status": "Never been married",
            "english_proficiency": "Fluent", "birth_country/region": "Kenya", "stated_prefs": {"safety": 90, "other": 3}}"#,
        )
        .unwrap();
        assert_eq!(
            pair.prompt,
            "User profile: Age: 34, Gender: Female, Employment: Student, Education: Some University, \
             Marital Status: Never been married, Birth Country/Region: Kenya.\nQuestion: Why?"
        );
        assert_eq!((pair.chosen.as_str(), pair.rejected.as_str()), ("So.", ""));
        assert_eq!(
            (pair.id.as_str(), pair.user.as_deref(), pair.source.as_str()),
            ("17", Some("user3"), "a")
        );
        assert_eq!(
            (pair.groups["country"].as_str(), pair.groups["value_safety"].as_str()),
            ("Kenya", "high")
        );
        assert_eq!(counts, LoadCounts::default());
    }

    #[test]
    fn a_missing_profile_field_leaves_its_label_and_is_counted() {
        let (pair, counts) =
            read(r#"{"question": "Why?", "answer_w": "a", "answer_l": "b", "birth_country": "Chile", "age": null}"#).unwrap();
        assert_eq!(
            pair.prompt,
            "User profile: Age: , Gender: , Employment: , Education: , Marital Status: , Birth Country/Region: Chile.\nQuestion: Why?"
        );
        assert_eq!(pair.id, "a:5");
        assert_eq!(counts.missing["age"], 1);
        assert!(!counts.missing.contains_key("birth_country/region"));
    }

    #[test]
    fn a_profile_goes_before_the_prompt_and_both_are_stripped() {
        let (pair, _) = read(
            r#"{"prompt": " Why? \n", "chosen": "a", "rejected": "b", "profile": "\nI am old. "}"#,
        )
        .unwrap();
        assert_eq!(pair.prompt, "I am old.\nWhy?");
    }

    #[test]
    fn a_prompt_without_a_profile_stands_as_it_is() {
        for profile in ["null", r#"" ""#, r#"{"country": "Kenya"}"#] {
            let json = format!(
                r#"{{"prompt": " Why?\n", "chosen": "a", "rejected": "b", "profile": {profile}}}"#
            );
            assert_eq!(read(&json).unwrap().0.prompt, " Why?\n");
        }
    }

    #[test]
    fn both_layouts_or_neither_is_an_error_that_names_the_fields() {
        let neither = read(r#"{"instruction": "a", "output": "b"}"#).unwrap_err().to_string();
        assert_eq!(
            neither,
            "d/a.json:2: the record has the fields of no known layout, found `instruction`, `output`"
        );
        let both = read(r#"{"chosen": "a", "answer_w": "b"}"#).unwrap_err().to_string();
        assert_eq!(
            both,
            "d/a.json:2: the record has the fields of both layouts, found `chosen`, `answer_w`"
        );
    }

    #[test]
    fn a_missing_answer_is_an_error() {
        let error = read(r#"{"question": "Why?", "answer_w": "a", "answer_l": null}"#)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("d/a.json:2: the record has no `answer_l`, found"), "{error}");
        assert!(
            read(r#"{"answer_w": "a", "answer_l": "b"}"#)
                .unwrap_err()
                .to_string()
                .contains("no `question`")
        );
    }

    #[test]
    fn a_conversation_needs_a_chat_template() {
        let one = r#"[{"role": "user", "content": "Why?"}]"#;
        let error = read(&format!(r#"{{"prompt": {one}, "chosen": {one}, "rejected": {one}}}"#))
            .unwrap_err();
        let error = InputError::of(&error).unwrap();
        assert!(
            error.to_string().starts_with("d/a.json:2: the record is a conversation"),
            "{error}"
        );
        assert!(error.remedy().unwrap().contains("plain texts"));
    }
}
