//! Fields of a `config.json`, read with the file's name in every error.

use anyhow::Result;
use serde_json::{Map, Value};

use super::family::{Family, READ};
use crate::disk::fields::{self, WITHOUT_EFFECT};
use crate::error::{InputError, shown};

/// Upper limit of each size: more than ten times what any model has, and no product of them overflows 60 bits.
const MOST: [(&str, u64); 7] = [
    ("vocab_size", 1 << 24),
    ("hidden_size", 1 << 20),
    ("intermediate_size", 1 << 22),
    ("num_hidden_layers", 1 << 12),
    ("num_attention_heads", 1 << 12),
    ("num_key_value_heads", 1 << 12),
    ("head_dim", 1 << 12),
];

/// Fields of a `config.json`, or of an object in it. Every error names the file.
pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) fields: &'a Map<String, Value>,
    pub(super) family: &'static Family,
}

impl Reader<'_> {
    /// The error that `key` has the value `found`.
    pub(super) fn wrong(&self, key: &str, expected: &str, found: &Value) -> InputError {
        let found = shown(found);
        InputError::new(format!("{}: `{key}` must be {expected}, got `{found}`", self.file))
    }

    /// The value of `key`, unless it is missing or null.
    pub(super) fn present(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// A size within its limit; `default` if it is missing.
    pub(super) fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        let Some(value) = self.present(key) else { return Ok(default) };
        let known = MOST.iter().find(|(known, _)| *known == key);
        let most = known.map_or(u64::from(u32::MAX), |(_, most)| *most);
        match value.as_u64() {
            Some(n) if (1..=most).contains(&n) => Ok(n as usize),
            _ => Err(self.wrong(key, &format!("a whole number in 1..={most}"), value).into()),
        }
    }

    /// A size within its limit. Refuses a missing one.
    pub(super) fn size(&self, key: &str) -> Result<usize> {
        if self.present(key).is_none() {
            return Err(InputError::new(format!("{}: `{key}` is missing", self.file))
                .hint(format!("is this the folder of a {} checkpoint?", self.family.name))
                .into());
        }
        self.size_or(key, 0)
    }

    /// A finite number; `default` if it is missing.
    pub(super) fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.present(key) else { return Ok(default) };
        let finite = value.as_f64().filter(|x| x.is_finite());
        finite.ok_or_else(|| self.wrong(key, "a number", value).into())
    }

    /// True or false; `default` if it is missing or empty.
    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.present(key) {
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) if !fields::is_unset(value) => {
                Err(self.wrong(key, "true or false", value).into())
            }
            _ => Ok(default),
        }
    }

    /// A positive number; `default` if it is missing.
    pub(super) fn positive_or(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.present(key) else { return Ok(default) };
        value
            .as_f64()
            .filter(|x| x.is_finite() && *x > 0.0)
            .ok_or_else(|| self.wrong(key, "a positive number", value).into())
    }

    /// A positive number. Refuses a missing one.
    pub(super) fn positive(&self, key: &str) -> Result<f64> {
        match self.positive_or(key, 0.0)? {
            0.0.. if self.present(key).is_some() => self.positive_or(key, 0.0),
            _ => Err(InputError::new(format!("{}: `{key}` is missing", self.file)).into()),
        }
    }

    /// Refuses the fields that no table knows and the values that are not computed, by name.
    pub(super) fn refuse_unknown(&self) -> Result<()> {
        fields::refuse_unknown(
            self.file,
            self.fields,
            &[READ, self.family.fields, WITHOUT_EFFECT],
        )?;
        let whole = |types: &Value| {
            types.as_array().is_some_and(|all| all.iter().all(|kind| kind == "full_attention"))
        };
        match self.present("layer_types") {
            Some(types) if !whole(types) => Err(InputError::new(format!(
                "{}: `layer_types` must be `full_attention` for every layer to be computed here, got `{}`",
                self.file,
                shown(types)
            ))
            .into()),
            _ => Ok(()),
        }
    }
}
