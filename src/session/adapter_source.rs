//! Where an adapter comes from: a folder, or the hub.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::disk::{digest, read};
use crate::error::InputError;
use crate::hub::name::{Kind, Repository, is_id};
use crate::hub::{self, Hub};
use crate::model::adapter::{CONFIG_FILE, WEIGHTS_FILE};

/// An adapter's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSource {
    /// The folder that holds them.
    pub folder: PathBuf,
    /// A line for the user: repository, commit and digest of an adapter on the hub; none for a folder.
    pub note: Option<String>,
}

impl AdapterSource {
    /// Finds the adapter `name`, a folder or `OWNER/NAME[@REVISION]`; a folder of that name wins. Downloads the files of one on the hub.
    ///
    /// - `setting`: the key or option that names it, for messages.
    pub fn find(name: &str, setting: &str, hub: &Hub) -> Result<Self> {
        let (id, revision) = name.split_once('@').unwrap_or((name, "main"));
        if Path::new(name).exists() || !is_id(id) {
            return Ok(Self { folder: name.into(), note: None });
        }
        Self::fetch(&Repository::new(Kind::Model, id, revision)?, hub).with_context(|| {
            format!(
                "`{setting}`: there is no folder `{name}`, so it is taken for a name on the hub"
            )
        })
    }

    fn fetch(repository: &Repository, hub: &Hub) -> Result<Self> {
        let snapshot = hub.snapshot(repository)?;
        if let Some(names) = snapshot.names() {
            refuse_unusable(repository, names)?;
        }
        hub.fetch(&snapshot, CONFIG_FILE)?;
        let weights = hub.fetch(&snapshot, WEIGHTS_FILE)?;
        hub.remember(&snapshot)?;
        let found = hub.at(&snapshot)?;
        let bytes = read::bytes(&weights)
            .with_context(|| format!("cannot read `{}`", weights.display()))?;
        let note = format!(
            "adapter: {repository}, commit {}, weights sha256 {}",
            found.commit,
            digest::of_bytes(&bytes)
        );
        Ok(Self { folder: found.folder, note: Some(note) })
    }
}

/// Refuses a repository that is no adapter in safetensors, before any download.
fn refuse_unusable(repository: &Repository, names: &[String]) -> Result<(), InputError> {
    let has = |name: &str| names.iter().any(|known| known == name);
    let Some(absent) = [CONFIG_FILE, WEIGHTS_FILE].into_iter().find(|name| !has(name)) else {
        return Ok(());
    };
    let error = InputError::new(format!("{repository} has no `{absent}`"));
    Err(if has("adapter_model.bin") {
        error.hint(
            "it has `adapter_model.bin`, a pickle, which is not read here; load the adapter with PEFT and call \
             `save_pretrained(FOLDER)`, which writes `adapter_model.safetensors`",
        )
    } else if has("config.json") {
        error.hint("it is a whole model and no adapter: give it as the model")
    } else {
        error.hint(hub::some_of(names))
    })
}
