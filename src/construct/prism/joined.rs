//! Survey and conversations, joined by `user_id`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::Result;
use serde::Serialize;

use super::conversation::{self, Conversation};
use super::person::{self, Person, Profile};
use super::row::{Broken, Rows, rows};

/// PRISM's people and conversations, each conversation of a person who is there.
#[derive(Debug)]
pub struct Prism {
    /// The people who had a conversation, in the order of the survey.
    pub people: Vec<Person>,
    /// The conversations in the order of their file.
    pub rows: Vec<Row>,
    /// What was counted.
    pub counts: Counts,
    /// Rows of both files that are left out.
    pub broken: Vec<Broken>,
    /// Fields of rows that are not of PRISM's schema, which are not read.
    pub unknown_fields: Vec<String>,
    /// Name and SHA-256 of both files.
    pub inputs: [(String, String); 2],
}

/// A conversation and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Place of the person in [`Prism::people`].
    pub person: usize,
    /// The conversation.
    pub conversation: Conversation,
}

/// What was counted while joining.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// People of the survey, broken rows aside.
    pub survey_users: usize,
    /// Those without a conversation, who are dropped.
    pub users_without_conversations: usize,
    /// Those of whom every conversation is broken, who are dropped too.
    pub users_of_broken_conversations: usize,
    /// People who have one.
    pub users: usize,
    /// Conversations of those people.
    pub conversations: usize,
    /// Different countries of birth of those people.
    pub birth_countries: usize,
    /// Those who have no country of birth or did not say it.
    pub users_without_country: usize,
    /// Those who lack a field of the profile, by field.
    pub users_without_field: BTreeMap<&'static str, usize>,
    /// Those of whom the survey says that they had no conversation.
    pub users_of_the_survey_alone: usize,
    /// People whose number of conversations is another than the survey says.
    pub users_of_another_count: usize,
    /// Rows of the survey that are left out.
    pub broken_survey_rows: usize,
    /// Rows of the conversations that are left out.
    pub broken_conversations: usize,
}

impl Prism {
    /// Reads and joins the two files, name and bytes each.
    ///
    /// Left out, named and counted: broken rows, the second row of a `user_id` or a `conversation_id`, and conversations of a person who is not
    /// in the survey. Refuses files that have nothing in common.
    pub fn read(survey: (&str, &[u8]), conversations: (&str, &[u8])) -> Result<Self> {
        let people = rows(survey.1, survey.0, person::FIELDS, Person::read)?;
        let mut held =
            rows(conversations.1, conversations.0, conversation::FIELDS, Conversation::read)?;
        let inputs = [
            (survey.0.to_owned(), people.sha256.clone()),
            (conversations.0.to_owned(), held.sha256.clone()),
        ];
        let unknown_fields = people.unknown_fields.union(&held.unknown_fields).cloned().collect();
        let broken_users = std::mem::take(&mut held.broken_users);
        let (people, mut broken) = once(people, survey.0, "user_id", |person| &person.user);
        let broken_survey_rows = broken.len();
        let (held, more) = once(held, conversations.0, "conversation_id", |held| &held.id);
        broken.extend(more);

        let places: HashMap<&str, usize> =
            people.iter().enumerate().map(|(at, (_, person))| (&*person.user, at)).collect();
        let (mut rows, mut times) = (Vec::new(), vec![0_u64; people.len()]);
        for (line, conversation) in held {
            match places.get(&*conversation.user) {
                Some(&person) => {
                    times[person] += 1;
                    rows.push(Row { person, conversation });
                }
                None => {
                    let why = format!("`user_id`: `{}` is not in the survey", conversation.user);
                    broken.push(Broken { file: conversations.0.to_owned(), line, why });
                }
            }
        }
        if rows.is_empty() {
            let (survey, conversations) = (survey.0, conversations.0);
            crate::bail_input!("no conversation of {conversations} is of a person in {survey}");
        }
        broken[broken_survey_rows..].sort_by_key(|broken| broken.line);
        let broken_conversations = broken.len() - broken_survey_rows;
        let survey_users = people.len();
        let users_of_another_count = (people.iter().zip(&times))
            .filter(|((_, person), times)| person.conversations.is_some_and(|said| said != **times))
            .count();
        let users_of_broken_conversations = (people.iter().zip(&times))
            .filter(|((_, person), times)| **times == 0 && broken_users.contains(&person.user))
            .count();
        let mut kept = Vec::new();
        let mut moved = vec![0; people.len()];
        for (at, (_, person)) in people.into_iter().enumerate().filter(|(at, _)| times[*at] > 0) {
            moved[at] = kept.len();
            kept.push(person);
        }
        rows.iter_mut().for_each(|row| row.person = moved[row.person]);
        let profiles = || kept.iter().map(|person: &Person| &person.profile);
        let countries: BTreeSet<&str> = profiles().filter_map(Profile::country).collect();
        let mut users_without_field = BTreeMap::new();
        for (field, _) in profiles().flat_map(Profile::fields).filter(|(_, value)| value.is_empty())
        {
            *users_without_field.entry(field).or_default() += 1;
        }
        let counts = Counts {
            survey_users,
            users_without_conversations: survey_users - kept.len() - users_of_broken_conversations,
            users_of_broken_conversations,
            users: kept.len(),
            conversations: rows.len(),
            birth_countries: countries.len(),
            users_without_country: profiles().filter(|profile| profile.country().is_none()).count(),
            users_without_field,
            users_of_the_survey_alone: kept.iter().filter(|person| person.survey_only).count(),
            users_of_another_count,
            broken_survey_rows,
            broken_conversations,
        };
        Ok(Self { people: kept, rows, counts, broken, unknown_fields, inputs })
    }
}

/// The rows with each name once, and those that are left out: broken ones and second ones.
fn once<T>(
    rows: Rows<T>,
    file: &str,
    key: &str,
    name: impl Fn(&T) -> &String,
) -> (Vec<(usize, T)>, Vec<Broken>) {
    let mut broken = rows.broken;
    let mut seen = HashSet::new();
    let mut kept = Vec::with_capacity(rows.read.len());
    for (line, row) in rows.read {
        if seen.insert(name(&row).clone()) {
            kept.push((line, row));
        } else {
            let why = format!("`{key}`: `{}` has an earlier row", name(&row));
            broken.push(Broken { file: file.to_owned(), line, why });
        }
    }
    broken.sort_by_key(|broken| broken.line);
    (kept, broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(user: &str, more: &str) -> String {
        format!(
            "{{\"user_id\": \"{user}\", \"stated_prefs\": {{\"safety\": 90}}, \"location\": {{\"birth_country\": \"{user}land\"}}{more}}}\n"
        )
    }

    fn conversation(id: &str, user: &str) -> String {
        format!(
            "{{\"conversation_id\": \"{id}\", \"user_id\": \"{user}\", \"conversation_history\": [{{\"turn\": 0, \"role\": \"user\", \"content\": \"Hi\"}}]}}\n"
        )
    }

    fn read(survey: &str, conversations: &str) -> Result<Prism> {
        Prism::read(("s.jsonl", survey.as_bytes()), ("c.jsonl", conversations.as_bytes()))
    }

    #[test]
    fn people_without_conversations_are_dropped_and_counted() {
        let survey = person("a", "")
            + &person("b", ", \"num_completed_conversations\": 2")
            + &person("c", "");
        let prism = read(
            &survey,
            &(conversation("1", "c") + &conversation("2", "b") + &conversation("3", "c")),
        )
        .unwrap();
        let users: Vec<_> = prism.people.iter().map(|person| &*person.user).collect();
        assert_eq!(users, ["b", "c"]);
        assert_eq!(prism.rows.iter().map(|row| row.person).collect::<Vec<_>>(), [1, 0, 1]);
        let Counts {
            survey_users,
            users_without_conversations,
            users,
            conversations,
            birth_countries,
            users_of_another_count,
            ..
        } = prism.counts;
        assert_eq!((survey_users, users_without_conversations, users, conversations), (3, 1, 2, 3));
        assert_eq!((birth_countries, users_of_another_count), (2, 1));
        assert_eq!(prism.broken, []);
    }

    #[test]
    fn a_field_that_is_not_of_the_schema_is_named_wherever_it_stands() {
        let with_mood = conversation("1", "a").replace("\"Hi\"", "\"Hi\", \"mood\": 1");
        let prism = read(&person("a", ", \"shoe_size\": 43"), &with_mood).unwrap();
        assert_eq!(prism.unknown_fields, ["conversation_history[].mood", "shoe_size"]);
        assert_eq!(prism.rows.len(), 1);
    }

    #[test]
    fn people_of_broken_conversations_alone_and_without_a_country_are_counted_apart() {
        let no_country = person("c", "").replace("cland", "Prefer not to say");
        let survey = person("a", "")
            + &person("b", "")
            + &no_country
            + &person("d", ", \"survey_only\": true");
        let broken = conversation("1", "a").replace("\"Hi\"", "null");
        let held = broken + &conversation("2", "c") + &conversation("3", "d");
        let counts = read(&survey, &held).unwrap().counts;
        let dropped = (counts.users_of_broken_conversations, counts.users_without_conversations);
        assert_eq!(dropped, (1, 1));
        assert_eq!((counts.birth_countries, counts.users_without_country), (1, 1));
        assert_eq!(counts.users_without_field["age"], 2);
        assert!(!counts.users_without_field.contains_key("birth_country"));
        assert_eq!(counts.users_of_the_survey_alone, 1);
    }

    #[test]
    fn second_rows_and_conversations_of_strangers_are_named_with_their_line() {
        let survey = person("a", "") + &person("a", "") + "{}\n";
        let conversations =
            conversation("1", "a") + "null\n" + &conversation("1", "a") + &conversation("2", "z");
        let prism = read(&survey, &conversations).unwrap();
        let broken: Vec<_> = prism
            .broken
            .iter()
            .map(|row| format!("{}:{}: {}", row.file, row.line, row.why))
            .collect();
        assert_eq!(
            broken,
            [
                "s.jsonl:2: `user_id`: `a` has an earlier row",
                "s.jsonl:3: `user_id` is missing",
                "c.jsonl:2: expected a JSON object",
                "c.jsonl:3: `conversation_id`: `1` has an earlier row",
                "c.jsonl:4: `user_id`: `z` is not in the survey",
            ]
        );
        assert_eq!((prism.counts.broken_survey_rows, prism.counts.broken_conversations), (2, 3));
        let error = read(&person("b", ""), &conversation("1", "a")).unwrap_err().to_string();
        assert!(error.contains("no conversation of c.jsonl is of a person in s.jsonl"), "{error}");
    }
}
