//! A question under a name of its own beside two answers: orca, icr, Argilla, and Alpaca's instruction and input.

use anyhow::Result;
use serde_json::Value;

use crate::config::LayoutName;
use crate::data::chat::message;
use crate::data::format::fields::{Record, kind};
use crate::data::format::messages::Said;
use crate::data::format::parts::{Notes, Part, two_answers};
use crate::data::format::{Field, Layout, Shape, field};
use crate::error::InputError;

/// Whether a record has no `prompt`, which every trainer takes for it.
fn has_no_prompt(record: &Record<'_>) -> bool {
    record.peek("prompt").is_none()
}

const ANSWERS: &[Field] = &[field("chosen", Shape::Said), field("rejected", Shape::Said)];

pub(super) const ORCA: Layout = Layout {
    name: LayoutName::Orca,
    prompt: &[field("question", Shape::Said)],
    answers: ANSWERS,
    optional: &["system"],
    fits: has_no_prompt,
    read_prompt: |record, _| Said::read(record, "question"),
    read: two_answers,
    sample: r#"{"system": "You are a careful clerk.", "question": "What is 2+2?", "chosen": "4", "rejected": "5"}"#,
};

pub(super) const ICR: Layout = Layout {
    name: LayoutName::Icr,
    prompt: &[field("input", Shape::Said)],
    answers: ANSWERS,
    optional: &["system"],
    fits: has_no_prompt,
    read_prompt: |record, _| Said::read(record, "input"),
    read: two_answers,
    sample: r#"{"system": "You are a careful clerk.", "input": "What is 2+2?", "chosen": "4", "rejected": "5"}"#,
};

pub(super) const ALPACA_RANKING: Layout = Layout {
    name: LayoutName::AlpacaRanking,
    prompt: &[field("instruction", Shape::Text)],
    answers: ANSWERS,
    optional: &["input", "history", "system"],
    fits: has_no_prompt,
    read_prompt: instruction,
    read: two_answers,
    sample: r#"{"instruction": "Translate.", "input": "Guten Tag", "chosen": "Good day", "rejected": "Hello"}"#,
};

pub(super) const ALPACA_OUTPUT: Layout = Layout {
    name: LayoutName::AlpacaOutput,
    prompt: &[field("instruction", Shape::Text)],
    answers: &[field("output", Shape::List)],
    optional: &["input", "history", "system"],
    fits: has_no_prompt,
    read_prompt: instruction,
    read: two_outputs,
    sample: r#"{"instruction": "Translate.", "input": "Guten Tag", "output": ["Good day", "Hello"]}"#,
};

pub(super) const ARGILLA: Layout = Layout {
    name: LayoutName::Argilla,
    prompt: &[field("instruction", Shape::Text)],
    answers: &[field("chosen_response", Shape::Text), field("rejected_response", Shape::Text)],
    optional: &["input", "system"],
    fits: has_no_prompt,
    read_prompt: instruction,
    read: two_answers,
    sample: r#"{"instruction": "Name a tree.", "chosen_response": "An oak.", "rejected_response": "An otter."}"#,
};

/// Alpaca's prompt as LLaMA-Factory makes it: instruction and input, those that are not empty, on lines of their own, after the questions
/// and answers of `history`.
fn instruction(record: &Record<'_>, _: &mut Notes<'_>) -> Result<Said> {
    let instruction = record.text("instruction")?;
    let input = if record.peek("input").is_some() { record.text("input")? } else { "" };
    let lines: Vec<_> = [instruction, input].into_iter().filter(|text| !text.is_empty()).collect();
    let text = lines.join("\n");
    let history = match record.get("history") {
        None => return Ok(Said::Text(text)),
        Some(Value::Array(turns)) if turns.is_empty() => return Ok(Said::Text(text)),
        Some(Value::Array(turns)) => turns,
        Some(other) => {
            return Err(record.wrong("history", "a list of questions and answers", other).into());
        }
    };
    let mut messages = Vec::new();
    for (place, turn) in history.iter().enumerate() {
        let Some([question, answer]) = turn.as_array().and_then(|both| two_texts(both)) else {
            return Err(InputError::new(format!(
                "{}: `history[{place}]` must be a list of two texts, got {}",
                record.place,
                kind(turn)
            ))
            .into());
        };
        messages.extend([message("user", question), message("assistant", answer)]);
    }
    messages.push(message("user", &text));
    Ok(Said::Messages(messages))
}

/// The texts of a list of two; none where it is not that.
fn two_texts(list: &[Value]) -> Option<[&str; 2]> {
    match list {
        [Value::String(first), Value::String(second)] => Some([first, second]),
        _ => None,
    }
}

/// `output` as LLaMA-Factory had it: the preferred answer, then the other.
fn two_outputs(layout: &Layout, record: &Record<'_>, notes: &mut Notes<'_>) -> Result<Vec<Part>> {
    let expected = "a list of two texts, the preferred answer first";
    let texts = match record.get("output") {
        Some(Value::Array(list)) => two_texts(list).map(|texts| texts.map(str::to_owned)),
        Some(other) => return Err(record.wrong("output", expected, other).into()),
        None => return Err(record.missing("output", expected).into()),
    };
    let Some([chosen, rejected]) = texts else {
        let what = format!("{}: `output` must be {expected}", record.place);
        return Err(InputError::new(what).into());
    };
    let prompt = (layout.read_prompt)(record, notes)?;
    Ok(Part::only(notes.texts(prompt, Said::Text(chosen), Said::Text(rejected))))
}
