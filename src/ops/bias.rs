//! The bias of a linear layer: `y[t] + bias` for every row, in place.
//!
//! The bias is frozen, so the gradient of `y` passes unchanged: `dy -> dy`.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use crate::ops::cpu::{self, Element};

/// Adds `bias` to every row of `y`, in place.
///
/// - `y`: `[tokens, out]`, overwritten: pass a tensor that nothing else reads.
/// - `bias`: `[out]`, of `y`'s dtype. Refuses another length.
pub fn forward(y: Tensor, bias: &Tensor) -> Result<Tensor> {
    let ((tokens, out), given) = (y.dims2()?, bias.dims1()?);
    if given != out {
        bail!("bias: {given} elements for {tokens} rows of {out}");
    }
    #[cfg(feature = "cuda")]
    if y.device().is_cuda() {
        launch::forward(&y, bias)?;
        return Ok(y);
    }
    y.inplace_op2(bias, &Add)?;
    Ok(y)
}

/// The gradient of the product under a frozen bias is that of the sum.
pub fn backward(dy: Tensor) -> Tensor {
    dy
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "bias"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        cpu::in_storage!("bias", y, T => add_cpu::<T>(y, layout, bias, bias_layout))
    }
}

fn add_cpu<T: Element>(
    y: &mut CpuStorage,
    layout: &Layout,
    bias: &CpuStorage,
    bias_layout: &Layout,
) -> Result<()> {
    let (_, out) = layout.shape().dims2()?;
    let Some((from, to)) = bias_layout.contiguous_offsets() else {
        bail!("bias: expected a contiguous tensor");
    };
    let bias = &T::cpu_storage_as_slice(bias)?[from..to];
    let rows = cpu::rows_per_task(out);
    cpu::elements_mut::<T>(y, layout)?.par_chunks_mut(rows * out).for_each(|data| {
        cpu::vectorised(
            #[inline(always)]
            || {
                for row in data.chunks_exact_mut(out) {
                    for (y, bias) in row.iter_mut().zip(bias) {
                        *y = T::rounded(y.value() + bias.value());
                    }
                }
            },
        );
    });
    Ok(())
}

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{Result, Tensor};

    use crate::ops::cuda::{self, Module, THREADS};

    const MODULE: Module = cuda::module!("bias");

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn forward(y: &Tensor, bias: &Tensor) -> Result<()> {
        let ((tokens, out), dtype) = (y.dims2()?, y.dtype());
        let launch = MODULE
            .launch("bias_add", y)?
            .tensor(y, dtype, &[tokens, out])?
            .tensor(bias, dtype, &[out])?
            .count(out)?;
        let blocks = cuda::blocks(out, cuda::wide(dtype));
        // SAFETY: the parameters of `bias_add`; each thread overwrites the elements that it alone has read.
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
    use candle_core::DType;

    #[test]
    fn values_and_gradients_agree_with_the_reference() {
        for dtype in [DType::F32, DType::F64] {
            // Also more elements than one task takes.
            for (tokens, out) in [(1, 1), (5, 33), (70, 1000)] {
                let [y, dy] = [1, 2].map(|seed| random(&[tokens, out], seed, dtype));
                let bias = random(&[out], 3, dtype);
                let want = reference::bias(&y, &bias).unwrap();
                let got = forward(y.copy().unwrap(), &bias).unwrap();
                assert_close("y", &got, &want, tolerance(dtype));
                let want = tape(&[&y], &dy, |t| reference::bias(&t[0], &bias));
                assert_close("dy", &backward(dy.copy().unwrap()), &want[0], tolerance(dtype));
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so_and_another_length_is_refused() {
        let bias = random(&[40], 3, DType::F32);
        for bad in NOT_FINITE {
            let y = forward(broken(&[3, 40], 1, 79, bad), &bias).unwrap();
            assert_eq!(not_finite(&y), [0, 1, 0]);
            let bad = broken(&[1, 40], 1, 39, bad).reshape(40).unwrap();
            assert_eq!(
                not_finite(&forward(random(&[3, 40], 1, DType::F32), &bad).unwrap()),
                [1; 3]
            );
        }
        for other in [1, 39, 41, 120] {
            assert!(
                forward(random(&[3, 40], 1, DType::F32), &random(&[other], 2, DType::F32)).is_err()
            );
        }
    }
}
