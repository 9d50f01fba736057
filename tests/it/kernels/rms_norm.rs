//! `src/ops/rms_norm.cu` against the reference, values and gradients.

use candle_core::{DType, Tensor};
use mvpbench::ops::reference;

use super::elements::{DTYPES, Elements, TOLERANCE};
use super::{Argument, Kernels, Launch};

const EPS: f64 = 1e-5;

struct Case {
    dtype: DType,
    tokens: usize,
    hidden: usize,
    launch: Launch,
    suffix: &'static str,
}

impl Case {
    fn matrix(&self, seed: u64) -> Elements {
        Elements::random(self.dtype, self.tokens * self.hidden, seed)
    }

    fn unwritten(&self) -> Elements {
        Elements::unwritten(self.dtype, self.tokens * self.hidden)
    }

    fn tensor(&self, elements: &Elements) -> Tensor {
        elements.tensor(&[self.tokens, self.hidden])
    }

    /// `h`, `y` and `inv` of the forward kernel.
    fn forward(
        &self,
        kernels: &Kernels,
        x: &Elements,
        delta: Option<&Elements>,
        w: &Elements,
    ) -> [Elements; 3] {
        let (mut h, mut y) = (self.unwritten(), self.unwritten());
        let mut inv = Elements::unwritten(DType::F32, self.tokens);
        kernels.launch(
            &format!("rms_norm_forward_{}", self.suffix),
            self.launch,
            &mut [
                x.read(),
                delta.map_or(Argument::Null, Elements::read),
                w.read(),
                if delta.is_some() { h.write() } else { Argument::Null },
                y.write(),
                inv.write(),
                Argument::value(self.hidden as u32),
                Argument::value(EPS as f32),
            ],
        );
        [if delta.is_some() { h } else { x.clone() }, y, inv]
    }

    fn apply(&self, kernels: &Kernels, h: &Elements, inv: &Elements, w: &Elements) -> Elements {
        let mut y = self.unwritten();
        kernels.launch(
            &format!("rms_norm_apply_{}", self.suffix),
            self.launch,
            &mut [h.read(), inv.read(), w.read(), y.write(), Argument::value(self.hidden as u32)],
        );
        y
    }

    fn backward(
        &self,
        kernels: &Kernels,
        (dy, h, inv, w): (&Elements, &Elements, &Elements, &Elements),
        residual: Option<&Elements>,
    ) -> Elements {
        let mut dx = self.unwritten();
        kernels.launch(
            &format!("rms_norm_backward_{}", self.suffix),
            self.launch,
            &mut [
                dy.read(),
                h.read(),
                inv.read(),
                w.read(),
                residual.map_or(Argument::Null, Elements::read),
                dx.write(),
                Argument::value(self.hidden as u32),
            ],
        );
        dx
    }
}

#[test]
fn values_and_gradients_agree_with_the_reference_in_any_order_of_threads() {
    let Some(kernels) = Kernels::of("src/ops/rms_norm.cu") else { return };
    for (dtype, suffix) in DTYPES {
        // One column, odd, 16 bytes at a time, more columns than a block takes at once.
        for (tokens, hidden, threads) in
            [(1, 1, 32), (3, 33, 64), (2, 96, 256), (2, 1000, 64), (1, 2056, 256)]
        {
            let orders = [1, 2, 3].map(|seed| {
                let launch = Launch { seed, ..Launch::of(tokens as u32, threads) };
                let case = Case { dtype, tokens, hidden, launch, suffix };
                let [x, delta, dy, residual] = [1, 2, 3, 4].map(|seed| case.matrix(seed));
                let w = Elements::random(dtype, hidden, 5);
                let [h, y, inv] = case.forward(kernels, &x, Some(&delta), &w);
                h.assert_close("h", &(case.tensor(&x) + case.tensor(&delta)).unwrap(), TOLERANCE);
                let (h64, w64) = (case.tensor(&h), w.tensor(&[hidden]));
                y.assert_close("y", &reference::rms_norm(&h64, &w64, EPS).unwrap(), TOLERANCE);
                assert_eq!(case.apply(kernels, &h, &inv, &w), y, "applied again");
                let [same, plain, _] = case.forward(kernels, &h, None, &w);
                assert_eq!((&same, &plain), (&h, &y), "without a delta");

                let want = reference::gradients(&[&h64], &case.tensor(&dy), |t| {
                    reference::rms_norm(&t[0], &w64, EPS)
                });
                let want = want.unwrap().remove(0);
                let dx = case.backward(kernels, (&dy, &h, &inv, &w), None);
                dx.assert_close("dx", &want, 10.0 * TOLERANCE);
                let onward = case.backward(kernels, (&dy, &h, &inv, &w), Some(&residual));
                onward.assert_close(
                    "dx + residual",
                    &(want + case.tensor(&residual)).unwrap(),
                    10.0 * TOLERANCE,
                );
                (h, y, inv, dx, onward)
            });
            assert!(orders[0] == orders[1] && orders[1] == orders[2], "{dtype:?} {hidden}");
        }
    }
}

#[test]
fn a_nan_or_a_square_that_overflows_stays_in_its_row() {
    let Some(kernels) = Kernels::of("src/ops/rms_norm.cu") else { return };
    for ((dtype, suffix), bad) in
        DTYPES.into_iter().flat_map(|dtype| [f64::NAN, 1e30].map(|bad| (dtype, bad)))
    {
        let case = Case { dtype, tokens: 2, hidden: 40, launch: Launch::of(2, 32), suffix };
        let mut values = vec![1.0; 80];
        values[7] = bad;
        let (x, w) = (Elements::of(dtype, &values), Elements::of(dtype, &[1.0; 40]));
        let [h, y, inv] = case.forward(kernels, &x, None, &w);
        let ones = Elements::of(dtype, &[1.0; 80]);
        for got in [y.values(), case.backward(kernels, (&ones, &h, &inv, &w), None).values()] {
            assert!(
                got[..40].iter().all(|x| x.is_nan()) && got[40..].iter().all(|x| x.is_finite())
            );
        }
    }
}
