//! The files of a sentence encoder: the small ones first, so that one that is not computed here costs nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::model::HubModel;
use super::name::{Kind, Repository};
use super::{Files, Hub, cache};
use crate::error::InputError;
use crate::eval::sentence_transformer::{
    CONFIG_FILE, MODULES_FILE, SETTINGS_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE,
    TRANSFORMER_FILE, parse_modules,
};

/// Files of the Transformer beside its weights.
const TRANSFORMER: [&str; 3] = [TRANSFORMER_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE];

impl Hub {
    /// The encoder, with everything but its weights in its folder, as far as the repository has it.
    pub fn encoder(&self, id: &str) -> Result<HubModel> {
        let repository = Repository::new(Kind::Model, id, "main")?;
        let snapshot = self.snapshot(&repository)?;
        if let Files::Listed(names) = &snapshot.files
            && !names.iter().any(|name| name == MODULES_FILE)
        {
            let message =
                format!("{repository} has no `{MODULES_FILE}`, so it is no sentence encoder");
            return Err(InputError::new(message).hint(super::some_of(names)).into());
        }
        let modules = self.fetch(&snapshot, MODULES_FILE)?;
        let text = std::fs::read_to_string(&modules)
            .with_context(|| format!("cannot read `{}`", modules.display()))?;
        let mut wanted = vec![SETTINGS_FILE.to_owned()];
        for (kind, path) in parse_modules(&text, &modules.display().to_string())? {
            let more = if kind == "Transformer" { &TRANSFORMER[..] } else { &[] };
            let inside = |name: &&str| Path::new(&path).join(name).display().to_string();
            wanted.extend([CONFIG_FILE].iter().chain(more).map(inside));
        }
        for name in wanted {
            if matches!(&snapshot.files, Files::Listed(names) if names.contains(&name)) {
                self.fetch(&snapshot, &name)?;
            }
        }
        let folder = cache::snapshot(&self.client()?.settings.cache, &repository, &snapshot.commit);
        Ok(HubModel { repository, commit: snapshot.commit.clone(), folder })
    }

    /// Brings the encoder's `weights`, paths in its folder, there.
    pub fn encoder_weights(&self, encoder: &HubModel, weights: &[PathBuf]) -> Result<()> {
        let snapshot = self.snapshot(&encoder.repository)?;
        for path in weights {
            let name = path.strip_prefix(&encoder.folder).unwrap_or(path).display().to_string();
            if let Files::Listed(names) = &snapshot.files
                && !names.contains(&name)
            {
                let message = format!("{} has no `{name}`", encoder.repository);
                return Err(InputError::new(message).hint(super::some_of(names)).into());
            }
            self.fetch(&snapshot, &name)?;
        }
        self.remember(&snapshot)
    }
}
