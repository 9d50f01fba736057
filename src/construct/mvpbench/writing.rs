//! Stage 2, personalised questions and answers: one request a conversation, three items a reply, one more try for what cannot be used.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use serde::Serialize;

use super::checks::{self, Asked, Encode, Language, Passed, Refusal};
use super::recipe::{Checks, Generation};
use super::reply::{self, Drafts, QUESTIONS};
use crate::console::interrupt;
use crate::construct::prism::{Conversation, Prism};
use crate::judge::chat;
use crate::judge::chat::outcome::{Finish, Outcome};
use crate::judge::chat::request::{Items, Message, Role};
use crate::judge::protocol::template;
use crate::judge::stage2::Replies;

/// What the prompt shows where a person said nothing.
const NOTHING: &str = "(nothing)";

/// The kind of reason of an item whose request failed for good.
const NO_REPLY: &str = "no_reply";

/// A conversation that questions are written for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Place of the conversation among all, from which the ids of its items follow.
    pub row: usize,
    /// The preference of the person.
    pub preference: &'a str,
}

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

/// The request of each subject.
struct Requests<'a> {
    generation: &'a Generation,
    prism: &'a Prism,
    subjects: &'a [Subject<'a>],
}

impl Items for Requests<'_> {
    fn count(&self) -> usize {
        self.subjects.len()
    }

    fn at(&self, place: usize) -> Result<Cow<'_, chat::Item>> {
        let subject = &self.subjects[place];
        let row = &self.prism.rows[subject.row];
        let person = &self.prism.people[row.person];
        let (history, _) = history(&row.conversation, self.generation.history_characters);
        let or_nothing = |text: &'_ str| match text.trim() {
            "" => NOTHING.to_owned(),
            text => text.to_owned(),
        };
        let (description, system) =
            (or_nothing(&person.self_description), or_nothing(&person.system_string));
        let text = template::fill(&self.generation.prompt, |name| match name {
            "preferences" => subject.preference,
            "self_description" => &description,
            "system_string" => &system,
            _ => &history,
        });
        let system = (!self.generation.system.is_empty())
            .then(|| Message { role: Role::System, text: self.generation.system.clone() });
        let messages = system.into_iter().chain([Message { role: Role::User, text }]).collect();
        Ok(Cow::Owned(chat::Item::of(row.conversation.id.clone(), messages)))
    }
}

/// The conversation as a prompt shows it, each message with the answer that the person went on with, and whether it was cut after `most`
/// characters; 0: never.
fn history(conversation: &Conversation, most: usize) -> (String, bool) {
    let mut text = String::new();
    for turn in &conversation.turns {
        text.push_str(&format!("Person: {}\n", turn.message.trim()));
        if let Some(reply) = turn.chosen() {
            text.push_str(&format!("Model: {}\n", reply.text.trim()));
        }
    }
    let end = text.trim_end().len();
    text.truncate(end);
    match text.char_indices().nth(most).filter(|_| most > 0) {
        None => (text, false),
        Some((at, _)) => {
            text.truncate(at);
            text.push_str(" [...]");
            (text, true)
        }
    }
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
    Ok(checker.all(rows, counts))
}

/// Where the drafts of a second reply stand.
#[derive(Clone, Copy)]
struct Second {
    /// The row that they are for.
    row: usize,
    /// Their place among all second replies.
    number: usize,
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

/// Adds the reply and what is wrong with it.
fn remind(
    messages: &mut Vec<Message>,
    generation: &Generation,
    reply: &str,
    places: &[Result<Passed, Refusal>; QUESTIONS],
) {
    let mut problems = Vec::new();
    for (place, refusal) in places.iter().enumerate() {
        if let Err(refusal) = refusal {
            let problem = format!("object {}: {}", place + 1, refusal.why);
            problems.push(problem);
        }
    }
    let problems = problems.join("; ");
    let text = template::fill(&generation.reminder, |_| &problems);
    match messages.last_mut() {
        // Some endpoints refuse a blank turn.
        Some(last) if reply.trim().is_empty() => last.text += &format!("\n\n{text}"),
        _ => {
            messages.push(Message { role: Role::Assistant, text: reply.to_owned() });
            messages.push(Message { role: Role::User, text });
        }
    }
}

/// Vectors of the questions of a list of replies, by reply and place.
type Vectors = HashMap<(usize, usize), Vec<f32>>;

/// Checks drafts in the order of the conversations, so that the first of two equal questions stays.
struct Checker<'a> {
    checks: &'a Checks,
    prism: &'a Prism,
    subjects: &'a [Subject<'a>],
    encoder: Option<&'a dyn Encode>,
    asked: Asked,
    /// Items that passed although their texts do not tell the language.
    language_unsure: usize,
}

impl Checker<'_> {
    fn vectors(&self, drafts: &[Result<Drafts, Refusal>]) -> Result<Vectors> {
        let Some(encoder) = self.encoder else { return Ok(Vectors::new()) };
        let (mut places, mut texts) = (Vec::new(), Vec::new());
        for (at, drafts) in drafts.iter().enumerate() {
            let drafts = drafts.iter().flat_map(|found| &found.drafts);
            for (place, draft) in drafts.enumerate() {
                if let Some(question) = &draft.question {
                    places.push((at, place));
                    texts.push(question.trim());
                }
            }
        }
        let vectors = encoder.encode(&texts)?;
        anyhow::ensure!(vectors.len() == places.len(), "the encoder left out a text");
        Ok(places.into_iter().zip(vectors).collect())
    }

    fn user(&self, at: usize) -> &str {
        &self.prism.people[self.prism.rows[self.subjects[at].row].person].user
    }

    fn id(&self, at: usize, place: usize) -> String {
        format!("p{}", QUESTIONS * self.subjects[at].row + place)
    }

    /// The draft at `place` of the first reply of the row `at`, checked and remembered.
    fn pass(
        &mut self,
        at: usize,
        place: usize,
        drafts: &Result<Drafts, Refusal>,
        vectors: &Vectors,
    ) -> Result<Passed, Refusal> {
        self.check(at, place, drafts, place, vectors.get(&(at, place)))
    }

    /// The draft at `from` of a reply, to stand at `place` of the row `at`.
    fn check(
        &mut self,
        at: usize,
        place: usize,
        drafts: &Result<Drafts, Refusal>,
        from: usize,
        vector: Option<&Vec<f32>>,
    ) -> Result<Passed, Refusal> {
        let drafts = drafts.as_ref().map_err(Clone::clone)?;
        let draft = drafts.drafts.get(from).ok_or_else(|| {
            let found = drafts.objects;
            Refusal::new("too_few", format!("the reply has {found} of {QUESTIONS} whole objects"))
        })?;
        let (passed, language) = checks::alone(draft, self.checks)?;
        let (user, id) = (self.user(at).to_owned(), self.id(at, place));
        let same = self.checks.cosine;
        self.asked.refuse_repeated(&user, &passed.question, vector.map(Vec::as_slice), same)?;
        self.asked.remember(&user, &id, &passed.question, vector.cloned());
        self.language_unsure += usize::from(language == Language::Unsure);
        Ok(passed)
    }

    /// Puts drafts of a second reply where the first could not be used: the one at the same place, or another. Returns how many.
    fn mend(
        &mut self,
        places: &mut [Result<Passed, Refusal>; QUESTIONS],
        second: Second,
        drafts: &Result<Drafts, Refusal>,
        vectors: &Vectors,
    ) -> usize {
        if matches!(drafts, Err(refusal) if refusal.kind == NO_REPLY) {
            return 0; // the reasons of the first reply stay
        }
        let mut used = [false; QUESTIONS];
        let mut mended = 0;
        for (place, held) in places.iter_mut().enumerate().filter(|(_, held)| held.is_err()) {
            // The draft of its own place comes first, and its refusal is the one that is told.
            let others = (0..QUESTIONS).filter(|&from| from != place);
            for from in [place].into_iter().chain(others) {
                if used[from] {
                    continue;
                }
                let vector = vectors.get(&(second.number, from));
                let tried = self.check(second.row, place, drafts, from, vector);
                let is_own = from == place;
                match tried {
                    Ok(passed) => {
                        used[from] = true;
                        *held = Ok(passed);
                        mended += 1;
                        break;
                    }
                    Err(refusal) if is_own => *held = Err(refusal),
                    Err(_) => {}
                }
            }
        }
        mended
    }

    fn all(&self, rows: Vec<Row>, mut counts: Counts) -> All {
        let (mut written, mut failures) = (Vec::new(), Vec::new());
        for (at, row) in rows.into_iter().enumerate() {
            for (place, item) in row.places.into_iter().enumerate() {
                let (id, row) = (self.id(at, place), self.subjects[at].row);
                match item {
                    Ok(item) => written.push(Written { id, row, item }),
                    Err(Refusal { kind, why }) => {
                        *counts.failed_by_kind.entry(kind).or_default() += 1;
                        failures.push(Failure {
                            id,
                            conversation_id: self.prism.rows[row].conversation.id.clone(),
                            user_id: self.user(at).to_owned(),
                            kind,
                            why,
                        });
                    }
                }
            }
        }
        (counts.items, counts.failed) = (written.len(), failures.len());
        counts.language_unsure = self.language_unsure;
        All { written, failures, counts }
    }
}
