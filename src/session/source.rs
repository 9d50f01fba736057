//! Where a base model comes from: a folder, the hub, or the binary.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::config::ModelSection;
use crate::console::progress::Verbosity;
use crate::disk::read;
use crate::error::InputError;
use crate::hub::{Hub, HubModel, name};
use crate::presets;
use crate::session::hub_model;
use crate::session::unpacked::Unpacked;

/// Where the base model comes from.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// A folder.
    Folder(PathBuf),
    /// A commit in the hub's cache.
    Hub(HubModel),
    /// Files inside the binary, to be unpacked into the run folder, or into the cache by what has none.
    Embedded(Vec<(&'static str, &'static [u8])>),
}

impl ModelSource {
    pub(super) fn find(section: &ModelSection, hub: &Hub) -> Result<Self> {
        let path = section.path.as_str();
        if let Some(files) = presets::embedded_folder(path) {
            return Ok(Self::Embedded(files));
        }
        if ["embedded", "builtin", "tiny", "embedded:tiny"].contains(&path)
            && !Path::new(path).exists()
        {
            let error = InputError::new(format!("model folder `{path}` does not exist"));
            return Err(error
                .hint(format!("the model inside the binary is `{}`", presets::MODEL))
                .into());
        }
        if path.starts_with("embedded:") {
            // Fails with an error that lists what the binary has.
            presets::read(&format!("{}/config.json", path.trim_end_matches('/')))?;
        }
        let folder = PathBuf::from(path);
        if !folder.exists() && name::is_id(path) {
            let model = hub_model::find(hub, path, &section.revision).with_context(|| {
                format!("there is no folder `{path}`, so it is taken for a name on the hub")
            })?;
            return Ok(Self::Hub(model));
        }
        if !folder.is_dir() {
            let error = InputError::new(format!("model folder `{path}` does not exist"));
            return Err(error
                .hint(
                    "`model.path` must be a hub id, `OWNER/NAME`, or the folder of a Hugging Face checkpoint: \
                     config.json, tokenizer.json, *.safetensors",
                )
                .into());
        }
        Ok(Self::Folder(folder))
    }

    /// The folder of the model of `section` on the machine of a rank: `leaders`, where the leader has it, if that is here too; otherwise it is
    /// found, or fetched, as the leader did. A model inside the binary is unpacked for as long as the second value lives.
    pub fn of_rank(section: &ModelSection, leaders: &str) -> Result<(PathBuf, Option<Unpacked>)> {
        if Path::new(leaders).is_dir() {
            return Ok((leaders.into(), None));
        }
        let hub = Hub::new(Verbosity::Quiet);
        Ok(match Self::find(section, &hub)? {
            Self::Folder(folder) => (folder, None),
            Self::Hub(model) => {
                hub_model::fetch_weights(&hub, &model)?;
                (model.folder, None)
            }
            Self::Embedded(files) => {
                let unpacked = Unpacked::of(&files)?;
                (unpacked.folder.clone(), Some(unpacked))
            }
        })
    }

    /// The folder, unless the model is inside the binary.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Hub(model) => Some(&model.folder),
            Self::Embedded(_) => None,
        }
    }

    /// The model on the hub; none for another source.
    pub fn on_hub(&self) -> Option<&HubModel> {
        match self {
            Self::Hub(model) => Some(model),
            Self::Folder(_) | Self::Embedded(_) => None,
        }
    }

    pub(super) fn file(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>> {
        if let Self::Embedded(files) = self {
            let file = files.iter().find(|(known, _)| *known == name);
            return Ok(file.map(|(_, bytes)| Cow::Borrowed(*bytes)));
        }
        let bytes = self.folder().map(|folder| read::if_there(&folder.join(name))).transpose()?;
        Ok(bytes.flatten().map(Cow::Owned))
    }
}
