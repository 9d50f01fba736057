//! `src/ops/kl.cu` against the reference.

use candle_core::DType;
use mvpbench::ops::reference;

use super::elements::{Elements, TOLERANCE};
use super::{Argument, Kernels, Launch};

fn kl(kernels: &Kernels, launch: Launch, p: &Elements, q: &Elements, rows: usize) -> Elements {
    let vocab = p.values().len() / rows;
    let mut divergences = Elements::unwritten(DType::F32, rows);
    kernels.launch(
        "kl_forward",
        launch,
        &mut [p.read(), q.read(), divergences.write(), Argument::value(vocab as u32)],
    );
    divergences
}

#[test]
fn values_agree_with_the_reference_in_any_order_of_threads() {
    let Some(kernels) = Kernels::of("src/ops/kl.cu") else { return };
    for (rows, vocab, threads) in [(1, 1, 32), (3, 33, 64), (2, 1000, 64), (2, 3001, 1024)] {
        let [p, q] = [1, 2].map(|seed| Elements::random(DType::F32, rows * vocab, seed));
        let [p64, q64] = [&p, &q].map(|z| z.tensor(&[rows, vocab]));
        let want = reference::kl(&p64, &q64).unwrap();
        let orders = [1, 2, 3].map(|seed| {
            let launch = Launch { seed, ..Launch::of(rows as u32, threads) };
            let got = kl(kernels, launch, &p, &q, rows);
            got.assert_close("kl", &want, TOLERANCE);
            assert!(kl(kernels, launch, &p, &p, rows).values().iter().all(|x| x.abs() <= 0.0));
            got
        });
        assert!(orders[0] == orders[1] && orders[1] == orders[2], "{vocab}");
    }
}

#[test]
fn near_predictions_keep_their_digits_and_a_nan_stays_one() {
    let Some(kernels) = Kernels::of("src/ops/kl.cu") else { return };
    let d = 1e-4f64;
    let far = f64::NEG_INFINITY;
    let p = Elements::of(DType::F32, &[(0.5 + d).ln(), (0.5 - d).ln(), 0.0, f64::NAN, 0.0, far]);
    let q = Elements::of(DType::F32, &[0.5f64.ln(), 0.5f64.ln(), 0.0, 0.0, 0.0, 0.0]);
    let got = kl(kernels, Launch::of(3, 32), &p, &q, 3).values();
    assert!((got[0] / (2.0 * d * d) - 1.0).abs() <= 2e-3, "{got:?}");
    assert!(got[1].is_nan(), "{got:?}");
    assert!((got[2] - 2f64.ln()).abs() <= 1e-6, "{got:?}");
}
