//! The people behind the records: users, countries, and each demographic field beside PRISM's survey.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::construct::prism::{NOT_SAID, marginals};
use crate::data::entries::{Entry, PROFILE};
use crate::metrics::draw;

/// The people of a benchmark. A record without a user is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    /// Users.
    pub users: usize,
    /// Records without a user.
    pub without_user: usize,
    /// Records of the users with fewest, of the middle one and of the one with most.
    pub records_each: [usize; 3],
    /// Countries of birth, by the users who have one; PRISM's `Prefer not to say` is none.
    pub countries: usize,
    /// The fields of the profile, in their order.
    pub fields: Vec<Field>,
}

/// One field of the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Users who have an answer.
    pub answered: usize,
    /// Users whose records have different answers; the first counts.
    pub differing: usize,
    /// The answers: PRISM's by their number there, then those that PRISM has not.
    pub answers: Vec<Answer>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The answer.
    pub label: String,
    /// Users who gave it.
    pub users: usize,
    /// Records of those users.
    pub records: usize,
    /// People of PRISM's survey who gave it; none where PRISM has no such answer.
    pub prism: Option<usize>,
    /// The middle 95 % of how many users would have given it, were the users with an answer drawn at random from PRISM's survey.
    pub by_chance: Option<[usize; 2]>,
}

impl Answer {
    /// Whether the number of users is one that chance seldom gives.
    pub fn is_outside(&self) -> bool {
        self.by_chance.is_some_and(|[low, high]| self.users < low || self.users > high)
    }
}

impl People {
    /// Measures the people of `records`.
    pub fn of(records: &[&Entry]) -> Self {
        let mut of_user: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for record in records {
            if let Some(user) = &record.user {
                of_user.entry(user).or_default().push(record);
            }
        }
        let mut each: Vec<usize> = of_user.values().map(Vec::len).collect();
        each.sort_unstable();
        let fields: Vec<Field> = PROFILE.iter().map(|(name, _)| field(name, &of_user)).collect();
        let has = |answer: &&Answer| answer.users > 0 && answer.label != NOT_SAID;
        let countries = fields.iter().find(|field| field.name == "birth_country");
        Self {
            users: of_user.len(),
            without_user: records.iter().filter(|record| record.user.is_none()).count(),
            records_each: [0, each.len().saturating_sub(1) / 2, each.len().saturating_sub(1)]
                .map(|at| each.get(at).copied().unwrap_or(0)),
            countries: countries.map_or(0, |field| field.answers.iter().filter(has).count()),
            fields,
        }
    }

    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Answers whose number of users chance seldom gives, and all that PRISM has.
    pub fn outside(&self) -> [usize; 2] {
        let all = || self.fields.iter().flat_map(|field| &field.answers);
        [
            all().filter(|answer| answer.is_outside()).count(),
            all().filter(|answer| answer.by_chance.is_some()).count(),
        ]
    }

    /// Answers that PRISM has not, with their field.
    pub fn unknown(&self) -> Vec<(&'static str, &Answer)> {
        let of = |field: &'_ Field| field.name;
        let all = self.fields.iter();
        all.flat_map(|field| field.answers.iter().map(move |answer| (of(field), answer)))
            .filter(|(_, answer)| answer.prism.is_none())
            .collect()
    }
}

fn field(name: &'static str, of_user: &BTreeMap<&str, Vec<&Entry>>) -> Field {
    let prism = marginals();
    let (mut counts, mut answered, mut differing): (HashMap<&str, [usize; 2]>, _, _) =
        (HashMap::new(), 0, 0);
    for records in of_user.values() {
        let said: BTreeSet<&str> = records.iter().filter_map(|record| record.field(name)).collect();
        let Some(first) = records.iter().find_map(|record| record.field(name)) else { continue };
        let [users, all] = counts.entry(first).or_default();
        *users += 1;
        *all += records.len();
        answered += 1;
        differing += usize::from(said.len() > 1);
    }
    let known = prism.answers.get(name);
    let mut answers: Vec<Answer> = known
        .into_iter()
        .flatten()
        .map(|(label, &people)| {
            let [users, records] = counts.remove(&**label).unwrap_or_default();
            Answer {
                label: label.clone(),
                users,
                records,
                prism: Some(people),
                by_chance: Some(draw::middle(prism.people, people, answered)),
            }
        })
        .collect();
    answers.sort_by(|a, b| b.prism.cmp(&a.prism).then(a.label.cmp(&b.label)));
    let mut others: Vec<Answer> = counts
        .into_iter()
        .map(|(label, [users, records])| Answer {
            label: label.to_owned(),
            users,
            records,
            prism: None,
            by_chance: None,
        })
        .collect();
    others.sort_by(|a, b| b.users.cmp(&a.users).then(a.label.cmp(&b.label)));
    answers.extend(others);
    Field { name, answered, differing, answers }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::entries;

    /// A record of `user` with `more` fields.
    pub(in crate::construct::statistics) fn records(lines: &[(&str, &str)]) -> Vec<Entry> {
        let record = |(place, (user, more)): (usize, &(&str, &str))| {
            let user =
                if user.is_empty() { String::new() } else { format!(r#", "user_id": "{user}""#) };
            format!(
                r#"{{"id": "r{place}", "question": "Q{place}?", "answer_w": "yes {place}", "answer_l": "no {place}"{user}{more}}}"#
            )
        };
        let text: Vec<String> = lines.iter().enumerate().map(record).collect();
        entries::load(text.join("\n").as_bytes(), "a.jsonl").unwrap().records
    }

    #[test]
    fn users_are_counted_once_and_an_unknown_answer_is_named() {
        let all = records(&[
            ("a", r#", "gender": "Male", "birth_country": "Chile""#),
            ("a", r#", "gender": "Male", "birth_country": "Kenya""#),
            ("b", r#", "gender": "male", "birth_country": "Prefer not to say""#),
            ("", r#", "gender": "Female""#),
        ]);
        let people = People::of(&all.iter().collect::<Vec<_>>());
        assert_eq!((people.users, people.without_user, people.records_each), (2, 1, [1, 1, 2]));
        assert_eq!(people.countries, 1);
        let gender = people.field("gender").unwrap();
        assert_eq!(
            (gender.answered, gender.answers[0].users, gender.answers[0].records),
            (2, 1, 2)
        );
        let unknown: Vec<_> =
            people.unknown().iter().map(|(field, answer)| (*field, &*answer.label)).collect();
        assert_eq!(unknown, [("gender", "male")]);
        assert_eq!(people.field("birth_country").unwrap().differing, 1);
        let age = people.field("age").unwrap();
        assert!(age.answered == 0 && age.answers.iter().all(|answer| !answer.is_outside()));
    }

    #[test]
    fn what_chance_seldom_gives_is_outside() {
        let lines: Vec<(String, &str)> =
            (0..40).map(|user| (format!("u{user}"), r#", "gender": "Female""#)).collect();
        let lines: Vec<(&str, &str)> = lines.iter().map(|(user, more)| (&**user, *more)).collect();
        let all = records(&lines);
        let people = People::of(&all.iter().collect::<Vec<_>>());
        let outside: Vec<&str> = people
            .field("gender")
            .unwrap()
            .answers
            .iter()
            .filter(|answer| answer.is_outside())
            .map(|answer| &*answer.label)
            .collect();
        assert_eq!(outside, ["Male", "Female"]);
        assert_eq!(people.outside()[0], 2);
    }
}
