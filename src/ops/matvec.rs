//! The linear layer of a few rows, `y = x W^T`: the products of a decoding step.
//!
//! With few rows a product takes as long as reading the weights: the rows of `W` are split over the threads, and each is read once
//! for all rows of `x`. An element of `y` is one dot product in one order of additions, so a row's bits do not depend on how many
//! rows are computed with it. `gemm` does not promise that, nor does cuBLAS, which computes the product on a GPU.
//!
//! A product in bf16 is that of the same values in f32, rounded: the weight is widened in registers, so that half the bytes are read.

use candle_core::{CpuStorage, Device, InplaceOp3, Layout, Result, Tensor, WithDType, bail};
use half::bf16;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::ops::cpu::gemm::Tile;
use crate::ops::cpu::product::Multiplied;
use crate::ops::cpu::{self, Element, Real, on_cpu};
use crate::ops::linear;
use crate::ops::weight::Matrix;

/// `y = x W^T`; `x`: `[rows, in]`, `weight`: `[out, in]`. Returns `[rows, out]`.
pub fn forward<'a>(x: &Tensor, weight: impl Into<Matrix<'a>>) -> Result<Tensor> {
    let weight = weight.into();
    match x.device() {
        Device::Cpu => on_cpu!("matvec", x, T => forward_cpu::<T>(x, weight)),
        _ => linear::forward(x, weight),
    }
}

/// `y += scale * x W^T`, in place; shapes as in [`forward`]. All contiguous.
pub fn add(y: &Tensor, x: &Tensor, weight: &Tensor, scale: f64) -> Result<()> {
    match x.device() {
        Device::Cpu => y.inplace_op3(x, weight, &Add { scale }),
        _ => linear::add_product_transposed(y, x, weight, scale),
    }
}

fn forward_cpu<T: Dotted>(x: &Tensor, weight: Matrix<'_>) -> Result<Tensor> {
    let ((rows, from), (to, width)) = (x.dims2()?, weight.dims2()?);
    if from != width {
        bail!("matvec: [{rows}, {from}] does not multiply with a weight of [{to}, {width}]");
    }
    let (x, w) = (cpu::elements::<T>(x)?, weight.elements::<T>()?);
    let mut y = vec![T::zero(); rows * to];
    products(&mut y, &x, &w, from, |_, product| product);
    cpu::tensor(y, (rows, to))
}

struct Add {
    scale: f64,
}

impl InplaceOp3 for Add {
    fn name(&self) -> &'static str {
        "matvec add"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<()> {
        let x = Operand { storage: x, layout: x_layout };
        let w = Operand { storage: w, layout: w_layout };
        cpu::in_storage!("matvec add", y, T => self.add::<T>(y, y_layout, x, w))
    }
}

impl Add {
    fn add<T: Dotted>(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: Operand<'_>,
        w: Operand<'_>,
    ) -> Result<()> {
        let (rows, to) = y_layout.shape().dims2()?;
        let (x_rows, from) = x.layout.shape().dims2()?;
        if x_rows != rows || w.layout.shape().dims2()? != (to, from) {
            bail!(
                "matvec add: [{x_rows}, {from}] and a weight of {:?} do not give [{rows}, {to}]",
                w.layout.shape()
            );
        }
        let (x, w) = (x.elements::<T>()?, w.elements::<T>()?);
        let scale = T::Work::from_f64(self.scale);
        let y = cpu::elements_mut::<T>(y, y_layout)?;
        products(y, x, w, from, |y, product| Real::mul_add(product, scale, y));
        Ok(())
    }
}

/// A tensor that is read.
#[derive(Clone, Copy)]
struct Operand<'a> {
    storage: &'a CpuStorage,
    layout: &'a Layout,
}

impl<'a> Operand<'a> {
    fn elements<T: Element>(self) -> Result<&'a [T]> {
        let Some((from, to)) = self.layout.contiguous_offsets() else {
            bail!("matvec add: expected contiguous tensors");
        };
        Ok(&T::cpu_storage_as_slice(self.storage)?[from..to])
    }
}

/// Rows of the weight, and of `x`, whose products are computed together, in registers.
const TILE: usize = 4;

/// Multiplications below which a second thread costs more than it brings.
const SERIAL: usize = 64 * 1024;

/// Tasks for each thread, so that the others take over the tasks of a slow one.
const TASKS_PER_THREAD: usize = 4;

/// Replaces each element `y` of `[rows, out]` by `put(y, x . w)`. `width`: elements of a row of `x` and of `w`.
fn products<T: Dotted>(
    y: &mut [T],
    x: &[T],
    w: &[T],
    width: usize,
    put: impl Fn(T::Work, T::Work) -> T::Work + Sync,
) {
    if y.is_empty() || width == 0 {
        return y.iter_mut().for_each(|y| *y = T::rounded(put(y.value(), T::Work::ZERO)));
    }
    let (rows, to) = (x.len() / width, w.len() / width);
    let threads = rayon::current_num_threads();
    let tasks =
        if y.len() * width <= SERIAL || threads == 1 { 1 } else { threads * TASKS_PER_THREAD };
    let each = to.div_ceil(tasks).next_multiple_of(TILE);
    if each >= to {
        let mut parts: Vec<&mut [T]> = y.chunks_exact_mut(to).collect();
        return T::rows(&mut parts, x, w, width, &put);
    }
    // Part `i` of every row of `y` belongs to part `i` of the weight.
    let mut parts: Vec<Vec<&mut [T]>> =
        (0..to.div_ceil(each)).map(|_| Vec::with_capacity(rows)).collect();
    for row in y.chunks_exact_mut(to) {
        row.chunks_mut(each).zip(&mut parts).for_each(|(part, parts)| parts.push(part));
    }
    let parts = parts.into_par_iter().zip(w.par_chunks(each * width));
    parts.for_each(|(mut y, w)| T::rows(&mut y, x, w, width, &put));
}

/// An element whose rows are multiplied.
trait Dotted: Element {
    /// [`products`] of some rows of the weight on the calling thread; for each row of `x`, `y` has the elements that belong to them.
    fn rows(
        y: &mut [&mut [Self]],
        x: &[Self],
        w: &[Self],
        width: usize,
        put: &impl Fn(Self::Work, Self::Work) -> Self::Work,
    );
}

macro_rules! dotted_as_it_is {
    ($float:ty) => {
        impl Dotted for $float {
            fn rows(
                y: &mut [&mut [Self]],
                x: &[Self],
                w: &[Self],
                width: usize,
                put: &impl Fn(Self, Self) -> Self,
            ) {
                let put = |y: &mut Self, product| *y = put(*y, product);
                pulp::Arch::new().dispatch(Rows { y, x, w, width, put: &put });
            }
        }
    };
}
dotted_as_it_is!(f32);
dotted_as_it_is!(f64);

impl Dotted for bf16 {
    fn rows(
        y: &mut [&mut [Self]],
        x: &[Self],
        w: &[Self],
        width: usize,
        put: &impl Fn(f32, f32) -> f32,
    ) {
        let mut room = Vec::new();
        Self::in_work(Tile::rows(x, width), &mut room, y.len(), width);
        let put = |y: &mut Self, product| *y = Self::rounded(put(y.value(), product));
        pulp::Arch::new().dispatch(Rows { y, x: &room, w, width, put: &put });
    }
}

/// The products of all rows of `x` with some rows of the weight.
struct Rows<'a, 'b, T: Element, F> {
    /// For each row of `x`, the elements of `y` that belong to these rows of the weight.
    y: &'a mut [&'b mut [T]],
    x: &'a [T::Work],
    w: &'a [T],
    width: usize,
    /// Puts a product.
    put: &'a F,
}

impl<T: Weight, F: Fn(&mut T, T::Work)> WithSimd for Rows<'_, '_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let to = self.w.len() / self.width;
        let apart = to / TILE;
        for column in 0..apart {
            for row in (0..self.y.len()).step_by(TILE) {
                match self.y.len() - row {
                    TILE.. => self.tile::<S, TILE, TILE>(simd, row, column, apart),
                    3 => self.tile::<S, 3, TILE>(simd, row, column, apart),
                    2 => self.tile::<S, 2, TILE>(simd, row, column, apart),
                    _ => self.tile::<S, 1, TILE>(simd, row, column, apart),
                }
            }
        }
        for column in apart * TILE..to {
            for row in 0..self.y.len() {
                self.tile::<S, 1, 1>(simd, row, column, 0);
            }
        }
    }
}

impl<T: Weight, F: Fn(&mut T, T::Work)> Rows<'_, '_, T, F> {
    /// `M` rows of `x` from `row` on times the `N` rows of the weight `column`, `column + apart`, ... Each product has one register of
    /// partial sums, added up at the end, so that the order of its additions is the same in every tile.
    ///
    /// A stream of reads from each quarter of the weight goes on from tile to tile, and the processor fetches ahead of it; of rows that
    /// lie side by side each ends where the next begins, and is found anew each time.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
        apart: usize,
    ) {
        let width = self.width;
        let x: [_; M] =
            std::array::from_fn(|i| T::Float::split::<S>(&self.x[(row + i) * width..][..width]));
        let w: [_; N] = std::array::from_fn(|j| &self.w[(column + j * apart) * width..][..width]);
        let mut sums = [[T::Float::zeros(simd); N]; M];
        let blocks = x[0].0.len();
        let x_blocks: [_; M] = x.map(|(blocks_of, _)| &blocks_of[..blocks]);
        for block in 0..blocks {
            let w: [_; N] = std::array::from_fn(|j| T::block(simd, w[j], block));
            for (x, sums) in x_blocks.iter().zip(&mut sums) {
                for (w, sum) in w.iter().zip(sums) {
                    *sum = T::Float::fused(simd, x[block], *w, *sum);
                }
            }
        }
        let rest = x[0].1.len();
        if rest > 0 {
            let w: [_; N] = std::array::from_fn(|j| T::partial(simd, &w[j][width - rest..]));
            for ((_, x), sums) in x.iter().zip(&mut sums) {
                let x = <T::Float as Weight>::partial(simd, x);
                for (w, sum) in w.iter().zip(sums) {
                    *sum = T::Float::fused(simd, x, *w, *sum);
                }
            }
        }
        for (sums, y) in sums.iter().zip(&mut self.y[row..]) {
            for (j, sum) in sums.iter().enumerate() {
                (self.put)(&mut y[column + j * apart], T::Float::sum(simd, *sum));
            }
        }
    }
}

/// An element of a weight, read into registers of its type of work.
trait Weight: Element<Work = Self::Float> {
    type Float: Float + Weight<Float = Self::Float>;
    /// Register `block` of `row`, which has it whole.
    fn block<S: Simd>(simd: S, row: &[Self], block: usize) -> Register<Self, S>;
    /// A register of `rest`, fewer elements than it has, and zeros.
    fn partial<S: Simd>(simd: S, rest: &[Self]) -> Register<Self, S>;
}

/// A register of the type of work.
type Register<T, S> = <<T as Weight>::Float as Float>::Register<S>;

/// Most lanes of a register of f32.
const MOST_LANES: usize = 16;

impl Weight for bf16 {
    type Float = f32;
    #[inline(always)]
    fn block<S: Simd>(simd: S, row: &[Self], block: usize) -> S::f32s {
        Self::partial(simd, &row[block * S::F32_LANES..][..S::F32_LANES])
    }
    #[inline(always)]
    fn partial<S: Simd>(_: S, rest: &[Self]) -> S::f32s {
        let mut values = [0.0; MOST_LANES];
        values.iter_mut().zip(rest).for_each(|(value, x)| *value = x.value());
        S::as_simd_f32s(&values).0[0]
    }
}

/// A float type with its vector registers.
trait Float: Real {
    type Register<S: Simd>: Copy;
    fn zeros<S: Simd>(simd: S) -> Self::Register<S>;
    /// `a * b + c`.
    fn fused<S: Simd>(
        simd: S,
        a: Self::Register<S>,
        b: Self::Register<S>,
        c: Self::Register<S>,
    ) -> Self::Register<S>;
    fn sum<S: Simd>(simd: S, register: Self::Register<S>) -> Self;
    /// Whole registers, and the rest.
    fn split<S: Simd>(slice: &[Self]) -> (&[Self::Register<S>], &[Self]);
}

macro_rules! float {
    ($float:ty, $register:ident, $splat:ident, $fused:ident, $sum:ident, $split:ident, $partial:ident) => {
        impl Float for $float {
            type Register<S: Simd> = S::$register;
            #[inline(always)]
            fn zeros<S: Simd>(simd: S) -> S::$register {
                simd.$splat(0.0)
            }
            #[inline(always)]
            fn fused<S: Simd>(
                simd: S,
                a: S::$register,
                b: S::$register,
                c: S::$register,
            ) -> S::$register {
                simd.$fused(a, b, c)
            }
            #[inline(always)]
            fn sum<S: Simd>(simd: S, register: S::$register) -> Self {
                simd.$sum(register)
            }
            #[inline(always)]
            fn split<S: Simd>(slice: &[Self]) -> (&[S::$register], &[Self]) {
                S::$split(slice)
            }
        }
        impl Weight for $float {
            type Float = Self;
            #[inline(always)]
            fn block<S: Simd>(_: S, row: &[Self], block: usize) -> S::$register {
                S::$split(row).0[block]
            }
            #[inline(always)]
            fn partial<S: Simd>(simd: S, rest: &[Self]) -> S::$register {
                simd.$partial(rest)
            }
        }
    };
}
float!(f32, f32s, splat_f32s, mul_add_f32s, reduce_sum_f32s, as_simd_f32s, partial_load_f32s);
float!(f64, f64s, splat_f64s, mul_add_f64s, reduce_sum_f64s, as_simd_f64s, partial_load_f64s);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{NOT_FINITE, assert_close, broken, not_finite, random, tolerance};
    use candle_core::DType;

    #[test]
    fn what_is_not_finite_stays_so() {
        let w = random(&[41, 33], 2, DType::F32);
        for bad in NOT_FINITE {
            for column in [0, 32] {
                let x = broken(&[3, 33], 1, 33 + column, bad);
                assert_eq!(not_finite(&forward(&x, &w).unwrap()), [0, 41, 0]);
                let y = Tensor::zeros((3, 41), DType::F32, &Device::Cpu).unwrap();
                add(&y, &x, &w, 0.5).unwrap();
                assert_eq!(not_finite(&y), [0, 41, 0]);
            }
        }
    }

    #[test]
    fn values_agree_with_the_reference() {
        for dtype in [DType::F32, DType::F64] {
            for (rows, from, to) in [(1, 1, 1), (3, 33, 7), (5, 100, 1001), (9, 16, 4), (2, 7, 70)]
            {
                let (x, weight) = (random(&[rows, from], 1, dtype), random(&[to, from], 2, dtype));
                let want = x.matmul(&weight.t().unwrap()).unwrap();
                let y = forward(&x, &weight).unwrap();
                assert_close("y", &y, &want, tolerance(dtype));
                add(&y, &x, &weight, -0.5).unwrap();
                assert_close("y - y / 2", &y, &(want * 0.5).unwrap(), tolerance(dtype));
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_company() {
        for (from, to) in [(33, 7), (512, 300), (64, 2000)] {
            let (x, weight) =
                (random(&[11, from], 1, DType::F32), random(&[to, from], 2, DType::F32));
            let together = forward(&x, &weight).unwrap().to_vec2::<f32>().unwrap();
            for first in 0..11 {
                for rows in 1..=(11 - first) {
                    let part = x.narrow(0, first, rows).unwrap().contiguous().unwrap();
                    let alone = forward(&part, &weight).unwrap().to_vec2::<f32>().unwrap();
                    assert_eq!(alone, together[first..first + rows]);
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_multiply_are_refused() {
        let [x, weight, y] = [[2, 3], [5, 4], [2, 5]].map(|shape| random(&shape, 1, DType::F32));
        assert!(forward(&x, &weight).is_err());
        assert!(add(&y, &x, &weight, 1.0).is_err());
    }

    #[test]
    fn a_product_of_nothing_is_zero_and_a_product_with_nothing_is_empty() {
        let of = |shape: [usize; 2]| Tensor::zeros(&shape, DType::F32, &Device::Cpu).unwrap();
        let y = forward(&of([2, 0]), &of([5, 0])).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[0.0; 5]; 2]);
        assert_eq!(forward(&of([0, 3]), &of([5, 3])).unwrap().dims(), [0, 5]);
        assert_eq!(forward(&of([2, 3]), &of([0, 3])).unwrap().dims(), [2, 0]);
    }
}
