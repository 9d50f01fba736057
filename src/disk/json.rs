//! JSON in which no object has a key twice: a text -> its value. serde_json and Python keep the last of two, in silence.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::shown;

/// Begins the error for a key that stands twice.
pub const TWICE: &str = "the key `";

/// The value of a JSON text. Refuses an object with a key twice, at any depth.
pub fn unique(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str::<Unique>(text).map(|unique| unique.0)
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if all.contains_key(&key) {
                return Err(A::Error::custom(format!("{TWICE}{}` stands twice", shown(&key))));
            }
            let Unique(value) = entries.next_value()?;
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_twice_is_refused_at_any_depth_and_everything_else_is_serde_jsons_value() {
        for (text, key) in [
            (r#"{"a": 1, "b": 2, "a": 1}"#, "a"),
            (r#"{"a": [{"x": {"k": 1, "\u006b": 2}}]}"#, "k"),
        ] {
            let error = unique(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the key `{key}` stands twice")), "{error}");
        }
        for text in [
            r#"{"a": [1, -2, 1.10, 1e400e, true, null, "x"], "b": {"a": {}}}"#,
            r#"{"a": [1, -2, 1.10, 123456789012345678901234567890, true, null, "x\n"], "b": {"a": {}}}"#,
            "[]",
            "5",
            "nul",
        ] {
            let (ours, theirs) = (unique(text), serde_json::from_str::<Value>(text));
            assert_eq!(ours.map_err(|e| e.to_string()), theirs.map_err(|e| e.to_string()));
        }
    }
}
