//! A row of `survey.jsonl` -> a person: who they are, what they value, how they describe themselves.

use serde_json::{Map, Value};

use super::row::Fields;
use crate::data::groups::VALUE_DIMENSIONS;

/// The fields of a row, by the codebook.
pub(super) const FIELDS: &[&str] = &[
    "user_id",
    "survey_only",
    "num_completed_conversations",
    "consent",
    "consent_age",
    "lm_familiarity",
    "lm_indirect_use",
    "lm_direct_use",
    "lm_frequency_use",
    "lm_usecases",
    "order_lm_usecases",
    "order_stated_prefs",
    "stated_prefs",
    "self_description",
    "system_string",
    "age",
    "gender",
    "employment_status",
    "education",
    "marital_status",
    "english_proficiency",
    "study_id",
    "study_locale",
    "religion",
    "ethnicity",
    "location",
    "included_in_US_REP",
    "included_in_UK_REP",
    "included_in_balanced_subset",
    "timing_duration_s",
    "timing_duration_mins",
    "generated_datetime",
];

/// The fields of `location`.
const LOCATION: &[&str] = &[
    "birth_country",
    "birth_countryISO",
    "birth_region",
    "birth_subregion",
    "reside_country",
    "reside_countryISO",
    "reside_region",
    "reside_subregion",
    "same_birth_reside_country",
    "special_region",
];

/// What PRISM writes in place of a country that somebody did not say.
pub const NOT_SAID: &str = "Prefer not to say";

/// A person of the survey.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// `user_id`.
    pub user: String,
    /// Whether the survey says that they had no conversation.
    pub survey_only: bool,
    /// Conversations that the survey says they had; none where it does not say.
    pub conversations: Option<u64>,
    /// Who they are.
    pub profile: Profile,
    /// `stated_prefs` as PRISM has it, with `values`, `other` and `other_text`.
    pub stated_prefs: Map<String, Value>,
    /// What they say of themselves; empty where they said nothing.
    pub self_description: String,
    /// How they would have a model behave; empty where they said nothing.
    pub system_string: String,
}

/// Demographic fields, as PRISM writes them; empty where one is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// `age`.
    pub age: String,
    /// `gender`.
    pub gender: String,
    /// `employment_status`.
    pub employment_status: String,
    /// `education`.
    pub education: String,
    /// `marital_status`.
    pub marital_status: String,
    /// `english_proficiency`.
    pub english_proficiency: String,
    /// `location.birth_country`.
    pub birth_country: String,
}

impl Profile {
    /// The country of birth; none where it is missing or was not said.
    pub fn country(&self) -> Option<&str> {
        Some(&*self.birth_country).filter(|country| !country.is_empty() && *country != NOT_SAID)
    }

    /// Every field with its name in the released layout.
    pub fn fields(&self) -> [(&'static str, &str); 7] {
        [
            ("age", &self.age),
            ("gender", &self.gender),
            ("employment_status", &self.employment_status),
            ("education", &self.education),
            ("marital_status", &self.marital_status),
            ("english_proficiency", &self.english_proficiency),
            ("birth_country", &self.birth_country),
        ]
    }
}

impl Person {
    /// A person of a row, or what is wrong with it.
    pub(super) fn read(row: &Fields<'_>) -> Result<Self, String> {
        let user = row.name("user_id")?;
        let stated_prefs = row.object("stated_prefs")?;
        let stated = Fields::of(stated_prefs);
        for key in VALUE_DIMENSIONS.iter().chain(&["other"]) {
            stated.rating(key)?;
        }
        stated.text("other_text")?;
        let known: Vec<&str> =
            VALUE_DIMENSIONS.iter().chain(&["other", "other_text"]).copied().collect();
        row.note_unknown("stated_prefs.", stated_prefs, &known);
        let location = match row.get("location") {
            None => Map::new(),
            Some(Value::Object(location)) => location.clone(),
            Some(_) => return Err("`location` must be an object".to_owned()),
        };
        row.note_unknown("location.", &location, LOCATION);
        Ok(Self {
            user,
            survey_only: row.flag("survey_only")?,
            conversations: row.whole("num_completed_conversations")?,
            profile: Profile {
                age: row.text("age")?,
                gender: row.text("gender")?,
                employment_status: row.text("employment_status")?,
                education: row.text("education")?,
                marital_status: row.text("marital_status")?,
                english_proficiency: row.text("english_proficiency")?,
                birth_country: Fields::of(&location).text("birth_country")?,
            },
            stated_prefs: stated_prefs.clone(),
            self_description: row.text("self_description")?,
            system_string: row.text("system_string")?,
        })
    }

    /// The rating of one of [`VALUE_DIMENSIONS`]; none where the person gave none.
    pub fn rating(&self, dimension: &str) -> Option<f64> {
        self.stated_prefs.get(dimension)?.as_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: impl FnOnce(&mut Map<String, Value>)) -> Result<Person, String> {
        let Value::Object(mut row) = serde_json::json!({
            "user_id": "user1", "survey_only": false, "num_completed_conversations": 6, "self_description": "EMPTY STRING",
            "system_string": "Be kind.", "age": "25-34 years old", "location": {"birth_country": "Chad"},
            "stated_prefs": {"values": 1, "safety": 80, "fluency": null, "other": null, "other_text": null},
        }) else {
            unreachable!()
        };
        change(&mut row);
        Person::read(&Fields::of(&row))
    }

    #[test]
    fn an_empty_text_is_prisms_words_for_it() {
        let person = read(|_| ()).unwrap();
        assert_eq!((&*person.self_description, &*person.system_string), ("", "Be kind."));
        assert_eq!((&*person.profile.birth_country, &*person.profile.gender), ("Chad", ""));
        assert_eq!((person.rating("safety"), person.rating("fluency")), (Some(80.0), None));
    }

    #[test]
    fn ratings_that_are_strings_out_of_range_or_unknown_are_refused() {
        for (key, value, why) in [
            ("safety", Value::from("80"), "`safety` must be a number in 0..=100, got"),
            ("helpfulness", Value::from(101), "`helpfulness` must be a number"),
            ("other", Value::from(-1), "`other` must be"),
        ] {
            let error = read(|row| {
                drop(row["stated_prefs"].as_object_mut().unwrap().insert(key.into(), value))
            });
            assert!(error.clone().unwrap_err().contains(why), "{error:?}");
        }
        assert!(read(|row| drop(row.insert("stated_prefs".into(), Value::Null))).is_err());
        assert!(read(|row| drop(row.insert("location".into(), "Chad".into()))).is_err());
    }
}
