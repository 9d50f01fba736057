//! Evaluation before, during and after training: scores of every set into `eval/`, figures out.

use crate::run_folder::checkpoints;
use std::io::ErrorKind;

use anyhow::{Context, Result};

use crate::config::{MetricName, Reference, RunConfig};
use crate::console::progress::Verbosity;
use crate::disk::digest;
use crate::encoder::embedder::Embedder;
use crate::inference::engine::Engine;
use crate::inference::kept_sums::{self, KeptSums};
use crate::inference::sums;
use crate::metrics::score::{PairScore, read_scores, write_scores};
use crate::metrics::spmr::{Spmr, read_answers};
use crate::metrics::{Evaluation, SetResult};
use crate::model::adapter;
use crate::model::decoder::Decoder;
use crate::model::lora::Adapter;
use crate::run_folder::RunFolder;
use crate::session::inputs::{EvalInputs, Inputs};

/// Names of the evaluations before training and of what is exported; those between them are named after their step.
const BEFORE: &str = "before";
const AFTER: &str = "after";
/// Name of the reference's pass where it is not that of the policy as it starts.
const REFERENCE: &str = "reference";

/// Evaluation before, during and after training, one forward pass for each set and model.
pub struct Scoring<'a> {
    /// What the user chose.
    pub config: &'a RunConfig,
    /// The sets.
    pub inputs: &'a Inputs,
    /// The base model.
    pub model: &'a Decoder,
    /// The adapter that the policy starts with, if it is not a fresh one, in the dtype of the base.
    pub start: Option<&'a Adapter>,
    /// Digest of the base model's files.
    pub model_digest: &'a str,
    /// What results call the adapter that is scored after training: its folder.
    pub tuned: &'a str,
    /// The sentence encoder of SPMR; without one it is left out.
    pub encoder: Option<&'a Embedder>,
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
        let (model, micro_batch_tokens) = (self.model, self.engine.micro_batch_tokens);
        let pass = sums::ScoringPass { model, adapter, pairs: &pairs, micro_batch_tokens };
        let key =
            kept_sums::key(model, self.model_digest, adapter, &set.pairs, micro_batch_tokens)?;
        let kept = KeptSums { path: self.folder.kept_sums(&set.name, title), key };
        pass.sums(&format!("{title} {}", set.name), Some(&kept), self.say)
    }

    /// What an earlier, interrupted run of the same configuration and inputs has already written.
    fn written(&self, when: &str) -> Option<(Evaluation, Vec<Vec<PairScore>>)> {
        let evaluation = Evaluation::read(&self.folder.evaluation(when)).ok()?;
        let mut all = Vec::new();
        for set in &self.inputs.sets {
            let scores = read_scores(&self.folder.scores(&set.name, when)).ok()?;
            let generated = evaluation.set(&set.name)?.spmr.is_some();
            let wanted = [BEFORE, AFTER].contains(&when) && self.embedder(set).is_some();
            let whole = scores.len() == set.pairs.len() && generated == wanted;
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
        if let Some((evaluation, _)) = self.written(BEFORE) {
            return Ok(Some(evaluation));
        }
        let mut results = Vec::new();
        for (i, set) in self.inputs.sets.iter().enumerate() {
            let policy = self.sums(BEFORE, self.start, i)?;
            let reference = match (self.start, self.config.dpo.reference) {
                (Some(_), Reference::Base) => self.sums(REFERENCE, None, i)?,
                // The reference is the policy as it starts, or a fresh adapter is the identity: the same scores, to the bit.
                _ => policy.clone(),
            };
            let scores = sums::scores(&set.texts, &set.pairs, &policy, &reference);
            write_scores(&self.folder.scores(&set.name, BEFORE), &scores)?;
            let (beta, seed) = (self.config.dpo.beta, self.config.train.seed);
            let spmr = self.spmr(set, BEFORE, self.start)?;
            results.push(SetResult { spmr, ..SetResult::measure(&set.name, &scores, beta, seed)? });
        }
        let adapter = self.start.map(|_| self.config.lora.init_from.clone());
        self.finish(BEFORE, adapter, None, results).map(Some)
    }

    /// Whether the policy is evaluated after `step` of the run's `last` steps.
    pub fn is_due(&self, step: usize, last: usize) -> bool {
        let every = self.config.eval.every;
        every > 0 && step > 0 && (step.is_multiple_of(every) || step == last)
    }

    /// The evaluation and the scores of [`Scoring::before`], which wrote them.
    pub fn start(&self) -> Result<(Evaluation, Vec<Vec<PairScore>>)> {
        self.written(BEFORE).context("the scores from before training are gone")
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
        self.trained(&checkpoints::name(step), name, adapter, None)
    }

    /// Scores of the exported policy, which was that after `step` steps, beside those of the reference that [`Scoring::before`] wrote.
    pub fn after(
        &self,
        step: usize,
        adapter: &Adapter,
    ) -> Result<(Evaluation, Vec<Vec<PairScore>>)> {
        let name = self.tuned.to_owned();
        self.trained(AFTER, name, adapter, Some(&checkpoints::name(step)))
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
            let mut results = there.sets;
            for ((set, scores), result) in self.inputs.sets.iter().zip(&scores).zip(&mut results) {
                write_scores(&self.folder.scores(&set.name, when), scores)?;
                result.spmr = self.spmr(set, when, Some(adapter))?;
            }
            return Ok((self.finish(when, Some(name), Some(digest), results)?, scores));
        }
        let (_, before) = self.start()?;
        let policy = self.model.bring(adapter)?;
        let (mut results, mut all) = (Vec::new(), Vec::new());
        for (i, (set, before)) in self.inputs.sets.iter().zip(&before).enumerate() {
            let reference: Vec<_> = before
                .iter()
                .map(|score| [score.reference_chosen_logps, score.reference_rejected_logps])
                .collect();
            let scores = sums::scores(
                &set.texts,
                &set.pairs,
                &self.sums(when, Some(&policy), i)?,
                &reference,
            );
            write_scores(&self.folder.scores(&set.name, when), &scores)?;
            let (beta, seed) = (self.config.dpo.beta, self.config.train.seed);
            let spmr = if twin.is_some() { self.spmr(set, when, Some(adapter))? } else { None };
            results.push(SetResult {
                spmr,
                ..SetResult::measure_change(&set.name, before, &scores, beta, seed)?
            });
            all.push(scores);
        }
        Ok((self.finish(when, Some(name), Some(digest), results)?, all))
    }

    /// The encoder, if SPMR of `set` is asked for.
    fn embedder(&self, set: &EvalInputs) -> Option<&Embedder> {
        self.encoder.filter(|_| set.metrics.contains(&MetricName::Spmr))
    }

    /// SPMR of `set` under `adapter`, with its change where there are answers from before.
    fn spmr(
        &self,
        set: &EvalInputs,
        when: &str,
        adapter: Option<&Adapter>,
    ) -> Result<Option<Spmr>> {
        let Some(embedder) = self.embedder(set) else { return Ok(None) };
        let place = || format!("evaluation set `{}`", set.name);
        let seed = self.config.train.seed;
        let (answers, left_out) = self.answers(embedder, set, when, adapter)?;
        let spmr =
            Spmr::measure(&answers, &self.config.eval.spmr, left_out, seed).with_context(place)?;
        if when == BEFORE {
            return Ok(Some(spmr));
        }
        let before = read_answers(&self.folder.generations(&set.name, BEFORE))?;
        spmr.with_change(&before, &answers, seed).with_context(place).map(Some)
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
        for set in &self.inputs.sets {
            let sums = [when, REFERENCE].map(|title| self.folder.kept_sums(&set.name, title));
            for done in sums.into_iter().chain([self.folder.journal(&set.name, when)]) {
                match std::fs::remove_file(&done) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(error)
                            .with_context(|| format!("cannot remove `{}`", done.display()));
                    }
                    _ => {}
                }
            }
        }
        Ok(evaluation)
    }
}
