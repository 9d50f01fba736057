//! A record in one of the layouts of [`LAYOUTS`] -> the pairs or the prompt that it holds.
//!
//! `recognition` finds the layout of a record, `draft` gives its pairs, `messages` reads messages in every spelling; the other files have the
//! layouts, the like ones together.

mod alignx;
pub(in crate::data) mod columns;
pub(in crate::data) mod conversation;
pub mod draft;
pub(in crate::data) mod fields;
mod implicit;
mod instructions;
mod labelled;
pub(in crate::data) mod messages;
pub mod mvpbench;
pub(in crate::data) mod parts;
mod preference;
mod ranked;
mod recognition;
mod talks;

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use crate::config::LayoutName;
use crate::data::format::fields::Record;
use crate::data::format::messages::Said;
use crate::data::format::parts::{Notes, Part};

/// Every layout that is read. What reads records, names layouts or tests them goes through this table. Of layouts that differ in their
/// answers alone, the first reads a prompt without any.
pub const LAYOUTS: &[Layout] = &[
    mvpbench::LAYOUT,             // the authors' release
    preference::LAYOUT,           // UF-P-4, TRL, ultrafeedback_binarized, py-dpo
    implicit::HH_RLHF,            // Anthropic's HH-RLHF
    implicit::IMPLICIT_PROMPT,    // TRL without a prompt
    instructions::ORCA,           // orca_dpo_pairs, Axolotl's `chatml.intel`
    instructions::ICR,            // distilabel-intel-orca, Axolotl's `chatml.icr`
    instructions::ALPACA_RANKING, // LLaMA-Factory
    instructions::ALPACA_OUTPUT,  // LLaMA-Factory before `chosen` and `rejected`
    instructions::ARGILLA,        // Argilla, Axolotl's `chatml.argilla`
    talks::MESSAGES,              // Axolotl's `chat_template.default`
    talks::SHAREGPT_RANKING,      // LLaMA-Factory
    talks::MS_SWIFT,              // ms-swift
    talks::MS_SWIFT_MESSAGES,     // ms-swift
    labelled::PKU_BETTER,         // PKU-SafeRLHF, by helpfulness
    labelled::PKU_SAFER,          // PKU-SafeRLHF, by safety
    labelled::SHP,                // Stanford Human Preferences
    labelled::ARENA,              // Chatbot Arena
    ranked::RANKED,               // answers beside scores
    ranked::ULTRAFEEDBACK,        // UltraFeedback, four answers
    ranked::NECTAR,               // Nectar, seven ranked answers
    alignx::LAYOUT,               // AlignX
];

/// A layout: the fields by which a record is recognised, and how its texts are read.
#[derive(Debug)]
pub struct Layout {
    /// Its name in `data.layout` and in messages.
    pub name: LayoutName,
    /// The fields of the prompt; none where it is inside the answers.
    prompt: &'static [Field],
    /// The fields of the answers, the preferred one first where there are two.
    answers: &'static [Field],
    /// Other fields that are read where a record has them, beside those that every layout reads.
    optional: &'static [&'static str],
    /// What else a record must be like to be recognised.
    fits: fn(&Record<'_>) -> bool,
    /// Reads the prompt alone.
    read_prompt: fn(&Record<'_>, &mut Notes<'_>) -> Result<Said>,
    /// Reads the pairs.
    read: fn(&Layout, &Record<'_>, &mut Notes<'_>) -> Result<Vec<Part>>,
    /// A record of this layout, in JSON.
    pub sample: &'static str,
}

/// A field of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    name: &'static str,
    shape: Shape,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A text.
    Text,
    /// A text, a message or a list of messages.
    Said,
    /// Messages up to where an answer begins.
    Asked,
    /// Messages, whoever has the last one.
    Messages,
    /// The same as [`Shape::Said`], without the prompt.
    Answer,
    /// A list.
    List,
    /// A text, a number or a truth value.
    Label,
}

impl Shape {
    fn holds(self, value: &Value) -> bool {
        let messages = || value.as_array().filter(|list| list.iter().all(is_message));
        match (self, value) {
            (Self::Text | Self::Said | Self::Answer, Value::String(_)) => true,
            (Self::Said | Self::Messages, Value::Array(_)) => {
                messages().is_some_and(|list| !list.is_empty())
            }
            (Self::Asked, Value::Array(_)) => messages()
                .and_then(|list| list.last())
                .is_some_and(|last| messages::role(last) != Some("assistant")),
            (Self::Answer, Value::Array(_)) => {
                messages().and_then(|list| list.first()).is_some_and(messages::answers)
            }
            (Self::Said, Value::Object(_)) => is_message(value),
            (Self::Answer, Value::Object(_)) => messages::answers(value),
            (Self::List, Value::Array(_)) => true,
            (Self::Label, Value::String(_) | Value::Number(_) | Value::Bool(_)) => true,
            _ => false,
        }
    }
}

fn is_message(value: &Value) -> bool {
    messages::role(value).is_some()
}

/// A field of a layout.
const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape }
}

/// Of a layout that needs nothing but its fields.
fn always(_: &Record<'_>) -> bool {
    true
}

/// The groups of a person: key and label.
type Groups = BTreeMap<String, String>;

#[cfg(test)]
mod tests;
