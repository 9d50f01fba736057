//! Stage 1, value preference mapping: the ratings of each person -> labels, by the rule, or by a model that is checked against the rule.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

use super::recipe::Mapping;
use crate::construct::prism::Person;
use crate::data::groups::{self, DIMENSIONS};
use crate::judge::chat;
use crate::judge::chat::outcome::Outcome;
use crate::judge::chat::request::{Items, Message, Role};
use crate::judge::protocol::template;
use crate::judge::reply::after_thinking;
use crate::judge::stage2::Replies;

/// A person whom model and rule label differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// The person.
    pub user_id: String,
    /// What the rule says, which is kept.
    pub rule: String,
    /// What the model says, as it said it; none where the request failed.
    pub model: Option<String>,
    /// Labels of the rule that the model lacks.
    pub missing: Vec<String>,
    /// Labels of the model that the rule lacks.
    pub added: Vec<String>,
    /// Why there is no label of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What came of asking a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// People who were asked for.
    pub people: usize,
    /// Those whom model and rule label the same.
    pub agree: usize,
    /// Those whom they label differently.
    pub disagree: usize,
    /// Those of whom the model said nothing that can be read.
    pub unread: usize,
    /// Labels of all people, seven each: none, High or Low.
    pub labels: usize,
    /// Those on which model and rule agree.
    pub labels_agree: usize,
}

/// The preference of a person by the paper's rule; none where no rating has a label.
pub fn by_rule(person: &Person) -> Option<String> {
    groups::preference_of(|dimension| person.rating(dimension))
}

/// The request of each person.
struct Requests<'a> {
    mapping: &'a Mapping,
    people: &'a [Person],
}

impl Items for Requests<'_> {
    fn count(&self) -> usize {
        self.people.len()
    }

    fn at(&self, place: usize) -> Result<Cow<'_, chat::Item>> {
        let person = &self.people[place];
        let mut ratings = String::new();
        for dimension in DIMENSIONS {
            if let Some(rating) = person.rating(dimension) {
                writeln!(ratings, "{dimension}: {rating}")?;
            }
        }
        let text = template::fill(&self.mapping.prompt, |_| ratings.trim_end());
        let system = (!self.mapping.system.is_empty())
            .then(|| Message { role: Role::System, text: self.mapping.system.clone() });
        let user = Message { role: Role::User, text };
        let messages = system.into_iter().chain([user]).collect();
        Ok(Cow::Owned(chat::Item::of(person.user.clone(), messages)))
    }
}

/// Has a model label `people`, and compares each label with the rule's.
pub fn checked(
    mapping: &Mapping,
    people: &[Person],
    model: &mut dyn Replies,
) -> Result<(Checked, Vec<Disagreement>)> {
    let outcomes = model.replies(&Requests { mapping, people })?;
    let mut checked = Checked {
        people: people.len(),
        labels: people.len() * DIMENSIONS.len(),
        ..Checked::default()
    };
    let mut disagreements = Vec::new();
    for (person, outcome) in people.iter().zip(&outcomes) {
        let rule = by_rule(person).unwrap_or_default();
        let wanted = labels(&rule).unwrap_or_default();
        let mut differs = Disagreement {
            user_id: person.user.clone(),
            rule,
            model: None,
            missing: Vec::new(),
            added: Vec::new(),
            why: None,
        };
        let said = match outcome {
            Outcome::Answer(answer) => {
                differs.model = Some(answer.text.trim().to_owned());
                after_thinking(&answer.text).and_then(labels)
            }
            Outcome::Failed(failure) => {
                differs.why = Some(failure.to_string());
                None
            }
        };
        let Some(said) = said else {
            checked.unread += 1;
            differs
                .why
                .get_or_insert_with(|| "the reply has no labels that can be read".to_owned());
            disagreements.push(differs);
            continue;
        };
        differs.missing = wanted.difference(&said).cloned().collect();
        differs.added = said.difference(&wanted).cloned().collect();
        let dimension = |label: &String| label.split(' ').nth(1).map(str::to_owned);
        let wrong: BTreeSet<_> =
            differs.missing.iter().chain(&differs.added).filter_map(dimension).collect();
        checked.labels_agree += DIMENSIONS.len() - wrong.len();
        if wrong.is_empty() {
            checked.agree += 1;
        } else {
            checked.disagree += 1;
            disagreements.push(differs);
        }
    }
    Ok((checked, disagreements))
}

/// The labels in a reply, such as `High fluency`; empty for `None`, none where it says anything else.
fn labels(reply: &str) -> Option<BTreeSet<String>> {
    let reply = reply.trim().trim_end_matches('.').trim_matches(['"', '`', '*']);
    if reply.is_empty() {
        return None;
    }
    if reply.eq_ignore_ascii_case("none") {
        return Some(BTreeSet::new());
    }
    let label = |part: &str| {
        let mut words = part.trim_start_matches(['-', '*', ' ']).split_whitespace();
        let (level, dimension) = (words.next()?, words.next()?.to_lowercase());
        let level = ["High", "Low"].into_iter().find(|known| known.eq_ignore_ascii_case(level))?;
        // American spelling, as the paper's text has it.
        let dimension = dimension.replace("personalization", "personalisation");
        let is_known = DIMENSIONS.contains(&dimension.as_str()) && words.next().is_none();
        is_known.then(|| format!("{level} {dimension}"))
    };
    reply
        .split([',', '\n', ';'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(label)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_whatever_their_case_and_nothing_is_guessed() {
        let of =
            |reply: &str| labels(reply).map(|all| all.into_iter().collect::<Vec<_>>().join(", "));
        assert_eq!(
            of("High fluency, low Creativity.").as_deref(),
            Some("High fluency, Low creativity")
        );
        assert_eq!(
            of("high personalization\nHigh safety").as_deref(),
            Some("High personalisation, High safety")
        );
        assert_eq!(of("None").as_deref(), Some(""));
        assert_eq!(of("- High safety\n* Low fluency").as_deref(), Some("High safety, Low fluency"));
        for reply in
            ["High kindness", "Medium safety", "This person values safety", "High safety (90)"]
        {
            assert_eq!(of(reply), None, "{reply}");
        }
    }
}
