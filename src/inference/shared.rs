//! A pass that several ranks share: what they hold first, and the micro-batches that each computes.

use anyhow::{Result, ensure};
use serde::de::DeserializeOwned;

use crate::data::token_pair::TokenPair;
use crate::model::adapter;
use crate::model::lora::Adapter;
use crate::parallel::order::Order;
use crate::parallel::shares;
use crate::parallel::world::World;

/// Micro-batches of a rank between two looks at the clock, where there are several ranks.
const BATCHES_A_RANK: usize = 4;

/// How many micro-batches are computed between two looks at the clock.
pub(super) fn at_once(world: &World) -> usize {
    match world.ranks() {
        1 => 1,
        ranks => ranks * BATCHES_A_RANK,
    }
}

/// Gives the other ranks the adapters of a pass that they do not hold. Returns the digest of each for orders; none without one, or other ranks.
pub(super) fn share_adapters<const N: usize>(
    world: &World,
    adapters: [Option<&Adapter>; N],
) -> Result<[Option<String>; N]> {
    let mut digests = [const { None }; N];
    if world.ranks() == 1 {
        return Ok(digests);
    }
    let mut wanted = Vec::new();
    for (digest, adapter) in digests.iter_mut().zip(adapters) {
        if let Some(adapter) = adapter {
            let found = adapter::digest(adapter)?;
            wanted.push((found.clone(), || adapter::to_safetensors(&adapter.tensors)));
            *digest = Some(found);
        }
    }
    if !wanted.is_empty() {
        world.share_adapters(&wanted)?;
    }
    Ok(digests)
}

/// What is computed of the micro-batches `batches`, neighbours, in order; one value for each pair. Each is computed whole on one rank, so that
/// its bits do not depend on it.
///
/// - `order`: has a rank compute micro-batches, and answer with their values.
/// - `own`: computes those of this rank.
pub(super) fn over_ranks<'p, V: DeserializeOwned>(
    world: &World,
    batches: &[Vec<&'p TokenPair>],
    order: impl Fn(Vec<Vec<TokenPair>>) -> Order,
    own: impl FnOnce(&[Vec<&'p TokenPair>]) -> Result<Vec<V>>,
) -> Result<Vec<V>> {
    let tokens = |batch: &Vec<&TokenPair>| batch.iter().map(|pair| pair.tokens()).sum();
    let tokens: Vec<usize> = batches.iter().map(tokens).collect();
    let runs = shares::runs(&tokens, world.ranks());
    for rank in world.others() {
        let owned = |batch: &Vec<&TokenPair>| batch.iter().copied().cloned().collect();
        let part = batches[runs[rank].clone()].iter().map(owned).collect();
        world.order(rank, &order(part))?;
    }
    let mut values = own(&batches[runs[0].clone()])?;
    for rank in world.others() {
        let answer: Vec<V> = world.answer_of(rank)?;
        let pairs: usize = batches[runs[rank].clone()].iter().map(Vec::len).sum();
        ensure!(answer.len() == pairs, "rank {rank} answered otherwise");
        values.extend(answer);
    }
    Ok(values)
}
