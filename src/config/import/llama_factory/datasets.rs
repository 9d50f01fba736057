//! LLaMA-Factory's names of data sets, and the list that says what they are.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::super::Fate::{Differs, Missing, Translated};
use super::super::draft::Draft;
use super::super::evaluation;
use super::super::sources::{self, DataSet, Named, Source};
use crate::disk::yaml::{Node, Yaml};
use crate::disk::{json, read};
use crate::error::{InputError, shown};

/// The list of data sets in `dataset_dir`.
const DATASET_INFO: &str = "dataset_info.json";

/// Keys of an entry of it that are read.
const ATTRIBUTES: &[&str] = &[
    "file_name",
    "hf_hub_url",
    "ms_hub_url",
    "om_hub_url",
    "ranking",
    "formatting",
    "columns",
    "tags",
    "split",
    "subset",
    "folder",
    "num_samples",
];

/// Roles whose columns are read there if the entry names them.
const UNNAMED: [&str; 4] = ["history", "profile", "system", "tools"];

/// Translates the data and how it is evaluated.
pub(super) fn translate(draft: &mut Draft<'_>) -> Result<()> {
    let Some(node) = draft.given("dataset") else {
        return Err(InputError::new(format!("{}: `dataset` is not set", draft.name))
            .hint("add it")
            .into());
    };
    let names = node
        .value
        .words()
        .ok_or_else(|| draft.wrong("dataset", node, "names with commas between them"))?;
    let sources = named(draft, "dataset", &names)?;
    sources::set(draft, sources, &["dataset"]);
    if let Some(node) = draft.given("eval_dataset") {
        let names = node
            .value
            .words()
            .ok_or_else(|| draft.wrong("eval_dataset", node, "names with commas between them"))?;
        let sources = named(draft, "eval_dataset", &names)?;
        sources::set_evaluation(draft, "test", sources, &["eval_dataset"]);
    }
    evaluation::held_out(draft, "val_size")?;
    draft.set("data.prompt_format", "chat", "every prompt goes through a template there");
    if draft.given("template").is_some() {
        let said = "LLaMA-Factory's own template of that name; here the model's chat template: `mvpbench data inspect` shows the text, and \
                    `data.chat_template` gives another";
        draft.note("template", Differs, said);
    }
    evaluation::during_training(draft)
}

/// The sources of names in `dataset_info.json`.
fn named(draft: &mut Draft<'_>, key: &'static str, names: &[String]) -> Result<Vec<Source>> {
    let folder = draft.text("dataset_dir")?.unwrap_or("data");
    if draft.given("dataset_dir").is_some() {
        draft.note("dataset_dir", Translated, "the folder of `data.train`");
    }
    if folder == "ONLINE" {
        let hub = |name: &String| {
            let mut source = Source::of(&sources::hub_name(name).unwrap_or_else(|| name.clone()));
            source.put("split", "train");
            source.no_column(&UNNAMED);
            source
        };
        return Ok(names.iter().map(hub).collect());
    }
    let path = Path::new(folder).join(DATASET_INFO);
    let info = match read::bytes(&path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let json = json::unique(&text)
                .map_err(|error| InputError::new(format!("{}: {error}", path.display())))?;
            Some(json)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            let what = format!("{}: `dataset_dir`: cannot read `{}`", draft.name, path.display());
            return Err(InputError::of_path(what, error, |error| error));
        }
    };
    let Some(info) = info else {
        let said = format!(
            "`{}` is not there, which says where this name's pairs are: run this where it is, or put the files in its place",
            path.display()
        );
        draft.note(key, Missing, said);
        return Ok(names.iter().map(|name| Source::of(name)).collect());
    };
    let mut all = Vec::new();
    for name in names {
        let Some(entry) = info.get(name).and_then(Value::as_object) else {
            let line = draft.given(key).map_or(0, |node| node.line);
            let message = format!(
                "{}: `{key}` has `{}`, which `{}` does not have",
                draft.place(line),
                shown(name),
                path.display()
            );
            return Err(InputError::new(message).into());
        };
        all.extend(entry_of(draft, key, name, entry, folder)?);
    }
    Ok(all)
}

/// A source by its entry in `dataset_info.json`.
fn entry_of(
    draft: &mut Draft<'_>,
    key: &str,
    name: &str,
    entry: &serde_json::Map<String, Value>,
    folder: &str,
) -> Result<Vec<Source>> {
    let at = |inner: &str| format!("{DATASET_INFO}: `{name}.{inner}`");
    let text = |inner: &str| entry.get(inner).and_then(Value::as_str);
    if let Some(other) = entry.keys().find(|known| !ATTRIBUTES.contains(&known.as_str())) {
        return Err(InputError::new(format!("{} is not read", at(other)))
            .hint(format!("read are {}", ATTRIBUTES.join(", ")))
            .into());
    }
    if entry.get("ranking") != Some(&Value::Bool(true)) {
        let message =
            format!("{} must be `true` for pairs of a chosen and a rejected answer", at("ranking"));
        return Err(InputError::new(message).into());
    }
    let line = draft.given(key).map_or(0, |node| node.line);
    let inner =
        |inner: &str| text(inner).map(|text| Node { line, value: Yaml::Text(text.to_owned()) });
    let [url_at, split_at, subset_at, folder_at] =
        ["hf_hub_url", "split", "subset", "folder"].map(|inner| format!("{name}.{inner}"));
    let set = match (inner("hf_hub_url"), text("file_name")) {
        (Some(url), _) => {
            let (subset, inside) = (inner("subset"), inner("folder"));
            let named = Named {
                at: &url_at,
                path: &url,
                files: None,
                revision: None,
                configuration: subset.as_ref().map(|node| (&*subset_at, node)),
                folder: inside.as_ref().map(|node| (&*folder_at, node)),
            };
            sources::loaded(draft, named)?
        }
        (None, Some(file)) => {
            let path = Path::new(folder).join(file);
            // All files of a folder are one split there.
            let path = if path.is_dir() { path.join("*") } else { path };
            DataSet::of_file(path.display().to_string())
        }
        (None, None) => {
            let message =
                format!("{DATASET_INFO}: `{name}` has neither `file_name` nor `hf_hub_url`");
            return Err(InputError::new(message)
                .hint("data of other hubs is not read; download it and name the file")
                .into());
        }
    };
    let mut source = Source::default();
    let is_sharegpt = match text("formatting") {
        None | Some("alpaca") => false,
        Some("sharegpt" | "openai") => true,
        Some(other) => {
            return Err(InputError::new(format!(
                "{} is `{}`, which is not read",
                at("formatting"),
                shown(&other)
            ))
            .into());
        }
    };
    let columns = entry.get("columns").and_then(Value::as_object);
    let column = |role: &str| columns.and_then(|columns| columns.get(role)?.as_str());
    match (is_sharegpt, columns) {
        (true, _) => {
            if let Some(messages) =
                column("messages").filter(|messages| *messages != "conversations")
            {
                source.column("messages", messages);
            }
        }
        // Without columns the names are those of Alpaca.
        (false, None) => source.put("layout", "alpaca-ranking"),
        (false, Some(_)) => match (column("prompt"), column("query")) {
            (Some("instruction"), Some("input")) => source.put("layout", "alpaca-ranking"),
            (Some(prompt), query) => {
                source.column("prompt", prompt);
                if let Some(query) = query {
                    let said = format!(
                        "the column `{}` of `{name}`, which ends its prompts, is not read",
                        shown(&query)
                    );
                    draft.note(key, Differs, said);
                }
            }
            (None, _) => {
                return Err(
                    InputError::new(format!("{}: `prompt` is missing", at("columns"))).into()
                );
            }
        },
    }
    for role in ["chosen", "rejected", "system", "tools", "history"] {
        if let Some(column) = column(role) {
            source.column(role, column);
        }
    }
    source.no_column(&UNNAMED);
    if ["images", "videos", "audios"].into_iter().any(|role| column(role).is_some()) {
        draft.note(key, Differs, format!("pictures, films and sounds of `{name}` are not read"));
    }
    if entry.get("num_samples").is_some() {
        draft.note(key, Differs, format!("a drawn part of `{name}` is trained on there, all of it here; `weight` takes a share"));
    }
    if entry.get("tags").is_some() {
        let said = format!(
            "other names of roles and fields of `{name}` are recognised here if they are OpenAI's or ShareGPT's"
        );
        draft.note(key, Differs, said);
    }
    let split = inner("split");
    let mut found =
        set.of_split(draft, &split_at, split.as_ref(), set.is_of_hub().then_some("train"))?;
    found.iter_mut().for_each(|found| found.table.extend(source.table.clone()));
    Ok(found)
}
