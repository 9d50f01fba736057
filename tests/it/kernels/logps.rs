//! `src/ops/logps.cu` against the reference, values and gradients.

use candle_core::{DType, Device, Tensor};
use mvpbench::ops::reference;

use super::elements::{DTYPES, Elements, TOLERANCE};
use super::{Argument, Kernels, Launch};

/// Log-probabilities and, unless `gradient` is none, the gradient of each row's own.
fn forward(
    kernels: &Kernels,
    launch: Launch,
    suffix: &str,
    z: &Elements,
    targets: &[u32],
    gradient: Option<&mut Elements>,
) -> Elements {
    let rows = targets.len();
    let vocab = z.values().len() / rows;
    let mut logps = Elements::unwritten(DType::F32, rows);
    kernels.launch(
        &format!("logps_forward_{suffix}"),
        launch,
        &mut [
            z.read(),
            Argument::read(targets),
            logps.write(),
            gradient.map_or(Argument::Null, Elements::write),
            Argument::value(vocab as u32),
        ],
    );
    logps
}

#[test]
fn values_and_gradients_agree_with_the_reference_in_any_order_of_threads() {
    let Some(kernels) = Kernels::of("src/ops/logps.cu") else { return };
    for (dtype, suffix) in DTYPES {
        for (rows, vocab, threads) in [(1, 1, 32), (3, 33, 64), (2, 1000, 64), (2, 3001, 1024)] {
            let z = Elements::random(DType::F32, rows * vocab, 1);
            let targets: Vec<u32> =
                (0..rows).map(|i| ((i * 7 + vocab - 1) % vocab) as u32).collect();
            let names = Tensor::new(&targets[..], &Device::Cpu).unwrap();
            let z64 = z.tensor(&[rows, vocab]);
            let ones = Tensor::ones(rows, DType::F64, &Device::Cpu).unwrap();
            let want =
                reference::gradients(&[&z64], &ones, |t| reference::logps(&t[0], &names)).unwrap();
            let orders = [1, 2, 3].map(|seed| {
                let launch = Launch { seed, ..Launch::of(rows as u32, threads) };
                let mut own = Elements::unwritten(dtype, rows * vocab);
                let logps = forward(kernels, launch, suffix, &z, &targets, Some(&mut own));
                logps.assert_close("logps", &reference::logps(&z64, &names).unwrap(), TOLERANCE);
                own.assert_close("own", &want[0], TOLERANCE);
                assert_eq!(
                    forward(kernels, launch, suffix, &z, &targets, None),
                    logps,
                    "without gradient"
                );
                (logps, own)
            });
            assert!(orders[0] == orders[1] && orders[1] == orders[2], "{dtype:?} {vocab}");
        }
    }
}

#[test]
fn far_apart_is_finite_and_a_nan_or_a_target_outside_the_vocabulary_is_nan() {
    let Some(kernels) = Kernels::of("src/ops/logps.cu") else { return };
    let mut values = vec![-1e4; 4 * 50];
    values[40] = 1e4;
    values[50 + 3] = f64::NAN;
    values[100] = f64::NEG_INFINITY;
    let z = Elements::of(DType::F32, &values);
    let mut own = Elements::unwritten(DType::BF16, 200);
    let logps = forward(kernels, Launch::of(4, 32), "bf16", &z, &[2, 2, 2, 50], Some(&mut own));
    let (logps, own) = (logps.values(), own.values());
    assert!(
        (logps[0] + 2e4).abs() <= 1e-2
            && (own[40] + 1.0).abs() <= 1e-6
            && (own[2] - 1.0).abs() <= 1e-6
    );
    assert!(logps[1].is_nan() && own[50..100].iter().all(|x| x.is_nan()));
    assert!((logps[2] + 49f64.ln()).abs() <= 1e-5 && own[100].abs() <= 1e-9);
    assert!(logps[3].is_nan());
}

#[test]
fn each_rows_gradient_is_scaled_by_its_own_slope() {
    let Some(kernels) = Kernels::of("src/ops/logps.cu") else { return };
    for (dtype, suffix) in DTYPES {
        for (rows, hidden) in [(1, 1), (3, 33), (2, 600)] {
            let slopes = Elements::random(DType::F32, rows, 1);
            let own = Elements::random(dtype, rows * hidden, 2);
            let mut dhidden = Elements::unwritten(dtype, rows * hidden);
            kernels.launch(
                &format!("logps_backward_{suffix}"),
                Launch::of(rows as u32, 64),
                &mut [slopes.read(), own.read(), dhidden.write(), Argument::value(hidden as u32)],
            );
            let want = own.tensor(&[rows, hidden]).broadcast_mul(&slopes.tensor(&[rows, 1]));
            dhidden.assert_close("dhidden", &want.unwrap(), TOLERANCE);
        }
    }
}
