//! Loss and gradient of one optimizer step, in as many micro-batches as the token budget asks for.

use crate::inference::engine::Engine;
use anyhow::Result;

use super::plan::PlannedStep;
use crate::config::DpoSection;
use crate::console::interrupt;
use crate::data::pack::{self, Pack};
use crate::data::token_pair::TokenPair;
use crate::dpo::pair_loss;
use crate::model::decoder::Decoder;
use crate::model::layer::Dropout;
use crate::model::lora::{Adapter, LoraTensors};

/// How one step is computed.
#[derive(Debug, Clone, Copy)]
pub struct StepSettings<'a> {
    /// The loss.
    pub dpo: &'a DpoSection,
    /// Dropout on the adapter's inputs, if any.
    pub dropout: Option<Dropout>,
    /// How much is computed at once, and what is kept of it.
    pub engine: Engine,
}

/// What a step computed beside its gradient. Means are weighted as the loss is: over the batches, of their means over their pairs.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// Mean loss, in nats.
    pub loss: f64,
    /// Mean reward of chosen and rejected.
    pub rewards: [f64; 2],
    /// Share of pairs whose chosen reward is above the rejected one.
    pub accuracy: f64,
    /// Mean summed log-probability of chosen and rejected, in nats.
    pub logps: [f64; 2],
    /// Tokens computed: each prompt once.
    pub tokens_computed: usize,
}

/// Loss of the step's pairs under `adapter`, and its gradient in f32.
///
/// - `pairs`: the whole data set, which `step.pairs` index; `reference`: `[chosen, rejected]` of each of them, in nats, which
///   a loss without a reference does not read.
///
/// Ctrl-C ends it between two micro-batches.
///
/// On a GPU the host waits once for each micro-batch, for its log-probabilities, of which it makes the loss and its slopes; it then
/// knows the norm of the step before, too.
pub fn loss_and_gradients(
    model: &Decoder,
    adapter: &Adapter,
    pairs: &[TokenPair],
    reference: &[[f64; 2]],
    step: &PlannedStep,
    settings: &StepSettings<'_>,
) -> Result<(StepOutput, LoraTensors)> {
    let &StepSettings { dpo, dropout, engine } = settings;
    let lengths: Vec<usize> = step.pairs.iter().map(|&i| pairs[i].tokens()).collect();
    let mut total: Option<LoraTensors> = None;
    let (mut loss, mut rewards, mut accuracy, mut logps, mut tokens_computed) =
        (0.0, [0.0; 2], 0.0, [0.0; 2], 0);
    for range in pack::cut(&lengths, engine.micro_batch_tokens) {
        interrupt::check()?;
        let (members, weights) = (&step.pairs[range.clone()], &step.weights[range]);
        let pack = Pack::new(members.iter().map(|&i| &pairs[i]));
        let batch = model.batch(&pack)?;
        let (token_logps, tape) = model.forward(&batch, adapter, dropout, engine.keep)?;
        let policy = batch.sums(&token_logps)?;
        let mut slopes = Vec::with_capacity(members.len());
        for ((&member, &weight), &policy) in members.iter().zip(weights).zip(&policy) {
            let pair = pair_loss(dpo, policy, reference[member], pairs[member].scored());
            loss += weight * pair.loss;
            accuracy += weight * f64::from(u8::from(pair.margin() > 0.0));
            for side in 0..2 {
                rewards[side] += weight * pair.rewards[side];
                logps[side] += weight * policy[side];
            }
            slopes.push(pair.gradient.map(|slope| weight * slope));
        }
        let dlogps = batch.spread(&slopes, token_logps.dtype())?;
        let gradients = model.backward(&dlogps, tape, &batch, adapter, dropout)?;
        total = Some(match total {
            None => gradients,
            Some(total) => total.add(&gradients)?,
        });
        tokens_computed += pack.tokens();
    }
    let gradients = total.ok_or_else(|| anyhow::anyhow!("a step without pairs"))?;
    Ok((StepOutput { loss, rewards, accuracy, logps, tokens_computed }, gradients))
}
