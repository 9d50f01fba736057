//! Reads and checks everything the user gave, before anything is written.

use std::path::Path;

use anyhow::Result;
use candle_core::Device;

use crate::bail_input;
use crate::config::{DataSection, LoraSection, MetricName, Reading, RunConfig, Source};
use crate::console::progress::Verbosity;
use crate::data::pair::Pair;
use crate::data::token_pair::{self, TokenPair};
use crate::data::tokenize::{Limits, beyond_context};
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
    /// All pairs of its files.
    pub texts: Vec<Pair>,
    /// The kept pairs; `row` is the place in `texts`.
    pub pairs: Vec<TokenPair>,
    /// Metrics to compute.
    pub metrics: Vec<MetricName>,
}

/// What a run reads.
pub struct Inputs {
    /// Where the base model comes from.
    pub model: ModelSource,
    /// The base model's shape.
    pub shape: Shape,
    /// Tokenizer files by name.
    pub tokenizer_files: Vec<(String, Vec<u8>)>,
    /// The kept training pairs; empty for an evaluation.
    pub train: Vec<TokenPair>,
    /// Their ids, in the same order.
    pub train_ids: Vec<String>,
    /// The evaluation sets.
    pub sets: Vec<EvalInputs>,
    /// The adapter of `lora.init_from`; none if that is empty.
    pub start: Option<Adapter>,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that end a generated answer; empty without SPMR.
    pub eos: Vec<u32>,
    /// The sentence encoder; none without SPMR.
    pub encoder: Option<EncoderSource>,
    /// Lines for the user: sources, counts, cuts, dropped pairs.
    pub notes: Vec<String>,
    /// Name and SHA-256 of every data file, each once.
    pub files: Vec<(String, String)>,
    /// Token ids that no cache has yet.
    unsaved: Vec<Unsaved>,
    hub: Hub,
}

impl Inputs {
    /// Reads and checks the files that `config` names.
    pub fn load(config: &RunConfig, verbosity: Verbosity) -> Result<Self> {
        Self::read(config, Some(&config.lora), verbosity)
    }

    /// Reads and checks the files of an evaluation: no training pairs, and `lora.init_from` may be any adapter that
    /// fits the model.
    pub fn for_evaluation(config: &RunConfig, verbosity: Verbosity) -> Result<Self> {
        Self::read(config, None, verbosity)
    }

    /// `training`: the `[lora]` section that the start adapter must match; none to read no training pairs.
    fn read(
        config: &RunConfig,
        training: Option<&LoraSection>,
        verbosity: Verbosity,
    ) -> Result<Self> {
        let base = Base::load(&config.model, verbosity)?;
        let start = match config.lora.init_from.as_str() {
            "" => None,
            folder => Some(adapter::load(Path::new(folder), &base.shape, training, &Device::Cpu)?),
        };

        let other_base = match config.lora.init_from.as_str() {
            "" => None,
            folder => adapter::other_base(Path::new(folder), &config.model.path),
        };
        let mut reader = PairReader::new(&base, &config.data, verbosity);
        let (mut train, mut train_ids) = (Vec::new(), Vec::new());
        if training.is_some() {
            let limits = Limits::from(&config.data);
            let set = reader.read(
                "training pairs",
                &config.data.train,
                &config.data.reading(),
                &[],
                &limits,
            )?;
            let id = |pair: &TokenPair| set.texts[pair.row as usize].id.clone();
            train_ids = set.pairs.iter().map(id).collect();
            train = set.pairs;
        }
        let mut sets = Vec::new();
        let limits = Limits::of_sets(&config.data, &config.eval);
        for set in &config.eval.sets {
            let name = format!("eval set `{}`", set.name);
            let TokenizedSet { texts, pairs } =
                reader.read(&name, &set.files, &Reading::default(), &set.group_by, &limits)?;
            let (name, metrics) = (set.name.clone(), set.metrics.clone());
            sets.push(EvalInputs { name, texts, pairs, metrics });
        }
        let PairReader { mut notes, files, unsaved, .. } = reader;
        notes.extend(other_base);
        let encoder = encoder(config, &base.hub, &mut notes)?;
        let eos = if encoder.is_some() { base.eos_ids()? } else { Vec::new() };
        let Base { source: model, shape, tokenizer, tokenizer_files, hub, .. } = base;
        Ok(Self {
            model,
            shape,
            tokenizer_files,
            train,
            train_ids,
            sets,
            start,
            tokenizer,
            eos,
            encoder,
            notes,
            files,
            unsaved,
            hub,
        })
    }

    /// Downloads the weights of a model and of an encoder on the hub. Call it last, so that a mistake in the data costs
    /// no download.
    pub fn fetch_weights(&self) -> Result<()> {
        if let ModelSource::Hub(model) = &self.model {
            hub_model::fetch_weights(&self.hub, model)?;
        }
        self.encoder.as_ref().map_or(Ok(()), |encoder| encoder.fetch_weights(&self.hub))
    }

    /// Caches the token ids for the next run. A failure is one warning and no error.
    pub fn save_tokens(&mut self, verbosity: Verbosity) {
        let saved = self.unsaved.drain(..).map(Unsaved::save);
        if let Some(error) = saved.filter_map(Result::err).reduce(|first, _| first) {
            verbosity.warn(format!("the tokens are not cached: {error:#}"));
        }
    }

    /// Digest of all inputs that a result depends on; `model_digest`: of the model's files.
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

/// Finds the sentence encoder if a set has the metric SPMR. Without `eval.spmr.embedder` SPMR is left out, with a line
/// in `notes`.
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
    let source = EncoderSource::find(embedder, "eval.spmr.embedder", hub)?;
    notes.extend(source.note());
    Ok(Some(source))
}

/// A set of pairs.
struct TokenizedSet {
    /// All pairs of the files.
    texts: Vec<Pair>,
    /// The kept pairs; `row` is the place in `texts`.
    pairs: Vec<TokenPair>,
}

/// Reads and tokenizes sets of pairs.
struct PairReader<'a> {
    base: &'a Base,
    data: &'a DataSection,
    verbosity: Verbosity,
    /// The base model's notes, then the counts of each set: pairs, cuts, dropped pairs, duplicates.
    notes: Vec<String>,
    /// Name and SHA-256 of every file, each once.
    files: Vec<(String, String)>,
    /// Token ids that no cache has yet.
    unsaved: Vec<Unsaved>,
}

impl<'a> PairReader<'a> {
    fn new(base: &'a Base, data: &'a DataSection, verbosity: Verbosity) -> Self {
        let notes = base.notes.clone();
        Self { base, data, verbosity, notes, files: Vec::new(), unsaved: Vec::new() }
    }

    /// Reads the set `name` from `sources`, those that do not say how as `reading` does, with `columns` as groups, into tokens under `limits`. Refuses a set without a kept pair.
    fn read(
        &mut self,
        name: &str,
        sources: &[Source],
        reading: &Reading,
        columns: &[String],
        limits: &Limits,
    ) -> Result<TokenizedSet> {
        let loaded = self.base.texts(sources, reading, columns, self.data, &mut self.notes)?;
        for file in loaded.digests {
            if !self.files.contains(&file) {
                self.files.push(file);
            }
        }
        if let Some(note) = self.base.other_ids(&loaded.pairs)? {
            let begin = note.split(',').next().unwrap_or_default();
            if !self.notes.iter().any(|known| known.starts_with(begin)) {
                self.notes.push(note);
            }
        }
        let (tokenized, cache) = token_cache::tokenize(
            &loaded.pairs,
            &self.base.tokenizer,
            &self.base.tokenizer_digest()?,
            limits,
            self.verbosity,
        )?;
        self.unsaved.extend(cache);
        let mut counts = format!("{name}: {}\n{}", loaded.counts, tokenized.counts);
        if let Some(line) = beyond_context(&tokenized.pairs, self.base.shape.max_positions) {
            counts.push_str(&format!("\n{line}"));
        }
        self.notes.push(counts.replace('\n', "\n  "));
        if tokenized.pairs.is_empty() {
            bail_input!(
                "{name}: none of the {} pairs is left under `data.max_length = {}`",
                loaded.pairs.len(),
                limits.max_length
            );
        }
        Ok(TokenizedSet { texts: loaded.pairs, pairs: tokenized.pairs })
    }
}
