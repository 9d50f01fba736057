//! Dropout whose mask is a function of an element's address, so that nothing is stored and nothing depends on packing.
//!
//! Element `column` of a token is kept when word `column % 4` of `philox(key, counter)` is at least `p * 2^32`, with
//! key = (low half of the seed, high half of the seed xor `256 * layer + module`) and
//! counter = (`column / 4`, the token's offset within its pair, the pair's row in the data set, the optimizer step).
//! Kept elements are divided by `1 - p`. The same data, step and seed give the same mask in any pack or micro-batch, after a resume,
//! and on any device.

use candle_core::{Result, Tensor, WithDType};

use crate::ops::cpu::block::by_row;
use crate::ops::cpu::{self, Element, Real, on_device};
use crate::ops::philox;

/// Blocks of four random words, and elements, that are computed side by side.
const QUADS: usize = 16;
const STRETCH: usize = 4 * QUADS;

/// One mask of one adapted module at one optimizer step.
#[derive(Debug, Clone)]
pub struct DropoutMask<'a> {
    /// Share of the elements set to zero, in `0..1`.
    pub probability: f64,
    /// The run's seed.
    pub seed: u64,
    /// Optimizer steps done before this one.
    pub step: u32,
    /// Layer and module, `256 * layer + module`.
    pub module: u32,
    /// `[tokens]` u32, row of each token's pair in the data set.
    pub pair_rows: &'a Tensor,
    /// `[tokens]` u32, place of each token within its pair.
    pub offsets: &'a Tensor,
}

impl DropoutMask<'_> {
    /// `x * mask / (1 - p)`; `x`: `[tokens, columns]`, and so is the result. It is its own backward: apply it to the gradient.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        on_device!("dropout", x, T => self.masked::<T>(x, None), cuda => launch::apply(self, x))
    }

    /// `y + x * mask / (1 - p)`, each `[tokens, columns]`; `y` is overwritten where that saves memory: pass one that nothing else reads.
    pub fn add(&self, y: Tensor, x: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            launch::add(self, &y, x)?;
            return Ok(y);
        }
        cpu::on_cpu!("dropout", x, T => self.masked::<T>(x, Some(&y)))
    }

    /// Factor of the kept elements.
    fn scale(&self) -> f64 {
        1.0 / (1.0 - self.probability)
    }

    /// An element is dropped when its random word is below this.
    fn threshold(&self) -> u32 {
        (self.probability * 4_294_967_296.0).round().min(f64::from(u32::MAX)) as u32
    }

    fn key(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32 ^ self.module]
    }

    /// `x * mask / (1 - p)`, or that added to `y`, in new memory.
    fn masked<T: Element>(&self, x: &Tensor, y: Option<&Tensor>) -> Result<Tensor> {
        let (tokens, columns) = x.dims2()?;
        if let Some(y) = y
            && y.dims() != x.dims()
        {
            candle_core::bail!("dropout: {:?} is not added to {:?}", x.dims(), y.dims());
        }
        let before = y.map(cpu::elements::<T>).transpose()?;
        let before = before.as_deref();
        let (pair_rows, offsets) =
            (cpu::elements::<u32>(self.pair_rows)?, cpu::elements::<u32>(self.offsets)?);
        let (pair_rows, offsets) = (&pair_rows[..], &offsets[..]);
        if tokens != pair_rows.len() || tokens != offsets.len() {
            candle_core::bail!(
                "dropout: expected keys of {tokens} tokens, got {} rows and {} offsets",
                pair_rows.len(),
                offsets.len()
            );
        }
        let data = cpu::elements::<T>(x)?;
        let data = &data[..];
        let (key, threshold) = (self.key(), self.threshold());
        let scale = T::Work::from_f64(self.scale());
        let [y] = by_row(
            tokens,
            [columns],
            #[inline(always)]
            |t: usize, [y]: [&mut [T]; 1]| {
                if let Some(before) = before {
                    y.copy_from_slice(cpu::row(before, t, columns));
                }
                let stretches =
                    y.chunks_mut(STRETCH).zip(cpu::row(data, t, columns).chunks(STRETCH));
                for (stretch, (y, x)) in stretches.enumerate() {
                    let quad = (stretch * QUADS) as u32;
                    let words: [[u32; QUADS]; 4] =
                        philox::blocks(key, [quad, offsets[t], pair_rows[t], self.step]);
                    let mut in_order = [0; STRETCH];
                    for (i, quad) in in_order.chunks_exact_mut(4).enumerate() {
                        quad.copy_from_slice(&[words[0][i], words[1][i], words[2][i], words[3][i]]);
                    }
                    for ((y, x), &word) in y.iter_mut().zip(x).zip(&in_order) {
                        let kept = x.value() * scale;
                        let kept = if word >= threshold { kept } else { T::Work::ZERO };
                        *y = T::rounded(if before.is_some() { y.value() + kept } else { kept });
                    }
                }
            },
        );
        cpu::tensor(y, (tokens, columns))
    }
}

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{DType, Result, Tensor};

    use super::DropoutMask;
    use crate::ops::cuda::{self, Module, THREADS};

    const MODULE: Module = cuda::module!("dropout");

    pub(super) fn apply(mask: &DropoutMask<'_>, x: &Tensor) -> Result<Tensor> {
        let y = cuda::empty(x.device(), x.dtype(), x.dims())?;
        run("dropout_apply", mask, x, &y)?;
        Ok(y)
    }

    pub(super) fn add(mask: &DropoutMask<'_>, y: &Tensor, x: &Tensor) -> Result<()> {
        run("dropout_add", mask, x, y)
    }

    #[expect(unsafe_code, reason = "a launch")]
    fn run(kernel: &str, mask: &DropoutMask<'_>, x: &Tensor, y: &Tensor) -> Result<()> {
        let ((tokens, columns), dtype) = (x.dims2()?, x.dtype());
        let [low, high] = mask.key();
        let launch = MODULE
            .launch(kernel, x)?
            .tensor(x, dtype, &[tokens, columns])?
            .tensor(y, dtype, &[tokens, columns])?
            .tensor(mask.pair_rows, DType::U32, &[tokens])?
            .tensor(mask.offsets, DType::U32, &[tokens])?
            .count(columns)?
            .count(low as usize)?
            .count(high as usize)?
            .count(mask.step as usize)?
            .count(mask.threshold() as usize)?
            .float(mask.scale());
        // SAFETY: the parameters of `dropout_apply` and `dropout_add`; each thread overwrites the elements that it alone has read.
        unsafe { launch.run((tokens, cuda::blocks(columns, 4)), THREADS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{NOT_FINITE, not_finite};
    use candle_core::{DType, Device};

    /// The mask for tokens with these keys, applied to ones.
    fn masked_ones(
        probability: f64,
        step: u32,
        module: u32,
        pair_rows: &[u32],
        offsets: &[u32],
        columns: usize,
    ) -> Vec<Vec<f32>> {
        let [rows, offsets] =
            [pair_rows, offsets].map(|keys| Tensor::new(keys, &Device::Cpu).unwrap());
        let mask = DropoutMask {
            probability,
            seed: 12,
            step,
            module,
            pair_rows: &rows,
            offsets: &offsets,
        };
        mask.apply(&ones(pair_rows.len(), columns)).unwrap().to_vec2::<f32>().unwrap()
    }

    fn ones(tokens: usize, columns: usize) -> Tensor {
        Tensor::ones((tokens, columns), DType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn what_is_kept_and_not_finite_stays_so() {
        for bad in NOT_FINITE {
            let key = |key: u32| Tensor::new(&[key], &Device::Cpu).unwrap();
            let (rows, offsets) = (key(3), key(7));
            let (pair_rows, offsets) = (&rows, &offsets);
            let mask =
                DropoutMask { probability: 0.25, seed: 12, step: 0, module: 1, pair_rows, offsets };
            let y = mask.apply(&(ones(1, 400) * f64::from(bad)).unwrap()).unwrap();
            let zeros = y.eq(0.0).unwrap().sum_all().unwrap().to_scalar::<u8>().unwrap();
            assert!((60..140).contains(&zeros) && not_finite(&y)[0] == 400 - usize::from(zeros));
        }
    }

    #[test]
    fn the_share_dropped_is_p_and_the_mean_is_kept() {
        let (rows, offsets): (Vec<u32>, Vec<u32>) = (vec![3; 400], (0..400).collect());
        let y = masked_ones(0.05, 0, 1, &rows, &offsets, 250).concat();
        let dropped = y.iter().filter(|&&y| y.to_bits() == 0).count() as f64 / y.len() as f64;
        assert!((dropped - 0.05).abs() <= 0.003, "{dropped}");
        assert!(y.iter().all(|&y| y.to_bits() == 0 || (y - 1.0 / 0.95).abs() <= 1e-6));
    }

    #[test]
    fn a_tokens_mask_does_not_depend_on_its_place_in_the_pack() {
        let whole = masked_ones(0.3, 4, 258, &[7, 7, 9], &[0, 1, 0], 21);
        let alone = masked_ones(0.3, 4, 258, &[9], &[0], 21);
        assert_eq!(whole[2], alone[0]);
        assert_ne!(whole[0], whole[1]);
        assert_ne!(whole[0], whole[2]);
    }

    #[test]
    fn every_part_of_the_key_changes_the_mask() {
        let base = |step, module| masked_ones(0.5, step, module, &[1], &[2], 64);
        assert_ne!(base(0, 1), base(1, 1));
        assert_ne!(base(0, 1), base(0, 2));
    }

    #[test]
    fn element_i_is_dropped_by_word_i_modulo_4_of_block_i_over_4() {
        let (offset, pair_row, step, module) = (3, 9, 4, 258);
        let y = masked_ones(0.5, step, module, &[pair_row], &[offset], 300);
        for (i, y) in y[0].iter().enumerate() {
            let counter = [i as u32 / 4, offset, pair_row, step];
            let word = philox::blocks::<1>([12, module], counter)[i % 4][0];
            assert_eq!(y.to_bits() == 0, word < 1 << 31, "element {i}");
        }
    }

    #[test]
    fn keys_of_more_or_fewer_tokens_than_there_are_are_refused() {
        for (rows, offsets) in [(3, 2), (2, 3), (1, 2), (2, 1), (3, 3)] {
            let keys = |n| Tensor::zeros(n, DType::U32, &Device::Cpu).unwrap();
            let (rows, offsets) = (keys(rows), keys(offsets));
            let (pair_rows, offsets) = (&rows, &offsets);
            let mask =
                DropoutMask { probability: 0.5, seed: 12, step: 0, module: 1, pair_rows, offsets };
            let error = mask.apply(&ones(2, 4)).unwrap_err().to_string();
            assert!(error.contains("expected keys of 2 tokens"), "{error}");
        }
    }
}
