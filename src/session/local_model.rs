//! A local model that generates: its small files are read at once, its weights when the first prompts are known.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;
use candle_core::{DType, Device};

use crate::config::{Dtype, ModelSection};
use crate::console::progress::Verbosity;
use crate::data::prompt::Prompt;
use crate::disk::digest;
use crate::disk::journal::Journal;
use crate::error::InputError;
use crate::inference::engine;
use crate::inference::generations::{GenerationPass, JournalFile};
use crate::machine;
use crate::machine::memory::GenerationPlan;
use crate::model::adapter;
use crate::model::decoder::Decoder;
use crate::model::generation::{Generation, GenerationSettings, Sampling, StopStrings};
use crate::model::lora::Adapter;
use crate::model::plan::AdapterPlan;
use crate::model::weights;
use crate::parallel::order::Begin;
use crate::parallel::world::World;
use crate::session::adapter_source::AdapterSource;
use crate::session::base::Base;
use crate::session::held;
use crate::session::ranks;
use crate::session::template_choice::TemplateChoice;

/// Which model, and how it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalChoice {
    /// A folder, a hub id, or the model inside the binary.
    pub model: String,
    /// Branch, tag or commit of a model on the hub.
    pub revision: String,
    /// Folder or hub id of an adapter; none for the base model.
    pub adapter: Option<PathBuf>,
    /// Whether the adapter is added to the weights in memory.
    pub merge: bool,
    /// The chat template of conversations.
    pub template: TemplateChoice,
    /// Of the weights.
    pub dtype: Dtype,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Answers at once; none: as many as fit.
    pub batch: Option<usize>,
    /// Whether to start although less memory is free than this takes.
    pub force: bool,
}

impl LocalChoice {
    /// The model as a configuration has it.
    fn section(&self) -> ModelSection {
        ModelSection {
            path: self.model.clone(),
            revision: self.revision.clone(),
            dtype: self.dtype,
            ..ModelSection::default()
        }
    }
}

/// How answers are generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Most tokens of an answer.
    pub max_new_tokens: usize,
    /// None: the most probable token.
    pub sampling: Option<Sampling>,
}

/// A model, and perhaps an adapter on it.
pub struct LocalModel {
    /// The model's small files.
    pub base: Base,
    choice: LocalChoice,
    device: Device,
    dtype: DType,
    eos: Vec<u32>,
    /// None where there is none, or it is to be merged.
    adapter: Option<Adapter>,
    merged: Option<Adapter>,
    weights_digest: OnceCell<String>,
    model: OnceCell<Decoder>,
    /// The ranks that answer with this one.
    world: Rc<World>,
}

impl LocalModel {
    /// Reads and checks the small files and the adapter. Downloads the small files of a hub model.
    pub fn load(choice: LocalChoice, verbosity: Verbosity) -> Result<Self> {
        let device = machine::device(&choice.device)?;
        let base = Base::load(&choice.section(), &choice.template, verbosity)?;
        base.notes.iter().for_each(|note| verbosity.note(note));
        let eos = base.eos_ids()?;
        let adapter = match &choice.adapter {
            Some(name) => {
                let name = name.to_string_lossy();
                let source = AdapterSource::find(&name, "--adapter", &base.hub)?;
                let other_base = adapter::other_base(&source.folder, &choice.model);
                source.note.iter().chain(&other_base).for_each(|note| verbosity.note(note));
                if let Some(place) = base.other_template(&source.folder)? {
                    verbosity.note(format!(
                        "{place}: the adapter's chat template is not the one that is used; `--chat-template {}` takes it",
                        source.folder.display()
                    ));
                }
                Some(adapter::load(&source.folder, &base.shape, None, &Device::Cpu)?)
            }
            None => None,
        };
        let dtype = machine::dtype(choice.dtype, &device)?;
        let (adapter, merged) = if choice.merge { (None, adapter) } else { (adapter, None) };
        let (weights_digest, model, world) = Default::default();
        Ok(Self { base, choice, device, dtype, eos, adapter, merged, weights_digest, model, world })
    }

    /// Shares the answers with all ranks of `world`. Refuses an adapter that is to be merged, which the others have not.
    pub fn on(self, world: Rc<World>) -> Result<Self> {
        if world.ranks() > 1 && self.merged.is_some() {
            return Err(InputError::new("`--merge` is for one rank, and there are several")
                .hint(
                    "leave `--merge` out, or merge once with `mvpbench merge` and give that model",
                )
                .into());
        }
        Ok(Self { world, ..self })
    }

    /// Which model, and how it is held.
    pub fn choice(&self) -> &LocalChoice {
        &self.choice
    }

    /// Number type of the weights, `f32` or `bf16`.
    pub fn dtype(&self) -> String {
        format!("{:?}", self.dtype).to_lowercase()
    }

    /// Digest of what an answer is made by: the weights, the adapter, the tokenizer with its rules, the chat template, and the tokens that
    /// end an answer. Downloads the weights of a hub model.
    pub fn digest(&self) -> Result<String> {
        let adapter = self.adapter.as_ref().or(self.merged.as_ref());
        let adapter = adapter.map(adapter::digest).transpose()?.unwrap_or_default();
        // The template is one of the tokenizer's files.
        let (tokenizer, eos) = (self.base.tokenizer_digest()?, format!("{:?}", self.eos));
        Ok(digest::of_parts([self.weights_digest()?, &adapter, &tokenizer, &eos]))
    }

    fn weights_digest(&self) -> Result<&str> {
        if let Some(known) = self.weights_digest.get() {
            return Ok(known);
        }
        let found = self.base.in_folder(weights::digest)?;
        Ok(self.weights_digest.get_or_init(|| found))
    }

    /// The token ids of a prompt. Refuses one that is empty or leaves no room in the model's context.
    pub fn ids(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let ids = prompt.ids(&self.base.tokenizer)?;
        let most = self.base.shape.max_positions;
        if ids.len() >= most {
            return Err(InputError::new(format!(
                "{}: expected a prompt and an answer that fit into the model's context of {most} tokens, \
                 got a prompt of {}",
                prompt.place,
                ids.len()
            ))
            .hint("give a shorter prompt")
            .into());
        }
        if ids.is_empty() {
            return Err(InputError::new(format!("{}: the prompt is empty", prompt.place)).into());
        }
        Ok(ids)
    }

    /// Generates an answer to each of `prompts`, token ids. Opens the weights at the first call, unless they take more memory than is
    /// free.
    ///
    /// - `stop`: strings that end an answer.
    /// - `journal`: a file that keeps finished answers; those of an interrupted call with the same arguments are not generated again.
    ///
    /// Returns the generations in the order of the prompts, and the open journal.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        drawing: &Drawing,
        stop: &StopStrings<'_>,
        journal: Option<&Path>,
        verbosity: Verbosity,
    ) -> Result<(Vec<Generation>, Option<Journal<Generation>>)> {
        let Drawing { max_new_tokens, sampling } = *drawing;
        let batch = self.choice.batch.unwrap_or(1); // until the free memory is known
        let mut settings =
            GenerationSettings { max_new_tokens, sampling, eos: self.eos.clone(), batch };
        settings.check()?;
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(1);
        let model = self.opened(longest, max_new_tokens, verbosity)?;
        if self.choice.batch.is_none() {
            let tokens = longest + max_new_tokens;
            settings.batch =
                engine::answers_at_once(&model.shape, model.dtype, &model.device, tokens);
        }
        let settings = &settings;
        let pass = GenerationPass {
            model,
            adapter: self.adapter.as_ref(),
            prompts,
            settings,
            stop,
            world: &self.world,
        };
        let merged = self.merged.as_ref().map(adapter::digest).transpose()?;
        let merged = merged.map_or_else(String::new, |digest| format!("merged {digest}"));
        let key = pass.key(&format!("{} {merged}", self.weights_digest()?))?;
        pass.run(journal.map(|path| JournalFile { path, key: &key }), verbosity)
    }

    /// The weights, opened at the first call.
    ///
    /// - `longest`: tokens of the longest prompt.
    fn opened(
        &self,
        longest: usize,
        max_new_tokens: usize,
        verbosity: Verbosity,
    ) -> Result<&Decoder> {
        if let Some(model) = self.model.get() {
            return Ok(model);
        }
        let shape = &self.base.shape;
        if !self.choice.force {
            let tokens = longest.saturating_add(max_new_tokens).min(shape.max_positions);
            let sequences = self.choice.batch.unwrap_or(1);
            let applied = self.adapter.as_ref().map(|adapter| adapter.plan.clone());
            let lora = applied.unwrap_or_else(|| AdapterPlan::none(shape));
            let plan = GenerationPlan { shape, lora: &lora, dtype: self.dtype, sequences, tokens };
            held::refuse_inference(
                &self.choice.model,
                shape,
                self.dtype,
                longest,
                plan.bytes(),
                &self.device,
                "`--dtype bf16`",
            )?;
        }
        let mut place = PathBuf::new();
        let load = |folder: &Path| {
            place = std::path::absolute(folder)?;
            let known = self.weights_digest.get().cloned();
            let digest = known.map_or_else(|| weights::digest(folder), Ok)?;
            Ok((Decoder::load(folder, self.dtype, &self.device)?, digest))
        };
        let (mut model, digest) = self.base.in_folder(load)?;
        model.notes.iter().for_each(|note| verbosity.note(note));
        self.weights_digest.get_or_init(|| digest);
        if let Some(adapter) = &self.merged {
            model = model.merged(adapter)?;
        }
        let plan = self.adapter.as_ref().map(|adapter| adapter.plan.clone());
        let plan = plan.unwrap_or_else(|| AdapterPlan::none(shape));
        let begin = Begin {
            config: None,
            model: self.choice.section(),
            folder: place.display().to_string(),
            micro_batch_tokens: 0,
            recompute: false,
            plan: serde_json::to_string(&plan)?,
            steps: 0,
        };
        ranks::load(&self.world, begin, self.weights_digest()?, &self.device)?;
        Ok(self.model.get_or_init(|| model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_digest_changes_with_every_file_that_its_answers_depend_on() {
        let place = tempfile::tempdir().unwrap();
        let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny/model");
        for entry in std::fs::read_dir(given).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), place.path().join(entry.file_name())).unwrap();
        }
        let digest = || {
            let choice = LocalChoice {
                model: place.path().display().to_string(),
                revision: "main".to_owned(),
                adapter: None,
                merge: false,
                template: TemplateChoice::typed("", None),
                dtype: Dtype::F32,
                device: "cpu".to_owned(),
                batch: None,
                force: false,
            };
            LocalModel::load(choice, Verbosity::Quiet).unwrap().digest().unwrap()
        };
        let mut seen = vec![digest()];
        assert_eq!(digest(), seen[0]);
        for (name, text) in [
            ("chat_template.jinja", "{{ messages[0].content }}"),
            ("chat_template.jinja", "{{ messages[0].content }}!"),
            ("generation_config.json", r#"{"eos_token_id": [1, 5]}"#),
            ("special_tokens_map.json", "{}"),
        ] {
            std::fs::write(place.path().join(name), text).unwrap();
            let changed = digest();
            assert!(!seen.contains(&changed), "{name}");
            seen.push(changed);
        }
    }
}
