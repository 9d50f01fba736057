//! AdamW (Loshchilov and Hutter 2019), as PyTorch's fused kernel orders it, and the norm it is clipped by.
//!
//! `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `p = p (1 - lr wd) - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)`.

use candle_core::{Result, Tensor, WithDType};

use super::cpu::{self, Real, on_cpu, vectorised};

/// First-moment decay.
pub const BETA1: f64 = 0.9;
/// Second-moment decay.
pub const BETA2: f64 = 0.999;
/// Added to the denominator.
pub const EPS: f64 = 1e-8;

/// What one step is taken with.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Gradients are multiplied by this first: the clipping coefficient.
    pub gradient_scale: f64,
    /// Steps taken including this one, from 1.
    pub count: u64,
}

/// A parameter and its moments, all of one shape, f32.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The parameter.
    pub value: Tensor,
    /// Running mean of the gradient.
    pub first_moment: Tensor,
    /// Running mean of its square.
    pub second_moment: Tensor,
}

/// The parameter and moments after one step with `gradient`. No backward: nothing differentiates the optimizer.
pub fn update(parameter: &Parameter, gradient: &Tensor, step: &Step) -> Result<Parameter> {
    on_cpu!("adamw", gradient, T => update_cpu::<T>(parameter, gradient, step))
}

/// Sum of the squares of `gradient`, accumulated in f64. Infinite or NaN where the gradient is.
pub fn sum_of_squares(gradient: &Tensor) -> Result<f64> {
    on_cpu!("sum_of_squares", gradient, T => Ok(cpu::elements::<T>(gradient)?.iter().map(|g| g.to_f64().powi(2)).sum()))
}

fn update_cpu<T: Real>(parameter: &Parameter, gradient: &Tensor, step: &Step) -> Result<Parameter> {
    let shape = gradient.shape().clone();
    let mut value = cpu::elements::<T>(&parameter.value)?.to_vec();
    let mut first = cpu::elements::<T>(&parameter.first_moment)?.to_vec();
    let mut second = cpu::elements::<T>(&parameter.second_moment)?.to_vec();
    let gradient = cpu::elements::<T>(gradient)?;
    let gradient = &gradient[..];

    let correction = |beta: f64| 1.0 - beta.powf(step.count as f64);
    let real = T::from_f64;
    let (keep, scale) =
        (real(1.0 - step.learning_rate * step.weight_decay), real(step.gradient_scale));
    let (size, root, eps) =
        (real(step.learning_rate / correction(BETA1)), real(correction(BETA2).sqrt()), real(EPS));
    let (beta1, beta2, rest1, rest2) =
        (real(BETA1), real(BETA2), real(1.0 - BETA1), real(1.0 - BETA2));
    vectorised(
        #[inline(always)]
        || {
            for (((p, m), v), &g) in value.iter_mut().zip(&mut first).zip(&mut second).zip(gradient)
            {
                let g = g * scale;
                *m = beta1 * *m + rest1 * g;
                *v = beta2 * *v + rest2 * g * g;
                *p = *p * keep - size * *m / (Real::sqrt(*v) / root + eps);
            }
        },
    );
    Ok(Parameter {
        value: cpu::tensor(value, shape.clone())?,
        first_moment: cpu::tensor(first, shape.clone())?,
        second_moment: cpu::tensor(second, shape)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{NOT_FINITE, assert_close, broken, random};
    use candle_core::{DType, Var};
    use candle_nn::{AdamW, Optimizer, ParamsAdamW};

    #[test]
    fn the_norm_of_what_is_not_finite_is_not_finite() {
        for bad in NOT_FINITE {
            assert!(!sum_of_squares(&broken(&[5, 33], 1, 164, bad)).unwrap().is_finite());
        }
    }

    #[test]
    fn twenty_steps_agree_with_candles_adamw() {
        let start = random(&[5, 33], 1, DType::F64);
        let variable = Var::from_tensor(&start).unwrap();
        let params =
            ParamsAdamW { lr: 1e-2, beta1: BETA1, beta2: BETA2, eps: EPS, weight_decay: 0.1 };
        let mut peer = AdamW::new(vec![variable.clone()], params).unwrap();
        let zero = start.zeros_like().unwrap();
        let mut ours =
            Parameter { value: start.clone(), first_moment: zero.clone(), second_moment: zero };
        for count in 1..=20 {
            let gradient = random(&[5, 33], 100 + count, DType::F64);
            let loss = (variable.as_tensor() * &gradient).unwrap().sum_all().unwrap();
            peer.step(&loss.backward().unwrap()).unwrap();
            let step = Step { learning_rate: 1e-2, weight_decay: 0.1, gradient_scale: 1.0, count };
            ours = update(&ours, &gradient, &step).unwrap();
        }
        assert_close("parameter", &ours.value, variable.as_tensor(), 1e-12);
    }

    #[test]
    fn a_gradient_of_zero_moves_nothing_and_stays_finite() {
        let start = random(&[4], 1, DType::F32);
        let zero = start.zeros_like().unwrap();
        let parameter = Parameter {
            value: start.clone(),
            first_moment: zero.clone(),
            second_moment: zero.clone(),
        };
        let step = Step { learning_rate: 1.0, weight_decay: 0.0, gradient_scale: 1.0, count: 1 };
        assert_close("parameter", &update(&parameter, &zero, &step).unwrap().value, &start, 0.0);
    }

    #[test]
    fn a_nan_in_the_gradient_shows_in_the_norm() {
        let gradient =
            candle_core::Tensor::new(&[1f32, f32::NAN], &candle_core::Device::Cpu).unwrap();
        assert!(sum_of_squares(&gradient).unwrap().is_nan());
    }
}
