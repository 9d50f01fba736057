//! A TOML file and `--set` overrides in, one validated [`RunConfig`] out. Feeds every stage.
//!
//! The input (`typed`) is compared with the table of keys (`keys`): first every unknown key is reported, then wrong values (`check`),
//! then missing keys. Only then does it become sections with defaults (`sections`).

mod check;
mod choices;
#[cfg(test)]
mod documents;
mod elsewhere;
pub mod import;
mod keys;
mod modules;
mod nearest;
mod sections;
mod source;
mod typed;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::console::interrupt;
use crate::disk::pipe;
use crate::error::InputError;
use crate::{bail_input, presets};
pub use choices::{
    Activations, AddBos, BestMetric, ColumnRole, Dtype, EvalTokenization, LayoutName,
    LeftoverBatches, LossType, MetricName, OptimizerName, Order, Projection, PromptFormat,
    RankedPairs, Reference, Scheduler, Tokenization, TokenizerRules, Truncation,
};
pub use modules::{Modules, Patterns};
pub(crate) use nearest::nearest_word;
pub use sections::{
    DataSection, DpoSection, EvalSection, EvalSet, LoraSection, ModelSection, OutputSection,
    SamplesSection, SpmrSection, TrainSection,
};
pub use source::{Reading, Source};
use typed::Entry;

/// The longest configuration file, in bytes; a longer one is another kind of file.
const LONGEST_FILE: u64 = 1 << 20;

/// Every setting of a run. The default lacks only `model.path`, `data.train` and `output.dir`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// The frozen base model.
    pub model: ModelSection,
    /// The adapter that is trained.
    pub lora: LoraSection,
    /// The loss.
    pub dpo: DpoSection,
    /// The pairs and how they become tokens.
    pub data: DataSection,
    /// The loop.
    pub train: TrainSection,
    /// What is measured before and after training.
    pub eval: EvalSection,
    /// Where the results go.
    pub output: OutputSection,
}

/// Where a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOrigin {
    /// A file.
    File(PathBuf),
    /// A preset compiled into the binary, by name.
    Preset(&'static str),
}

impl fmt::Display for ConfigOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Preset(name) => write!(f, "preset `{name}`"),
        }
    }
}

/// A key whose value differs between two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key, such as `train.learning_rate`.
    pub key: String,
    /// A sentence: the key with both values.
    pub said: String,
}

impl Difference {
    /// Whether this key changes what a checkpoint holds, the model or the adapter's shape and scale, so that no checkpoint survives
    /// the change.
    pub fn is_lasting(&self) -> bool {
        self.key.starts_with("model.")
            || self.key.starts_with("lora.") && self.key != "lora.dropout"
    }
}

impl RunConfig {
    /// Reads the file `path_or_preset`, or the preset of that name if there is no such file, under `overrides`.
    ///
    /// Each override is `section.key=value`; the value is TOML, and a bare word is a string. The last one of a key wins.
    pub fn load(
        path_or_preset: &str,
        overrides: &[String],
    ) -> anyhow::Result<(Self, ConfigOrigin)> {
        let (text, origin) = find(path_or_preset)?;
        let config = Self::resolve(&text, &origin.to_string(), overrides)?;
        Ok((config, origin))
    }

    /// Reads a configuration from `text`; `name`: for messages.
    pub fn parse(text: &str, name: &str) -> anyhow::Result<Self> {
        Self::resolve(text, name, &[])
    }

    /// Reads the options of `mvpbench eval`, each a key, its value and the option as typed, under `overrides`. An override of a key of
    /// training is refused.
    pub fn for_evaluation(
        options: &[(&str, Value, String)],
        overrides: &[String],
    ) -> anyhow::Result<Self> {
        let mut entries = Vec::new();
        for argument in overrides {
            let entry = typed::argument(argument)?;
            entries.retain(|earlier: &Entry<'_>| earlier.key != entry.key);
            entries.push(entry);
        }
        nearest::refuse_unknown(&entries)?;
        let given = options.iter().find(|(key, ..)| entries.iter().any(|entry| entry.key == *key));
        if let Some((key, _, option)) = given {
            bail_input!("`--set {key}=...` and `{option}` set the same key; give one of them");
        }
        if let Some(entry) = entries.iter().find(|e| !keys::EVALUATION_KEYS.contains(&&*e.key)) {
            let message = format!("{}: an evaluation does not read `{}`", entry.source, entry.key);
            let read = keys::quoted(keys::EVALUATION_KEYS);
            return Err(InputError::new(message).hint(format!("it reads {read}")).into());
        }
        entries.extend(options.iter().map(|(key, value, option)| Entry {
            key: (*key).to_owned(),
            value: value.clone(),
            source: typed::Source::Options(option),
        }));
        entries.iter().try_for_each(check::entry)?;
        Self::of_entries(entries, "the command line")
    }

    /// Reads what [`RunConfig::to_evaluation_toml`] wrote; `name`: for messages.
    pub fn parse_evaluation(text: &str, name: &str) -> anyhow::Result<Self> {
        let entries = typed::file(text, name)?;
        nearest::refuse_unknown(&entries)?;
        entries.iter().try_for_each(check::entry)?;
        Self::of_entries(entries, name)
    }

    /// The keys that an evaluation reads, as TOML.
    pub fn to_evaluation_toml(&self) -> anyhow::Result<String> {
        fn keep(table: &mut Table, path: &str) {
            table.retain(|name, value| {
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                match value {
                    Value::Table(table) => {
                        keep(table, &path);
                        !table.is_empty()
                    }
                    _ => keys::EVALUATION_KEYS.contains(&&*path),
                }
            });
        }
        let mut table = Table::try_from(self)?;
        keep(&mut table, "");
        Ok(toml::to_string(&table)?)
    }

    /// The configuration as TOML, every key written out; [`RunConfig::parse`] reads the same value back.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// The keys by which `self` differs from `earlier`.
    ///
    /// Keys that do not change the adapter are left out: `output.*`, `train.checkpoint_every`, `train.keep_checkpoints`.
    pub fn differences(&self, earlier: &Self) -> anyhow::Result<Vec<Difference>> {
        let (now, was) = (leaves(self)?, leaves(earlier)?);
        let value = |of: &Table, key: &str| {
            of.get(key).map_or("not there".to_owned(), |value| format!("`{value}`"))
        };
        let keys = now.keys().chain(was.keys().filter(|key| !now.contains_key(key.as_str())));
        Ok(keys
            .filter(|key| !key.starts_with("output."))
            .filter(|key| {
                !["train.checkpoint_every", "train.keep_checkpoints"].contains(&key.as_str())
            })
            .filter(|key| now.get(key.as_str()) != was.get(key.as_str()))
            .map(|key| Difference {
                key: key.clone(),
                said: format!("`{key}` is {}, was {}", value(&now, key), value(&was, key)),
            })
            .collect())
    }

    /// The keys whose values differ from their defaults, each with its value as TOML, in the order of the sections.
    pub fn changed(&self) -> anyhow::Result<Vec<(String, String)>> {
        let (now, defaults) = (leaves(self)?, leaves(&Self::default())?);
        let mut changed: Vec<_> = now
            .iter()
            .filter(|(key, value)| defaults.get(key.as_str()) != Some(value))
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect();
        let known = |key: &str| keys::KEYS.iter().position(|known| key.starts_with(known.name));
        changed.sort_by_key(|(key, _)| known(key));
        Ok(changed)
    }

    fn resolve(text: &str, name: &str, overrides: &[String]) -> anyhow::Result<Self> {
        let mut entries = typed::file(text, name)?;
        for argument in overrides {
            let entry = typed::argument(argument)?;
            entries.retain(|earlier| earlier.key != entry.key);
            entries.push(entry);
        }
        nearest::refuse_unknown(&entries)?;
        entries.iter().try_for_each(check::entry)?;
        check::nothing_missing(&entries, name)?;
        Self::of_entries(entries, name)
    }

    /// The configuration of checked entries; a missing key has its default.
    fn of_entries(entries: Vec<Entry<'_>>, name: &str) -> anyhow::Result<Self> {
        let mut config: Self =
            Value::Table(tables(entries)).try_into().map_err(|error: toml::de::Error| {
                InputError::new(format!("{name}: {}", error.message()))
            })?;
        check::loss(&config.dpo, name)?;
        check::truncation(&config.data, name)?;
        check::warmup(&config.train, name)?;
        check::total_batch(&config.train, name)?;
        check::evaluation(&config.eval, name)?;
        check::adapter(&config.lora, name)?;
        config.lora.target_modules.sort();
        config.lora.exclude_modules.sort();
        Ok(config)
    }
}

/// The preset of that name but for a folder, the case and the ending.
fn meant(typed: &str) -> Option<&'static str> {
    let name = Path::new(typed).file_name()?.to_str()?.to_lowercase();
    let stem = name.trim_end_matches(".toml");
    presets::NAMES.iter().copied().find(|known| known.trim_end_matches(".toml") == stem)
}

/// The text of a configuration file or preset.
fn find(path_or_preset: &str) -> anyhow::Result<(String, ConfigOrigin)> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let path = Path::new(path_or_preset);
    match std::fs::metadata(path) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {
            match presets::find(path_or_preset) {
                Some((name, text)) => Ok((text.to_owned(), ConfigOrigin::Preset(name))),
                None => Err(InputError::new(format!(
                    "`{path_or_preset}`: no such file, and no preset of that name"
                ))
                .hint(match meant(path_or_preset) {
                    Some(preset) => format!("did you mean `{preset}`?"),
                    None => format!("the presets are {}", keys::quoted(presets::NAMES)),
                })
                .into()),
            }
        }
        Ok(metadata) if metadata.is_file() && metadata.len() > LONGEST_FILE => {
            bail_input!(
                "{path_or_preset}: has {} bytes, expected a TOML file of at most {LONGEST_FILE}",
                metadata.len()
            )
        }
        _ => match String::from_utf8(bytes(path_or_preset)?) {
            Ok(text) => Ok((text, ConfigOrigin::File(path.to_owned()))),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                bail_input!("{path_or_preset}: expected a TOML file in UTF-8, byte {at} is not")
            }
        },
    }
}

/// The bytes of a configuration file, which may also be a pipe, since it is read once.
fn bytes(path: &str) -> anyhow::Result<Vec<u8>> {
    if !pipe::is_pipe(Path::new(path)) {
        return Ok(presets::read(path)?.into_owned());
    }
    let read = pipe::bytes(Path::new(path), LONGEST_FILE + 1);
    interrupt::check()?;
    let bytes = read.with_context(|| format!("cannot read `{path}`"))?;
    if bytes.len() as u64 > LONGEST_FILE {
        bail_input!("{path}: expected a configuration of at most {LONGEST_FILE} bytes");
    }
    Ok(bytes)
}

/// The typed entries as nested tables.
fn tables(entries: Vec<Entry<'_>>) -> Table {
    let mut tables = Table::new();
    for Entry { key, value, .. } in entries {
        let mut path: Vec<&str> = key.split('.').collect();
        let Some(name) = path.pop() else { continue };
        let mut table = Some(&mut tables);
        for section in path {
            table = table.and_then(|table| {
                table.entry(section).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
            });
        }
        if let Some(table) = table {
            table.insert(name.to_owned(), value);
        }
    }
    tables
}

/// Every value that is not a table, by its dotted key.
fn leaves(config: &RunConfig) -> anyhow::Result<Table> {
    fn collect(key: String, value: Value, leaves: &mut Table) {
        match value {
            Value::Table(table) => {
                let dot = if key.is_empty() { "" } else { "." };
                table
                    .into_iter()
                    .for_each(|(name, value)| collect(format!("{key}{dot}{name}"), value, leaves));
            }
            Value::Array(array) if array.iter().any(Value::is_table) => {
                (array.into_iter().enumerate())
                    .for_each(|(i, value)| collect(format!("{key}[{i}]"), value, leaves));
            }
            value => drop(leaves.insert(key, value)),
        }
    }
    let mut leaves = Table::new();
    collect(String::new(), Value::try_from(config)?, &mut leaves);
    Ok(leaves)
}

#[cfg(test)]
mod tests;
