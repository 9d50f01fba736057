//! Files of the Hugging Face hub: takes a repository and a file name, returns a path in the cache that the Python tools
//! share. It handles names and bytes; [`crate::session`] and [`crate::encoder`] know which files a model or an encoder
//! needs.
//!
//! `tag` verifies contents. [`name`] tells a hub name from a path, [`settings`] reads the environment, `client` sends requests through
//! [`crate::net`], `cache` knows the folders, `download` downloads one file whole or not at all.

mod cache;
mod client;
mod download;
pub mod name;
pub mod settings;
mod tag;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result};

use self::client::Client;
use self::name::{DataFile, Repository};
use self::settings::Settings;
use crate::console::progress::Verbosity;
use crate::disk::{atomic, cache as cache_folder, digest, read};
use crate::error::InputError;
use crate::net::retry::Unreachable;

/// The hub. No request is sent before a file is needed.
pub struct Hub {
    verbosity: Verbosity,
    client: OnceCell<Client>,
    snapshots: RefCell<HashMap<Repository, Rc<Snapshot>>>,
}

/// A model or an encoder of the hub at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// Its repository.
    pub repository: Repository,
    /// The commit of the revision.
    pub commit: String,
    /// The commit's folder in the cache.
    pub folder: PathBuf,
}

/// One commit of a repository.
#[derive(Debug)]
pub struct Snapshot {
    repository: Repository,
    commit: String,
    files: Files,
}

impl Snapshot {
    /// Names of all its files; none when only the cached ones are known.
    pub fn names(&self) -> Option<&[String]> {
        match &self.files {
            Files::Listed(names) => Some(names),
            Files::Cached(_) => None,
        }
    }

    /// Whether the hub lists `name`.
    pub fn lists(&self, name: &str) -> bool {
        self.names().is_some_and(|names| names.iter().any(|known| known == name))
    }

    /// Whether the hub lists its files without `name`.
    pub fn lacks(&self, name: &str) -> bool {
        self.names().is_some_and(|names| !names.iter().any(|known| known == name))
    }
}

/// The known files of a commit.
#[derive(Debug)]
enum Files {
    /// All of them, by name.
    Listed(Vec<String>),
    /// Only those in the cache, with the reason.
    Cached(String),
}

impl Hub {
    /// Reads nothing and sends no request yet.
    pub fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, client: OnceCell::new(), snapshots: RefCell::default() }
    }

    /// Downloads a data file unless it is cached. Returns its path and its commit.
    pub fn data_file(&self, file: &DataFile) -> Result<(PathBuf, String)> {
        let snapshot = self.snapshot(&file.repository)?;
        if let Some(names) = snapshot.names()
            && snapshot.lacks(&file.path)
        {
            let message = format!("{} has no file `{}`", file.repository, file.path);
            return Err(InputError::new(message).hint(some_of(names)).into());
        }
        let path = self.fetch(&snapshot, &file.path)?;
        self.remember(&snapshot)?;
        Ok((path, snapshot.commit.clone()))
    }

    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new(Settings::from_environment()?, self.verbosity)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// The repository at the commit of its revision, from the hub, or from the cache when offline.
    pub fn snapshot(&self, repository: &Repository) -> Result<Rc<Snapshot>> {
        if let Some(known) = self.snapshots.borrow().get(repository) {
            return Ok(Rc::clone(known));
        }
        let client = self.client()?;
        let cached = cache::commit(&client.settings.cache, repository);
        let (commit, files) = if client.settings.offline {
            let commit = cached.ok_or_else(|| {
                let message = format!(
                    "{repository} is not in the cache `{}`, and the hub was not asked: HF_HUB_OFFLINE is set",
                    cache::folder(&client.settings.cache, repository).display()
                );
                InputError::new(message).hint("run once without HF_HUB_OFFLINE")
            })?;
            (commit, Files::Cached("HF_HUB_OFFLINE is set".into()))
        } else {
            match (client.list(repository), cached) {
                (Ok((commit, names)), _) => (commit, Files::Listed(names)),
                (Err(error), Some(commit)) if error.is::<Unreachable>() => {
                    let error = error.to_string();
                    let first = error.lines().next().unwrap_or_default();
                    self.verbosity.warn(format!("{first}; using the cache"));
                    (commit, Files::Cached("the hub cannot be reached".into()))
                }
                (Err(error), _) => return Err(error),
            }
        };
        let snapshot = Rc::new(Snapshot { repository: repository.clone(), commit, files });
        self.snapshots.borrow_mut().insert(repository.clone(), Rc::clone(&snapshot));
        Ok(snapshot)
    }

    /// The commit and its folder in the cache.
    pub fn at(&self, snapshot: &Snapshot) -> Result<HubModel> {
        let (repository, commit) = (snapshot.repository.clone(), snapshot.commit.clone());
        let folder = cache::snapshot(&self.client()?.settings.cache, &repository, &commit);
        Ok(HubModel { repository, commit, folder })
    }

    /// Downloads one file of the commit unless it is cached and as it was downloaded. Returns its path.
    pub fn fetch(&self, snapshot: &Snapshot, name: &str) -> Result<PathBuf> {
        let client = self.client()?;
        let path = cache::snapshot(&client.settings.cache, &snapshot.repository, &snapshot.commit)
            .join(name);
        // A file is linked into the commit's folder only when it is whole; a bit may have changed on disk since.
        let altered = if path.is_file() {
            match cache::altered(&path)? {
                None => return Ok(path),
                altered => altered,
            }
        } else {
            None
        };
        match (&snapshot.files, altered) {
            (Files::Listed(_), altered) => {
                if let Some(blob) = altered {
                    let what = format!("`{}` in the cache is damaged", path.display());
                    self.verbosity.warn(format!("{what}; it is fetched again"));
                    cache::remove(&path, &blob)?;
                }
                download::file(client, snapshot, name)?;
            }
            (Files::Cached(reason), Some(blob)) => {
                let message = format!(
                    "`{}` is damaged: its content `{}` is not what its name says, and {reason}",
                    path.display(),
                    blob.display()
                );
                let hint = "run again when the hub can be reached: the file is fetched again";
                return Err(InputError::new(message).hint(hint).into());
            }
            (Files::Cached(reason), None) => {
                let message = format!("`{}` is not in the cache, and {reason}", path.display());
                let error = InputError::new(message);
                return Err(error.hint("run again when the hub can be reached").into());
            }
        }
        Ok(path)
    }

    /// Stores the names of all files of a commit for offline use. A failure is a warning.
    pub fn keep_names(&self, snapshot: &Snapshot) -> Result<()> {
        let (Some(names), Some(path)) = (snapshot.names(), names_file(snapshot)) else {
            return Ok(());
        };
        let bytes = serde_json::to_vec(names)?;
        if let Err(error) = atomic::write(&path, |out| Ok(out.write_all(&bytes)?)) {
            self.verbosity.warn(format!(
                "the list of files of {} is not cached: {error:#}",
                snapshot.repository
            ));
        }
        Ok(())
    }

    /// The names of all files of a commit as [`Hub::keep_names`] stored them; none where it did not.
    pub fn kept_names(&self, snapshot: &Snapshot) -> Result<Option<Vec<String>>> {
        let Some(path) = names_file(snapshot) else { return Ok(None) };
        // A list that is no JSON is none.
        Ok(read::if_there(&path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Stores the commit of the revision for offline use.
    pub fn remember(&self, snapshot: &Snapshot) -> Result<()> {
        match snapshot.files {
            Files::Listed(_) => {
                let cache = &self.client()?.settings.cache;
                cache::remember(cache, &snapshot.repository, &snapshot.commit)
                    .with_context(|| format!("cannot write in the cache `{}`", cache.display()))
            }
            Files::Cached(_) => Ok(()),
        }
    }
}

/// The file of the names of a commit's files.
fn names_file(snapshot: &Snapshot) -> Option<PathBuf> {
    let Repository { kind, id, .. } = &snapshot.repository;
    let key = digest::of_parts([format!("{kind:?}"), id.clone(), snapshot.commit.clone()]);
    Some(cache_folder::folder("listings")?.join(format!("{key}.json")))
}

/// The first files of a repository, for a hint.
pub fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("it has {}{more}", shown.join(", "))
}
