//! The configurations of a data set, from the front matter of its `README.md`: `configs`, each with its `data_files`.

use anyhow::{Error, Result};

use crate::disk::yaml::{self, Node, Yaml};
use crate::error::{InputError, shown};

/// The file of a data set that may have configurations.
pub const CARD: &str = "README.md";

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
    let Some(front) = front_matter(text).filter(|front| !front.trim().is_empty()) else {
        return Ok(Vec::new());
    };
    let hinted = |error: InputError| {
        Error::from(error.hint("name the files themselves, or a pattern, in place of the data set"))
    };
    let front = yaml::table(&front, name).map_err(|error| match InputError::of(&error) {
        Some(error) => hinted(error.clone()),
        None => error,
    })?;
    let wrong = |what: String| hinted(InputError::new(format!("{name}: {what}")));
    let configs = match front.iter().find(|(key, _)| key == "configs").map(|(_, node)| &node.value)
    {
        None | Some(Yaml::Null) => return Ok(Vec::new()),
        Some(Yaml::List(configs)) => configs,
        Some(_) => return Err(wrong("`configs` must be a list".to_owned())),
    };
    configs.iter().map(|config| config_of(&config.value).map_err(wrong)).collect()
}

fn config_of(config: &Yaml) -> Result<Config, String> {
    let Yaml::Table(keys) = config else {
        return Err("an entry of `configs` is no table".to_owned());
    };
    let Some(name) = config.get("config_name").and_then(|name| text(&name.value)) else {
        return Err("an entry of `configs` has no `config_name`".to_owned());
    };
    let mut found =
        Config { name: name.clone(), is_default: false, splits: None, folder: String::new() };
    for (key, Node { value, .. }) in keys {
        match (&**key, value) {
            ("config_name", _) | (_, Yaml::Null) => {}
            ("default", Yaml::Bool(flag)) => found.is_default = *flag,
            ("data_files", value) => found.splits = Some(splits(value, &name)?),
            ("data_dir", Yaml::Text(folder)) => {
                found.folder = folder.trim_start_matches("./").trim_matches('/').to_owned();
            }
            (key, _) if WITHOUT_EFFECT.contains(&key) => {}
            (key, value) => {
                return Err(format!(
                    "the configuration `{}` sets `{}: {}`, which is not read here",
                    shown(&name),
                    shown(key),
                    shown(value)
                ));
            }
        }
    }
    Ok(found)
}

/// A name: the text of a scalar, also of one such as `2024`.
fn text(value: &Yaml) -> Option<String> {
    let is_scalar = !matches!(value, Yaml::Null | Yaml::List(_) | Yaml::Table(_));
    is_scalar.then(|| value.as_key())
}

/// The splits of `data_files`: a pattern, a list of patterns, or a list of `split` and `path`.
fn splits(value: &Yaml, config: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let wrong = || {
        format!(
            "`data_files` of the configuration `{}` are no patterns, and no list of `split` and `path`",
            shown(config)
        )
    };
    let patterns = |value: &Yaml| -> Result<Vec<String>, String> {
        match value {
            Yaml::List(list) => list
                .iter()
                .map(|one| one.value.text().map(str::to_owned).ok_or_else(wrong))
                .collect(),
            one => one.text().map(|pattern| vec![pattern.to_owned()]).ok_or_else(wrong),
        }
    };
    let Yaml::List(list) = value else { return Ok(vec![("train".to_owned(), patterns(value)?)]) };
    if list.iter().all(|one| one.value.text().is_some()) {
        return Ok(vec![("train".to_owned(), patterns(value)?)]);
    }
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for Node { value: entry, .. } in list {
        let has_both = matches!(entry, Yaml::Table(keys) if keys.len() == 2);
        let (Some(split), Some(path), true) =
            (entry.get("split").and_then(|split| text(&split.value)), entry.get("path"), has_both)
        else {
            return Err(wrong());
        };
        if found.iter().any(|(known, _)| *known == split) {
            return Err(format!(
                "`data_files` of the configuration `{}` name the split `{}` twice",
                shown(config),
                shown(&split)
            ));
        }
        found.push((split, patterns(&path.value)?));
    }
    Ok(found)
}

/// What stands between the first two lines `---` of a card.
fn front_matter(text: &str) -> Option<String> {
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
    if lines.next()? != "---" {
        return None;
    }
    // An empty line in place of the first one: the lines of messages are those of the card.
    let mut front = vec![""];
    for line in lines {
        if line == "---" {
            return Some(front.join("\n"));
        }
        front.push(line);
    }
    None
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
        for card in [
            "# Data\n",
            "---\n---\n",
            "---\nlicense: mit\n",
            "---\nlicense: mit\n---\n",
            "---\nconfigs:\n---\n",
        ] {
            assert_eq!(configs(card, "README.md").unwrap(), [], "{card}");
        }
        for (front, why) in [
            ("configs: 3", "`configs` must be a list"),
            ("configs:\n- data_files: a", "no `config_name`"),
            (
                "configs:\n- config_name: a\n  sep: \";\"",
                "the configuration `a` sets `sep: \";\"`, which is not read here",
            ),
            (
                "configs:\n- config_name: a\n  data_files:\n  - split: x",
                "no list of `split` and `path`",
            ),
            ("configs: [", "c/README.md:3: not YAML: "),
            ("a: 1\na: 2", "c/README.md:3: `a` stands twice, first in line 2"),
        ] {
            let error = read(front).unwrap_err();
            assert!(InputError::of(&error).is_some() && error.to_string().contains(why), "{error}");
        }
    }
}
