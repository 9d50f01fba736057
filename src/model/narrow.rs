//! Tensors on the CPU in another dtype, each number the nearest that it holds.

use candle_core::{DType, Result, Tensor};

/// `tensor`, `[..]` of any float dtype, in `dtype`; ties go to the even number.
///
/// candle's step from f64 to the half-width types looks at the upper half of a number alone: what lies just above a tie is rounded down.
pub(super) fn to_dtype(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if tensor.dtype() != DType::F64 || !matches!(dtype, DType::BF16 | DType::F16) {
        return tensor.to_dtype(dtype);
    }
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1::<f64>()?.into_iter().map(odd).collect();
    Tensor::from_vec(values, tensor.shape(), tensor.device())?.to_dtype(dtype)
}

/// `x` between two numbers of f32 becomes the one whose last bit is set: no tie of a narrower type, so that a second rounding is as if it were
/// the only one.
fn odd(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    if back.to_bits() == x.to_bits() || !nearest.is_finite() || nearest.to_bits() & 1 == 1 {
        return nearest;
    }
    match (back.abs() < x.abs(), nearest.to_bits() << 1 == 0) {
        (true, false) => f32::from_bits(nearest.to_bits() + 1),
        (false, false) => f32::from_bits(nearest.to_bits() - 1),
        (_, true) => f32::from_bits(1).copysign(x as f32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn bits(x: f64, dtype: DType) -> u32 {
        let x = Tensor::new(&[x], &Device::Cpu).unwrap();
        let narrow = to_dtype(&x, dtype).unwrap().to_dtype(DType::F32).unwrap();
        narrow.to_vec1::<f32>().unwrap()[0].to_bits()
    }

    #[test]
    fn a_number_beside_a_tie_goes_to_the_nearest() {
        for (dtype, ulp) in [(DType::BF16, 2f64.powi(-7)), (DType::F16, 2f64.powi(-10))] {
            let goes = |from: f64, to: f64| {
                for sign in [1.0, -1.0] {
                    let to = (sign * to) as f32;
                    assert_eq!(bits(sign * from, dtype), to.to_bits(), "{dtype:?}: {from}");
                }
            };
            for tiny in [1e-12, 1e-9, 1e-5] {
                goes(1.0 + ulp * (0.5 + tiny), 1.0 + ulp);
                goes(1.0 + ulp * (0.5 - tiny), 1.0);
                goes(1.0 + ulp * (1.5 - tiny), 1.0 + ulp);
            }
            goes(1.0 + ulp * 0.5, 1.0);
            goes(1.0 + ulp * 1.5, 1.0 + 2.0 * ulp);
        }
    }

    #[test]
    fn what_a_narrow_type_cannot_hold_is_infinite_and_nothing_else_is_changed() {
        assert_eq!(bits(1e39, DType::BF16), f32::INFINITY.to_bits());
        assert_eq!(bits(-1e6, DType::F16), f32::NEG_INFINITY.to_bits());
        assert!(f32::from_bits(bits(f64::NAN, DType::BF16)).is_nan());
        assert_eq!(bits(1e-60, DType::BF16), 0);
        assert_eq!(bits(-1e-60, DType::BF16), (-0f32).to_bits());
        assert_eq!(bits(0.1, DType::F32), 0.1f32.to_bits());
    }
}
