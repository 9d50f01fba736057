//! A record of UltraFeedback: an instruction, and completions with a rating by each attribute.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::error::shown;

/// The attributes, in the order of their files.
pub const ATTRIBUTES: [&str; 4] =
    ["helpfulness", "honesty", "instruction_following", "truthfulness"];

/// What stands for the rating of an answer that an attribute does not apply to.
const NOT_RATED: &str = "N/A";

const RECORD: &[&str] =
    &["source", "instruction", "models", "completions", "correct_answers", "incorrect_answers"];

const COMPLETION: &[&str] = &[
    "model",
    "principle",
    "custom_system_prompt",
    "response",
    "critique",
    "overall_score",
    "fine-grained_score",
    "annotations",
];

const ANNOTATION: &[&str] = &["Rating", "Rationale", "Type", "Rationale For Rating"];

/// Most completions of a record. UltraFeedback has four; the pairs grow with the square.
const MOST_COMPLETIONS: usize = 64;

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where the instruction comes from, such as `sharegpt`; empty if the record does not say.
    pub source: String,
    /// The instruction, not blank.
    pub instruction: String,
    /// The completions in the order of the file, four as published.
    pub completions: Vec<Completion>,
}

/// An answer to the instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The model's name; empty if the record does not say.
    pub model: String,
    /// The answer; empty where there is none.
    pub response: String,
    /// Its ratings, 1 to 5, in the order of [`ATTRIBUTES`]; none where an attribute is `N/A` or missing.
    pub ratings: [Option<f64>; 4],
}

impl Completion {
    /// Whether there is no answer.
    pub fn is_empty(&self) -> bool {
        self.response.trim().is_empty()
    }

    /// Mean of the ratings that there are; none without one.
    pub fn mean(&self) -> Option<f64> {
        let rated: Vec<f64> = self.ratings.iter().flatten().copied().collect();
        (!rated.is_empty()).then(|| rated.iter().sum::<f64>() / rated.len() as f64)
    }
}

impl Record {
    /// A record of its fields, or what is wrong with it. Fields that are not of the schema are added to `unknown`.
    pub fn read(
        fields: &Map<String, Value>,
        unknown: &mut BTreeSet<String>,
    ) -> Result<Self, String> {
        note_unknown(fields, RECORD, "", unknown);
        let instruction = text(fields, "instruction")?;
        if instruction.trim().is_empty() {
            return Err("`instruction` is missing or blank".to_owned());
        }
        let completions = match fields.get("completions") {
            Some(Value::Array(completions)) if completions.len() > MOST_COMPLETIONS => {
                let found = completions.len();
                return Err(format!("{found} completions, expected at most {MOST_COMPLETIONS}"));
            }
            Some(Value::Array(completions)) => completions,
            None | Some(Value::Null) => return Err("`completions` is missing or null".to_owned()),
            Some(other) => return Err(wrong("completions", "a list", other)),
        };
        let completions = completions.iter().enumerate().map(|(at, completion)| {
            completion_of(completion, unknown).map_err(|why| format!("`completions[{at}]`: {why}"))
        });
        Ok(Self {
            source: text(fields, "source")?,
            completions: completions.collect::<Result<_, _>>()?,
            instruction,
        })
    }
}

fn completion_of(value: &Value, unknown: &mut BTreeSet<String>) -> Result<Completion, String> {
    let Value::Object(fields) = value else {
        return Err(format!("expected an object, got `{}`", shown(value)));
    };
    note_unknown(fields, COMPLETION, "completions.", unknown);
    let mut ratings = [None; 4];
    match fields.get("annotations") {
        None | Some(Value::Null) => {}
        Some(Value::Object(annotations)) => {
            if let Some(other) = annotations.keys().find(|key| !ATTRIBUTES.contains(&key.as_str()))
            {
                return Err(format!(
                    "`annotations.{}` is none of {}",
                    shown(other),
                    ATTRIBUTES.join(", ")
                ));
            }
            for (rating, attribute) in ratings.iter_mut().zip(ATTRIBUTES) {
                *rating = annotation(annotations.get(attribute), unknown)
                    .map_err(|why| format!("`annotations.{attribute}`: {why}"))?;
            }
        }
        Some(other) => return Err(wrong("annotations", "an object", other)),
    }
    Ok(Completion { model: text(fields, "model")?, response: text(fields, "response")?, ratings })
}

/// The rating of an annotation. A list of annotations, as local copies have, has the mean of those that rate.
fn annotation(
    value: Option<&Value>,
    unknown: &mut BTreeSet<String>,
) -> Result<Option<f64>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(fields)) => {
            note_unknown(fields, ANNOTATION, "annotations.", unknown);
            rating(fields.get("Rating"))
        }
        Some(Value::Array(several)) => {
            let mut rated = Vec::new();
            for one in several {
                if one.is_array() {
                    return Err(format!("expected an object, got `{}`", shown(one)));
                }
                rated.extend(annotation(Some(one), unknown)?);
            }
            Ok((!rated.is_empty()).then(|| rated.iter().sum::<f64>() / rated.len() as f64))
        }
        Some(other) => Err(format!("expected an object, got `{}`", shown(other))),
    }
}

/// A rating, text or number; none for `N/A` and where there is none.
fn rating(value: Option<&Value>) -> Result<Option<f64>, String> {
    let number = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim() == NOT_RATED => return Ok(None),
        Some(Value::String(text)) => match text.trim() {
            digit @ ("1" | "2" | "3" | "4" | "5") => digit.parse().ok(),
            _ => None,
        },
        Some(Value::Number(number)) => {
            number.as_f64().filter(|number| (1.0..=5.0).contains(number) && number.fract() == 0.0)
        }
        Some(_) => None,
    };
    let shown = || shown(value.unwrap_or(&Value::Null));
    number.map(Some).ok_or_else(|| format!("`Rating` must be 1 to 5 or N/A, got `{}`", shown()))
}

/// A text; empty where there is none.
fn text(fields: &Map<String, Value>, key: &str) -> Result<String, String> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(wrong(key, "a string", other)),
    }
}

fn wrong(key: &str, expected: &str, found: &Value) -> String {
    format!("`{key}` must be {expected}, got `{}`", shown(found))
}

fn note_unknown(
    fields: &Map<String, Value>,
    known: &[&str],
    of: &str,
    unknown: &mut BTreeSet<String>,
) {
    for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
        let name = format!("{of}{key}");
        if !unknown.contains(&name) {
            unknown.insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotations: Value) -> Result<[Option<f64>; 4], String> {
        let record = serde_json::json!({
            "source": "s", "instruction": "Why?", "completions": [{"model": "m", "response": null, "annotations": annotations}],
        });
        let record = Record::read(record.as_object().unwrap(), &mut BTreeSet::new())?;
        assert!(record.completions[0].is_empty());
        Ok(record.completions[0].ratings)
    }

    #[test]
    fn a_rating_is_text_or_a_number_of_1_to_5_and_na_is_none() {
        let of = |rating: Value| read(serde_json::json!({"honesty": {"Rating": rating}}));
        for (rating, expected) in [
            (Value::from("1"), Some(1.0)),
            (Value::from(" 5 "), Some(5.0)),
            (Value::from(4), Some(4.0)),
            (Value::from(3.0), Some(3.0)),
            (Value::from("N/A"), None),
            (Value::Null, None),
        ] {
            assert_eq!(of(rating), Ok([None, expected, None, None]));
        }
        for rating in
            [Value::from("0"), 6.into(), 2.5.into(), "five".into(), "".into(), true.into()]
        {
            let why = of(rating.clone()).unwrap_err();
            assert!(why.starts_with("`completions[0]`: `annotations.honesty`: `Rating` must be"));
        }
    }

    #[test]
    fn annotations_may_be_missing_or_lists_and_an_unknown_attribute_is_refused() {
        assert_eq!(read(Value::Null), Ok([None; 4]));
        let lists = serde_json::json!({
            "helpfulness": [{"Rating": "4"}, {"Rating": "N/A"}, {"Rating": "5"}], "honesty": [], "truthfulness": null,
        });
        assert_eq!(read(lists), Ok([Some(4.5), None, None, None]));
        let why = read(serde_json::json!({"verbosity": {"Rating": "1"}})).unwrap_err();
        assert!(why.contains("`annotations.verbosity` is none of helpfulness, honesty"), "{why}");
        for odd in [serde_json::json!({"honesty": "4"}), serde_json::json!([1])] {
            assert!(read(odd).is_err());
        }
    }

    #[test]
    fn a_record_without_instruction_or_completions_is_broken_and_unknown_fields_are_named() {
        let mut unknown = BTreeSet::new();
        let mut read = |value: Value| Record::read(value.as_object().unwrap(), &mut unknown);
        for (value, why) in [
            (serde_json::json!({"completions": []}), "`instruction` is missing or blank"),
            (serde_json::json!({"instruction": 3}), "`instruction` must be a string, got `3`"),
            (serde_json::json!({"instruction": "i"}), "`completions` is missing or null"),
            (
                serde_json::json!({"instruction": "i", "completions": null}),
                "`completions` is missing or null",
            ),
            (
                serde_json::json!({"instruction": "i", "completions": [null]}),
                "`completions[0]`: expected an object, got `null`",
            ),
        ] {
            assert_eq!(read(value).unwrap_err(), why);
        }
        let odd = serde_json::json!({"instruction": "i", "completions": [{"mood": 1}], "id": 4});
        assert_eq!(read(odd).unwrap().completions.len(), 1);
        assert!(unknown.iter().eq(["completions.mood", "id"]));
    }
}
