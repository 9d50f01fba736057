//! Downloads a model from the hub: its small files first, so that a mistake costs no download of gigabytes, then its
//! weights.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::data::chat::ADDITIONAL_TEMPLATES;
use crate::disk::read;
use crate::error::InputError;
use crate::hub::name::{Kind, Repository};
use crate::hub::{self, Hub, HubModel, Snapshot};
use crate::model::weights::{INDEX_FILE, WEIGHTS_FILE, shard_names, without_index};

/// Files that every model has.
const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Files that are read if the model has them.
const OPTIONAL: [&str; 5] = [
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "tokenizer.model",
];

/// Finds the model `id` at `revision` and downloads everything but its weights.
pub fn find(hub: &Hub, id: &str, revision: &str) -> Result<HubModel> {
    let repository = Repository::new(Kind::Model, id, revision)?;
    let snapshot = hub.snapshot(&repository)?;
    if let Some(names) = snapshot.names() {
        refuse_unusable(&repository, names)?;
    }
    let optional = OPTIONAL.into_iter().filter(|name| snapshot.lists(name));
    let templates =
        snapshot.names().unwrap_or_default().iter().map(String::as_str).filter(|name| {
            let below =
                name.strip_prefix(ADDITIONAL_TEMPLATES).and_then(|name| name.strip_prefix('/'));
            below.is_some_and(|name| name.ends_with(".jinja") && !name.contains('/'))
        });
    for name in NEEDED.into_iter().chain(optional).chain(templates) {
        hub.fetch(&snapshot, name)?;
    }
    hub.at(&snapshot)
}

/// Downloads the model's weights into its folder.
pub fn fetch_weights(hub: &Hub, model: &HubModel) -> Result<()> {
    let snapshot = hub.snapshot(&model.repository)?;
    for name in weight_files(hub, model, &snapshot)? {
        hub.fetch(&snapshot, &name)?;
    }
    hub.remember(&snapshot)
}

fn weight_files(hub: &Hub, model: &HubModel, snapshot: &Snapshot) -> Result<BTreeSet<String>> {
    let has = |name: &str| match snapshot.names() {
        Some(_) => snapshot.lists(name),
        None => model.folder.join(name).is_file(),
    };
    if has(WEIGHTS_FILE) {
        return Ok([WEIGHTS_FILE.to_owned()].into());
    }
    if !has(INDEX_FILE) {
        let known = match snapshot.names() {
            Some(names) => names.to_vec(),
            None => std::fs::read_dir(&model.folder)
                .with_context(|| format!("cannot read `{}`", model.folder.display()))?
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .collect(),
        };
        let set = without_index(&model.repository.to_string(), &known)?;
        return Ok(set.map_or_else(|| [WEIGHTS_FILE.to_owned()].into(), BTreeSet::from_iter));
    }
    let index = hub.fetch(snapshot, INDEX_FILE)?;
    let text = read::text(&index).with_context(|| format!("cannot read `{}`", index.display()))?;
    let names = shard_names(&text, &index.display().to_string())?;
    if let Some(absent) = names.iter().find(|name| snapshot.lacks(name)) {
        let message =
            format!("{} has no `{absent}`, but its `{INDEX_FILE}` names it", model.repository);
        return Err(InputError::new(message)
            .hint("the repository is incomplete; take another revision or model")
            .into());
    }
    Ok(names)
}

/// Refuses a repository without safetensors or without a tokenizer, before any download.
fn refuse_unusable(repository: &Repository, names: &[String]) -> Result<(), InputError> {
    let has = |name: &str| names.iter().any(|known| known == name);
    if let Some(absent) = NEEDED.into_iter().find(|name| !has(name)) {
        let hint = match absent {
            "tokenizer.json" if has("tokenizer.model") => {
                "it has a `tokenizer.model`; convert it with transformers, \
                 `AutoTokenizer.from_pretrained(..).save_pretrained(folder)`, \
                 download the other files into that folder, and set `model.path` to it"
                    .to_owned()
            }
            _ => hub::some_of(names),
        };
        return Err(InputError::new(format!("{repository} has no `{absent}`")).hint(hint));
    }
    if has(WEIGHTS_FILE) || has(INDEX_FILE) {
        return Ok(());
    }
    if without_index(&repository.to_string(), names)?.is_some() {
        return Ok(());
    }
    let error =
        InputError::new(format!("{repository} has no `{WEIGHTS_FILE}` and no `{INDEX_FILE}`"));
    let old = names.iter().find(|name| name.ends_with(".bin") || name.ends_with(".pth"));
    Err(match old {
        Some(old) => error.hint(format!(
            "it has only `{old}`; convert it with transformers, \
             `AutoModelForCausalLM.from_pretrained(..).save_pretrained(folder)`, save its tokenizer there too, and \
             set `model.path` to that folder"
        )),
        None => error.hint(hub::some_of(names)),
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
        let (message, _) = with(&["model-00001-of-00002.safetensors"]).unwrap_err();
        assert!(message.contains("for its shards, which are no whole set"), "{message}");
        let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(with(&shards), Ok(()));
        let (message, remedy) = with(&["pytorch_model-00001-of-00002.bin"]).unwrap_err();
        assert!(message.contains("has no `model.safetensors`"), "{message}");
        assert!(remedy.contains("save_pretrained"), "{remedy}");
        let (message, remedy) =
            hint(&["config.json", "tokenizer.model", "model.safetensors"]).unwrap_err();
        assert!(message.contains("no `tokenizer.json`") && remedy.contains("AutoTokenizer"));
    }
}
