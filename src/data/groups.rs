//! The demographic groups of a record's person, by which figures are broken down.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use crate::data::format::fields::{Record, kind};
use crate::error::InputError;

/// Group key, and the fields it is read from, first one found.
const GROUPS: [(&str, &[&str]); 7] = [
    ("age", &["age"]),
    ("gender", &["gender"]),
    ("country", &["birth_country/region", "birth_country", "country"]),
    ("education", &["education"]),
    ("employment_status", &["employment_status", "employment"]),
    ("marital_status", &["marital_status"]),
    ("english_proficiency", &["english_proficiency"]),
];

/// Whether a field of a record is read for a group.
pub(super) fn is_field(name: &str) -> bool {
    GROUPS.iter().any(|(_, fields)| fields.contains(&name))
}

/// The seven dimensions that the paper labels, in PRISM's order.
pub const DIMENSIONS: [&str; 7] = [
    "creativity",
    "fluency",
    "factuality",
    "diversity",
    "safety",
    "personalisation",
    "helpfulness",
];

/// What a person rates 0 to 100 in `stated_prefs`: `values`, which the paper does not label, and [`DIMENSIONS`].
pub const VALUE_DIMENSIONS: [&str; 8] = {
    let [a, b, c, d, e, f, g] = DIMENSIONS;
    ["values", a, b, c, d, e, f, g]
};

/// The demographic groups of a record; a field that is missing, null or blank gives none.
pub(super) fn demographic(record: &Record<'_>) -> Result<BTreeMap<String, String>> {
    let mut groups = BTreeMap::new();
    for (group, fields) in GROUPS {
        if let Some(label) = record.label(fields)? {
            groups.insert(group.to_owned(), label.trim().to_owned());
        }
    }
    Ok(groups)
}

/// The paper's label of a rating of 0 to 100: `High` from 80, `Low` up to 60; what lies between has none.
pub fn label_of(rating: f64) -> Option<&'static str> {
    match rating {
        high if high >= 80.0 => Some("High"),
        low if low <= 60.0 => Some("Low"),
        _ => None,
    }
}

/// The preference that ratings amount to, `High fluency, Low creativity`: the paper's labels of the seven dimensions, the highest first,
/// equal ones in the order of [`DIMENSIONS`]. None where no rating has a label.
pub fn preference_of(rating: impl Fn(&str) -> Option<f64>) -> Option<String> {
    let mut labelled: Vec<(&str, &str, f64)> = DIMENSIONS
        .into_iter()
        .filter_map(|dimension| {
            let rating = rating(dimension)?;
            Some((label_of(rating)?, dimension, rating))
        })
        .collect();
    labelled.sort_by(|a, b| b.2.total_cmp(&a.2));
    let labels: Vec<_> =
        labelled.iter().map(|(label, dimension, _)| format!("{label} {dimension}")).collect();
    (!labels.is_empty()).then(|| labels.join(", "))
}

/// [`preference_of`] the `stated_prefs` of a record; none if the field is missing or labels nothing.
pub(super) fn preference(record: &Record<'_>) -> Result<Option<String>> {
    if values(record)?.is_none() {
        return Ok(None);
    }
    let stated = record.get("stated_prefs");
    Ok(preference_of(|dimension| match stated?.get(dimension)? {
        Value::String(text) => text.trim().parse().ok(),
        number => number.as_f64(),
    }))
}

/// The groups `value_<dimension>` of `stated_prefs`: `high` from 80, `low` up to 60, `middle` between. None if it is missing.
pub(super) fn values(record: &Record<'_>) -> Result<Option<BTreeMap<String, String>>> {
    let stated = match record.get("stated_prefs") {
        None => return Ok(None),
        Some(Value::Object(stated)) => stated,
        Some(other) => return Err(record.wrong("stated_prefs", "an object", other).into()),
    };
    let mut groups = BTreeMap::new();
    for dimension in VALUE_DIMENSIONS {
        let value = match stated.get(dimension) {
            None | Some(Value::Null) => continue,
            Some(value) => value,
        };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let level = match number {
            Some(number) if !(0.0..=100.0).contains(&number) => None,
            number => number.map(|number| match label_of(number) {
                Some("High") => "high",
                Some(_) => "low",
                None => "middle",
            }),
        };
        let Some(level) = level else {
            let place = record.place;
            return Err(InputError::new(format!(
                "{place}: `stated_prefs.{dimension}` must be a number in 0..=100, got {}",
                kind(value)
            ))
            .into());
        };
        groups.insert(format!("value_{dimension}"), level.to_owned());
    }
    Ok(Some(groups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::fields::Place;

    fn record(json: &str) -> Record<'_> {
        Record::new(Place { file: "a.json", line: 3 }, serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_older_country_field_is_read_and_the_newer_one_wins() {
        let older = demographic(&record(r#"{"birth_country": "Chile", "age": 34}"#)).unwrap();
        assert_eq!((older["country"].as_str(), older["age"].as_str()), ("Chile", "34"));
        let both = record(r#"{"birth_country": "Chile", "birth_country/region": " Peru "}"#);
        assert_eq!(demographic(&both).unwrap()["country"], "Peru");
    }

    #[test]
    fn a_stated_value_is_high_from_80_and_low_up_to_60() {
        let stated = r#"{"stated_prefs": {"values": 80, "creativity": 60, "fluency": 60.5, "safety": "79", "diversity": null}}"#;
        let groups = values(&record(stated)).unwrap().unwrap();
        let level = |dimension: &str| groups.get(&format!("value_{dimension}")).map(String::as_str);
        assert_eq!(level("values"), Some("high"));
        assert_eq!(level("creativity"), Some("low"));
        assert_eq!(level("fluency"), Some("middle"));
        assert_eq!(level("safety"), Some("middle"));
        assert_eq!(level("diversity"), None);
    }

    #[test]
    fn a_stated_value_outside_its_scale_is_an_error() {
        for (found, shown) in
            [("101", "the number `101`"), (r#""NaN""#, "the string `NaN`"), ("[]", "a list")]
        {
            let json = format!(r#"{{"stated_prefs": {{"safety": {found}}}}}"#);
            let error = values(&record(&json)).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("a.json:3: `stated_prefs.safety` must be a number in 0..=100, got {shown}")
            );
        }
    }

    #[test]
    fn the_ends_of_the_scale_belong_to_it() {
        let stated = r#"{"stated_prefs": {"values": 0, "creativity": 100}}"#;
        let groups = values(&record(stated)).unwrap().unwrap();
        assert_eq!((&*groups["value_values"], &*groups["value_creativity"]), ("low", "high"));
        assert!(values(&record(r#"{"stated_prefs": {"values": -0.5}}"#)).is_err());
    }
}
