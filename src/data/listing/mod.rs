//! The files of a folder or of a data set of the hub -> those of one split, as `datasets.load_dataset` and `load_from_disk` choose them.
//!
//! A folder that `save_to_disk` wrote names its files itself. Otherwise the card (`README.md`) may have configurations with patterns; without
//! them the names of the files tell the splits. What is not read is named.

pub mod card;
pub mod saved;
mod splits;

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use glob::{MatchOptions, Pattern};

use self::card::Config;
use self::splits::Split;
use crate::data::unpacked::inner_name;
use crate::error::{InputError, shown};

/// How patterns match: `*` stays within a folder, and a leading dot is written out.
pub const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Names shown of a list.
const SHOWN: usize = 12;

/// A folder of the disk or a data set of the hub.
pub struct Tree<'a> {
    /// What it is, for messages: ``folder `data` ``.
    pub title: String,
    /// The paths of all its files, with `/` between folders.
    pub files: Vec<String>,
    /// Reads one of them.
    pub read: &'a dyn Fn(&str) -> Result<Vec<u8>>,
}

/// What is wanted of a tree.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// The configuration, where the card has several; none for the default.
    pub config: Option<&'a str>,
    /// The split; none for the only one.
    pub split: Option<&'a str>,
    /// The split that is taken where none is wanted and there are several.
    pub fallback: Option<&'a str>,
}

/// The chosen files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Paths in the tree, in order; at least one.
    pub files: Vec<String>,
    /// A line for the user: split, number of files, what is left.
    pub note: String,
}

impl Tree<'_> {
    /// The files of one split. Refuses a split or a configuration that is not there, several of which none is named, and files of several
    /// formats.
    pub fn choose(&self, wanted: Wanted<'_>) -> Result<Chosen> {
        if self.has(saved::DICT) || self.has(saved::STATE) {
            if let Some(config) = wanted.config {
                return Err(self
                    .refuse(
                        &format!("has no configuration `{}`", shown(config)),
                        "it was written by `save_to_disk`",
                    )
                    .into());
            }
            return self.saved(wanted);
        }
        let hidden = |file: &&String| !splits::is_hidden(file);
        let data: Vec<String> = self
            .files
            .iter()
            .filter(hidden)
            .filter(|file| splits::form(file).is_some())
            .cloned()
            .collect();
        let inner: Vec<_> = self
            .files
            .iter()
            .filter_map(|file| file.strip_suffix(&format!("/{}", saved::STATE)))
            .collect();
        if !inner.is_empty() {
            return Err(self
                .refuse("holds folders of `save_to_disk`", &format!("name one: {}", listed(&inner)))
                .into());
        }
        let mut others: Vec<&str> = self.files.iter().filter(hidden).map(String::as_str).collect();
        others.retain(|file| splits::form(file).is_none() && !splits::is_no_surprise(file));
        let (found, left) = match self.config(wanted.config)? {
            Some(Config { name, splits: Some(patterns), folder, .. }) => {
                (self.matched(&name, &patterns, &folder, &data)?, Vec::new())
            }
            Some(Config { folder, .. }) if !folder.is_empty() => {
                let within = |file: &String| {
                    Some(file.strip_prefix(&*folder)?.strip_prefix('/')?.to_owned())
                };
                let (mut found, left) =
                    splits::splits(&data.iter().filter_map(within).collect::<Vec<_>>());
                let whole = |file: &mut String| *file = format!("{folder}/{file}");
                found.iter_mut().for_each(|split| split.files.iter_mut().for_each(whole));
                (found, left)
            }
            _ => splits::splits(&data),
        };
        others.extend(left.iter().map(String::as_str));
        if found.iter().all(|split| split.files.is_empty()) {
            let hint = match &others[..] {
                [] if self.files.is_empty() => "it is empty".to_owned(),
                [] => format!(
                    "data files end in .jsonl, .json, .parquet, .arrow, .csv or .tsv, or these and .gz or .zst; it has {}",
                    listed(&self.files)
                ),
                others => format!(
                    "data files end in .jsonl, .json, .parquet, .arrow, .csv or .tsv, or these and .gz or .zst; it has {}",
                    listed(others)
                ),
            };
            return Err(self.refuse("has no data file", &hint).into());
        }
        let chosen = self.pick(&found, wanted)?;
        let first = chosen.files.first().and_then(|file| splits::form(file));
        if let Some(other) = chosen.files.iter().find(|file| splits::form(file) != first) {
            let what =
                format!("has files of several formats: `{}` and `{}`", chosen.files[0], other);
            return Err(self
                .refuse(
                    &what,
                    "name those to read, as in `FOLDER/*.jsonl`: they may hold the same records",
                )
                .into());
        }
        let mut seen = HashMap::new();
        let twice = chosen
            .files
            .iter()
            .find_map(|file| seen.insert(inner_name(file), file).map(|other| (other, file)));
        if let Some((one, other)) = twice {
            let what = format!("has the same file as `{one}` and `{other}`");
            return Err(self.refuse(&what, "keep one: they hold the same records").into());
        }
        Ok(self.chosen(chosen, &found, &others))
    }

    fn has(&self, file: &str) -> bool {
        self.files.iter().any(|known| known == file)
    }

    fn refuse(&self, what: &str, hint: &str) -> InputError {
        InputError::new(format!("{} {what}", self.title)).hint(hint)
    }

    /// The files that `save_to_disk` wrote.
    fn saved(&self, wanted: Wanted<'_>) -> Result<Chosen> {
        let state = |folder: &str| -> Result<(Vec<String>, Option<String>)> {
            let path = format!("{folder}{}", saved::STATE);
            if !self.has(&path) {
                return Err(self
                    .refuse(
                        &format!("has no `{path}`"),
                        "it may be cut short: save the data set again",
                    )
                    .into());
            }
            let info = format!("{folder}{}", saved::INFO);
            let columns = match self.has(&info) {
                true => saved::columns(&(self.read)(&info)?),
                false => Vec::new(),
            };
            let name = format!("{}: `{path}`", self.title);
            let (files, split) = saved::files(&(self.read)(&path)?, &name, &columns)?;
            let files: Vec<_> = files.into_iter().map(|file| format!("{folder}{file}")).collect();
            if let Some(absent) = files.iter().find(|file| !self.has(file)) {
                return Err(self
                    .refuse(
                        &format!("has no `{absent}`, which `{path}` names"),
                        "it may be cut short: save the data set again",
                    )
                    .into());
            }
            Ok((files, split))
        };
        if !self.has(saved::DICT) {
            let (files, split) = state("")?;
            // As datasets names the split of a data set that has none.
            let name = split.unwrap_or_else(|| "train".to_owned());
            let found = [Split { name, files }];
            let chosen = self.pick(&found, wanted)?;
            if chosen.files.is_empty() {
                return Err(self.refuse("has no data file", "its `state.json` names none").into());
            }
            return Ok(self.chosen(chosen, &found, &[]));
        }
        let names = saved::splits(
            &(self.read)(saved::DICT)?,
            &format!("{}: `{}`", self.title, saved::DICT),
        )?;
        let found: Vec<_> =
            names.into_iter().map(|name| Split { name, files: Vec::new() }).collect();
        let name = self.pick(&found, wanted)?.name.clone();
        let files = state(&format!("{name}/"))?.0;
        Ok(self.chosen(&Split { name, files }, &found, &[]))
    }

    /// The configuration of that name, or the default one; none where the card has none.
    fn config(&self, wanted: Option<&str>) -> Result<Option<Config>> {
        let configs = match self.has(card::CARD) {
            true => {
                let bytes = (self.read)(card::CARD)?;
                card::configs(
                    &String::from_utf8_lossy(&bytes),
                    &format!("{}: `{}`", self.title, card::CARD),
                )?
            }
            false => Vec::new(),
        };
        let names: Vec<_> = configs.iter().map(|config| config.name.clone()).collect();
        let list = |what: &str| match &names[..] {
            [] => self.refuse(what, "it has no configurations: leave it out"),
            names => self.refuse(what, &format!("it has {}", listed(names))),
        };
        if let Some(wanted) = wanted {
            let found = configs.into_iter().find(|config| config.name == wanted);
            return found
                .map(Some)
                .ok_or_else(|| list(&format!("has no configuration `{}`", shown(wanted))).into());
        }
        let is_default =
            |config: &&Config| configs.len() == 1 || config.name == "default" || config.is_default;
        let defaults: Vec<_> = configs.iter().filter(is_default).collect();
        match (&defaults[..], configs.is_empty()) {
            ([], true) => Ok(None),
            ([one], _) => Ok(Some((*one).clone())),
            _ => {
                let example = names.first().map_or("NAME", |name| name);
                Err(self
                    .refuse(
                        "has several configurations",
                        &format!(
                            "name one behind it, as in `NAME/{example}`: it has {}",
                            listed(&names)
                        ),
                    )
                    .into())
            }
        }
    }

    /// Whether the card or the default has a configuration of that name.
    pub fn has_config(&self, name: &str) -> Result<bool> {
        Ok(match self.config(Some(name)) {
            Ok(config) => config.is_some(),
            Err(error) if error.to_string().contains("has no configuration") => false,
            Err(error) => return Err(error),
        })
    }

    /// The data files that the patterns of a configuration match.
    fn matched(
        &self,
        config: &str,
        patterns: &[(String, Vec<String>)],
        folder: &str,
        data: &[String],
    ) -> Result<Vec<Split>> {
        let mut found = Vec::new();
        for (name, patterns) in patterns {
            let (mut files, mut taken) = (Vec::new(), HashSet::new());
            for text in patterns {
                let text = text.trim_start_matches("./");
                let text =
                    if folder.is_empty() { text.to_owned() } else { format!("{folder}/{text}") };
                let pattern = Pattern::new(&text).map_err(|error| {
                    self.refuse(
                        &format!(
                            "has the pattern `{}`, which is none: {}",
                            shown(&text),
                            error.msg
                        ),
                        "see its README.md",
                    )
                })?;
                let is_matched = |file: &&String| pattern.matches_with(file, MATCHING);
                let mut matched: Vec<&String> = data.iter().filter(is_matched).collect();
                if matched.is_empty() {
                    let what = format!(
                        "has no data file `{}` of the configuration `{}`",
                        shown(&text),
                        shown(config)
                    );
                    return Err(self.refuse(&what, "see its README.md").into());
                }
                matched.sort();
                files.extend(matched.into_iter().filter(|file| taken.insert(*file)).cloned());
            }
            found.push(Split { name: name.clone(), files });
        }
        Ok(found)
    }

    fn pick<'a>(&self, found: &'a [Split], wanted: Wanted<'_>) -> Result<&'a Split> {
        let names: Vec<_> = found.iter().map(|split| split.name.clone()).collect();
        let of = |name: &str| found.iter().find(|split| split.name == name);
        if let Some(name) = wanted.split {
            let hint = match splits::is_name(name) {
                true => format!("it has {}", listed(&names)),
                false => format!(
                    "a split is named alone, without `[...]` or `+`; it has {}",
                    listed(&names)
                ),
            };
            return of(name).ok_or_else(|| {
                self.refuse(&format!("has no split `{}`", shown(name)), &hint).into()
            });
        }
        match (found, wanted.fallback.and_then(of)) {
            ([one], _) | (_, Some(one)) => Ok(one),
            _ => {
                let example = names.first().map_or("train", |name| name);
                Err(self.refuse(&format!("has {} splits", found.len()), &format!("name one, as `split = \"{example}\"` or as `:{example}` behind the name: it has {}", listed(&names))).into())
            }
        }
    }

    fn chosen(&self, split: &Split, found: &[Split], left: &[&str]) -> Chosen {
        let files = split.files.len();
        let plural = if files == 1 { "" } else { "s" };
        let mut note = format!("{}: split `{}`, {files} file{plural}", self.title, split.name);
        let others: Vec<_> =
            found.iter().map(|other| &*other.name).filter(|name| *name != split.name).collect();
        if !others.is_empty() {
            note.push_str(&format!("; it has {} too", listed(&others)));
        }
        if !left.is_empty() {
            note.push_str(&format!("; not read: {}", listed(left)));
        }
        Chosen { files: split.files.clone(), note }
    }
}

/// Names in backticks, the first of them where they are many.
pub fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let first: Vec<_> =
        names.iter().take(SHOWN).map(|name| format!("`{}`", shown(name.as_ref()))).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", first.join(", "))
}

/// Whether a file holds records by its ending.
pub fn is_data(path: &str) -> bool {
    splits::form(path).is_some()
}

/// Whether a file or a folder of its path is hidden.
pub fn is_hidden(path: &str) -> bool {
    splits::is_hidden(path)
}

#[cfg(test)]
mod tests;
