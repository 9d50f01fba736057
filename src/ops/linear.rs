//! The frozen linear layer `y = x W^T`, and products added in place: `y += scale * a b`.
//!
//! The weight is frozen: its gradient, a third of a tape's work, is never computed.

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, bail};

use crate::ops::cpu::block::Block;
use crate::ops::cpu::gemm::Tile;
use crate::ops::cpu::product::Multiplied;
pub use crate::ops::cpu::product::Products;
use crate::ops::cpu::{self, on_cpu};
#[cfg(feature = "cuda")]
use crate::ops::cuda::{self, Factor};
use crate::ops::weight::Matrix;

/// `y = x W^T`; `x`: `[tokens, in]`, `weight`: `[out, in]`. Returns `[tokens, out]`.
pub fn forward<'a>(x: &Tensor, weight: impl Into<Matrix<'a>>) -> Result<Tensor> {
    let weight = weight.into();
    match x.device() {
        Device::Cpu => on_cpu!("linear", x, T => product_cpu::<T>(x, weight, true)),
        _ => x.matmul(&weight.held()?.t()?),
    }
}

/// [`forward`] with an f32 result on a GPU whatever the dtype of its factors, as the output layer's logits have it.
pub fn forward_in_f32(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let shape = (x.dim(0)?, weight.dim(0)?);
        let y = cuda::empty(x.device(), candle_core::DType::F32, shape)?;
        cuda::gemm(&y, Factor::Plain(x), Factor::Transposed(weight), 1.0, 0.0)?;
        return Ok(y);
    }
    forward(x, weight)
}

/// `dx = dy W`; `dy`: `[tokens, out]`, `weight`: `[out, in]`. Returns `[tokens, in]`.
pub fn backward<'a>(dy: &Tensor, weight: impl Into<Matrix<'a>>) -> Result<Tensor> {
    let weight = weight.into();
    match dy.device() {
        Device::Cpu => on_cpu!("linear backward", dy, T => product_cpu::<T>(dy, weight, false)),
        _ => dy.matmul(weight.held()?),
    }
}

fn product_cpu<T: Multiplied>(a: &Tensor, b: Matrix<'_>, transposed: bool) -> Result<Tensor> {
    let ((m, k), (b_rows, b_columns)) = (a.dims2()?, b.dims2()?);
    let (b_k, n) = if transposed { (b_columns, b_rows) } else { (b_rows, b_columns) };
    if b_k != k {
        bail!("linear: [{m}, {k}] does not multiply with a weight of [{b_rows}, {b_columns}]");
    }
    let (a, elements) = (cpu::elements::<T>(a)?, b.elements::<T>()?);
    let b = b.factor(&elements, b_columns, transposed);
    cpu::tensor(T::product(m, k, n, Tile::rows(&a[..], k), b), (m, n))
}

/// `out += scale * a b`, in place; `a`: `[m, k]`, `b`: `[k, n]`, `out`: `[m, n]`. All contiguous.
pub fn add_product<'a>(
    out: &Tensor,
    a: &Tensor,
    b: impl Into<Matrix<'a>>,
    scale: f64,
) -> Result<()> {
    let b = b.into();
    #[cfg(feature = "cuda")]
    if out.device().is_cuda() {
        return cuda::gemm(out, Factor::Plain(a), Factor::Plain(b.held()?), scale, 1.0);
    }
    out.inplace_op2(a, &AddProduct { b, scale, transposed: false })
}

/// `out += scale * a b^T`, in place; `a`: `[m, k]`, `b`: `[n, k]`, `out`: `[m, n]`. All contiguous.
pub fn add_product_transposed(out: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> Result<()> {
    #[cfg(feature = "cuda")]
    if out.device().is_cuda() {
        return cuda::gemm(out, Factor::Plain(a), Factor::Transposed(b), scale, 1.0);
    }
    out.inplace_op2(a, &AddProduct { b: b.into(), scale, transposed: true })
}

/// `scale * dy W`, as [`backward`].
pub fn scaled_backward(dy: &Tensor, weight: &Tensor, scale: f64) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if dy.device().is_cuda() {
        let dx = cuda::empty(dy.device(), dy.dtype(), (dy.dim(0)?, weight.dim(1)?))?;
        cuda::gemm(&dx, Factor::Plain(dy), Factor::Plain(weight), scale, 0.0)?;
        return Ok(dx);
    }
    if dy.dtype() == DType::BF16 {
        // Rounded once, after the scale.
        let dx = Tensor::zeros((dy.dim(0)?, weight.dim(1)?), dy.dtype(), dy.device())?;
        add_product(&dx, dy, weight, scale)?;
        return Ok(dx);
    }
    backward(dy, weight)? * scale
}

/// Gradient of a weight, `scale * dy^T x`; `dy`: `[tokens, out]`, `x`: `[tokens, in]`. Returns `[out, in]`, f32 where these are bf16.
pub fn weight_gradient(dy: &Tensor, x: &Tensor, scale: f64) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if dy.device().is_cuda() {
        let gradient = cuda::empty(dy.device(), candle_core::DType::F32, (dy.dim(1)?, x.dim(1)?))?;
        cuda::gemm(&gradient, Factor::Transposed(dy), Factor::Plain(x), scale, 0.0)?;
        return Ok(gradient);
    }
    on_cpu!("weight gradient", dy, T => gradient_cpu::<T>(dy, x))? * scale
}

fn gradient_cpu<T: Multiplied>(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    let ((tokens, out), (rows, from)) = (dy.dims2()?, x.dims2()?);
    if rows != tokens {
        bail!("weight gradient: {tokens} rows of a gradient, {rows} of an input");
    }
    let (dy, x) = (cpu::elements::<T>(dy)?, cpu::elements::<T>(x)?);
    let x = Tile::rows(&x[..], from).into();
    let sums = T::sums(out, tokens, from, Tile::rows(&dy[..], out).t(), x);
    cpu::tensor(sums, (out, from))
}

struct AddProduct<'a> {
    /// Of other memory than what is added to.
    b: Matrix<'a>,
    scale: f64,
    transposed: bool,
}

impl InplaceOp2 for AddProduct<'_> {
    fn name(&self) -> &'static str {
        "add_product"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
    ) -> Result<()> {
        cpu::in_storage!("add_product", out, T => self.add::<T>(out, out_layout, a, a_layout))
    }
}

impl AddProduct<'_> {
    fn add<T: Multiplied>(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
    ) -> Result<()> {
        let (m, n) = out_layout.shape().dims2()?;
        let (a_rows, k) = a_layout.shape().dims2()?;
        let (b_rows, b_columns) = self.b.dims2()?;
        let expected = if self.transposed { (n, k) } else { (k, n) };
        if a_rows != m || (b_rows, b_columns) != expected {
            bail!(
                "add_product: [{a_rows}, {k}] times [{b_rows}, {b_columns}] does not give [{m}, {n}]"
            );
        }
        let Some((a_from, a_to)) = a_layout.contiguous_offsets() else {
            bail!("add_product: expected contiguous tensors");
        };
        let a = Tile::rows(&T::cpu_storage_as_slice(a)?[a_from..a_to], k);
        let elements = self.b.elements::<T>()?;
        let b = self.b.factor(&elements, b_columns, self.transposed);
        let out = cpu::elements_mut::<T>(out, out_layout)?;
        T::add_product(Block::of(out, n), k, a, b, self.scale);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{
        NOT_FINITE, assert_close, broken, not_finite, random, tape, tolerance,
    };
    use candle_core::DType;

    #[test]
    fn what_is_not_finite_stays_so() {
        let (x, w) = (random(&[9, 33], 1, DType::F32), random(&[40, 33], 2, DType::F32));
        for bad in NOT_FINITE {
            let rows = forward(&broken(&[9, 33], 1, 8 * 33 + 32, bad), &w).unwrap();
            assert_eq!(not_finite(&rows)[7..], [0, 40]);
            let columns = forward(&x, &broken(&[40, 33], 2, 39 * 33, bad)).unwrap();
            assert_eq!(not_finite(&columns), [1; 9]);
            let out = Tensor::zeros((9, 33), DType::F32, &Device::Cpu).unwrap();
            add_product(&out, &broken(&[9, 40], 3, 40, bad), &w, 0.5).unwrap();
            assert_eq!(not_finite(&out)[..3], [0, 33, 0]);
        }
    }

    #[test]
    fn values_and_gradients_agree_with_the_reference() {
        for dtype in [DType::F32, DType::F64] {
            for (tokens, from, to) in [(1, 1, 1), (5, 33, 7), (65, 100, 40)] {
                let (x, weight, dy) = (
                    random(&[tokens, from], 1, dtype),
                    random(&[to, from], 2, dtype),
                    random(&[tokens, to], 3, dtype),
                );
                let want = tape(&[&x], &dy, |t| t[0].matmul(&weight.t()?));
                assert_close("dx", &backward(&dy, &weight).unwrap(), &want[0], tolerance(dtype));

                let y = forward(&x, &weight).unwrap();
                let twice = y.copy().unwrap();
                add_product_transposed(&twice, &x, &weight, 0.5).unwrap();
                assert_close("y + y / 2", &twice, &(&y * 1.5).unwrap(), tolerance(dtype));
                let dx = random(&[tokens, from], 4, dtype);
                let want = (&dx + (&want[0] * 3.0).unwrap()).unwrap();
                add_product(&dx, &dy, &weight, 3.0).unwrap();
                assert_close("dx + 3 dy W", &dx, &want, tolerance(dtype));
                let got = scaled_backward(&dy, &weight, 0.5).unwrap();
                let want = (backward(&dy, &weight).unwrap() * 0.5).unwrap();
                assert_close("dy W / 2", &got, &want, tolerance(dtype));
                let want = tape(&[&weight], &dy, |t| x.matmul(&t[0].t()?));
                let got = (weight_gradient(&dy, &x, 2.0).unwrap() / 2.0).unwrap();
                assert_close("dW", &got, &want[0], tolerance(dtype));
            }
        }
    }

    #[test]
    fn shapes_that_do_not_multiply_are_refused() {
        let [a, b, out] = [[2, 3], [4, 5], [2, 5]].map(|shape| random(&shape, 1, DType::F32));
        assert!(add_product(&out, &a, &b, 1.0).is_err());
        // Weights with more elements than the product would read.
        assert!(forward(&a, &b).is_err());
        assert!(backward(&a, &b).is_err());
    }
}
