//! Where a model has its chat templates: files, or `tokenizer_config.json`.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::disk::read;
use crate::error::InputError;

/// The name in a list of templates that transformers takes.
pub(super) const DEFAULT: &str = "default";

/// Folder of templates by name, beside `chat_template.jinja`.
pub const ADDITIONAL_TEMPLATES: &str = "additional_chat_templates";

/// Templates, name and source each, and where they are, for messages.
type Sources = (Vec<(String, String)>, String);

/// The templates of a model folder; none if it has none. `jinja`, `additional` and `name` are those of
/// [`ChatTemplate::find`](super::ChatTemplate::find), `in_tokenizer` the value of `chat_template` in `tokenizer_config.json`.
pub(super) fn found(
    jinja: Option<&[u8]>,
    additional: &[(&str, &[u8])],
    in_tokenizer: &Value,
    name: &str,
) -> Result<Option<Sources>> {
    let in_config = format!("{name}/tokenizer_config.json: `chat_template`");
    let one = |source: String| vec![(DEFAULT.to_owned(), source)];
    let text = |file: &str, bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .map_err(|_| InputError::new(format!("{name}/{file}: expected UTF-8 text")))
    };
    let mut files = Vec::new();
    if let Some(bytes) = jinja {
        files.push((DEFAULT.to_owned(), text("chat_template.jinja", bytes)?));
    }
    for (file, bytes) in additional {
        let title = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
        files.retain(|(known, _)| *known != title);
        files.push((title.into_owned(), text(file, bytes)?));
    }
    let found = match (&files[..], in_tokenizer) {
        ([_, ..], _) if additional.is_empty() => (files, format!("{name}/chat_template.jinja")),
        ([_, ..], _) => (files, format!("{name}: chat_template.jinja and {ADDITIONAL_TEMPLATES}/")),
        ([], Value::String(source)) => (one(source.clone()), in_config),
        ([], Value::Array(list)) => (named(list, &in_config)?, in_config),
        ([], _) => return Ok(None),
    };
    Ok(Some(found))
}

/// The templates in the folder `additional_chat_templates` of the model folder `model`, by name below it, in the order of the names.
pub fn additional_templates(model: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = read::folder(&model.join(ADDITIONAL_TEMPLATES))?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "jinja"));
    files.sort();
    let read = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes =
            read::bytes(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok((format!("{ADDITIONAL_TEMPLATES}/{name}"), bytes))
    };
    files.iter().map(|path| read(path)).collect()
}

/// The templates of a list, each with its name.
fn named(list: &[Value], place: &str) -> Result<Vec<(String, String)>> {
    let one = |template: &Value| {
        let text = |key: &str| template[key].as_str().map(str::to_owned);
        text("name").zip(text("template")).ok_or_else(|| {
            let message =
                format!("{place}: a list with an element that has no texts `name` and `template`");
            InputError::new(message).into()
        })
    };
    list.iter().map(one).collect()
}
