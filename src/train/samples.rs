//! Answers to fixed prompts: the base model's once, the policy's at every evaluation.
//!
//! Decoding is greedy, so a state of the adapter has one answer to each prompt. A record in `eval/samples.jsonl` names the adapter's digest, and finished
//! answers of an interrupted state are in a journal: a killed and resumed run generates nothing twice and ends with the same bytes.

use std::path::Path;

use anyhow::Result;

use crate::config::Reference;
use crate::data::token_pair::TokenPair;
use crate::disk::{digest, json_lines, read};
use crate::error::InputError;
use crate::inference::divergence::DivergencePass;
use crate::inference::engine;
use crate::inference::generations::{GenerationPass, JournalFile};
use crate::model::adapter;
use crate::model::generation::{Generation, GenerationSettings, Stop, StopStrings};
use crate::model::lora::Adapter;
use crate::run_folder::checkpoints;
use crate::run_folder::samples::{SampleLog, SampleMeans, SampleRecord, base};
use crate::session::Session;
use crate::session::samples::SampleInputs;
use crate::train::checkpoint;

/// The prompts of a run and the answers so far.
pub(super) struct Samples<'a> {
    session: &'a Session<'a>,
    inputs: &'a SampleInputs,
    /// Token ids of each prompt.
    prompts: Vec<Vec<u32>>,
    settings: GenerationSettings,
    log: SampleLog,
}

impl<'a> Samples<'a> {
    /// Answers the prompts by the base model, and by the adapter that training starts from if it is not a fresh one; reads the answers
    /// that an interrupted run wrote. None without prompts.
    ///
    /// - `evaluated`: the steps before the present one whose states were answered. What is lost of them is generated again from
    ///   a checkpoint of the step, or told.
    pub(super) fn open(
        session: &'a Session<'a>,
        evaluated: impl Iterator<Item = usize>,
    ) -> Result<Option<Self>> {
        let Some(inputs) = &session.inputs.samples else { return Ok(None) };
        let model = &session.model;
        let prompts: Vec<_> = inputs.prompts.iter().map(|prompt| prompt.ids.clone()).collect();
        let max_new_tokens = session.config.eval.samples.max_new_tokens;
        let tokens = inputs.longest() + max_new_tokens;
        let settings = GenerationSettings {
            max_new_tokens,
            eos: session.inputs.eos.clone(),
            sampling: None,
            batch: engine::answers_at_once(&model.shape, model.dtype, &model.device, tokens),
        };
        let path = session.folder.samples();
        let stop = StopStrings::none(&session.inputs.tokenizer);
        let base = pass(session, &prompts, &settings, &stop, None);
        let key = base.key(&session.model_digest)?;
        let log = SampleLog::open(&path, key.digest(), prompts.len())?;
        let mut all = Self { session, inputs, prompts, settings, log };
        let broken = json_lines::numbered("line", all.log.broken_lines());
        if !all.log.broken_lines().is_empty() {
            let what = format!("`{}`: {broken} did not match the digest", path.display());
            session.options.verbosity.warn(format!("{what}; what is lost is generated again"));
        }
        all.answer(0, None)?;
        if let Some(start) = &session.inputs.start {
            all.answer(0, Some(start))?;
        }
        all.repair(evaluated)?;
        Ok(Some(all))
    }

    fn repair(&mut self, evaluated: impl Iterator<Item = usize>) -> Result<()> {
        let mut lost = Vec::new();
        for step in evaluated {
            if self.log.has(step) {
                continue;
            }
            match checkpoint::adapter_after(self.session, step) {
                Ok(adapter) => drop(self.answer(step, Some(&adapter))?),
                Err(_) => lost.push(step),
            }
        }
        if !lost.is_empty() {
            let file = self.log.path().display();
            let steps = json_lines::numbered("step", &lost);
            let what = format!("`{file}` has no answers after {steps}, and no checkpoint is left");
            self.session.options.verbosity.warn(what);
        }
        Ok(())
    }

    /// Whether the policy's answers after `step` steps are there.
    pub(super) fn has(&self, step: usize) -> bool {
        self.log.has(step)
    }

    /// All answers, the base model's first.
    pub(super) fn records(&self) -> &[SampleRecord] {
        self.log.records()
    }

    /// The answers of the policy after `step` steps.
    pub(super) fn during(&mut self, step: usize, adapter: &Adapter) -> Result<Vec<SampleRecord>> {
        Ok(self.answer(step, Some(adapter))?.1)
    }

    /// The answers of the exported adapter, taken after `step` steps; true if they are new. Drops those of steps after `last`, which
    /// the run did not take.
    pub(super) fn after(&mut self, step: usize, adapter: &Adapter, last: usize) -> Result<bool> {
        self.log.retain(|step| step <= last)?;
        Ok(self.answer(step, Some(adapter))?.0)
    }

    /// The means over the answers of the policy after `step` steps, and over the base model's, in words.
    pub(super) fn line(&self, step: usize, records: &[SampleRecord]) -> Option<String> {
        let (now, was) = (SampleMeans::of(records)?, SampleMeans::of(base(self.records()))?);
        let kl = now.kl.map_or_else(String::new, |kl| format!(", kl {kl:.4} (reference 0)"));
        Some(format!(
            "samples step {step}: {:.1} tokens an answer, the base model's {:.1}{kl}",
            now.length, was.length
        ))
    }

    /// The answers of `adapter` after `step` steps, or of the base model without one, and whether they are new.
    fn answer(
        &mut self,
        step: usize,
        adapter: Option<&Adapter>,
    ) -> Result<(bool, Vec<SampleRecord>)> {
        let digest = |adapter: &Adapter| -> Result<String> {
            Ok(digest::of_bytes(&adapter::to_safetensors(&adapter.tensors)?))
        };
        let digest = adapter.map(digest).transpose()?;
        let name = if adapter.is_some() { checkpoints::name(step) } else { "base".to_owned() };
        let journal = self.session.folder.sample_journal(&name);
        if let Some(there) = self.log.of(step, digest.as_deref()) {
            read::remove_if_there(&journal)?; // a program killed after the answers were written left it
            return Ok((false, there.to_vec()));
        }
        let generations = self.generate(&name, adapter, &journal)?;
        let divergences = match adapter {
            Some(adapter) => self.divergences(adapter, &generations)?,
            None => vec![None; generations.len()],
        };
        let whole = StopStrings::none(&self.session.inputs.tokenizer);
        let mut records = Vec::new();
        let rows = self.inputs.prompts.iter().zip(&generations).zip(divergences).enumerate();
        for (row, ((prompt, generation), kl)) in rows {
            records.push(SampleRecord {
                step,
                row,
                id: prompt.id.clone(),
                prompt: prompt.text.clone(),
                answer: whole.text(generation)?,
                prompt_tokens: prompt.ids.len(),
                generated_tokens: generation.ids.len(),
                ended: generation.stop == Stop::Eos,
                kl: kl.filter(|kl| kl.is_finite()),
                adapter_sha256: digest.clone(),
                settings: self.log.settings().to_owned(),
            });
        }
        self.log.push(records.clone())?;
        read::remove_if_there(&journal)?;
        Ok((true, records))
    }

    fn generate(
        &self,
        name: &str,
        adapter: Option<&Adapter>,
        journal: &Path,
    ) -> Result<Vec<Generation>> {
        let verbosity = self.session.options.verbosity;
        verbosity.note(format!("samples {name}: answers to {} prompts", self.prompts.len()));
        let stop = StopStrings::none(&self.session.inputs.tokenizer);
        let pass = pass(self.session, &self.prompts, &self.settings, &stop, adapter);
        let key = pass.key(&self.session.model_digest)?;
        let file = JournalFile { path: journal, key: &key };
        let (generations, _) = match pass.run(Some(file), verbosity) {
            Err(error) if error.is::<InputError>() => {
                verbosity.warn(format!("{error}; generating the answers again"));
                std::fs::remove_file(journal)?;
                pass.run(Some(file), verbosity)?
            }
            run => run?,
        };
        Ok(generations)
    }

    /// Mean KL divergence of `adapter` from the reference along each answer.
    fn divergences(
        &self,
        adapter: &Adapter,
        generations: &[Generation],
    ) -> Result<Vec<Option<f64>>> {
        let Session { model, config, engine, start, options, .. } = self.session;
        let policy = model.bring(adapter)?;
        let answer = |(prompt, generation): (&Vec<u32>, &Generation)| TokenPair {
            prompt: prompt.clone(),
            chosen: generation.ids.clone(),
            ..TokenPair::default()
        };
        let pairs: Vec<TokenPair> = self.prompts.iter().zip(generations).map(answer).collect();
        let pass = DivergencePass {
            model,
            policy: Some(&policy),
            reference: start.as_ref().filter(|_| config.dpo.reference == Reference::Init),
            micro_batch_tokens: engine.micro_batch_tokens,
            world: &options.world,
        };
        pass.per_token(&pairs)
    }
}

/// Generation for `prompts` with the session's model.
fn pass<'p>(
    session: &'p Session<'_>,
    prompts: &'p [Vec<u32>],
    settings: &'p GenerationSettings,
    stop: &'p StopStrings<'p>,
    adapter: Option<&'p Adapter>,
) -> GenerationPass<'p> {
    GenerationPass {
        model: &session.model,
        adapter,
        prompts,
        settings,
        stop,
        world: &session.options.world,
    }
}
