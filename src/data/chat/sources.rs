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

/// The file of the one template that most models have.
const FILE: &str = "chat_template.jinja";

/// The file of a tokenizer that may have templates too.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// A file of a tokenizer: its name and its bytes.
pub type NamedFile = (String, Vec<u8>);

/// The templates of a model, before they are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Name and source of each.
    pub(super) templates: Vec<(String, String)>,
    /// Where they are, for messages.
    pub place: String,
}

impl Sources {
    /// The template in a file of its own, under the name that transformers takes.
    pub fn of_file(bytes: Vec<u8>, place: &str) -> Result<Self> {
        let source = String::from_utf8(bytes)
            .map_err(|_| InputError::new(format!("{place}: expected UTF-8 text")))?;
        Ok(Self::one(source, place.to_owned()))
    }

    pub(super) fn one(source: String, place: String) -> Self {
        Self { templates: vec![(DEFAULT.to_owned(), source)], place }
    }

    /// The templates of a model folder; none if it has none: `chat_template.jinja` with those of `additional`, name and content each,
    /// or `chat_template` of `tokenizer_config.json`, a text or a list of named ones. `name`: the folder, for messages.
    pub fn found(
        jinja: Option<&[u8]>,
        additional: &[(&str, &[u8])],
        in_tokenizer: &Value,
        name: &str,
    ) -> Result<Option<Self>> {
        let in_config = format!("{name}/{TOKENIZER_CONFIG}: `chat_template`");
        let text = |file: &str, bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| InputError::new(format!("{name}/{file}: expected UTF-8 text")))
        };
        let mut files = Vec::new();
        if let Some(bytes) = jinja {
            files.push((DEFAULT.to_owned(), text(FILE, bytes)?));
        }
        for (file, bytes) in additional {
            let title = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
            files.retain(|(known, _)| *known != title);
            files.push((title.into_owned(), text(file, bytes)?));
        }
        let (templates, place) = match (&files[..], in_tokenizer) {
            ([_, ..], _) if additional.is_empty() => (files, format!("{name}/{FILE}")),
            ([_, ..], _) => (files, format!("{name}: {FILE} and {ADDITIONAL_TEMPLATES}/")),
            ([], Value::String(source)) => return Ok(Some(Self::one(source.clone(), in_config))),
            ([], Value::Array(list)) => (named(list, &in_config)?, in_config),
            ([], _) => return Ok(None),
        };
        Ok(Some(Self { templates, place }))
    }

    /// The templates of the folder `path` of a model, a tokenizer or an adapter; none if it has none. `name`: the folder, for messages.
    pub fn of_folder(path: &Path, name: &str) -> Result<Option<Self>> {
        let additional = additional_templates(path)?;
        let additional: Vec<_> =
            additional.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let config = match read::if_there(&path.join(TOKENIZER_CONFIG))? {
            None => Value::Null,
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                InputError::new(format!("{name}/{TOKENIZER_CONFIG}: not valid JSON: {error}"))
            })?,
        };
        let jinja = read::if_there(&path.join(FILE))?;
        Self::found(jinja.as_deref(), &additional, &config["chat_template"], name)
    }

    /// Whether both have the same templates, wherever they are.
    pub fn are_those_of(&self, other: &Self) -> bool {
        self.templates == other.templates
    }

    /// Puts the templates into the files of a tokenizer in place of its own, as transformers saves them.
    pub fn replace_in(&self, files: &mut Vec<NamedFile>) -> Result<()> {
        files.retain(|(name, _)| name != FILE && !name.starts_with(ADDITIONAL_TEMPLATES));
        for (name, bytes) in files.iter_mut().filter(|(name, _)| name == TOKENIZER_CONFIG) {
            *bytes = without_template(bytes).with_context(|| name.clone())?;
        }
        files.extend(self.files()?);
        Ok(())
    }

    /// The files in which transformers saves them.
    pub fn files(&self) -> Result<Vec<NamedFile>> {
        let file = |(title, source): &(String, String)| -> Result<NamedFile> {
            let bytes = source.clone().into_bytes();
            match title.as_str() {
                DEFAULT => Ok((FILE.to_owned(), bytes)),
                title if title.is_empty() || title.contains(['/', '\\', '\0']) => {
                    let what =
                        format!("{}: the name `{title}` of a template is no file name", self.place);
                    Err(InputError::new(what).into())
                }
                title => Ok((format!("{ADDITIONAL_TEMPLATES}/{title}.jinja"), bytes)),
            }
        };
        self.templates.iter().map(file).collect()
    }
}

/// The templates in the folder `additional_chat_templates` of the model folder `model`, by name below it, in the order of the names.
pub fn additional_templates(model: &Path) -> Result<Vec<NamedFile>> {
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

/// A `tokenizer_config.json` without its `chat_template`; one that has none stays as it is.
fn without_template(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(bytes)?;
    let removed = config.as_object_mut().and_then(|fields| fields.shift_remove("chat_template"));
    if removed.is_none() { Ok(bytes.to_vec()) } else { Ok(serde_json::to_vec_pretty(&config)?) }
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
