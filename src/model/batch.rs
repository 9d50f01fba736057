//! A pack as the model reads it.

use candle_core::{DType, Result, Tensor, bail};

use super::rotary::Rotary;
use crate::data::pack::Pack;
use crate::data::token_pair::TokenPair;
use crate::ops::attention::Mask;

/// Where each row of a matrix stands in the data: the keys of its dropout masks.
#[derive(Debug, Clone)]
pub struct TokenKeys {
    /// `[rows]` u32, row of the pair in the data set.
    pub pair_rows: Tensor,
    /// `[rows]` u32, place within the pair.
    pub offsets: Tensor,
}

/// A pack on the device, with what every layer needs of it.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `[tokens]` u32.
    pub ids: Tensor,
    /// `[tokens, head_dim / 2]`, f32 or better.
    pub cos: Tensor,
    /// `[tokens, head_dim / 2]`, f32 or better.
    pub sin: Tensor,
    /// Who sees whom.
    pub mask: Mask,
    /// `[kept]` u32, the rows that predict something, ascending: all that is computed after the last layer's attention.
    pub kept: Tensor,
    /// `[scored]` u32, which of the kept rows predicts each scored token. A shared prompt's last row is there twice.
    pub rows: Tensor,
    /// `[scored]` u32, the tokens to predict.
    pub targets: Tensor,
    /// `[scored]` `2 * pair + side`.
    pub owners: Vec<u32>,
    /// `[pairs]` whether a pair's rejected answer is its chosen one.
    pub twins: Vec<bool>,
    /// Keys of all rows.
    pub keys: TokenKeys,
    /// Keys of the kept rows.
    pub kept_keys: TokenKeys,
}

impl Batch {
    /// The sequence `ids` alone, of which only the last row is kept: the one that predicts what follows.
    pub fn next(ids: &[u32], vocab: usize, rotary: &Rotary) -> Result<Self> {
        let Some((last, before)) = ids.split_last() else { bail!("no token to go on from") };
        // Which token follows does not matter here.
        let pair =
            TokenPair { row: 0, prompt: ids.to_vec(), chosen: vec![*last], rejected: vec![] };
        let mut batch = Self::new(&Pack::new([&pair]), vocab, rotary)?;
        batch.kept = Tensor::new(&[before.len() as u32], rotary.device())?;
        Ok(batch)
    }

    /// Lays `pack` out for a model of `vocab` tokens, on the device of its `rotary`.
    pub fn new(pack: &Pack, vocab: usize, rotary: &Rotary) -> Result<Self> {
        // Before they go to a device that would not say which: ids that the embedding or the output layer does not have.
        if let Some(&id) = pack.ids.iter().chain(&pack.targets).find(|&&id| id as usize >= vocab) {
            bail!("token id {id} with a vocabulary of {vocab}");
        }
        let device = rotary.device();
        let (cos, sin) = rotary.at(&pack.positions)?;
        let mut kept = pack.rows.clone();
        kept.sort_unstable();
        kept.dedup();
        if kept.is_empty() {
            kept.push(0); // nothing is scored, and matrices without rows are more trouble than one row too many
        }
        let rows: Vec<u32> =
            pack.rows.iter().map(|row| kept.partition_point(|k| k < row) as u32).collect();
        let upload = |numbers: &[u32]| match numbers {
            // A GPU has no memory of no bytes.
            [] => Tensor::zeros(1, DType::U32, device)?.narrow(0, 0, 0),
            _ => Tensor::new(numbers, device),
        };
        let gather =
            |keys: &[u32]| upload(&kept.iter().map(|&row| keys[row as usize]).collect::<Vec<_>>());
        Ok(Self {
            ids: upload(&pack.ids)?,
            cos,
            sin,
            mask: Mask::new(&pack.start, &pack.hide_from, &pack.hide_to)?,
            rows: upload(&rows)?,
            targets: upload(&pack.targets)?,
            owners: pack.owners.clone(),
            twins: pack.twins.clone(),
            keys: TokenKeys {
                pair_rows: upload(&pack.pair_rows)?,
                offsets: upload(&pack.offsets)?,
            },
            kept_keys: TokenKeys {
                pair_rows: gather(&pack.pair_rows)?,
                offsets: gather(&pack.offsets)?,
            },
            kept: upload(&kept)?,
        })
    }

    /// Sums of `logps` (`[scored]`) over each answer: `[chosen, rejected]` of each pair, in nats, accumulated in f64.
    pub fn sums(&self, logps: &Tensor) -> Result<Vec<[f64; 2]>> {
        let mut sums = vec![[0.0; 2]; self.twins.len()];
        for (logp, &owner) in
            logps.to_dtype(DType::F64)?.to_vec1::<f64>()?.into_iter().zip(&self.owners)
        {
            sums[owner as usize / 2][owner as usize % 2] += logp;
        }
        for (sum, _) in sums.iter_mut().zip(&self.twins).filter(|(_, twin)| **twin) {
            sum[1] = sum[0];
        }
        Ok(sums)
    }
}
