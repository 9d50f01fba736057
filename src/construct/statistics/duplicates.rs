//! Texts that occur more than once, as they are and normalised.

use std::collections::HashMap;

use anyhow::Result;

use crate::console::interrupt;
use crate::data::entries::Entry;
use crate::data::normalised::normalised;

/// Records that are named in each row, at most.
const NAMED: usize = 3;

/// What occurs more than once in a benchmark. None of it is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicates {
    /// One row for each kind.
    pub found: Vec<Found>,
    /// Records.
    pub of: usize,
}

/// A kind of repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub what: &'static str,
    /// Records that repeat an earlier one, or in which it holds.
    pub records: usize,
    /// The first of them, each with the one that it repeats where there is one.
    pub examples: Vec<String>,
}

/// What the user calls a record.
pub(super) fn name(record: &Entry) -> String {
    record.id.clone().unwrap_or_else(|| format!("line {}", record.line))
}

impl Duplicates {
    /// Looks for repetitions in `records`.
    pub fn of(records: &[&Entry]) -> Result<Self> {
        interrupt::check()?;
        let normal: Vec<String> =
            records.iter().map(|record| normalised(&record.question)).collect();
        // One without a user is its own.
        let alone: Vec<String> = (0..records.len()).map(|place| format!("\0{place}")).collect();
        let user = |at: usize| records[at].user.as_deref().unwrap_or(&alone[at]);
        let question = |at: usize| Some(&*records[at].question);
        let near = |at: usize| Some(&*normal[at]).filter(|text| !text.is_empty());

        let of_user = again(records, |at| question(at).map(|text| (user(at), text)));
        let near_of_user =
            differently(records, |at| near(at).map(|text| (user(at), text)), question);
        let of_others = of_another(records, question, user);
        let near_of_others = of_another(records, near, user);
        interrupt::check()?;
        let preferred = again(records, |at| Some(&*records[at].answer_w));
        let other = again(records, |at| Some(&*records[at].answer_l));
        let ids = again(records, |at| records[at].id.as_deref());
        let whole = again(records, |at| {
            let one = records[at];
            Some((&*one.question, &*one.answer_w, &*one.answer_l))
        });
        let holds = |is: &dyn Fn(&Entry) -> bool| {
            let all: Vec<usize> = (0..records.len()).filter(|&at| is(records[at])).collect();
            all.into_iter().map(|at| (at, None)).collect::<Vec<_>>()
        };
        let equal = holds(&|one| one.answer_w == one.answer_l);
        let nearly_equal = holds(&|one| {
            one.answer_w != one.answer_l && normalised(&one.answer_w) == normalised(&one.answer_l)
        });
        let row = |(what, pairs): (&'static str, Vec<(usize, Option<usize>)>)| Found {
            what,
            records: pairs.len(),
            examples: pairs
                .iter()
                .take(NAMED)
                .map(|(at, first)| match first {
                    Some(first) => format!("{} = {}", name(records[*at]), name(records[*first])),
                    None => name(records[*at]),
                })
                .collect(),
        };
        let found = [
            ("id again", ids),
            ("question and answers again", whole),
            ("question again, same user", of_user),
            ("question nearly again, same user", near_of_user),
            ("question of another user", of_others),
            ("question of another, normalised", near_of_others),
            ("both answers equal", equal),
            ("both answers nearly equal", nearly_equal),
            ("answer_w of an earlier record", preferred),
            ("answer_l of an earlier record", other),
        ];
        Ok(Self { found: found.map(row).into(), of: records.len() })
    }
}

/// The records whose key an earlier one has, each with that one.
fn again<'a, K: std::hash::Hash + Eq + 'a>(
    records: &[&Entry],
    key: impl Fn(usize) -> Option<K>,
) -> Vec<(usize, Option<usize>)> {
    let mut first: HashMap<K, usize> = HashMap::new();
    let mut all = Vec::new();
    for at in 0..records.len() {
        let Some(key) = key(at) else { continue };
        match first.get(&key) {
            Some(known) => all.push((at, Some(*known))),
            None => drop(first.insert(key, at)),
        }
    }
    all
}

/// Those of [`again`] whose `text` no earlier record of the same key has.
fn differently<'a, K: std::hash::Hash + Eq + Clone + 'a>(
    records: &[&Entry],
    key: impl Fn(usize) -> Option<K>,
    text: impl Fn(usize) -> Option<&'a str>,
) -> Vec<(usize, Option<usize>)> {
    let mut seen: HashMap<K, Vec<usize>> = HashMap::new();
    let mut all = Vec::new();
    for at in 0..records.len() {
        let Some(key) = key(at) else { continue };
        let known = seen.entry(key).or_default();
        if let Some(first) = known.first()
            && known.iter().all(|other| text(*other) != text(at))
        {
            all.push((at, Some(*first)));
        }
        known.push(at);
    }
    all
}

/// The records whose text a record of another user has, each with the first such.
fn of_another<'a>(
    records: &[&Entry],
    text: impl Fn(usize) -> Option<&'a str>,
    user: impl Fn(usize) -> &'a str,
) -> Vec<(usize, Option<usize>)> {
    // The first record of a text, and the first of another user than that one's.
    let mut firsts: HashMap<&str, (usize, Option<usize>)> = HashMap::new();
    for at in 0..records.len() {
        let Some(text) = text(at) else { continue };
        let (first, second) = firsts.entry(text).or_insert((at, None));
        if second.is_none() && user(*first) != user(at) {
            *second = Some(at);
        }
    }
    let other = |at: usize| {
        let (first, second) = *firsts.get(text(at)?)?;
        if user(first) == user(at) { second } else { Some(first) }
    };
    (0..records.len()).filter_map(|at| Some((at, Some(other(at)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, user: &str, texts: [&str; 3]) -> Entry {
        let [question, answer_w, answer_l] = texts.map(str::to_owned);
        Entry {
            line: 1,
            id: Some(id.into()),
            user: (!user.is_empty()).then(|| user.to_owned()),
            question,
            answer_w,
            answer_l,
            preference: None,
            stated: None,
            profile: Vec::new(),
        }
    }

    #[test]
    fn each_kind_of_repetition_is_counted_apart() {
        let all = [
            entry("1", "a", ["Why so?", "x1", "y1"]),
            entry("2", "a", ["Why so?", "x2", "y2"]),
            entry("3", "a", ["why,  SO", "x3", "y3"]),
            entry("4", "b", ["Why so?", "x1", "y4"]),
            entry("5", "b", ["Other", "So!", "so"]),
            entry("5", "", ["?", "same", "same"]),
            entry("7", "", ["?", "x7", "y7"]),
        ];
        let found = Duplicates::of(&all.iter().collect::<Vec<_>>()).unwrap().found;
        let of = |what: &str| {
            let row = found.iter().find(|row| row.what == what).unwrap();
            (row.records, row.examples.join(", "))
        };
        assert_eq!(of("id again"), (1, "5 = 5".into()));
        assert_eq!(of("question and answers again").0, 0);
        assert_eq!(of("question again, same user"), (1, "2 = 1".into()));
        assert_eq!(of("question nearly again, same user"), (1, "3 = 1".into()));
        // 1, 2 and 4 share a question over two users, and the two `?` of nobody.
        assert_eq!(of("question of another user").0, 5);
        assert_eq!(of("question of another, normalised").0, 4);
        assert_eq!(of("both answers equal"), (1, "5".into()));
        assert_eq!(of("both answers nearly equal"), (1, "5".into()));
        assert_eq!(of("answer_w of an earlier record"), (1, "4 = 1".into()));
    }

    #[test]
    fn a_question_is_the_same_in_upper_and_lower_case() {
        let all =
            [entry("1", "a", ["Ο ΔΡΟΜΟΣ;", "x1", "y1"]), entry("2", "a", ["ο δρομοσ", "x2", "y2"])];
        let found = Duplicates::of(&all.iter().collect::<Vec<_>>()).unwrap().found;
        let near = found.iter().find(|row| row.what == "question nearly again, same user").unwrap();
        assert_eq!((near.records, &*near.examples[0]), (1, "2 = 1"));
    }
}
