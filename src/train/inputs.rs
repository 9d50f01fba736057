//! Everything the user gave, read and checked before anything is written.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use serde_json::Value;

use super::digest;
use super::encoder::EncoderSource;
use super::hub::Hub;
use super::hub::model::HubModel;
use super::hub::name::{self, DataFile};
use super::progress::Verbosity;
use super::token_cache::{self, Unsaved};
use crate::atomic_file;
use crate::bail_input;
use crate::config::{DataSection, LoraSection, MetricName, ModelSection, PromptFormat, RunConfig};
use crate::data::chat::ChatTemplate;
use crate::data::file::{self, Prompts};
use crate::data::pair::{Loaded, Pair};
use crate::data::prompt::{self, Prompt};
use crate::data::tokenize::{Limits, TokenPair};
use crate::data::tokenizer::{Tokenizer, TokenizerFiles};
use crate::error::InputError;
use crate::model::adapter;
use crate::model::config::LlamaConfig;
use crate::model::llama::Llama;
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
    /// A commit in the hub's cache.
    Hub(HubModel),
    /// Files of the binary, to be unpacked into the run folder.
    Embedded(Vec<(&'static str, &'static [u8])>),
}

impl ModelSource {
    fn find(section: &ModelSection, hub: &Hub) -> Result<Self> {
        let path = section.path.as_str();
        if let Some(files) = presets::embedded_folder(path) {
            return Ok(Self::Embedded(files));
        }
        if path.starts_with("embedded:") {
            presets::read(&format!("{}/config.json", path.trim_end_matches('/')))?; // its error says what there is
        }
        let folder = PathBuf::from(path);
        if !folder.exists() && name::is_id(path) {
            let model = hub
                .model(path, &section.revision)
                .with_context(|| format!("there is no folder `{path}`, so the hub was asked"))?;
            return Ok(Self::Hub(model));
        }
        if !folder.is_dir() {
            let error = InputError::new(format!("model folder `{path}` does not exist"));
            return Err(error.hint("`model.path` must be a hub id, `OWNER/NAME`, or the folder of a Hugging Face checkpoint: config.json, tokenizer.json, *.safetensors").into());
        }
        Ok(Self::Folder(folder))
    }

    /// The folder, unless the model is inside the binary.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Hub(model) => Some(&model.folder),
            Self::Embedded(_) => None,
        }
    }

    /// The commit and the revision it was asked for by, of a model on the hub.
    pub fn commit(&self) -> Option<(&str, &str)> {
        match self {
            Self::Hub(model) => Some((&model.commit, &model.repository.revision)),
            Self::Folder(_) | Self::Embedded(_) => None,
        }
    }

    fn file(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>> {
        if let Self::Embedded(files) = self {
            let file = files.iter().find(|(known, _)| *known == name);
            return Ok(file.map(|(_, bytes)| Cow::Borrowed(*bytes)));
        }
        match self.folder().map(|folder| folder.join(name)) {
            Some(path) if path.is_file() => Ok(Some(Cow::Owned(
                std::fs::read(&path)
                    .with_context(|| format!("cannot read `{}`", path.display()))?,
            ))),
            _ => Ok(None),
        }
    }
}

/// The base model's small files: all that a text needs to become tokens. No weight is read.
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
    /// What was fetched and must be seen.
    pub notes: Vec<String>,
    hub: Hub,
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
    /// The figures to compute.
    pub metrics: Vec<MetricName>,
}

/// What a run reads.
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
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that end a generated answer; none where none is generated.
    pub eos: Vec<u32>,
    /// The sentence encoder, where SPMR is asked for and one was named.
    pub encoder: Option<EncoderSource>,
    /// What was counted on the way and must be seen.
    pub notes: Vec<String>,
    /// Token ids that no cache has yet.
    unsaved: Vec<Unsaved>,
    hub: Hub,
}

impl Base {
    /// Reads and checks the small files of the model that `section` names; those on the hub are downloaded.
    pub fn load(section: &ModelSection, say: Verbosity) -> Result<Self> {
        let path = section.path.as_str();
        let hub = Hub::new(say);
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
        let config = LlamaConfig::parse(
            &String::from_utf8_lossy(&config_json),
            &Path::new(path).join("config.json").display().to_string(),
        )?;
        let mut tokenizer = match source.folder() {
            Some(folder) => Tokenizer::load(folder)?,
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
        Ok(Self { source, config, tokenizer, template, tokenizer_files, notes, hub })
    }

    /// Digest of the files that the tokenizer was made of.
    fn tokenizer_digest(&self) -> Result<String> {
        let config = self.source.file("config.json")?.unwrap_or_default(); // it may name the special tokens
        let files = self.tokenizer_files.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes]);
        Ok(digest::of_parts(files.chain([&config[..]])))
    }

    /// The tokens that end an answer: `eos_token_id`, a number or a list, of generation_config.json, else of config.json; else
    /// the tokenizer's.
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
            let vocab = self.config.vocab as u64;
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

    /// The prompts of `file` by themselves; what was fetched for it is added to `notes`.
    pub fn prompts(
        &self,
        file: &str,
        format: PromptFormat,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Prompt>> {
        let bytes = read(file, &self.hub, notes)?;
        prompt::load(&bytes, file, &Prompts { format, template: self.template.as_ref() })
    }

    /// The model with its weights, and the digest of its files. Those on the hub are downloaded; those in the binary are unpacked
    /// into a folder of the system's for temporary files, which is gone afterwards.
    pub fn open(&self, dtype: DType, device: &Device) -> Result<(Llama, String)> {
        let load =
            |folder: &Path| Ok((Llama::load(folder, dtype, device)?, digest::of_model(folder)?));
        match &self.source {
            ModelSource::Folder(folder) => load(folder),
            ModelSource::Hub(model) => {
                self.hub.weights(model)?;
                load(&model.folder)
            }
            ModelSource::Embedded(files) => {
                let name = format!("mvpbench-embedded-{}", std::process::id());
                let folder = std::env::temp_dir().join(name);
                let files: Vec<_> = files
                    .iter()
                    .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
                    .collect();
                atomic_file::write_folder(&folder, &files)?;
                let opened = load(&folder);
                std::fs::remove_dir_all(&folder)
                    .with_context(|| format!("cannot remove `{}`", folder.display()))?;
                opened
            }
        }
    }

    /// The pairs of `files` as text, in the format that `data` says; what was fetched for it is added to `notes`.
    pub fn texts(
        &self,
        files: &[String],
        data: &DataSection,
        notes: &mut Vec<String>,
    ) -> Result<Loaded> {
        let files: Vec<_> = files
            .iter()
            .map(|path| Ok((path.clone(), read(path, &self.hub, notes)?)))
            .collect::<Result<_>>()?;
        let prompts = Prompts { format: data.prompt_format, template: self.template.as_ref() };
        file::load(&files, &prompts)
    }
}

impl Inputs {
    /// Reads and checks the files that `config` names.
    pub fn load(config: &RunConfig, say: Verbosity) -> Result<Self> {
        Self::read(config, Some(&config.lora), say)
    }

    /// Reads and checks the files of an evaluation: no training pairs, and `lora.init_from` may be any adapter that fits the model.
    pub fn for_evaluation(config: &RunConfig, say: Verbosity) -> Result<Self> {
        Self::read(config, None, say)
    }

    /// `training`: the `[lora]` section that the adapter must agree with, if training pairs are wanted.
    fn read(config: &RunConfig, training: Option<&LoraSection>, say: Verbosity) -> Result<Self> {
        let base = Base::load(&config.model, say)?;
        let start = match config.lora.init_from.as_str() {
            "" => None,
            folder => Some(adapter::load(Path::new(folder), &base.config, training, &Device::Cpu)?),
        };

        let (mut notes, mut unsaved) = (base.notes.clone(), Vec::new());
        let (mut train, mut train_ids) = (Vec::new(), Vec::new());
        if training.is_some() {
            let files = &config.data.train;
            let cache = (&mut unsaved, say);
            let (texts, kept) =
                pairs("training pairs", files, &base, &config.data, &mut notes, cache)?;
            train_ids = kept.iter().map(|pair| texts[pair.row as usize].id.clone()).collect();
            train = kept;
        }
        let mut sets = Vec::new();
        for set in &config.eval.sets {
            let (texts, pairs) = pairs(
                &format!("eval set `{}`", set.name),
                &set.files,
                &base,
                &config.data,
                &mut notes,
                (&mut unsaved, say),
            )?;
            let (name, metrics) = (set.name.clone(), set.metrics.clone());
            sets.push(EvalInputs { name, texts, pairs, metrics });
        }
        let encoder = encoder(config, &base.hub, &mut notes)?;
        let eos = if encoder.is_some() { base.eos_ids()? } else { Vec::new() };
        let Base { source: model, config: model_config, tokenizer, tokenizer_files, hub, .. } =
            base;
        Ok(Self {
            model,
            model_config,
            tokenizer_files,
            train,
            train_ids,
            sets,
            start,
            tokenizer,
            eos,
            encoder,
            notes,
            unsaved,
            hub,
        })
    }

    /// Downloads the weights of a model and of an encoder on the hub: last, so that a mistake in the data costs nothing.
    pub fn fetch_weights(&self) -> Result<()> {
        if let ModelSource::Hub(model) = &self.model {
            self.hub.weights(model)?;
        }
        self.encoder.as_ref().map_or(Ok(()), |encoder| encoder.fetch_weights(&self.hub))
    }

    /// Caches the token ids for the next run.
    pub fn save_tokens(&mut self, say: Verbosity) {
        self.unsaved.drain(..).for_each(|cache| cache.save(say));
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
        let encoder = self.encoder.as_ref().map(EncoderSource::digest).transpose()?;
        let first = [model_digest.to_owned(), digest::of_pairs(&self.train), start];
        Ok(digest::of_parts(first.into_iter().chain(sets).chain(encoder)))
    }
}

/// The bytes of a data file: of the hub's if `path` begins with `hf://`, otherwise of the file system's or the binary's.
fn read(path: &str, hub: &Hub, notes: &mut Vec<String>) -> Result<Cow<'static, [u8]>> {
    if !path.starts_with(name::SCHEME) {
        return presets::read(path);
    }
    let (file, commit) = hub.data_file(&DataFile::parse(path)?)?;
    notes.push(format!("{path}: commit {commit}"));
    let bytes =
        std::fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(Cow::Owned(bytes))
}

/// The encoder that SPMR needs, if any set asks for it; `notes` says so where none is named.
fn encoder(
    config: &RunConfig,
    hub: &Hub,
    notes: &mut Vec<String>,
) -> Result<Option<EncoderSource>> {
    let sets = config.eval.sets.iter().filter(|set| set.metrics.contains(&MetricName::Spmr));
    let names: Vec<_> = sets.map(|set| format!("`{}`", set.name)).collect();
    let embedder = config.eval.spmr.embedder.as_str();
    if names.is_empty() {
        return Ok(None);
    }
    if embedder.is_empty() {
        notes.push(format!(
            "SPMR of {} is left out: `eval.spmr.embedder` names no sentence encoder",
            names.join(", ")
        ));
        return Ok(None);
    }
    let source = EncoderSource::find(embedder, hub)?;
    notes.extend(source.note());
    Ok(Some(source))
}

/// The pairs of `files` as text and as tokens; what was cut, dropped or odd about them is added to `notes`.
fn pairs(
    what: &str,
    files: &[String],
    base: &Base,
    data: &DataSection,
    notes: &mut Vec<String>,
    (unsaved, say): (&mut Vec<Unsaved>, Verbosity),
) -> Result<(Vec<Pair>, Vec<TokenPair>)> {
    let loaded = base.texts(files, data, notes)?;
    let limits = Limits::from(data);
    let (tokenized, cache) = token_cache::tokenize(
        &loaded.pairs,
        &base.tokenizer,
        &base.tokenizer_digest()?,
        &limits,
        say,
    )?;
    unsaved.extend(cache);
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
