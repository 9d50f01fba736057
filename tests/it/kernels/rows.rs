//! `src/ops/rows.cu` against the CPU's body, which is held to its own reference.

use candle_core::{Device, Tensor};
use mvpbench::ops::rows;

use super::elements::{DTYPES, Elements, TOLERANCE};
use super::{Argument, Kernels, Launch};

#[test]
fn values_and_gradients_agree_with_the_reference_in_any_order_of_threads() {
    let Some(kernels) = Kernels::of("src/ops/rows.cu") else { return };
    let lists: [(usize, Vec<u32>); 4] = [
        (1, vec![0]),
        (5, vec![3, 0, 3, 3, 4]),
        (4, (0..700).map(|i| i * 7 % 3).collect()), // a list longer than a block, and a row that nothing falls on
        (2, vec![1; 1500]),                         // more on one row than is found at once
    ];
    for (dtype, suffix) in DTYPES {
        for (from, list) in &lists {
            for columns in [1, 33, 48] {
                let (x, dy) = (
                    Elements::random(dtype, from * columns, 1),
                    Elements::random(dtype, list.len() * columns, 2),
                );
                let names = Tensor::new(&list[..], &Device::Cpu).unwrap();
                let want =
                    rows::backward(&dy.tensor(&[list.len(), columns]), &names, *from).unwrap();
                let orders = [1, 2].map(|seed| {
                    let mut y = Elements::unwritten(dtype, list.len() * columns);
                    kernels.launch(
                        &format!("rows_gather_{suffix}"),
                        Launch { seed, ..Launch::of(list.len() as u32, 32) },
                        &mut [
                            x.read(),
                            Argument::read(list),
                            y.write(),
                            Argument::value(columns as u32),
                        ],
                    );
                    y.assert_close(
                        "y",
                        &rows::forward(&x.tensor(&[*from, columns]), &names).unwrap(),
                        0.0,
                    );
                    let mut dx = Elements::unwritten(dtype, from * columns);
                    kernels.launch(
                        &format!("rows_spread_{suffix}"),
                        Launch { seed, ..Launch::of(*from as u32, 256) },
                        &mut [
                            dy.read(),
                            Argument::read(list),
                            dx.write(),
                            Argument::value(list.len() as u32),
                            Argument::value(columns as u32),
                        ],
                    );
                    // Sums of hundreds in f32, and rounded in between where there are more than are found at once.
                    dx.assert_close(
                        "dx",
                        &want,
                        if list.len() > 1000 { 4e-3 } else { 4.0 * TOLERANCE },
                    );
                    (y, dx)
                });
                assert_eq!(orders[0], orders[1], "{dtype:?} {columns}");
            }
        }
    }
}
