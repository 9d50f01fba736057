//! The files of a model: the small ones first, so that mistakes show before gigabytes are fetched, then the weights.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::name::{Kind, Repository};
use super::{Files, Hub, Snapshot};
use crate::error::InputError;
use crate::model::weights::{INDEX_FILE, WEIGHTS_FILE, shard_names};

/// Without these there is no model.
const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];
/// These are read where there are any.
const OPTIONAL: [&str; 5] = [
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "tokenizer.model",
];

/// A model of the hub at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// Where it is.
    pub repository: Repository,
    /// The commit that the revision is.
    pub commit: String,
    /// The commit's folder in the cache.
    pub folder: PathBuf,
}

impl Hub {
    /// The model, with everything but the weights in its folder.
    pub fn model(&self, id: &str, revision: &str) -> Result<HubModel> {
        let repository = Repository::new(Kind::Model, id, revision)?;
        let snapshot = self.snapshot(&repository)?;
        if let Files::Listed(names) = &snapshot.files {
            refuse_unusable(&repository, names)?;
        }
        for name in NEEDED {
            self.fetch(&snapshot, name)?;
        }
        for name in OPTIONAL {
            if matches!(&snapshot.files, Files::Listed(names) if names.iter().any(|n| n == name)) {
                self.fetch(&snapshot, name)?;
            }
        }
        let folder =
            super::cache::snapshot(&self.client()?.settings.cache, &repository, &snapshot.commit);
        Ok(HubModel { repository, commit: snapshot.commit.clone(), folder })
    }

    /// Brings the model's weights into its folder.
    pub fn weights(&self, model: &HubModel) -> Result<()> {
        let snapshot = self.snapshot(&model.repository)?;
        for name in self.weight_files(model, &snapshot)? {
            self.fetch(&snapshot, &name)?;
        }
        self.remember(&snapshot)
    }

    fn weight_files(&self, model: &HubModel, snapshot: &Snapshot) -> Result<BTreeSet<String>> {
        let has = |name: &str| match &snapshot.files {
            Files::Listed(names) => names.iter().any(|known| known == name),
            Files::Cached(_) => model.folder.join(name).is_file(),
        };
        if has(WEIGHTS_FILE) || !has(INDEX_FILE) {
            return Ok([WEIGHTS_FILE.to_owned()].into());
        }
        let index = self.fetch(snapshot, INDEX_FILE)?;
        let text = std::fs::read_to_string(&index)
            .with_context(|| format!("cannot read `{}`", index.display()))?;
        let names = shard_names(&text, &index.display().to_string())?;
        if let Files::Listed(listed) = &snapshot.files
            && let Some(absent) = names.iter().find(|name| !listed.contains(name))
        {
            let message =
                format!("{} has no `{absent}`, which its `{INDEX_FILE}` names", model.repository);
            return Err(InputError::new(message)
                .hint("the repository is incomplete; take another revision or model")
                .into());
        }
        Ok(names)
    }
}

/// Refuses a repository that is no model in safetensors with its tokenizer, before anything is fetched.
fn refuse_unusable(repository: &Repository, names: &[String]) -> Result<(), InputError> {
    let has = |name: &str| names.iter().any(|known| known == name);
    if let Some(absent) = NEEDED.into_iter().find(|name| !has(name)) {
        let hint = match absent {
            "tokenizer.json" if has("tokenizer.model") => {
                "it has a `tokenizer.model`; convert it with transformers, `AutoTokenizer.from_pretrained(..).save_pretrained(folder)`, \
                 download the other files into that folder, and set `model.path` to it"
                    .to_owned()
            }
            _ => super::some_of(names),
        };
        return Err(InputError::new(format!("{repository} has no `{absent}`")).hint(hint));
    }
    if has(WEIGHTS_FILE) || has(INDEX_FILE) {
        return Ok(());
    }
    let error =
        InputError::new(format!("{repository} has no `{WEIGHTS_FILE}` and no `{INDEX_FILE}`"));
    let old = names.iter().find(|name| name.ends_with(".bin") || name.ends_with(".pth"));
    Err(match old {
        Some(old) => error.hint(format!(
            "it has only `{old}`; convert it with transformers, `AutoModelForCausalLM.from_pretrained(..).save_pretrained(folder)`, \
             save its tokenizer there too, and set `model.path` to that folder"
        )),
        None => error.hint(super::some_of(names)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_in_pickle_files_only_are_refused_with_the_remedy() {
        let repository = Repository::new(Kind::Model, "a/b", "main").unwrap();
        let hint = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            refuse_unusable(&repository, &names)
                .map_err(|error| (error.to_string(), error.remedy().unwrap_or("").to_owned()))
        };
        let base = ["config.json", "tokenizer.json"];
        let with = |more: &[&'static str]| hint(&[&base[..], more].concat());
        assert_eq!(with(&["model.safetensors"]), Ok(()));
        assert_eq!(with(&["model.safetensors.index.json", "pytorch_model.bin"]), Ok(()));
        let (message, remedy) = with(&["pytorch_model-00001-of-00002.bin"]).unwrap_err();
        assert!(message.contains("has no `model.safetensors`"), "{message}");
        assert!(remedy.contains("save_pretrained"), "{remedy}");
        let (message, remedy) =
            hint(&["config.json", "tokenizer.model", "model.safetensors"]).unwrap_err();
        assert!(message.contains("no `tokenizer.json`") && remedy.contains("AutoTokenizer"));
    }
}
