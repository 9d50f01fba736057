//! Rotary position embedding, Hugging Face's layout: the first `2 * half` elements of each head turn, element `i` with element
//! `i + half`, and the others stay. `half` is half a head unless the model turns a part of it.
//!
//! `(a, b) -> (a cos - b sin, b cos + a sin)`; its gradient is the rotation by the negative angle. A factor on both tables, which some
//! kinds of RoPE have, multiplies values and gradients alike.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, WithDType, bail};
use rayon::prelude::*;

use crate::ops::cpu::{self, Element};

/// Turns each head of each token by the angles of the token's position, in place.
///
/// - `x`: `[tokens, heads * head_dim]`, overwritten: pass a tensor that nothing else reads.
/// - `cos`, `sin`: `[tokens, half]` with `2 * half <= head_dim`, of `x`'s dtype, or f32 where that is bf16.
pub fn forward(x: Tensor, cos: &Tensor, sin: &Tensor, head_dim: usize) -> Result<Tensor> {
    turn(&x, cos, sin, head_dim, 1.0)?;
    Ok(x)
}

/// Turns the gradient back: [`forward`] by the negative angles, in place.
pub fn backward(dy: Tensor, cos: &Tensor, sin: &Tensor, head_dim: usize) -> Result<Tensor> {
    turn(&dy, cos, sin, head_dim, -1.0)?;
    Ok(dy)
}

fn turn(x: &Tensor, cos: &Tensor, sin: &Tensor, head_dim: usize, sign: f64) -> Result<()> {
    let ((tokens, width), (angles, half)) = (x.dims2()?, cos.dims2()?);
    if angles != tokens || half == 0 || 2 * half > head_dim || width % head_dim != 0 {
        bail!(
            "rope: {width} columns of {tokens} tokens do not divide into heads of {head_dim} of which {} turn, with angles of {angles} tokens",
            2 * half
        );
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return launch::turn(x, cos, sin, head_dim, sign);
    }
    x.inplace_op3(cos, sin, &Turn { head_dim, sign })
}

struct Turn {
    head_dim: usize,
    sign: f64,
}

impl InplaceOp3 for Turn {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        cpu::in_storage!("rope", x, T => self.turn::<T>(x, layout, cos, cos_layout, sin))
    }
}

impl Turn {
    fn turn<T: Element>(
        &self,
        x: &mut CpuStorage,
        layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
    ) -> Result<()> {
        let ((_, width), (_, half)) = (layout.shape().dims2()?, cos_layout.shape().dims2()?);
        let (cos, sin) = (T::Work::cpu_storage_as_slice(cos)?, T::Work::cpu_storage_as_slice(sin)?);
        let (head_dim, sign) = (self.head_dim, T::Work::from_f64(self.sign));
        let rows = cpu::rows_per_task(width);
        let each = cpu::elements_mut::<T>(x, layout)?.par_chunks_mut(rows * width).enumerate();
        each.for_each(|(task, data)| {
            cpu::vectorised(
                #[inline(always)]
                || {
                    for (i, row) in data.chunks_exact_mut(width).enumerate() {
                        let t = task * rows + i;
                        let (cos, sin) = (&cos[t * half..][..half], &sin[t * half..][..half]);
                        for head in row.chunks_exact_mut(head_dim) {
                            let (a, b) = head[..2 * half].split_at_mut(half);
                            for (((a, b), &cos), &sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                                let (left, right) = (a.value(), b.value());
                                *a = T::rounded(left * cos - right * sin * sign);
                                *b = T::rounded(right * cos + left * sin * sign);
                            }
                        }
                    }
                },
            );
        });
        Ok(())
    }
}

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{DType, Result, Tensor};

    use crate::ops::cuda::{self, Module, THREADS};

    const MODULE: Module = cuda::module!("rope");

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn turn(
        x: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        head_dim: usize,
        sign: f64,
    ) -> Result<()> {
        let ((tokens, width), (_, half)) = (x.dims2()?, cos.dims2()?);
        let heads = width / head_dim;
        let launch = MODULE
            .launch("rope_turn", x)?
            .tensor(x, x.dtype(), &[tokens, width])?
            .tensor(cos, DType::F32, &[tokens, half])?
            .tensor(sin, DType::F32, &[tokens, half])?
            .count(heads)?
            .count(head_dim)?
            .count(half)?
            .float(sign);
        let blocks = cuda::blocks(heads * half, cuda::wide(x.dtype()));
        // SAFETY: the parameters of `rope_turn`; each thread overwrites the pairs that it alone has read.
        unsafe { launch.run((tokens, blocks), THREADS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference;
    use crate::ops::testing::{
        NOT_FINITE, assert_close, broken, not_finite, random, tape, tolerance,
    };
    use candle_core::{DType, Device};

    fn angles(tokens: usize, half: usize, dtype: DType) -> (Tensor, Tensor) {
        let angle = (random(&[tokens, half], 9, DType::F64) * 3.0).unwrap();
        (
            angle.cos().unwrap().to_dtype(dtype).unwrap(),
            angle.sin().unwrap().to_dtype(dtype).unwrap(),
        )
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let (cos, sin) = angles(3, 8, DType::F32);
        for bad in NOT_FINITE {
            let x = broken(&[3, 16], 1, 16 + 3, bad);
            assert_eq!(not_finite(&forward(x, &cos, &sin, 16).unwrap()), [0, 2, 0]);
        }
    }

    #[test]
    fn values_and_gradients_agree_with_the_reference() {
        for dtype in [DType::F32, DType::F64] {
            // Whole heads, then a part of each.
            for (tokens, heads, head_dim, half) in
                [(1, 1, 2, 1), (5, 3, 8, 4), (33, 2, 64, 32), (5, 3, 8, 1), (33, 2, 64, 12)]
            {
                let (cos, sin) = angles(tokens, half, dtype);
                let (x, dy) = (
                    random(&[tokens, heads * head_dim], 1, dtype),
                    random(&[tokens, heads * head_dim], 2, dtype),
                );
                let want = reference::rope(&x, &cos, &sin, head_dim).unwrap();
                let gradient = tape(&[&x], &dy, |t| reference::rope(&t[0], &cos, &sin, head_dim));
                assert_close(
                    "y",
                    &forward(x.copy().unwrap(), &cos, &sin, head_dim).unwrap(),
                    &want,
                    tolerance(dtype),
                );
                assert_close(
                    "dx",
                    &backward(dy.copy().unwrap(), &cos, &sin, head_dim).unwrap(),
                    &gradient[0],
                    tolerance(dtype),
                );
            }
        }
    }

    #[test]
    fn columns_that_do_not_divide_into_heads_are_refused() {
        let (cos, sin) = angles(2, 4, DType::F32);
        let x = || Tensor::zeros((2, 12), DType::F32, &Device::Cpu).unwrap();
        for head_dim in [0, 4, 6, 8, 24] {
            assert!(forward(x(), &cos, &sin, head_dim).is_err(), "{head_dim}");
        }
        forward(x(), &cos, &sin, 12).unwrap();
        let (cos, sin) = angles(3, 4, DType::F32); // of another number of tokens
        assert!(forward(x(), &cos, &sin, 12).is_err());
    }
}
