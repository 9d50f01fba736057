//! A chat template: Jinja. Where it asks for more memory than a template may have, the process ends with status 2, as the programs do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mvpbench::data::chat::{ChatTemplate, Variables};
use mvpbench_fuzz::{tame, tokenizer};
use serde_json::{Value, json};

const NAME: &str = "fuzz.jinja";

/// A conversation with every field that a message may have, and one of a single question.
fn conversations() -> [Vec<Value>; 2] {
    let call = json!({"type": "function", "id": "c1", "function": {"name": "f", "arguments": {"x": 1.5, "y": [null, "é"]}}});
    [
        vec![json!({"role": "user", "content": "What is 2 + 2?"})],
        vec![
            json!({"role": "system", "content": "Be brief."}),
            json!({"role": "user", "content": [{"type": "text", "text": "q\n"}]}),
            json!({"role": "assistant", "content": "", "tool_calls": [call]}),
            json!({"role": "tool", "name": "f", "tool_call_id": "c1", "content": "4"}),
            json!({"role": "assistant", "content": " Four. ", "reasoning_content": "t"}),
        ],
    ]
}

fuzz_target!(|source: &str| {
    let template = ChatTemplate::new(source.to_owned(), tokenizer(), NAME.to_owned());
    let Some(template) = tame(NAME, template) else { return };
    let template = template.dated("2026-11-27".parse().expect("a day"));
    let tools = json!([{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}}]);
    let with_tools =
        Variables { tools: tools.as_array().cloned(), others: serde_json::Map::default() };
    for messages in conversations() {
        for variables in [&Variables::default(), &with_tools] {
            for asks in [false, true] {
                let rendered = tame(NAME, template.render(&messages, variables, asks));
                let again = template.render(&messages, variables, asks).ok();
                assert_eq!(rendered, again, "rendered twice, two texts");
            }
        }
    }
});
