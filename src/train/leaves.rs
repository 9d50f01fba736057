//! Loss and gradient of a step that is computed in leaves, each alone, by one rank or by several.
//!
//! The leaves are summed in the tree of [`crate::parallel::tree`]: with as many leaves, any number of ranks gives the same bits.

use std::ops::Range;

use anyhow::{Context, Result};
use candle_core::Tensor;

use super::plan::PlannedStep;
use super::step::{StepOutput, StepSettings, loss_and_gradients};
use crate::data::token_pair::TokenPair;
use crate::model::decoder::Decoder;
use crate::model::lora::{Adapter, LoraTensors};
use crate::parallel::exchange::Part;
use crate::parallel::order::{Order, StepOrder, to_bits};
use crate::parallel::shares;
use crate::parallel::tree::{self, Node};
use crate::parallel::world::World;

/// Figures of a step that are summed.
const FIGURES: usize = 11;

/// The pairs of one step, whose order is that of the leaves' places.
#[derive(Clone, Copy)]
pub(super) struct Leaves<'a> {
    /// The base model.
    pub(super) model: &'a Decoder,
    /// The adapter on it, on the model's device and in its dtype.
    pub(super) adapter: &'a Adapter,
    /// The pairs that the step's indices mean.
    pub(super) pairs: &'a [TokenPair],
    /// Summed log-probabilities `[chosen, rejected]` of each under the reference, in nats.
    pub(super) reference: &'a [[f64; 2]],
    /// Loss, dropout and how much is computed at once.
    pub(super) settings: StepSettings<'a>,
}

/// [`loss_and_gradients`] of step number `n`, cut into `shards` leaves, or into one for each rank if that is 0. The other ranks compute theirs.
pub(super) fn whole_step(
    leaves: &Leaves<'_>,
    step: &PlannedStep,
    n: usize,
    shards: usize,
    world: &World,
) -> Result<(StepOutput, LoraTensors)> {
    let number = if shards > 0 { shards } else { world.ranks() };
    if number == 1 && world.ranks() == 1 {
        let Leaves { model, adapter, pairs, reference, settings } = leaves;
        return loss_and_gradients(model, adapter, pairs, reference, step, settings);
    }
    let lengths: Vec<usize> = step.pairs.iter().map(|&i| leaves.pairs[i].tokens()).collect();
    let places = shares::balanced(&lengths, number);
    for rank in world.others() {
        let own = shares::of_rank(number, world.ranks(), rank);
        world.order(rank, &Order::Step(leaves.order(step, n, number, &places[own])))?;
    }
    let own = shares::of_rank(number, world.ranks(), 0);
    leaves.sum(step, number, own.clone(), &places[own], world)
}

impl Leaves<'_> {
    /// What the rank of the leaves `own`, places of the step's pairs, has to know.
    fn order(&self, step: &PlannedStep, n: usize, leaves: usize, own: &[Vec<usize>]) -> StepOrder {
        let places = || own.iter().flatten();
        let mut first = 0;
        let of_leaf = |leaf: &Vec<usize>| {
            let range = first..first + leaf.len();
            first = range.end;
            range.collect()
        };
        let reference: Vec<[f64; 2]> =
            places().map(|&place| self.reference[step.pairs[place]]).collect();
        StepOrder {
            step: n,
            share: step.share,
            leaves,
            pairs: places().map(|&place| self.pairs[step.pairs[place]].clone()).collect(),
            weights: places().map(|&place| step.weights[place]).collect(),
            reference: to_bits(&reference),
            own: own.iter().map(of_leaf).collect(),
        }
    }

    /// Computes the leaves `range` of `leaves`, whose places in the step are `own`, and sums them with those of all ranks.
    pub(super) fn sum(
        &self,
        step: &PlannedStep,
        leaves: usize,
        range: Range<usize>,
        own: &[Vec<usize>],
        world: &World,
    ) -> Result<(StepOutput, LoraTensors)> {
        let mut leaf = |node: &Node| {
            (node.len() == 1).then(|| self.leaf(step, &own[node.start - range.start]))
        };
        let mut add = |(a, b): (StepOutput, LoraTensors), (c, d): (StepOutput, LoraTensors)| {
            Ok((a.add(&c), b.add(&d)?))
        };
        let mut nodes = tree::cover(leaves, &range)
            .into_iter()
            .map(|node| Ok((node.clone(), tree::sum(node, &mut leaf, &mut add)?)))
            .collect::<Result<Vec<_>>>()?;
        if world.ranks() == 1 {
            return nodes.pop().and_then(|(_, sum)| sum).context("a step without pairs");
        }
        let has_reference = self.settings.dpo.loss.needs_reference();
        let part = |(node, sum): (Node, Option<(StepOutput, LoraTensors)>)| {
            let part = |(output, gradients): (StepOutput, LoraTensors)| -> Result<Part> {
                Ok(Part { figures: output.figures().to_vec(), values: flat(&gradients)? })
            };
            Ok((node, sum.map(part).transpose()?))
        };
        let own = nodes.into_iter().map(part).collect::<Result<_>>()?;
        let values = self.adapter.tensors.parameters();
        let device = &self.model.device;
        let sum =
            world.sum(device, leaves, own, FIGURES, values)?.context("a step without pairs")?;
        let figures = sum.figures[..].try_into().context("a sum has other figures")?;
        let output = StepOutput::of_figures(figures, has_reference);
        Ok((output, shaped(&sum.values, &self.adapter.tensors)?))
    }

    /// The pairs of the step at these places alone; none without any.
    fn leaf(
        &self,
        step: &PlannedStep,
        places: &[usize],
    ) -> Result<Option<(StepOutput, LoraTensors)>> {
        if places.is_empty() {
            return Ok(None);
        }
        let step = PlannedStep {
            pairs: places.iter().map(|&place| step.pairs[place]).collect(),
            weights: places.iter().map(|&place| step.weights[place]).collect(),
            ..*step
        };
        let Self { model, adapter, pairs, reference, settings } = self;
        loss_and_gradients(model, adapter, pairs, reference, &step, settings).map(Some)
    }
}

/// `[elements]` f32: all of them, one tensor after another.
fn flat(tensors: &LoraTensors) -> Result<Tensor> {
    let all = tensors.iter().map(|(.., tensor)| tensor.flatten_all());
    Ok(Tensor::cat(&all.collect::<Result<Vec<_>, _>>()?, 0)?)
}

/// What [`flat`] made of tensors of the shapes of `like`.
fn shaped(values: &Tensor, like: &LoraTensors) -> Result<LoraTensors> {
    let mut place = 0;
    like.map(|tensor| {
        let own = values.narrow(0, place, tensor.elem_count())?;
        place += tensor.elem_count();
        Ok(own.copy()?.reshape(tensor.shape())?)
    })
}

impl StepOutput {
    /// This and another leaf's.
    fn add(&self, other: &Self) -> Self {
        let (own, other) = (self.figures(), other.figures());
        Self::of_figures(std::array::from_fn(|i| own[i] + other[i]), self.logratios.is_some())
    }

    /// All figures; the sum of several leaves' is that of their sum.
    fn figures(&self) -> [f64; FIGURES] {
        let Self { loss, rewards, accuracy, logps, logratios, lengths, tokens_computed } = *self;
        let ([a, b], [c, d], [g, h]) = (rewards, logps, lengths);
        let [e, f] = logratios.unwrap_or_default();
        [loss, accuracy, tokens_computed as f64, a, b, c, d, e, f, g, h]
    }

    /// What [`Self::figures`] made.
    fn of_figures(figures: [f64; FIGURES], has_reference: bool) -> Self {
        let [loss, accuracy, tokens, a, b, c, d, e, f, g, h] = figures;
        Self {
            loss,
            rewards: [a, b],
            accuracy,
            logps: [c, d],
            logratios: has_reference.then_some([e, f]),
            lengths: [g, h],
            tokens_computed: tokens as usize,
        }
    }
}
