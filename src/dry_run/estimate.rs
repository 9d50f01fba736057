//! Estimates what a run will need: steps, tokens, FLOP, memory, disk. Everything follows from the configuration, the
//! token counts and the shape of the model; no weight is read.

use anyhow::Result;
use candle_core::DType;

use crate::config::{Reference, RunConfig};
use crate::data::pack;
use crate::data::spread::spread;
use crate::data::token_pair::TokenPair;
use crate::inference::engine;
use crate::machine::memory::{DeviceKind, Memory};
use crate::machine::{peak, rate};
use crate::model::decoder::Keep;
use crate::model::shape::Shape;
use crate::session::held::{Headers, MicroBatch, Sizes, asked, headers, held};
use crate::session::inputs::{EvalInputs, Inputs};
use crate::session::source::ModelSource;
use crate::train::best::Judge;
use crate::train::plan::Plan;

/// Floating-point operations without attention's scores, like the log's `model_tflops`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Flop {
    /// The reference's log-probabilities of the training pairs.
    pub reference: f64,
    /// All steps, with all activations kept.
    pub training: f64,
    /// Added by `recompute`.
    pub recomputing: f64,
    /// The evaluation sets, in all evaluations.
    pub evaluation: f64,
    /// SPMR's answers before and after training and those to the fixed prompts, all of full length: at most this many.
    pub generation: f64,
}

impl Flop {
    /// All operations of the run under `keep`.
    pub fn total(&self, keep: Keep) -> f64 {
        let again = if keep == Keep::Inputs { self.recomputing } else { 0.0 };
        self.reference + self.training + again + self.evaluation + self.generation
    }
}

/// Most bytes on disk: those left at the end of the run, and a checkpoint that is being written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disk {
    /// Checkpoints: adapter and moments, those kept and the one being written.
    pub checkpoints: f64,
    /// The exported adapter with its tokenizer.
    pub adapter: f64,
    /// Logs, scores and the reference cache.
    pub records: f64,
    /// An embedded base model, unpacked.
    pub base_model: f64,
}

impl Disk {
    /// The sum.
    pub fn total(&self) -> f64 {
        self.checkpoints + self.adapter + self.records + self.base_model
    }
}

/// What a run will need.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Parameters of the base.
    pub parameters: usize,
    /// Parameters of the adapter.
    pub trained: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// Pairs that at least one step trains on.
    pub visited: usize,
    /// Tokens computed in all steps, each prompt once.
    pub tokens: usize,
    /// Scored tokens among them.
    pub scored: usize,
    /// The largest micro-batch.
    pub micro_batch: MicroBatch,
    /// Pairs of all evaluation sets.
    pub evaluated: usize,
    /// Evaluations during and after training.
    pub evaluations: usize,
    /// Most tokens that are generated, for SPMR before and after training and for the fixed prompts together.
    pub generated: usize,
    /// Those for the fixed prompts among them.
    pub sampled: usize,
    /// States of the model that answer the fixed prompts: the base, a start that is not fresh, and the evaluations.
    pub sampled_states: usize,
    /// Floating-point operations.
    pub flop: Flop,
    /// Memory with all activations kept, and with layers recomputed.
    pub memory: [Memory; 2],
    /// What the engine would choose. With `auto` on a GPU it is everything, since the GPU's memory is not known.
    pub chosen: Keep,
    /// Bytes on disk.
    pub disk: Disk,
    /// The weights' headers.
    pub headers: Headers,
}

impl Estimate {
    /// The estimate for `config` and its `inputs`, planned for `place` in `dtype`.
    pub fn new(
        config: &RunConfig,
        inputs: &Inputs,
        place: DeviceKind,
        dtype: DType,
    ) -> Result<Self> {
        let model = &inputs.shape;
        let plan = Plan::new(inputs.visits.pairs.clone(), &config.data, &config.train);
        let weights = (model.parameters() * dtype.size_in_bytes()) as f64;
        // A run decides after it has loaded the weights. This machine may lack the GPU, so its free memory is not
        // known.
        let free = match place {
            DeviceKind::Cpu => peak::available_memory_bytes().map(|free| free - weights),
            DeviceKind::Cuda => None,
        };
        let engine =
            engine::engine(&config.train, &inputs.plan, model, place, dtype, &inputs.train, free);
        let budget = engine.micro_batch_tokens;
        let mut all = Count::default();
        for (_, step) in plan.steps_from(0) {
            let pairs: Vec<&TokenPair> = step.pairs.iter().map(|&i| &inputs.train[i]).collect();
            all.add(&pairs, budget);
        }
        let visited = plan.visited();
        let mut reference = Count::default();
        reference.add(&visited.iter().map(|&i| &inputs.train[i]).collect::<Vec<_>>(), budget);
        let mut evaluation = Count::default();
        for set in &inputs.sets {
            evaluation.add(&set.pairs.iter().collect::<Vec<_>>(), budget);
        }
        // Before training: the policy, and the base if it is the reference and not the policy itself. Later: the policy
        // alone.
        let both = inputs.start.is_some() && config.dpo.reference == Reference::Base;
        let evaluations = evaluations(config.eval.every, plan.steps());
        let passes = if both { 2.0 } else { 1.0 } + evaluations as f64;
        // Policy and reference over the chosen answers of some pairs; before training they are one.
        let mut divergence = Count::default();
        for set in &inputs.sets {
            let some = spread(set.pairs.len(), config.eval.kl_pairs).map(|place| &set.pairs[place]);
            divergence.tokens +=
                some.clone().map(|p| p.prompt.len() + p.chosen.len()).sum::<usize>();
            divergence.scored += some.map(|pair| pair.chosen.len()).sum::<usize>();
        }
        let divergence_passes = 2.0 * (passes - if both { 1.0 } else { 0.0 });
        let sampled = Sampled::of(config, inputs, evaluations);
        let forward = |count: &Count| 0.5 * rate::training_flop(model, count.tokens, count.scored);
        let flop = Flop {
            reference: forward(&reference),
            training: 2.0 * forward(&all),
            recomputing: 0.5 * rate::training_flop(model, all.tokens, 0),
            evaluation: passes * forward(&evaluation) + divergence_passes * forward(&divergence),
            generation: asked(inputs).map(|set| generation_flop(config, model, set)).sum::<f64>()
                + sampled.flop(model),
        };
        let new_tokens = config.eval.spmr.max_new_tokens;
        let trained = inputs.plan.parameters(model);
        let headers = headers(&inputs.model, dtype);
        let sizes = Sizes { place, dtype, micro_batch: all.largest };
        let memory = [
            held(config, inputs, &sizes, Keep::Everything, &headers)?,
            held(config, inputs, &sizes, Keep::Inputs, &headers)?,
        ];
        Ok(Self {
            parameters: model.parameters(),
            trained,
            steps: plan.steps(),
            visited: visited.len(),
            tokens: all.tokens,
            scored: all.scored,
            micro_batch: all.largest,
            evaluations,
            evaluated: inputs.sets.iter().map(|set| set.pairs.len()).sum(),
            generated: asked(inputs)
                .map(|set| 2 * prompts(config, set) * new_tokens)
                .sum::<usize>()
                + sampled.tokens(),
            sampled: sampled.tokens(),
            sampled_states: sampled.states,
            flop,
            memory,
            chosen: engine.keep,
            disk: disk(config, inputs, trained as f64, &plan, evaluations, &sampled),
            headers,
        })
    }

    /// The memory under `keep`.
    pub fn memory(&self, keep: Keep) -> &Memory {
        &self.memory[usize::from(keep == Keep::Inputs)]
    }
}

/// Answers to the fixed prompts, all of full length.
#[derive(Debug, Clone, Copy, Default)]
struct Sampled {
    /// States of the model that answer.
    states: usize,
    prompts: usize,
    /// Tokens of all prompts together.
    read: usize,
    /// Bytes of all prompts together.
    text: usize,
    new_tokens: usize,
}

impl Sampled {
    fn of(config: &RunConfig, inputs: &Inputs, evaluations: usize) -> Self {
        let Some(samples) = &inputs.samples else { return Self::default() };
        let prompts = &samples.prompts;
        Self {
            states: 1 + usize::from(inputs.start.is_some()) + evaluations,
            prompts: prompts.len(),
            read: prompts.iter().map(|prompt| prompt.ids.len()).sum(),
            text: prompts.iter().map(|prompt| prompt.text.len()).sum(),
            new_tokens: config.eval.samples.max_new_tokens,
        }
    }

    fn tokens(&self) -> usize {
        self.states * self.prompts * self.new_tokens
    }

    /// Prompts and answers of every state once to generate, and twice for the divergence, which the base has none of.
    fn flop(&self, model: &Shape) -> f64 {
        let new = self.prompts * self.new_tokens;
        let passes = (3 * self.states).saturating_sub(2) as f64;
        0.5 * passes * rate::training_flop(model, self.read + new, new)
    }

    /// Bytes of the records and of TensorBoard's texts, which have the base model's answer too.
    fn bytes(&self) -> f64 {
        let (line, letters) = (400, 5);
        let answers = self.prompts * (line + 3 * letters * self.new_tokens);
        (self.states * (2 * self.text + answers)) as f64
    }
}

/// Prompts of `set` that SPMR asks the model.
pub(super) fn prompts(config: &RunConfig, set: &EvalInputs) -> usize {
    match config.eval.spmr.max_prompts {
        0 => set.pairs.len(),
        most => most.min(set.pairs.len()),
    }
}

/// Operations of two answers to every prompt of `set`, all of full length, the prompts read each time; of the longest prompts where SPMR
/// asks some of them.
fn generation_flop(config: &RunConfig, model: &Shape, set: &EvalInputs) -> f64 {
    let prompts = prompts(config, set);
    let mut lengths: Vec<usize> = set.pairs.iter().map(|pair| pair.prompt.len()).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let read: usize = lengths.iter().take(prompts).sum();
    let new = prompts * config.eval.spmr.max_new_tokens;
    // Forward passes alone are half of `training_flop`, and there are two answers.
    rate::training_flop(model, read + new, new)
}

/// Running totals over packs.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    tokens: usize,
    scored: usize,
    largest: MicroBatch,
}

impl Count {
    fn add(&mut self, pairs: &[&TokenPair], budget: usize) {
        let lengths: Vec<usize> = pairs.iter().map(|pair| pair.tokens()).collect();
        for range in pack::cut(&lengths, budget) {
            let tokens = lengths[range.clone()].iter().sum();
            let scored = pairs[range].iter().map(|pair| pair.answer_tokens()).sum();
            self.tokens += tokens;
            self.scored += scored;
            self.largest = self.largest.max(MicroBatch { tokens, scored });
        }
    }
}

/// Evaluations during and after training.
fn evaluations(every: usize, steps: usize) -> usize {
    if every == 0 { 1 } else { steps.div_ceil(every).max(1) }
}

fn disk(
    config: &RunConfig,
    inputs: &Inputs,
    trained: f64,
    plan: &Plan,
    evaluations: usize,
    sampled: &Sampled,
) -> Disk {
    let tokenizer: usize = inputs.tokenizer_files.iter().map(|(_, bytes)| bytes.len()).sum();
    let scores: usize = inputs.sets.iter().map(|set| set.pairs.len()).sum();
    // Bytes of a line: of train.jsonl with its TensorBoard events, of the reference cache, of a pair's scores.
    let (step, pair, score) = (1800.0, 45.0, 450.0);
    let base_model = match &inputs.model {
        ModelSource::Folder(_) | ModelSource::Hub(_) => 0,
        ModelSource::Embedded(files) => files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(),
    };
    let kept = config.train.keep_checkpoints + 1;
    // Each checkpoint that a run can resume from may need its own best one, and a new one is written before an old one
    // is removed.
    let best = if Judge::new(&config.eval).is_some() { (kept + 1).min(evaluations) } else { 0 };
    let scored = 2 + if config.eval.every > 0 { evaluations } else { 0 };
    Disk {
        checkpoints: 12.0 * trained * (kept + best) as f64,
        adapter: 4.0 * trained + tokenizer as f64,
        records: step * plan.steps() as f64
            + pair * plan.visited().len() as f64
            + scored as f64 * score * scores as f64
            + sampled.bytes(),
        base_model: base_model as f64,
    }
}
