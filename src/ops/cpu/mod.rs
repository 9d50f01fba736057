//! What the CPU bodies share: borrowing a tensor's elements, the types of an element, and reductions the compiler vectorises.
//!
//! Loops run inside [`vectorised`], which compiles them for the widest vectors of the machine; its closure and every function
//! called there must be `#[inline(always)]`, or they stay at the baseline, where a fused multiply-add is a library call.

mod amx;
pub(super) mod block;
pub(super) mod gemm;
mod packed;
mod packing;
mod pairs;
pub(super) mod product;

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, Result, Storage, StorageRef, Tensor, WithDType, bail};
use half::bf16;
use rayon::prelude::*;

/// Independent partial sums of a reduction: fills two AVX-512 registers of f32.
pub(super) const LANES: usize = 32;

/// An element as memory has it. The bodies read it by [`Element::value`], compute in [`Element::Work`] and round each result once, as the
/// kernels do with `value` and `rounded` of `element.cuh`.
pub(super) trait Element: WithDType + InPlace {
    /// The type that is computed in: f32 for bf16, its own for f32 and f64.
    type Work: Real;
    /// The element in the type of work, exactly.
    fn value(self) -> Self::Work;
    /// `x` rounded to nearest, ties to even; NaN stays NaN.
    fn rounded(x: Self::Work) -> Self;
    /// Every element of `all` rounded; the same memory where nothing is.
    fn all_rounded(all: Vec<Self::Work>) -> Vec<Self>;
}

macro_rules! works_in_itself {
    ($float:ty) => {
        impl Element for $float {
            type Work = Self;
            #[inline(always)]
            fn value(self) -> Self {
                self
            }
            #[inline(always)]
            fn rounded(x: Self) -> Self {
                x
            }
            fn all_rounded(all: Vec<Self>) -> Vec<Self> {
                all
            }
        }
    };
}
works_in_itself!(f32);
works_in_itself!(f64);

impl Element for bf16 {
    type Work = f32;
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    /// Without a branch, so that loops of it vectorise.
    #[inline(always)]
    fn rounded(x: f32) -> Self {
        let bits = x.to_bits();
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        let nan = bits & 0x7fff_ffff > 0x7f80_0000;
        Self::from_bits((if nan { bits | 0x40_0000 } else { nearest } >> 16) as u16)
    }
    fn all_rounded(all: Vec<f32>) -> Vec<Self> {
        let rounded = |x: &f32| Self::rounded(*x);
        all.par_chunks(rows_per_task(1)).flat_map_iter(|some| some.iter().map(rounded)).collect()
    }
}

/// The float types that are computed in: f32, and f64 for tests in exact arithmetic.
pub(super) trait Real:
    Element<Work = Self> + std::ops::Neg<Output = Self> + Default
{
    const ZERO: Self;
    const ONE: Self;
    /// `exp(self)`.
    fn exp(self) -> Self;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// The larger of two. Either of them if one is NaN: the exponentials taken next turn the row into NaN anyway.
    fn max(self, other: Self) -> Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    /// Within 2 units in the last place on `[-87, 88]`; 0 below, infinite above. Branch-free, so that loops of it vectorise.
    ///
    /// `exp(x) = 2^n exp(r)` with `n = round(x / ln 2)` and `|r| <= ln 2 / 2`, `exp(r)` by its Taylor polynomial of degree 7.
    #[inline(always)]
    fn exp(self) -> Self {
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        // Adding 1.5 * 2^23 rounds the sum to a whole number in its low bits. Rust's saturating conversion would not vectorise.
        const WHOLE: f32 = 12_582_912.0;
        let x = self.clamp(-87.4, 88.8);
        let shifted = f32::mul_add(x, std::f32::consts::LOG2_E, WHOLE);
        let n = shifted - WHOLE;
        let r = f32::mul_add(n, -LN2_LOW, f32::mul_add(n, -LN2_HIGH, x));
        let mut p = 1.0 / 5040.0;
        for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = f32::mul_add(p, r, c);
        }
        // Two halves, since 2^n alone leaves the range of f32 at n = 128 and below -126.
        let n = shifted.to_bits().wrapping_sub(WHOLE.to_bits()) as i32;
        let half = n >> 1;
        let scale = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
        let y = p * scale(half) * scale(n.wrapping_sub(half));
        if self < -87.4 {
            0.0
        } else if self > 88.8 {
            f32::INFINITY
        } else {
            y
        }
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f64::mul_add(self, a, b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
}

/// The elements of a contiguous matrix on the CPU, borrowed.
pub(super) enum Elements<'a, T> {
    /// Those in `range` of a tensor's storage.
    Held { storage: StorageRef<'a>, range: Range<usize> },
    /// Where they lie.
    Lent(&'a [T]),
}

impl<T: WithDType> Deref for Elements<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Self::Lent(all) => all,
            Self::Held { storage, range } => match &**storage {
                Storage::Cpu(cpu) => {
                    T::cpu_storage_as_slice(cpu).map(|all| &all[range.clone()]).unwrap_or_default()
                }
                _ => &[],
            },
        }
    }
}

/// Borrows the elements of `tensor`, which must lie on the CPU, be contiguous and hold `T`.
pub(super) fn elements<T: WithDType>(tensor: &Tensor) -> Result<Elements<'_, T>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((from, to)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor, got strides {:?}", layout.stride())
    };
    match &*storage {
        Storage::Cpu(cpu) => T::cpu_storage_as_slice(cpu)?,
        _ => bail!("expected a tensor on the cpu, got one on {:?}", tensor.device().location()),
    };
    Ok(Elements::Held { storage, range: from..to })
}

/// The elements of a contiguous CPU storage, for operations in place.
pub(super) fn elements_mut<'a, T: Element>(
    storage: &'a mut CpuStorage,
    layout: &candle_core::Layout,
) -> Result<&'a mut [T]> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor, got strides {:?}", layout.stride())
    };
    Ok(&mut T::slice_mut(storage)?[from..to])
}

/// Float types whose CPU storage can be borrowed mutably.
pub(super) trait InPlace: Sized {
    /// All elements of `storage`.
    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

macro_rules! in_place {
    ($float:ty, $variant:ident) => {
        impl InPlace for $float {
            fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(all) => Ok(all),
                    other => bail!(
                        "expected {:?}, got {:?}",
                        <$float>::DTYPE,
                        candle_core::backend::BackendStorage::dtype(other)
                    ),
                }
            }
        }
    };
}
in_place!(f32, F32);
in_place!(f64, F64);
in_place!(bf16, BF16);

/// A CPU tensor made of `data`, without a copy.
pub(super) fn tensor<T: WithDType, S: Into<candle_core::Shape>>(
    data: Vec<T>,
    shape: S,
) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// The error for a device or a dtype without a body.
pub(super) fn unsupported(name: &str, tensor: &Tensor) -> Result<Tensor> {
    bail!(
        "{name}: expected bf16, f32 or f64 on the cpu, got {:?} on {:?}",
        tensor.dtype(),
        tensor.device().location()
    )
}

/// Runs the CPU body of an operation for the [`Element`] of `tensor`.
macro_rules! on_cpu {
    ($name:literal, $tensor:expr, $float:ident => $body:expr) => {
        match ($tensor.device(), $tensor.dtype()) {
            (candle_core::Device::Cpu, candle_core::DType::BF16) => {
                type $float = half::bf16;
                $body
            }
            (candle_core::Device::Cpu, candle_core::DType::F32) => {
                type $float = f32;
                $body
            }
            (candle_core::Device::Cpu, candle_core::DType::F64) => {
                type $float = f64;
                $body
            }
            _ => Err(crate::ops::cpu::unsupported($name, $tensor)
                .err()
                .unwrap_or_else(|| candle_core::Error::msg($name))),
        }
    };
}
pub(super) use on_cpu;

/// Runs the CPU body of an operation in place for the [`Element`] of `storage`.
macro_rules! in_storage {
    ($name:literal, $storage:expr, $float:ident => $body:expr) => {
        match $storage {
            candle_core::CpuStorage::BF16(_) => {
                type $float = half::bf16;
                $body
            }
            candle_core::CpuStorage::F32(_) => {
                type $float = f32;
                $body
            }
            candle_core::CpuStorage::F64(_) => {
                type $float = f64;
                $body
            }
            _ => candle_core::bail!(concat!($name, ": expected bf16, f32 or f64 on the cpu")),
        }
    };
}
pub(super) use in_storage;

/// Runs the body of an operation for the device and the dtype of `tensor`: the CPU's for its [`Element`], or the launch.
macro_rules! on_device {
    ($name:literal, $tensor:expr, $float:ident => $cpu:expr, cuda => $launch:expr) => {
        match ($tensor.device(), $tensor.dtype()) {
            #[cfg(feature = "cuda")]
            (candle_core::Device::Cuda(_), _) => $launch,
            _ => crate::ops::cpu::on_cpu!($name, $tensor, $float => $cpu),
        }
    };
}
pub(super) use on_device;

/// Runs `body` compiled for the widest vectors of this machine.
#[inline(always)]
pub(super) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    struct Body<F>(F);
    impl<R, F: FnOnce() -> R> pulp::WithSimd for Body<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, simd: S) -> R {
            simd.vectorize(Inner(self.0))
        }
    }
    struct Inner<F>(F);
    impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Inner<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Body(body))
}

/// `rest` filled up to a whole block, so that the end of a row is as fast as its middle.
#[inline(always)]
fn filled<T: Real>(rest: &[T], filling: T) -> [T; LANES] {
    let mut block = [filling; LANES];
    block[..rest.len()].copy_from_slice(rest);
    block
}

/// Dot product, in the type of work.
#[inline(always)]
pub(super) fn dot<T: Element>(a: &[T], b: &[T]) -> T::Work {
    let mut lanes = [T::Work::ZERO; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane].value() * b[lane].value();
        }
    }
    let rest = a_rest.iter().zip(b_rest);
    let rest = rest.fold(T::Work::ZERO, |total, (a, b)| total + a.value() * b.value());
    lanes.iter().fold(rest, |total, &lane| total + lane)
}

/// Largest element; negative infinity of an empty slice.
#[inline(always)]
pub(super) fn max_of<T: Real>(a: &[T]) -> T {
    let lowest = T::from_f64(f64::NEG_INFINITY);
    let (blocks, rest) = a.as_chunks::<LANES>();
    let mut lanes = filled(rest, lowest);
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = Real::max(lanes[lane], block[lane]);
        }
    }
    lanes.iter().fold(lowest, |m, &x| Real::max(m, x))
}

/// Replaces each `x` by `exp(x * scale - shift)` and returns the sum of the results.
#[inline(always)]
pub(super) fn exp_in_place<T: Real>(row: &mut [T], scale: T, shift: T) -> T {
    let mut lanes = [T::zero(); LANES];
    let (blocks, rest) = row.as_chunks_mut::<LANES>();
    for block in blocks {
        exp_block(block, &mut lanes, scale, shift);
    }
    let mut last = filled(rest, T::from_f64(f64::NEG_INFINITY));
    exp_block(&mut last, &mut lanes, scale, shift);
    rest.copy_from_slice(&last[..rest.len()]);
    lanes.iter().fold(T::zero(), |total, &lane| total + lane)
}

#[inline(always)]
fn exp_block<T: Real>(block: &mut [T; LANES], lanes: &mut [T; LANES], scale: T, shift: T) {
    for (x, lane) in block.iter_mut().zip(lanes) {
        *x = Real::exp(Real::mul_add(*x, scale, -shift));
        *lane += *x;
    }
}

/// Row `i` of a matrix with rows of `width` elements.
#[inline(always)]
pub(super) fn row<T>(matrix: &[T], i: usize, width: usize) -> &[T] {
    &matrix[i * width..][..width]
}

/// How many rows of `width` elements one parallel task takes: about 32 Ki elements, so that a task outlasts its scheduling.
pub(super) fn rows_per_task(width: usize) -> usize {
    (32 * 1024 / width.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0f64;
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let (got, want) = (f64::from(Real::exp(x)), f64::from(x).exp());
            worst = worst.max((got - want).abs() / want);
        }
        assert!(worst <= 2.0 * f64::from(f32::EPSILON), "{worst:e}");
    }

    #[test]
    fn fast_exp_saturates_and_keeps_nan() {
        assert_eq!(Real::exp(-1e30f32).to_bits(), 0);
        assert_eq!(Real::exp(f32::NEG_INFINITY).to_bits(), 0);
        assert!(Real::exp(f32::INFINITY).is_infinite());
        assert!(Real::exp(f32::NAN).is_nan());
        assert_eq!(Real::exp(0f32).to_bits(), 1f32.to_bits());
    }

    /// By the definition: of the two neighbours the nearer, of two equally near the even one.
    #[test]
    fn bf16_is_rounded_to_nearest_with_ties_to_even() {
        let near = |x: f32| f64::from(bf16::rounded(x).value());
        for bits in (0..u32::MAX).step_by(9973).chain([0x3f80_8000, 0x3f81_8000, 0x7f7f_ffff]) {
            let x = f32::from_bits(bits);
            assert_eq!(x.is_nan(), bf16::rounded(x).value().is_nan(), "{bits:x}");
            assert_eq!(bf16::rounded(x).to_bits(), bf16::from_f32(x).to_bits(), "{bits:x}");
        }
        // Half way between two neighbours, the even one is below and above.
        let half_ways = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0].map(near);
        assert!(
            half_ways
                .iter()
                .zip([1.0, 1.0 + 4.0 / 256.0])
                .all(|(got, want)| got.total_cmp(&want).is_eq())
        );
        assert!(bf16::rounded(f32::MAX).value().is_infinite());
    }

    #[test]
    fn reductions_take_the_rest_of_a_block() {
        for n in [0, 1, LANES - 1, LANES, LANES + 1, 100] {
            let a: Vec<f64> = (0..n).map(|i| i as f64 - 3.0).collect();
            let want: f64 = a.iter().map(|x| x * x).sum();
            assert!(
                (vectorised(
                    #[inline(always)]
                    || dot(&a, &a)
                ) - want)
                    .abs()
                    <= 1e-9
            );
            assert_eq!(
                max_of(&a).to_bits(),
                a.iter().copied().fold(f64::NEG_INFINITY, f64::max).to_bits()
            );
        }
    }
}
