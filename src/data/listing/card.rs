//! The configurations of a data set, from the front matter of its `README.md`: `configs`, each with its `data_files`.

use anyhow::Result;
use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};

use crate::error::{InputError, shown};

/// The file of a data set that may have configurations.
pub const CARD: &str = "README.md";

/// Deepest nesting of a front matter.
const DEEPEST: usize = 64;

/// One configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) name: String,
    pub(super) is_default: bool,
    /// The patterns of each split; none where the names of the files tell the splits.
    pub(super) splits: Option<Vec<(String, Vec<String>)>>,
    /// The folder that the names and patterns start from; empty for that of the data set.
    pub(super) folder: String,
}

/// Keys of a configuration that say nothing about which records there are.
const WITHOUT_EFFECT: [&str; 5] =
    ["version", "description", "features", "drop_labels", "dataset_info"];

/// The configurations that the card `text` has; none if it has no `configs`. `name`: the card, for messages.
pub(super) fn configs(text: &str, name: &str) -> Result<Vec<Config>> {
    let Some(front) = front_matter(text) else { return Ok(Vec::new()) };
    let wrong = |what: String| {
        InputError::new(format!("{name}: {what}"))
            .hint("name the files themselves, or a pattern, in place of the data set")
    };
    let front =
        parse(&front).map_err(|why| wrong(format!("its front matter is not read: {why}")))?;
    let configs = match front.get("configs") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(configs)) => configs,
        Some(_) => return Err(wrong("`configs` must be a list".to_owned()).into()),
    };
    let read = |config: &Value| config_of(config).map_err(|what| wrong(what).into());
    configs.iter().map(read).collect()
}

fn config_of(config: &Value) -> Result<Config, String> {
    let Value::Object(keys) = config else {
        return Err("an entry of `configs` is no table".to_owned());
    };
    let Some(name) = keys.get("config_name").and_then(Value::as_str) else {
        return Err("an entry of `configs` has no `config_name`".to_owned());
    };
    let mut found =
        Config { name: name.to_owned(), is_default: false, splits: None, folder: String::new() };
    for (key, value) in keys {
        match (&**key, value) {
            ("config_name", _) => {}
            ("default", Value::String(text)) => {
                found.is_default = ["true", "yes", "on"].contains(&&*text.to_ascii_lowercase());
            }
            ("data_files", value) => found.splits = Some(splits(value, name)?),
            ("data_dir", Value::String(folder)) => {
                found.folder = folder.trim_start_matches("./").trim_matches('/').to_owned();
            }
            (key, _) if WITHOUT_EFFECT.contains(&key) => {}
            (key, _) => {
                return Err(format!(
                    "the configuration `{}` sets `{}`, which is not read here",
                    shown(name),
                    shown(key)
                ));
            }
        }
    }
    Ok(found)
}

/// The splits of `data_files`: a pattern, a list of patterns, or a list of `split` and `path`.
fn splits(value: &Value, config: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let wrong = || {
        format!(
            "`data_files` of the configuration `{}` are no patterns, and no list of `split` and `path`",
            shown(config)
        )
    };
    let patterns = |value: &Value| -> Result<Vec<String>, String> {
        match value {
            Value::String(pattern) => Ok(vec![pattern.clone()]),
            Value::Array(list) => {
                list.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            _ => Err(wrong()),
        }
    };
    let Value::Array(list) = value else { return Ok(vec![("train".to_owned(), patterns(value)?)]) };
    if list.iter().all(Value::is_string) {
        return Ok(vec![("train".to_owned(), patterns(value)?)]);
    }
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for entry in list {
        let (Some(split), Some(path), Some(2)) =
            (entry["split"].as_str(), entry.get("path"), entry.as_object().map(Map::len))
        else {
            return Err(wrong());
        };
        if found.iter().any(|(known, _)| known == split) {
            return Err(format!(
                "`data_files` of the configuration `{}` name the split `{}` twice",
                shown(config),
                shown(split)
            ));
        }
        found.push((split.to_owned(), patterns(path)?));
    }
    Ok(found)
}

/// What stands between the first two lines `---` of a card.
fn front_matter(text: &str) -> Option<String> {
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
    if lines.next()? != "---" {
        return None;
    }
    let mut front = Vec::new();
    for line in lines {
        if line == "---" {
            return Some(front.join("\n"));
        }
        front.push(line);
    }
    None
}

/// A table of YAML, every scalar as its text.
fn parse(text: &str) -> Result<Map<String, Value>, String> {
    /// A list, or a table with the key whose value comes next.
    enum Open {
        List(Vec<Value>),
        Table(Map<String, Value>, Option<String>),
    }
    let mut stack: Vec<Open> = Vec::new();
    let mut root = Value::Null;
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|error| format!("line {}: {}", error.marker().line() + 1, error.info()))?;
        let line = span.start.line() + 1;
        let value = match event {
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::Alias(_) => return Err(format!("line {line}: an alias")),
            Event::SequenceStart(..) | Event::MappingStart(..) if stack.len() >= DEEPEST => {
                return Err(format!("line {line}: nested more than {DEEPEST} deep"));
            }
            Event::SequenceStart(..) => {
                stack.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                stack.push(Open::Table(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(Open::List(list)) => Value::Array(list),
                Some(Open::Table(table, _)) => Value::Object(table),
                None => continue,
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => continue,
        };
        match stack.last_mut() {
            None => root = value,
            Some(Open::List(list)) => list.push(value),
            Some(Open::Table(table, next)) => match (next.take(), value) {
                (Some(key), value) => {
                    if table.insert(key.clone(), value).is_some() {
                        return Err(format!("line {line}: the key `{}` stands twice", shown(&key)));
                    }
                }
                (None, Value::String(key)) => *next = Some(key),
                (None, _) => {
                    return Err(format!("line {line}: a list or a table stands in place of a key"));
                }
            },
        }
    }
    match root {
        Value::Object(table) => Ok(table),
        _ => Err("expected keys and values".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(front: &str) -> Result<Vec<Config>> {
        configs(&format!("---\n{front}\n---\n# Data\n"), "c/README.md")
    }

    #[test]
    fn a_card_names_configurations_with_patterns_of_splits() {
        let found = read(
            "license: mit\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n  - split: test\n    path:\n\
             \x20   - a.jsonl\n    - b.jsonl\n- config_name: small\n  data_files: \"small/*.csv\"\n  default: true\n- config_name: other\n  data_dir: ./other/\n",
        )
        .unwrap();
        let [default, small, other] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*default.name, default.is_default), ("default", false));
        let splits = default.splits.clone().unwrap();
        assert_eq!(splits[0], ("train".to_owned(), vec!["data/train-*".to_owned()]));
        assert_eq!(
            splits[1],
            ("test".to_owned(), vec!["a.jsonl".to_owned(), "b.jsonl".to_owned()])
        );
        assert_eq!(
            (small.is_default, small.splits.clone().unwrap()[0].1.clone()),
            (true, vec!["small/*.csv".to_owned()])
        );
        assert_eq!((&other.splits, &*other.folder), (&None, "other"));
    }

    #[test]
    fn a_card_without_configurations_has_none_and_one_that_is_not_understood_is_refused() {
        for card in
            ["# Data\n", "---\nlicense: mit\n", "---\nlicense: mit\n---\n", "---\nconfigs:\n---\n"]
        {
            // An empty value of YAML is an empty text here.
            let found = configs(card, "README.md");
            assert!(
                found.as_ref().is_ok_and(Vec::is_empty) || card.contains("configs"),
                "{card} {found:?}"
            );
        }
        for (front, why) in [
            ("configs: 3", "`configs` must be a list"),
            ("configs:\n- data_files: a", "no `config_name`"),
            (
                "configs:\n- config_name: a\n  sep: \";\"",
                "the configuration `a` sets `sep`, which is not read here",
            ),
            (
                "configs:\n- config_name: a\n  data_files:\n  - split: x",
                "no list of `split` and `path`",
            ),
            ("configs: [", "its front matter is not read: line "),
            ("a: 1\na: 2", "the key `a` stands twice"),
            ("a: &x 1\nb: *x", "an alias"),
        ] {
            let error = read(front).unwrap_err();
            assert!(InputError::of(&error).is_some() && error.to_string().contains(why), "{error}");
        }
    }
}
