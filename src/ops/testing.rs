//! What the operations' tests share: inputs, finite differences, candle's tape as the reference, and one comparison.

use candle_core::{DType, Device, Result, Tensor};

use crate::ops::philox::Philox;
use crate::ops::reference;

/// `n` values in about ±1, one in 17 of them an outlier in about ±20; the same for the same `seed`.
pub(crate) fn values(n: usize, seed: u64) -> Vec<f64> {
    let philox = Philox::new(seed, 0);
    (0..n)
        .map(|i| (philox.uniform(i as u64) * 2.0 - 1.0) * if i % 17 == 5 { 20.0 } else { 1.0 })
        .collect()
}

/// A tensor of [`values`].
pub(crate) fn random(shape: &[usize], seed: u64, dtype: DType) -> Tensor {
    Tensor::from_vec(values(shape.iter().product(), seed), shape, &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

/// Values that an operation must not turn into a finite number.
pub(crate) const NOT_FINITE: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// A tensor of [`values`] with `bad` as the element `at`, f32.
pub(crate) fn broken(shape: &[usize], seed: u64, at: usize, bad: f32) -> Tensor {
    let mut values: Vec<f32> =
        values(shape.iter().product(), seed).into_iter().map(|x| x as f32).collect();
    values[at] = bad;
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// How many elements of each row of a matrix are not finite.
pub(crate) fn not_finite(matrix: &Tensor) -> Vec<usize> {
    let rows = matrix.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
    rows.iter().map(|row| row.iter().filter(|x| !x.is_finite()).count()).collect()
}

/// Fails where `want`, computed in f64, is not finite and `got` is.
#[track_caller]
pub(crate) fn assert_not_swallowed(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!((got.dims(), want.dtype()), (want.dims(), DType::F64), "{what}");
    let flat = |t: &Tensor| {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    for (i, (got, want)) in flat(got).into_iter().zip(flat(want)).enumerate() {
        assert!(want.is_finite() || !got.is_finite(), "{what}[{i}]: expected {want}, got {got}");
    }
}

/// One table of tolerances: largest error as a share of the largest expected magnitude.
pub(crate) fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-12,
        DType::F32 => 5e-6,
        _ => 2e-2,
    }
}

/// Index of the worst element of `got` that is not within `tolerance * scale` of `want`. NaN is never close.
fn worst(got: &[f64], want: &[f64], tolerance: f64, scale: f64) -> Option<usize> {
    let error = |i: usize| (got[i] - want[i]).abs();
    let close = |i: usize| error(i) <= tolerance * scale; // false for NaN
    let far = (0..got.len()).filter(|&i| !close(i));
    far.max_by(|&a, &b| error(a).total_cmp(&error(b)))
}

/// Fails unless every element of `got` is within `tolerance` of `want`, relative to the largest `|want|`.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims(), "{what}: shape");
    let flat = |t: &Tensor| {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    let (got, want) = (flat(got), flat(want));
    let scale = want.iter().fold(0.1, |m: f64, w| m.max(w.abs()));
    if let Some(i) = worst(&got, &want, tolerance, scale) {
        panic!(
            "{what}[{i}]: got {}, expected {}, tolerance {tolerance:e} of {scale}",
            got[i], want[i]
        );
    }
}

/// Gradient of `sum(weights * f(x))` with respect to the f64 tensor `x`, by central differences.
pub(crate) fn finite_difference(
    x: &Tensor,
    weights: &Tensor,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Tensor {
    let base = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let loss = |values: Vec<f64>| -> f64 {
        let y = f(&Tensor::from_vec(values, x.dims(), &Device::Cpu).unwrap()).unwrap();
        (y * weights).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
    };
    let gradient = (0..base.len()).map(|i| {
        let step = 1e-5 * base[i].abs().max(1.0);
        let moved = |by: f64| {
            let mut values = base.clone();
            values[i] += by;
            loss(values)
        };
        (moved(step) - moved(-step)) / (2.0 * step)
    });
    Tensor::from_vec(gradient.collect::<Vec<_>>(), x.dims(), &Device::Cpu).unwrap()
}

/// Gradients of `sum(weights * f(inputs))` by candle's tape; `f` must be a composition that keeps the graph.
pub(crate) fn tape(
    inputs: &[&Tensor],
    weights: &Tensor,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<Tensor> {
    reference::gradients(inputs, weights, f).unwrap()
}

#[test]
fn a_nan_is_never_close() {
    assert_eq!(worst(&[0.0, f64::NAN], &[0.0, 1.0], 1.0, 1.0), Some(1));
    assert_eq!(worst(&[0.0, 1.0], &[f64::NAN, 1.0], 1.0, 1.0), Some(0));
    assert_eq!(worst(&[0.0, 3.0, 9.0], &[0.0, 1.0, 1.0], 1.0, 1.0), Some(2));
    assert_eq!(worst(&[1.0], &[1.0], 0.0, 1.0), None);
}
