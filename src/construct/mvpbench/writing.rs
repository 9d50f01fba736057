//! Stage 2, personalised questions and answers: one request a conversation, three items a reply, one more try for what cannot be used.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::checker::{Checker, NO_REPLY, Second};
use super::checks::{Asked, Encode, Passed, Refusal};
use super::prompt::{Requests, Subject, history, remind};
use super::recipe::{Checks, Generation};
use super::reply::{self, Drafts, QUESTIONS};
use crate::console::interrupt;
use crate::construct::prism::Prism;
use crate::judge::chat;
use crate::judge::chat::outcome::{Finish, Outcome};
use crate::judge::chat::request::Items;
use crate::judge::stage2::Replies;

/// An item that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// `p{3 * row + place}`.
    pub id: String,
    /// Place of the conversation among all.
    pub row: usize,
    /// The question with its answers.
    pub item: Passed,
}

/// An item that is missing, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The id that it would have.
    pub id: String,
    /// The conversation.
    pub conversation_id: String,
    /// The person.
    pub user_id: String,
    /// The kind of the reason.
    pub kind: &'static str,
    /// The reason, after the last try.
    pub why: String,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Conversations that questions were asked for.
    pub rows: usize,
    /// Those whose conversation was cut in the prompt.
    pub histories_cut: usize,
    /// Replies that the limit of tokens cut.
    pub replies_cut: usize,
    /// Whole replies of fewer or of more than three objects; of more the first three are read.
    pub replies_of_another_length: usize,
    /// Fields of the objects that are not read, by the replies that have them.
    pub unread_fields: BTreeMap<String, usize>,
    /// Items that passed although their texts do not tell the language.
    pub language_unsure: usize,
    /// Conversations asked a second time.
    pub retried: usize,
    /// Items of which a second reply took the place of what could not be used.
    pub mended: usize,
    /// Items that passed.
    pub items: usize,
    /// Items that are missing.
    pub failed: usize,
    /// Those by kind of reason.
    pub failed_by_kind: BTreeMap<&'static str, usize>,
}

impl Counts {
    fn of_replies(&mut self, outcomes: &[Outcome], drafts: &[Result<Drafts, Refusal>]) {
        for (outcome, drafts) in outcomes.iter().zip(drafts) {
            let is_cut = is_cut_off(outcome);
            self.replies_cut += usize::from(is_cut);
            let Ok(drafts) = drafts else { continue };
            self.replies_of_another_length += usize::from(!is_cut && drafts.objects != QUESTIONS);
            for field in &drafts.unread {
                *self.unread_fields.entry(field.clone()).or_default() += 1;
            }
        }
    }
}

/// All items of a build.
#[derive(Debug, Default)]
pub struct All {
    /// Those that passed, by row and place.
    pub written: Vec<Written>,
    /// Those that are missing, by row and place.
    pub failures: Vec<Failure>,
    /// What was counted.
    pub counts: Counts,
}

/// The tries for one subject.
struct Row {
    /// What became of each place.
    places: [Result<Passed, Refusal>; QUESTIONS],
    /// The first reply, where a second one may be asked for.
    reply: Option<String>,
}

/// Has items written for `subjects`, and checks each. `encoder`: compares the questions of a user.
pub fn write(
    generation: &Generation,
    checks: &Checks,
    prism: &Prism,
    subjects: &[Subject<'_>],
    model: &mut dyn Replies,
    encoder: Option<&dyn Encode>,
) -> Result<All> {
    let requests = Requests { generation, prism, subjects };
    let asked = Asked::default();
    let mut checker = Checker { checks, prism, subjects, encoder, asked, language_unsure: 0 };
    let mut counts = Counts { rows: subjects.len(), ..Counts::default() };
    let most = generation.history_characters;
    let is_cut = |subject: &&Subject<'_>| history(&prism.rows[subject.row].conversation, most).1;
    counts.histories_cut = subjects.iter().filter(is_cut).count();

    let outcomes = model.replies(&requests)?;
    let drafts: Vec<_> = outcomes.iter().map(drafts_of).collect();
    counts.of_replies(&outcomes, &drafts);
    let vectors = checker.vectors(&drafts)?;
    let mut rows = Vec::with_capacity(subjects.len());
    for (at, (outcome, drafts)) in outcomes.iter().zip(&drafts).enumerate() {
        interrupt::check()?;
        let places = std::array::from_fn(|place| checker.pass(at, place, drafts, &vectors));
        let reply = match outcome {
            Outcome::Answer(answer) if places.iter().any(Result::is_err) => {
                Some(answer.text.to_string())
            }
            _ => None,
        };
        rows.push(Row { places, reply });
    }
    drop((outcomes, drafts, vectors));

    let mut again = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if let Some(reply) = &row.reply {
            let mut item = requests.at(at)?.into_owned();
            remind(&mut item.messages, generation, reply, &row.places);
            again.push((at, item));
        }
    }
    let (places, again): (Vec<usize>, Vec<chat::Item>) = again.into_iter().unzip();
    counts.retried = places.len();
    if !again.is_empty() {
        let outcomes = model.replies(&again)?;
        let drafts: Vec<_> = outcomes.iter().map(drafts_of).collect();
        counts.of_replies(&outcomes, &drafts);
        let vectors = checker.vectors(&drafts)?;
        for (number, &at) in places.iter().enumerate() {
            interrupt::check()?;
            let second = Second { row: at, number };
            counts.mended += checker.mend(&mut rows[at].places, second, &drafts[number], &vectors);
        }
    }
    Ok(all(&checker, rows, counts))
}

/// The drafts of a reply, or why there are none.
fn drafts_of(outcome: &Outcome) -> Result<Drafts, Refusal> {
    let answer = match outcome {
        Outcome::Answer(answer) => answer,
        Outcome::Failed(failure) => return Err(Refusal::new(NO_REPLY, failure.to_string())),
    };
    match (&answer.finish, reply::read(&answer.text)) {
        (_, Some(drafts)) => Ok(drafts),
        (Finish::Refusal, None) => Err(Refusal::new("refused", "the model refused")),
        (Finish::ContentFilter, None) => {
            Err(Refusal::new("refused", "a filter of the provider withheld the reply"))
        }
        (Finish::Length, None) => {
            Err(Refusal::new("cut", "the reply is cut before its first object ends"))
        }
        (_, None) => Err(Refusal::new("no_array", "the reply holds no JSON array of objects")),
    }
}

fn is_cut_off(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answer(answer) if answer.finish == Finish::Length)
}

/// What became of every place.
fn all(checker: &Checker<'_>, rows: Vec<Row>, mut counts: Counts) -> All {
    let (mut written, mut failures) = (Vec::new(), Vec::new());
    for (at, row) in rows.into_iter().enumerate() {
        for (place, item) in row.places.into_iter().enumerate() {
            let (id, row) = (checker.id(at, place), checker.subjects[at].row);
            match item {
                Ok(item) => written.push(Written { id, row, item }),
                Err(Refusal { kind, why }) => {
                    *counts.failed_by_kind.entry(kind).or_default() += 1;
                    failures.push(Failure {
                        id,
                        conversation_id: checker.prism.rows[row].conversation.id.clone(),
                        user_id: checker.user(at).to_owned(),
                        kind,
                        why,
                    });
                }
            }
        }
    }
    (counts.items, counts.failed) = (written.len(), failures.len());
    counts.language_unsure = checker.language_unsure;
    All { written, failures, counts }
}
