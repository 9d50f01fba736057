//! Everything the user gave, read and checked before anything is written.

use std::path::Path;

use anyhow::Result;
use candle_core::Device;

use crate::bail_input;
use crate::config::{DataSection, LoraSection, MetricName, RunConfig};
use crate::console::progress::Verbosity;
use crate::data::pair::Pair;
use crate::data::token_pair::{self, TokenPair};
use crate::data::tokenize::Limits;
use crate::data::tokenizer::Tokenizer;
use crate::disk::digest;
use crate::encoder::source::EncoderSource;
use crate::hub::Hub;
use crate::model::adapter;
use crate::model::lora::Adapter;
use crate::model::shape::Shape;
use crate::session::base::Base;
use crate::session::hub_model;
use crate::session::source::ModelSource;
use crate::session::token_cache::{self, Unsaved};

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
    pub model_config: Shape,
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
            hub_model::fetch_weights(&self.hub, model)?;
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
        let sets = self.sets.iter().map(|set| token_pair::digest_of(&set.pairs));
        let encoder = self.encoder.as_ref().map(EncoderSource::digest).transpose()?;
        let first = [model_digest.to_owned(), token_pair::digest_of(&self.train), start];
        Ok(digest::of_parts(first.into_iter().chain(sets).chain(encoder)))
    }
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
