//! Attention over packed, prefix-shared sequences: `o = softmax(q k^T / sqrt(head_dim)) v` where a token sees the rows from
//! the start of its pair to itself, less one hidden interval (a rejected answer does not see the chosen one).
//!
//! Only the log-sum-exp of each row is kept; the backward pass recomputes the probabilities, block by block:
//! `dS = P * (dO V^T - rowsum(dO * O))`, `dQ = dS K / sqrt(d)`, `dK = dS^T Q / sqrt(d)`, `dV = P^T dO`.
//! Head `n` of the queries reads key/value head `n / (heads / kv_heads)`.

use std::ops::Range;

use candle_core::{Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{self, Real, on_cpu, vectorised};
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
    fn scale(self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
    }
}

/// Which rows each row sees.
#[derive(Debug, Clone)]
pub struct Mask {
    /// Rows of one pair each, in order.
    pairs: Vec<Vec<Run>>,
    tokens: usize,
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
        Ok(Self { pairs, tokens: start.len() })
    }
}

/// Returns `o` `[tokens, heads * head_dim]` and the log-sum-exp of each row's scaled scores, `[tokens, heads]`.
///
/// - `q`: `[tokens, heads * head_dim]`, `k`, `v`: `[tokens, kv_heads * head_dim]`; positions already applied.
pub fn forward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Mask,
    heads: Heads,
) -> Result<(Tensor, Tensor)> {
    on_cpu!("attention", q, T => forward_cpu::<T>(q, k, v, mask, heads))
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
    on_cpu!("attention backward", d_o, T => backward_cpu::<T>(d_o, (q, k, v), o, lse, mask, heads))
}

/// One block of query rows and the two stretches of key rows it sees: `dense` wholly, `causal` up to the row itself.
struct Block {
    rows: Range<usize>,
    dense: Range<usize>,
    causal: Range<usize>,
}

impl Block {
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

    /// `out [rows, keys] = a b` over both stretches; `a` are the block's rows, `b` is [`transposed`] and begins at row `start`.
    fn scores<T: Real>(
        &self,
        out: &mut [T],
        start: usize,
        a: Tile<T>,
        b: Tile<T>,
        head_dim: usize,
    ) {
        let keys = self.keys();
        for (stretch, column) in [(&self.dense, 0), (&self.causal, self.dense.len())] {
            if !stretch.is_empty() {
                let b = Tile { data: &b.data[stretch.start - start..], ..b };
                gemm(
                    (self.rows.len(), head_dim, stretch.len()),
                    (&mut out[column..], keys, Into::Replace),
                    a,
                    b,
                    T::one(),
                    Threads::One,
                );
            }
        }
    }

    /// `out [rows, head_dim] = weights b` over both stretches.
    fn combine<T: Real>(&self, out: &mut [T], weights: &[T], b: Tile<T>, head_dim: usize) {
        let (keys, mut into) = (self.keys(), Into::Replace);
        for (stretch, column) in [(&self.dense, 0), (&self.causal, self.dense.len())] {
            if !stretch.is_empty() {
                let b = Tile { data: &b.data[stretch.start * b.row..], ..b };
                gemm(
                    (self.rows.len(), stretch.len(), head_dim),
                    (out, head_dim, into),
                    Tile::rows(&weights[column..], keys),
                    b,
                    T::one(),
                    Threads::One,
                );
                into = Into::Add;
            }
        }
    }

    /// `out[key] += weights^T a` over both stretches; `out [pair rows, head_dim]` begins at row `start`.
    fn scatter<T: Real>(
        &self,
        out: &mut [T],
        start: usize,
        weights: &[T],
        a: Tile<T>,
        head_dim: usize,
    ) {
        let keys = self.keys();
        for (stretch, column) in [(&self.dense, 0), (&self.causal, self.dense.len())] {
            if !stretch.is_empty() {
                let out = &mut out[(stretch.start - start) * head_dim..];
                gemm(
                    (stretch.len(), self.rows.len(), head_dim),
                    (out, head_dim, Into::Add),
                    Tile::rows(&weights[column..], keys).t(),
                    a,
                    T::one(),
                    Threads::One,
                );
            }
        }
    }
}

/// Head `head` of row `row` and the rows after it, of a `[tokens, heads * head_dim]` matrix.
fn head_rows<T>(data: &[T], row: usize, head: usize, heads: usize, head_dim: usize) -> Tile<'_, T> {
    Tile::rows(&data[(row * heads + head) * head_dim..], heads * head_dim)
}

/// The transpose `[head_dim, rows]` of the first `rows` rows of `from`, which spares every block of queries to make its own.
fn transposed<T: Real>(from: Tile<T>, rows: usize, head_dim: usize) -> Vec<T> {
    /// Rows turned together, so that writes fill whole cache lines.
    const TOGETHER: usize = 16;
    let mut to = vec![T::zero(); rows * head_dim];
    for first in (0..rows).step_by(TOGETHER) {
        let last = (first + TOGETHER).min(rows);
        for d in 0..head_dim {
            let line = &mut to[d * rows + first..d * rows + last];
            for (x, row) in line.iter_mut().zip(first..) {
                *x = from.data[row * from.row + d];
            }
        }
    }
    to
}

/// Splits `data`, `width` elements a row, into the rows of each pair.
fn by_pair<'a, T>(mut data: &'a mut [T], width: usize, pairs: &[Vec<Run>]) -> Vec<&'a mut [T]> {
    let mut parts = Vec::with_capacity(pairs.len());
    for runs in pairs {
        let rows: usize = runs.iter().map(|run| run.rows.len()).sum();
        let (part, rest) = data.split_at_mut(rows * width);
        parts.push(part);
        data = rest;
    }
    parts
}

/// Writes `from [rows, width]` as column block `head` of `to [rows, heads * width]`.
fn place<T: Copy>(to: &mut [T], from: &[T], head: usize, heads: usize, width: usize) {
    for (to, from) in to.chunks_exact_mut(heads * width).zip(from.chunks_exact(width)) {
        to[head * width..][..width].copy_from_slice(from);
    }
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
    let mut o = vec![T::zero(); mask.tokens * heads * head_dim];
    let mut lse = vec![T::zero(); mask.tokens * heads];
    let parts = by_pair(&mut o, heads * head_dim, &mask.pairs).into_par_iter().zip(by_pair(
        &mut lse,
        heads,
        &mask.pairs,
    ));
    parts.zip(&mask.pairs).for_each(|((o, lse), runs)| {
        let (start, rows) = (runs[0].start, lse.len() / heads);
        let each = (0..heads).into_par_iter().map(|head| {
            let kv = head / (heads / kv_heads);
            let values = head_rows(v, 0, kv, kv_heads, head_dim);
            let keys = transposed(head_rows(k, start, kv, kv_heads, head_dim), rows, head_dim);
            let keys = Tile::rows(&keys, rows);
            let (mut o, mut lse) = (vec![T::zero(); rows * head_dim], vec![T::zero(); rows]);
            let mut scores = vec![T::zero(); BLOCK * rows];
            for block in Block::of(runs) {
                let (at, n, keys_seen) = (block.rows.start - start, block.rows.len(), block.keys());
                let scores = &mut scores[..n * keys_seen];
                block.scores(
                    scores,
                    start,
                    head_rows(q, block.rows.start, head, heads, head_dim),
                    keys,
                    head_dim,
                );
                let (o, lse) = (&mut o[at * head_dim..][..n * head_dim], &mut lse[at..][..n]);
                let mut sums = [T::one(); BLOCK];
                vectorised(
                    #[inline(always)]
                    || {
                        for (i, row) in scores.chunks_exact_mut(keys_seen).enumerate() {
                            let (row, unseen) = row.split_at_mut(block.seen(block.rows.start + i));
                            let largest = cpu::max_of(row) * scale;
                            sums[i] = cpu::exp_in_place(row, scale, largest);
                            lse[i] = largest + T::from_f64(sums[i].to_f64().ln());
                            unseen.fill(T::zero());
                        }
                    },
                );
                block.combine(o, scores, values, head_dim);
                for (o, &sum) in o.chunks_exact_mut(head_dim).zip(&sums) {
                    o.iter_mut().for_each(|o| *o /= sum);
                }
            }
            (o, lse)
        });
        for (head, (head_o, head_lse)) in each.collect::<Vec<_>>().into_iter().enumerate() {
            place(o, &head_o, head, heads, head_dim);
            place(lse, &head_lse, head, heads, 1);
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
    let [mut dq, mut dk, mut dv] =
        [heads, kv_heads, kv_heads].map(|heads| vec![T::zero(); mask.tokens * heads * head_dim]);
    let parts = by_pair(&mut dq, heads * head_dim, &mask.pairs)
        .into_par_iter()
        .zip(by_pair(&mut dk, kv_heads * head_dim, &mask.pairs))
        .zip(by_pair(&mut dv, kv_heads * head_dim, &mask.pairs));
    parts.zip(&mask.pairs).for_each(|(((dq, dk), dv), runs)| {
        let (start, rows) = (runs[0].start, dk.len() / (kv_heads * head_dim));
        let each = (0..kv_heads).into_par_iter().map(|kv| {
            let keys = head_rows(k, 0, kv, kv_heads, head_dim);
            let [across_keys, across_values] = [k, v]
                .map(|t| transposed(head_rows(t, start, kv, kv_heads, head_dim), rows, head_dim));
            let [mut dq, mut dk, mut dv] =
                [group, 1, 1].map(|heads| vec![T::zero(); heads * rows * head_dim]);
            let [mut scores, mut slopes] = [(); 2].map(|()| vec![T::zero(); BLOCK * rows]);
            for (head, dq) in (kv * group..).zip(dq.chunks_exact_mut(rows * head_dim)) {
                for block in Block::of(runs) {
                    let (first, n, keys_seen) = (block.rows.start, block.rows.len(), block.keys());
                    let (scores, slopes) =
                        (&mut scores[..n * keys_seen], &mut slopes[..n * keys_seen]);
                    let (queries, d_out) = (
                        head_rows(q, first, head, heads, head_dim),
                        head_rows(d_o, first, head, heads, head_dim),
                    );
                    block.scores(scores, start, queries, Tile::rows(&across_keys, rows), head_dim);
                    block.scores(slopes, start, d_out, Tile::rows(&across_values, rows), head_dim);
                    vectorised(
                        #[inline(always)]
                        || {
                            for (i, (p, ds)) in scores
                                .chunks_exact_mut(keys_seen)
                                .zip(slopes.chunks_exact_mut(keys_seen))
                                .enumerate()
                            {
                                let row = first + i;
                                let at = (row * heads + head) * head_dim;
                                let pull = cpu::dot(&d_o[at..][..head_dim], &o[at..][..head_dim]);
                                let seen = block.seen(row);
                                cpu::exp_in_place(&mut p[..seen], scale, lse[row * heads + head]);
                                p[seen..].fill(T::zero());
                                for (ds, &p) in ds.iter_mut().zip(p.iter()) {
                                    *ds = p * (*ds - pull) * scale;
                                }
                            }
                        },
                    );
                    block.combine(
                        &mut dq[(first - start) * head_dim..][..n * head_dim],
                        slopes,
                        keys,
                        head_dim,
                    );
                    block.scatter(&mut dk, start, slopes, queries, head_dim);
                    block.scatter(&mut dv, start, scores, d_out, head_dim);
                }
            }
            (dq, dk, dv)
        });
        for (kv, (head_dq, head_dk, head_dv)) in each.collect::<Vec<_>>().into_iter().enumerate() {
            for (i, head_dq) in head_dq.chunks_exact(rows * head_dim).enumerate() {
                place(dq, head_dq, kv * group + i, heads, head_dim);
            }
            place(dk, &head_dk, kv, kv_heads, head_dim);
            place(dv, &head_dv, kv, kv_heads, head_dim);
        }
    });
    let shaped =
        |data, heads: usize| Tensor::from_vec(data, (mask.tokens, heads * head_dim), &Device::Cpu);
    Ok((shaped(dq, heads)?, shaped(dk, kv_heads)?, shaped(dv, kv_heads)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, finite_difference, random, tape, tolerance};
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
