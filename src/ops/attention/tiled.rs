//! The CPU body: each task computes one head of one pair, [`BLOCK`] queries at a time against the keys that they see.
//!
//! In bf16 it rounds where the kernels do: probabilities and their slopes before the products that read them, and each result.

use std::ops::Range;

use candle_core::{Result, Tensor, WithDType};

use super::{Activations, Heads, Mask, Run, refuse_mismatched};
use crate::ops::cpu::block::{Block, matrices};
use crate::ops::cpu::gemm::{Into, Tile};
use crate::ops::cpu::product::Multiplied;
use crate::ops::cpu::{self, Element, Real, vectorised};

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
    fn scores<T: Multiplied>(
        &self,
        out: &mut [T::Work],
        start: usize,
        a: Tile<T::Work>,
        b: Tile<T::Work>,
        head_dim: usize,
    ) {
        let mut out = Block::of(out, self.keys());
        for (stretch, key) in self.stretches() {
            let out = out.part(0..self.rows.len(), key..key + stretch.len());
            let b = Tile { data: &b.data[stretch.start - start..], ..b };
            T::within(out, Into::Replace, head_dim, a, b);
        }
    }

    /// `out [rows, head_dim] += weights b`; `b` begins at row `start`.
    fn combine<T: Multiplied>(
        &self,
        mut out: Block<T::Work>,
        start: usize,
        weights: &[T::Work],
        b: Tile<T::Work>,
    ) {
        for (stretch, key) in self.stretches() {
            let out = out.part(0..self.rows.len(), 0..out.columns());
            let weights = Tile::rows(&weights[key..], self.keys());
            let b = Tile { data: &b.data[(stretch.start - start) * b.row..], ..b };
            T::within(out, Into::Add, stretch.len(), weights, b);
        }
    }

    /// `out[key] += weights^T a`; `out [pair rows, head_dim]` begins at row `start`.
    fn scatter<T: Multiplied>(
        &self,
        out: &mut Block<T::Work>,
        start: usize,
        weights: &[T::Work],
        a: Tile<T::Work>,
    ) {
        for (stretch, key) in self.stretches() {
            let out = out.part(stretch.start - start..stretch.end - start, 0..out.columns());
            let weights = Tile::rows(&weights[key..], self.keys()).t();
            T::within(out, Into::Add, self.rows.len(), weights, a);
        }
    }
}

/// Head `head` of row `row` and the rows after it, of a `[tokens, heads * head_dim]` matrix.
fn head_rows<T>(data: &[T], row: usize, head: usize, heads: usize, head_dim: usize) -> Tile<'_, T> {
    Tile::rows(&data[(row * heads + head) * head_dim..], heads * head_dim)
}

/// Writes the transpose `[head_dim, rows]` of the first `rows` rows of `from`, once for all blocks of queries.
fn transpose<T: Element>(to: &mut Vec<T::Work>, from: Tile<T>, rows: usize, head_dim: usize) {
    /// Rows and columns that are transposed together, in registers.
    const SQUARE: usize = 16;
    to.resize(rows * head_dim, T::Work::ZERO);
    vectorised(
        #[inline(always)]
        || {
            for first in (0..rows).step_by(SQUARE) {
                let n = SQUARE.min(rows - first);
                let mut d = 0;
                while n == SQUARE && d + SQUARE <= head_dim {
                    let mut square = [[T::Work::ZERO; SQUARE]; SQUARE];
                    for (row, line) in (first..).zip(&mut square) {
                        let from = &from.data[row * from.row + d..][..SQUARE];
                        line.iter_mut().zip(from).for_each(|(to, from)| *to = from.value());
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
                        *x = from.data[row * from.row + d].value();
                    }
                }
            }
        },
    );
}

/// Buffers that a thread uses again for the next head, uncleared, all in the type of work.
struct Scratch<W> {
    scores: Vec<W>,
    slopes: Vec<W>,
    /// Transposes, and whole rows where those of the input are of another type.
    across_keys: Vec<W>,
    across_values: Vec<W>,
    rows: Vec<W>,
    queries: Vec<W>,
    d_out: Vec<W>,
    /// Sums of a block of queries, and of all keys and values.
    sums: Vec<W>,
    key_sums: Vec<W>,
    value_sums: Vec<W>,
}

impl<W> Default for Scratch<W> {
    fn default() -> Self {
        Self {
            scores: Vec::new(),
            slopes: Vec::new(),
            across_keys: Vec::new(),
            across_values: Vec::new(),
            rows: Vec::new(),
            queries: Vec::new(),
            d_out: Vec::new(),
            sums: Vec::new(),
            key_sums: Vec::new(),
            value_sums: Vec::new(),
        }
    }
}

/// The first `n` elements, uncleared.
fn first<W: Real>(buffer: &mut Vec<W>, n: usize) -> &mut [W] {
    if buffer.len() < n {
        buffer.resize(n, W::zero());
    }
    &mut buffer[..n]
}

/// The first `n` elements, cleared.
fn cleared<W: Real>(buffer: &mut Vec<W>, n: usize) -> &mut [W] {
    let cleared = first(buffer, n);
    cleared.fill(W::zero());
    cleared
}

/// Writes rows `at..` of `to` as `sums` times `scale`, each element rounded once.
fn write_rows<T: Element>(to: &mut Block<T>, at: usize, sums: &[T::Work], scale: T::Work) {
    for (i, sums) in (at..).zip(sums.chunks_exact(to.columns())) {
        to.row(i).iter_mut().zip(sums).for_each(|(to, &sum)| *to = T::rounded(sum * scale));
    }
}

pub(super) fn forward<T: Multiplied>(
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
    let scale = T::Work::from_f64(shape.scale());
    let ([o], [lse]) = matrices(
        &mask.bands(),
        heads,
        [head_dim],
        [1],
        |pair, head, scratch, [mut o]: [Block<T>; 1], [mut lse]| {
            let Scratch { scores, across_keys, rows: whole, queries, sums, .. } = scratch;
            let (runs, start, rows) = (&mask.pairs[pair], mask.pairs[pair][0].start, o.rows());
            let kv = head / (heads / kv_heads);
            transpose(across_keys, head_rows(k, start, kv, kv_heads, head_dim), rows, head_dim);
            let values = head_rows(v, start, kv, kv_heads, head_dim);
            let values = T::in_work(values, whole, rows, head_dim);
            for block in Queries::of(runs) {
                let (at, n, keys_seen) = (block.rows.start - start, block.rows.len(), block.keys());
                let queries_here = head_rows(q, block.rows.start, head, heads, head_dim);
                let queries_here = T::in_work(queries_here, queries, n, head_dim);
                let scores = first(scores, n * keys_seen);
                block.scores::<T>(
                    scores,
                    start,
                    queries_here,
                    Tile::rows(across_keys, rows),
                    head_dim,
                );
                let mut totals = [T::Work::ONE; BLOCK];
                vectorised(
                    #[inline(always)]
                    || {
                        for (i, row) in scores.chunks_exact_mut(keys_seen).enumerate() {
                            let (row, unseen) = row.split_at_mut(block.seen(block.rows.start + i));
                            let largest = cpu::max_of(row) * scale;
                            totals[i] = cpu::exp_in_place(row, scale, largest);
                            let log = T::Work::from_f64(totals[i].to_f64().ln());
                            lse.row(at + i)[0] = largest + log;
                            row.iter_mut().for_each(|p| *p = T::rounded(*p).value());
                            unseen.fill(T::Work::ZERO);
                        }
                    },
                );
                let sums = cleared(sums, n * head_dim);
                block.combine::<T>(Block::of(sums, head_dim), start, scores, values);
                for (i, (sums, &total)) in sums.chunks_exact(head_dim).zip(&totals).enumerate() {
                    let o = o.row(at + i).iter_mut().zip(sums);
                    o.for_each(|(o, &sum)| *o = T::rounded(sum / total));
                }
            }
        },
    );
    Ok((cpu::tensor(o, (mask.tokens, heads * head_dim))?, cpu::tensor(lse, (mask.tokens, heads))?))
}

pub(super) fn backward<T: Multiplied>(
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
        (cpu::elements::<T>(d_o)?, cpu::elements::<T>(o)?, cpu::elements::<T::Work>(lse)?);
    let (q, k, v, d_o, o, lse) = (&q[..], &k[..], &v[..], &d_o[..], &o[..], &lse[..]);
    let (scale, one) = (T::Work::from_f64(shape.scale()), T::Work::ONE);
    let widths = [group * head_dim, head_dim, head_dim];
    let bands = mask.bands();
    let ([dq, dk, dv], []) = matrices(
        &bands,
        kv_heads,
        widths,
        [],
        |pair, kv, scratch, [mut dq, mut dk, mut dv]: [Block<T>; 3], []| {
            let Scratch { scores, slopes, across_keys, across_values, rows: whole, .. } = scratch;
            let Scratch { queries, d_out, sums, key_sums, value_sums, .. } = scratch;
            let (runs, start, rows) = (&mask.pairs[pair], mask.pairs[pair][0].start, dk.rows());
            for (across, t) in [(&mut *across_keys, k), (&mut *across_values, v)] {
                transpose(across, head_rows(t, start, kv, kv_heads, head_dim), rows, head_dim);
            }
            let keys = head_rows(k, start, kv, kv_heads, head_dim);
            let keys = T::in_work(keys, whole, rows, head_dim);
            let key_sums = cleared(key_sums, rows * head_dim);
            let value_sums = cleared(value_sums, rows * head_dim);
            for (member, head) in (kv * group..(kv + 1) * group).enumerate() {
                for block in Queries::of(runs) {
                    let (at, n, keys_seen) = (block.rows.start, block.rows.len(), block.keys());
                    let (p, ds) = (first(scores, n * keys_seen), first(slopes, n * keys_seen));
                    let here = |t, room| {
                        T::in_work(head_rows(t, at, head, heads, head_dim), room, n, head_dim)
                    };
                    let (queries, d_out) = (here(q, &mut *queries), here(d_o, &mut *d_out));
                    block.scores::<T>(p, start, queries, Tile::rows(across_keys, rows), head_dim);
                    block.scores::<T>(ds, start, d_out, Tile::rows(across_values, rows), head_dim);
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
                                p[seen..].fill(T::Work::ZERO);
                                for (ds, p) in ds.iter_mut().zip(p) {
                                    *ds = T::rounded(*p * (*ds - pull)).value();
                                    *p = T::rounded(*p).value();
                                }
                            }
                        },
                    );
                    let sums = cleared(sums, n * head_dim);
                    block.combine::<T>(Block::of(sums, head_dim), start, ds, keys);
                    let columns = member * head_dim..(member + 1) * head_dim;
                    write_rows(&mut dq.part(0..rows, columns), at - start, sums, scale);
                    block.scatter::<T>(&mut Block::of(key_sums, head_dim), start, ds, queries);
                    block.scatter::<T>(&mut Block::of(value_sums, head_dim), start, p, d_out);
                }
            }
            write_rows(&mut dk, 0, key_sums, scale);
            write_rows(&mut dv, 0, value_sums, one);
        },
    );
    let shaped = |data, heads: usize| cpu::tensor(data, (mask.tokens, heads * head_dim));
    Ok((shaped(dq, heads)?, shaped(dk, kv_heads)?, shaped(dv, kv_heads)?))
}
