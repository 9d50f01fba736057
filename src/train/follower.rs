//! A rank that does not lead: it holds the model and the state, and computes what the leader orders.

use anyhow::{Context, Result, bail};
use candle_core::Device;

use super::leaves::Leaves;
use super::optimizer::{self, Optimizer};
use super::plan::PlannedStep;
use super::recipe::Recipe;
use super::state::{Cursor, State};
use crate::config::RunConfig;
use crate::inference::engine::Engine;
use crate::inference::{divergence, generations, sums};
use crate::machine;
use crate::model::adapter::{self, RankFrom};
use crate::model::decoder::{Decoder, Keep};
use crate::model::generation::Generation;
use crate::model::lora::{Adapter, LoraTensors};
use crate::model::plan::AdapterPlan;
use crate::model::weights;
use crate::parallel::order::{
    AdapterOrder, Begin, DivergeOrder, GenerateOrder, Order, ScoreOrder, StepOrder, of_bits,
    to_bits,
};
use crate::parallel::shares;
use crate::parallel::world::World;
use crate::session::source::ModelSource;
use crate::session::unpacked::Unpacked;

/// Computes what the leader of `world` orders until it has nothing more to order. `device`: of this rank.
///
/// Reads the base model alone: pairs, configuration and state come from the leader. Writes nothing.
pub fn follow(world: &World, device: &str) -> Result<()> {
    let mut run = None;
    loop {
        let order = match world.next_order()? {
            Order::Begin(begin) => {
                let begun = Run::open(&begin, device)?;
                world.answer(&begun.digest)?;
                world.connect(&begun.model.device)?;
                run = Some(begun);
                continue;
            }
            Order::End => return Ok(()),
            order => order,
        };
        let run = run.as_mut().context("an order came before a run")?;
        match order {
            Order::State(cursor) => run.take_state(&cursor, world)?,
            Order::Step(step) => run.step(&step, world)?,
            Order::Adapter(order) => run.take_adapter(order, &world.from_leader()?)?,
            Order::Digest => world.answer(&run.state_digest()?)?,
            Order::Score(score) => world.answer(&run.score(&score)?)?,
            Order::Diverge(diverge) => world.answer(&run.diverge(&diverge)?)?,
            Order::Generate(generate) => world.answer(&run.generate(generate)?)?,
            Order::Begin(_) | Order::End => bail!("an order came out of turn"),
        }
    }
}

/// The run that this rank has a part in.
struct Run {
    /// None for answers alone.
    config: Option<RunConfig>,
    model: Decoder,
    digest: String,
    engine: Engine,
    plan: AdapterPlan,
    steps: usize,
    state: Option<State>,
    /// The adapters of passes, with their digests.
    adapters: Vec<(String, Adapter)>,
    /// The files of a model inside the binary, where this machine does not see the leader's.
    _unpacked: Option<Unpacked>,
}

impl Run {
    fn open(begin: &Begin, device: &str) -> Result<Self> {
        let config = begin.config.clone();
        let device = machine::device(device)?;
        let dtype = machine::dtype(begin.model.dtype, &device)?;
        let (folder, unpacked) = ModelSource::of_rank(&begin.model, &begin.folder)?;
        let model = Decoder::load(&folder, dtype, &device)?;
        let digest = weights::digest(&folder)?;
        let plan = serde_json::from_str(&begin.plan)?;
        let keep = if begin.recompute { Keep::Inputs } else { Keep::Everything };
        let engine = Engine { micro_batch_tokens: begin.micro_batch_tokens, keep };
        let (steps, state, adapters) = (begin.steps, None, Vec::new());
        Ok(Self {
            config,
            model,
            digest,
            engine,
            plan,
            steps,
            state,
            adapters,
            _unpacked: unpacked,
        })
    }

    fn tensors(&self, bytes: &[u8], device: &Device) -> Result<LoraTensors> {
        let from = RankFrom::Configuration;
        adapter::from_safetensors(
            bytes,
            "of the leader",
            &self.model.shape,
            &self.plan,
            from,
            device,
        )
    }

    fn take_state(&mut self, cursor: &str, world: &World) -> Result<()> {
        let cursor: Cursor = serde_json::from_str(cursor)?;
        let next = || self.tensors(&world.from_leader()?, &self.model.device);
        let (tensors, first_moments, second_moments) = (next()?, next()?, next()?);
        let adapter = Adapter { plan: self.plan.clone(), tensors };
        let optimizer = Optimizer { first_moments, second_moments, count: cursor.updates };
        self.state = Some(State { cursor, adapter, optimizer });
        Ok(())
    }

    fn take_adapter(&mut self, order: AdapterOrder, bytes: &[u8]) -> Result<()> {
        let AdapterOrder { digest, keep } = order;
        self.adapters.retain(|(held, _)| keep.contains(held));
        let tensors = self.tensors(bytes, &Device::Cpu)?;
        let adapter = Adapter { plan: self.plan.clone(), tensors };
        let adapter = self.model.bring(&adapter)?;
        let found = adapter::digest(&adapter)?;
        if found != digest {
            bail!("the adapter for this pass came with the digest {found}, expected {digest}");
        }
        self.adapters.push((digest, adapter));
        Ok(())
    }

    fn state_digest(&self) -> Result<String> {
        let state = self.state.as_ref().context("no state came")?;
        adapter::digest(&state.adapter)
    }

    fn step(&mut self, order: &StepOrder, world: &World) -> Result<()> {
        let state = self.state.as_mut().context("a step came before the state")?;
        let config = self.config.as_ref().context("a step came without a configuration")?;
        let recipe = Recipe::of(config);
        let policy = state.adapter.to_dtype(self.model.dtype)?;
        let reference = of_bits(&order.reference);
        let step = PlannedStep {
            pairs: (0..order.pairs.len()).collect(),
            weights: order.weights.clone(),
            share: order.share,
            epoch: 0.0,
        };
        let leaves = Leaves {
            model: &self.model,
            adapter: &policy,
            pairs: &order.pairs,
            reference: &reference,
            settings: recipe.settings(order.step, self.engine),
        };
        let range = shares::of_rank(order.leaves, world.ranks(), world.rank());
        let (output, gradients) = leaves.sum(&step, order.leaves, range, &order.own, world)?;
        let norm = optimizer::norm(&gradients)?;
        let rates = recipe.learning_rates(order.step, self.steps);
        state.step(output.loss, &gradients, &norm, rates, &recipe)?;
        state.advance(!(output.loss.is_finite() && norm.get()?.is_finite()), 0);
        Ok(())
    }

    /// The adapter of a pass that wants one, by its digest.
    fn adapter(&self, wanted: &Option<String>) -> Result<Option<&Adapter>> {
        let Some(wanted) = wanted else { return Ok(None) };
        let held = self.adapters.iter().find(|(digest, _)| digest == wanted);
        let (_, adapter) = held.context("a pass came before its adapter")?;
        Ok(Some(adapter))
    }

    fn generate(&self, order: GenerateOrder) -> Result<Vec<Generation>> {
        let settings = serde_json::from_str(&order.settings)?;
        let adapter = self.adapter(&order.adapter)?;
        generations::of_rows(&self.model, adapter, settings, &order.rows, order.prompts, order.all)
    }

    fn score(&self, order: &ScoreOrder) -> Result<Vec<[u64; 2]>> {
        let adapter = self.adapter(&order.adapter)?;
        Ok(to_bits(&sums::of_batches(&self.model, adapter, &order.batches)?))
    }

    fn diverge(&self, order: &DivergeOrder) -> Result<Vec<Option<u64>>> {
        let (policy, reference) = (self.adapter(&order.policy)?, self.adapter(&order.reference)?);
        divergence::of_batches(&self.model, policy, reference, &order.batches)
    }
}
