//! `src/ops/decode.cu` against the CPU's body in f64, which is held to attention over whole sequences.

use candle_core::{DType, Device, Tensor};
use mvpbench::ops::attention::Heads;
use mvpbench::ops::decode::{self, Cache, Places};

use super::elements::{DTYPES, Elements, TOLERANCE};
use super::{Argument, Kernels, Launch};

const CAPACITY: usize = 160;

/// Keys and values of some slots as the kernels have them.
struct Memory {
    keys: Elements,
    values: Elements,
}

struct Case {
    heads: Heads,
    dtype: DType,
    suffix: &'static str,
}

impl Case {
    fn row(&self) -> [Argument<'static>; 3] {
        let Heads { kv_heads, head_dim, .. } = self.heads;
        [kv_heads, head_dim, CAPACITY].map(|n| Argument::value(n as u32))
    }

    fn store(&self, memory: &mut Memory, k: &Elements, v: &Elements, places: &[u32]) {
        let launch = Launch::of(places.len() as u32 / 2, 64);
        let mut arguments = vec![k.read(), v.read(), Argument::read(places)];
        arguments.extend([memory.keys.write(), memory.values.write()]);
        arguments.extend(self.row());
        let kernels = Kernels::of("src/ops/decode.cu").unwrap();
        kernels.launch(&format!("decode_store_{}", self.suffix), launch, &mut arguments);
    }

    fn forward(&self, q: &Elements, memory: &Memory, places: &[u32], seed: u64) -> Elements {
        let Heads { heads, head_dim, .. } = self.heads;
        let rows = places.len() / 2;
        let mut o = Elements::unwritten(self.dtype, rows * heads * head_dim);
        let launch = Launch { grid: [rows as u32, heads as u32, 1], seed, ..Launch::of(1, 128) };
        let mut arguments = vec![q.read(), memory.keys.read(), memory.values.read()];
        arguments.extend([Argument::read(places), o.write(), Argument::value(heads as u32)]);
        arguments.extend(self.row());
        arguments.push(Argument::value(1.0 / (head_dim as f32).sqrt()));
        let kernels = Kernels::of("src/ops/decode.cu").unwrap();
        kernels.launch(&format!("decode_forward_{}", self.suffix), launch, &mut arguments);
        drop(arguments);
        o
    }
}

#[test]
fn new_tokens_attend_to_their_slots_in_any_order_of_threads_and_any_company() {
    if Kernels::of("src/ops/decode.cu").is_none() {
        return;
    }
    // Elements one by one, two and four at a time; one key, a warp's tile and one more, more than the block takes at once.
    let shapes = [(1, 1, 2), (4, 2, 12), (6, 2, 64), (2, 1, 128), (2, 2, 96), (1, 1, 256)];
    let (slots, lengths) = ([3u32, 0, 4, 1], [1usize, 31, 33, 150]);
    for (dtype, suffix) in DTYPES {
        for (heads, kv_heads, head_dim) in shapes {
            let case = Case { heads: Heads { heads, kv_heads, head_dim }, dtype, suffix };
            let (width, room) = (kv_heads * head_dim, 5 * kv_heads * CAPACITY * head_dim);
            // What was never stored is NaN, and would show.
            let mut memory = Memory {
                keys: Elements::unwritten(dtype, room),
                values: Elements::unwritten(dtype, room),
            };
            let cpu = Cache::new(5, CAPACITY, case.heads, DType::F64, &Device::Cpu).unwrap();
            for (slot, length) in slots.into_iter().zip(lengths) {
                let (positions, slots): (Vec<u32>, Vec<u32>) =
                    (0..length as u32).map(|position| (position, slot)).unzip();
                let [k, v] = [1, 2].map(|seed| {
                    Elements::random(dtype, length * width, seed + 10 * u64::from(slot))
                });
                case.store(&mut memory, &k, &v, &[&slots[..], &positions[..]].concat());
                let [k, v] = [&k, &v].map(|x| x.tensor(&[length, width]));
                cpu.store(&k, &v, &Places::new(&slots, &positions)).unwrap();
            }
            let positions = lengths.map(|length| length as u32 - 1);
            let places = [slots, positions].concat();
            let q = Elements::random(dtype, slots.len() * heads * head_dim, 7);
            let q64 = q.tensor(&[slots.len(), heads * head_dim]);
            let want = decode::forward(&q64, &cpu, &Places::new(&slots, &positions)).unwrap();
            let o = case.forward(&q, &memory, &places, 1);
            o.assert_close("o", &want, 4.0 * TOLERANCE);
            assert_eq!(o, case.forward(&q, &memory, &places, 2));
            let all = o.tensor(&[slots.len(), heads * head_dim]);
            for row in 0..slots.len() {
                let of = |t: &Tensor| t.get(row).unwrap().to_vec1::<f64>().unwrap();
                let alone = Elements::of(dtype, &of(&q64));
                let alone = case.forward(&alone, &memory, &[slots[row], positions[row]], 3);
                assert_eq!(alone.values(), of(&all), "{dtype:?} {:?} row {row}", case.heads);
            }
        }
    }
}
