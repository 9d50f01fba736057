//! Log-probabilities of whole data sets, forward only.

use std::ops::Range;
use std::time::Instant;

use anyhow::Result;

use crate::console::interrupt;
use crate::console::progress::Verbosity;
use crate::data::pack::{self, Pack};
use crate::data::pair::Pair;
use crate::data::token_pair::TokenPair;
use crate::inference::kept_sums::KeptSums;
use crate::inference::shared::{at_once, over_ranks, share_adapters};
use crate::metrics::score::PairScore;
use crate::model::decoder::Decoder;
use crate::model::lora::Adapter;
use crate::parallel::order::{Order, ScoreOrder, of_bits, to_bits};
use crate::parallel::world::World;

/// Seconds between two saves of a running pass: the most that a killed program loses.
const SAVE_EVERY_S: u64 = 60;

/// A forward pass over many pairs.
pub struct ScoringPass<'a> {
    /// The base model.
    pub model: &'a Decoder,
    /// The adapter on it; none for the base model alone.
    pub adapter: Option<&'a Adapter>,
    /// The pairs.
    pub pairs: &'a [&'a TokenPair],
    /// Token budget of a micro-batch; a longer pair is a micro-batch of its own.
    pub micro_batch_tokens: usize,
    /// The ranks that it is shared with.
    pub world: &'a World,
}

impl ScoringPass<'_> {
    /// Summed log-probabilities `[chosen, rejected]` of each pair, in nats, under the adapter, or under the base model
    /// without one.
    ///
    /// - `title`: the pass in notes and progress lines.
    /// - `kept`: file that an interrupted pass is resumed from and saved to; none to save nothing.
    ///
    /// The pairs are computed in order, so the same pairs give the same bits. An interruption saves, then is an error.
    pub fn sums(
        &self,
        title: &str,
        kept: Option<&KeptSums>,
        verbosity: Verbosity,
    ) -> Result<Vec<[f64; 2]>> {
        let all = self.pairs.len();
        let done = match kept.map(KeptSums::read_or_why) {
            Some(Err(error)) => {
                verbosity.warn(format!("{error:#}; its sums are computed again"));
                None
            }
            Some(Ok(done)) => done.filter(|sums| sums.len() <= all),
            None => None,
        };
        let mut sums = done.unwrap_or_default();
        if !sums.is_empty() {
            verbosity.note(format!("{title}: {} of {all} pairs are done", sums.len()));
        }
        let mut progress = verbosity.progress(title, "pairs", sums.len() as u64, all as u64);
        let save = |sums: &[[f64; 2]]| {
            // A failed save costs time only: the next command computes these sums again.
            let _ = kept.filter(|_| !sums.is_empty()).map(|file| file.write(sums));
        };
        let lengths: Vec<usize> = self.pairs.iter().map(|pair| pair.tokens()).collect();
        let mut last_saved = Instant::now();
        let ranges: Vec<_> = pack::cut(&lengths, self.micro_batch_tokens)
            .into_iter()
            .filter(|range| range.end > sums.len())
            .collect();
        sums.truncate(ranges.first().map_or(all, |range| range.start));
        let [adapter] = share_adapters(self.world, [self.adapter])?;
        for ranges in ranges.chunks(at_once(self.world)) {
            interrupt::check().inspect_err(|_| save(&sums))?;
            if last_saved.elapsed().as_secs() >= SAVE_EVERY_S {
                save(&sums);
                last_saved = Instant::now();
            }
            let new = self.of(ranges, &adapter)?;
            progress.advance(new.len() as u64, &[]);
            sums.extend(new);
        }
        if !sums.iter().flatten().all(|sum| sum.is_finite()) {
            self.model.refuse_broken_weights()?;
        }
        Ok(sums)
    }

    /// The sums of the micro-batches `ranges`, neighbours, in order; `adapter`: the digest of [`Self::adapter`] for other ranks.
    fn of(&self, ranges: &[Range<usize>], adapter: &Option<String>) -> Result<Vec<[f64; 2]>> {
        let batches: Vec<_> =
            ranges.iter().map(|range| self.pairs[range.clone()].to_vec()).collect();
        let order = |batches| Order::Score(ScoreOrder { adapter: adapter.clone(), batches });
        let own = |batches: &[Vec<&TokenPair>]| {
            let batches = batches.iter().map(|batch| batch.iter().copied());
            Ok(to_bits(&of_batches(self.model, self.adapter, batches)?))
        };
        Ok(of_bits(&over_ranks(self.world, &batches, order, own)?))
    }
}

/// Sums `[chosen, rejected]` of each pair of some micro-batches, in nats: what a rank computes of a pass.
///
/// A sum that is not finite is computed again from its pair alone: in a tile of a tensor core a pair without a number takes its neighbours'
/// away, 0 times NaN being NaN, and the one to name is the broken one.
pub fn of_batches<'p, B: IntoIterator<Item = &'p TokenPair>>(
    model: &Decoder,
    adapter: Option<&Adapter>,
    batches: impl IntoIterator<Item = B>,
) -> Result<Vec<[f64; 2]>> {
    let of = |members: &[&TokenPair]| -> Result<Vec<[f64; 2]>> {
        let batch = model.batch(&Pack::new(members.iter().copied()))?;
        Ok(batch.sums(&model.logps(&batch, adapter)?)?)
    };
    let mut sums = Vec::new();
    for members in batches {
        let members: Vec<&TokenPair> = members.into_iter().collect();
        let mut own = of(&members)?;
        for (sum, pair) in own.iter_mut().zip(&members).filter(|_| members.len() > 1) {
            if !sum.iter().all(|sum| sum.is_finite()) {
                *sum = of(&[pair])?[0];
            }
        }
        sums.extend(own);
    }
    model.files.check()?;
    Ok(sums)
}

/// Scores of the pairs of a set from their sums `[chosen, rejected]` under policy and reference, in nats.
///
/// `pairs[i].row` indexes `texts`.
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
