//! The base model's small files, and the prompts and pairs that are rendered with them.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::bail_input;
use crate::config::{
    DataSection, LayoutName, ModelSection, PromptFormat, Reading, Source, TokenizerRules,
};
use crate::console::progress::Verbosity;
use crate::data::chat::{self, ChatTemplate, NamedFile, Sources};
use crate::data::file::{self, DataFile};
use crate::data::format::draft::Prompts;
use crate::data::pair::{Loaded, Pair};
use crate::data::prompt::{self, LoadedPrompts};
use crate::data::tokenizer::{Tokenizer, TokenizerFiles};
use crate::disk::digest;
use crate::error::{InputError, shown};
use crate::hub::Hub;
use crate::model::shape::Shape;
use crate::run_folder::provenance::{InputFile, InputKind};
use crate::session::data_file;
use crate::session::data_files;
use crate::session::generation_config;
use crate::session::hub_model;
use crate::session::source::ModelSource;
use crate::session::template_choice::TemplateChoice;
use crate::session::unpacked::Unpacked;

/// Files of a tokenizer. Those that a model has are copied next to the exported adapter.
const TOKENIZER_FILES: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "chat_template.jinja",
];

/// The base model's files without its weights.
pub struct Base {
    /// Where the model comes from.
    pub source: ModelSource,
    /// The model's shape.
    pub shape: Shape,
    /// The tokenizer, checked against the model's vocabulary.
    pub tokenizer: Tokenizer,
    /// The model's chat template; none if it has none.
    pub template: Option<ChatTemplate>,
    /// Tokenizer files by name.
    pub tokenizer_files: Vec<NamedFile>,
    /// The files of tokenizer, chat template and generation config with their digests.
    pub input_files: Vec<InputFile>,
    /// Lines for the user: repository and commit of a hub model.
    pub notes: Vec<String>,
    /// Whose rules make token ids of a text.
    rules: TokenizerRules,
    /// Where the model's and other files are fetched from.
    pub hub: Hub,
}

impl Base {
    /// Reads and checks the small files of the model of `section`, and the chat template of `choice`, which takes the place of the model's
    /// own among the tokenizer's files. Downloads the files of a hub model.
    pub fn load(
        section: &ModelSection,
        choice: &TemplateChoice,
        verbosity: Verbosity,
    ) -> Result<Self> {
        let path = section.path.as_str();
        let hub = Hub::new(verbosity);
        let source = ModelSource::find(section, &hub)?;
        let mut notes = Vec::new();
        match (&source, section.revision.as_str()) {
            (ModelSource::Hub(model), _) => {
                notes.push(format!("model: {}, commit {}", model.repository, model.commit));
            }
            (_, "main") => {}
            (_, revision) => {
                let message =
                    format!("`model.revision` is `{revision}`, but `{path}` is not on the hub");
                return Err(InputError::new(message)
                    .hint("leave `model.revision` out for a folder")
                    .into());
            }
        }
        let Some(config_json) = source.file("config.json")? else {
            return Err(InputError::new(format!("model folder `{path}` has no `config.json`"))
                .hint("`model.path` must be the folder of a Hugging Face checkpoint")
                .into());
        };
        let shape = Shape::parse(
            &String::from_utf8_lossy(&config_json),
            &Path::new(path).join("config.json").display().to_string(),
        )?;
        let mut tokenizer = match source.folder() {
            Some(folder) => Tokenizer::load_by(folder, section.tokenizer)?,
            None => {
                let [tokenizer, tokenizer_config, special_tokens_map] =
                    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
                        .map(|name| source.file(name));
                let (tokenizer, tokenizer_config, special_tokens_map) =
                    (tokenizer?.unwrap_or_default(), tokenizer_config?, special_tokens_map?);
                let files = TokenizerFiles {
                    tokenizer: &tokenizer,
                    tokenizer_config: tokenizer_config.as_deref(),
                    special_tokens_map: special_tokens_map.as_deref(),
                    config: Some(&config_json),
                    rules: section.tokenizer,
                };
                Tokenizer::from_bytes(&files, path)?
            }
        };
        tokenizer.check_vocab(shape.vocab)?;
        notes.extend(shape.notes.iter().cloned());
        notes.extend(tokenizer.note().map(str::to_owned));
        let mut tokenizer_files = Vec::new();
        for name in TOKENIZER_FILES {
            if let Some(bytes) = source.file(name)? {
                tokenizer_files.push((name.to_owned(), bytes.into_owned()));
            }
        }
        if let Some(folder) = source.folder() {
            tokenizer_files.extend(chat::additional_templates(folder)?);
        }
        let given = choice.sources(&tokenizer)?;
        let mut input_files = Vec::new();
        let mut add = |kind, path: String, bytes: &[u8]| {
            input_files.push(InputFile { kind, path, sha256: digest::of_bytes(bytes) });
        };
        let in_model = |name: &str| Path::new(path).join(name).display().to_string();
        for (name, bytes) in &tokenizer_files {
            let kind =
                if is_template(name) { InputKind::ChatTemplate } else { InputKind::Tokenizer };
            if kind == InputKind::Tokenizer || given.is_none() {
                add(kind, in_model(name), bytes);
            }
        }
        if let Some(given) = &given {
            notes.push(format!("chat template: {}, in place of the model's own", given.place));
        }
        let sources = match given {
            None => own_template(&tokenizer_files, path)?,
            Some(given) => {
                given.replace_in(&mut tokenizer_files)?;
                let place = given.place.split_once(": ").map_or(&*given.place, |(file, _)| file);
                match tokenizer_files
                    .iter()
                    .filter(|(name, _)| is_template(name))
                    .collect::<Vec<_>>()[..]
                {
                    [(_, bytes)] => add(InputKind::ChatTemplate, place.to_owned(), bytes),
                    ref several => several.iter().for_each(|(name, bytes)| {
                        add(
                            InputKind::ChatTemplate,
                            Path::new(place).join(name).display().to_string(),
                            bytes,
                        );
                    }),
                }
                Some(given)
            }
        };
        let tokenizer_config = named(&tokenizer_files, "tokenizer_config.json");
        let template =
            sources.map(|sources| ChatTemplate::of(sources, tokenizer_config, &tokenizer));
        let template = template.transpose()?.map(|template| template.dated(choice.day));
        notes.extend(template.as_ref().and_then(ChatTemplate::note));
        let rules = section.tokenizer;
        if let Some(bytes) = source.file("generation_config.json")? {
            add(InputKind::GenerationConfig, in_model("generation_config.json"), &bytes);
            // One that is no JSON is refused below.
            let config = serde_json::from_slice(&bytes).unwrap_or_default();
            notes.extend(generation_config::unread(&config));
        }
        let base = Self {
            source,
            shape,
            tokenizer,
            template,
            tokenizer_files,
            input_files,
            notes,
            rules,
            hub,
        };
        base.eos_ids()?; // a verb that generates nothing refuses a wrong one too
        Ok(base)
    }

    /// A line for the first of `pairs` for which transformers 5 makes other token ids; none if there is none.
    pub(super) fn other_ids(&self, pairs: &[Pair]) -> Result<Option<String>> {
        for pair in pairs {
            for answer in [&pair.chosen, &pair.rejected] {
                if self.tokenizer.differs_from_transformers5(&[pair.context(), answer].concat())? {
                    return Ok(Some(format!(
                        "tokenizer: token ids are those of tokenizer.json; transformers 5 rebuilds this class of tokenizer and has others, first \
                         for `{}` (`model.tokenizer = \"transformers5\"` takes those)",
                        shown(&pair.id)
                    )));
                }
            }
        }
        Ok(None)
    }

    /// Digest of the files that the tokenizer and the chat template were made of, and of the tokenizer's rules.
    pub(super) fn tokenizer_digest(&self) -> Result<String> {
        let config = self.source.file("config.json")?.unwrap_or_default(); // it may name the special tokens
        let files = self.tokenizer_files.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes]);
        Ok(digest::of_parts(files.chain([&config[..], self.rules.name().as_bytes()])))
    }

    /// Where the folder of an adapter has other chat templates than the model; none where it has none, or the same.
    pub(super) fn other_template(&self, adapter: &Path) -> Result<Option<String>> {
        let name = adapter.display().to_string();
        let Some(given) = Sources::of_folder(adapter, &name)? else { return Ok(None) };
        let own = own_template(&self.tokenizer_files, &name)?;
        let is_own = own.is_some_and(|own| own.are_those_of(&given));
        Ok((!is_own).then_some(given.place))
    }

    /// The tokens that end an answer: `eos_token_id` (a number or a list) of generation_config.json or else of
    /// config.json, or else the tokenizer's EOS.
    pub fn eos_ids(&self) -> Result<Vec<u32>> {
        for name in ["generation_config.json", "config.json"] {
            let Some(bytes) = self.source.file(name)? else { continue };
            let config: Value = serde_json::from_slice(&bytes)
                .map_err(|e| InputError::new(format!("{name}: not valid JSON: {e}")))?;
            let eos = match &config["eos_token_id"] {
                Value::Null => continue,
                Value::Array(ids) => ids.iter().map(Value::as_u64).collect::<Option<Vec<_>>>(),
                id => id.as_u64().map(|id| vec![id]),
            };
            let vocab = self.shape.vocab as u64;
            return match eos {
                Some(ids) if ids.iter().all(|&id| id < vocab) => {
                    Ok(ids.into_iter().map(|id| id as u32).collect())
                }
                _ => bail_input!(
                    "{name}: `eos_token_id` must be a token id below {vocab} or a list of them, got `{}`",
                    config["eos_token_id"]
                ),
            };
        }
        Ok(vec![self.tokenizer.eos_id()])
    }

    /// The prompts of `source`, a file or what stands for several, records of `layout`, without answers. Adds the commits of hub files to
    /// `notes`.
    pub fn prompts(
        &self,
        source: &str,
        layout: LayoutName,
        format: PromptFormat,
        notes: &mut Vec<String>,
    ) -> Result<LoadedPrompts> {
        let template = self.template.as_ref();
        let prompts = Prompts { format, template, ..Prompts::default() };
        let mut loaded = LoadedPrompts::default();
        for file in data_files::expand(source, "", None, &self.hub, notes)? {
            let bytes = data_file::read(&file, &self.hub, notes)?;
            let found = prompt::load_as(&bytes, &file, layout, &prompts)?;
            loaded.prompts.extend(found.prompts);
            loaded.counts.add(found.counts);
        }
        Ok(loaded)
    }

    /// Calls `read` with the folder of all files of the model. Downloads the weights of a hub model; unpacks an embedded model into the
    /// cache.
    pub fn in_folder<T>(&self, read: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        match &self.source {
            ModelSource::Folder(folder) => read(folder),
            ModelSource::Hub(model) => {
                hub_model::fetch_weights(&self.hub, model)?;
                read(&model.folder)
            }
            ModelSource::Embedded(files) => read(&Unpacked::of(files)?.folder),
        }
    }

    /// The pairs of `sources` as text, rendered in `data.prompt_format`. Adds the commits of hub files to `notes`.
    ///
    /// - `default`: how a source is read that does not say.
    /// - `fallback`: the split of a source of several that names none; none refuses it.
    pub fn texts(
        &self,
        sources: &[Source],
        default: &Reading,
        fallback: Option<&str>,
        columns: &[String],
        data: &DataSection,
        notes: &mut Vec<String>,
    ) -> Result<Loaded> {
        let mut files = Vec::new();
        for (place, source) in sources.iter().enumerate() {
            let reading = source.reading.as_ref().unwrap_or(default);
            for name in &source.files {
                for name in data_files::expand(name, &source.split, fallback, &self.hub, notes)? {
                    let bytes = data_file::read(&name, &self.hub, notes)?;
                    files.push(DataFile { name, bytes, reading: reading.clone(), source: place });
                }
            }
        }
        let prompts = Prompts {
            format: data.prompt_format,
            template: self.template.as_ref(),
            add_bos: data.add_bos,
        };
        file::load(&files, columns, &prompts)
    }
}

/// The templates among the files of a tokenizer; `model`: for messages.
fn own_template(files: &[NamedFile], model: &str) -> Result<Option<Sources>> {
    let additional: Vec<_> = files
        .iter()
        .filter(|(name, _)| name.starts_with(chat::ADDITIONAL_TEMPLATES))
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    // One that is no JSON was refused with the tokenizer.
    let config = named(files, "tokenizer_config.json");
    let config: Value =
        config.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let jinja = named(files, "chat_template.jinja");
    Sources::found(jinja, &additional, &config["chat_template"], model)
}

/// Whether the tokenizer's file `name` has nothing but a chat template.
fn is_template(name: &str) -> bool {
    name == "chat_template.jinja" || name.starts_with(chat::ADDITIONAL_TEMPLATES)
}

/// The bytes of the file `name`.
fn named<'a>(files: &'a [NamedFile], name: &str) -> Option<&'a [u8]> {
    files.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.as_slice())
}
