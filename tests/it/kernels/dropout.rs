//! `src/ops/dropout.cu` against the CPU's body: the same mask to the bit, and the same values where that is f32.

use candle_core::{DType, Device, Tensor};
use mvpbench::ops::dropout::DropoutMask;

use super::elements::{DTYPES, Elements};
use super::{Argument, Kernels, Launch};

const PROBABILITY: f64 = 0.3;
const SEED: u64 = 0x0123_4567_89ab_cdef;
const STEP: u32 = 7;
const MODULE: u32 = 256 * 31 + 2;

#[test]
fn the_mask_is_the_cpus_bit_for_bit() {
    let Some(kernels) = Kernels::of("src/ops/dropout.cu") else { return };
    for (dtype, suffix) in DTYPES {
        // Odd, in fours, more fours than a block.
        for (tokens, columns) in [(1, 1), (3, 33), (2, 40), (2, 300)] {
            let keys: [Vec<u32>; 2] =
                [9, 1000].map(|base| (0..tokens as u32).map(|t| base + t / 2).collect());
            let [rows, offsets] =
                keys.each_ref().map(|keys| Tensor::new(&keys[..], &Device::Cpu).unwrap());
            let mask = DropoutMask {
                probability: PROBABILITY,
                seed: SEED,
                step: STEP,
                module: MODULE,
                pair_rows: &rows,
                offsets: &offsets,
            };
            let (x, before) = (
                Elements::random(dtype, tokens * columns, 1),
                Elements::random(dtype, tokens * columns, 2),
            );
            let run = |kernel: &str, y: &mut Elements, blocks| {
                kernels.launch(
                    &format!("dropout_{kernel}_{suffix}"),
                    Launch {
                        grid: [tokens as u32, blocks, 1],
                        seed: u64::from(blocks),
                        ..Launch::of(1, 32)
                    },
                    &mut [
                        x.read(),
                        y.write(),
                        Argument::read(&keys[0]),
                        Argument::read(&keys[1]),
                        Argument::value(columns as u32),
                        Argument::value(SEED as u32),
                        Argument::value((SEED >> 32) as u32 ^ MODULE),
                        Argument::value(STEP),
                        Argument::value((PROBABILITY * 4_294_967_296.0).round() as u32),
                        Argument::value((1.0 / (1.0 - PROBABILITY)) as f32),
                    ],
                );
            };
            // The CPU's body in f32, rounded to the dtype.
            let of = |elements: &Elements| {
                elements.tensor(&[tokens, columns]).to_dtype(DType::F32).unwrap()
            };
            let rounded = |t: Tensor| {
                let values = t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                Elements::of(dtype, &values.into_iter().map(f64::from).collect::<Vec<_>>())
            };
            for blocks in [1, 3] {
                let mut y = Elements::unwritten(dtype, tokens * columns);
                run("apply", &mut y, blocks);
                assert_eq!(y, rounded(mask.apply(&of(&x)).unwrap()), "{dtype:?} {columns}");
                let mut sum = before.clone();
                run("add", &mut sum, blocks);
                let want = mask.add(of(&before), &of(&x)).unwrap();
                sum.assert_close("y + dropped", &want, 1e-7); // a GPU may round product and sum once
            }
        }
    }
}
