//! `src/ops/swiglu.cu` against the reference, values and gradients.

use candle_core::DType;
use mvpbench::ops::reference;

use super::elements::{DTYPES, Elements, TOLERANCE};
use super::{Argument, Kernels, Launch};

fn forward(
    kernels: &Kernels,
    launch: Launch,
    suffix: &str,
    [gate, up]: [&Elements; 2],
    n: usize,
) -> Elements {
    let mut y = Elements::unwritten(if suffix == "float" { DType::F32 } else { DType::BF16 }, n);
    let arguments = &mut [gate.read(), up.read(), y.write(), Argument::value(n as u64)];
    kernels.launch(&format!("swiglu_forward_{suffix}"), launch, arguments);
    y
}

fn backward(
    kernels: &Kernels,
    launch: Launch,
    suffix: &str,
    [dy, gate, up]: [&Elements; 3],
    n: usize,
) -> [Elements; 2] {
    let dtype = if suffix == "float" { DType::F32 } else { DType::BF16 };
    let [mut dgate, mut dup] = [(); 2].map(|()| Elements::unwritten(dtype, n));
    let arguments = &mut [
        dy.read(),
        gate.read(),
        up.read(),
        dgate.write(),
        dup.write(),
        Argument::value(n as u64),
    ];
    kernels.launch(&format!("swiglu_backward_{suffix}"), launch, arguments);
    [dgate, dup]
}

#[test]
fn values_and_gradients_agree_with_the_reference_on_any_grid() {
    let Some(kernels) = Kernels::of("src/ops/swiglu.cu") else { return };
    for (dtype, suffix) in DTYPES {
        for n in [1, 33, 1000, 4096] {
            let [gate, up, dy] = [1, 2, 3].map(|seed| Elements::random(dtype, n, seed));
            let [gate64, up64, dy64] = [&gate, &up, &dy].map(|elements| elements.tensor(&[n]));
            let want =
                reference::gradients(&[&gate64, &up64], &dy64, |t| reference::swiglu(&t[0], &t[1]))
                    .unwrap();
            let grids = [(1, 32), (3, 64), (40, 256)].map(|(blocks, threads)| {
                let launch = Launch { seed: u64::from(blocks), ..Launch::of(blocks, threads) };
                let y = forward(kernels, launch, suffix, [&gate, &up], n);
                y.assert_close("y", &reference::swiglu(&gate64, &up64).unwrap(), TOLERANCE);
                let [dgate, dup] = backward(kernels, launch, suffix, [&dy, &gate, &up], n);
                dgate.assert_close("dgate", &want[0], TOLERANCE);
                dup.assert_close("dup", &want[1], TOLERANCE);
                (y, dgate, dup)
            });
            assert!(grids[0] == grids[1] && grids[1] == grids[2], "{dtype:?} {n}");
        }
    }
}

#[test]
fn a_gate_far_from_zero_stays_finite_and_a_nan_is_one() {
    let Some(kernels) = Kernels::of("src/ops/swiglu.cu") else { return };
    for (dtype, suffix) in DTYPES {
        let gate = Elements::of(dtype, &[-1e4, -100.0, 0.0, 100.0, 1e4, f64::NAN]);
        let ones = Elements::of(dtype, &[1.0; 6]);
        let launch = Launch::of(1, 32);
        let [dgate, dup] = backward(kernels, launch, suffix, [&ones, &gate, &ones], 6);
        for got in [forward(kernels, launch, suffix, [&gate, &ones], 6), dgate, dup] {
            let got = got.values();
            assert!(got[..5].iter().all(|x| x.is_finite()) && got[5].is_nan(), "{got:?}");
        }
    }
}
