//! What the files of a folder depend on, written before the first of them, so that another command does not mix its own with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::disk::{atomic, lock, read, seal, writable};
use crate::error::{InputError, shown};

/// Name and value of everything that the files of a folder depend on, such as `chat-model` and `data test`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    settings: BTreeMap<String, String>,
}

impl Settings {
    /// Adds one, under the name of its option; an empty value is none.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.settings.insert(name.into(), value);
        }
    }

    /// What differs from `now`, one sentence each.
    fn differences(&self, now: &Self) -> Vec<String> {
        let names: BTreeSet<_> = self.settings.keys().chain(now.settings.keys()).collect();
        let value = |of: &Self, name: &String| match of.settings.get(name) {
            Some(value) => format!("`{}`", shown(value)),
            None => "none".to_owned(),
        };
        names
            .into_iter()
            .filter(|name| self.settings.get(*name) != now.settings.get(*name))
            .map(|name| format!("`{name}` was {}, is {}", value(self, name), value(now, name)))
            .collect()
    }
}

/// A folder that a command fills over several starts.
#[derive(Debug, Clone, Copy)]
pub struct Begun<'a> {
    /// The folder.
    pub path: &'a Path,
    /// Names of the files and folders that may be in it, beside its lock and its settings.
    pub own: &'a [&'a str],
    /// What it holds, such as `answers`.
    pub noun: &'a str,
    /// The file that is written last.
    pub last: &'a str,
}

/// What the files depend on.
pub const SETTINGS_FILE: &str = "settings.json";

impl Begun<'_> {
    /// Refuses a folder that cannot be written, or that holds anything else. Writes nothing.
    pub fn check(&self) -> Result<()> {
        writable::check(self.path)?;
        // In one listing, since another program may begin meanwhile. A copy of a folder may lack the empty lock.
        let there = read::folder(self.path)?;
        let first = [lock::FILE, SETTINGS_FILE];
        let begun = there.iter().any(|entry| first.iter().any(|name| entry.ends_with(name)));
        let is_ours = |entry: &Path| {
            let own = self.own.iter().chain([&SETTINGS_FILE, &lock::FILE]);
            own.into_iter().any(|own| entry.ends_with(own) || atomic::is_partial_of(entry, own))
        };
        match there.into_iter().find(|entry| !(begun && is_ours(entry))) {
            None => Ok(()),
            Some(entry) => {
                let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let what = format!(
                    "output folder `{}` holds `{name}` and is no folder of {}",
                    self.path.display(),
                    self.noun
                );
                Err(InputError::new(what).hint("give another folder with `--output`").into())
            }
        }
    }

    /// Locks the folder for this process, and writes `settings` unless they stand there. Refuses a folder that was begun with others.
    pub fn begin(&self, settings: &Settings) -> Result<File> {
        self.check()?;
        let lock = lock::folder(self.path)?;
        // Another program may have begun meanwhile.
        self.check()?;
        atomic::sweep(self.path)?;
        if !self.holds(settings)? {
            let path = self.path.join(SETTINGS_FILE);
            atomic::write(&path, |out| Ok(out.write_all(&seal::indented(settings)?)?))?;
        }
        Ok(lock)
    }

    /// Whether the folder was begun with `settings`; false where it was not begun. Refuses one that was begun with others.
    pub fn holds(&self, settings: &Settings) -> Result<bool> {
        let path = self.path.join(SETTINGS_FILE);
        let last = self.last;
        let Some(bytes) = read::if_there(&path)? else {
            if read::is_there(&self.path.join(last))? {
                let what = format!("`{}` is missing beside `{last}`", path.display());
                let hint = "put the file back, or give another folder with `--output`";
                return Err(InputError::new(what).hint(hint).into());
            }
            return Ok(false);
        };
        let broken = |why: &dyn std::fmt::Display| {
            InputError::new(format!("`{}` was changed after it was written: {why}", path.display()))
                .hint(format!(
                    "put the file back; in a folder without {last} it may be removed: the command that began the folder then \
                     resumes, any other asks all anew"
                ))
        };
        let object = seal::open(&bytes).map_err(|error| broken(&error))?;
        let found: Settings = serde_json::from_slice(&object).map_err(|error| broken(&error))?;
        let differences = found.differences(settings);
        if differences.is_empty() {
            return Ok(true);
        }
        let what = format!(
            "output folder `{}` holds the {} of another command: {}",
            self.path.display(),
            self.noun,
            differences.join("; ")
        );
        let hint = "give another folder with `--output`, or the command that it began with";
        Err(InputError::new(what).hint(hint).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(model: &str, seed: &str) -> Settings {
        let mut settings = Settings::default();
        settings.add("chat-model", model);
        settings.add("seed", seed);
        settings
    }

    fn begun(path: &Path) -> Begun<'_> {
        Begun { path, own: &["answers.jsonl"], noun: "answers", last: "answers.json" }
    }

    #[test]
    fn another_command_is_refused_by_what_differs_and_the_same_one_resumes() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a");
        let folder = begun(&path);
        let file = path.join(SETTINGS_FILE);
        let lock = folder.begin(&settings("m", "")).unwrap();
        let busy = folder.begin(&settings("m", "")).unwrap_err().to_string();
        assert!(busy.contains("another program"), "{busy}");
        drop(lock);
        let before = std::fs::read(&file).unwrap();
        std::fs::write(path.join("answers.jsonl"), "").unwrap();
        folder.begin(&settings("m", "")).unwrap();
        let other = folder.begin(&settings("n", "1")).unwrap_err().to_string();
        assert!(
            other.contains("the answers of another command: `chat-model` was `m`, is `n`; `seed` was none, is `1`"),
            "{other}"
        );
        assert_eq!(std::fs::read(&file).unwrap(), before);
        std::fs::write(&file, "{}").unwrap();
        assert!(folder.begin(&settings("m", "")).is_err());
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::write(temporary.path().join("thesis.tex"), "x").unwrap();
        let error = begun(temporary.path()).begin(&settings("m", "")).unwrap_err().to_string();
        assert!(error.contains("holds `thesis.tex` and is no folder of answers"), "{error}");
        assert!(!temporary.path().join(lock::FILE).exists());
    }
}
