//! Numbers as a kernel has them in memory, in the dtype under test, and one comparison.

use candle_core::{DType, Device, Tensor};
use mvpbench::ops::philox::Philox;

use super::Argument;

/// The dtypes that every kernel is compiled for, and how their kernels' names end.
pub(crate) const DTYPES: [(DType, &str); 2] = [(DType::F32, "float"), (DType::BF16, "bf16")];

/// An array of f32 or bf16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Elements {
    /// Bits of f32, so that equality is of bits.
    F32(Vec<u32>),
    /// Bits of bf16.
    Bf16(Vec<u16>),
}

impl Elements {
    /// `values`, rounded to `dtype`.
    pub(crate) fn of(dtype: DType, values: &[f64]) -> Self {
        let rounded = Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let bits = rounded.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        let bits = bits.into_iter().map(f32::to_bits);
        match dtype {
            DType::BF16 => Self::Bf16(bits.map(|bits| (bits >> 16) as u16).collect()),
            _ => Self::F32(bits.collect()),
        }
    }

    /// `n` values in about ±1, one in 17 of them an outlier in about ±20; the same for the same `seed`.
    pub(crate) fn random(dtype: DType, n: usize, seed: u64) -> Self {
        let philox = Philox::new(seed, 0);
        let scale = |i| if i % 17 == 5 { 20.0 } else { 1.0 };
        let values: Vec<f64> =
            (0..n).map(|i| (philox.uniform(i as u64) * 2.0 - 1.0) * scale(i)).collect();
        Self::of(dtype, &values)
    }

    /// `n` times NaN: what a kernel does not write stays that.
    pub(crate) fn unwritten(dtype: DType, n: usize) -> Self {
        Self::of(dtype, &vec![f64::NAN; n])
    }

    /// The values, in f64.
    pub(crate) fn values(&self) -> Vec<f64> {
        let value = |bits: u32| f64::from(f32::from_bits(bits));
        match self {
            Self::F32(bits) => bits.iter().map(|&bits| value(bits)).collect(),
            Self::Bf16(bits) => bits.iter().map(|&bits| value(u32::from(bits) << 16)).collect(),
        }
    }

    /// The values as an f64 tensor.
    pub(crate) fn tensor(&self, shape: &[usize]) -> Tensor {
        Tensor::from_vec(self.values(), shape, &Device::Cpu).unwrap()
    }

    pub(crate) fn read(&self) -> Argument<'_> {
        match self {
            Self::F32(bits) => Argument::read(bits),
            Self::Bf16(bits) => Argument::read(bits),
        }
    }

    pub(crate) fn write(&mut self) -> Argument<'_> {
        match self {
            Self::F32(bits) => Argument::write(bits),
            Self::Bf16(bits) => Argument::write(bits),
        }
    }

    /// Fails unless each value is the wanted one, rounded once: half a unit in the last place of bf16, and `tolerance` of the
    /// largest wanted magnitude for the arithmetic in f32. NaN is never close.
    #[track_caller]
    pub(crate) fn assert_close(&self, what: &str, want: &Tensor, tolerance: f64) {
        let want = want.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
        let want = want.to_vec1::<f64>().unwrap();
        let got = self.values();
        assert_eq!(got.len(), want.len(), "{what}: elements");
        let rounding = match self {
            Self::F32(_) => 0.0,
            Self::Bf16(_) => 1.0 / 256.0, // 2^-9 of the power of two above
        };
        let scale = want.iter().fold(0.1, |most: f64, want| most.max(want.abs()));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let (error, allowed) = ((got - want).abs(), rounding * want.abs() + tolerance * scale);
            assert!(
                error <= allowed,
                "{what}[{i}]: got {got}, expected {want}, off by {error:e} of {allowed:e}"
            );
        }
    }
}

/// Largest error of f32 arithmetic as a share of the largest expected magnitude.
pub(crate) const TOLERANCE: f64 = 5e-6;

#[test]
#[should_panic(expected = "y[1]: got NaN")]
fn a_nan_is_never_close_to_what_was_wanted() {
    let want = Tensor::new(&[1.0f64, 2.0], &Device::Cpu).unwrap();
    Elements::of(DType::BF16, &[1.0, f64::NAN]).assert_close("y", &want, 1e9);
}

#[test]
#[should_panic(expected = "y[0]")]
fn an_error_of_two_roundings_is_not_close() {
    let want = Tensor::new(&[1.0f64], &Device::Cpu).unwrap();
    Elements::of(DType::BF16, &[1.0 + 2.0 / 128.0]).assert_close("y", &want, TOLERANCE);
}
