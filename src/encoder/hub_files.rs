//! Downloads the files of a sentence encoder, the small ones first, so that an unsupported one costs nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::disk::read;
use crate::encoder::layout::{
    CONFIG_FILE, MODULES_FILE, SETTINGS_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE,
    TRANSFORMER_FILE, parse_modules,
};
use crate::error::InputError;
use crate::hub::name::{Kind, Repository};
use crate::hub::{self, Hub, HubModel};

/// Files of the Transformer besides its configuration and weights.
const TRANSFORMER: [&str; 3] = [TRANSFORMER_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE];

/// Finds the encoder `id` and downloads its files, as far as the repository has them, but not its weights.
pub fn find(hub: &Hub, id: &str) -> Result<HubModel> {
    let repository = Repository::new(Kind::Model, id, "main")?;
    let snapshot = hub.snapshot(&repository)?;
    if let Some(names) = snapshot.names()
        && snapshot.lacks(MODULES_FILE)
    {
        let message =
            format!("{repository} has no `{MODULES_FILE}`, so it is not a sentence encoder");
        return Err(InputError::new(message).hint(hub::some_of(names)).into());
    }
    let modules = hub.fetch(&snapshot, MODULES_FILE)?;
    let text =
        read::text(&modules).with_context(|| format!("cannot read `{}`", modules.display()))?;
    let mut wanted = vec![SETTINGS_FILE.to_owned()];
    for (kind, path) in parse_modules(&text, &modules.display().to_string())? {
        let more = if kind == "Transformer" { &TRANSFORMER[..] } else { &[] };
        let inside = |name: &&str| Path::new(&path).join(name).display().to_string();
        wanted.extend([CONFIG_FILE].iter().chain(more).map(inside));
    }
    for name in wanted.iter().filter(|name| snapshot.lists(name)) {
        hub.fetch(&snapshot, name)?;
    }
    hub.at(&snapshot)
}

/// Downloads the encoder's `weights`, paths in its folder.
pub fn fetch_weights(hub: &Hub, encoder: &HubModel, weights: &[PathBuf]) -> Result<()> {
    let snapshot = hub.snapshot(&encoder.repository)?;
    for path in weights {
        let name = path.strip_prefix(&encoder.folder).unwrap_or(path).display().to_string();
        if let Some(names) = snapshot.names()
            && snapshot.lacks(&name)
        {
            let message = format!("{} has no `{name}`", encoder.repository);
            return Err(InputError::new(message).hint(hub::some_of(names)).into());
        }
        hub.fetch(&snapshot, &name)?;
    }
    hub.remember(&snapshot)
}
