//! The sentence encoder that a key such as `eval.spmr.embedder` names: found and checked early, loaded when every other input is checked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::disk::digest;
use crate::encoder::embedder::Embedder;
use crate::encoder::hub_files;
use crate::encoder::layout::Layout;
use crate::error::InputError;
use crate::hub::{Hub, HubModel, name};

/// A sentence encoder whose small files are checked.
pub struct EncoderSource {
    /// The key that names it, for messages.
    key: &'static str,
    folder: PathBuf,
    on_hub: Option<HubModel>,
    layout: Layout,
}

impl EncoderSource {
    /// Finds `embedder`, a folder or a hub id that the key `key` names, and checks its small files; those on the hub are downloaded.
    pub fn find(embedder: &str, key: &'static str, hub: &Hub) -> Result<Self> {
        let context = || format!("`{key}`");
        let folder = PathBuf::from(embedder);
        if folder.exists() || !name::is_id(embedder) {
            if !folder.exists() {
                return Err(InputError::new(format!("sentence encoder `{embedder}` does not exist"))
                    .hint(format!("`{key}` must be a hub id, `OWNER/NAME`, or the folder of a sentence-transformers encoder"))
                    .into());
            }
            let layout = Layout::read(&folder).with_context(context)?;
            return Ok(Self { key, folder, on_hub: None, layout });
        }
        let model = hub_files::find(hub, embedder).with_context(|| {
            format!("there is no folder `{embedder}`, so it is taken for a name on the hub")
        })?;
        let layout = Layout::read(&model.folder).with_context(context)?;
        Ok(Self { key, folder: model.folder.clone(), on_hub: Some(model), layout })
    }

    /// A note on its commit; none if it is not from the hub.
    pub fn note(&self) -> Option<String> {
        let model = self.on_hub.as_ref()?;
        Some(format!("sentence encoder: {}, commit {}", model.repository, model.commit))
    }

    /// Downloads the weights of an encoder on the hub.
    pub fn fetch_weights(&self, hub: &Hub) -> Result<()> {
        match &self.on_hub {
            Some(model) => hub_files::fetch_weights(hub, model, &self.layout.weight_files()),
            None => Ok(()),
        }
    }

    /// Loads the encoder.
    pub fn load(&self) -> Result<Embedder> {
        Embedder::load(&self.folder).with_context(|| format!("`{}`", self.key))
    }

    /// SHA-256 of every file that an embedding depends on, with its path inside the encoder.
    pub fn digests(&self) -> Result<Vec<(PathBuf, String)>> {
        let inside = |path: &Path| path.strip_prefix(&self.folder).unwrap_or(path).to_owned();
        let files = self.layout.files.iter();
        files.map(|path| Ok((inside(path), digest::of_file(path)?))).collect()
    }

    /// Digest of the content of all these files.
    pub fn digest(&self) -> Result<String> {
        Ok(digest::of_parts(self.digests()?.into_iter().map(|(_, sha256)| sha256)))
    }
}
