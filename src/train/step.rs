//! Loss and gradient of one optimizer step, computed in micro-batches under a budget of tokens.

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
    /// Dropout on the adapter's inputs; none when off.
    pub dropout: Option<Dropout>,
    /// Token budget of a micro-batch and the activations to keep.
    pub engine: Engine,
}

/// Figures of a step. Every mean is the mean over batches of each batch's mean over pairs.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// Loss that is descended, in nats: the mean times the share of the planned step.
    pub loss: f64,
    /// Mean rewards `[chosen, rejected]`: `beta` times log-ratios.
    pub rewards: [f64; 2],
    /// Share of pairs with a chosen reward above the rejected one, in `0..=1`.
    pub accuracy: f64,
    /// Mean summed log-probabilities `[chosen, rejected]`, in nats.
    pub logps: [f64; 2],
    /// Mean log-ratios `[chosen, rejected]` of policy and reference, in nats; none under a loss without a reference.
    pub logratios: Option<[f64; 2]>,
    /// Mean scored tokens of `[chosen, rejected]`.
    pub lengths: [f64; 2],
    /// Tokens computed; each prompt counts once.
    pub tokens_computed: usize,
}

/// Loss of the step's pairs under `adapter`, and its gradient.
///
/// - `adapter`: on the model's device and in its dtype.
/// - `pairs`: the whole data set; `step.pairs` index it.
/// - `reference`: summed log-probabilities `[chosen, rejected]` of each pair under the reference, in nats. A loss
///   without a reference does not read them.
///
/// Returns the figures and the gradients, f32, shaped as the adapter. An interruption between two micro-batches and a
/// step without pairs are errors.
///
/// The host needs the log-probabilities of each micro-batch for the loss and its slopes, so it waits for a GPU once a
/// micro-batch. After the first wait the norm of the previous step is known too.
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
    let (mut logratios, mut scored_tokens) = ([0.0; 2], [0.0; 2]);
    let has_reference = dpo.loss.needs_reference();
    for range in pack::cut(&lengths, engine.micro_batch_tokens) {
        interrupt::check()?;
        let (members, weights) = (&step.pairs[range.clone()], &step.weights[range]);
        let pack = Pack::new(members.iter().map(|&i| &pairs[i]));
        let batch = model.batch(&pack)?;
        let (token_logps, tape) = model.forward(&batch, adapter, dropout, engine.keep)?;
        let policy = batch.sums(&token_logps)?;
        let mut slopes = Vec::with_capacity(members.len());
        for ((&member, &weight), &policy) in members.iter().zip(weights).zip(&policy) {
            let scored = pairs[member].scored();
            let pair = pair_loss(dpo, policy, reference[member], scored);
            loss += weight * pair.loss;
            let in_mean = weight / step.share;
            accuracy += in_mean * f64::from(u8::from(pair.margin() > 0.0));
            for side in 0..2 {
                rewards[side] += in_mean * pair.rewards[side];
                logps[side] += in_mean * policy[side];
                scored_tokens[side] += in_mean * scored[side] as f64;
                if has_reference {
                    logratios[side] += in_mean * (policy[side] - reference[member][side]);
                }
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
    model.files.check()?;
    let gradients = total.ok_or_else(|| anyhow::anyhow!("a step without pairs"))?;
    let logratios = has_reference.then_some(logratios);
    let lengths = scored_tokens;
    let output = StepOutput { loss, rewards, accuracy, logps, logratios, lengths, tokens_computed };
    Ok((output, gradients))
}
