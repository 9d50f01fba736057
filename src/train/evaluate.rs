//! Evaluation before, during and after training: scores of every set into `eval/`, figures out.

use anyhow::{Context, Result};

use super::checkpoint;
use super::digest;
use super::folder::RunFolder;
use super::inputs::Inputs;
use super::progress::Verbosity;
use super::scores;
use super::step::Engine;
use crate::config::{Reference, RunConfig};
use crate::eval::score::{PairScore, read_scores, write_scores};
use crate::eval::{Evaluation, SetResult};
use crate::model::adapter;
use crate::model::llama::Llama;
use crate::model::lora::Adapter;

/// Evaluation before, during and after training, one forward pass for each set and model.
pub struct Scoring<'a> {
    /// What the user chose.
    pub config: &'a RunConfig,
    /// The sets.
    pub inputs: &'a Inputs,
    /// The base model.
    pub model: &'a Llama,
    /// The adapter that the policy starts with, if it is not a fresh one, in the dtype of the base.
    pub start: Option<&'a Adapter>,
    /// Where scores and figures go.
    pub folder: &'a RunFolder,
    /// How much is computed at once.
    pub engine: Engine,
    /// How much is said.
    pub say: Verbosity,
}

impl Scoring<'_> {
    fn sums(&self, title: &str, adapter: Option<&Adapter>, set: usize) -> Result<Vec<[f64; 2]>> {
        let set = &self.inputs.sets[set];
        let pairs: Vec<_> = set.pairs.iter().collect();
        let mut progress =
            self.say.progress(&format!("{title} {}", set.name), "pairs", 0, pairs.len() as u64);
        scores::sums(self.model, adapter, &pairs, self.engine.micro_batch_tokens, &mut progress)
    }

    /// What an earlier, interrupted run of the same configuration and inputs has already written.
    fn written(&self, when: &str) -> Option<(Evaluation, Vec<Vec<PairScore>>)> {
        let evaluation = Evaluation::read(&self.folder.evaluation(when)).ok()?;
        let mut all = Vec::new();
        for set in &self.inputs.sets {
            let scores = read_scores(&self.folder.scores(&set.name, when)).ok()?;
            let whole = scores.len() == set.pairs.len() && evaluation.set(&set.name).is_some();
            all.push(whole.then_some(scores)?);
        }
        Some((evaluation, all))
    }

    /// Scores of the policy as it starts and of the reference, and their figures; none without a set.
    ///
    /// What an interrupted run has already written is read, not computed again.
    pub fn before(&self) -> Result<Option<Evaluation>> {
        if self.inputs.sets.is_empty() {
            return Ok(None);
        }
        if let Some((evaluation, _)) = self.written("before") {
            return Ok(Some(evaluation));
        }
        let mut results = Vec::new();
        for (i, set) in self.inputs.sets.iter().enumerate() {
            let policy = self.sums("before", self.start, i)?;
            let reference = match (self.start, self.config.dpo.reference) {
                (Some(_), Reference::Base) => self.sums("reference", None, i)?,
                // The reference is the policy as it starts, or a fresh adapter is the identity: the same scores, to the bit.
                _ => policy.clone(),
            };
            let scores = scores::scores(&set.texts, &set.pairs, &policy, &reference);
            write_scores(&self.folder.scores(&set.name, "before"), &scores)?;
            results.push(SetResult::measure(
                &set.name,
                &scores,
                self.config.dpo.beta,
                self.config.train.seed,
            )?);
        }
        let adapter = self.inputs.start.as_ref().map(|_| self.config.lora.init_from.clone());
        self.finish("before", adapter, None, results).map(Some)
    }

    /// Whether the policy is evaluated after `step` of the run's `last` steps.
    pub fn is_due(&self, step: usize, last: usize) -> bool {
        let every = self.config.eval.every;
        every > 0 && step > 0 && (step.is_multiple_of(every) || step == last)
    }

    /// The evaluation and the scores of [`Scoring::before`], which wrote them.
    pub fn start(&self) -> Result<(Evaluation, Vec<Vec<PairScore>>)> {
        self.written("before").context("the scores from before training are gone")
    }

    /// Scores of the policy after `step` steps, with what has changed since the start.
    ///
    /// What an interrupted run has already written of the same adapter is read, not computed again.
    pub fn during(
        &self,
        step: usize,
        adapter: &Adapter,
    ) -> Result<(Evaluation, Vec<Vec<PairScore>>)> {
        let name = format!("the adapter after step {step}");
        self.trained(&checkpoint::name(step), name, adapter, None)
    }

    /// Scores of the exported policy, which was that after `step` steps, beside those of the reference that [`Scoring::before`] wrote.
    pub fn after(
        &self,
        step: usize,
        adapter: &Adapter,
    ) -> Result<(Evaluation, Vec<Vec<PairScore>>)> {
        let name = self.folder.adapter().display().to_string();
        self.trained("after", name, adapter, Some(&checkpoint::name(step)))
    }

    /// Scores of a trained adapter as `when`; those of the same adapter that are already there, as `when` or as `twin`, are taken.
    fn trained(
        &self,
        when: &str,
        name: String,
        adapter: &Adapter,
        twin: Option<&str>,
    ) -> Result<(Evaluation, Vec<Vec<PairScore>>)> {
        let digest = digest::of_bytes(&adapter::to_safetensors(&adapter.tensors)?);
        let same = |when: &str| {
            self.written(when).filter(|(there, _)| there.adapter_sha256.as_ref() == Some(&digest))
        };
        if let Some(there) = same(when) {
            return Ok(there);
        }
        if let Some((there, scores)) = twin.and_then(same) {
            for (set, scores) in self.inputs.sets.iter().zip(&scores) {
                write_scores(&self.folder.scores(&set.name, when), scores)?;
            }
            return Ok((self.finish(when, Some(name), Some(digest), there.sets)?, scores));
        }
        let (_, before) = self.start()?;
        let policy = adapter.to_dtype(self.model.dtype)?;
        let (mut results, mut all) = (Vec::new(), Vec::new());
        for (i, (set, before)) in self.inputs.sets.iter().zip(&before).enumerate() {
            let reference: Vec<_> = before
                .iter()
                .map(|score| [score.reference_chosen_logps, score.reference_rejected_logps])
                .collect();
            let scores = scores::scores(
                &set.texts,
                &set.pairs,
                &self.sums(when, Some(&policy), i)?,
                &reference,
            );
            write_scores(&self.folder.scores(&set.name, when), &scores)?;
            results.push(SetResult::measure_change(
                &set.name,
                before,
                &scores,
                self.config.dpo.beta,
                self.config.train.seed,
            )?);
            all.push(scores);
        }
        Ok((self.finish(when, Some(name), Some(digest), results)?, all))
    }

    /// Writes the figures of all sets beside their scores.
    fn finish(
        &self,
        when: &str,
        adapter: Option<String>,
        adapter_sha256: Option<String>,
        results: Vec<SetResult>,
    ) -> Result<Evaluation> {
        let (beta, seed) = (self.config.dpo.beta, self.config.train.seed);
        let evaluation = Evaluation {
            adapter_sha256,
            ..Evaluation::new(&self.config.model.path, adapter, beta, seed, results)
        };
        evaluation.write(&self.folder.evaluation(when))?;
        Ok(evaluation)
    }
}
