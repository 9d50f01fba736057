//! Attention of one new token per sequence over that sequence's cached keys and values: `o = softmax(q k^T / sqrt(head_dim)) v`.
//!
//! A [`Cache`] holds keys and values of one layer, a slot for each sequence. On the CPU the keys of `BLOCK` positions lie
//! transposed, `[head_dim, BLOCK]`: scores are computed for a block at a time, reading memory in order, without a sum across
//! vector lanes. On a GPU keys and values lie as `[capacity, head_dim]`. A row's bits depend on its own sequence alone.

#[cfg(feature = "cuda")]
mod launch;

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use crate::ops::attention::Heads;
use crate::ops::cpu::{self, InPlace, Real, on_device, vectorised};

/// Positions of a sequence that a cache has room for together.
pub(crate) const BLOCK: usize = cpu::LANES;

/// Keys and values of one layer.
#[derive(Debug, Clone)]
pub struct Cache {
    /// `[slots, kv_heads, capacity / BLOCK, head_dim * BLOCK]`.
    keys: Tensor,
    /// `[slots, kv_heads, capacity / BLOCK, BLOCK * head_dim]`.
    values: Tensor,
    heads: Heads,
}

/// Row `i` is the token at `positions[i]` of the sequence in `slots[i]`.
#[derive(Debug, Clone)]
pub struct Places<'a> {
    /// `[rows]` slot of each row's sequence.
    slots: &'a [u32],
    /// `[rows]` position within the sequence, from 0.
    positions: &'a [u32],
    /// Both on a GPU, once copied.
    #[cfg(feature = "cuda")]
    copied: std::sync::OnceLock<Tensor>,
}

impl<'a> Places<'a> {
    /// Row `i` at `positions[i]`, from 0, of the sequence in `slots[i]`.
    pub fn new(slots: &'a [u32], positions: &'a [u32]) -> Self {
        Self {
            slots,
            positions,
            #[cfg(feature = "cuda")]
            copied: Default::default(),
        }
    }
}

impl Cache {
    /// An empty cache of `slots` sequences with at most `capacity` tokens each, rounded up to whole blocks.
    pub fn new(
        slots: usize,
        capacity: usize,
        heads: Heads,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let shape = (slots, heads.kv_heads, capacity.div_ceil(BLOCK), heads.head_dim * BLOCK);
        let empty = || Tensor::zeros(shape, dtype, device);
        Ok(Self { keys: empty()?, values: empty()?, heads })
    }

    /// Most tokens of a sequence.
    pub fn capacity(&self) -> usize {
        self.keys.dims().get(2).map_or(0, |blocks| blocks * BLOCK)
    }

    /// Makes room for `capacity` tokens in each slot and keeps its content.
    pub fn grow(&mut self, capacity: usize) -> Result<()> {
        let (slots, kv_heads, blocks, width) = self.keys.dims4()?;
        let more = capacity.div_ceil(BLOCK).saturating_sub(blocks);
        if more > 0 {
            let shape = (slots, kv_heads, more, width);
            let room = Tensor::zeros(shape, self.keys.dtype(), self.keys.device())?;
            self.keys = Tensor::cat(&[&self.keys, &room], 2)?;
            self.values = Tensor::cat(&[&self.values, &room], 2)?;
        }
        Ok(())
    }

    /// Stores the keys and values of some tokens at their places.
    ///
    /// - `k`, `v`: `[rows, kv_heads * head_dim]`, positions already applied to `k`.
    pub fn store(&self, k: &Tensor, v: &Tensor, at: &Places<'_>) -> Result<()> {
        self.refuse_misplaced(k, at, self.heads.kv_heads)?;
        self.refuse_misplaced(v, at, self.heads.kv_heads)?;
        #[cfg(feature = "cuda")]
        if k.device().is_cuda() {
            return launch::store(self, k, v, at);
        }
        for (cache, new, lay) in [(&self.keys, k, Lay::Keys), (&self.values, v, Lay::Values)] {
            cache.inplace_op2(new, &Store { at, lay, heads: self.heads })?;
        }
        Ok(())
    }

    fn refuse_misplaced(&self, rows: &Tensor, at: &Places<'_>, heads: usize) -> Result<()> {
        let slots = self.keys.dim(0)?;
        let inside = |(slot, position): (&u32, &u32)| {
            (*slot as usize) < slots && (*position as usize) < self.capacity()
        };
        if at.slots.len() != at.positions.len()
            || rows.dims() != [at.slots.len(), heads * self.heads.head_dim]
            || !at.slots.iter().zip(at.positions).all(inside)
        {
            bail!(
                "decode: rows of {:?} at {at:?} do not fit {slots} slots of {} tokens and {:?}",
                rows.dims(),
                self.capacity(),
                self.heads
            );
        }
        Ok(())
    }
}

/// Attention of each row over positions `0..=positions[i]` of its slot, whose keys and values must be stored.
///
/// - `q`: `[rows, heads * head_dim]`, positions already applied. Returns `o` in the same shape.
pub fn forward(q: &Tensor, cache: &Cache, at: &Places<'_>) -> Result<Tensor> {
    cache.refuse_misplaced(q, at, cache.heads.heads)?;
    on_device!(
        "decode", q,
        T => forward_cpu::<T>(q, cache, at),
        cuda => launch::forward(q, cache, at)
    )
}

#[derive(Clone, Copy)]
enum Lay {
    /// `[head_dim, BLOCK]` within a block.
    Keys,
    /// `[BLOCK, head_dim]` within a block.
    Values,
}

struct Store<'a> {
    at: &'a Places<'a>,
    lay: Lay,
    heads: Heads,
}

impl InplaceOp2 for Store<'_> {
    fn name(&self) -> &'static str {
        "decode store"
    }

    fn cpu_fwd(
        &self,
        cache: &mut CpuStorage,
        cache_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
    ) -> Result<()> {
        match cache {
            CpuStorage::F32(_) => self.store::<f32>(cache, cache_layout, rows, rows_layout),
            CpuStorage::F64(_) => self.store::<f64>(cache, cache_layout, rows, rows_layout),
            _ => bail!("decode store: expected f32 or f64 on the cpu"),
        }
    }
}

impl Store<'_> {
    fn store<T: Real + InPlace>(
        &self,
        cache: &mut CpuStorage,
        cache_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
    ) -> Result<()> {
        let Heads { kv_heads, head_dim, .. } = self.heads;
        let (_, _, blocks, _) = cache_layout.shape().dims4()?;
        let Some((from, to)) = rows_layout.contiguous_offsets() else {
            bail!("decode store: expected contiguous rows");
        };
        let rows = &T::cpu_storage_as_slice(rows)?[from..to];
        let cache = cpu::elements_mut::<T>(cache, cache_layout)?;
        let places = self.at.slots.iter().zip(self.at.positions);
        for (row, (&slot, &position)) in rows.chunks_exact(kv_heads * head_dim).zip(places) {
            let (block, place) = (position as usize / BLOCK, position as usize % BLOCK);
            for (head, row) in row.chunks_exact(head_dim).enumerate() {
                let at = ((slot as usize * kv_heads + head) * blocks + block) * BLOCK * head_dim;
                let block = &mut cache[at..][..BLOCK * head_dim];
                match self.lay {
                    Lay::Values => block[place * head_dim..][..head_dim].copy_from_slice(row),
                    Lay::Keys => {
                        for (line, &x) in block.chunks_exact_mut(BLOCK).zip(row) {
                            line[place] = x;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Fewest multiplications that are worth a task of their own.
const WORK_PER_TASK: usize = 32 * 1024;

fn forward_cpu<T: Real>(q: &Tensor, cache: &Cache, at: &Places<'_>) -> Result<Tensor> {
    let Heads { heads, kv_heads, head_dim } = cache.heads;
    let (rows, width) = q.dims2()?;
    let (q, keys) = (cpu::elements::<T>(q)?, cpu::elements::<T>(&cache.keys)?);
    let values = cpu::elements::<T>(&cache.values)?;
    let (q, keys, values) = (&q[..], &keys[..], &values[..]);
    let (group, slot_head) = (heads / kv_heads * head_dim, cache.capacity() * head_dim);
    let scale = T::from_f64(cache.heads.scale());
    let mut o = vec![T::zero(); rows * width];
    let work: usize = at.positions.iter().map(|&p| 2 * (p as usize + 1) * width).sum();
    let tasks = (work / WORK_PER_TASK).max(1);
    let pieces = o.par_chunks_exact_mut(group).with_min_len((rows * kv_heads).div_ceil(tasks));
    pieces.enumerate().for_each_init(Vec::new, |scores, (place, o)| {
        let (row, kv) = (place / kv_heads, place % kv_heads);
        let (slot, seen) = (at.slots[row] as usize, at.positions[row] as usize + 1);
        let from = (slot * kv_heads + kv) * slot_head;
        let (keys, values) = (&keys[from..][..slot_head], &values[from..][..seen * head_dim]);
        let q = &q[row * width + kv * group..][..group];
        scores.resize(seen.next_multiple_of(BLOCK), T::zero());
        vectorised(
            #[inline(always)]
            || {
                for (q, o) in q.chunks_exact(head_dim).zip(o.chunks_exact_mut(head_dim)) {
                    one_head(q, keys, values, scores, seen, scale, o);
                }
            },
        );
    });
    cpu::tensor(o, (rows, width))
}

/// One query over the first `seen` keys and values; `scores`: room for them in whole blocks.
#[inline(always)]
fn one_head<T: Real>(
    q: &[T],
    keys: &[T],
    values: &[T],
    scores: &mut [T],
    seen: usize,
    scale: T,
    o: &mut [T],
) {
    for (scores, keys) in scores.chunks_exact_mut(BLOCK).zip(keys.chunks_exact(BLOCK * q.len())) {
        let mut sums = [T::zero(); BLOCK];
        for (&q, keys) in q.iter().zip(keys.as_chunks::<BLOCK>().0) {
            for (sum, &key) in sums.iter_mut().zip(keys) {
                *sum = Real::mul_add(q, key, *sum);
            }
        }
        scores.copy_from_slice(&sums);
    }
    let scores = &mut scores[..seen];
    let largest = cpu::max_of(scores) * scale;
    let sum = cpu::exp_in_place(scores, scale, largest);
    o.fill(T::zero());
    for (&p, value) in scores.iter().zip(values.chunks_exact(o.len())) {
        for (o, &value) in o.iter_mut().zip(value) {
            *o = Real::mul_add(p, value, *o);
        }
    }
    let inverse = T::one() / sum;
    for o in o {
        *o *= inverse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::attention;
    use crate::ops::testing::{NOT_FINITE, assert_close, broken, not_finite, random, tolerance};

    const SHAPES: [Heads; 3] = [
        Heads { heads: 1, kv_heads: 1, head_dim: 2 },
        Heads { heads: 4, kv_heads: 2, head_dim: 12 },
        Heads { heads: 6, kv_heads: 2, head_dim: 64 },
    ];

    /// The last row of whole attention over a sequence sees what one new token sees in its cache.
    #[test]
    fn a_new_token_attends_as_the_last_row_of_the_whole_sequence() {
        for dtype in [DType::F32, DType::F64] {
            for heads in SHAPES {
                let lengths = [1, 31, 33, 100];
                let mut cache =
                    Cache::new(lengths.len() + 1, 5, heads, dtype, &Device::Cpu).unwrap();
                let (mut last, mut want) = (Vec::new(), Vec::new());
                // Slots in another order than rows.
                let slots = [3, 0, 4, 1];
                for (slot, length) in slots.into_iter().zip(lengths) {
                    let width = [heads.heads, heads.kv_heads, heads.kv_heads];
                    let [q, k, v] = [0, 1, 2].map(|i| {
                        random(
                            &[length, width[i] * heads.head_dim],
                            (10 * length + i) as u64,
                            dtype,
                        )
                    });
                    let start = vec![0; length];
                    let mask = attention::Mask::new(&start, &start, &start).unwrap();
                    let (o, _) = attention::forward(&q, &k, &v, &mask, heads).unwrap();
                    cache.grow(length).unwrap();
                    let (positions, slots): (Vec<u32>, Vec<u32>) =
                        (0..length as u32).map(|position| (position, slot)).unzip();
                    let at = Places::new(&slots, &positions);
                    cache.store(&k, &v, &at).unwrap();
                    last.push(q.narrow(0, length - 1, 1).unwrap());
                    want.push(o.narrow(0, length - 1, 1).unwrap());
                }
                let positions = lengths.map(|length| length as u32 - 1);
                let at = Places::new(&slots, &positions);
                let got = forward(&Tensor::cat(&last, 0).unwrap(), &cache, &at).unwrap();
                assert_close("o", &got, &Tensor::cat(&want, 0).unwrap(), tolerance(dtype));
                for (row, last) in last.iter().enumerate() {
                    let at = Places::new(&slots[row..][..1], &positions[row..][..1]);
                    let alone = forward(last, &cache, &at).unwrap().to_dtype(DType::F64).unwrap();
                    let together = got.narrow(0, row, 1).unwrap().to_dtype(DType::F64).unwrap();
                    assert_eq!(alone.to_vec2::<f64>().unwrap(), together.to_vec2::<f64>().unwrap());
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let heads = Heads { heads: 2, kv_heads: 1, head_dim: 8 };
        let (slots, positions): (Vec<u32>, Vec<u32>) = (0..40).map(|place| (0, place)).unzip();
        for bad in NOT_FINITE {
            for side in 0..3 {
                let of = |i: usize| if i == side { bad } else { 1.0 };
                let [q, k, v] = [(0, 16), (1, 8), (2, 8)]
                    .map(|(i, width)| broken(&[40, width], i as u64, 39 * width, of(i)));
                let cache = Cache::new(1, 40, heads, DType::F32, &Device::Cpu).unwrap();
                cache.store(&k, &v, &Places::new(&slots, &positions)).unwrap();
                let start = vec![0; 40];
                let mask = attention::Mask::new(&start, &start, &start).unwrap();
                let [q64, k64, v64] = [&q, &k, &v].map(|t| t.to_dtype(DType::F64).unwrap());
                let (want, _) = attention::forward(&q64, &k64, &v64, &mask, heads).unwrap();
                let q = q.narrow(0, 39, 1).unwrap().contiguous().unwrap();
                let got = forward(&q, &cache, &Places::new(&[0], &[39])).unwrap();
                let due = not_finite(&want)[39];
                assert!(not_finite(&got)[0] >= due, "{bad} in {side}: {due} are due");
                assert!(due > 0 || side == 1, "{bad} in {side}");
            }
        }
    }

    #[test]
    fn a_place_outside_the_cache_is_refused() {
        let heads = SHAPES[1];
        let cache = Cache::new(2, 32, heads, DType::F32, &Device::Cpu).unwrap();
        let (q, k) = (random(&[1, 48], 1, DType::F32), random(&[1, 24], 2, DType::F32));
        for (slot, position) in [(2, 0), (0, 32)] {
            let (slot, position) = ([slot], [position]);
            let at = Places::new(&slot, &position);
            assert!(cache.store(&k, &k, &at).is_err() && forward(&q, &cache, &at).is_err());
        }
        let at = Places::new(&[0], &[0]);
        assert!(cache.store(&q, &q, &at).is_err() && forward(&k, &cache, &at).is_err());
    }
}
