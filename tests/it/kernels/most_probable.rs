//! `src/ops/most_probable.cu` against the CPU's body.

use mvpbench::ops::most_probable;

use super::elements::{DTYPES, Elements};
use super::{Argument, Kernels, Launch};

#[test]
fn of_any_number_of_logits_the_first_of_the_largest_is_taken() {
    let Some(kernels) = Kernels::of("src/ops/most_probable.cu") else { return };
    let far = f64::INFINITY;
    for (dtype, suffix) in DTYPES {
        for vocab in [1, 31, 700, 2500] {
            let mut rows: Vec<Vec<f64>> =
                (0..4).map(|seed| Elements::random(dtype, vocab, seed).values()).collect();
            rows[0][vocab / 2] = 1e3;
            rows[0][vocab - 1] = 1e3; // as large, later
            rows[1].fill(-2.0);
            rows[2][vocab - 1] = 2e3;
            for bad in [f64::NAN, far] {
                let mut broken = rows[3].clone();
                broken[vocab / 3] = bad;
                rows.push(broken);
            }
            rows.push(vec![-far; vocab]);
            let logits = Elements::of(dtype, &rows.concat());
            let shape = [rows.len(), vocab];
            let want = most_probable::forward(&logits.tensor(&shape)).unwrap();
            assert_eq!(want[..2], [Some(vocab as u32 / 2), Some(0)]);
            assert_eq!(want[4..], [None; 3]);
            for (seed, threads) in [(1, 32), (2, 256), (3, 1024)] {
                let mut ids = vec![7u32; rows.len()];
                kernels.launch(
                    &format!("most_probable_{suffix}"),
                    Launch { seed, ..Launch::of(rows.len() as u32, threads) },
                    &mut [logits.read(), Argument::write(&mut ids), Argument::value(vocab as u32)],
                );
                let got: Vec<_> = ids.iter().map(|&id| (id != u32::MAX).then_some(id)).collect();
                assert_eq!(got, want, "{vocab} of {dtype:?} by {threads} threads");
            }
        }
    }
}
