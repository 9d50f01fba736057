//! Every layout held to every reader.

use super::*;
use crate::config::{ColumnRole, PromptFormat, RankedPairs, Reading};
use crate::data::chat::ChatTemplate;
use crate::data::chat::tests::{LLAMA_2, template};
use crate::data::format::draft::{Prompts, draft};
use crate::data::format::fields::Place;
use crate::data::pair::{LoadCounts, Pair};
use crate::data::prompt;
use crate::error::InputError;

mod kinds;

/// A template that shows every message, tools and calls.
const SHOWN: &str = "{% for t in tools or [] %}<{{ t.name }}>{% endfor %}{% for m in messages %}[{{ m.role }}]{{ m.content or '' }}\
    {% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}{% endfor %}\
    {% if add_generation_prompt %}[assistant]{% endif %}";

fn of(json: &str) -> Record<'_> {
    let fields = serde_json::from_str(json).unwrap();
    Record::new(Place { file: "d/a.json", line: 2 }, fields)
}

fn chat(template: &ChatTemplate) -> Prompts<'_> {
    Prompts { template: Some(template), ..Prompts::default() }
}

fn read_by(record: &Record<'_>, reading: &Reading) -> Result<(Vec<Pair>, LoadCounts)> {
    let template = template(SHOWN);
    let mut counts = LoadCounts::default();
    let draft = draft(record, "a", 5, reading, &mut counts)?;
    Ok((draft.render(record, &chat(&template), &mut counts)?, counts))
}

/// Prompt, chosen and rejected answer of every pair.
fn texts(json: &str, reading: &Reading) -> Result<Vec<[String; 3]>> {
    let three = |pair: Pair| [pair.prompt, pair.chosen, pair.rejected];
    Ok(read_by(&of(json), reading)?.0.into_iter().map(three).collect())
}

fn read(json: &str) -> Result<(Pair, LoadCounts)> {
    let record = of(json);
    let mut counts = LoadCounts::default();
    let draft = draft(&record, "a", 5, &Reading::default(), &mut counts)?;
    Ok((draft.render(&record, &Prompts::default(), &mut counts)?.remove(0), counts))
}

fn pinned(layout: LayoutName) -> Reading {
    Reading { layout, ..Reading::default() }
}

/// What is refused, without the place.
fn refusal(json: &str, reading: &Reading) -> String {
    let error = read_by(&of(json), reading).unwrap_err();
    let error = InputError::of(&error).unwrap();
    error.to_string().strip_prefix("d/a.json:2: ").unwrap().to_owned()
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
    assert_eq!(counts, LoadCounts { layouts: counts.layouts.clone(), ..LoadCounts::default() });
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
fn two_layouts_or_none_is_an_error_that_names_them_and_says_how_to_choose() {
    let auto = Reading::default();
    for (json, expected) in [
        (
            r#"{"instruction": "a", "answer": "b"}"#,
            "the record has the fields of no known layout, found `instruction`, `answer`",
        ),
        (
            r#"{"chosen": "a", "answer_w": "b"}"#,
            "the record has the fields of `mvpbench` (`answer_w`) and of `preference` (`chosen`), found `chosen`, `answer_w`",
        ),
        (
            r#"{"instruction": "a", "question": "b", "chosen": "c", "rejected": "d"}"#,
            "the record has the fields of `orca` (`question`, `chosen`, `rejected`) and of `alpaca-ranking` (`instruction`, `chosen`, \
             `rejected`), found `instruction`, `question`, `chosen`, `rejected`",
        ),
        (
            r#"{"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1}"#,
            "the record has the fields of `pku-better` (`prompt`, `response_0`, `response_1`, `better_response_id`) and of `pku-safer` \
             (`prompt`, `response_0`, `response_1`, `safer_response_id`), found `prompt`, `response_0`, `response_1`, \
             `better_response_id`, `safer_response_id`",
        ),
    ] {
        assert_eq!(refusal(json, &auto), expected);
    }
    let error = prompt::load(br#"{"prompt": "a", "question": "b"}"#, "a.json", &Prompts::default());
    let error = error.unwrap_err();
    assert!(error.to_string().contains("fields of `mvpbench`"), "{error}");
    let hint = InputError::of(&error).unwrap().remedy().unwrap();
    assert_eq!(
        hint,
        "say which one it is: `data.layout = \"mvpbench\"` or `data.layout = \"preference\"` (`--layout` of `generate` and `data split`)"
    );
    let both = r#"{"instruction": "a", "question": "b", "chosen": "c", "rejected": "d"}"#;
    let prompts = [LayoutName::AlpacaRanking, LayoutName::Orca]
        .map(|layout| texts(both, &pinned(layout)).unwrap().remove(0)[0].clone());
    assert_eq!(prompts, ["a", "b"]);
}

/// A layout that is added to the table and nowhere else is recognised, read by `train` and by `generate`, and can be pinned.
#[test]
fn the_sample_of_every_layout_is_recognised_and_without_its_answers_the_same_prompt() {
    let template = template(SHOWN);
    for layout in LAYOUTS {
        let name = layout.name;
        let (pairs, counts) = read_by(&of(layout.sample), &Reading::default()).unwrap();
        let recognised: Vec<_> = counts.layouts.iter().map(|known| known.layout).collect();
        assert_eq!(recognised, [name]);
        let [pair] = &pairs[..] else { panic!("{name:?}: {pairs:?}") };
        // MVPBench's own fields beside the prompt are known, and a judge reads them.
        let unread = if name == LayoutName::Mvpbench { 3 } else { 0 };
        assert!(counts.missing.is_empty() && counts.unread.len() == unread, "{name:?}: {counts}");
        let all = [&pair.prompt, &pair.chosen, &pair.rejected];
        assert!(all.iter().all(|text| !text.trim().is_empty()), "{name:?}: {all:?}");
        assert!(pair.chosen != pair.rejected && pair.prompt.len() > pair.chosen.len(), "{all:?}");
        let own = read_by(&of(layout.sample), &pinned(name)).unwrap().0;
        assert_eq!(own, pairs, "{name:?} pinned");

        let fields: serde_json::Map<_, _> = serde_json::from_str(layout.sample).unwrap();
        let mut alone = fields.clone();
        for answer in layout.answers.iter().filter(|_| !layout.prompt.is_empty()) {
            alone.shift_remove(answer.name).unwrap();
        }
        let bytes = serde_json::to_vec(&alone).unwrap();
        let prompts = prompt::load(&bytes, "d/a.json", &chat(&template)).unwrap().prompts;
        assert_eq!(prompts[0].text, pair.prompt, "{name:?}");
    }
    assert_eq!(LAYOUTS.len() + 1, LayoutName::NAMES.len(), "every name but `auto` has a layout");
}

/// A record of another layout is not read as the one that is pinned.
#[test]
fn a_pinned_layout_reads_no_record_of_another() {
    for layout in LAYOUTS {
        for other in LAYOUTS.iter().filter(|other| other.name != layout.name) {
            let names = |of: &Layout| of.fields().map(|field| field.name).collect::<Vec<_>>();
            let sample: serde_json::Map<_, _> = serde_json::from_str(other.sample).unwrap();
            let has_all = names(layout).iter().all(|name| sample.contains_key(*name));
            let read = read_by(&of(other.sample), &pinned(layout.name));
            assert!(has_all || read.is_err(), "{:?} read by {:?}", other.name, layout.name);
        }
    }
}

#[test]
fn a_column_that_nothing_reads_is_counted_and_what_decides_the_layout_is_not_read_by_that() {
    let (_, counts) = read(
        r#"{"prompt": "p", "chosen": "c", "rejected": "r", "system": "s", "tools": [{}], "score": 1, "id": 3, "note": null}"#,
    )
    .unwrap();
    assert_eq!(counts.unread.iter().collect::<Vec<_>>(), ["score", "tools"]);
    assert_eq!(counts.plain_systems, 1);
    let (_, counts) =
        read(r#"{"question": "q", "answer_w": "a", "answer_l": "b", "birth_country": "x", "birth_country/region": "y"}"#)
            .unwrap();
    assert_eq!(counts.unread.iter().collect::<Vec<_>>(), ["birth_country"]);
}

/// DESIGN's chat form of a plain record: the column `system` is the system message.
#[test]
fn a_system_column_is_the_system_message_of_a_chat() {
    let template = template(LLAMA_2);
    let prompts =
        Prompts { format: PromptFormat::Chat, template: Some(&template), ..Prompts::default() };
    let record = of(r#"{"system": "Be kind.", "prompt": "Why?", "chosen": "a", "rejected": "b"}"#);
    let mut counts = LoadCounts::default();
    let draft = draft(&record, "a", 1, &Reading::default(), &mut counts).unwrap();
    let pair = draft.render(&record, &prompts, &mut counts).unwrap().remove(0);
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
    assert!(hint.contains("needs a string `prompt`") && hint.contains("data.columns"), "{hint}");
}

#[test]
fn a_record_that_reads_more_fields_has_the_larger_layout() {
    let of =
        |json: &str| read_by(&self::of(json), &Reading::default()).unwrap().1.layouts[0].layout;
    for (json, expected) in [
        (
            r#"{"instruction": "a", "input": "b", "chosen": "c", "rejected": "d"}"#,
            LayoutName::AlpacaRanking,
        ),
        (r#"{"input": "b", "chosen": "c", "rejected": "d"}"#, LayoutName::Icr),
        (
            r#"{"prompt": "a", "question": "b", "chosen": "c", "rejected": "d"}"#,
            LayoutName::Preference,
        ),
        (
            r#"{"prompt": "a", "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}"#,
            LayoutName::Preference,
        ),
        (
            r#"{"prompt": null, "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}"#,
            LayoutName::HhRlhf,
        ),
        (
            r#"{"input": "b", "generations": ["c", "d"], "chosen": "c", "rejected": "d", "scores": [2, 1]}"#,
            LayoutName::Icr,
        ),
        // ultrafeedback_binarized, whose `messages` are the preferred conversation.
        (
            r#"{"prompt": "q", "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#,
            LayoutName::Preference,
        ),
        (
            r#"{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#,
            LayoutName::ImplicitPrompt,
        ),
    ] {
        assert_eq!(of(json), expected, "{json}");
    }
}
