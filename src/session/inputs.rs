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
use crate::data::visits::{Visits, Weighted};
use crate::disk::digest;
use crate::encoder::source::EncoderSource;
use crate::error::InputError;
use crate::hub::Hub;
use crate::model::adapter;
use crate::model::lora::Adapter;
use crate::model::plan::AdapterPlan;
use crate::model::shape::Shape;
use crate::run_folder::provenance::{InputFile, InputKind};
use crate::session::adapter_source::AdapterSource;
use crate::session::base::Base;
use crate::session::hub_model;
use crate::session::samples::SampleInputs;
use crate::session::source::ModelSource;
use crate::session::template_choice::TemplateChoice;
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
    /// How often an epoch visits each.
    pub visits: Visits,
    /// The evaluation sets.
    pub sets: Vec<EvalInputs>,
    /// The adapter of `lora.init_from`; none if that is empty.
    pub start: Option<Adapter>,
    /// What the adapter adapts: the one that is trained, or the one that is evaluated.
    pub plan: AdapterPlan,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The prompts of `eval.samples`; none without any, and in an evaluation.
    pub samples: Option<SampleInputs>,
    /// Tokens that end a generated answer; empty where none is generated.
    pub eos: Vec<u32>,
    /// The sentence encoder; none without SPMR.
    pub encoder: Option<EncoderSource>,
    /// Lines for the user: sources, counts, cuts, dropped pairs.
    pub notes: Vec<String>,
    /// Name and SHA-256 of every data file, each once.
    pub files: Vec<(String, String)>,
    /// Every file of the tokenizer, the chat template and the adapter.
    pub input_files: Vec<InputFile>,
    /// Bytes of the data files, at least those of their texts.
    pub data_bytes: usize,
    /// Token ids that no cache has yet.
    unsaved: Vec<Unsaved>,
    hub: Hub,
}

impl Inputs {
    /// Reads and checks the files that `config` names.
    pub fn load(
        config: &RunConfig,
        template: &TemplateChoice,
        verbosity: Verbosity,
    ) -> Result<Self> {
        Self::read(config, template, Some(&config.lora), verbosity)
    }

    /// Reads and checks the files of an evaluation: no training pairs, and `lora.init_from` may be any adapter that
    /// fits the model.
    pub fn for_evaluation(
        config: &RunConfig,
        template: &TemplateChoice,
        verbosity: Verbosity,
    ) -> Result<Self> {
        Self::read(config, template, None, verbosity)
    }

    /// `training`: the `[lora]` section that the start adapter must match; none to read no training pairs.
    fn read(
        config: &RunConfig,
        template: &TemplateChoice,
        training: Option<&LoraSection>,
        verbosity: Verbosity,
    ) -> Result<Self> {
        let base = Base::load(&config.model, template, verbosity)?;
        let own_plan = training.map(|lora| AdapterPlan::of(lora, &base.shape)).transpose()?;
        let mut input_files = base.input_files.clone();
        let (start, adapter_notes) = match config.lora.init_from.as_str() {
            "" => (None, Vec::new()),
            name => {
                let source = AdapterSource::find(name, "lora.init_from", &base.hub)?;
                let folder = &source.folder;
                let (start, files) =
                    adapter::load_digested(folder, &base.shape, training, &Device::Cpu)?;
                input_files.extend(files.map(|(file, sha256)| InputFile {
                    kind: InputKind::Adapter,
                    path: Path::new(name).join(file).display().to_string(),
                    sha256,
                }));
                let other_base = adapter::other_base(&source.folder, &config.model.path);
                (Some(start), source.note.into_iter().chain(other_base).collect())
            }
        };
        let plan = own_plan
            .or_else(|| start.as_ref().map(|adapter| adapter.plan.clone()))
            .unwrap_or_else(|| AdapterPlan::none(&base.shape));
        let mut reader = PairReader::new(&base, &config.data, verbosity);
        let (mut train, mut train_ids, mut visits) = Default::default();
        if training.is_some() {
            let limits = Limits::from(&config.data);
            let set = reader.read(
                "training pairs",
                &config.data.train,
                &config.data.reading(),
                Some(TRAIN_SPLIT),
                &[],
                &limits,
            )?;
            if set.pairs.iter().all(TokenPair::is_twin) {
                return Err(InputError::new(format!(
                    "training pairs: both answers of all {} pairs are the same tokens, so that nothing can be learned",
                    set.pairs.len()
                ))
                .hint("the records have equal answers, `data.max_length` cuts them before they differ, or the chat template leaves them out")
                .into());
            }
            let id = |pair: &TokenPair| set.texts[pair.row as usize].id.clone();
            train_ids = set.pairs.iter().map(id).collect::<Vec<_>>();
            visits = of_sources(&config.data, &set.pairs, &set.by_source, config.train.seed)?;
            reader.notes.extend(weights_line(&visits));
            train = set.pairs;
        }
        let mut sets = Vec::new();
        let limits = Limits::of_sets(&config.data, &config.eval);
        for set in &config.eval.sets {
            let name = format!("eval set `{}`", set.name);
            let TokenizedSet { texts, pairs, .. } = reader.read(
                &name,
                &set.files,
                &Reading::default(),
                None,
                &set.group_by,
                &limits,
            )?;
            let (name, metrics) = (set.name.clone(), set.metrics.clone());
            sets.push(EvalInputs { name, texts, pairs, metrics });
        }
        let PairReader { mut notes, mut files, data_bytes, unsaved, .. } = reader;
        notes.extend(adapter_notes);
        let samples = match training {
            Some(_) => SampleInputs::load(&base, config, &mut notes)?,
            None => None,
        };
        let sample_file = samples.iter().map(|samples| samples.file.clone());
        for file in sample_file {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        let encoder = encoder(config, &base.hub, &mut notes)?;
        let generates = encoder.is_some() || samples.is_some();
        let eos = if generates { base.eos_ids()? } else { Vec::new() };
        let Base { source: model, shape, tokenizer, tokenizer_files, hub, .. } = base;
        Ok(Self {
            model,
            shape,
            tokenizer_files,
            train,
            train_ids,
            visits,
            sets,
            start,
            plan,
            tokenizer,
            samples,
            eos,
            encoder,
            notes,
            files,
            input_files,
            data_bytes,
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

    /// Every file of an input that is neither data nor weights of the model; `encoder` is the key of the encoder.
    pub fn all_input_files(&self, encoder: &str) -> Result<Vec<InputFile>> {
        let files = self.encoder.as_ref().map(EncoderSource::digests).transpose()?;
        let of_encoder = files.into_iter().flatten().map(|(path, sha256)| InputFile {
            kind: InputKind::Encoder,
            path: Path::new(encoder).join(path).display().to_string(),
            sha256,
        });
        Ok(self.input_files.iter().cloned().chain(of_encoder).collect())
    }

    /// Digest of all inputs that a result depends on; `model_digest`: of the model's files, `input_files`: [`Self::all_input_files`].
    pub fn digest(&self, model_digest: &str, input_files: &[InputFile]) -> Result<String> {
        let start = self
            .start
            .as_ref()
            .map(|adapter| adapter::to_safetensors(&adapter.tensors))
            .transpose()?;
        let start = digest::of_bytes(&start.unwrap_or_default());
        let sets = self.sets.iter().map(|set| token_pair::digest_of(&set.pairs));
        let of_encoder = input_files.iter().filter(|file| file.kind == InputKind::Encoder);
        let encoder =
            self.encoder.as_ref().map(|_| digest::of_parts(of_encoder.map(|file| &file.sha256)));
        let first = [model_digest.to_owned(), token_pair::digest_of(&self.train), start];
        // Weights of sources are a part of their own, so that a run without them keeps its digest.
        let visits = match self.visits.are_plain() {
            true => None,
            false => Some(format!("visits {}", digest::of_bytes(&self.visits.to_bytes()))),
        };
        let samples = self.samples.iter().map(SampleInputs::digest);
        let parts = first.into_iter().chain(sets).chain(encoder).chain(visits).chain(samples);
        Ok(digest::of_parts(parts))
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

/// The split of `data.train` where a source has several and names none.
pub const TRAIN_SPLIT: &str = "train";

/// The visits of the pairs of `data.train`, of which `by_source` are each source's.
pub fn of_sources(
    data: &DataSection,
    kept: &[TokenPair],
    by_source: &[usize],
    seed: u64,
) -> Result<Visits> {
    let weighted = |(source, texts): (&Source, &usize)| Weighted {
        name: source.files.join(", "),
        weight: source.weight,
        texts: *texts,
    };
    Visits::new(kept, data.train.iter().zip(by_source).map(weighted).collect(), seed)
}

/// A line for each of several sources, or of one with a weight; none otherwise.
pub fn weights_line(visits: &Visits) -> Option<String> {
    let shown = visits.counts.len() > 1 || !visits.are_plain();
    shown.then(|| format!("training pairs: {visits}").replace('\n', "\n  "))
}

/// A set of pairs.
struct TokenizedSet {
    /// All pairs of the files.
    texts: Vec<Pair>,
    /// The kept pairs; `row` is the place in `texts`.
    pairs: Vec<TokenPair>,
    /// Texts of each source.
    by_source: Vec<usize>,
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
    /// Bytes of these files.
    data_bytes: usize,
    /// Token ids that no cache has yet.
    unsaved: Vec<Unsaved>,
}

impl<'a> PairReader<'a> {
    fn new(base: &'a Base, data: &'a DataSection, verbosity: Verbosity) -> Self {
        let notes = base.notes.clone();
        Self { base, data, verbosity, notes, files: Vec::new(), data_bytes: 0, unsaved: Vec::new() }
    }

    /// Reads the set `name` from `sources`, those that do not say how as `reading` does, with `columns` as groups, into tokens under `limits`. Refuses a set without a kept pair.
    fn read(
        &mut self,
        name: &str,
        sources: &[Source],
        reading: &Reading,
        fallback: Option<&str>,
        columns: &[String],
        limits: &Limits,
    ) -> Result<TokenizedSet> {
        let loaded =
            self.base.texts(sources, reading, fallback, columns, self.data, &mut self.notes)?;
        self.data_bytes += loaded.bytes;
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
        let (mut tokenized, cache) = token_cache::tokenize(
            &loaded.pairs,
            &self.base.tokenizer,
            &self.base.tokenizer_digest()?,
            limits,
            self.verbosity,
        )?;
        self.unsaved.extend(cache);
        let mut counts = format!("{name}: {}\n{}", loaded.counts, tokenized.counts);
        match self.base.shape.rope.set_apart(&mut tokenized.pairs) {
            0 => {}
            apart => counts.push_str(&format!(
                "\n{apart} pairs have their prompt computed for each answer, since the answers' lengths give it other angles"
            )),
        }
        if let Some(line) = beyond_context(&tokenized.pairs, self.base.shape.max_positions) {
            counts.push_str(&format!("\n{line}"));
        }
        self.notes.push(counts.replace('\n', "\n  "));
        if tokenized.pairs.is_empty() {
            if loaded.pairs.is_empty() {
                bail_input!("{name}: the records give no pair: {}", loaded.counts);
            }
            bail_input!(
                "{name}: none of the {} pairs is left under `data.max_length = {}`",
                loaded.pairs.len(),
                limits.max_length
            );
        }
        let by_source = loaded.by_source;
        Ok(TokenizedSet { texts: loaded.pairs, pairs: tokenized.pairs, by_source })
    }
}
