//! One model's answers with their items, and what judges said of them, a line each.

use crate::eval::paa::items::Answered;
use crate::eval::paa::panel::{Judge, Opinions, together};
use crate::judge::reply::after_thinking;
use crate::judge::stage2::Task;
use crate::metrics::paa::{Opinion, VerdictLine};
use crate::run_folder::answers::Answers;

/// One model's answers with their items.
pub(super) struct Joined<'a> {
    pub(super) answers: &'a Answers,
    pub(super) rows: Vec<Answered<'a>>,
}

impl<'a> Joined<'a> {
    /// Answers that are blank.
    pub(super) fn blank(&self) -> usize {
        let is_blank = |row: &&Answered<'_>| {
            row.line.answer.as_ref().is_some_and(|answer| answer.trim().is_empty())
        };
        self.rows.iter().filter(is_blank).count()
    }

    /// The answers to judge: those that there are, without what a model thought aloud before.
    pub(super) fn tasks(&self) -> Vec<Task<'a>> {
        let task = |row: &Answered<'a>| {
            let answer = row.line.answer.as_deref()?;
            Some(Task { item: row.item, answer: after_thinking(answer).unwrap_or(answer) })
        };
        self.rows.iter().filter_map(task).collect()
    }
}

/// A line for each answer, in the order of the answers.
pub(super) fn lines<'a>(
    joined: &'a Joined<'_>,
    opinions: &'a Opinions,
    judges: &'a [Judge],
) -> impl Iterator<Item = VerdictLine> + 'a {
    let mut said = opinions.each();
    let line = move |row: &Answered<'_>| {
        let own: &[Opinion] = match row.line.answer {
            Some(_) => said.next().unwrap_or_default(),
            None => &[],
        };
        let single = match own {
            [one] => Some(one),
            _ => None,
        };
        VerdictLine {
            id: row.item.id.clone(),
            user: row.item.user.clone(),
            country: row.item.groups.get("country").cloned(),
            source: row.item.source.clone(),
            groups: row.item.groups.clone(),
            question: row.item.question.clone(),
            answer: row.line.answer.clone().unwrap_or_default(),
            verdict: together(own),
            scores: single.and_then(|one| one.scores),
            dimensions: single.map(|one| one.dimensions.clone()).unwrap_or_default(),
            judge: match judges {
                [judge] => judge.name.clone(),
                _ => "majority".to_owned(),
            },
            reason: match row.line.answer {
                None => Some(format!("no answer: {}", row.line.finish)),
                Some(_) => single.and_then(|one| one.reason.clone()),
            },
            opinions: if own.len() > 1 { own.to_vec() } else { Vec::new() },
        }
    };
    joined.rows.iter().map(line)
}
