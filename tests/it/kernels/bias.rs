//! `src/ops/bias.cu` against the reference. Its gradient is the identity and has no kernel.

use mvpbench::ops::reference;

use super::elements::{DTYPES, Elements, TOLERANCE};
use super::{Argument, Kernels, Launch};

#[test]
fn values_agree_with_the_reference_on_any_grid() {
    let Some(kernels) = Kernels::of("src/ops/bias.cu") else { return };
    for (dtype, suffix) in DTYPES {
        // One column, odd, 16 bytes at a time, more columns than a grid.
        for (tokens, out) in [(1, 1), (3, 33), (2, 64), (2, 4096)] {
            let n = tokens * out;
            let (x, bias) = (Elements::random(dtype, n, 1), Elements::random(dtype, out, 2));
            let add = |blocks: u32, seed: u64| {
                let mut y = x.clone();
                let grid = [tokens as u32, blocks, 1];
                kernels.launch(
                    &format!("bias_add_{suffix}"),
                    Launch { grid, seed, ..Launch::of(1, 64) },
                    &mut [y.write(), bias.read(), Argument::value(out as u32)],
                );
                y
            };
            let y = add(1, 1);
            let want = reference::bias(&x.tensor(&[tokens, out]), &bias.tensor(&[out])).unwrap();
            y.assert_close("y", &want, TOLERANCE);
            assert_eq!(add(3, 2), y, "on another grid");
        }
    }
}
