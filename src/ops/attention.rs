//! Attention over packed, prefix-shared sequences: `o = softmax(q k^T / sqrt(head_dim)) v` where a token sees the rows from
//! the start of its pair to itself, less one hidden interval (a rejected answer does not see the chosen one).
//!
//! Only the log-sum-exp of each row is kept; the backward pass recomputes the probabilities, block by block:
//! `dS = P * (dO V^T - rowsum(dO * O))`, `dQ = dS K / sqrt(d)`, `dK = dS^T Q / sqrt(d)`, `dV = P^T dO`.
//! Head `n` of the queries reads key/value head `n / (heads / kv_heads)`.

#[cfg(feature = "cuda")]
mod launch;

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::block::{Block, matrices};
use super::cpu::{self, Real, on_device, vectorised};
use super::gemm::{Into, Threads, Tile, gemm};

/// Query rows computed together on the CPU.
const BLOCK: usize = 64;

/// How a row of `q`, `k` or `v` divides into heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of one head.
    pub head_dim: usize,
}

impl Heads {
    pub(super) fn scale(self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
    }
}

/// Which rows each row sees.
#[derive(Debug, Clone)]
pub struct Mask {
    /// Rows of one pair each, in order.
    pairs: Vec<Vec<Run>>,
    tokens: usize,
    /// The same for a GPU, once it was copied there.
    #[cfg(feature = "cuda")]
    copied: std::sync::Arc<std::sync::Mutex<Option<Tensor>>>,
}

/// Consecutive rows of one pair with the same hidden interval.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    rows: Range<usize>,
    /// First row of the pair.
    start: usize,
    /// Rows that none of these sees; before all of them, empty if there are none.
    hidden: Range<usize>,
}

impl Mask {
    /// From a pack's `start`, `hide_from` and `hide_to`, each `[tokens]`: row `i` sees `start[i]..=i` less `hide_from[i]..hide_to[i]`.
    ///
    /// Refuses intervals that reach outside the pair or hide a row from itself.
    pub fn new(start: &[u32], hide_from: &[u32], hide_to: &[u32]) -> Result<Self> {
        let mut pairs: Vec<Vec<Run>> = Vec::new();
        for (row, ((&start, &from), &to)) in start.iter().zip(hide_from).zip(hide_to).enumerate() {
            let (start, hidden) =
                (start as usize, if from < to { from as usize..to as usize } else { 0..0 });
            if start > row || (!hidden.is_empty() && (hidden.start < start || hidden.end > row)) {
                bail!("attention: row {row} starts at {start} and hides {hidden:?}");
            }
            match pairs.last_mut() {
                Some(runs) if runs[0].start == start => match runs.last_mut() {
                    Some(run) if run.hidden == hidden => run.rows.end = row + 1,
                    _ => runs.push(Run { rows: row..row + 1, start, hidden }),
                },
                _ if start == row => pairs.push(vec![Run { rows: row..row + 1, start, hidden }]),
                _ => bail!(
                    "attention: row {row} belongs to a pair that starts at {start}, which is not the one before it"
                ),
            }
        }
        for run in pairs.iter().flatten() {
            if run.hidden.end > run.rows.start {
                bail!(
                    "attention: rows {:?} hide {:?}, which is not before all of them",
                    run.rows,
                    run.hidden
                );
            }
        }
        Ok(Self {
            pairs,
            tokens: start.len(),
            #[cfg(feature = "cuda")]
            copied: Default::default(),
        })
    }

    /// The rows of each pair.
    fn bands(&self) -> Vec<Range<usize>> {
        let last = |runs: &[Run]| runs.last().map_or(0, |run| run.rows.end);
        self.pairs.iter().map(|runs| runs[0].start..last(runs)).collect()
    }
}

/// Returns `o` `[tokens, heads * head_dim]` and the log-sum-exp of each row's scaled scores, `[tokens, heads]`, f32 for bf16.
///
/// - `q`: `[tokens, heads * head_dim]`, `k`, `v`: `[tokens, kv_heads * head_dim]`; positions already applied.
pub fn forward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Mask,
    heads: Heads,
) -> Result<(Tensor, Tensor)> {
    on_device!(
        "attention", q,
        T => forward_cpu::<T>(q, k, v, mask, heads),
        cuda => launch::forward(q, k, v, mask, heads)
    )
}

/// Returns the gradients of `q`, `k` and `v`, in their shapes.
///
/// - `d_o`: gradient of `o`; `o`, `lse`: as [`forward`] returned them.
pub fn backward(
    d_o: &Tensor,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    o: &Tensor,
    lse: &Tensor,
    mask: &Mask,
    heads: Heads,
) -> Result<(Tensor, Tensor, Tensor)> {
    on_device!(
        "attention backward", d_o,
        T => backward_cpu::<T>(d_o, (q, k, v), o, lse, mask, heads),
        cuda => launch::backward(d_o, (q, k, v), o, lse, mask, heads)
    )
}

/// Some query rows and the two stretches of key rows they see: `dense` wholly, `causal` up to the row itself.
struct Queries {
    rows: Range<usize>,
    dense: Range<usize>,
    causal: Range<usize>,
}

impl Queries {
    fn of(runs: &[Run]) -> impl Iterator<Item = Self> {
        runs.iter().flat_map(|run| {
            run.rows.clone().step_by(BLOCK).map(|from| {
                let to = (from + BLOCK).min(run.rows.end);
                let (dense, causal) = if run.hidden.is_empty() {
                    (0..0, run.start)
                } else {
                    (run.start..run.hidden.start, run.hidden.end)
                };
                Self { rows: from..to, dense, causal: causal..to }
            })
        })
    }

    fn keys(&self) -> usize {
        self.dense.len() + self.causal.len()
    }

    /// How many of the block's keys `row` sees, from the first on.
    fn seen(&self, row: usize) -> usize {
        self.dense.len() + row + 1 - self.causal.start
    }

    /// The stretches that are not empty, each with the place of its first key among the block's.
    fn stretches(&self) -> impl Iterator<Item = (&Range<usize>, usize)> {
        let both = [(&self.dense, 0), (&self.causal, self.dense.len())];
        both.into_iter().filter(|(stretch, _)| !stretch.is_empty())
    }

    /// `out [rows, keys] = a b`; `a` are the block's rows, `b [head_dim, pair rows]` begins at row `start`.
    fn scores<T: Real>(
        &self,
        out: &mut [T],
        start: usize,
        a: Tile<T>,
        b: Tile<T>,
        head_dim: usize,
    ) {
        let mut out = Block::of(out, self.keys());
        for (stretch, key) in self.stretches() {
            let out = out.part(0..self.rows.len(), key..key + stretch.len());
            let b = Tile { data: &b.data[stretch.start - start..], ..b };
            gemm(head_dim, (out, Into::Replace), a, b, T::one(), Threads::One);
        }
    }

    /// `out [rows, head_dim] += weights b`; `b` are all rows.
    fn combine<T: Real>(&self, mut out: Block<T>, weights: &[T], b: Tile<T>) {
        for (stretch, key) in self.stretches() {
            let out = out.part(0..self.rows.len(), 0..out.columns());
            let weights = Tile::rows(&weights[key..], self.keys());
            let b = Tile { data: &b.data[stretch.start * b.row..], ..b };
            gemm(stretch.len(), (out, Into::Add), weights, b, T::one(), Threads::One);
        }
    }

    /// `out[key] += weights^T a`; `out [pair rows, head_dim]` begins at row `start`.
    fn scatter<T: Real>(&self, out: &mut Block<T>, start: usize, weights: &[T], a: Tile<T>) {
        for (stretch, key) in self.stretches() {
            let out = out.part(stretch.start - start..stretch.end - start, 0..out.columns());
            let weights = Tile::rows(&weights[key..], self.keys()).t();
            gemm(self.rows.len(), (out, Into::Add), weights, a, T::one(), Threads::One);
        }
    }
}

/// Head `head` of row `row` and the rows after it, of a `[tokens, heads * head_dim]` matrix.
fn head_rows<T>(data: &[T], row: usize, head: usize, heads: usize, head_dim: usize) -> Tile<'_, T> {
    Tile::rows(&data[(row * heads + head) * head_dim..], heads * head_dim)
}

/// The transpose `[head_dim, rows]` of the first `rows` rows of `from`, which spares every block of queries to make its own.
fn transpose<T: Real>(to: &mut Vec<T>, from: Tile<T>, rows: usize, head_dim: usize) {
    /// Rows and columns turned together, in registers.
    const SQUARE: usize = 16;
    to.resize(rows * head_dim, T::zero());
    vectorised(
        #[inline(always)]
        || {
            for first in (0..rows).step_by(SQUARE) {
                let n = SQUARE.min(rows - first);
                let mut d = 0;
                while n == SQUARE && d + SQUARE <= head_dim {
                    let mut square = [[T::zero(); SQUARE]; SQUARE];
                    for (row, line) in (first..).zip(&mut square) {
                        line.copy_from_slice(&from.data[row * from.row + d..][..SQUARE]);
                    }
                    for column in 0..SQUARE {
                        let line = &mut to[(d + column) * rows + first..][..SQUARE];
                        for row in 0..SQUARE {
                            line[row] = square[row][column];
                        }
                    }
                    d += SQUARE;
                }
                for d in d..head_dim {
                    let line = &mut to[d * rows + first..][..n];
                    for (x, row) in line.iter_mut().zip(first..) {
                        *x = from.data[row * from.row + d];
                    }
                }
            }
        },
    );
}

/// Buffers of a thread, left as they are from one head to the next.
struct Scratch<T> {
    scores: Vec<T>,
    slopes: Vec<T>,
    keys: Vec<T>,
    values: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self { scores: Vec::new(), slopes: Vec::new(), keys: Vec::new(), values: Vec::new() }
    }
}

/// The first `n` elements, whatever they are.
fn first<T: Real>(buffer: &mut Vec<T>, n: usize) -> &mut [T] {
    if buffer.len() < n {
        buffer.resize(n, T::zero());
    }
    &mut buffer[..n]
}

fn check(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Mask, heads: Heads) -> Result<()> {
    let (query, key) = (
        [mask.tokens, heads.heads * heads.head_dim],
        [mask.tokens, heads.kv_heads * heads.head_dim],
    );
    if q.dims() != query
        || k.dims() != key
        || v.dims() != key
        || heads.kv_heads == 0
        || !heads.heads.is_multiple_of(heads.kv_heads)
    {
        bail!(
            "attention: q {:?}, k {:?}, v {:?} with {} tokens and {heads:?}",
            q.dims(),
            k.dims(),
            v.dims(),
            mask.tokens
        );
    }
    Ok(())
}

fn forward_cpu<T: Real>(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Mask,
    shape: Heads,
) -> Result<(Tensor, Tensor)> {
    check(q, k, v, mask, shape)?;
    let Heads { heads, kv_heads, head_dim } = shape;
    let (q, k, v) = (cpu::elements::<T>(q)?, cpu::elements::<T>(k)?, cpu::elements::<T>(v)?);
    let (q, k, v) = (&q[..], &k[..], &v[..]);
    let scale = T::from_f64(shape.scale());
    let widths = [head_dim, 1];
    let [o, lse] =
        matrices(&mask.bands(), heads, widths, |pair, head, scratch, [mut o, mut lse]| {
            let Scratch { scores, keys, .. } = scratch;
            let (runs, start, rows) = (&mask.pairs[pair], mask.pairs[pair][0].start, o.rows());
            let kv = head / (heads / kv_heads);
            let values = head_rows(v, 0, kv, kv_heads, head_dim);
            transpose(keys, head_rows(k, start, kv, kv_heads, head_dim), rows, head_dim);
            for block in Queries::of(runs) {
                let (at, n, keys_seen) = (block.rows.start - start, block.rows.len(), block.keys());
                let queries = head_rows(q, block.rows.start, head, heads, head_dim);
                let scores = first(scores, n * keys_seen);
                block.scores(scores, start, queries, Tile::rows(keys, rows), head_dim);
                let mut sums = [T::one(); BLOCK];
                vectorised(
                    #[inline(always)]
                    || {
                        for (i, row) in scores.chunks_exact_mut(keys_seen).enumerate() {
                            let (row, unseen) = row.split_at_mut(block.seen(block.rows.start + i));
                            let largest = cpu::max_of(row) * scale;
                            sums[i] = cpu::exp_in_place(row, scale, largest);
                            lse.row(at + i)[0] = largest + T::from_f64(sums[i].to_f64().ln());
                            unseen.fill(T::zero());
                        }
                    },
                );
                block.combine(o.part(at..at + n, 0..head_dim), scores, values);
                for (i, &sum) in (at..at + n).zip(&sums) {
                    o.row(i).iter_mut().for_each(|o| *o /= sum);
                }
            }
        });
    Ok((cpu::tensor(o, (mask.tokens, heads * head_dim))?, cpu::tensor(lse, (mask.tokens, heads))?))
}

fn backward_cpu<T: Real>(
    d_o: &Tensor,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    o: &Tensor,
    lse: &Tensor,
    mask: &Mask,
    shape: Heads,
) -> Result<(Tensor, Tensor, Tensor)> {
    check(q, k, v, mask, shape)?;
    let Heads { heads, kv_heads, head_dim } = shape;
    let group = heads / kv_heads;
    let (q, k, v) = (cpu::elements::<T>(q)?, cpu::elements::<T>(k)?, cpu::elements::<T>(v)?);
    let (d_o, o, lse) =
        (cpu::elements::<T>(d_o)?, cpu::elements::<T>(o)?, cpu::elements::<T>(lse)?);
    let (q, k, v, d_o, o, lse) = (&q[..], &k[..], &v[..], &d_o[..], &o[..], &lse[..]);
    let scale = T::from_f64(shape.scale());
    let widths = [group * head_dim, head_dim, head_dim];
    let bands = mask.bands();
    let [dq, dk, dv] =
        matrices(&bands, kv_heads, widths, |pair, kv, scratch, [mut dq, mut dk, mut dv]| {
            let Scratch { scores, slopes, keys: across_keys, values: across_values } = scratch;
            let (runs, start, rows) = (&mask.pairs[pair], mask.pairs[pair][0].start, dk.rows());
            let keys = head_rows(k, 0, kv, kv_heads, head_dim);
            for (across, t) in [(&mut *across_keys, k), (&mut *across_values, v)] {
                transpose(across, head_rows(t, start, kv, kv_heads, head_dim), rows, head_dim);
            }
            for (member, head) in (kv * group..(kv + 1) * group).enumerate() {
                for block in Queries::of(runs) {
                    let (at, n, keys_seen) = (block.rows.start, block.rows.len(), block.keys());
                    let (p, ds) = (first(scores, n * keys_seen), first(slopes, n * keys_seen));
                    let queries = head_rows(q, at, head, heads, head_dim);
                    let d_out = head_rows(d_o, at, head, heads, head_dim);
                    block.scores(p, start, queries, Tile::rows(across_keys, rows), head_dim);
                    block.scores(ds, start, d_out, Tile::rows(across_values, rows), head_dim);
                    vectorised(
                        #[inline(always)]
                        || {
                            let lines =
                                p.chunks_exact_mut(keys_seen).zip(ds.chunks_exact_mut(keys_seen));
                            for ((p, ds), row) in lines.zip(at..) {
                                let place = (row * heads + head) * head_dim;
                                let pull =
                                    cpu::dot(&d_o[place..][..head_dim], &o[place..][..head_dim]);
                                let seen = block.seen(row);
                                cpu::exp_in_place(&mut p[..seen], scale, lse[row * heads + head]);
                                p[seen..].fill(T::zero());
                                for (ds, &p) in ds.iter_mut().zip(p.iter()) {
                                    *ds = p * (*ds - pull) * scale;
                                }
                            }
                        },
                    );
                    let columns = member * head_dim..(member + 1) * head_dim;
                    block.combine(dq.part(at - start..at - start + n, columns), ds, keys);
                    block.scatter(&mut dk, start, ds, queries);
                    block.scatter(&mut dv, start, p, d_out);
                }
            }
        });
    let shaped = |data, heads: usize| cpu::tensor(data, (mask.tokens, heads * head_dim));
    Ok((shaped(dq, heads)?, shaped(dk, kv_heads)?, shaped(dv, kv_heads)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{
        NOT_FINITE, assert_close, broken, finite_difference, not_finite, random, tape, tolerance,
    };
    use candle_core::DType;

    type Arrays = (Vec<u32>, Vec<u32>, Vec<u32>);

    /// `[prompt | chosen | rejected]` of each pair, end to end.
    fn packed(pairs: &[(u32, u32, u32)]) -> Arrays {
        let (mut start, mut from, mut to) = (vec![], vec![], vec![]);
        for &(prompt, chosen, rejected) in pairs {
            let base = start.len() as u32;
            for i in 0..prompt + chosen + rejected {
                let hides = i >= prompt + chosen && chosen > 0;
                start.push(base);
                from.push(if hides { base + prompt } else { 0 });
                to.push(if hides { base + prompt + chosen } else { 0 });
            }
        }
        (start, from, to)
    }

    fn reference(t: &[Tensor], (start, from, to): &Arrays, shape: Heads) -> Result<Tensor> {
        let (tokens, _) = t[0].dims2()?;
        let Heads { heads, kv_heads, head_dim } = shape;
        let blocked: Vec<f64> = (0..tokens * tokens)
            .map(|at| (at / tokens, at % tokens))
            .map(|(i, j)| {
                j <= i && j >= start[i] as usize && !(j >= from[i] as usize && j < to[i] as usize)
            })
            .map(|visible| if visible { 0.0 } else { -1e30 })
            .collect();
        let blocked = Tensor::from_vec(blocked, (1, tokens, tokens), t[0].device())?
            .to_dtype(t[0].dtype())?;
        let split = |t: &Tensor, heads: usize| {
            t.reshape((tokens, heads, head_dim))?.transpose(0, 1)?.contiguous()
        };
        let wide = |t: &Tensor| {
            let t = split(t, kv_heads)?.unsqueeze(1)?.broadcast_as((
                kv_heads,
                heads / kv_heads,
                tokens,
                head_dim,
            ))?;
            t.reshape((heads, tokens, head_dim))?.contiguous()
        };
        let (q, k, v) = (split(&t[0], heads)?, wide(&t[1])?, wide(&t[2])?);
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * shape.scale())?
            .broadcast_add(&blocked)?;
        candle_nn::ops::softmax(&scores, 2)?
            .matmul(&v)?
            .transpose(0, 1)?
            .contiguous()?
            .reshape((tokens, heads * head_dim))
    }

    fn inputs(tokens: usize, shape: Heads, dtype: DType) -> [Tensor; 4] {
        let (query, key) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        [(query, 1), (key, 2), (key, 3), (query, 4)]
            .map(|(width, seed)| random(&[tokens, width], seed, dtype))
    }

    #[test]
    fn values_and_gradients_agree_with_the_reference() {
        let long = BLOCK as u32;
        let packs: [&[(u32, u32, u32)]; 5] = [
            &[(1, 0, 0)],
            &[(2, 1, 1), (3, 0, 2), (0, 2, 2)],
            &[(5, 3, 4)],
            &[(long + 3, long - 1, 2 * long)],
            &[(1, 1, 0), (long, 1, 1)],
        ];
        for dtype in [DType::F32, DType::F64] {
            for pack in packs {
                for (heads, kv_heads, head_dim) in [(1, 1, 1), (4, 2, 8), (3, 1, 5)] {
                    let shape = Heads { heads, kv_heads, head_dim };
                    let arrays = packed(pack);
                    let mask = Mask::new(&arrays.0, &arrays.1, &arrays.2).unwrap();
                    let [q, k, v, d_o] = inputs(arrays.0.len(), shape, dtype);
                    let (o, lse) = forward(&q, &k, &v, &mask, shape).unwrap();
                    let want =
                        reference(&[q.clone(), k.clone(), v.clone()], &arrays, shape).unwrap();
                    assert_close("o", &o, &want, 4.0 * tolerance(dtype));
                    let (dq, dk, dv) =
                        backward(&d_o, (&q, &k, &v), &o, &lse, &mask, shape).unwrap();
                    let want = tape(&[&q, &k, &v], &d_o, |t| reference(t, &arrays, shape));
                    for (name, got, want) in
                        [("dq", dq, &want[0]), ("dk", dk, &want[1]), ("dv", dv, &want[2])]
                    {
                        assert_close(name, &got, want, 40.0 * tolerance(dtype));
                    }
                }
            }
        }
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let shape = Heads { heads: 2, kv_heads: 1, head_dim: 3 };
        let arrays = packed(&[(2, 2, 2)]);
        let mask = Mask::new(&arrays.0, &arrays.1, &arrays.2).unwrap();
        let [q, k, v, d_o] = inputs(6, shape, DType::F64);
        let (o, lse) = forward(&q, &k, &v, &mask, shape).unwrap();
        let (dq, dk, dv) = backward(&d_o, (&q, &k, &v), &o, &lse, &mask, shape).unwrap();
        let value = |q: &Tensor, k: &Tensor, v: &Tensor| Ok(forward(q, k, v, &mask, shape)?.0);
        assert_close("dq", &dq, &finite_difference(&q, &d_o, |q| value(q, &k, &v)), 1e-6);
        assert_close("dk", &dk, &finite_difference(&k, &d_o, |k| value(&q, k, &v)), 1e-6);
        assert_close("dv", &dv, &finite_difference(&v, &d_o, |v| value(&q, &k, v)), 1e-6);
    }

    /// The reference multiplies what a row does not see by zero, and so has more that is not finite.
    fn assert_reached(name: &str, got: &Tensor, want: &Tensor) {
        let any = |t: &Tensor| not_finite(t).iter().any(|&n| n > 0);
        assert!(any(got) || !any(want), "{name} is finite");
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let shape = Heads { heads: 2, kv_heads: 1, head_dim: 8 };
        let arrays = packed(&[(40, 3, 2)]);
        let mask = Mask::new(&arrays.0, &arrays.1, &arrays.2).unwrap();
        for bad in NOT_FINITE {
            for side in 0..4 {
                let of = |i: usize| if i == side { bad } else { 1.0 };
                let [q, k, v, d_o] = [(0, 16), (1, 8), (2, 8), (3, 16)]
                    .map(|(i, width)| broken(&[45, width], i as u64, 33 * width, of(i)));
                let wide = [&q, &k, &v, &d_o].map(|t| t.to_dtype(DType::F64).unwrap());
                let (o, lse) = forward(&q, &k, &v, &mask, shape).unwrap();
                let want = reference(&wide[..3], &arrays, shape).unwrap();
                assert_reached("o", &o, &want);
                let (dq, dk, dv) = backward(&d_o, (&q, &k, &v), &o, &lse, &mask, shape).unwrap();
                let want = tape(&[&wide[0], &wide[1], &wide[2]], &wide[3], |t| {
                    reference(t, &arrays, shape)
                });
                for (name, got, want) in
                    [("dq", dq, &want[0]), ("dk", dk, &want[1]), ("dv", dv, &want[2])]
                {
                    assert_reached(name, &got, want);
                }
            }
        }
    }

    #[test]
    fn a_rejected_answer_does_not_see_the_chosen_one() {
        let shape = Heads { heads: 1, kv_heads: 1, head_dim: 4 };
        let arrays = packed(&[(2, 3, 2)]);
        let mask = Mask::new(&arrays.0, &arrays.1, &arrays.2).unwrap();
        let [q, k, v, _] = inputs(7, shape, DType::F32);
        let chosen_replaced = |t: &Tensor| {
            Tensor::cat(
                &[t.narrow(0, 0, 2)?, t.narrow(0, 2, 3)?.zeros_like()?, t.narrow(0, 5, 2)?],
                0,
            )
        };
        let (o, _) = forward(&q, &k, &v, &mask, shape).unwrap();
        let (other, _) =
            forward(&q, &chosen_replaced(&k).unwrap(), &chosen_replaced(&v).unwrap(), &mask, shape)
                .unwrap();
        let rows = |t: &Tensor| t.narrow(0, 5, 2).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(rows(&o), rows(&other));
    }

    #[test]
    fn masks_that_hide_a_row_from_itself_or_leave_the_pair_are_refused() {
        assert!(Mask::new(&[0, 0], &[0, 1], &[0, 2]).is_err());
        assert!(Mask::new(&[0, 1], &[0, 0], &[0, 1]).is_err());
        assert!(Mask::new(&[1], &[0], &[0]).is_err());
    }
}
