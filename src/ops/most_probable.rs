//! The token of the largest logit, `argmax_i logits[i]`: the lowest id among equal ones (candle's `argmax` does not promise that on a GPU),
//! and none where the logits are not numbers.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

/// The most probable token of each row of `logits` (`[rows, vocab]`, any float dtype); none where a logit is NaN or the largest is
/// infinite.
pub fn forward(logits: &Tensor) -> Result<Vec<Option<u32>>> {
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() {
        return launch::forward(logits);
    }
    let (_, vocab) = logits.dims2()?;
    let logits = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(logits.par_chunks_exact(vocab).map(of_row).collect())
}

/// [`forward`] of one row.
pub fn of_row(logits: &[f32]) -> Option<u32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let whole = largest.is_finite() && logits.iter().all(|x| !x.is_nan());
    let first = logits.iter().position(|&x| x >= largest).filter(|_| whole);
    first.map(|id| id as u32)
}

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{DType, Result, Tensor};

    use crate::ops::cuda::{self, Module};

    const MODULE: Module = cuda::module!("most_probable");

    /// Threads of a block.
    const THREADS: u32 = 1024;

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn forward(logits: &Tensor) -> Result<Vec<Option<u32>>> {
        let (rows, vocab) = logits.dims2()?;
        let ids = cuda::empty(logits.device(), DType::U32, rows)?;
        let launch = MODULE
            .launch("most_probable", logits)?
            .tensor(logits, logits.dtype(), &[rows, vocab])?
            .tensor(&ids, DType::U32, &[rows])?
            .count(vocab)?;
        // SAFETY: the parameters of `most_probable`; one block for each id of `ids`, which is new.
        unsafe { launch.run((rows, 1), THREADS) }?;
        Ok(ids.to_vec1::<u32>()?.into_iter().map(|id| (id != u32::MAX).then_some(id)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn of_equal_logits_the_first_is_taken_and_what_is_no_number_is_told() {
        let (nan, far) = (f32::NAN, f32::INFINITY);
        let rows = [
            [1.0, 2.0, 2.0, -far],
            [-3.0, -1.0, -2.0, -1.0],
            [0.0, -0.0, -far, -far],
            [1.0, nan, 3.0, 2.0],
            [1.0, far, 0.0, 0.0],
            [-far; 4],
        ];
        let got = forward(&Tensor::new(&rows, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(got, [Some(1), Some(1), Some(0), None, None, None]);
    }
}
