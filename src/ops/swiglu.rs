//! SwiGLU: `y = silu(gate) * up`, `silu(z) = z * s` with `s = 1 / (1 + exp(-z))`.

use candle_core::{Result, Tensor};

use crate::ops::cpu::block::by_row;
use crate::ops::cpu::{self, Element, Real, on_device};

/// `silu(gate) * up`; `gate`, `up` and the result are `[tokens, intermediate]`.
pub fn forward(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    on_device!(
        "swiglu", gate,
        T => forward_cpu::<T>(gate, up),
        cuda => launch::forward(gate, up)
    )
}

/// Gradients of `gate` and `up`, each `[tokens, intermediate]`:
/// `dgate = dy * up * s * (1 + gate * (1 - s))`, `dup = dy * gate * s`.
pub fn backward(dy: &Tensor, gate: &Tensor, up: &Tensor) -> Result<(Tensor, Tensor)> {
    on_device!(
        "swiglu backward", dy,
        T => backward_cpu::<T>(dy, gate, up),
        cuda => launch::backward(dy, gate, up)
    )
}

#[inline(always)]
fn sigmoid<T: Real>(z: T) -> T {
    T::one() / (T::one() + Real::exp(-z))
}

fn forward_cpu<T: Element>(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (tokens, width) = gate.dims2()?;
    let (gate, up) = (cpu::elements::<T>(gate)?, cpu::elements::<T>(up)?);
    let (gate, up) = (&gate[..], &up[..]);
    let [y] = by_row(
        tokens,
        [width],
        #[inline(always)]
        |t: usize, [y]: [&mut [T]; 1]| {
            let (gate, up) = (cpu::row(gate, t, width), cpu::row(up, t, width));
            for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                let gate = gate.value();
                *y = T::rounded(gate * sigmoid(gate) * up.value());
            }
        },
    );
    cpu::tensor(y, (tokens, width))
}

fn backward_cpu<T: Element>(dy: &Tensor, gate: &Tensor, up: &Tensor) -> Result<(Tensor, Tensor)> {
    let (tokens, width) = gate.dims2()?;
    let (dy, gate, up) =
        (cpu::elements::<T>(dy)?, cpu::elements::<T>(gate)?, cpu::elements::<T>(up)?);
    let (dy, gate, up) = (&dy[..], &gate[..], &up[..]);
    let [dgate, dup] = by_row(
        tokens,
        [width; 2],
        #[inline(always)]
        |t, [dgate, dup]: [&mut [T]; 2]| {
            let (dy, gate, up) =
                (cpu::row(dy, t, width), cpu::row(gate, t, width), cpu::row(up, t, width));
            for ((((dgate, dup), dy), gate), up) in
                dgate.iter_mut().zip(dup).zip(dy).zip(gate).zip(up)
            {
                let (dy, gate, up, one) = (dy.value(), gate.value(), up.value(), T::Work::ONE);
                let s = sigmoid(gate);
                *dgate = T::rounded(dy * up * s * (one + gate * (one - s)));
                *dup = T::rounded(dy * gate * s);
            }
        },
    );
    Ok((cpu::tensor(dgate, (tokens, width))?, cpu::tensor(dup, (tokens, width))?))
}

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{Result, Tensor};

    use crate::ops::cuda::{self, Module, THREADS};

    const MODULE: Module = cuda::module!("swiglu");

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn forward(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        let (dtype, shape, elements) = (gate.dtype(), gate.dims(), gate.elem_count());
        let y = cuda::empty(gate.device(), dtype, shape)?;
        let launch = MODULE
            .launch("swiglu_forward", gate)?
            .tensor(gate, dtype, shape)?
            .tensor(up, dtype, shape)?
            .tensor(&y, dtype, shape)?
            .long(elements);
        // SAFETY: the parameters of `swiglu_forward`, which covers all elements with any grid; `y` is new.
        unsafe { launch.run((cuda::blocks(elements, cuda::wide(dtype)), 1), THREADS) }?;
        Ok(y)
    }

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn backward(dy: &Tensor, gate: &Tensor, up: &Tensor) -> Result<(Tensor, Tensor)> {
        let (dtype, shape, elements) = (gate.dtype(), gate.dims(), gate.elem_count());
        let [dgate, dup] = [(); 2].map(|()| cuda::empty(gate.device(), dtype, shape));
        let (dgate, dup) = (dgate?, dup?);
        let launch = MODULE
            .launch("swiglu_backward", gate)?
            .tensor(dy, dtype, shape)?
            .tensor(gate, dtype, shape)?
            .tensor(up, dtype, shape)?
            .tensor(&dgate, dtype, shape)?
            .tensor(&dup, dtype, shape)?
            .long(elements);
        // SAFETY: the parameters of `swiglu_backward`, which covers all elements with any grid; what it writes is new.
        unsafe { launch.run((cuda::blocks(elements, cuda::wide(dtype)), 1), THREADS) }?;
        Ok((dgate, dup))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference;
    use crate::ops::testing::{
        NOT_FINITE, assert_close, assert_not_swallowed, broken, finite_difference, random, tape,
        tolerance,
    };
    use candle_core::DType;

    #[test]
    fn values_and_gradients_agree_with_the_reference() {
        for dtype in [DType::F32, DType::F64] {
            for (tokens, intermediate) in [(1, 1), (3, 33), (40, 1000)] {
                let [gate, up, dy] =
                    [1, 2, 3].map(|seed| random(&[tokens, intermediate], seed, dtype));
                assert_close(
                    "y",
                    &forward(&gate, &up).unwrap(),
                    &reference::swiglu(&gate, &up).unwrap(),
                    tolerance(dtype),
                );
                let (dgate, dup) = backward(&dy, &gate, &up).unwrap();
                let want = tape(&[&gate, &up], &dy, |t| reference::swiglu(&t[0], &t[1]));
                assert_close("dgate", &dgate, &want[0], tolerance(dtype));
                assert_close("dup", &dup, &want[1], tolerance(dtype));
            }
        }
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let [gate, up, dy] = [1, 2, 3].map(|seed| random(&[2, 9], seed, DType::F64));
        let (dgate, dup) = backward(&dy, &gate, &up).unwrap();
        assert_close(
            "dgate",
            &dgate,
            &finite_difference(&gate, &dy, |gate| forward(gate, &up)),
            1e-7,
        );
        assert_close("dup", &dup, &finite_difference(&up, &dy, |up| forward(&gate, up)), 1e-7);
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let shape = [2, 40];
        for bad in NOT_FINITE {
            for side in 0..3 {
                let of = |i: usize| if i == side { bad } else { 1.0 };
                let [gate, up, dy] = [0, 1, 2].map(|i| broken(&shape, i as u64, 33, of(i)));
                let [g, u, d] = [&gate, &up, &dy].map(|t| t.to_dtype(DType::F64).unwrap());
                let want = reference::swiglu(&g, &u).unwrap();
                assert_not_swallowed("y", &forward(&gate, &up).unwrap(), &want);
                let (dgate, dup) = backward(&dy, &gate, &up).unwrap();
                let want = tape(&[&g, &u], &d, |t| reference::swiglu(&t[0], &t[1]));
                assert_not_swallowed("dgate", &dgate, &want[0]);
                assert_not_swallowed("dup", &dup, &want[1]);
            }
        }
    }

    #[test]
    fn a_gate_far_from_zero_stays_finite() {
        let gate =
            Tensor::new(&[[-1e4f32, -100.0, 0.0, 100.0, 1e4]], &candle_core::Device::Cpu).unwrap();
        let ones = gate.ones_like().unwrap();
        let all = [forward(&gate, &ones).unwrap(), backward(&ones, &gate, &ones).unwrap().0];
        assert!(all.iter().all(|t| t.to_vec2::<f32>().unwrap()[0].iter().all(|x| x.is_finite())));
    }
}
