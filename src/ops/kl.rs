//! KL divergence between two predictions of one token, over the whole vocabulary: `KL(p || q) = sum_i p_i ln(p_i / q_i)`.
//!
//! `p = softmax(hidden lm_head^T)`, `q` the same of another `hidden`. Computed as `sum_i p_i (exp(-l_i) - 1 + l_i)` with
//! `l_i = ln p_i - ln q_i`, which is the same number because `q` sums to 1. No term is negative, and equal predictions give
//! exactly 0; `sum_i p_i l_i` would cancel its leading digits where the two are near. A monitor: it has no backward pass.

use candle_core::{Result, Tensor, WithDType};
use rayon::prelude::*;

use crate::ops::cpu::gemm::Tile;
use crate::ops::cpu::product::Multiplied;
use crate::ops::cpu::{self, Real, on_device};
use crate::ops::logps;
use crate::ops::weight::Matrix;

/// KL divergence of each row's prediction from that of the same row of `reference`, in nats.
///
/// - `hidden`, `reference`: `[rows, hidden]`, the final norm's output under the policy and under the reference.
/// - `lm_head`: `[vocab, hidden]`, frozen, of both.
///
/// Returns `[rows]`, f32 where the model is bf16. Logits exist for as many rows at one time as [`logps::forward`] has, those of
/// both models together.
pub fn forward<'a>(
    hidden: &Tensor,
    reference: &Tensor,
    lm_head: impl Into<Matrix<'a>>,
) -> Result<Tensor> {
    let lm_head = lm_head.into();
    on_device!(
        "kl", hidden,
        T => forward_cpu::<T>(hidden, reference, lm_head),
        cuda => launch::forward(hidden, reference, lm_head.held()?)
    )
}

fn forward_cpu<T: Multiplied>(
    hidden: &Tensor,
    reference: &Tensor,
    lm_head: Matrix<'_>,
) -> Result<Tensor> {
    let ((rows, width), (vocab, _)) = (hidden.dims2()?, lm_head.dims2()?);
    if reference.dims2()? != (rows, width) {
        candle_core::bail!(
            "kl: expected a reference of {:?}, got {:?}",
            hidden.dims(),
            reference.dims()
        );
    }
    let (p, q) = (cpu::elements::<T>(hidden)?, cpu::elements::<T>(reference)?);
    let w = lm_head.elements::<T>()?;
    let w = lm_head.factor(&w, width, true);
    let chunk = logps::chunk_rows(vocab).div_ceil(2);
    let mut divergences = vec![T::Work::ZERO; rows];
    for from in (0..rows).step_by(chunk) {
        let rows = chunk.min(rows - from);
        let logits =
            |h: &[T]| T::sums(rows, width, vocab, Tile::rows(&h[from * width..], width), w);
        let (zp, zq) = (logits(&p), logits(&q));
        let each = zp.par_chunks(vocab).zip(zq.par_chunks(vocab));
        each.zip(&mut divergences[from..][..rows])
            .for_each(|((zp, zq), divergence)| *divergence = T::Work::from_f64(of_row(zp, zq)));
    }
    cpu::tensor(divergences, rows)
}

/// KL divergence of `softmax(zp)` from `softmax(zq)`, in f64.
fn of_row<T: Real>(zp: &[T], zq: &[T]) -> f64 {
    let normaliser = |z: &[T]| {
        let largest = cpu::max_of(z).to_f64();
        largest + z.iter().map(|z| (z.to_f64() - largest).exp()).sum::<f64>().ln()
    };
    let (of_p, of_q) = (normaliser(zp), normaliser(zq));
    let term = |(p, q): (&T, &T)| {
        let ln_p = p.to_f64() - of_p;
        let ratio = ln_p - (q.to_f64() - of_q);
        let weight = ln_p.exp();
        // Where p is 0 the term is q: the limit of p (q/p - 1 + ln(p/q)).
        if weight <= 0.0 { (q.to_f64() - of_q).exp() } else { weight * ((-ratio).exp_m1() + ratio) }
    };
    zp.iter().zip(zq).map(term).sum()
}

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{DType, Result, Tensor};

    use crate::ops::cuda::{self, Factor, Module, THREADS};
    use crate::ops::logps::MAX_CHUNK_ROWS;

    const MODULE: Module = cuda::module!("kl");

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn forward(hidden: &Tensor, reference: &Tensor, lm_head: &Tensor) -> Result<Tensor> {
        let ((rows, _), vocab) = (hidden.dims2()?, lm_head.dim(0)?);
        let device = hidden.device();
        let chunk = rows.min(MAX_CHUNK_ROWS / 2);
        let logits = [0, 1].map(|_| cuda::empty(device, DType::F32, (chunk, vocab)));
        let [zp, zq] = logits;
        let (zp, zq) = (zp?, zq?);
        let divergences = cuda::empty(device, DType::F32, rows)?;
        for from in (0..rows).step_by(chunk.max(1)) {
            let rows = chunk.min(rows - from);
            let (zp, zq) = (zp.narrow(0, 0, rows)?, zq.narrow(0, 0, rows)?);
            for (z, hidden) in [(&zp, hidden), (&zq, reference)] {
                let hidden = hidden.narrow(0, from, rows)?;
                cuda::gemm(z, Factor::Plain(&hidden), Factor::Transposed(lm_head), 1.0, 0.0)?;
            }
            let launch = MODULE
                .launch_untyped("kl_forward", hidden)?
                .tensor(&zp, DType::F32, &[rows, vocab])?
                .tensor(&zq, DType::F32, &[rows, vocab])?
                .tensor(&divergences.narrow(0, from, rows)?, DType::F32, &[rows])?
                .count(vocab)?;
            // SAFETY: the parameters of `kl_forward`; a block per row, and `divergences` is new.
            unsafe { launch.run((rows, 1), THREADS) }?;
        }
        Ok(divergences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference;
    use crate::ops::testing::{assert_close, random, tolerance};
    use candle_core::{DType, Device};

    fn one(p: &[f64], q: &[f64]) -> f64 {
        let ln = |x: &[f64]| x.iter().map(|x| x.ln()).collect::<Vec<_>>();
        of_row(&ln(p), &ln(q))
    }

    #[test]
    fn three_distributions_have_the_divergences_of_a_calculation_by_hand() {
        // 1/2 ln(2) + 1/4 ln(1) + 1/4 ln(1/2) = ln(2) / 4
        assert!((one(&[0.5, 0.25, 0.25], &[0.25, 0.25, 0.5]) - 2f64.ln() / 4.0).abs() <= 1e-15);
        assert!((one(&[0.25, 0.25, 0.5], &[0.5, 0.25, 0.25]) - 2f64.ln() / 4.0).abs() <= 1e-15);
        // 0.9 ln(9) + 0.1 ln(1/9) = 0.8 ln(9)
        assert!((one(&[0.9, 0.1], &[0.1, 0.9]) - 0.8 * 9f64.ln()).abs() <= 1e-14);
        // Not symmetric: 1/2 ln(5/9) + 1/2 ln(5) against 0.9 ln(9/5) + 0.1 ln(1/5).
        let there = 0.5 * (5.0f64 / 9.0).ln() + 0.5 * 5f64.ln();
        assert!((one(&[0.5, 0.5], &[0.9, 0.1]) - there).abs() <= 1e-15);
        assert!(
            (one(&[0.9, 0.1], &[0.5, 0.5]) - (0.9 * 1.8f64.ln() + 0.1 * 0.2f64.ln())).abs()
                <= 1e-15
        );
        // A constant added to all logits is no other distribution, and a shifted softmax is the same one.
        assert!(of_row(&[1.0, 2.0, 3.0], &[101.0, 102.0, 103.0]) <= 1e-24);
    }

    #[test]
    fn equal_predictions_have_exactly_no_divergence_and_near_ones_have_half_the_square() {
        for dtype in [DType::F32, DType::F64] {
            let (h, head) = (random(&[3, 9], 1, dtype), random(&[50, 9], 2, dtype));
            let zero = forward(&h, &h.copy().unwrap(), &head).unwrap();
            assert_eq!(zero.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap(), [0.0; 3]);
        }
        // p = (1/2 + d, 1/2 - d) against (1/2, 1/2) is 2 d^2 + O(d^4): f32 logits keep 4 digits of 2e-8.
        let d = 1e-4f64;
        let zp = [(0.5 + d).ln() as f32, (0.5 - d).ln() as f32];
        let zq = [0.5f64.ln() as f32; 2];
        assert!((of_row(&zp, &zq) / (2.0 * d * d) - 1.0).abs() <= 2e-3, "{}", of_row(&zp, &zq));
    }

    #[test]
    fn values_agree_with_the_reference() {
        for dtype in [DType::F32, DType::F64] {
            for (rows, hidden, vocab) in [(1, 1, 1), (5, 33, 70), (1030, 8, 40)] {
                let (p, q) = (random(&[rows, hidden], 1, dtype), random(&[rows, hidden], 3, dtype));
                let head = random(&[vocab, hidden], 2, dtype);
                let got = forward(&p, &q, &head).unwrap();
                let [p, q, head] = [p, q, head].map(|t| t.to_dtype(DType::F64).unwrap());
                let logits = |h: &Tensor| h.matmul(&head.t().unwrap()).unwrap();
                let want = reference::kl(&logits(&p), &logits(&q)).unwrap();
                assert_close("kl", &got, &want, tolerance(dtype));
            }
        }
    }

    #[test]
    fn a_logit_without_probability_and_a_nan_are_no_numbers_by_mistake() {
        let far = f64::NEG_INFINITY;
        assert!((of_row(&[0.0, far], &[0.0, 0.0]) - 2f64.ln()).abs() <= 1e-15);
        assert!(of_row(&[0.0, 0.0], &[0.0, far]).is_infinite());
        assert!(of_row(&[0.0, f64::NAN], &[0.0, 0.0]).is_nan());
        assert!(of_row(&[0.0, 0.0], &[f64::NAN, 0.0]).is_nan());
        let h = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        let head = Tensor::zeros((4, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(forward(&h, &h.narrow(0, 0, 1).unwrap(), &head).is_err());
        let none = h.narrow(0, 0, 0).unwrap();
        assert_eq!(forward(&none, &none, &head).unwrap().dims(), [0]);
    }
}
