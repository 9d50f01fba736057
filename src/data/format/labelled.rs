//! Two answers in any order and a label that says which one was preferred: PKU-SafeRLHF, SHP, Chatbot Arena.

use anyhow::Result;
use serde_json::Value;

use crate::config::LayoutName;
use crate::data::format::fields::{Record, kind};
use crate::data::format::messages::{Said, messages};
use crate::data::format::parts::{Notes, Part, whole};
use crate::data::format::{Field, Layout, Shape, always, field};
use crate::error::InputError;

const RESPONSES: [&str; 2] = ["response_0", "response_1"];

/// PKU-SafeRLHF says which answer is better and which is safer. A record with both has both layouts, and `data.layout` chooses.
pub(super) const PKU_BETTER: Layout = Layout {
    name: LayoutName::PkuBetter,
    prompt: PROMPT,
    answers: &[
        field("response_0", Shape::Text),
        field("response_1", Shape::Text),
        field("better_response_id", Shape::Label),
    ],
    optional: &[],
    fits: always,
    read_prompt: |record, _| Said::read(record, "prompt"),
    read: |layout, record, notes| {
        by_label(layout, record, notes, RESPONSES, "better_response_id", ["0", "1"])
    },
    sample: r#"{"prompt": "Name a tree.", "response_0": "An otter.", "response_1": "An oak.", "better_response_id": 1}"#,
};

pub(super) const PKU_SAFER: Layout = Layout {
    name: LayoutName::PkuSafer,
    answers: &[
        field("response_0", Shape::Text),
        field("response_1", Shape::Text),
        field("safer_response_id", Shape::Label),
    ],
    read: |layout, record, notes| {
        by_label(layout, record, notes, RESPONSES, "safer_response_id", ["0", "1"])
    },
    sample: r#"{"prompt": "Name a tree.", "response_0": "An oak.", "response_1": "An otter.", "safer_response_id": 0}"#,
    ..PKU_BETTER
};

pub(super) const SHP: Layout = Layout {
    name: LayoutName::Shp,
    prompt: &[field("history", Shape::Text)],
    answers: &[
        field("human_ref_A", Shape::Text),
        field("human_ref_B", Shape::Text),
        field("labels", Shape::Label),
    ],
    optional: &[],
    fits: always,
    read_prompt: |record, _| Ok(Said::Text(record.text("history")?.to_owned())),
    read: |layout, record, notes| {
        by_label(layout, record, notes, ["human_ref_A", "human_ref_B"], "labels", ["1", "0"])
    },
    sample: r#"{"history": "How long do eggs keep?", "human_ref_A": "Three weeks.", "human_ref_B": "Eggs?", "labels": 1}"#,
};

pub(super) const ARENA: Layout = Layout {
    name: LayoutName::Arena,
    prompt: &[],
    answers: &[
        field("conversation_a", Shape::Messages),
        field("conversation_b", Shape::Messages),
        field("winner", Shape::Label),
    ],
    optional: &[],
    fits: always,
    read_prompt: |record, _| {
        Err(record.missing("conversation_a", "conversation that begins with the prompt").into())
    },
    read: arena,
    sample: r#"{"conversation_a": [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "The Rhine."}], "conversation_b": [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "A chair."}], "winner": "model_a"}"#,
};

const PROMPT: &[Field] = &[field("prompt", Shape::Said)];

/// Which of two labels a field has: the first or the second.
fn label(record: &Record<'_>, key: &str, labels: [&str; 2]) -> Result<usize> {
    let found = record.label(&[key])?;
    labels.iter().position(|label| found.as_deref() == Some(*label)).ok_or_else(|| {
        let [first, second] = labels;
        let expected = format!("`{first}` or `{second}`");
        match record.peek(key) {
            Some(other) => record.wrong(key, &expected, other).into(),
            None => record.missing(key, "label").into(),
        }
    })
}

/// The pair whose preferred answer is in the first field where the label is the first.
fn by_label(
    layout: &Layout,
    record: &Record<'_>,
    notes: &mut Notes<'_>,
    names: [&str; 2],
    key: &str,
    labels: [&str; 2],
) -> Result<Vec<Part>> {
    let preferred = label(record, key, labels)?;
    let prompt = (layout.read_prompt)(record, notes)?;
    let answer = |at: usize| Ok::<_, anyhow::Error>(Said::Text(record.text(names[at])?.to_owned()));
    Ok(Part::only(notes.texts(prompt, answer(preferred)?, answer(1 - preferred)?)))
}

/// The pair of two conversations; a tie gives none.
fn arena(_: &Layout, record: &Record<'_>, notes: &mut Notes<'_>) -> Result<Vec<Part>> {
    const NAMES: [&str; 2] = ["conversation_a", "conversation_b"];
    let preferred = match record.get("winner") {
        Some(Value::String(winner)) => match &**winner {
            "model_a" => 0,
            "model_b" => 1,
            "tie" | "tie (bothbad)" => {
                notes.counts.ties += 1;
                // They are read, though nothing is made of them.
                let _ = NAMES.map(|name| record.get(name));
                return Ok(Vec::new());
            }
            _ => return Err(refused(record, &Value::String(winner.clone())).into()),
        },
        Some(other) => return Err(refused(record, other).into()),
        None => return Err(record.missing("winner", "label").into()),
    };
    let names = [NAMES[preferred], NAMES[1 - preferred]];
    whole(record, names, [messages(record, names[0])?, messages(record, names[1])?])
}

fn refused(record: &Record<'_>, found: &Value) -> InputError {
    InputError::new(format!(
        "{}: `winner` must be `model_a`, `model_b`, `tie` or `tie (bothbad)`, got {}",
        record.place,
        kind(found)
    ))
}
