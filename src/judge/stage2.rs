//! Stage 2: answers in, what one judge says of each out. A reply that cannot be read is asked for once more.

use std::borrow::Cow;

use anyhow::Result;

use crate::data::benchmark::Item;
use crate::judge::chat;
use crate::judge::chat::outcome::{Finish, Outcome};
use crate::judge::chat::request::Items;
use crate::judge::protocol::{Kind, Protocol};
use crate::judge::reply::{scores, yes_no};
use crate::metrics::paa::{Scores, Verdict};

/// Longest reason that is kept, in characters.
const LONGEST_REASON: usize = 1_000;

/// Whoever answers conversations: an endpoint, or a model of our own.
pub trait Replies {
    /// The outcome of each conversation, in order.
    fn replies(&mut self, conversations: &dyn Items) -> Result<Vec<Outcome>>;

    /// The names under which an endpoint says it answered.
    fn served(&self) -> Vec<String> {
        Vec::new()
    }

    /// Digest of a local model; empty for another judge.
    fn sha256(&self) -> String {
        String::new()
    }

    /// US dollars of all replies so far; 0 of a judge that costs nothing, none where its prices are not known.
    fn paid(&self) -> Option<f64> {
        Some(0.0)
    }
}

/// An answer to judge.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// What it answers.
    pub item: &'a Item,
    /// The answer.
    pub answer: &'a str,
}

/// What a judge says of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The verdict.
    pub verdict: Verdict,
    /// The scores it follows from; none of Yes and No.
    pub scores: Option<Scores>,
    /// The value dimensions that the judge says it used.
    pub dimensions: Vec<String>,
    /// The judge's reason, or why there is no verdict.
    pub reason: Option<String>,
}

/// The conversations of the first round: each answer, each repetition.
struct Asked<'a> {
    protocol: &'a Protocol,
    tasks: &'a [Task<'a>],
    repetitions: usize,
}

impl Items for Asked<'_> {
    fn count(&self) -> usize {
        self.tasks.len() * self.repetitions
    }

    fn at(&self, place: usize) -> Result<Cow<'_, chat::Item>> {
        let task = &self.tasks[place / self.repetitions];
        Ok(Cow::Owned(chat::Item {
            id: format!("{}/{}", task.item.source, task.item.id),
            repetition: (place % self.repetitions) as u32, // at most 100
            messages: self.protocol.judge(task.item, task.answer)?,
        }))
    }
}

/// What the judge says of each of `tasks`, one opinion for each repetition.
pub fn judge(
    protocol: &Protocol,
    tasks: &[Task<'_>],
    judge: &mut dyn Replies,
) -> Result<Vec<Vec<Said>>> {
    let repetitions = protocol.verdict.repetitions as usize;
    let asked = Asked { protocol, tasks, repetitions };
    let mut said = Vec::with_capacity(asked.count());
    let mut again = Vec::new();
    for (at, outcome) in judge.replies(&asked)?.iter().enumerate() {
        let one = read(protocol, tasks[at / repetitions].item, outcome);
        if let (Verdict::Unparsed, Outcome::Answer(reply)) = (one.verdict, outcome) {
            let mut conversation = asked.at(at)?.into_owned();
            conversation.messages = protocol.remind(conversation.messages, &reply.text);
            again.push((at, conversation));
        }
        said.push(one);
    }
    let (places, again): (Vec<usize>, Vec<chat::Item>) = again.into_iter().unzip();
    if !again.is_empty() {
        for (at, outcome) in places.into_iter().zip(judge.replies(&again)?) {
            let second = read(protocol, tasks[at / repetitions].item, &outcome);
            // A reminder that fails leaves the first reply, which could not be read.
            if second.verdict != Verdict::Failed {
                said[at] = second;
            }
        }
    }
    let mut said = said.into_iter();
    Ok(tasks.iter().map(|_| said.by_ref().take(repetitions).collect()).collect())
}

/// What a reply says.
fn read(protocol: &Protocol, item: &Item, outcome: &Outcome) -> Said {
    let reply = match outcome {
        Outcome::Answer(reply) => reply,
        Outcome::Failed(failure) => {
            let reason = Some(shortened(&failure.why));
            return Said { verdict: Verdict::Failed, scores: None, dimensions: Vec::new(), reason };
        }
    };
    let withheld = match &reply.finish {
        Finish::Refusal => Some("the judge refused"),
        Finish::ContentFilter => Some("withheld by the provider's filter"),
        _ => None,
    };
    if let Some(why) = withheld {
        // "No, I cannot help with that" is no verdict.
        let reason = Some(shortened(&format!("{why}: {}", reply.text)));
        return Said { verdict: Verdict::Unparsed, scores: None, dimensions: Vec::new(), reason };
    }
    let verdict = &protocol.verdict;
    let found = match protocol.kind {
        Kind::YesNo => yes_no::read(&reply.text, &verdict.yes, &verdict.no).map(|is_yes| Said {
            verdict: if is_yes { Verdict::Yes } else { Verdict::No },
            scores: None,
            dimensions: Vec::new(),
            reason: (reply.text.split_whitespace().count() > 1).then(|| shortened(&reply.text)),
        }),
        Kind::Scores => scores::read(&reply.text, protocol.first(&item.id)).map(|said| Said {
            verdict: verdict.thresholds.verdict(&said.scores),
            scores: Some(said.scores),
            dimensions: said.dimensions,
            reason: (!said.reason.trim().is_empty()).then(|| shortened(&said.reason)),
        }),
    };
    found.unwrap_or_else(|| {
        let text = shortened(&reply.text);
        let reason = match &reply.finish {
            Finish::Length => format!("cut by the limit of tokens: {text}"),
            _ if text.is_empty() => "an empty reply".to_owned(),
            _ => text,
        };
        Said {
            verdict: Verdict::Unparsed,
            scores: None,
            dimensions: Vec::new(),
            reason: Some(reason),
        }
    })
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::chat::outcome::{Answer, Failure};

    /// A judge who says what is written for the last message, and counts.
    struct Scripted {
        lines: Vec<&'static str>,
        asked: Vec<Vec<String>>,
    }

    impl Replies for Scripted {
        fn replies(&mut self, conversations: &dyn Items) -> Result<Vec<Outcome>> {
            let all: Vec<_> = (0..conversations.count())
                .map(|place| conversations.at(place).unwrap().into_owned())
                .collect();
            self.asked.push(all.iter().map(|c| c.id.clone()).collect());
            let reply = |_| match self.lines.remove(0) {
                "" => Outcome::Failed(Failure { status: Some(400), why: "no".into() }),
                text => {
                    Outcome::Answer(Answer { text: text.into(), finish: Finish::Stop, usage: None })
                }
            };
            Ok(all.iter().map(reply).collect())
        }
    }

    fn item(id: &str) -> Item {
        Item {
            id: id.into(),
            user: None,
            source: "t".into(),
            groups: Default::default(),
            question: "Why?".into(),
            preferences: "High safety".into(),
            preferred: "a".into(),
            rejected: "b".into(),
            profile: Default::default(),
        }
    }

    #[test]
    fn a_reply_that_cannot_be_read_is_asked_for_once_more_and_never_counts_as_no() {
        let protocol = Protocol::load("paa-paper.toml").unwrap();
        let items = ["1", "2", "3", "4", "5"].map(item);
        let tasks: Vec<_> = items.iter().map(|item| Task { item, answer: "x" }).collect();
        let lines = vec!["Yes", "Hm.", "Hm.", "", "Perhaps", "No.", "Hm.", ""];
        let mut scripted = Scripted { lines, asked: Vec::new() };
        let said = judge(&protocol, &tasks, &mut scripted).unwrap();
        let verdicts: Vec<_> = said.iter().map(|said| said[0].verdict).collect();
        use Verdict::{Failed, No, Unparsed, Yes};
        assert_eq!(verdicts, [Yes, No, Unparsed, Failed, Unparsed]);
        assert_eq!(scripted.asked[1], ["t/2", "t/3", "t/5"]);
        assert_eq!(said[4][0].reason.as_deref(), Some("Perhaps"));
    }

    #[test]
    fn a_judge_that_refuses_or_is_filtered_has_said_nothing() {
        let protocol = Protocol::load("paa-paper.toml").unwrap();
        for finish in [Finish::Refusal, Finish::ContentFilter] {
            let text = "No, I cannot assist with that.".into();
            let reply = Outcome::Answer(Answer { text, finish, usage: None });
            let said = read(&protocol, &item("1"), &reply);
            assert_eq!(said.verdict, Verdict::Unparsed);
            assert!(said.reason.unwrap().ends_with("assist with that."));
        }
    }

    #[test]
    fn each_repetition_is_asked_and_keeps_its_place() {
        let mut protocol = Protocol::load("paa-paper.toml").unwrap();
        protocol.verdict.repetitions = 2;
        let items = ["1", "2"].map(item);
        let tasks: Vec<_> = items.iter().map(|item| Task { item, answer: "x" }).collect();
        let mut scripted =
            Scripted { lines: vec!["Yes", "No", "Hm", "Yes", "No"], asked: Vec::new() };
        let said = judge(&protocol, &tasks, &mut scripted).unwrap();
        let verdicts = said.iter().map(|said| said.iter().map(|s| s.verdict).collect::<Vec<_>>());
        assert!(verdicts.eq([vec![Verdict::Yes, Verdict::No], vec![Verdict::No, Verdict::Yes]]));
        assert_eq!(scripted.asked[0], ["t/1", "t/1", "t/2", "t/2"]);
    }
}
