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

#[test]
fn a_dialogue_ends_its_prompt_after_the_last_shared_assistant() {
    let json = |[chosen, rejected]: [&str; 2]| {
        serde_json::json!({"chosen": chosen, "rejected": rejected}).to_string()
    };
    let of = |both| texts(&json(both), &Reading::default()).unwrap().remove(0);
    let hi = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Name a tree\n\nAssistant:";
    let [oak, otter] = [" An oak.", " An otter."].map(|answer| format!("{hi}{answer}"));
    assert_eq!(of([&oak, &otter]), [hi, " An oak.", " An otter."]);
    // A dialogue that parts earlier: the rest of both is the answer.
    let parted = "\n\nHuman: Hi\n\nAssistant: Ho!\n\nHuman: Why?\n\nAssistant: So.";
    assert_eq!(of([&oak, parted])[0], "\n\nHuman: Hi\n\nAssistant:");
    assert_eq!(of([&oak, parted])[2], " Ho!\n\nHuman: Why?\n\nAssistant: So.");
    assert_eq!(of([&oak, &oak]), [hi, " An oak.", " An oak."]);
    assert_eq!(of([&oak, hi]), [hi, " An oak.", ""]);
    // Both marks, but not after the same text.
    let other = "\n\nHuman: Ho\n\nAssistant: Hello!";
    let refused = refusal(&json([&oak, other]), &pinned(LayoutName::HhRlhf));
    assert!(refused.starts_with("`chosen` and `rejected` have no `\\n\\nAssistant:`"), "{refused}");
    let trl = texts(&json([&oak, &otter]), &pinned(LayoutName::ImplicitPrompt)).unwrap().remove(0);
    assert_eq!(trl, [&*format!("{hi} An o"), "ak.", "tter."]);
}

/// tests/data/extract_prompt.json is made by scripts/interop/layouts.py.
#[test]
fn a_shared_beginning_of_texts_is_the_prompt_that_trl_extracts() {
    let golden = include_str!("../../../tests/data/extract_prompt.json");
    let cases: Vec<BTreeMap<String, String>> = serde_json::from_str(golden).unwrap();
    assert!(cases.len() > 10);
    for case in &cases {
        let both = serde_json::json!({"chosen": case["chosen"], "rejected": case["rejected"]});
        let read = texts(&both.to_string(), &pinned(LayoutName::ImplicitPrompt)).unwrap().remove(0);
        let expected = ["prompt", "chosen_answer", "rejected_answer"].map(|key| &case[key]);
        assert_eq!(read.each_ref(), expected, "{both}");
    }
}

#[test]
fn texts_that_begin_the_same_are_no_prompt_where_another_column_could_be_it() {
    let auto = Reading::default();
    let same = r#"{"chosen": "The sky is blue.", "rejected": "The sky is green."}"#;
    assert_eq!(texts(same, &auto).unwrap()[0], ["The sky is", " blue.", " green."]);
    let beside =
        r#"{"query": "Sky?", "chosen": "The sky is blue.", "rejected": "The sky is green."}"#;
    assert_eq!(
        refusal(beside, &auto),
        "the record has no `prompt`, found `query`, `chosen`, `rejected`"
    );
    let pin = pinned(LayoutName::ImplicitPrompt);
    assert_eq!(texts(beside, &pin).unwrap()[0][0], "The sky is");
    for nothing in [r#"{"chosen": "a", "rejected": "b"}"#, r#"{"chosen": "", "rejected": "b"}"#] {
        assert!(refusal(nothing, &pin).contains("begin with different characters"));
        assert!(refusal(nothing, &auto).starts_with("the record has no `prompt`"));
    }
}

#[test]
fn a_question_its_system_and_its_input_reach_the_prompt() {
    let auto = Reading::default();
    for (json, expected) in [
        (r#"{"system": " S ", "question": "Q", "chosen": "a", "rejected": "b"}"#, "S\nQ"),
        (r#"{"system": "", "question": "Q", "chosen": "a", "rejected": "b"}"#, "Q"),
        (r#"{"instruction": "I", "input": "", "chosen": "a", "rejected": "b"}"#, "I"),
        (r#"{"instruction": "I", "input": "N", "output": ["a", "b"], "history": []}"#, "I\nN"),
        (r#"{"instruction": "I", "chosen_response": "a", "rejected_response": "b"}"#, "I"),
        (
            r#"{"instruction": "I", "input": "N", "output": ["a", "b"], "history": [["q", "r"]], "system": "S"}"#,
            "[system]S[user]q[assistant]r[user]I\nN[assistant]",
        ),
    ] {
        assert_eq!(texts(json, &auto).unwrap()[0][0], expected, "{json}");
    }
    let history = r#"{"instruction": "I", "output": ["a", "b"], "history": [["q"]]}"#;
    assert_eq!(refusal(history, &auto), "`history[0]` must be a list of two texts, got a list");
    let three = r#"{"instruction": "I", "output": ["a", "b", "c"]}"#;
    assert_eq!(
        refusal(three, &auto),
        "`output` must be a list of two texts, the preferred answer first"
    );
}

#[test]
fn texts_and_messages_mix() {
    let auto = Reading::default();
    let [user, a, b] = [("user", "q"), ("assistant", "a"), ("assistant", "b")]
        .map(|(role, text)| format!(r#"{{"role": "{role}", "content": "{text}"}}"#));
    let expected = ["[user]q[assistant]", "a", "b"];
    for json in [
        format!(r#"{{"prompt": "q", "chosen": [{a}], "rejected": [{b}]}}"#),
        format!(r#"{{"prompt": "q", "chosen": {a}, "rejected": "b"}}"#),
        format!(r#"{{"prompt": [{user}], "chosen": "a", "rejected": "b"}}"#),
        format!(r#"{{"prompt": [{user}], "chosen": {a}, "rejected": [{b}]}}"#),
        format!(r#"{{"prompt": {user}, "chosen": {a}, "rejected": "b"}}"#),
        format!(
            r#"{{"question": "not read", "chosen": [{user}, {a}], "rejected": [{user}, {b}]}}"#
        ),
        format!(r#"{{"messages": [{user}], "chosen": "a", "rejected": [{b}]}}"#),
        format!(r#"{{"messages": [{user}, {a}], "rejected_response": "b"}}"#),
        format!(r#"{{"messages": [{user}, {a}], "rejected_messages": [{user}, {b}]}}"#),
        format!(
            r#"{{"conversation_a": [{user}, {b}], "conversation_b": [{user}, {a}], "winner": "model_b"}}"#
        ),
    ] {
        let read = texts(&json, &auto).unwrap().remove(0);
        assert_eq!(read, expected, "{json}");
    }
    let whole = format!(r#"{{"prompt": "q", "chosen": [{user}, {a}], "rejected": "b"}}"#);
    assert_eq!(
        refusal(&whole, &auto),
        "`chosen` is a whole conversation, and the other answer is none"
    );
}

#[test]
fn turns_of_sharegpt_have_the_roles_of_templates() {
    let auto = Reading::default();
    let of = |turns: &str| {
        let json = format!(
            r#"{{"conversations": [{turns}], "tools": "[{{\"name\": \"f\"}}]", "chosen": {{"from": "gpt", "value": "a"}},
            "rejected": {{"from": "gpt", "value": "b"}}}}"#
        );
        match texts(&json, &auto) {
            Ok(mut texts) => texts.remove(0).join("|"),
            Err(error) => error.to_string(),
        }
    };
    let turn =
        |from: &str, value: &str| serde_json::json!({"from": from, "value": value}).to_string();
    let asked = [turn("system", "S"), turn("human", "Q")].join(", ");
    assert_eq!(of(&asked), "<f>[system]S[user]Q[assistant]|a|b");
    let call = turn("function_call", r#"{"name": "f", "arguments": {"x": 1}}"#);
    let tool = [turn("human", "Q"), call, turn("observation", "7")].join(", ");
    assert_eq!(of(&tool), r#"<f>[user]Q[assistant]f({"x": 1})[tool]7[assistant]|a|b"#);
    let broken =
        [turn("human", "Q"), turn("function_call", "f()"), turn("observation", "7")].join(", ");
    assert_eq!(
        of(&broken),
        "d/a.json:2: `conversations[1].value` of a `function_call` must be JSON with `name` and `arguments`, got the string `f()`"
    );
    let bing = [turn("human", "Q"), turn("bing", "A"), turn("human", "Q")].join(", ");
    assert_eq!(
        of(&bing),
        "d/a.json:2: `conversations[1].from` is `bing`, which is no known speaker"
    );
}

#[test]
fn text_parts_reach_a_template_that_iterates_and_are_joined_for_one_that_does_not() {
    let json = r#"{"prompt": [{"role": "user", "content": [{"type": "text", "text": "Name"}, {"type": "text", "text": "a fruit."}]}],
        "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "A pear."}]}],
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "A brick."}]}]}"#;
    let parts = "{% for m in messages %}{{ m.role }}:{% for p in m.content %}({{ p.text }}){% endfor %};{% endfor %}";
    for (source, expected, joined) in [
        (parts, ["user:(Name)(a fruit.);", "assistant:(A pear.);"], 0),
        (
            "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}",
            ["user:Name\na fruit.;", "assistant:A pear.;"],
            1,
        ),
        (
            "{% for m in messages %}{{ m.role + ':' + m.content }};{% endfor %}",
            ["user:Name\na fruit.;", "assistant:A pear.;"],
            1,
        ),
        (
            "{% for m in messages %}{{ m.role }}:{{ m.content if m.content is string }};{% endfor %}",
            ["user:Name\na fruit.;", "assistant:A pear.;"],
            1,
        ),
    ] {
        let template = template(source);
        let record = of(json);
        let mut counts = LoadCounts::default();
        let draft = draft(&record, "a", 1, &Reading::default(), &mut counts).unwrap();
        let pair = draft.render(&record, &chat(&template), &mut counts).unwrap().remove(0);
        assert_eq!([&*pair.prompt, &*pair.chosen], expected, "{source}");
        assert_eq!((counts.joined_parts, counts.empty_answers), (joined, 0));
    }
    let of = |part: &str| {
        let json = json.replace(r#"{"type": "text", "text": "A pear."}"#, part);
        refusal(&json, &Reading::default())
    };
    assert_eq!(
        of(r#"{"type": "image_url", "image_url": {}}"#),
        "`chosen[0].content[0]` is a part of the type `image_url`"
    );
    assert_eq!(
        of(r#"{"type": "text", "text": "x", "cache": 1}"#),
        "`chosen[0].content[0]` has the field `cache`"
    );
    assert_eq!(
        of(r#""x""#),
        "`chosen[0].content[0]` must be a part of a content, an object, got the string `x`"
    );
}

#[test]
fn a_list_of_answers_gives_the_best_against_the_worst_or_all_pairs() {
    let json = r#"{"id": 7, "prompt": "p", "responses": ["c", "a", "d", "b"], "scores": [3, 5.0, "1", 3]}"#;
    let of = |ranked_pairs, ranked_margin| {
        let reading = Reading { ranked_pairs, ranked_margin, ..Reading::default() };
        let (pairs, counts) = read_by(&of(json), &reading).unwrap();
        let pairs: Vec<_> = pairs
            .into_iter()
            .map(|pair| format!("{} {}>{}", pair.id, pair.chosen, pair.rejected))
            .collect();
        (pairs.join(", "), [counts.ties, counts.within_margin, counts.several_best])
    };
    assert_eq!(of(RankedPairs::BestWorst, 0.0), ("7 a>d".to_owned(), [0, 0, 0]));
    assert_eq!(of(RankedPairs::BestWorst, 4.0), (String::new(), [0, 1, 0]));
    let all = "7:1 a>c, 7:2 c>d, 7:4 a>d, 7:5 a>b, 7:6 b>d";
    assert_eq!(of(RankedPairs::All, 0.0), (all.to_owned(), [1, 0, 0]));
    // A margin leaves the other pairs their ids.
    assert_eq!(of(RankedPairs::All, 2.0), ("7:4 a>d".to_owned(), [1, 4, 0]));
    let of = |json: &str| read_by(&self::of(json), &Reading::default()).unwrap();
    let (pairs, counts) = of(r#"{"prompt": "p", "responses": ["a", "b"], "scores": [2, 2]}"#);
    assert_eq!((pairs.len(), counts.ties, counts.layouts[0].records), (0, 1, 1));
    let (pairs, counts) =
        of(r#"{"prompt": "p", "responses": ["a", "b", "c"], "scores": [2, 2, 1]}"#);
    assert_eq!((&*pairs[0].chosen, counts.several_best), ("a", 1));
    let tie = r#"{"conversation_a": [{"role": "user", "content": "q"}], "conversation_b": [{"role": "user", "content": "q"}], "winner": "tie"}"#;
    assert_eq!((of(tie).0.len(), of(tie).1.ties), (0, 1));
}

#[test]
fn what_is_no_ranked_list_is_refused_by_name() {
    let auto = Reading::default();
    for (json, expected) in [
        (
            r#"{"prompt": "p", "responses": ["a", "b"], "scores": [1]}"#,
            "`responses` has 2 answers and `scores` 1 scores",
        ),
        (
            r#"{"prompt": "p", "responses": ["a"], "scores": [1]}"#,
            "expected two answers or more, got 1",
        ),
        (
            r#"{"prompt": "p", "responses": ["a", "b"], "scores": [1, null]}"#,
            "`scores[1]` must be a number, got null",
        ),
        (
            r#"{"prompt": "p", "responses": ["a", "b"], "scores": [1, "NaN"]}"#,
            "`scores[1]` must be a number, got the string `NaN`",
        ),
        (
            r#"{"prompt": "p", "responses": ["a", 2], "scores": [1, 2]}"#,
            "`responses[1]` must be a string, got the number `2`",
        ),
        (
            r#"{"instruction": "p", "completions": [{"response": "a"}, {"response": "b"}]}"#,
            "`completions[0].overall_score` must be a number, got null",
        ),
        (
            r#"{"prompt": "p", "answers": [{"answer": "a", "rank": 1}, {"rank": 2}]}"#,
            "`answers[1].answer` must be a string, got null",
        ),
        (
            r#"{"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 2}"#,
            "`better_response_id` must be `0` or `1`, got the number `2`",
        ),
        (
            r#"{"conversation_a": [{"role": "user", "content": "q"}], "conversation_b": [{"role": "user", "content": "q"}], "winner": "both"}"#,
            "`winner` must be `model_a`, `model_b`, `tie` or `tie (bothbad)`, got the string `both`",
        ),
    ] {
        assert_eq!(refusal(json, &auto), expected);
    }
    let many = serde_json::json!({"prompt": "p", "responses": vec!["a"; 33], "scores": (0..33).collect::<Vec<_>>()});
    let all = Reading { ranked_pairs: RankedPairs::All, ..Reading::default() };
    assert_eq!(refusal(&many.to_string(), &all), "all pairs of 33 answers, expected at most 32");
}

#[test]
fn columns_have_the_roles_that_they_are_given_and_no_other() {
    let columns = [
        (ColumnRole::Prompt, "q"),
        (ColumnRole::Chosen, "rejected"),
        (ColumnRole::Rejected, "chosen"),
        (ColumnRole::System, "persona"),
    ]
    .map(|(role, column)| (role, column.to_owned()))
    .into();
    let json = r#"{"q": "Q", "chosen": "b", "rejected": "a", "persona": "P", "prompt": "other"}"#;
    let record = of(json).with_columns(&columns);
    let (pairs, counts) = read_by(&record, &Reading::default()).unwrap();
    assert_eq!([&*pairs[0].prompt, &*pairs[0].chosen, &*pairs[0].rejected], ["P\nQ", "a", "b"]);
    assert_eq!(counts.unread.iter().collect::<Vec<_>>(), ["prompt"]);
    assert_eq!(counts.layouts[0].columns, ["q", "chosen", "rejected", "persona"]);
    let wrong = of(r#"{"q": 3, "chosen": "b", "rejected": "a"}"#).with_columns(&columns);
    let error = read_by(&wrong, &Reading::default()).unwrap_err().to_string();
    assert_eq!(error, "d/a.json:2: `q` must be a string or a list of messages, got the number `3`");
}

#[test]
fn answers_that_repeat_their_prompt_are_counted() {
    let of = |json: &str| {
        let mut counts = LoadCounts::default();
        draft(&self::of(json), "a", 1, &Reading::default(), &mut counts).unwrap();
        counts.repeated_prompts
    };
    assert_eq!(of(r#"{"prompt": "p q", "chosen": "p q a", "rejected": "p q b"}"#), 1);
    assert_eq!(of(r#"{"prompt": "p q", "chosen": "p q a", "rejected": "b"}"#), 0);
    assert_eq!(of(r#"{"prompt": " ", "chosen": " a", "rejected": " b"}"#), 0);
    let turn = |role: &str, text: &str| serde_json::json!({"role": role, "content": text});
    let q = turn("user", "q");
    let json = serde_json::json!({"prompt": [q], "chosen": [q, turn("assistant", "a")], "rejected": [q, turn("assistant", "b")]});
    assert_eq!(of(&json.to_string()), 1);
}

#[test]
fn alignx_tells_what_is_known_of_the_person() {
    let layout = LAYOUTS.iter().find(|layout| layout.name == LayoutName::Alignx).unwrap();
    let [prompt, ..] = &texts(layout.sample, &Reading::default()).unwrap()[0];
    assert_eq!(
        prompt,
        "***Task***\n\n**Post:**\nTea or coffee?\n\n***Historical Behavior and User Preferences***\n\n\
         **This person has commented on some posts:**\n\n1. *Post:*\nCats?\n\n*Comment:*\nYes.\n\n\
         **This person has chosen or rejected comments on some posts:**\n\n1. *Post:*\nDogs?\n\n*Chosen:*\nNo.\n\n*Rejected:*\nMaybe.\n\n\
         A sailor.\n\n***Response:***\n\n"
    );
}
