//! What the answers in a folder depend on, so that another command does not mix its own with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::disk::{atomic, read, seal, writable};
use crate::error::{InputError, shown};
use crate::run_folder::answers::AnswersFolder;
use crate::run_folder::{self, LOCK_FILE};

/// Name and value of everything that the answers depend on, such as `chat-model` and `data test`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswersSettings {
    settings: BTreeMap<String, String>,
}

impl AnswersSettings {
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

impl AnswersFolder {
    /// Refuses a folder that cannot be written, or that holds anything else than answers. Writes nothing.
    pub fn check(&self) -> Result<()> {
        let path = self.path();
        writable::check(path)?;
        let begun = path.join(LOCK_FILE).exists();
        let names = [
            self.about(),
            self.answers(),
            self.journal(),
            self.generations(),
            self.settings(),
            path.join(LOCK_FILE),
        ];
        let is_ours = |entry: &Path| {
            names.iter().any(|name| {
                let own = name.file_name().unwrap_or_default().to_string_lossy();
                entry.ends_with(&*own) || atomic::is_partial_of(entry, &own)
            })
        };
        match read::folder(path)?.into_iter().find(|entry| !(begun && is_ours(entry))) {
            None => Ok(()),
            Some(entry) => {
                let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let what = format!(
                    "output folder `{}` holds `{name}` and is no folder of answers",
                    path.display()
                );
                Err(InputError::new(what).hint("give another folder with `--output`").into())
            }
        }
    }

    /// Locks the folder for this process, and writes `settings` unless they stand there. Refuses a folder that was begun with others.
    pub fn begin(&self, settings: &AnswersSettings) -> Result<File> {
        self.check()?;
        let lock = run_folder::lock(self.path())?;
        // Another program may have begun meanwhile.
        self.check()?;
        atomic::sweep(self.path())?;
        if !self.holds(settings)? {
            let path = self.settings();
            atomic::write(&path, |out| Ok(out.write_all(&seal::indented(settings)?)?))?;
        }
        Ok(lock)
    }

    /// Whether the folder was begun with `settings`; false where it was not begun. Refuses one that was begun with others.
    pub fn holds(&self, settings: &AnswersSettings) -> Result<bool> {
        let path = self.settings();
        let Some(bytes) = read::if_there(&path)? else {
            if read::is_there(&self.about())? {
                let what = format!("`{}` is missing beside `answers.json`", path.display());
                let hint = "put the file back, or give another folder with `--output`";
                return Err(InputError::new(what).hint(hint).into());
            }
            return Ok(false);
        };
        let broken = |why: &dyn std::fmt::Display| {
            InputError::new(format!("`{}` was changed after it was written: {why}", path.display()))
                .hint(
                    "put the file back; in a folder without answers.json it may be removed: the command that began the folder then \
                     resumes, any other asks all anew",
                )
        };
        let object = seal::open(&bytes).map_err(|error| broken(&error))?;
        let found: AnswersSettings =
            serde_json::from_slice(&object).map_err(|error| broken(&error))?;
        let differences = found.differences(settings);
        if differences.is_empty() {
            return Ok(true);
        }
        let what = format!(
            "output folder `{}` holds the answers of another command: {}",
            self.path().display(),
            differences.join("; ")
        );
        let hint = "give another folder with `--output`, or the command that it began with";
        Err(InputError::new(what).hint(hint).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(model: &str, seed: &str) -> AnswersSettings {
        let mut settings = AnswersSettings::default();
        settings.add("chat-model", model);
        settings.add("seed", seed);
        settings
    }

    #[test]
    fn another_command_is_refused_by_what_differs_and_the_same_one_resumes() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = AnswersFolder::of(&temporary.path().join("a"));
        let lock = folder.begin(&settings("m", "")).unwrap();
        let busy = folder.begin(&settings("m", "")).unwrap_err().to_string();
        assert!(busy.contains("another program"), "{busy}");
        drop(lock);
        let before = std::fs::read(folder.settings()).unwrap();
        folder.begin(&settings("m", "")).unwrap();
        let other = folder.begin(&settings("n", "1")).unwrap_err().to_string();
        assert!(other.contains("`chat-model` was `m`, is `n`; `seed` was none, is `1`"), "{other}");
        assert_eq!(std::fs::read(folder.settings()).unwrap(), before);
        assert_eq!(folder.name().unwrap(), "a");
        std::fs::write(folder.settings(), "{}").unwrap();
        assert!(folder.begin(&settings("m", "")).is_err());
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::write(temporary.path().join("thesis.tex"), "x").unwrap();
        let folder = AnswersFolder::of(temporary.path());
        let error = folder.begin(&settings("m", "")).unwrap_err().to_string();
        assert!(error.contains("holds `thesis.tex`"), "{error}");
        assert!(!temporary.path().join(LOCK_FILE).exists());
    }
}
