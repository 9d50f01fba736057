//! Log-probabilities of completion tokens: `logp = z[target] - logsumexp(z)` with `z = hidden lm_head^T`, rows in chunks.
//!
//! There is never a `[tokens, vocab]` matrix: the gradient of a chunk's logits overwrites them, then both are dropped.

use candle_core::{DType, Result, Tensor, WithDType, bail};
use rayon::prelude::*;

use crate::ops::cpu::block::by_row;
use crate::ops::cpu::gemm::Tile;
use crate::ops::cpu::product::Multiplied;
use crate::ops::cpu::{self, Element, Real, on_device, vectorised};
use crate::ops::weight::Matrix;

/// Elements of logits that exist at one time, within [`MIN_CHUNK_ROWS`] and [`MAX_CHUNK_ROWS`].
const CHUNK_ELEMENTS: usize = 4 << 20;

/// Fewest rows of logits that exist at one time: enough for the full matmul rate.
const MIN_CHUNK_ROWS: usize = 256;

/// Most rows of logits that exist at one time: more would not be faster.
pub(crate) const MAX_CHUNK_ROWS: usize = 1024;

/// Rows of logits that exist at one time.
pub(in crate::ops) fn chunk_rows(vocab: usize) -> usize {
    (CHUNK_ELEMENTS / vocab.max(1)).clamp(MIN_CHUNK_ROWS, MAX_CHUNK_ROWS)
}

/// Memory of a chunk of the logits of `scored` rows and of their gradient, in elements of `dtype`. Logits are f32 in bf16 too, and their
/// gradient is apart from them: three times the chunk.
pub(crate) fn chunk_elements(scored: usize, vocab: usize, dtype: DType, on_gpu: bool) -> usize {
    let rows = scored.min(if on_gpu { MAX_CHUNK_ROWS } else { chunk_rows(vocab) });
    let times = if dtype == DType::BF16 { 3 } else { 1 };
    times * rows * vocab
}

/// Log-probability of each completion token under the model, in nats.
///
/// - `hidden`: `[scored, hidden]`, the final norm's output at the rows that predict (a shared prompt's last row twice).
/// - `lm_head`: `[vocab, hidden]`, frozen.
/// - `targets`: `[scored]` u32, the token each row must predict.
///
/// Returns `[scored]`, f32 where the model is bf16. Refuses a target outside the vocabulary; on a GPU its result is NaN.
pub fn forward<'a>(
    hidden: &Tensor,
    lm_head: impl Into<Matrix<'a>>,
    targets: &Tensor,
) -> Result<Tensor> {
    Ok(chunks(hidden, lm_head.into(), targets, false)?.0)
}

/// [`forward`], and what [`backward`] needs: `[scored, hidden]`, the gradient of each row's own log-probability,
/// `(onehot(target) - softmax(z)) lm_head`. Computed here, it does not need the logits a second time.
pub fn forward_for_backward<'a>(
    hidden: &Tensor,
    lm_head: impl Into<Matrix<'a>>,
    targets: &Tensor,
) -> Result<(Tensor, Tensor)> {
    chunks(hidden, lm_head.into(), targets, true)
}

fn chunks(
    hidden: &Tensor,
    lm_head: Matrix<'_>,
    targets: &Tensor,
    gradient: bool,
) -> Result<(Tensor, Tensor)> {
    on_device!(
        "logps", hidden,
        T => chunks_cpu::<T>(hidden, lm_head, targets, gradient),
        cuda => launch::chunks(hidden, lm_head.held()?, targets, gradient)
    )
}

/// Gradient of `hidden`: each row's own gradient times the gradient `dlogps` (`[scored]`) of its log-probability.
pub fn backward(dlogps: &Tensor, own: &Tensor) -> Result<Tensor> {
    on_device!(
        "logps backward", own,
        T => backward_cpu::<T>(dlogps, own),
        cuda => launch::backward(dlogps, own)
    )
}

fn backward_cpu<T: Element>(dlogps: &Tensor, own: &Tensor) -> Result<Tensor> {
    let (scored, width) = own.dims2()?;
    let dlogps = dlogps.to_dtype(T::Work::DTYPE)?;
    let (dlogps, own) = (cpu::elements::<T::Work>(&dlogps)?, cpu::elements::<T>(own)?);
    let (dlogps, own) = (&dlogps[..], &own[..]);
    if dlogps.len() != scored {
        bail!("logps backward: {} gradients of {scored} rows", dlogps.len());
    }
    let [dhidden] = by_row(
        scored,
        [width],
        #[inline(always)]
        |t: usize, [row]: [&mut [T]; 1]| {
            let (own, scale) = (cpu::row(own, t, width), dlogps[t]);
            for (x, own) in row.iter_mut().zip(own) {
                *x = T::rounded(own.value() * scale);
            }
        },
    );
    cpu::tensor(dhidden, (scored, width))
}

fn chunks_cpu<T: Multiplied>(
    hidden: &Tensor,
    lm_head: Matrix<'_>,
    targets: &Tensor,
    gradient: bool,
) -> Result<(Tensor, Tensor)> {
    let (scored, width) = hidden.dims2()?;
    let (vocab, _) = lm_head.dims2()?;
    let (h, w, targets) =
        (cpu::elements::<T>(hidden)?, lm_head.elements::<T>()?, cpu::elements::<u32>(targets)?);
    let [plain, transposed] = [false, true].map(|t| lm_head.factor(&w, width, t));
    let (h, targets) = (&h[..], &targets[..]);
    if let Some(&target) = targets.iter().find(|&&target| target as usize >= vocab) {
        bail!("logps: token id {target} with a vocabulary of {vocab}");
    }
    let chunk = chunk_rows(vocab);
    let mut logps = vec![T::Work::ZERO; scored];
    let mut own = Vec::new();
    for from in (0..scored).step_by(chunk) {
        let rows = chunk.min(scored - from);
        let hidden = Tile::rows(&h[from * width..], width);
        let mut logits = T::sums(rows, width, vocab, hidden, transposed);
        let (logps, targets) = (&mut logps[from..][..rows], &targets[from..][..rows]);
        (logits.par_chunks_mut(vocab), logps, targets).into_par_iter().for_each(
            |(z, logp, &target)| {
                vectorised(
                    #[inline(always)]
                    || {
                        let largest = cpu::max_of(z);
                        let chosen = z[target as usize] - largest;
                        let sum = cpu::exp_in_place(z, T::Work::ONE, largest);
                        *logp = chosen - T::Work::from_f64(sum.to_f64().ln());
                        if gradient {
                            let scale = -T::Work::ONE / sum;
                            z.iter_mut().for_each(|z| *z *= scale);
                            z[target as usize] += T::Work::ONE;
                        }
                    },
                );
            },
        );
        if gradient {
            let slopes = T::all_rounded(logits);
            let rows = T::product(rows, vocab, width, Tile::rows(&slopes, vocab), plain);
            if own.is_empty() { own = rows } else { own.extend(rows) }
        }
    }
    let rows = if gradient { scored } else { 0 };
    Ok((cpu::tensor(logps, scored)?, cpu::tensor(own, (rows, width))?))
}

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{DType, Result, Tensor};

    use super::MAX_CHUNK_ROWS;
    use crate::ops::cuda::{self, Factor, Module, THREADS};

    const MODULE: Module = cuda::module!("logps");

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn chunks(
        hidden: &Tensor,
        lm_head: &Tensor,
        targets: &Tensor,
        gradient: bool,
    ) -> Result<(Tensor, Tensor)> {
        let ((scored, width), vocab) = (hidden.dims2()?, lm_head.dim(0)?);
        let (device, dtype) = (hidden.device(), hidden.dtype());
        let chunk = scored.min(MAX_CHUNK_ROWS);
        let logits = cuda::empty(device, DType::F32, (chunk, vocab))?;
        // The gradient overwrites f32 logits; in bf16 it is half as wide and has memory of its own.
        let slopes = match (gradient, dtype) {
            (false, _) => None,
            (true, DType::F32) => Some(logits.clone()),
            (true, _) => Some(cuda::empty(device, dtype, (chunk, vocab))?),
        };
        let logps = cuda::empty(device, DType::F32, scored)?;
        let own = cuda::empty(device, dtype, (if gradient { scored } else { 0 }, width))?;
        for from in (0..scored).step_by(MAX_CHUNK_ROWS) {
            let rows = chunk.min(scored - from);
            let z = logits.narrow(0, 0, rows)?;
            let h = hidden.narrow(0, from, rows)?;
            cuda::gemm(&z, Factor::Plain(&h), Factor::Transposed(lm_head), 1.0, 0.0)?;
            let slopes = slopes.as_ref().map(|slopes| slopes.narrow(0, 0, rows)).transpose()?;
            let launch = MODULE
                .launch("logps_forward", hidden)?
                .tensor(&z, DType::F32, &[rows, vocab])?
                .tensor(&targets.narrow(0, from, rows)?, DType::U32, &[rows])?
                .tensor(&logps.narrow(0, from, rows)?, DType::F32, &[rows])?
                .optional(slopes.as_ref(), dtype, &[rows, vocab])?
                .count(vocab)?;
            // SAFETY: the parameters of `logps_forward`; a block per row, which reads an element before it overwrites it.
            unsafe { launch.run((rows, 1), 4 * THREADS) }?;
            if let Some(slopes) = &slopes {
                let own = own.narrow(0, from, rows)?;
                cuda::gemm(&own, Factor::Plain(slopes), Factor::Plain(lm_head), 1.0, 0.0)?;
            }
        }
        Ok((logps, own))
    }

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn backward(dlogps: &Tensor, own: &Tensor) -> Result<Tensor> {
        let ((scored, hidden), dtype) = (own.dims2()?, own.dtype());
        let dhidden = cuda::empty(own.device(), dtype, (scored, hidden))?;
        let launch = MODULE
            .launch("logps_backward", own)?
            .tensor(dlogps, DType::F32, &[scored])?
            .tensor(own, dtype, &[scored, hidden])?
            .tensor(&dhidden, dtype, &[scored, hidden])?
            .count(hidden)?;
        // SAFETY: the parameters of `logps_backward`; a block per row, and `dhidden` is new.
        unsafe { launch.run((scored, 1), THREADS) }?;
        Ok(dhidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference;
    use crate::ops::testing::{
        NOT_FINITE, assert_close, assert_not_swallowed, broken, finite_difference, random, tape,
        tolerance,
    };
    use candle_core::{DType, Device};

    fn reference(hidden: &Tensor, lm_head: &Tensor, targets: &Tensor) -> Result<Tensor> {
        reference::logps(&hidden.matmul(&lm_head.t()?)?, targets)
    }

    fn targets(scored: usize, vocab: usize) -> Tensor {
        let ids: Vec<u32> = (0..scored).map(|i| (i * 7 % vocab) as u32).collect();
        Tensor::new(ids, &Device::Cpu).unwrap()
    }

    #[test]
    fn values_and_gradients_agree_with_the_reference() {
        for dtype in [DType::F32, DType::F64] {
            for (scored, hidden, vocab) in [(1, 1, 1), (5, 33, 70), (MAX_CHUNK_ROWS + 3, 8, 40)] {
                let (h, head, g) = (
                    random(&[scored, hidden], 1, dtype),
                    random(&[vocab, hidden], 2, dtype),
                    random(&[scored], 3, dtype),
                );
                let targets = targets(scored, vocab);
                let (logps, own) = forward_for_backward(&h, &head, &targets).unwrap();
                assert_close(
                    "logps",
                    &logps,
                    &reference(&h, &head, &targets).unwrap(),
                    tolerance(dtype),
                );
                let want = tape(&[&h], &g, |t| reference(&t[0], &head, &targets));
                assert_close(
                    "dhidden",
                    &backward(&g, &own).unwrap(),
                    &want[0],
                    4.0 * tolerance(dtype),
                );
                let alone = forward(&h, &head, &targets).unwrap();
                assert_close("without gradient", &alone, &logps, 0.0);
            }
        }
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let (h, head, g) = (
            random(&[3, 5], 1, DType::F64),
            random(&[11, 5], 2, DType::F64),
            random(&[3], 3, DType::F64),
        );
        let targets = targets(3, 11);
        let (_, own) = forward_for_backward(&h, &head, &targets).unwrap();
        let want = finite_difference(&h, &g, |h| forward(h, &head, &targets));
        assert_close("dhidden", &backward(&g, &own).unwrap(), &want, 1e-6);
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let (g, targets) = (random(&[4], 3, DType::F32), targets(4, 70));
        for bad in NOT_FINITE {
            for (h, head) in [
                (broken(&[4, 33], 1, 40, bad), random(&[70, 33], 2, DType::F32)),
                (random(&[4, 33], 1, DType::F32), broken(&[70, 33], 2, 33 * 69, bad)),
            ] {
                let (logps, own) = forward_for_backward(&h, &head, &targets).unwrap();
                let [h, head, g] = [&h, &head, &g].map(|t| t.to_dtype(DType::F64).unwrap());
                assert_not_swallowed("logps", &logps, &reference(&h, &head, &targets).unwrap());
                let want = tape(&[&h], &g, |t| reference(&t[0], &head, &targets));
                assert_not_swallowed("dhidden", &backward(&g, &own).unwrap(), &want[0]);
            }
        }
    }

    #[test]
    fn logits_far_apart_stay_finite() {
        let h = Tensor::new(&[[1e4f32], [-1e4]], &Device::Cpu).unwrap();
        let head = Tensor::new(&[[1f32], [-1.0]], &Device::Cpu).unwrap();
        let (logps, own) =
            forward_for_backward(&h, &head, &Tensor::new(&[1u32, 1], &Device::Cpu).unwrap())
                .unwrap();
        assert_eq!(logps.to_vec1::<f32>().unwrap(), vec![-2e4, 0.0]);
        assert!(own.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|x| x.is_finite()));
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_refused_and_nothing_scored_is_fine() {
        let (h, head) = (random(&[1, 4], 1, DType::F32), random(&[3, 4], 2, DType::F32));
        assert!(forward(&h, &head, &Tensor::new(&[3u32], &Device::Cpu).unwrap()).is_err());
        let nothing = h.narrow(0, 0, 0).unwrap();
        let none = Tensor::zeros(0, DType::U32, &Device::Cpu).unwrap();
        assert_eq!(forward(&nothing, &head, &none).unwrap().dims(), [0]);
    }
    #[test]
    fn memory_of_logits_is_that_of_the_rows_that_exist_at_one_time() {
        // One row of 32,000 logits, whatever a chunk has room for; in bf16 2 halves of f32 and their gradient.
        assert_eq!(chunk_elements(1, 32_000, DType::F32, false), 32_000);
        assert_eq!(chunk_elements(1, 32_000, DType::F32, true), 32_000);
        assert_eq!(chunk_elements(1, 32_000, DType::BF16, true), 96_000);
        assert_eq!(chunk_elements(1, 32_000, DType::BF16, false), 96_000);
        // A full chunk: 256 rows on the CPU where 4 Mi elements are fewer (131 rows), 1024 on a GPU or of a small vocabulary.
        assert_eq!(chunk_elements(2000, 32_000, DType::F32, false), 256 * 32_000);
        assert_eq!(chunk_elements(2000, 8192, DType::F32, false), 512 * 8192);
        assert_eq!(chunk_elements(2000, 100, DType::F32, false), 1024 * 100);
        assert_eq!(chunk_elements(2000, 32_000, DType::F32, true), 1024 * 32_000);
        assert_eq!(chunk_elements(2000, 32_000, DType::BF16, true), 3 * 1024 * 32_000);
        assert_eq!(chunk_elements(0, 32_000, DType::F32, false), 0);
    }
}
