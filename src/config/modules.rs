//! Which modules of a model carry an adapter, and what differs by module, in PEFT's words.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::choices::Projection;

/// Modules of a model, by their names or by a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Modules {
    /// Each is the whole name of a module or its last parts, such as `q_proj` or `self_attn.q_proj`.
    Names(Vec<String>),
    /// A regular expression that matches whole names, or [`Modules::ALL_LINEAR`].
    Pattern(String),
}

impl Modules {
    /// PEFT's word for every linear layer but the output layer.
    pub const ALL_LINEAR: &'static str = "all-linear";

    /// No module.
    pub const NONE: Self = Self::Names(Vec::new());

    /// These projections of every layer.
    pub fn of(projections: impl IntoIterator<Item = Projection>) -> Self {
        Self::Names(
            projections.into_iter().map(|projection| projection.name().to_owned()).collect(),
        )
    }

    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Names(names) => names.is_empty(),
            Self::Pattern(pattern) => pattern.is_empty(),
        }
    }

    /// Whether it is [`Modules::ALL_LINEAR`], in whatever case.
    pub fn is_all_linear(&self) -> bool {
        matches!(self, Self::Pattern(word) if word.eq_ignore_ascii_case(Self::ALL_LINEAR))
    }

    /// Whether it names `projection` in every layer.
    pub fn has(&self, projection: Projection) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|name| name == projection.name()),
            Self::Pattern(_) => self.is_all_linear(),
        }
    }

    /// Names in one order, so that equal sets are equal: projections as in [`Projection::ALL`], then other names by their letters.
    pub fn sort(&mut self) {
        if let Self::Names(names) = self {
            let place = |name: &String| {
                Projection::NAMES.iter().position(|known| known == name).unwrap_or(usize::MAX)
            };
            names.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.cmp(b)));
        }
    }
}

impl fmt::Display for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names(names) => f.write_str(&names.join(", ")),
            Self::Pattern(pattern) => f.write_str(pattern),
        }
    }
}

/// Values by patterns of module names, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Patterns<T>(pub Vec<(String, T)>);

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Patterns<T> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Serialize> Serialize for Patterns<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (pattern, value) in &self.0 {
            map.serialize_entry(pattern, value)?;
        }
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patterns<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Patterns<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Patterns(all))
            }
        }

        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Projection::{KProj, OProj, QProj, VProj};

    #[test]
    fn equal_sets_of_names_are_equal_in_whatever_order_they_were_written() {
        let sorted = |names: &[&str]| {
            let mut modules = Modules::Names(names.iter().map(|name| (*name).to_owned()).collect());
            modules.sort();
            modules.to_string()
        };
        assert_eq!(sorted(&["v_proj", "q_proj"]), "q_proj, v_proj");
        assert_eq!(
            sorted(&["mlp.b", "v_proj", "a.q_proj", "q_proj"]),
            "q_proj, v_proj, a.q_proj, mlp.b"
        );
        let mut pattern = Modules::Pattern("b|a".to_owned());
        pattern.sort();
        assert_eq!(pattern.to_string(), "b|a");
    }

    #[test]
    fn a_projection_is_had_by_its_name_and_by_all_linear_alone() {
        let some = Modules::of([QProj, VProj]);
        assert!(some.has(QProj) && some.has(VProj) && !some.has(KProj));
        assert!(Modules::Pattern("All-Linear".to_owned()).has(OProj));
        assert!(!Modules::Pattern(".*q_proj".to_owned()).has(QProj));
        assert!(Modules::NONE.is_empty() && !some.is_empty());
    }
}
