//! Evaluates policies on the sets: writes pair scores and answers to `eval/` and returns the figures.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::config::{MetricName, Reference};
use crate::data::spread::spread;
use crate::disk::{digest, read};
use crate::encoder::embedder::Embedder;
use crate::error::InputError;
use crate::inference::divergence::DivergencePass;
use crate::inference::kept_sums::{self, KeptSums};
use crate::inference::sums;
use crate::metrics::kl::{AnswerKl, Kl};
use crate::metrics::score::{PairScore, read_scores, write_scores};
use crate::metrics::spmr::{Spmr, read_answers};
use crate::metrics::{Evaluation, SetResult};
use crate::model::adapter;
use crate::model::lora::Adapter;
use crate::run_folder::checkpoints;
use crate::run_folder::eval_log::{EvalRecord, KL, KL_STDERR};
use crate::run_folder::paths::{AFTER, BEFORE};
use crate::session::Session;
use crate::session::inputs::EvalInputs;

/// Title of the reference's pass if the reference is not the starting policy.
const REFERENCE: &str = "reference";

/// Evaluates policies on the sets of a session, with one forward pass for each set and model.
pub struct Evaluator<'a> {
    pub(super) session: &'a Session<'a>,
    /// Name of the trained adapter in the results: its folder.
    tuned: String,
}

/// An evaluation with the scores that it is computed from.
pub struct Scored {
    /// The figures.
    pub evaluation: Evaluation,
    /// Scores of each set, in the order of the session's sets.
    pub scores: Vec<Vec<PairScore>>,
}

/// A pair whose answers have no finite log-probability under a trained adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pair `{id}` of set `{set}`: the log-probability under {adapter} is not finite")]
pub struct NotFinite {
    id: String,
    set: String,
    adapter: String,
}

impl<'a> Evaluator<'a> {
    /// An evaluator of the sets of `session`. `tuned`: name of the trained adapter in the results.
    pub fn new(session: &'a Session<'a>, tuned: String) -> Self {
        Self { session, tuned }
    }

    /// `[chosen, rejected]` sums of each pair of set number `set` under `adapter`, in nats. Resumes an interrupted
    /// pass.
    fn sums(&self, title: &str, adapter: Option<&Adapter>, set: usize) -> Result<Vec<[f64; 2]>> {
        let set = &self.session.inputs.sets[set];
        let pairs: Vec<_> = set.pairs.iter().collect();
        let (model, micro_batch_tokens) =
            (&self.session.model, self.session.engine.micro_batch_tokens);
        let pass = sums::ScoringPass {
            model,
            adapter,
            pairs: &pairs,
            micro_batch_tokens,
            world: &self.session.options.world,
        };
        let key = kept_sums::key(
            model,
            &self.session.model_digest,
            adapter,
            &set.pairs,
            micro_batch_tokens,
        )?;
        let kept = KeptSums { path: self.session.folder.kept_sums(&set.name, title), key };
        pass.sums(&format!("{title} {}", set.name), Some(&kept), self.session.options.verbosity)
    }

    /// KL divergence of `policy`, in the model's dtype, from the reference, on `eval.kl_pairs` pairs of a set; without a policy, of the
    /// starting one.
    fn kl(&self, set: &EvalInputs, policy: Option<&Adapter>) -> Result<Option<Kl>> {
        let Session { model, config, engine, start, options, .. } = self.session;
        let places = spread(set.pairs.len(), config.eval.kl_pairs);
        let pairs: Vec<_> = places.map(|place| &set.pairs[place]).collect();
        let policy = policy.or(start.as_ref());
        let reference = start.as_ref().filter(|_| config.dpo.reference == Reference::Init);
        let micro_batch_tokens = engine.micro_batch_tokens;
        let world = &options.world;
        let pass = DivergencePass { model, policy, reference, micro_batch_tokens, world };
        let means = pass.per_token(pairs.iter().copied())?;
        let answers: Vec<_> = (pairs.iter().zip(means))
            .filter_map(|(pair, mean)| {
                let user = set.texts[pair.row as usize].user.as_deref();
                Some(AnswerKl { user, per_token: mean?, tokens: pair.scored()[0] })
            })
            .collect();
        Ok(Kl::measure(&answers))
    }

    /// Evaluation `when` as an interrupted run wrote it; none if it is not there or is of other sets. With a warning also
    /// none if a file does not match its digest: it is computed again then.
    fn written(&self, when: &str) -> Result<Option<Scored>> {
        let found = match self.verified(when) {
            Err(error) if InputError::of(&error).is_some() => {
                let again = format!("{error:#}; evaluation `{when}` is computed again");
                self.session.options.verbosity.warn(again);
                return Ok(None);
            }
            found => found?,
        };
        if found.is_some() {
            self.remove_kept(when)?; // a program killed after the figures were written left them
        }
        Ok(found)
    }

    /// [`Evaluator::written`], with an [`InputError`] if a file does not match its digest.
    fn verified(&self, when: &str) -> Result<Option<Scored>> {
        let folder = &self.session.folder;
        let Some(evaluation) = Evaluation::read_if_there(&folder.evaluation(when))? else {
            return Ok(None);
        };
        evaluation.check_files(&folder.evaluations())?;
        let mut all = Vec::new();
        for set in &self.session.inputs.sets {
            let path = folder.scores(&set.name, when);
            let is_known = evaluation.files.contains_key(&file_name(&path));
            let Some(result) = evaluation.set(&set.name).filter(|_| is_known) else {
                return Ok(None);
            };
            let scores = read_scores(&path)?;
            let wanted = [BEFORE, AFTER].contains(&when) && self.embedder(set).is_some();
            if scores.len() != set.pairs.len() || result.spmr.is_some() != wanted {
                return Ok(None);
            }
            all.push(scores);
        }
        Ok(Some(Scored { evaluation, scores: all }))
    }

    /// The evaluation after `step` steps, if an earlier program has written it and its files match their digests.
    pub fn written_during(&self, step: usize) -> Result<Option<Scored>> {
        self.written(&checkpoints::name(step))
    }

    /// What is wrong with the figures after `step` steps or with the scores that they rest on; none where both are whole, and where no
    /// figures are there.
    pub fn damage(&self, step: usize) -> Result<Option<String>> {
        match self.verified(&checkpoints::name(step)) {
            Err(error) if InputError::of(&error).is_some() => Ok(Some(format!("{error:#}"))),
            found => found.map(|_| None),
        }
    }

    /// The evaluation after `step` steps, from its scores and the divergences in its `records`; none where scores are missing, damaged or
    /// of other pairs. Writes nothing.
    ///
    /// - `adapter`: that of the step; none where no checkpoint has it, so that its digest is lost.
    pub fn from_scores(
        &self,
        step: usize,
        adapter: Option<&Adapter>,
        records: &[EvalRecord],
    ) -> Result<Option<Scored>> {
        let when = checkpoints::name(step);
        let before = self.start()?.scores;
        let (mut results, mut all) = (Vec::new(), Vec::new());
        for (set, before) in self.session.inputs.sets.iter().zip(&before) {
            let path = self.session.folder.scores(&set.name, &when);
            let scores = match read_scores(&path) {
                Err(error) if InputError::of(&error).is_some() => return Ok(None),
                scores => scores?,
            };
            let record = records.iter().find(|record| record.set == set.name);
            let Some(record) = record.filter(|_| scores.len() == set.pairs.len()) else {
                return Ok(None);
            };
            let beta = self.session.config.dpo.beta;
            let result = SetResult::measure_change(&set.name, before, &scores, beta)?;
            results.push(SetResult { kl: self.recorded_kl(set, record), ..result });
            all.push(scores);
        }
        let digest = adapter.map(adapter_digest).transpose()?;
        let evaluation = self.figures(&when, Some(name_after(step)), digest, results)?;
        Ok(Some(Scored { evaluation, scores: all }))
    }

    /// Writes the figures of `scored`, the evaluation after `step` steps.
    pub fn write_during(&self, step: usize, scored: &Scored) -> Result<()> {
        scored.evaluation.write(&self.session.folder.evaluation(&checkpoints::name(step)))
    }

    /// [`Self::kl`] as `record` has it.
    fn recorded_kl(&self, set: &EvalInputs, record: &EvalRecord) -> Option<Kl> {
        let value = *record.figures.get(KL)?;
        let places = spread(set.pairs.len(), self.session.config.eval.kl_pairs);
        let tokens = places.map(|place| set.pairs[place].scored()[0]).filter(|tokens| *tokens > 0);
        let (answers, tokens) = tokens.fold((0, 0), |(n, sum), tokens| (n + 1, sum + tokens));
        Some(Kl { value, standard_error: record.figures.get(KL_STDERR).copied(), answers, tokens })
    }

    /// Scores the starting policy and the reference and returns their figures; none without a set.
    ///
    /// Reads the figures if an interrupted run has written them.
    pub fn before(&self) -> Result<Option<Evaluation>> {
        if self.session.inputs.sets.is_empty() {
            return Ok(None);
        }
        if let Some(written) = self.written(BEFORE)? {
            return Ok(Some(written.evaluation));
        }
        self.discard(BEFORE)?;
        let start = self.session.start.as_ref();
        let mut results = Vec::new();
        for (i, set) in self.session.inputs.sets.iter().enumerate() {
            let policy = self.sums(BEFORE, start, i)?;
            let reference = match (start, self.session.config.dpo.reference) {
                (Some(_), Reference::Base) => self.sums(REFERENCE, None, i)?,
                // The reference is the starting policy, or a fresh adapter is the identity: the same bits.
                _ => policy.clone(),
            };
            let scores = sums::scores(&set.texts, &set.pairs, &policy, &reference);
            write_scores(&self.session.folder.scores(&set.name, BEFORE), &scores)?;
            let beta = self.session.config.dpo.beta;
            let spmr = self.spmr(set, BEFORE, start)?;
            let kl = self.kl(set, None)?;
            results.push(SetResult { spmr, kl, ..SetResult::measure(&set.name, &scores, beta)? });
        }
        let adapter = start.map(|_| self.session.config.lora.init_from.clone());
        self.finish(BEFORE, adapter, None, results).map(Some)
    }

    /// Reads the evaluation and the scores that [`Evaluator::before`] wrote.
    pub fn start(&self) -> Result<Scored> {
        self.written(BEFORE)?.context("the scores from before training are missing")
    }

    /// Scores the policy after `step` steps and measures its change since the start.
    ///
    /// Reads the scores if an interrupted run has written them for the same adapter.
    pub fn during(&self, step: usize, adapter: &Adapter) -> Result<Scored> {
        self.trained(&checkpoints::name(step), name_after(step), adapter, None)
    }

    /// Scores the exported adapter (taken after `step` steps) and answers the prompts, with the reference scores that
    /// [`Evaluator::before`] wrote.
    pub fn after(&self, step: usize, adapter: &Adapter) -> Result<Scored> {
        let name = self.tuned.to_owned();
        self.trained(AFTER, name, adapter, Some(&checkpoints::name(step)))
    }

    /// Scores a trained adapter as evaluation `when`. Reuses the scores of the same adapter if evaluation `when` or
    /// `twin` has them. Answers prompts only with a `twin`.
    fn trained(
        &self,
        when: &str,
        name: String,
        adapter: &Adapter,
        twin: Option<&str>,
    ) -> Result<Scored> {
        let digest = adapter_digest(adapter)?;
        let same = |when: &str| -> Result<Option<Scored>> {
            let is_same =
                |there: &Scored| there.evaluation.adapter_sha256.as_ref() == Some(&digest);
            Ok(self.written(when)?.filter(is_same))
        };
        if let Some(there) = same(when)? {
            return Ok(there);
        }
        self.discard(when)?;
        let twin_scored = twin.map(same).transpose()?.flatten();
        if let Some(Scored { evaluation: there, scores }) = twin_scored {
            let mut results = there.sets;
            for ((set, scores), result) in
                self.session.inputs.sets.iter().zip(&scores).zip(&mut results)
            {
                write_scores(&self.session.folder.scores(&set.name, when), scores)?;
                result.spmr = self.spmr(set, when, Some(adapter))?;
            }
            let evaluation = self.finish(when, Some(name), Some(digest), results)?;
            return Ok(Scored { evaluation, scores });
        }
        let before = self.start()?.scores;
        let policy = self.session.model.bring(adapter)?;
        let (mut results, mut all) = (Vec::new(), Vec::new());
        for (i, (set, before)) in self.session.inputs.sets.iter().zip(&before).enumerate() {
            let reference: Vec<_> = before
                .iter()
                .map(|score| [score.reference_chosen_logps, score.reference_rejected_logps])
                .collect();
            let sums = self.sums(when, Some(&policy), i)?;
            if let Some(at) = sums.iter().position(|sums| !sums.iter().all(|sum| sum.is_finite())) {
                let id = set.texts[set.pairs[at].row as usize].id.clone();
                read::remove_if_there(&self.session.folder.kept_sums(&set.name, when))?;
                return Err(NotFinite { id, set: set.name.clone(), adapter: name }.into());
            }
            let scores = sums::scores(&set.texts, &set.pairs, &sums, &reference);
            write_scores(&self.session.folder.scores(&set.name, when), &scores)?;
            let beta = self.session.config.dpo.beta;
            let spmr = if twin.is_some() { self.spmr(set, when, Some(adapter))? } else { None };
            let kl = self.kl(set, Some(&policy))?;
            results.push(SetResult {
                spmr,
                kl,
                ..SetResult::measure_change(&set.name, before, &scores, beta)?
            });
            all.push(scores);
        }
        let evaluation = self.finish(when, Some(name), Some(digest), results)?;
        Ok(Scored { evaluation, scores: all })
    }

    /// The encoder; none if `set` does not measure SPMR.
    fn embedder(&self, set: &EvalInputs) -> Option<&Embedder> {
        self.session.encoder.as_ref().filter(|_| set.metrics.contains(&MetricName::Spmr))
    }

    /// SPMR of `set` under `adapter`, with its change since before training; none if the set does not measure it.
    fn spmr(
        &self,
        set: &EvalInputs,
        when: &str,
        adapter: Option<&Adapter>,
    ) -> Result<Option<Spmr>> {
        let Some(embedder) = self.embedder(set) else { return Ok(None) };
        let context = || format!("evaluation set `{}`", set.name);
        let (answers, left_out) = self.answers(embedder, set, when, adapter)?;
        let spmr = Spmr::measure(&answers, &self.session.config.eval.spmr, left_out)
            .with_context(context)?;
        if when == BEFORE {
            return Ok(Some(spmr));
        }
        let before = read_answers(&self.session.folder.generations(&set.name, BEFORE))?;
        spmr.with_change(&before, &answers).with_context(context).map(Some)
    }

    /// Writes the figures of all sets with the digests of the files that they are computed from, then removes the saved
    /// sums and journals of evaluation `when`.
    fn finish(
        &self,
        when: &str,
        adapter: Option<String>,
        adapter_sha256: Option<String>,
        results: Vec<SetResult>,
    ) -> Result<Evaluation> {
        let evaluation = self.figures(when, adapter, adapter_sha256, results)?;
        evaluation.write(&self.session.folder.evaluation(when))?;
        self.remove_kept(when)?;
        Ok(evaluation)
    }

    /// The figures of all sets with the digests of the files that they are computed from.
    fn figures(
        &self,
        when: &str,
        adapter: Option<String>,
        adapter_sha256: Option<String>,
        results: Vec<SetResult>,
    ) -> Result<Evaluation> {
        let beta = self.session.config.dpo.beta;
        let (folder, mut files) = (&self.session.folder, BTreeMap::new());
        let states = if when == BEFORE { vec![when] } else { vec![BEFORE, when] };
        for set in &results {
            for state in &states {
                let answers = set.spmr.as_ref().map(|_| folder.generations(&set.name, state));
                for path in [folder.scores(&set.name, state)].into_iter().chain(answers) {
                    files.insert(file_name(&path), digest::of_file(&path)?);
                }
            }
        }
        Ok(Evaluation {
            adapter_sha256,
            files,
            ..Evaluation::new(&self.session.config.model.path, adapter, beta, results)
        })
    }

    /// Removes the figures of evaluation `when` before its other files are written again.
    fn discard(&self, when: &str) -> Result<()> {
        read::remove_if_there(&self.session.folder.evaluation(when))
    }

    /// Removes the saved sums and journals of evaluation `when`.
    fn remove_kept(&self, when: &str) -> Result<()> {
        let folder = &self.session.folder;
        for set in &self.session.inputs.sets {
            let sums = [when, REFERENCE].map(|title| folder.kept_sums(&set.name, title));
            for done in sums.into_iter().chain([folder.journal(&set.name, when)]) {
                read::remove_if_there(&done)?;
            }
        }
        Ok(())
    }
}

/// Name of the adapter of an evaluation during training.
fn name_after(step: usize) -> String {
    format!("the adapter after step {step}")
}

/// SHA-256 of an adapter's file of weights.
fn adapter_digest(adapter: &Adapter) -> Result<String> {
    Ok(digest::of_bytes(&adapter::to_safetensors(&adapter.tensors)?))
}

/// The last part of `path`.
fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
