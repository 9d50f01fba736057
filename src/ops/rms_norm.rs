//! RMSNorm, fused with the residual addition before it: `h = x + delta`, `y = h * inv * w`, `inv = 1 / sqrt(mean(h^2) + eps)`.

use candle_core::{Result, Tensor, WithDType};

use crate::ops::cpu::block::{by_row, by_row_with};
use crate::ops::cpu::{self, Element, LANES, Real, on_device};

/// What [`forward`] returns.
#[derive(Debug, Clone)]
pub struct Normed {
    /// `[tokens, hidden]`, `x + delta`: the residual stream.
    pub sum: Tensor,
    /// `[tokens, hidden]`, the normalised sum.
    pub y: Tensor,
    /// `[tokens]`, `1 / sqrt(mean(sum^2) + eps)`, kept for the backward pass.
    pub inv: Tensor,
}

/// Adds `delta` to the residual stream and normalises the sum.
///
/// - `x`, `delta`: `[tokens, hidden]`; without a `delta` the sum is `x` itself, not a copy.
/// - `weight`: `[hidden]`, frozen.
///
/// Sums of squares and `inv` are in the tensor's own float type, f32 for bf16; the sum is rounded before it is squared.
/// A row whose sum of squares is infinite becomes NaN. PyTorch gives zeros, and with them a diverged model a finite loss and no gradient.
pub fn forward(x: &Tensor, delta: Option<&Tensor>, weight: &Tensor, eps: f64) -> Result<Normed> {
    on_device!(
        "rms_norm", x,
        T => forward_cpu::<T>(x, delta, weight, eps),
        cuda => launch::forward(x, delta, weight, eps)
    )
}

/// The normalised rows again, from what [`forward`] returned: `y = sum * inv * weight`, bit for bit.
pub fn apply(sum: &Tensor, inv: &Tensor, weight: &Tensor) -> Result<Tensor> {
    on_device!(
        "rms_norm", sum,
        T => apply_cpu::<T>(sum, inv, weight),
        cuda => launch::apply(sum, inv, weight)
    )
}

/// Gradient of the residual stream: `residual + inv * (dy w) - h * inv^3 * mean(h * dy * w)`.
///
/// - `dy`: `[tokens, hidden]`, gradient of `y`; `sum`, `inv`: as [`forward`] returned them.
/// - `residual`: `[tokens, hidden]`, the gradient that reaches the sum past the norm, if any.
///
/// Returns `[tokens, hidden]`: the gradient of `x` and of `delta` alike. The weight has none.
pub fn backward(
    dy: &Tensor,
    sum: &Tensor,
    inv: &Tensor,
    weight: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    on_device!(
        "rms_norm backward", dy,
        T => backward_cpu::<T>(dy, sum, inv, weight, residual),
        cuda => launch::backward(dy, sum, inv, weight, residual)
    )
}

fn forward_cpu<T: Element>(
    x: &Tensor,
    delta: Option<&Tensor>,
    weight: &Tensor,
    eps: f64,
) -> Result<Normed> {
    let (tokens, hidden) = x.dims2()?;
    let w = cpu::elements::<T>(weight)?;
    let w = &w[..];
    let eps = T::Work::from_f64(eps);
    let a = cpu::elements::<T>(x)?;
    let a = &a[..];
    let Some(delta) = delta else {
        let ([y], inv) = by_row_with(
            tokens,
            [hidden],
            #[inline(always)]
            |t: usize, [y]: [&mut [T]; 1], inv| norm(y, inv, cpu::row(a, t, hidden), w, eps),
        );
        let (y, inv) = (cpu::tensor(y, (tokens, hidden))?, cpu::tensor(inv, tokens)?);
        return Ok(Normed { sum: x.clone(), y, inv });
    };
    let b = cpu::elements::<T>(delta)?;
    let b = &b[..];
    let ([sum, y], inv) = by_row_with(
        tokens,
        [hidden, hidden],
        #[inline(always)]
        |t: usize, [sum, y]: [&mut [T]; 2], inv| {
            let (a, b) = (cpu::row(a, t, hidden), cpu::row(b, t, hidden));
            for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
                *sum = T::rounded(a.value() + b.value());
            }
            norm(y, inv, sum, w, eps);
        },
    );
    let [sum, y] = [sum, y].map(|data| cpu::tensor(data, (tokens, hidden)));
    Ok(Normed { sum: sum?, y: y?, inv: cpu::tensor(inv, tokens)? })
}

#[inline(always)]
fn norm<T: Element>(y: &mut [T], inv: &mut T::Work, h: &[T], w: &[T], eps: T::Work) {
    let work = T::Work::from_f64;
    let mean = cpu::dot(h, h) / work(h.len() as f64);
    // 1 / sqrt(inf) is 0, which would turn a row that overflows into zeros.
    let overflow = mean >= work(f64::INFINITY);
    *inv = if overflow { work(f64::NAN) } else { work(1.0) / Real::sqrt(mean + eps) };
    scale_row(y, h, *inv, w);
}

fn apply_cpu<T: Element>(sum: &Tensor, inv: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (tokens, hidden) = sum.dims2()?;
    let (h, inv, w) =
        (cpu::elements::<T>(sum)?, cpu::elements::<T::Work>(inv)?, cpu::elements::<T>(weight)?);
    let (h, inv, w) = (&h[..], &inv[..], &w[..]);
    let [y] = by_row(
        tokens,
        [hidden],
        #[inline(always)]
        |t: usize, [y]: [&mut [T]; 1]| scale_row(y, cpu::row(h, t, hidden), inv[t], w),
    );
    cpu::tensor(y, (tokens, hidden))
}

#[inline(always)]
fn scale_row<T: Element>(y: &mut [T], h: &[T], inv: T::Work, w: &[T]) {
    for ((y, h), w) in y.iter_mut().zip(h).zip(w) {
        *y = T::rounded(h.value() * inv * w.value());
    }
}

fn backward_cpu<T: Element>(
    dy: &Tensor,
    sum: &Tensor,
    inv: &Tensor,
    weight: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let (tokens, hidden) = dy.dims2()?;
    let (dy, h) = (cpu::elements::<T>(dy)?, cpu::elements::<T>(sum)?);
    let (inv, w) = (cpu::elements::<T::Work>(inv)?, cpu::elements::<T>(weight)?);
    let residual = residual.map(cpu::elements::<T>).transpose()?;
    let (dy, h, inv, w, residual) = (&dy[..], &h[..], &inv[..], &w[..], residual.as_deref());
    let [dx] = by_row(
        tokens,
        [hidden],
        #[inline(always)]
        |t: usize, [dx]: [&mut [T]; 1]| {
            let (dy, h, inv) = (cpu::row(dy, t, hidden), cpu::row(h, t, hidden), inv[t]);
            let pull = pull_of(dy, w, h) / T::Work::from_f64(hidden as f64) * inv * inv * inv;
            let past = residual.map(|residual| cpu::row(residual, t, hidden));
            for (i, (((dx, dy), w), h)) in dx.iter_mut().zip(dy).zip(w).zip(h).enumerate() {
                let own = dy.value() * w.value() * inv - h.value() * pull;
                *dx = T::rounded(past.map_or(own, |past| own + past[i].value()));
            }
        },
    );
    cpu::tensor(dx, (tokens, hidden))
}

/// `sum(dy w h)`.
#[inline(always)]
fn pull_of<T: Element>(dy: &[T], w: &[T], h: &[T]) -> T::Work {
    let mut lanes = [T::Work::ZERO; LANES];
    let [(dy, dy_rest), (w, w_rest), (h, h_rest)] = [dy, w, h].map(|row| row.as_chunks::<LANES>());
    for ((dy, w), h) in dy.iter().zip(w).zip(h) {
        for lane in 0..LANES {
            lanes[lane] += dy[lane].value() * w[lane].value() * h[lane].value();
        }
    }
    let rest = dy_rest.iter().zip(w_rest).zip(h_rest);
    let rest = rest.map(|((dy, w), h)| dy.value() * w.value() * h.value());
    lanes.iter().fold(rest.fold(T::Work::ZERO, |sum, x| sum + x), |sum, &lane| sum + lane)
}

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{DType, Result, Tensor};

    use super::Normed;
    use crate::ops::cuda::{self, Module, THREADS};

    const MODULE: Module = cuda::module!("rms_norm");

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn forward(
        x: &Tensor,
        delta: Option<&Tensor>,
        weight: &Tensor,
        eps: f64,
    ) -> Result<Normed> {
        let ((tokens, hidden), dtype) = (x.dims2()?, x.dtype());
        let sum = match delta {
            Some(_) => cuda::empty(x.device(), dtype, (tokens, hidden))?,
            None => x.clone(),
        };
        let y = cuda::empty(x.device(), dtype, (tokens, hidden))?;
        let inv = cuda::empty(x.device(), DType::F32, tokens)?;
        let launch = MODULE
            .launch("rms_norm_forward", x)?
            .tensor(x, dtype, &[tokens, hidden])?
            .optional(delta, dtype, &[tokens, hidden])?
            .tensor(weight, dtype, &[hidden])?
            .optional(delta.map(|_| &sum), dtype, &[tokens, hidden])?
            .tensor(&y, dtype, &[tokens, hidden])?
            .tensor(&inv, DType::F32, &[tokens])?
            .count(hidden)?
            .float(eps);
        // SAFETY: the parameters of `rms_norm_forward`; a block per token, and what it writes is new.
        unsafe { launch.run((tokens, 1), THREADS) }?;
        Ok(Normed { sum, y, inv })
    }

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn apply(sum: &Tensor, inv: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let ((tokens, hidden), dtype) = (sum.dims2()?, sum.dtype());
        let y = cuda::empty(sum.device(), dtype, (tokens, hidden))?;
        let launch = MODULE
            .launch("rms_norm_apply", sum)?
            .tensor(sum, dtype, &[tokens, hidden])?
            .tensor(inv, DType::F32, &[tokens])?
            .tensor(weight, dtype, &[hidden])?
            .tensor(&y, dtype, &[tokens, hidden])?
            .count(hidden)?;
        // SAFETY: the parameters of `rms_norm_apply`; a block per token, and `y` is new.
        unsafe { launch.run((tokens, 1), THREADS) }?;
        Ok(y)
    }

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn backward(
        dy: &Tensor,
        sum: &Tensor,
        inv: &Tensor,
        weight: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let ((tokens, hidden), dtype) = (dy.dims2()?, dy.dtype());
        let dx = cuda::empty(dy.device(), dtype, (tokens, hidden))?;
        let launch = MODULE
            .launch("rms_norm_backward", dy)?
            .tensor(dy, dtype, &[tokens, hidden])?
            .tensor(sum, dtype, &[tokens, hidden])?
            .tensor(inv, DType::F32, &[tokens])?
            .tensor(weight, dtype, &[hidden])?
            .optional(residual, dtype, &[tokens, hidden])?
            .tensor(&dx, dtype, &[tokens, hidden])?
            .count(hidden)?;
        // SAFETY: the parameters of `rms_norm_backward`; a block per token, and `dx` is new.
        unsafe { launch.run((tokens, 1), THREADS) }?;
        Ok(dx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference;
    use crate::ops::testing::{
        assert_close, broken, finite_difference, not_finite, random, tape, tolerance,
    };
    use candle_core::DType;

    const EPS: f64 = 1e-5;

    fn reference(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        reference::rms_norm(x, weight, EPS)
    }

    #[test]
    fn values_and_gradients_agree_with_the_reference() {
        for dtype in [DType::F32, DType::F64] {
            for (tokens, hidden) in [(1, 1), (3, 33), (70, 1000)] {
                let [x, delta, dy, residual] =
                    [1, 2, 3, 4].map(|seed| random(&[tokens, hidden], seed, dtype));
                let weight = random(&[hidden], 5, dtype);
                let normed = forward(&x, Some(&delta), &weight, EPS).unwrap();
                let sum = (&x + &delta).unwrap();
                assert_close("sum", &normed.sum, &sum, tolerance(dtype));
                assert_close("y", &normed.y, &reference(&sum, &weight).unwrap(), tolerance(dtype));
                let dx = backward(&dy, &normed.sum, &normed.inv, &weight, Some(&residual)).unwrap();
                let want =
                    (&tape(&[&sum], &dy, |t| reference(&t[0], &weight))[0] + &residual).unwrap();
                assert_close("dx", &dx, &want, 10.0 * tolerance(dtype));
            }
        }
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let (x, weight, dy) = (
            random(&[3, 7], 1, DType::F64),
            random(&[7], 2, DType::F64),
            random(&[3, 7], 3, DType::F64),
        );
        let normed = forward(&x, None, &weight, EPS).unwrap();
        let want = finite_difference(&x, &dy, |x| Ok(forward(x, None, &weight, EPS)?.y));
        assert_close(
            "dx",
            &backward(&dy, &normed.sum, &normed.inv, &weight, None).unwrap(),
            &want,
            1e-7,
        );
    }

    #[test]
    fn what_is_not_finite_stays_so_and_so_does_a_row_whose_square_overflows() {
        let weight = random(&[40], 2, DType::F32);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            for column in [0, 33, 39] {
                let x = broken(&[3, 40], 1, 40 + column, bad);
                let normed = forward(&x, None, &weight, EPS).unwrap();
                assert_eq!(not_finite(&normed.y), [0, 40, 0], "{bad} at {column}");
                let dy = random(&[3, 40], 3, DType::F32);
                let dx = backward(&dy, &normed.sum, &normed.inv, &weight, None).unwrap();
                assert_eq!(not_finite(&dx), [0, 40, 0], "{bad} at {column}");
            }
        }
    }

    #[test]
    fn applying_again_gives_the_same_bits() {
        let (x, weight) = (random(&[5, 100], 1, DType::F32), random(&[100], 2, DType::F32));
        let normed = forward(&x, None, &weight, EPS).unwrap();
        let again = apply(&normed.sum, &normed.inv, &weight).unwrap();
        assert_eq!(normed.y.to_vec2::<f32>().unwrap(), again.to_vec2::<f32>().unwrap());
    }
}
