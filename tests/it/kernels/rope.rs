//! `src/ops/rope.cu` against the reference, values and gradients.

use mvpbench::ops::reference;

use candle_core::{DType, Tensor};

use super::elements::{DTYPES, Elements, TOLERANCE};
use super::{Argument, Kernels, Launch};

#[test]
fn values_and_gradients_agree_with_the_reference() {
    let Some(kernels) = Kernels::of("src/ops/rope.cu") else { return };
    for (dtype, suffix) in DTYPES {
        // One pair, odd halves, 16 bytes at a time, more pairs than a block; then a part of each head: odd, 16 bytes at a time, and
        // halves that could be moved so in heads that could not.
        for (tokens, heads, head_dim, half) in [
            (1, 1, 2, 1),
            (3, 3, 10, 5),
            (2, 2, 128, 64),
            (2, 40, 32, 16),
            (3, 3, 14, 5),
            (2, 5, 64, 16),
            (2, 3, 22, 8),
        ] {
            let (width, n) = (heads * head_dim, tokens * heads * head_dim);
            let angles: Vec<f64> = Elements::random(DType::F32, tokens * half, 9)
                .values()
                .iter()
                .map(|x| 3.0 * x)
                .collect();
            let of = |f: fn(f64) -> f64| {
                Elements::of(DType::F32, &angles.iter().map(|&a| f(a)).collect::<Vec<_>>())
            };
            let (cos, sin) = (of(f64::cos), of(f64::sin));
            let (x, dy) = (Elements::random(dtype, n, 1), Elements::random(dtype, n, 2));
            let (cos64, sin64) = (cos.tensor(&[tokens, half]), sin.tensor(&[tokens, half]));
            let (x64, dy64) = (x.tensor(&[tokens, width]), dy.tensor(&[tokens, width]));
            let turn = |input: &Elements, sign: f32, blocks, seed| {
                let mut turned = input.clone();
                let grid = [tokens as u32, blocks, 1];
                kernels.launch(
                    &format!("rope_turn_{suffix}"),
                    Launch { grid, seed, ..Launch::of(1, 64) },
                    &mut [
                        turned.write(),
                        cos.read(),
                        sin.read(),
                        Argument::value(heads as u32),
                        Argument::value(head_dim as u32),
                        Argument::value(half as u32),
                        Argument::value(sign),
                    ],
                );
                turned
            };
            let y = turn(&x, 1.0, 1, 1);
            let turned = |x: &Tensor| reference::rope(x, &cos64, &sin64, head_dim);
            y.assert_close("y", &turned(&x64).unwrap(), TOLERANCE);
            assert_eq!(turn(&x, 1.0, 3, 2), y, "on another grid");
            let want = reference::gradients(&[&x64], &dy64, |t| turned(&t[0])).unwrap();
            turn(&dy, -1.0, 2, 3).assert_close("dx", &want[0], TOLERANCE);
        }
    }
}
