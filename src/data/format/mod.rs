//! A record in one of the layouts of [`LAYOUTS`] -> the pair or the prompt that it holds.

pub(in crate::data) mod conversation;
pub mod draft;
pub(in crate::data) mod fields;
pub mod mvpbench;
mod preference;

use std::collections::BTreeMap;

use anyhow::Result;

use crate::data::format::conversation::Conversation;
use crate::data::format::fields::Record;
use crate::data::pair::LoadCounts;
use crate::error::InputError;

/// Every layout that is read. What reads records, names layouts or tests them goes through this table.
pub const LAYOUTS: &[Layout] = &[
    mvpbench::LAYOUT,   // the authors' release
    preference::LAYOUT, // UF-P-4, TRL
];

/// A layout: the fields by which a record is recognised, and how its texts are read.
#[derive(Debug)]
pub struct Layout {
    /// Its name in messages.
    pub name: &'static str,
    /// The fields of the prompt.
    prompt: &'static [&'static str],
    /// The fields of the preferred answer and of the other.
    answers: [&'static str; 2],
    /// Reads the prompt; the answers of its texts are empty.
    read_prompt: fn(&Record<'_>, &mut LoadCounts) -> Result<Texts>,
    /// Reads prompt and answers, and adds groups of the person beyond the demographic fields; [`plain_pair`] if there are none.
    read_pair: fn(&Layout, &Record<'_>, &mut Groups, &mut LoadCounts) -> Result<Texts>,
    /// A record of this layout, in JSON.
    pub sample: &'static str,
}

/// The groups of a person: key and label.
type Groups = BTreeMap<String, String>;

/// The texts of a record.
#[derive(Debug)]
pub(in crate::data) enum Texts {
    /// Prompt, chosen and rejected answer.
    Plain([String; 3]),
    /// The same as messages.
    Messages(Conversation),
}

impl Texts {
    /// A prompt without answers.
    fn prompt(text: impl Into<String>) -> Self {
        Self::Plain([text.into(), String::new(), String::new()])
    }
}

/// The texts of a pair whose prompt and answers are texts.
fn plain_pair(
    layout: &Layout,
    record: &Record<'_>,
    _: &mut Groups,
    counts: &mut LoadCounts,
) -> Result<Texts> {
    let texts = (layout.read_prompt)(record, counts)?;
    let [chosen, rejected] = layout.answers;
    let answers = (record.text(chosen)?, record.text(rejected)?);
    Ok(match texts {
        Texts::Plain([prompt, ..]) => Texts::Plain([prompt, answers.0.into(), answers.1.into()]),
        messages => messages,
    })
}

impl Layout {
    /// Whether a record has an answer of any layout, so that it is a pair and not a prompt alone.
    pub(in crate::data) fn is_pair(record: &Record<'_>) -> bool {
        LAYOUTS.iter().flat_map(|layout| layout.answers).any(|answer| record.peek(answer).is_some())
    }

    /// The layout of a pair: the record has its answers and its prompt.
    ///
    /// If it has the prompt of none, the first of them reads the record and finds the prompt elsewhere, or names the missing field.
    fn of_pair(record: &Record<'_>) -> Result<&'static Self> {
        let has_answer =
            |layout: &&Self| layout.answers.iter().any(|key| record.fields.contains_key(*key));
        let answered: Vec<&Self> = LAYOUTS.iter().filter(has_answer).collect();
        let Some(first) = answered.first() else { return Err(Self::unknown(record, true)) };
        if answered.iter().any(|layout| layout.answers != first.answers) {
            let mut one_each = answered;
            one_each.dedup_by_key(|layout| layout.answers);
            return Err(Self::ambiguous(record, &one_each, true));
        }
        Ok(Self::with_prompt(record, &answered, true)?.unwrap_or(first))
    }

    /// The layout of a prompt alone.
    fn of_prompt(record: &Record<'_>) -> Result<&'static Self> {
        let all: Vec<&Self> = LAYOUTS.iter().collect();
        Self::with_prompt(record, &all, false)?.ok_or_else(|| Self::unknown(record, false))
    }

    /// The one of `layouts` whose prompt fields the record has; none if it has those of none. Of two, where one's fields include the
    /// other's, the larger wins.
    fn with_prompt(
        record: &Record<'_>,
        layouts: &[&'static Self],
        is_pair: bool,
    ) -> Result<Option<&'static Self>> {
        let has_prompt =
            |layout: &&Self| layout.prompt.iter().all(|key| record.peek(key).is_some());
        let mut fitting: Vec<&'static Self> = layouts.iter().copied().filter(has_prompt).collect();
        let prompts: Vec<_> = fitting.iter().map(|layout| layout.prompt).collect();
        fitting.retain(|layout| {
            let within = |other: &&[&str]| {
                other.len() > layout.prompt.len()
                    && layout.prompt.iter().all(|key| other.contains(key))
            };
            !prompts.iter().any(within)
        });
        match fitting.as_slice() {
            [] => Ok(None),
            [layout] => Ok(Some(layout)),
            several => Err(Self::ambiguous(record, several, is_pair)),
        }
    }

    fn unknown(record: &Record<'_>, is_pair: bool) -> anyhow::Error {
        let message = "the record has the fields of no known layout";
        Self::refused(record, message, is_pair)
    }

    fn ambiguous(record: &Record<'_>, layouts: &[&Self], is_pair: bool) -> anyhow::Error {
        let names: Vec<_> = layouts.iter().map(|layout| layout.name).collect();
        let message = format!("the record has the fields of {}", names.join(" and of "));
        Self::refused(record, &message, is_pair)
    }

    /// An error with a hint that names the fields of every layout.
    fn refused(record: &Record<'_>, message: &str, is_pair: bool) -> anyhow::Error {
        let fields = |layout: &Self| {
            let answers = if is_pair { &layout.answers[..] } else { &[] };
            let fields: Vec<_> =
                layout.prompt.iter().chain(answers).map(|key| format!("`{key}`")).collect();
            format!("{} ({})", fields.join(", "), layout.name)
        };
        let layouts: Vec<_> = LAYOUTS.iter().map(fields).collect();
        let what = if is_pair { "a record" } else { "a record without answers" };
        InputError::new(format!("{}: {message}, found {}", record.place, record.names()))
            .hint(format!("{what} has {}", layouts.join(", or ")))
            .into()
    }
}

/// The prompt of a record that has no answers.
pub(in crate::data) fn prompt_alone(record: &Record<'_>) -> Result<Texts> {
    (Layout::of_prompt(record)?.read_prompt)(record, &mut LoadCounts::default())
}

#[cfg(test)]
mod tests;
