//! The profile of who asks, as a prompt shows it.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::bail_input;

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

/// The label of a profile's field; refuses a name that is none.
pub(super) fn label(field: &str) -> Result<&'static str> {
    let Some((_, label)) = FIELDS.iter().find(|(name, _)| *name == field) else {
        let names = FIELDS.map(|(name, _)| format!("`{name}`")).join(", ");
        bail_input!("`{field}` is no field of a profile, which has {names}");
    };
    Ok(label)
}

/// The `fields` of `profile` as a prompt shows them, `Age: 25-34, Gender: Female`; a field that is missing is left out.
pub(super) fn line(profile: &BTreeMap<String, String>, fields: &[String]) -> Result<String> {
    let mut parts = Vec::new();
    for field in fields {
        let label = label(field)?;
        if let Some(value) = profile.get(field).filter(|value| !value.trim().is_empty()) {
            parts.push(format!("{label}: {}", value.trim()));
        }
    }
    Ok(parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_the_fields_of_the_protocol_that_the_record_has() {
        let profile = [("age", "25-34 years old"), ("gender", " Female "), ("education", " ")];
        let profile = profile.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let fields = ["gender", "age", "education", "marital_status"].map(str::to_owned);
        assert_eq!(line(&profile, &fields).unwrap(), "Gender: Female, Age: 25-34 years old");
        assert!(line(&profile, &["income".into()]).is_err());
    }
}
