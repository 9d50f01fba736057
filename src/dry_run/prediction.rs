//! The run on a card, launch by launch: a table of its mean step, and the time of its parts. Predicted; no card has been timed for it.

use std::ops::Range;

use anyhow::Result;
use candle_core::DType;

use crate::config::{Reference, RunConfig};
use crate::console::units;
use crate::cost::generation::Cache;
use crate::cost::launches::{Group, Launches};
use crate::cost::pace::Pace;
use crate::cost::spent::{Spent, Sum};
use crate::cost::step::{Engine, PackSizes};
use crate::data::pack::{self, Pack};
use crate::data::spread::spread;
use crate::data::token_pair::TokenPair;
use crate::dry_run::estimate::{self, Estimate};
use crate::inference::engine;
use crate::machine::card::Card;
use crate::machine::memory::DeviceKind;
use crate::machine::rate;
use crate::model::decoder::Keep;
use crate::model::generation::PREFILL_TOKENS;
use crate::parallel::shares;
use crate::report::table::Table;
use crate::session::held::asked;
use crate::session::inputs::{EvalInputs, Inputs};
use crate::train::plan::{Plan, PlannedStep};

/// Seconds of the parts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Parts {
    /// All steps.
    pub training: f64,
    /// The reference's log-probabilities of the training pairs.
    pub reference: f64,
    /// Log-probabilities and divergences of the evaluation sets.
    pub evaluation: f64,
    /// Answers for SPMR and to the fixed prompts, all of full length.
    pub answers: f64,
}

impl Parts {
    /// The sum.
    pub fn total(&self) -> f64 {
        self.training + self.reference + self.evaluation + self.answers
    }
}

/// A run on a card.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// The card.
    pub card: &'static Card,
    /// What a layer keeps.
    pub keep: Keep,
    /// At the rates that products sustain.
    pub parts: Parts,
    /// Seconds of all steps where the card's power limits its products.
    pub limited_training: f64,
    /// Optimizer steps.
    pub steps: usize,
    /// Pairs of all steps.
    pub pairs: usize,
    /// Operations of all steps, without what is computed again and without attention's scores.
    flop: f64,
    /// Tokens of all answers.
    generated: usize,
    spent: Spent,
    products_tflops: [f64; 2],
    dtype: DType,
}

/// What the launches of a run follow from.
struct Run<'a> {
    config: &'a RunConfig,
    inputs: &'a Inputs,
    engine: Engine<'a>,
    budget: usize,
}

/// The launches of each step of the run, in order, as one process makes them.
pub fn steps<'a>(
    config: &'a RunConfig,
    inputs: &'a Inputs,
    dtype: DType,
    keep: Keep,
) -> impl Iterator<Item = Launches> + use<'a> {
    let run = Run::new(config, inputs, dtype, keep);
    let plan = Plan::new(inputs.visits.pairs.clone(), &config.data, &config.train);
    let all: Vec<_> = plan.steps_from(0).map(|(_, step)| step).collect();
    all.into_iter().map(move |step| run.engine.step(&run.packs_of(&step)))
}

/// The launches after the last step: the evaluation sets under the adapter, and the fixed prompts, whose answers are all of full length.
/// Without those for SPMR.
pub fn last_evaluation(config: &RunConfig, inputs: &Inputs, dtype: DType) -> Launches {
    let run = Run::new(config, inputs, dtype, Keep::Everything);
    let mut all = Launches::default();
    for set in &inputs.sets {
        let pairs: Vec<&TokenPair> = set.pairs.iter().collect();
        let passes = run.scores(&pairs, true).into_iter().chain(run.set_divergences(set));
        passes.for_each(|launches| all.extend(&launches, 1));
    }
    if let Some(samples) = &inputs.samples {
        let new = config.eval.samples.max_new_tokens;
        let prompts = longest_first(samples.prompts.iter().map(|prompt| prompt.ids.len()));
        let answers = run.answers(&prompts, new, true, prompts.len().max(1));
        answers.iter().for_each(|(launches, times)| all.extend(launches, *times));
        let divergences = run.sample_divergences(&prompts, new);
        divergences.iter().for_each(|launches| all.extend(launches, 1));
    }
    all
}

impl Prediction {
    /// That of the run of `estimate` on `card`.
    pub fn new(
        config: &RunConfig,
        inputs: &Inputs,
        estimate: &Estimate,
        (card, dtype, keep): (&'static Card, DType, Keep),
    ) -> Self {
        let run = Run::new(config, inputs, dtype, keep);
        let (pace, limited) = (Pace::sustained(card), Pace::limited(card));
        let plan = Plan::new(inputs.visits.pairs.clone(), &config.data, &config.train);
        let (mut spent, mut slower, mut pairs) = (Spent::default(), Spent::default(), 0);
        for (_, step) in plan.steps_from(0) {
            let launches = run.engine.step(&run.packs_of(&step));
            spent.add(&launches, 1, &pace);
            slower.add(&launches, 1, &limited);
            pairs += step.pairs.len();
        }
        let memory = estimate.memory(keep);
        let held = memory.program + memory.weights + memory.adapter;
        let free = card.memory_mib * 1024.0 * 1024.0 - held;
        let (answers, generated) = run.answers_s(estimate.evaluations, free, &pace);
        let parts = Parts {
            training: spent.total().us / 1e6,
            reference: run.reference_s(&plan.visited(), &pace),
            evaluation: run.evaluation_s(estimate.evaluations, &pace),
            answers,
        };
        Self {
            card,
            keep,
            parts,
            limited_training: slower.total().us / 1e6,
            steps: estimate.steps,
            pairs,
            flop: rate::training_flop(&inputs.shape, estimate.tokens, estimate.scored),
            generated,
            spent,
            products_tflops: [pace, limited].map(|pace| pace.product_tflops(dtype)),
            dtype,
        }
    }

    /// Seconds of the mean step.
    pub fn step_s(&self) -> f64 {
        self.parts.training / self.steps.max(1) as f64
    }

    /// The time of the run and of its parts.
    pub fn time(&self) -> String {
        let parts = &self.parts;
        let most = if self.generated > 0 { "at most " } else { "" };
        let mut text = format!(
            "{most}{} predicted on {}: training {}, reference {}, evaluation {}",
            units::duration(parts.total()),
            self.card.model,
            units::duration(parts.training),
            units::duration(parts.reference),
            units::duration(parts.evaluation)
        );
        if self.generated > 0 {
            text += &format!(
                ", answers at most {} at {} tokens a second",
                units::duration(parts.answers),
                units::count((self.generated as f64 / parts.answers) as usize)
            );
        }
        text
    }

    /// The speed of training.
    pub fn speed(&self) -> String {
        let Card { model, bf16_tflops, f32_tflops, .. } = self.card;
        let (kind, published) = match self.dtype {
            DType::BF16 => ("bf16", bf16_tflops),
            _ => ("f32", f32_tflops),
        };
        let [sustained, limited] = self.products_tflops;
        let mut text = format!(
            "{:.1} pairs/s, {:.1} ms a step, MFU {:.0} % of the {published} {kind} TFLOP/s published for {model}; products sustain an assumed {sustained:.0}",
            self.pairs as f64 / self.parts.training,
            1e3 * self.step_s(),
            100.0 * self.flop / self.parts.training / 1e12 / published
        );
        if limited < sustained {
            text += &format!(
                ". Where power limits them to {limited:.0}: {:.1} pairs/s",
                self.pairs as f64 / self.limited_training
            );
        }
        text + ". No card has been timed for this"
    }

    /// The mean step by group.
    pub fn table(&self) -> Result<String> {
        let title = format!("a step under {}", self.keep.name());
        let mut table = Table::new([title.as_str(), "launches", "GFLOP", "GB", "ms", "share"]);
        let steps = self.steps.max(1) as f64;
        let all = self.spent.total();
        let mut row = |name: &str, sum: Sum| {
            let number = |x: f64, digits: usize| match x {
                0.0 => "-".to_owned(),
                _ => format!("{:.digits$}", x / steps),
            };
            table.push([
                name.to_owned(),
                match sum.launches {
                    0 => "-".to_owned(),
                    launches => units::count((launches as f64 / steps).round() as usize),
                },
                number(sum.flop / 1e9, 1),
                number(sum.bytes / 1e9, 2),
                number(sum.us / 1e3, 2),
                format!("{:.1} %", 100.0 * sum.us / all.us),
            ]);
        };
        for group in Group::ALL {
            let sum = self.spent.of(group);
            if sum.launches > 0 {
                row(group.name(), sum);
            }
        }
        row("between launches", Sum { us: self.spent.gaps_us, ..Sum::default() });
        row("waiting for the host", Sum { us: self.spent.waits_us, ..Sum::default() });
        row("all", all);
        Ok(table.to_text(1))
    }
}

impl<'a> Run<'a> {
    fn new(config: &'a RunConfig, inputs: &'a Inputs, dtype: DType, keep: Keep) -> Self {
        let sets = inputs.sets.iter().flat_map(|set| &set.pairs);
        let longest = inputs.train.iter().chain(sets).map(TokenPair::tokens).max();
        let engine = Engine {
            shape: &inputs.shape,
            plan: &inputs.plan,
            dtype,
            keep,
            dropout: config.lora.dropout > 0.0,
            angle_rows: Engine::angle_rows_of(longest.unwrap_or(0)),
        };
        Self {
            config,
            inputs,
            engine,
            budget: engine::micro_batch_tokens(&config.train, DeviceKind::Cuda),
        }
    }

    /// The micro-batches of some pairs.
    fn packs(&self, pairs: &[&TokenPair]) -> Vec<PackSizes> {
        let lengths: Vec<usize> = pairs.iter().map(|pair| pair.tokens()).collect();
        let of = |range: Range<usize>| {
            PackSizes::of(&Pack::new(pairs[range].iter().copied()), self.engine.shape)
        };
        pack::cut(&lengths, self.budget).into_iter().map(of).collect()
    }

    /// The micro-batches of a step, of one leaf after another.
    fn packs_of(&self, step: &PlannedStep) -> Vec<PackSizes> {
        let pairs: Vec<&TokenPair> = step.pairs.iter().map(|&i| &self.inputs.train[i]).collect();
        let leaves = self.config.train.gradient_shards;
        if leaves <= 1 {
            return self.packs(&pairs);
        }
        let lengths: Vec<usize> = pairs.iter().map(|pair| pair.tokens()).collect();
        let leaves = shares::balanced(&lengths, leaves);
        let of = |leaf: &Vec<usize>| -> Vec<&TokenPair> {
            leaf.iter().map(|&place| pairs[place]).collect()
        };
        leaves.iter().flat_map(|leaf| self.packs(&of(leaf))).collect()
    }

    /// The log-probabilities of some pairs, under the base model or the adapter.
    fn scores(&self, pairs: &[&TokenPair], adapted: bool) -> Vec<Launches> {
        self.packs(pairs).iter().map(|pack| self.engine.score(pack, adapted)).collect()
    }

    /// The divergences along the chosen answers of some pairs.
    fn divergences<'p>(&self, pairs: impl Iterator<Item = &'p TokenPair>) -> Vec<Launches> {
        let chosen = |pair: &TokenPair| TokenPair { rejected: Vec::new(), ..pair.clone() };
        let pairs: Vec<TokenPair> = pairs.map(chosen).collect();
        let packs = self.packs(&pairs.iter().collect::<Vec<_>>());
        packs.iter().map(|pack| self.engine.divergence(pack)).collect()
    }

    fn reference_s(&self, visited: &[usize], pace: &Pace) -> f64 {
        let Self { config, inputs, .. } = self;
        if !config.dpo.loss.needs_reference() {
            return 0.0;
        }
        let adapted = inputs.start.is_some() && config.dpo.reference == Reference::Init;
        let pairs: Vec<&TokenPair> = visited.iter().map(|&i| &inputs.train[i]).collect();
        seconds(&self.scores(&pairs, adapted), pace)
    }

    /// Before training the policy, and the base where it is the reference and not the policy itself; the policy in each later evaluation.
    fn evaluation_s(&self, evaluations: usize, pace: &Pace) -> f64 {
        let Self { config, inputs, .. } = self;
        let starts = inputs.start.is_some();
        let base = !starts || config.dpo.reference == Reference::Base;
        let adapted = evaluations + usize::from(starts);
        let mut all = 0.0;
        for set in &inputs.sets {
            let pairs: Vec<&TokenPair> = set.pairs.iter().collect();
            all += adapted as f64 * seconds(&self.scores(&pairs, true), pace);
            if base {
                all += seconds(&self.scores(&pairs, false), pace);
            }
            all += (1 + evaluations) as f64 * seconds(&self.set_divergences(set), pace);
        }
        all
    }

    /// The divergences on some pairs of a set.
    fn set_divergences(&self, set: &EvalInputs) -> Vec<Launches> {
        let places = spread(set.pairs.len(), self.config.eval.kl_pairs);
        self.divergences(places.map(|place| &set.pairs[place]))
    }

    /// Seconds of all answers at full length on a card with that much memory beside the weights, and their tokens.
    fn answers_s(&self, evaluations: usize, free: f64, pace: &Pace) -> (f64, usize) {
        let Self { config, inputs, .. } = self;
        let (mut all, mut tokens) = (0.0, 0);
        let starts = inputs.start.is_some();
        let mut answer = |prompts: &[usize], new: usize, adapted: bool, times: usize| {
            let at_once = self.at_once(prompts, new, free);
            let one = self.answers(prompts, new, adapted, at_once);
            all += times as f64 * timed(one.iter().map(|(all, times)| (all, *times)), pace);
            tokens += times * prompts.len() * new;
        };
        for set in asked(inputs) {
            let mut prompts = longest_first(set.pairs.iter().map(|pair| pair.prompt.len()));
            prompts.truncate(estimate::prompts(config, set));
            for adapted in [starts, true] {
                answer(&prompts, config.eval.spmr.max_new_tokens, adapted, 1);
            }
        }
        if let Some(samples) = &inputs.samples {
            let new = config.eval.samples.max_new_tokens;
            let prompts = longest_first(samples.prompts.iter().map(|prompt| prompt.ids.len()));
            answer(&prompts, new, false, 1);
            let states = usize::from(starts) + evaluations;
            answer(&prompts, new, true, states);
            all += states as f64 * seconds(&self.sample_divergences(&prompts, new), pace);
        }
        (all, tokens)
    }

    /// The divergences along full answers to the fixed prompts.
    fn sample_divergences(&self, prompts: &[usize], new: usize) -> Vec<Launches> {
        let answered = |tokens: &usize| TokenPair {
            prompt: vec![0; *tokens],
            chosen: vec![0; new],
            ..TokenPair::default()
        };
        let pairs: Vec<TokenPair> = prompts.iter().map(answered).collect();
        self.divergences(pairs.iter())
    }

    /// How many of these prompts a run answers at once, with that much free memory.
    fn at_once(&self, prompts: &[usize], new: usize, free: f64) -> usize {
        let Engine { shape, dtype, .. } = self.engine;
        let longest = prompts.iter().copied().max().unwrap_or(0);
        engine::answers_on_gpu(shape, dtype, Some(free), longest + new)
    }

    /// Answers of `new` tokens to prompts of these lengths, longest first; each pass with how often it is made. The steps of decoding are
    /// taken for as many of the middle one.
    fn answers(
        &self,
        prompts: &[usize],
        new: usize,
        adapted: bool,
        at_once: usize,
    ) -> Vec<(Launches, usize)> {
        let Some(&longest) = prompts.first() else { return Vec::new() };
        let cache = Cache::new(at_once.min(prompts.len()), longest + new);
        let mut all = Vec::new();
        for prompts in prompts.chunks(at_once) {
            for range in pack::cut(prompts, PREFILL_TOKENS) {
                all.push((self.engine.prefill(&prompts[range], cache, adapted), 1));
            }
            let context = prompts.iter().sum::<usize>() + prompts.len() * (new / 2);
            let step = self.engine.decode(prompts.len(), context, cache, adapted);
            all.push((step, new.saturating_sub(1)));
        }
        all
    }
}

fn longest_first(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut lengths: Vec<usize> = lengths.collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    lengths
}

/// Seconds of passes, each so many times.
fn timed<'l>(passes: impl Iterator<Item = (&'l Launches, usize)>, pace: &Pace) -> f64 {
    let mut spent = Spent::default();
    passes.for_each(|(launches, times)| spent.add(launches, times, pace));
    spent.total().us / 1e6
}

fn seconds(passes: &[Launches], pace: &Pace) -> f64 {
    timed(passes.iter().map(|launches| (launches, 1)), pace)
}
