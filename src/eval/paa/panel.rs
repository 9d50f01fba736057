//! The judges of an evaluation, and what all of them together say of an answer.

use anyhow::Result;

use crate::judge::protocol::Protocol;
use crate::judge::rule;
use crate::judge::stage2::{self, Replies, Said, Task};
use crate::metrics::paa::{Opinion, Verdict, majority};

/// One judge.
pub struct Judge {
    /// Its name in figures.
    pub name: String,
    /// Where it is, in words; empty for the rule.
    pub place: String,
    /// Who replies; none for the rule.
    pub replies: Option<Box<dyn Replies>>,
}

impl Judge {
    /// The judge without a model.
    pub fn rule() -> Self {
        Self { name: rule::NAME.to_owned(), place: String::new(), replies: None }
    }

    /// What it says of each task, one opinion for each repetition; the rule has one.
    pub fn judge(&mut self, protocol: &Protocol, tasks: &[Task<'_>]) -> Result<Vec<Vec<Said>>> {
        match &mut self.replies {
            Some(replies) => stage2::judge(protocol, tasks, &mut **replies),
            None => Ok(tasks
                .iter()
                .map(|task| {
                    let (verdict, reason) = rule::verdict(protocol.kind, task.item, task.answer);
                    vec![Said {
                        verdict,
                        scores: None,
                        dimensions: Vec::new(),
                        reason: Some(reason),
                    }]
                })
                .collect()),
        }
    }
}

/// The opinions of all judges on each of several answers.
#[derive(Debug, Clone, Default)]
pub struct Opinions(Vec<Vec<Opinion>>);

impl Opinions {
    /// None yet on each of `count` answers.
    pub fn none(count: usize) -> Self {
        Self(vec![Vec::new(); count])
    }

    /// Adds what one more judge says of each.
    pub fn add(&mut self, judge: &str, said: Vec<Vec<Said>>) {
        for (opinions, said) in self.0.iter_mut().zip(said) {
            opinions.extend((0..).zip(said).map(|(repetition, said)| Opinion {
                judge: judge.to_owned(),
                repetition,
                verdict: said.verdict,
                scores: said.scores,
                dimensions: said.dimensions,
                reason: said.reason,
            }));
        }
    }

    /// The opinions on each answer, in order.
    pub fn each(&self) -> impl Iterator<Item = &[Opinion]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// The verdict of all judges on each answer.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.each().map(together).collect()
    }

    /// The verdict on each answer of the judge `name` alone.
    pub fn verdicts_of(&self, name: &str) -> Vec<Verdict> {
        let own = |opinions: &[Opinion]| {
            let own = opinions.iter().filter(|opinion| opinion.judge == name);
            majority(&own.map(|opinion| opinion.verdict).collect::<Vec<_>>())
        };
        self.each().map(own).collect()
    }
}

/// The verdict of all opinions together.
pub fn together(opinions: &[Opinion]) -> Verdict {
    majority(&opinions.iter().map(|opinion| opinion.verdict).collect::<Vec<_>>())
}
