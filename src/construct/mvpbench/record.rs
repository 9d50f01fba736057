//! A record in the authors' released layout.

use serde::Serialize;
use serde_json::{Map, Value};

use super::checks::Passed;
use crate::construct::prism::Person;

/// A record; its fields stand in the order of the release.
#[derive(Debug, Clone, Serialize)]
pub struct Record<'a> {
    /// `p{3 * row + place}`.
    pub id: String,
    /// The question.
    pub question: &'a str,
    /// The answer that fits what the person values.
    pub answer_w: &'a str,
    /// The answer that goes against it.
    pub answer_l: &'a str,
    /// The person.
    pub user_id: &'a str,
    /// Their ratings, as PRISM has them.
    pub stated_prefs: &'a Map<String, Value>,
    /// The labels of the ratings, such as `High fluency, Low creativity`.
    pub preference: &'a str,
    age: &'a str,
    gender: &'a str,
    employment_status: &'a str,
    education: &'a str,
    marital_status: &'a str,
    english_proficiency: &'a str,
    #[serde(rename = "birth_country/region")]
    birth_country: &'a str,
    self_description: &'a str,
    system_string: &'a str,
}

impl<'a> Record<'a> {
    /// The record `id` of `person`, with their `preference`.
    pub fn of(id: String, person: &'a Person, preference: &'a str, item: &'a Passed) -> Self {
        let profile = &person.profile;
        Self {
            id,
            question: &item.question,
            answer_w: &item.preferred,
            answer_l: &item.rejected,
            user_id: &person.user,
            stated_prefs: &person.stated_prefs,
            preference,
            age: &profile.age,
            gender: &profile.gender,
            employment_status: &profile.employment_status,
            education: &profile.education,
            marital_status: &profile.marital_status,
            english_proficiency: &profile.english_proficiency,
            birth_country: &profile.birth_country,
            self_description: &person.self_description,
            system_string: &person.system_string,
        }
    }
}
