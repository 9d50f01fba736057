//! What a layout's reader gives: the texts of each pair of a record, and notes beside them.

use anyhow::Result;
use serde_json::Value;

use crate::config::{RankedPairs, Reading};
use crate::data::format::conversation::{Conversation, add_profile};
use crate::data::format::fields::Record;
use crate::data::format::messages::{Said, answers};
use crate::data::format::{Groups, Layout};
use crate::data::pair::LoadCounts;
use crate::error::InputError;

/// The texts of a pair.
#[derive(Debug, Clone)]
pub(in crate::data) enum Texts {
    /// Prompt, chosen and rejected answer.
    Plain([String; 3]),
    /// The same as messages.
    Messages(Conversation),
}

impl Texts {
    /// A prompt without answers.
    pub(in crate::data) fn prompt(said: Said) -> Self {
        match said {
            Said::Text(text) => Self::Plain([text, String::new(), String::new()]),
            Said::Messages(messages) => Self::Messages(Conversation::prompt_alone(messages)),
        }
    }
}

/// One pair of a record.
#[derive(Debug)]
pub(in crate::data) struct Part {
    /// Prompt and answers.
    pub(in crate::data) texts: Texts,
    /// Its number among the pairs that the record could give, from 1; none where a record of this layout gives at most one.
    pub(in crate::data) number: Option<usize>,
}

impl Part {
    /// The one pair of a record.
    pub(in crate::data) fn only(texts: Texts) -> Vec<Self> {
        vec![Self { texts, number: None }]
    }
}

/// What readers note beside the texts, and the rule for lists of answers.
pub(in crate::data) struct Notes<'a> {
    /// Groups of the person beyond the demographic fields.
    pub(in crate::data) groups: &'a mut Groups,
    /// Oddities.
    pub(in crate::data) counts: &'a mut LoadCounts,
    /// Which pairs a list of answers gives.
    pub(in crate::data) ranked_pairs: RankedPairs,
    /// Two answers make a pair if their scores differ by more than this.
    pub(in crate::data) ranked_margin: f64,
}

impl<'a> Notes<'a> {
    pub(in crate::data) fn new(
        groups: &'a mut Groups,
        counts: &'a mut LoadCounts,
        reading: &Reading,
    ) -> Self {
        let Reading { ranked_pairs, ranked_margin, .. } = *reading;
        Self { groups, counts, ranked_pairs, ranked_margin }
    }

    /// A prompt and two answers. They are texts where all three are; otherwise a text is a message of the user or of the assistant.
    pub(in crate::data) fn texts(&mut self, prompt: Said, chosen: Said, rejected: Said) -> Texts {
        match (prompt, chosen, rejected) {
            (Said::Text(prompt), Said::Text(chosen), Said::Text(rejected)) => {
                let repeats =
                    [&chosen, &rejected].iter().all(|answer| answer.starts_with(prompt.as_str()));
                self.counts.repeated_prompts += usize::from(!prompt.trim().is_empty() && repeats);
                Texts::Plain([prompt, chosen, rejected])
            }
            (prompt, chosen, rejected) => {
                let [chosen, rejected] = [chosen, rejected].map(|said| said.messages("assistant"));
                let conversation = Conversation::new(prompt.messages("user"), chosen, rejected);
                self.counts.repeated_prompts += usize::from(conversation.repeats_prompt());
                Texts::Messages(conversation)
            }
        }
    }
}

/// The fields of the two answers of a layout.
pub(super) fn answer_names(layout: &Layout) -> Result<[&'static str; 2]> {
    match layout.answers {
        [chosen, rejected] => Ok([chosen.name, rejected.name]),
        _ => Err(anyhow::anyhow!("`{}` has no two answers", layout.name.name())),
    }
}

/// The pair of a record with a prompt and two answers.
///
/// Beside a text prompt, answers that are whole conversations bring the prompt: the messages that both begin with. The text is then not
/// read.
pub(super) fn two_answers(
    layout: &Layout,
    record: &Record<'_>,
    notes: &mut Notes<'_>,
) -> Result<Vec<Part>> {
    let names = answer_names(layout)?;
    if let Some(field) = layout.prompt.iter().find(|field| record.peek(field.name).is_none()) {
        return Err(record.missing(field.name, "string").into());
    }
    let has_list =
        layout.prompt.iter().any(|field| record.peek(field.name).is_some_and(Value::is_array));
    let [chosen, rejected] = [Said::read(record, names[0])?, Said::read(record, names[1])?];
    let is_whole = |said: &Said| match said {
        Said::Text(_) => false,
        Said::Messages(messages) => !messages.first().is_some_and(answers),
    };
    match (chosen, rejected) {
        (Said::Messages(chosen), Said::Messages(rejected))
            if !(has_list || answers(&chosen[0]) && answers(&rejected[0])) =>
        {
            whole(record, names, [chosen, rejected])
        }
        (chosen, rejected) => {
            for (name, said) in names.iter().zip([&chosen, &rejected]) {
                if !has_list && is_whole(said) {
                    let name = record.named(name);
                    let place = record.place;
                    let what = format!(
                        "{place}: `{name}` is a whole conversation, and the other answer is none"
                    );
                    let hint = "give both answers as whole conversations, or neither";
                    return Err(InputError::new(what).hint(hint).into());
                }
            }
            let prompt = (layout.read_prompt)(record, notes)?;
            Ok(Part::only(notes.texts(prompt, chosen, rejected)))
        }
    }
}

/// The pair of two whole conversations, a text `profile` before the first question.
pub(super) fn whole(
    record: &Record<'_>,
    names: [&str; 2],
    both: [Vec<Value>; 2],
) -> Result<Vec<Part>> {
    let mut conversation = Conversation::of_whole(record, names, both)?;
    if let Some(Value::String(profile)) = record.get("profile") {
        add_profile(conversation.prompt_mut(), profile);
    }
    Ok(Part::only(Texts::Messages(conversation)))
}
