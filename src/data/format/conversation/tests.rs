//! Which messages of a record become prompt and answers, and what reaches the template.

use super::*;
use crate::config::Reading;
use crate::data::format::draft;
use crate::data::format::fields::Place;
use crate::data::format::parts::Texts;
use crate::data::pair::LoadCounts;

fn read(json: &str) -> Result<Conversation> {
    let fields = serde_json::from_str(json).unwrap();
    let record = Record::new(Place { file: "a.json", line: 1 }, fields);
    let draft = draft::draft(&record, "a", 1, &Reading::default(), &mut LoadCounts::default())?;
    let Some(Texts::Messages(mut conversation)) = draft.prompt() else { panic!("texts") };
    conversation.add_columns(&record)?;
    Ok(conversation)
}

const USER: &str = r#"{"role": "user", "content": "q"}"#;
const A: &str = r#"{"role": "assistant", "content": "a"}"#;
const B: &str = r#"{"role": "assistant", "content": "b"}"#;

#[test]
fn a_shared_beginning_is_the_prompt() {
    let explicit = read(&format!(r#"{{"prompt": [{USER}], "chosen": [{A}], "rejected": [{B}]}}"#));
    let implicit =
        read(&format!(r#"{{"prompt": "q", "chosen": [{USER}, {A}], "rejected": [{USER}, {B}]}}"#));
    let explicit = explicit.unwrap();
    assert_eq!(explicit, implicit.unwrap());
    assert_eq!(explicit, Conversation::of_texts(["q", "a", "b"]));
    // Equal answers: the last message of both is the answer.
    let equal = format!(r#"{{"chosen": [{USER}, {A}], "rejected": [{USER}, {A}]}}"#);
    assert_eq!(read(&equal).unwrap(), Conversation::of_texts(["q", "a", "a"]));
}

#[test]
fn a_profile_goes_before_the_first_question() {
    let json = format!(
        r#"{{"prompt": [{USER}], "chosen": [{A}], "rejected": [{B}], "profile": " old "}}"#
    );
    assert_eq!(read(&json).unwrap(), Conversation::of_texts(["old\nq", "a", "b"]));
}

/// A conversation with these columns beside it, its prompt rendered by a template that shows what reaches it.
fn shown(columns: &str) -> String {
    let json = format!(r#"{{"prompt": [{USER}], "chosen": [{A}], "rejected": [{B}], {columns}}}"#);
    let template = crate::data::chat::tests::template(
        "{% for t in tools or [] %}<{{ t | tojson }}>{% endfor %}{{ think }}{% for m in messages %}{{ m.role }}:{{ m.content }}|{% endfor %}",
    );
    match read(&json) {
        Ok(conversation) => conversation.prompt_text(&template).unwrap(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn tools_variables_and_a_system_text_reach_the_template() {
    let tools = r#"[{"name": "z", "a": 1}]"#;
    let quoted = serde_json::to_string(tools).unwrap();
    for (columns, expected) in [
        (format!(r#""tools": {tools}"#), r#"<{"name": "z", "a": 1}>user:q|"#),
        (format!(r#""tools": {quoted}"#), r#"<{"name": "z", "a": 1}>user:q|"#),
        (r#""tools": "null""#.to_owned(), "user:q|"),
        (r#""chat_template_kwargs": {"think": "hm"}"#.to_owned(), "hmuser:q|"),
        (r#""system": "Be kind.""#.to_owned(), "system:Be kind.|user:q|"),
        (r#""system": " ""#.to_owned(), "user:q|"),
        (
            r#""tools": "[{]""#.to_owned(),
            "a.json:1: `tools` is no JSON: key must be a string at line 1 column 3, in `[{]`",
        ),
        (
            r#""tools": ["f"]"#.to_owned(),
            "a.json:1: `tools` must be a list of functions, each an object, or the same as JSON text, got a list",
        ),
        (
            r#""chat_template_kwargs": "think""#.to_owned(),
            "a.json:1: `chat_template_kwargs` must be an object, got the string `think`",
        ),
        (
            r#""chat_template_kwargs": {"tokenize": true}"#.to_owned(),
            "a.json:1: `chat_template_kwargs.tokenize` is no variable of a chat template",
        ),
    ] {
        assert_eq!(shown(&columns), expected);
    }
}

#[test]
fn a_system_message_of_the_conversation_stays_alone() {
    let json = format!(
        r#"{{"prompt": [{{"role": "system", "content": "own"}}, {USER}], "chosen": [{A}], "rejected": [{B}], "system": "other"}}"#
    );
    let conversation = read(&json).unwrap();
    assert_eq!(conversation.prompt[0]["content"], "own");
    assert_eq!(conversation.prompt.len(), 2);
}

#[test]
fn a_call_of_a_tool_needs_no_content() {
    let call =
        r#"{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]}"#;
    let json = format!(r#"{{"prompt": [{USER}], "chosen": [{call}], "rejected": [{B}]}}"#);
    let conversation = read(&json).unwrap();
    assert_eq!(conversation.empty_answers(), 0);
    let template = crate::data::chat::tests::template(
        "{% for m in messages %}{% if m.tool_calls is defined %}{{ m.tool_calls[0].function.name }}{% endif %}{{ m.content is defined }};{% endfor %}",
    );
    let [prompt, chosen, rejected] = conversation.texts(&template).unwrap().texts;
    assert_eq!([&*prompt, &*chosen, &*rejected], ["True;", "fFalse;", "True;"]);
}

#[test]
fn what_is_no_message_is_an_error_with_its_place() {
    for (json, expected) in [
        (
            format!(r#"{{"prompt": [{USER}], "chosen": 3, "rejected": [{B}]}}"#),
            "a.json:1: `chosen` must be a string or a list of messages",
        ),
        (
            format!(r#"{{"prompt": [{USER}], "chosen": [{{"role": "user"}}], "rejected": [{B}]}}"#),
            "a.json:1: `chosen[0].content` must be a string, got null",
        ),
        (
            format!(r#"{{"prompt": [3], "chosen": [{A}], "rejected": [{B}]}}"#),
            "a.json:1: `prompt[0].role` must be a string, got null",
        ),
        (
            format!(r#"{{"prompt": "q", "chosen": [], "rejected": [{B}]}}"#),
            "a.json:1: `chosen` has no messages",
        ),
        (
            format!(r#"{{"prompt": [{USER}], "chosen": [{A}]}}"#),
            "a.json:1: the record has no `rejected`",
        ),
        (
            format!(r#"{{"chosen": [{A}], "rejected": [{B}]}}"#),
            "a.json:1: the record has no `prompt`, found `chosen`, `rejected`",
        ),
        (
            format!(
                r#"{{"prompt": "q", "chosen": [{USER}, {A}], "rejected": [{{"role": "user", "content": "p"}}, {B}]}}"#
            ),
            "a.json:1: `chosen` and `rejected` begin with different messages",
        ),
    ] {
        let error = read(&json).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_profile_goes_before_the_first_part_of_a_question() {
    let json = format!(
        r#"{{"prompt": [{{"role": "user", "content": [{{"type": "text", "text": " q"}}]}}], "chosen": [{A}], "rejected": [{B}], "profile": " old "}}"#
    );
    let prompt = read(&json).unwrap().prompt;
    assert_eq!(prompt[0]["content"][0]["text"], "old\nq");
}

#[test]
fn each_empty_answer_of_a_conversation_is_counted() {
    for (answers, empty) in [(["a", "b"], 0), (["", "b"], 1), (["a", ""], 1), (["", ""], 2)] {
        let [chosen, rejected] = answers;
        assert_eq!(Conversation::of_texts(["q", chosen, rejected]).empty_answers(), empty);
    }
}
