//! A pack as tensors on the model's device.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::rotary::Rotary;
use crate::data::pack::Pack;
use crate::data::token_pair::TokenPair;
use crate::ops::attention::Mask;

/// Position of each row of a matrix in the data: the keys of its dropout masks.
#[derive(Debug, Clone)]
pub struct TokenKeys {
    /// `[rows]` u32, row of the pair in the data set.
    pub pair_rows: Tensor,
    /// `[rows]` u32, offset within the pair.
    pub offsets: Tensor,
}

/// Which rows a layer computes after its attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// All tokens: the next layer's attention reads them.
    All,
    /// Those that predict a scored token: nothing reads the others after the last layer.
    Kept,
}

/// A pack on the device, with everything that the layers read.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `[tokens]` u32.
    pub ids: Tensor,
    /// `[tokens, turned / 2]`, half of a head's elements that RoPE turns, f32 or better.
    pub cos: Tensor,
    /// `[tokens, turned / 2]`, f32 or better.
    pub sin: Tensor,
    /// Rows that each row sees.
    pub mask: Mask,
    /// `[kept]` u32, ascending: the rows that predict a scored token, the only ones computed after the last layer's attention.
    pub kept: Tensor,
    /// `[scored]` u32, index among the kept rows of the one that predicts each scored token. A shared prompt's last row appears twice.
    pub rows: Tensor,
    /// `[scored]` u32, the tokens to predict.
    pub targets: Tensor,
    /// `[scored]` `2 * pair + side`: pair within the pack, side 0 chosen and 1 rejected.
    pub owners: Vec<u32>,
    /// `[pairs]` whether both answers of a pair are the same tokens, which are laid out once.
    pub twins: Vec<bool>,
    /// Keys of all rows.
    pub keys: TokenKeys,
    /// Keys of the kept rows.
    pub kept_keys: TokenKeys,
}

impl Batch {
    /// The sequence `ids` alone; its last row, which predicts the next token, is the only one kept.
    pub fn next(ids: &[u32], vocab: usize, rotary: &Rotary) -> Result<Self> {
        let Some((last, before)) = ids.split_last() else {
            bail!("an empty sequence predicts no token")
        };
        // Any token may follow: only its prediction is read.
        let pair = TokenPair { prompt: ids.to_vec(), chosen: vec![*last], ..TokenPair::default() };
        let mut pack = Pack::new([&pair]);
        pack.lengths.fill(ids.len() as u32);
        let mut batch = Self::new(&pack, vocab, rotary)?;
        batch.kept = Tensor::new(&[before.len() as u32], rotary.device())?;
        Ok(batch)
    }

    /// Copies `pack` to the device of `rotary`. Refuses token ids that a model of `vocab` tokens does not have, and a prompt that is shared
    /// by answers which need other angles ([`super::rotary::Rope::set_apart`]).
    pub fn new(pack: &Pack, vocab: usize, rotary: &Rotary) -> Result<Self> {
        // A GPU would not name the id.
        if let Some(&id) = pack.ids.iter().chain(&pack.targets).find(|&&id| id as usize >= vocab) {
            bail!("token id {id} with a vocabulary of {vocab}");
        }
        let shared = pack.start.windows(2).zip(pack.lengths.windows(2));
        let differs = |(start, lengths): (&[u32], &[u32])| {
            start[0] == start[1] && !rotary.rope().are_alike(lengths.iter().copied())
        };
        if shared.into_iter().any(differs) {
            bail!("a prompt is shared by answers whose lengths give it other angles");
        }
        let device = rotary.device();
        let (cos, sin) = rotary.at(&pack.positions, &pack.lengths)?;
        let mut kept = pack.rows.clone();
        kept.sort_unstable();
        kept.dedup();
        if kept.is_empty() {
            kept.push(0); // nothing is scored; one row too many is less trouble than matrices without rows
        }
        let rows: Vec<u32> =
            pack.rows.iter().map(|row| kept.partition_point(|k| k < row) as u32).collect();
        let upload = |numbers: &[u32]| match numbers {
            // A GPU cannot allocate zero bytes.
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
    /// The slope of each scored token, `[scored]` in `dtype`, from the `slopes` of each pair's [`Batch::sums`]: its transpose.
    ///
    /// A twin's answers are one run of tokens that stands in both sums, so that its tokens carry the sum of both slopes.
    pub fn spread(&self, slopes: &[[f64; 2]], dtype: DType) -> Result<Tensor> {
        if slopes.len() != self.twins.len() {
            bail!("slopes of {} pairs for a batch of {}", slopes.len(), self.twins.len());
        }
        let spread = |&owner: &u32| {
            let (pair, side) = (owner as usize / 2, owner as usize % 2);
            if self.twins[pair] { slopes[pair][0] + slopes[pair][1] } else { slopes[pair][side] }
        };
        let slopes: Vec<f64> = self.owners.iter().map(spread).collect();
        Tensor::new(slopes, &Device::Cpu)?.to_dtype(dtype)?.to_device(self.rows.device())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rotary::{Rope, RopeScaling};
    use crate::ops::philox::Philox;

    fn batch(pairs: &[TokenPair]) -> Batch {
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::None, partial: 1.0 };
        let rotary = Rotary::new(rope, 4, DType::F64, &Device::Cpu);
        Batch::new(&Pack::new(pairs), 10, &rotary).unwrap()
    }

    fn pair(prompt: &[u32], chosen: &[u32], rejected: &[u32]) -> TokenPair {
        let [prompt, chosen, rejected] = [prompt, chosen, rejected].map(<[u32]>::to_vec);
        TokenPair { prompt, chosen, rejected, ..TokenPair::default() }
    }

    /// `<spread(slopes), logps> = <slopes, sums(logps)>`: what a change of the log-probabilities does to the loss is the same,
    /// whichever way it is counted.
    #[test]
    fn spread_is_the_transpose_of_sums() {
        let pairs = [
            pair(&[1, 2], &[3, 4, 5], &[6]),
            pair(&[1], &[7, 8], &[7, 8]), // a twin
            pair(&[], &[1, 2, 3], &[4]),  // whose first tokens nothing predicts
            pair(&[5], &[6], &[]),
            pair(&[], &[9, 9], &[9, 9]),
        ];
        let (batch, philox) = (batch(&pairs), Philox::new(1, 0));
        let number = |i: usize| 2.0 * philox.uniform(i as u64) - 1.0;
        let logps: Vec<f64> = (0..batch.owners.len()).map(number).collect();
        let slopes: Vec<[f64; 2]> =
            (0..pairs.len()).map(|i| [number(100 + 2 * i), number(101 + 2 * i)]).collect();
        let sums = batch.sums(&Tensor::new(&logps[..], &Device::Cpu).unwrap()).unwrap();
        let spread = batch.spread(&slopes, DType::F64).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(spread.len(), logps.len());
        let want: f64 =
            slopes.iter().flatten().zip(sums.iter().flatten()).map(|(a, b)| a * b).sum();
        let got: f64 = spread.iter().zip(&logps).map(|(a, b)| a * b).sum();
        assert!((got - want).abs() <= 1e-14, "{got} {want}");
        // One pair at a time too, so that errors of two pairs cannot cancel.
        for (i, sums) in sums.iter().enumerate() {
            let mut one = vec![[0.0; 2]; pairs.len()];
            one[i] = slopes[i];
            let spread = batch.spread(&one, DType::F64).unwrap().to_vec1::<f64>().unwrap();
            let got: f64 = spread.iter().zip(&logps).map(|(a, b)| a * b).sum();
            let want = one[i][0] * sums[0] + one[i][1] * sums[1];
            assert!((got - want).abs() <= 1e-14, "pair {i}: {got} {want}");
        }
    }

    #[test]
    fn slopes_of_another_number_of_pairs_are_refused() {
        let batch = batch(&[pair(&[1], &[2], &[3])]);
        assert!(batch.spread(&[], DType::F64).is_err());
        assert!(batch.spread(&[[0.0; 2]; 2], DType::F64).is_err());
    }

    #[test]
    fn a_prompt_shared_across_a_switch_of_angles_is_refused_and_apart_it_is_not() {
        let scaling = RopeScaling::Dynamic { factor: 2.0, max_positions: 4.0 };
        let rope = Rope { theta: 10_000.0, scaling, partial: 1.0 };
        let rotary = Rotary::new(rope.clone(), 4, DType::F64, &Device::Cpu);
        let mut pairs = [pair(&[1, 2, 3], &[4], &[5, 6])];
        assert!(Batch::new(&Pack::new(&pairs), 10, &rotary).is_err());
        assert_eq!(rope.set_apart(&mut pairs), 1);
        let batch = Batch::new(&Pack::new(&pairs), 10, &rotary).unwrap();
        assert_eq!(batch.ids.dims(), [9]);
    }
}
