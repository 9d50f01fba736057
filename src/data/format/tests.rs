//! Every layout held to every reader.

use super::*;
use crate::config::PromptFormat;
use crate::data::format::draft::{Prompts, draft};
use crate::data::format::fields::Place;
use crate::data::pair::Pair;
use crate::data::prompt;

fn of(json: &str) -> Record<'_> {
    let fields = serde_json::from_str(json).unwrap();
    Record::new(Place { file: "d/a.json", line: 2 }, fields)
}

fn read(json: &str) -> Result<(Pair, LoadCounts)> {
    let record = of(json);
    let mut counts = LoadCounts::default();
    let draft = draft(&record, "a", 5, &mut counts)?;
    Ok((draft.render(&record, &Prompts::default(), &mut counts)?, counts))
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
    assert_eq!(counts.missing["english_proficiency"], 1);
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
fn a_prompt_without_a_profile_is_unchanged() {
    for profile in ["null", r#"" ""#, r#"{"country": "Kenya"}"#] {
        let json = format!(
            r#"{{"prompt": " Why?\n", "chosen": "a", "rejected": "b", "profile": {profile}}}"#
        );
        assert_eq!(read(&json).unwrap().0.prompt, " Why?\n");
    }
}

#[test]
fn two_layouts_or_none_is_an_error_that_names_them_and_the_fields() {
    for (json, expected) in [
        (
            r#"{"instruction": "a", "output": "b"}"#,
            "the record has the fields of no known layout, found `instruction`, `output`",
        ),
        (
            r#"{"chosen": "a", "answer_w": "b"}"#,
            "the record has the fields of MVPBench and of preference pair, found `chosen`, `answer_w`",
        ),
    ] {
        let error = read(json).unwrap_err();
        let error = InputError::of(&error).unwrap();
        assert_eq!(error.to_string(), format!("d/a.json:2: {expected}"));
        let hint = error.remedy().unwrap();
        for layout in LAYOUTS {
            for word in layout.prompt.iter().chain(&layout.answers).chain([&layout.name]) {
                assert!(hint.contains(word), "`{word}` is not in: {hint}");
            }
        }
    }
    let record = of(r#"{"prompt": "a", "question": "b"}"#);
    let error = prompt_alone(&record).unwrap_err().to_string();
    assert!(error.contains("fields of MVPBench and of preference pair"), "{error}");
    let pair = r#"{"prompt": "a", "question": "b", "chosen": "c", "rejected": "d"}"#;
    assert_eq!(read(pair).unwrap().0.prompt, "a");
}

/// A layout that is added to the table and nowhere else is read by `train` and by `generate`.
#[test]
fn the_sample_of_every_layout_is_a_pair_and_without_its_answers_the_same_prompt() {
    for layout in LAYOUTS {
        let fields: serde_json::Map<_, _> = serde_json::from_str(layout.sample).unwrap();
        let mut alone = fields.clone();
        let answers = layout.answers.map(|key| alone.shift_remove(key).unwrap());
        let (pair, counts) = read(layout.sample).unwrap();
        assert_eq!(
            [&pair.chosen, &pair.rejected].map(|text| text.as_str()).map(Some),
            [answers[0].as_str(), answers[1].as_str()]
        );
        assert!(counts.missing.is_empty(), "{}: its sample lacks a field", layout.name);

        let alone = Record::new(Place { file: "d/a.json", line: 2 }, alone);
        assert_eq!(Layout::of_prompt(&alone).unwrap().name, layout.name);
        let bytes = serde_json::to_vec(&alone.fields).unwrap();
        let prompts = prompt::load(&bytes, "d/a.json", &Prompts::default()).unwrap().prompts;
        assert_eq!(prompts[0].text, pair.prompt, "{}", layout.name);
        for key in layout.prompt {
            let text = fields[*key].as_str().unwrap();
            assert!(pair.prompt.contains(text), "{}: `{key}` in {}", layout.name, pair.prompt);
        }
    }
}

#[test]
fn a_column_that_nothing_reads_is_counted_and_what_decides_the_layout_is_not_read_by_that() {
    let (_, counts) = read(
        r#"{"prompt": "p", "chosen": "c", "rejected": "r", "system": "s", "tools": [{}], "score": 1, "id": 3, "note": null}"#,
    )
    .unwrap();
    assert_eq!(counts.unread.iter().collect::<Vec<_>>(), ["score", "system", "tools"]);
    let (_, counts) =
        read(r#"{"question": "q", "answer_w": "a", "answer_l": "b", "birth_country": "x", "birth_country/region": "y"}"#)
            .unwrap();
    assert_eq!(counts.unread.iter().collect::<Vec<_>>(), ["birth_country"]);
}

/// DESIGN's chat form of a plain record: the column `system` is the system message.
#[test]
fn a_system_column_is_the_system_message_of_a_chat() {
    let template = crate::data::chat::tests::template(crate::data::chat::tests::LLAMA_2);
    let prompts =
        Prompts { format: PromptFormat::Chat, template: Some(&template), ..Prompts::default() };
    let record = of(r#"{"system": "Be kind.", "prompt": "Why?", "chosen": "a", "rejected": "b"}"#);
    let mut counts = LoadCounts::default();
    let pair = draft(&record, "a", 1, &mut counts).unwrap();
    let pair = pair.render(&record, &prompts, &mut counts).unwrap();
    assert_eq!(pair.prompt, "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nWhy? [/INST]");
    assert_eq!((counts.systems, counts.unread.len()), (1, 0));
    let alone = br#"{"system": "Be kind.", "prompt": "Why?"}"#;
    let loaded = prompt::load(alone, "a.json", &prompts).unwrap();
    assert_eq!(loaded.prompts[0].text, pair.prompt);
}

#[test]
fn a_missing_answer_is_an_error() {
    let error =
        read(r#"{"question": "Why?", "answer_w": "a", "answer_l": null}"#).unwrap_err().to_string();
    assert_eq!(error, "d/a.json:2: `answer_l` is null, expected a string");
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
    let error =
        read(&format!(r#"{{"prompt": {one}, "chosen": {one}, "rejected": {one}}}"#)).unwrap_err();
    let error = InputError::of(&error).unwrap();
    assert!(error.to_string().starts_with("d/a.json:2: the record is a conversation"), "{error}");
    assert!(error.remedy().unwrap().contains("plain texts"));
}

#[test]
fn of_two_prompts_the_one_that_includes_the_other_is_taken() {
    static SMALL: Layout = Layout { name: "small", prompt: &["prompt"], ..LAYOUTS[0] };
    static LARGE: Layout = Layout { name: "large", prompt: &["prompt", "input"], ..LAYOUTS[0] };
    let of = |json: &str| Layout::with_prompt(&of(json), &[&SMALL, &LARGE], true);
    let name = |json: &str| of(json).unwrap().unwrap().name;
    assert_eq!(name(r#"{"prompt": "p", "input": "i"}"#), "large");
    assert_eq!(name(r#"{"prompt": "p"}"#), "small");
}

#[test]
fn a_profile_of_fields_is_counted_and_makes_groups() {
    let (pair, counts) =
        read(r#"{"prompt": "p", "chosen": "a", "rejected": "b", "profile": {"country": "Kenya"}}"#)
            .unwrap();
    assert_eq!((pair.groups["country"].as_str(), counts.structured_profiles), ("Kenya", 1));
}

#[test]
fn a_missing_prompt_is_asked_for_as_a_string() {
    let error = read(r#"{"chosen": "a", "rejected": "b"}"#).unwrap_err();
    let hint = InputError::of(&error).unwrap().remedy().unwrap();
    assert!(hint.contains("needs a string `prompt`"), "{hint}");
}
