//! One item of a benchmark: a question, who asks it, what they value, and the two reference answers.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::bail_input;
use crate::data::benchmark::Item;

/// The fields of a profile: name in a protocol, label in a prompt.
const FIELDS: [(&str, &str); 8] = [
    ("age", "Age"),
    ("gender", "Gender"),
    ("employment_status", "Employment"),
    ("education", "Education"),
    ("marital_status", "Marital Status"),
    ("english_proficiency", "English Proficiency"),
    ("birth_country", "Birth Country"),
    ("self_description", "Self Description"),
];

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Id of the record.
    pub id: String,
    /// The user's question.
    pub question: String,
    /// What they value, such as `High fluency, Low creativity`.
    pub preferences: String,
    /// `answer_w`.
    pub preferred: String,
    /// `answer_l`.
    pub rejected: String,
    /// Fields of the profile that the record has.
    pub profile: BTreeMap<String, String>,
}

/// The label of a profile's field; refuses a name that is none.
pub(super) fn label(field: &str) -> Result<&'static str> {
    let Some((_, label)) = FIELDS.iter().find(|(name, _)| *name == field) else {
        let names = FIELDS.map(|(name, _)| format!("`{name}`")).join(", ");
        bail_input!("`{field}` is no field of a profile, which has {names}");
    };
    Ok(label)
}

impl From<&Item> for Subject {
    fn from(item: &Item) -> Self {
        Self {
            id: item.id.clone(),
            question: item.question.clone(),
            preferences: item.preferences.clone(),
            preferred: item.preferred.clone(),
            rejected: item.rejected.clone(),
            profile: item.profile.clone(),
        }
    }
}

impl Subject {
    /// The profile as a prompt shows it, `Age: 25-34, Gender: Female`; a field that is missing is left out.
    pub fn profile(&self, fields: &[String]) -> Result<String> {
        let mut lines = Vec::new();
        for field in fields {
            let label = label(field)?;
            if let Some(value) = self.profile.get(field).filter(|value| !value.trim().is_empty()) {
                lines.push(format!("{label}: {}", value.trim()));
            }
        }
        Ok(lines.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_the_fields_of_the_protocol_that_the_record_has() {
        let profile = [("age", "25-34 years old"), ("gender", " Female "), ("education", " ")];
        let subject = Subject {
            id: "1".into(),
            question: "Why?".into(),
            preferences: String::new(),
            preferred: "a".into(),
            rejected: "b".into(),
            profile: profile.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        };
        let fields = ["gender", "age", "education", "marital_status"].map(str::to_owned);
        assert_eq!(subject.profile(&fields).unwrap(), "Gender: Female, Age: 25-34 years old");
        assert!(subject.profile(&["income".into()]).is_err());
    }
}
