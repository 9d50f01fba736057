//! Everything the user gave, read and checked before anything is written.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Device;

use super::digest;
use crate::bail_input;
use crate::config::{DataSection, RunConfig};
use crate::data::chat::ChatTemplate;
use crate::data::file::{self, Prompts};
use crate::data::pair::{Loaded, Pair};
use crate::data::tokenize::{self, Limits, TokenPair};
use crate::data::tokenizer::{Tokenizer, TokenizerFiles};
use crate::error::InputError;
use crate::model::adapter;
use crate::model::config::LlamaConfig;
use crate::model::lora::Adapter;
use crate::presets;

/// Files that make up a tokenizer, as far as a model folder has them; they are copied beside the adapter.
const TOKENIZER_FILES: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "chat_template.jinja",
];

/// Where the base model comes from.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// A folder.
    Folder(PathBuf),
    /// Files of the binary, to be unpacked into the run folder.
    Embedded(Vec<(&'static str, &'static [u8])>),
}

impl ModelSource {
    fn find(path: &str) -> Result<Self> {
        if let Some(files) = presets::embedded_folder(path) {
            return Ok(Self::Embedded(files));
        }
        if path.starts_with("embedded:") {
            presets::read(&format!("{}/config.json", path.trim_end_matches('/')))?; // its error says what there is
        }
        let folder = PathBuf::from(path);
        if !folder.is_dir() {
            let error = InputError::new(format!("model folder `{path}` does not exist"));
            return Err(error.hint("`model.path` must be the folder of a Hugging Face checkpoint: config.json, tokenizer.json, *.safetensors").into());
        }
        Ok(Self::Folder(folder))
    }

    fn file(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Embedded(files) => Ok(files
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, bytes)| Cow::Borrowed(*bytes))),
            Self::Folder(folder) if folder.join(name).is_file() => {
                let path = folder.join(name);
                Ok(Some(Cow::Owned(
                    std::fs::read(&path)
                        .with_context(|| format!("cannot read `{}`", path.display()))?,
                )))
            }
            Self::Folder(_) => Ok(None),
        }
    }
}

/// The base model's small files: all that a text needs to become tokens. No weight is read.
#[derive(Debug, Clone)]
pub struct Base {
    /// Where they come from.
    pub source: ModelSource,
    /// The model's shape.
    pub config: LlamaConfig,
    /// The tokenizer, held against the model's vocabulary.
    pub tokenizer: Tokenizer,
    /// The model's chat template, if it has one.
    pub template: Option<ChatTemplate>,
    /// Tokenizer files by name.
    pub tokenizer_files: Vec<(String, Vec<u8>)>,
}

/// One evaluation set, as text and as tokens.
#[derive(Debug, Clone)]
pub struct EvalInputs {
    /// Its name in the configuration.
    pub name: String,
    /// All its pairs.
    pub texts: Vec<Pair>,
    /// Those that were kept; `row` is the place in `texts`.
    pub pairs: Vec<TokenPair>,
}

/// What a run reads.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The base model's files.
    pub model: ModelSource,
    /// Its shape.
    pub model_config: LlamaConfig,
    /// Tokenizer files by name.
    pub tokenizer_files: Vec<(String, Vec<u8>)>,
    /// The training pairs that were kept.
    pub train: Vec<TokenPair>,
    /// Id of each of them.
    pub train_ids: Vec<String>,
    /// The evaluation sets.
    pub sets: Vec<EvalInputs>,
    /// The adapter to start from, where one was named.
    pub start: Option<Adapter>,
    /// What was counted on the way and must be seen.
    pub notes: Vec<String>,
}

impl Base {
    /// Reads and checks the small files of the model at `path`.
    pub fn load(path: &str) -> Result<Self> {
        let source = ModelSource::find(path)?;
        let Some(config_json) = source.file("config.json")? else {
            return Err(InputError::new(format!("model folder `{path}` has no `config.json`"))
                .hint("`model.path` must be the folder of a Hugging Face checkpoint")
                .into());
        };
        let config = LlamaConfig::parse(
            &String::from_utf8_lossy(&config_json),
            &Path::new(path).join("config.json").display().to_string(),
        )?;
        let mut tokenizer = match &source {
            ModelSource::Folder(folder) => Tokenizer::load(folder)?,
            ModelSource::Embedded(_) => {
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
                };
                Tokenizer::from_bytes(&files, path)?
            }
        };
        tokenizer.check_vocab(config.vocab)?;
        let mut tokenizer_files = Vec::new();
        for name in TOKENIZER_FILES {
            if let Some(bytes) = source.file(name)? {
                tokenizer_files.push((name.to_owned(), bytes.into_owned()));
            }
        }
        let file = |name: &str| {
            let named = tokenizer_files.iter().find(|(known, _)| known == name);
            named.map(|(_, bytes)| bytes.as_slice())
        };
        let (jinja, tokenizer_config) =
            (file("chat_template.jinja"), file("tokenizer_config.json"));
        let template = ChatTemplate::find(jinja, tokenizer_config, &tokenizer, path)?;
        Ok(Self { source, config, tokenizer, template, tokenizer_files })
    }

    /// The pairs of `files` as text, in the format that `data` says.
    pub fn texts(&self, files: &[String], data: &DataSection) -> Result<Loaded> {
        let files: Vec<_> = files
            .iter()
            .map(|path| Ok((path.clone(), presets::read(path)?)))
            .collect::<Result<_>>()?;
        let prompts = Prompts { format: data.prompt_format, template: self.template.as_ref() };
        file::load(&files, &prompts)
    }
}

impl Inputs {
    /// Reads and checks the files that `config` names.
    pub fn load(config: &RunConfig) -> Result<Self> {
        let base = Base::load(&config.model.path)?;
        let start = match config.lora.init_from.as_str() {
            "" => None,
            folder => Some(adapter::load(
                Path::new(folder),
                &base.config,
                Some(&config.lora),
                &Device::Cpu,
            )?),
        };

        let mut notes = Vec::new();
        let (texts, train) =
            pairs("training pairs", &config.data.train, &base, &config.data, &mut notes)?;
        let train_ids = train.iter().map(|pair| texts[pair.row as usize].id.clone()).collect();
        let mut sets = Vec::new();
        for set in &config.eval.sets {
            let (texts, pairs) = pairs(
                &format!("eval set `{}`", set.name),
                &set.files,
                &base,
                &config.data,
                &mut notes,
            )?;
            sets.push(EvalInputs { name: set.name.clone(), texts, pairs });
        }
        let Base { source: model, config: model_config, tokenizer_files, .. } = base;
        Ok(Self { model, model_config, tokenizer_files, train, train_ids, sets, start, notes })
    }

    /// Digest of everything here that a result depends on, with the model's own.
    pub fn digest(&self, model_digest: &str) -> Result<String> {
        let start = self
            .start
            .as_ref()
            .map(|adapter| adapter::to_safetensors(&adapter.tensors))
            .transpose()?;
        let start = digest::of_bytes(&start.unwrap_or_default());
        let sets = self.sets.iter().map(|set| digest::of_pairs(&set.pairs));
        Ok(digest::of_parts(
            [model_digest.to_owned(), digest::of_pairs(&self.train), start].into_iter().chain(sets),
        ))
    }
}

/// The pairs of `files` as text and as tokens; what was cut, dropped or odd about them is added to `notes`.
fn pairs(
    what: &str,
    files: &[String],
    base: &Base,
    data: &DataSection,
    notes: &mut Vec<String>,
) -> Result<(Vec<Pair>, Vec<TokenPair>)> {
    let loaded = base.texts(files, data)?;
    let limits = Limits::from(data);
    let tokenized = tokenize::tokenize(&loaded.pairs, &base.tokenizer, &limits)?;
    notes.push(format!("{what}: {}\n{}", loaded.counts, tokenized.counts).replace('\n', "\n  "));
    if tokenized.pairs.is_empty() {
        bail_input!(
            "{what}: none of the {} pairs is left under `data.max_length = {}`",
            loaded.pairs.len(),
            limits.max_length
        );
    }
    Ok((loaded.pairs, tokenized.pairs))
}
