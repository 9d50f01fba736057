//! bf16 as 32-bit words of two terms, the term of even number below, as the kernels of [`super::packed`] read them: a left factor in
//! strips of as many rows as a kernel computes together, a right one in panels of [`PANEL`] columns. Zeros stand past the end.

use half::bf16;
use rayon::prelude::*;

use crate::ops::cpu::gemm::Tile;
use crate::ops::cpu::vectorised;

/// Columns of a panel: two registers of sums.
pub(super) const PANEL: usize = 32;

/// Panels that one thread packs side by side.
const BESIDE: usize = 4;

/// Lines of a panel that are filled before those of the next: they stay in the first cache.
const AHEAD: usize = 128;

/// Lines of a panel that [`pack_across`] fills together: two words of bf16 each, so that they read a line of the cache.
const DEPTH: usize = 16;

/// An element that is a number of bf16.
pub(super) trait Term: Copy + Sync {
    /// The 16 bits of bf16.
    fn bits(self) -> u32;
}

impl Term for bf16 {
    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits().into()
    }
}

/// One whose low half is zero.
impl Term for f32 {
    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits() >> 16
    }
}

/// Strips of `a [m, k]` in `strips`, one after another: of each strip of `rows` rows, `depth` words of every row after another, `pairs` words in
/// all.
pub(super) fn strips<T: Term>(
    strips: &mut [u32],
    a: Tile<T>,
    (m, k): (usize, usize),
    (rows, pairs, depth): (usize, usize, usize),
    threads: usize,
) {
    each(strips, rows * pairs, threads, |strip, words| {
        let from = strip * rows;
        for (part, words) in words.chunks_mut(depth * rows).enumerate() {
            strip_part(words, a.from(from, 2 * depth * part), rows, m - from, k, depth * part);
        }
    });
}

/// The words from `from` on of a strip of `rows` rows: `a` begins at their first element, and has `m` rows of `k` terms in all.
pub(super) fn strip_part<T: Term>(
    words: &mut [u32],
    a: Tile<T>,
    rows: usize,
    m: usize,
    k: usize,
    from: usize,
) {
    let (pairs, m) = (words.len() / rows, m.min(rows));
    let terms = k.saturating_sub(2 * from).min(2 * pairs);
    if m < rows || terms < 2 * pairs {
        words.fill(0);
    }
    vectorised(
        #[inline(always)]
        || {
            if a.column == 1 {
                for (i, words) in words.chunks_exact_mut(pairs).take(m).enumerate() {
                    let (whole, rest) = a.data[i * a.row..][..terms].as_chunks::<2>();
                    for (to, &[low, high]) in words.iter_mut().zip(whole) {
                        *to = word(low, high);
                    }
                    if let &[last] = rest {
                        words[whole.len()] = last.bits();
                    }
                }
                return;
            }
            for pair in 0..terms.div_ceil(2) {
                let (low, high, mask) = two(a.data, pair, a.column, terms);
                let both = low.iter().step_by(a.row).zip(high.iter().step_by(a.row));
                let words = words[pair..].iter_mut().step_by(pairs).take(m);
                words.zip(both).for_each(|(to, (&low, &high))| *to = word(low, high) & mask);
            }
        },
    );
}

/// Panels of `b [k, n]` in `words`, of `pairs` lines each.
pub(super) fn panels<T: Term>(
    words: &mut [u32],
    b: Tile<T>,
    (k, n): (usize, usize),
    pairs: usize,
    threads: usize,
) {
    let lines = k.div_ceil(2);
    each(words, BESIDE * PANEL * pairs, threads, |some, words| {
        let first = some * BESIDE * PANEL;
        vectorised(
            #[inline(always)]
            || {
                for words in words.chunks_exact_mut(pairs * PANEL) {
                    words[lines * PANEL..].fill(0);
                }
                for from in (0..lines).step_by(AHEAD) {
                    for (panel, words) in words.chunks_exact_mut(pairs * PANEL).enumerate() {
                        let column = first + panel * PANEL;
                        let to = lines.min(from + AHEAD);
                        let lines = &mut words.as_chunks_mut::<PANEL>().0[from..to];
                        let b = b.from(2 * from, column);
                        panel_lines(lines, b, k - 2 * from, PANEL.min(n - column));
                    }
                }
            },
        );
    });
}

/// Lines of a panel of `columns` columns, of `k` terms or the first of them.
#[inline(always)]
fn panel_lines<T: Term>(lines: &mut [[u32; PANEL]], b: Tile<T>, k: usize, columns: usize) {
    let is_whole = columns == PANEL;
    let across = if b.row == 1 && is_whole { lines.len().min(k / 2) / DEPTH * DEPTH } else { 0 };
    pack_across(&mut lines[..across], b.data, b.column);
    for (pair, line) in lines.iter_mut().enumerate().skip(across) {
        let (low, high, mask) = two(b.data, pair, b.row, k);
        if b.column == 1 && is_whole {
            let both = line.iter_mut().zip(low[..PANEL].iter().zip(&high[..PANEL]));
            both.for_each(|(to, (&low, &high))| *to = word(low, high) & mask);
            continue;
        }
        for (i, to) in line.iter_mut().enumerate() {
            let at = i * b.column;
            *to = if i < columns { word(low[at], high[at]) & mask } else { 0 };
        }
    }
}

/// A multiple of [`DEPTH`] lines of a panel, of columns whose terms lie side by side, `stride` from one column to the next.
///
/// Eight columns at a time: their lines of the cache stay in it while they are read, also where a large power of two lies between them.
/// Line by line a panel of 256 terms took twelve times as long.
#[inline(always)]
fn pack_across<T: Term>(lines: &mut [[u32; PANEL]], columns: &[T], stride: usize) {
    const WIDTH: usize = 8;
    for from in (0..PANEL).step_by(WIDTH) {
        for (block, lines) in lines.chunks_exact_mut(DEPTH).enumerate() {
            let columns: [_; WIDTH] = std::array::from_fn(|column| {
                let terms = &columns[(from + column) * stride + 2 * DEPTH * block..];
                &terms[..2 * DEPTH]
            });
            for (i, line) in lines.iter_mut().enumerate() {
                let words = &mut line[from..][..WIDTH];
                for (to, column) in words.iter_mut().zip(columns) {
                    *to = word(column[2 * i], column[2 * i + 1]);
                }
            }
        }
    }
}

/// The terms of `pair` of `k`, `apart` from each other, and what a word of them keeps: its low half where the second is past the end.
#[inline(always)]
fn two<T>(data: &[T], pair: usize, apart: usize, k: usize) -> (&[T], &[T], u32) {
    let low = &data[2 * pair * apart..];
    match 2 * pair + 1 == k {
        true => (low, low, 0xffff),
        false => (low, &data[(2 * pair + 1) * apart..], u32::MAX),
    }
}

#[inline(always)]
fn word<T: Term>(low: T, high: T) -> u32 {
    low.bits() | high.bits() << 16
}

/// Calls `work(i, chunk)` for each chunk of `all`, on as many threads.
fn each(all: &mut [u32], chunk: usize, threads: usize, work: impl Fn(usize, &mut [u32]) + Sync) {
    if chunk == 0 {
        return;
    }
    if threads <= 1 {
        return all.chunks_mut(chunk).enumerate().for_each(|(i, chunk)| work(i, chunk));
    }
    all.par_chunks_mut(chunk).enumerate().for_each(|(i, chunk)| work(i, chunk));
}
