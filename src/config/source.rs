//! One entry of `data.train` or of `files` of a set: a name, or a table with how its records are read.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::choices::{ColumnRole, LayoutName, RankedPairs};

/// Where records come from: files, folders, patterns or data sets of the hub.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Names of files, folders, patterns or `hf://datasets/...`; one or more.
    pub files: Vec<String>,
    /// The split of a data set that has several; empty for none.
    pub split: String,
    /// How often an epoch visits each of its pairs; a fraction visits a share of them, drawn from `train.seed`.
    pub weight: f64,
    /// How its records are read; none for the keys of `[data]`, in a set for what the records show.
    pub reading: Option<Reading>,
}

/// How the records of a source become pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reading {
    /// The layout of the records; `auto` recognises it.
    pub layout: LayoutName,
    /// The column of each role, where it is named otherwise than in the layout.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<ColumnRole, String>,
    /// Which pairs a record with more than two answers gives.
    pub ranked_pairs: RankedPairs,
    /// Two answers make a pair if their scores differ by more than this.
    pub ranked_margin: f64,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            layout: LayoutName::Auto,
            columns: BTreeMap::new(),
            ranked_pairs: RankedPairs::BestWorst,
            ranked_margin: 0.0,
        }
    }
}

impl Source {
    /// One name, read as `[data]` or the records say.
    pub fn of(name: impl Into<String>) -> Self {
        Self { files: vec![name.into()], split: String::new(), weight: 1.0, reading: None }
    }
}

impl From<&str> for Source {
    fn from(name: &str) -> Self {
        Self::of(name)
    }
}

/// A [`Source`] as a configuration has it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Table(Box<Table>),
}

/// A [`Source`] as a table.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    files: Files,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<LayoutName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<BTreeMap<ColumnRole, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranked_pairs: Option<RankedPairs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranked_margin: Option<f64>,
}

/// One name or several.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Files {
    One(String),
    Several(Vec<String>),
}

impl Default for Files {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { files, split, weight, reading } = self.clone();
        let is_plain = split.is_empty() && weight.to_bits() == 1f64.to_bits() && reading.is_none();
        let written = match <[String; 1]>::try_from(files) {
            Ok([name]) if is_plain => Written::Name(name),
            files => {
                let files = match files {
                    Ok([name]) => Files::One(name),
                    Err(names) => Files::Several(names),
                };
                let unset = weight.to_bits() == 1f64.to_bits();
                let mut table = Table {
                    files,
                    split: Some(split).filter(|split| !split.is_empty()),
                    weight: Some(weight).filter(|_| !unset),
                    ..Table::default()
                };
                if let Some(reading) = reading {
                    table.layout = Some(reading.layout);
                    table.columns = Some(reading.columns).filter(|columns| !columns.is_empty());
                    table.ranked_pairs = Some(reading.ranked_pairs);
                    table.ranked_margin = Some(reading.ranked_margin);
                }
                Written::Table(Box::new(table))
            }
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Name(name) => Self::of(name),
            Written::Table(table) => {
                let Table { files, split, weight, layout, columns, ranked_pairs, ranked_margin } =
                    *table;
                let has_reading = layout.is_some()
                    || columns.is_some()
                    || ranked_pairs.is_some()
                    || ranked_margin.is_some();
                let unset = Reading::default();
                let reading = Reading {
                    layout: layout.unwrap_or(unset.layout),
                    columns: columns.unwrap_or(unset.columns),
                    ranked_pairs: ranked_pairs.unwrap_or(unset.ranked_pairs),
                    ranked_margin: ranked_margin.unwrap_or(unset.ranked_margin),
                };
                Self {
                    files: match files {
                        Files::One(name) => vec![name],
                        Files::Several(names) => names,
                    },
                    split: split.unwrap_or_default(),
                    weight: weight.unwrap_or(1.0),
                    reading: has_reading.then_some(reading),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Section {
        train: Vec<Source>,
    }

    #[test]
    fn a_source_is_written_as_it_was_read() {
        for text in [
            "train = [\"a.json\", \"b.json\"]\n",
            "[[train]]\nfiles = \"a.json\"\nweight = 0.5\n",
            "[[train]]\nfiles = [\"a.json\", \"b.json\"]\nsplit = \"train\"\n",
            "[[train]]\nfiles = \"a.json\"\nlayout = \"auto\"\nranked_pairs = \"best-worst\"\nranked_margin = 0.0\n\n[train.columns]\nprompt = \"question\"\n",
        ] {
            let section: Section = toml::from_str(text).unwrap();
            assert_eq!(toml::to_string(&section).unwrap(), text);
        }
    }

    #[test]
    fn one_key_of_reading_leaves_the_others_at_their_defaults() {
        let section: Section =
            toml::from_str("train = [{files = \"a\", ranked_pairs = \"all\"}]").unwrap();
        let reading = section.train[0].reading.clone().unwrap();
        assert_eq!(reading, Reading { ranked_pairs: RankedPairs::All, ..Reading::default() });
    }
}
