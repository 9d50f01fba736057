//! Log-probabilities of whole data sets, forward only.

use anyhow::Result;

use super::interrupt;
use super::progress::Progress;
use crate::data::pack::{self, Pack};
use crate::data::pair::Pair;
use crate::data::tokenize::TokenPair;
use crate::eval::score::PairScore;
use crate::model::llama::Llama;
use crate::model::lora::Adapter;

/// Summed log-probabilities `[chosen, rejected]` of each pair in nats, under `adapter` or, without one, the base model.
///
/// The pairs are computed in order, `micro_batch_tokens` tokens at once, so the same pairs give the same bits.
pub fn sums(
    model: &Llama,
    adapter: Option<&Adapter>,
    pairs: &[&TokenPair],
    micro_batch_tokens: usize,
    progress: &mut Progress,
) -> Result<Vec<[f64; 2]>> {
    let lengths: Vec<usize> = pairs.iter().map(|pair| pair.tokens()).collect();
    let mut sums = Vec::with_capacity(pairs.len());
    for range in pack::cut(&lengths, micro_batch_tokens) {
        interrupt::check()?;
        let members = &pairs[range];
        let batch = model.batch(&Pack::new(members.iter().copied()))?;
        sums.extend(batch.sums(&model.logps(&batch, adapter)?)?);
        progress.advance(members.len() as u64, "");
    }
    Ok(sums)
}

/// The scores of a set from the sums under both models; `pairs[i].row` is the pair's place in `texts`.
pub fn scores(
    texts: &[Pair],
    pairs: &[TokenPair],
    policy: &[[f64; 2]],
    reference: &[[f64; 2]],
) -> Vec<PairScore> {
    let rows = pairs.iter().zip(policy).zip(reference);
    rows.map(|((pair, policy), reference)| {
        let text = &texts[pair.row as usize];
        let [chosen_tokens, rejected_tokens] = pair.scored();
        PairScore {
            id: text.id.clone(),
            user: text.user.clone(),
            source: text.source.clone(),
            groups: text.groups.clone(),
            policy_chosen_logps: policy[0],
            policy_rejected_logps: policy[1],
            reference_chosen_logps: reference[0],
            reference_rejected_logps: reference[1],
            chosen_tokens,
            rejected_tokens,
        }
    })
    .collect()
}
