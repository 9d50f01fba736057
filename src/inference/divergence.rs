//! KL divergence of a policy from its reference along answers, forward only.

use anyhow::Result;

use crate::console::interrupt;
use crate::data::pack::{self, Pack};
use crate::data::token_pair::TokenPair;
use crate::inference::shared::{at_once, over_ranks, share_adapters};
use crate::model::decoder::Decoder;
use crate::model::lora::Adapter;
use crate::parallel::order::{DivergeOrder, Order};
use crate::parallel::world::World;

/// Forward passes of two adapters over the same answers.
pub struct DivergencePass<'a> {
    /// The base model.
    pub model: &'a Decoder,
    /// The policy's adapter, in the model's dtype; none for the base model.
    pub policy: Option<&'a Adapter>,
    /// The reference's adapter, in the model's dtype; none for the base model.
    pub reference: Option<&'a Adapter>,
    /// Token budget of a micro-batch; a longer pair is a micro-batch of its own.
    pub micro_batch_tokens: usize,
    /// The ranks that it is shared with.
    pub world: &'a World,
}

impl DivergencePass<'_> {
    /// Mean KL divergence per scored token of each pair's chosen answer, in nats; none for an answer without one. The rejected answers
    /// are not read.
    ///
    /// An interruption is an error: nothing is kept, since the pairs are few.
    pub fn per_token<'p>(
        &self,
        pairs: impl IntoIterator<Item = &'p TokenPair>,
    ) -> Result<Vec<Option<f64>>> {
        let chosen = |pair: &TokenPair| TokenPair {
            row: pair.row,
            prompt: pair.prompt.clone(),
            chosen: pair.chosen.clone(),
            unscored: pair.unscored,
            ..TokenPair::default()
        };
        let pairs: Vec<TokenPair> = pairs.into_iter().map(chosen).collect();
        let lengths: Vec<usize> = pairs.iter().map(TokenPair::tokens).collect();
        let Self { model, policy, reference, world, .. } = *self;
        let digests = share_adapters(world, [policy, reference])?;
        let mut means = Vec::with_capacity(pairs.len());
        for ranges in pack::cut(&lengths, self.micro_batch_tokens).chunks(at_once(world)) {
            interrupt::check()?;
            let batches: Vec<_> =
                ranges.iter().map(|range| pairs[range.clone()].iter().collect()).collect();
            let order = |batches| {
                let [policy, reference] = digests.clone();
                Order::Diverge(DivergeOrder { policy, reference, batches })
            };
            let own = |batches: &[Vec<&TokenPair>]| {
                let batches = batches.iter().map(|batch| batch.iter().copied());
                of_batches(model, policy, reference, batches)
            };
            means.extend(over_ranks(world, &batches, order, own)?);
        }
        Ok(means.into_iter().map(|bits: Option<u64>| bits.map(f64::from_bits)).collect())
    }
}

/// The bits of [`DivergencePass::per_token`] of each pair of some micro-batches: what a rank computes of a pass.
pub fn of_batches<'p, B: IntoIterator<Item = &'p TokenPair>>(
    model: &Decoder,
    policy: Option<&Adapter>,
    reference: Option<&Adapter>,
    batches: impl IntoIterator<Item = B>,
) -> Result<Vec<Option<u64>>> {
    let mut means = Vec::new();
    for members in batches {
        let members: Vec<&TokenPair> = members.into_iter().collect();
        let batch = model.batch(&Pack::new(members.iter().copied()))?;
        let sums = batch.sums(&model.kl(&batch, policy, reference)?)?;
        means.extend(members.iter().zip(sums).map(|(pair, [sum, _])| {
            let scored = pair.scored()[0];
            (scored > 0).then(|| (sum / scored as f64).to_bits())
        }));
    }
    model.files.check()?;
    Ok(means)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{DType, Device};

    use super::*;
    use crate::config::LoraSection;

    /// The golden model, an adapter on it whose B has this in every place, and two pairs.
    fn tiny(size: f64) -> (Decoder, Adapter, Vec<TokenPair>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/models/tiny");
        let model = Decoder::load(&folder, DType::F64, &Device::Cpu).unwrap();
        let lora = LoraSection { rank: 4, ..LoraSection::default() };
        let mut adapter = Adapter::fresh(&model.shape, &lora, 7, &Device::Cpu).unwrap();
        adapter.tensors = adapter
            .tensors
            .map(|t| if t.dim(1)? == 4 { t + size } else { Ok::<_, candle_core::Error>(t.clone()) })
            .unwrap();
        let pair = |row, prompt: &[u32], chosen: &[u32]| TokenPair {
            row,
            prompt: prompt.to_vec(),
            chosen: chosen.to_vec(),
            rejected: vec![9, 8, 7],
            ..TokenPair::default()
        };
        let pairs = vec![pair(0, &[1, 20, 30], &[40, 50]), pair(1, &[1, 21], &[41])];
        let adapter = model.bring(&adapter).unwrap();
        (model, adapter, pairs)
    }

    #[test]
    fn it_is_the_mean_over_the_tokens_of_the_divergence_of_next_token_logits() {
        let (model, adapter, pairs) = tiny(0.05);
        let pass = |policy, micro_batch_tokens| {
            let world = &World::default();
            DivergencePass { model: &model, policy, reference: None, micro_batch_tokens, world }
                .per_token(&pairs)
                .unwrap()
        };
        let got = pass(Some(&adapter), 4096);
        let probabilities = |ids: &[u32], adapter| {
            let logits = model.next_logits(ids, adapter).unwrap().to_vec1::<f64>().unwrap();
            let sum: f64 = logits.iter().map(|z| z.exp()).sum();
            logits.into_iter().map(|z| z.exp() / sum).collect::<Vec<_>>()
        };
        for (pair, got) in pairs.iter().zip(&got) {
            let all = [&pair.prompt[..], &pair.chosen].concat();
            let at = |end: usize| -> f64 {
                let [p, q] =
                    [Some(&adapter), None].map(|adapter| probabilities(&all[..end], adapter));
                p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum()
            };
            let want =
                (pair.prompt.len()..all.len()).map(at).sum::<f64>() / pair.chosen.len() as f64;
            assert!(want > 1e-6, "the adapter moves nothing: {want}");
            assert!((got.unwrap() - want).abs() <= 1e-12, "{got:?} {want}");
        }
        let alone = pass(Some(&adapter), 1);
        assert!(alone.iter().zip(&got).all(|(a, b)| (a.unwrap() - b.unwrap()).abs() <= 1e-12));
    }

    #[test]
    fn a_fresh_adapter_and_the_base_itself_have_exactly_none() {
        let (model, fresh, pairs) = tiny(0.0);
        let world = World::default();
        for policy in [None, Some(&fresh)] {
            let pass = DivergencePass {
                model: &model,
                policy,
                reference: None,
                micro_batch_tokens: 64,
                world: &world,
            };
            assert_eq!(pass.per_token(&pairs).unwrap(), [Some(0.0); 2]);
        }
        let both = DivergencePass {
            model: &model,
            policy: Some(&fresh),
            reference: Some(&fresh),
            micro_batch_tokens: 64,
            world: &world,
        };
        assert_eq!(both.per_token(&pairs).unwrap(), [Some(0.0); 2]);
        let empty = TokenPair { prompt: vec![1, 2], ..TokenPair::default() };
        assert_eq!(both.per_token([&empty]).unwrap(), [None]);
    }
}
