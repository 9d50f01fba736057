//! The CPU body: each task computes one head of one pair, [`BLOCK`] queries at a time against the keys that they see.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::{Activations, Heads, Mask, Run, refuse_mismatched};
use crate::ops::cpu::block::{Block, matrices};
use crate::ops::cpu::gemm::{Into, Threads, Tile, gemm};
use crate::ops::cpu::{self, Real, vectorised};

/// Query rows computed together.
pub(super) const BLOCK: usize = 64;

/// Some query rows and the two stretches of key rows they see: all of `dense`, and `causal` up to the row itself.
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

    /// The stretches that are not empty, each with the index of its first key among the block's.
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
            gemm(out, Into::Replace, head_dim, a, b, T::one(), Threads::One);
        }
    }

    /// `out [rows, head_dim] += weights b`; `b` are all rows.
    fn combine<T: Real>(&self, mut out: Block<T>, weights: &[T], b: Tile<T>) {
        for (stretch, key) in self.stretches() {
            let out = out.part(0..self.rows.len(), 0..out.columns());
            let weights = Tile::rows(&weights[key..], self.keys());
            let b = Tile { data: &b.data[stretch.start * b.row..], ..b };
            gemm(out, Into::Add, stretch.len(), weights, b, T::one(), Threads::One);
        }
    }

    /// `out[key] += weights^T a`; `out [pair rows, head_dim]` begins at row `start`.
    fn scatter<T: Real>(&self, out: &mut Block<T>, start: usize, weights: &[T], a: Tile<T>) {
        for (stretch, key) in self.stretches() {
            let out = out.part(stretch.start - start..stretch.end - start, 0..out.columns());
            let weights = Tile::rows(&weights[key..], self.keys()).t();
            gemm(out, Into::Add, self.rows.len(), weights, a, T::one(), Threads::One);
        }
    }
}

/// Head `head` of row `row` and the rows after it, of a `[tokens, heads * head_dim]` matrix.
fn head_rows<T>(data: &[T], row: usize, head: usize, heads: usize, head_dim: usize) -> Tile<'_, T> {
    Tile::rows(&data[(row * heads + head) * head_dim..], heads * head_dim)
}

/// Writes the transpose `[head_dim, rows]` of the first `rows` rows of `from`, once for all blocks of queries.
fn transpose<T: Real>(to: &mut Vec<T>, from: Tile<T>, rows: usize, head_dim: usize) {
    /// Rows and columns that are transposed together, in registers.
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

/// Buffers that a thread uses again for the next head, uncleared.
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

/// The first `n` elements, uncleared.
fn first<T: Real>(buffer: &mut Vec<T>, n: usize) -> &mut [T] {
    if buffer.len() < n {
        buffer.resize(n, T::zero());
    }
    &mut buffer[..n]
}

pub(super) fn forward<T: Real>(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Mask,
    shape: Heads,
) -> Result<(Tensor, Tensor)> {
    refuse_mismatched(q, k, v, mask, shape)?;
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

pub(super) fn backward<T: Real>(
    d_o: &Tensor,
    saved: &Activations<'_>,
    mask: &Mask,
    shape: Heads,
) -> Result<(Tensor, Tensor, Tensor)> {
    let &Activations { q, k, v, o, lse } = saved;
    refuse_mismatched(q, k, v, mask, shape)?;
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
