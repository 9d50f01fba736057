//! Answers that contain their prompt: HH-RLHF's dialogues, and texts or messages that begin the same, as TRL's `extract_prompt` has them.

use anyhow::Result;
use serde_json::Value;

use crate::config::LayoutName;
use crate::data::format::fields::Record;
use crate::data::format::messages::Said;
use crate::data::format::parts::{Notes, Part, Texts, whole};
use crate::data::format::{Layout, Shape, field};
use crate::data::groups;
use crate::error::InputError;

pub(super) const HH_RLHF: Layout = Layout {
    name: LayoutName::HhRlhf,
    prompt: &[],
    answers: &[field("chosen", Shape::Text), field("rejected", Shape::Text)],
    optional: &[],
    fits: |record| dialogue(record).is_some(),
    read_prompt: no_prompt,
    read: read_dialogue,
    sample: r#"{"chosen": "\n\nHuman: How do I water a cactus?\n\nAssistant: Rarely.", "rejected": "\n\nHuman: How do I water a cactus?\n\nAssistant: Hourly."}"#,
};

pub(super) const IMPLICIT_PROMPT: Layout = Layout {
    name: LayoutName::ImplicitPrompt,
    prompt: &[],
    answers: &[field("chosen", Shape::Said), field("rejected", Shape::Said)],
    optional: &["profile"],
    fits: begin_the_same,
    read_prompt: no_prompt,
    read: read_shared,
    sample: r#"{"chosen": [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."}], "rejected": [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Seven."}]}"#,
};

/// Ends the prompt of a dialogue.
const ASSISTANT: &str = "\n\nAssistant:";

/// The bytes of the prompt of two dialogues: up to the last `\n\nAssistant:` that both have after the same text.
fn dialogue(record: &Record<'_>) -> Option<usize> {
    let [chosen, rejected] = ["chosen", "rejected"].map(|key| record.peek(key)?.as_str());
    let (chosen, rejected) = (chosen?, rejected?);
    let same = chosen.bytes().zip(rejected.bytes()).take_while(|(a, b)| a == b).count();
    // A mark of ASCII letters ends at the boundary of a character.
    let at = chosen.as_bytes()[..same]
        .windows(ASSISTANT.len())
        .rposition(|w| w == ASSISTANT.as_bytes())?;
    Some(at + ASSISTANT.len())
}

/// The bytes of the text that both begin with, by TRL's rule: without a space before the first difference, and where one text begins the
/// other, without the last character of the shorter. Differs from it where nothing is shared, where TRL counts from the end.
fn shared(chosen: &str, rejected: &str) -> usize {
    let mut before = None;
    let mut characters = chosen.char_indices().zip(rejected.chars()).peekable();
    while let Some(((at, character), other)) = characters.next() {
        if character != other {
            return match before {
                Some(' ') => at - 1,
                _ => at,
            };
        }
        if characters.peek().is_none() {
            return at;
        }
        before = Some(character);
    }
    0
}

/// Whether both answers begin the same: messages, or texts beside which no other text could be the prompt.
fn begin_the_same(record: &Record<'_>) -> bool {
    match (record.peek("chosen"), record.peek("rejected")) {
        (Some(Value::Array(chosen)), Some(Value::Array(rejected))) => {
            !chosen.is_empty() && chosen.first() == rejected.first()
        }
        (Some(Value::String(chosen)), Some(Value::String(rejected))) => {
            const KNOWN: [&str; 5] = ["chosen", "rejected", "id", "user_id", "profile"];
            let known = |name: &str| {
                KNOWN.iter().any(|key| record.named(key) == name) || groups::is_field(name)
            };
            let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
            let others = record.fields.iter().any(|(name, value)| is_text(value) && !known(name));
            dialogue(record).is_none() && !others && shared(chosen, rejected) > 0
        }
        _ => false,
    }
}

fn no_prompt(record: &Record<'_>, _: &mut Notes<'_>) -> Result<Said> {
    Err(record.missing("chosen", "text that begins with the prompt").into())
}

fn read_dialogue(layout: &Layout, record: &Record<'_>, _: &mut Notes<'_>) -> Result<Vec<Part>> {
    let (chosen, rejected) = (record.text("chosen")?, record.text("rejected")?);
    let Some(end) = dialogue(record) else {
        return Err(InputError::new(format!(
            "{}: `chosen` and `rejected` have no `\\n\\nAssistant:` after the same text, which ends the prompt of `{}`",
            record.place,
            layout.name.name()
        ))
        .hint("`data.layout = \"implicit-prompt\"` takes all that both begin with")
        .into());
    };
    Ok(Part::only(Texts::Plain([
        chosen[..end].to_owned(),
        chosen[end..].to_owned(),
        rejected[end..].to_owned(),
    ])))
}

fn read_shared(_: &Layout, record: &Record<'_>, _: &mut Notes<'_>) -> Result<Vec<Part>> {
    match (Said::read(record, "chosen")?, Said::read(record, "rejected")?) {
        (Said::Messages(chosen), Said::Messages(rejected)) => {
            whole(record, ["chosen", "rejected"], [chosen, rejected])
        }
        (Said::Text(chosen), Said::Text(rejected)) => {
            let end = shared(&chosen, &rejected);
            if end == 0 {
                let what = format!(
                    "{}: `chosen` and `rejected` begin with different characters, and there is no `prompt`",
                    record.place
                );
                let hint = "`data.columns = {prompt = \"...\"}` says which column is the prompt";
                return Err(InputError::new(what).hint(hint).into());
            }
            Ok(Part::only(Texts::Plain([
                chosen[..end].to_owned(),
                chosen[end..].to_owned(),
                rejected[end..].to_owned(),
            ])))
        }
        _ => Err(InputError::new(format!(
            "{}: one answer is a text and the other messages, and there is no `prompt`",
            record.place
        ))
        .hint("give both as texts or both as messages")
        .into()),
    }
}
