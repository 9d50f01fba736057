//! Products of bf16 by a [`Kernel`]: each factor is packed once, as the kernel reads it, and they are multiplied tile by tile. A factor that
//! many products read may be [kept packed](Panels).

use std::cell::Cell;
use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use crate::ops::cpu::block::{Block, Extent};
use crate::ops::cpu::gemm::Tile;
use crate::ops::cpu::packing::{self, PANEL, Term};
use crate::ops::cpu::{Element, vectorised};

/// Most rows and columns of a tile, whose sums stay in the cache.
const TILE: usize = 256;

/// Words of `b` that a thread packs before it multiplies, 4 MiB, and the threads that do at most.
const WORDS_A_THREAD: usize = 1 << 20;
const THREADS: usize = 16;

/// What multiplies strips with panels.
pub(super) struct Kernel {
    /// Rows of a strip.
    pub rows: usize,
    /// Words of a row that are computed together.
    pub pairs: usize,
    /// Most words of a row that [`Kernel::add`] is given at once.
    pub depth: usize,
    /// Adds the products of `pairs` words of a strip and of a panel to their sums: `(sums, stride, strip, panel, pairs)`, where row `r` of
    /// the sums begins at `r * stride`, row `r` of the strip at `r * pairs`, and line `l` of the panel at `l * PANEL`.
    pub add: fn(&mut [f32], usize, &[u32], &[u32], usize),
    /// Calls what calls [`Kernel::add`], in the state of the processor that this needs.
    pub within: fn(&mut dyn FnMut()),
}

impl Kernel {
    /// Words of a row of `k` terms, and lines of a panel.
    fn words(&self, k: usize) -> usize {
        k.div_ceil(2).next_multiple_of(self.pairs)
    }
}

/// A right factor `b [k, n]`, packed for a kernel.
pub(in crate::ops) struct Panels {
    words: Vec<u32>,
}

impl Panels {
    pub(super) fn of(kernel: &Kernel, b: Tile<bf16>, k: usize, n: usize) -> Self {
        let pairs = kernel.words(k);
        let mut words = vec![0; n.next_multiple_of(PANEL) * pairs];
        packing::panels(&mut words, b, (k, n), pairs, rayon::current_num_threads());
        Self { words }
    }
}

/// A right factor.
#[derive(Clone, Copy)]
pub(super) enum Right<'a, T> {
    /// As it lies.
    Loose(Tile<'a, T>),
    /// Packed for the kernel that multiplies it.
    Packed(&'a Panels),
}

/// What a thread uses again: packed factors, and what its tiles take.
#[derive(Default)]
struct Buffers {
    strips: Vec<u32>,
    panels: Vec<u32>,
    scratch: Scratch,
}

thread_local! {
    /// Taken while in use: a thread that waits for others may begin another product.
    static BUFFERS: Cell<Buffers> = Cell::default();
}

/// The first `n` words, as they were left.
fn first(words: &mut Vec<u32>, n: usize) -> &mut [u32] {
    if words.len() < n {
        words.resize(n, 0);
    }
    &mut words[..n]
}

/// Calls `put(element, sum)` for every element of `out` with that of `a [out.rows, k] b [k, out.columns]`, on as many threads.
///
/// The factors hold these elements, and `out` has some. Panics if panels are of another shape or kernel.
pub(super) fn multiply<U: Element, A: Term, B: Term>(
    kernel: &Kernel,
    mut out: Block<U>,
    k: usize,
    a: Tile<A>,
    b: Right<'_, B>,
    threads: usize,
    put: &(impl Fn(&mut U, f32) + Sync),
) {
    let (m, n) = (out.rows(), out.columns());
    let pairs = kernel.words(k);
    let mut buffers = BUFFERS.take();
    let Buffers { strips, panels, scratch } = &mut buffers;
    let strips = match n {
        // Each row is read once.
        ..=TILE => Strips::Loose(a, (m, k)),
        _ => {
            let strips = first(strips, m.next_multiple_of(kernel.rows) * pairs);
            packing::strips(strips, a, (m, k), (kernel.rows, pairs, kernel.depth), threads);
            Strips::Packed(strips)
        }
    };
    let factors = Factors { kernel, pairs, strips };
    match b {
        Right::Packed(Panels { words }) => {
            assert_eq!(words.len(), n.next_multiple_of(PANEL) * pairs, "panels of [{k}, {n}]");
            factors.multiply(out, words, threads, scratch, put);
        }
        Right::Loose(b) => {
            let at_once = WORDS_A_THREAD * threads.clamp(1, THREADS) / pairs.max(1);
            let at_once = (at_once / PANEL * PANEL).max(TILE);
            for from in (0..n).step_by(at_once) {
                let columns = at_once.min(n - from);
                let panels = first(panels, columns.next_multiple_of(PANEL) * pairs);
                packing::panels(panels, b.from(0, from), (k, columns), pairs, threads);
                let out = out.part(0..m, from..from + columns);
                factors.multiply(out, panels, threads, scratch, put);
            }
        }
    }
    BUFFERS.set(buffers);
}

/// A left factor.
enum Strips<'a, T> {
    /// As [`packing::strips`] gives it.
    Packed(&'a [u32]),
    /// As it lies, of so many rows and terms.
    Loose(Tile<'a, T>, (usize, usize)),
}

/// What multiplies panels.
struct Factors<'a, T> {
    kernel: &'a Kernel,
    /// Words of a row, and lines of a panel.
    pairs: usize,
    strips: Strips<'a, T>,
}

/// What the tiles of a thread take.
#[derive(Default)]
struct Scratch {
    sums: Vec<f32>,
    words: Vec<u32>,
}

impl<T: Term> Factors<'_, T> {
    /// [`multiply`] with these panels.
    fn multiply<U: Element>(
        &self,
        out: Block<U>,
        panels: &[u32],
        threads: usize,
        scratch: &mut Scratch,
        put: &(impl Fn(&mut U, f32) + Sync),
    ) {
        let (rows, mut columns) = (out.rows().div_ceil(TILE), out.columns().div_ceil(TILE));
        // Fewer tiles than threads become narrower ones.
        while rows * columns < threads && out.columns() / (columns + 1) >= 2 * PANEL {
            columns += 1;
        }
        let grain = Extent { rows: self.kernel.rows, columns: PANEL };
        let tiles = out.cut(Extent { rows, columns }, grain);
        let work = |scratch: &mut Scratch, (row, column, out): (usize, usize, Block<U>)| {
            let columns = out.columns().next_multiple_of(PANEL);
            let panels = &panels[column * self.pairs..][..columns * self.pairs];
            self.tile(scratch, row, out, panels, put);
        };
        if threads <= 1 {
            return tiles.into_iter().for_each(|tile| work(scratch, tile));
        }
        tiles.into_par_iter().for_each_init(Scratch::default, work);
    }

    /// The rows from `row` on times these panels.
    fn tile<U: Element>(
        &self,
        scratch: &mut Scratch,
        row: usize,
        mut out: Block<U>,
        panels: &[u32],
        put: &impl Fn(&mut U, f32),
    ) {
        let Self { kernel, pairs, .. } = *self;
        let (m, n) = (out.rows(), out.columns());
        let (rows, stride) = (m.next_multiple_of(kernel.rows), n.next_multiple_of(PANEL));
        let Scratch { sums, words } = scratch;
        sums.clear();
        sums.resize(rows * stride, 0.0);
        (kernel.within)(&mut || {
            for from in (0..pairs).step_by(kernel.depth) {
                let some = kernel.depth.min(pairs - from);
                let (strips, apart) = self.part(words, row..row + rows, from, some);
                for (panel, b) in panels.chunks_exact(pairs * PANEL).enumerate() {
                    let b = &b[from * PANEL..][..some * PANEL];
                    for (strip, a) in strips.chunks(apart).enumerate() {
                        let at = strip * kernel.rows * stride + panel * PANEL;
                        (kernel.add)(&mut sums[at..], stride, &a[..some * kernel.rows], b, some);
                    }
                }
            }
        });
        vectorised(
            #[inline(always)]
            || {
                for i in 0..m {
                    let sums = &sums[i * stride..][..n];
                    out.row(i).iter_mut().zip(sums).for_each(|(out, &sum)| put(out, sum));
                }
            },
        );
    }

    /// `some` words from `from` on of each row of the strips of `rows`, of which the last may end past the factor; and how far apart the
    /// strips begin. Those of a factor that is not packed are packed into `words`.
    fn part<'a>(
        &'a self,
        words: &'a mut Vec<u32>,
        rows: Range<usize>,
        from: usize,
        some: usize,
    ) -> (&'a [u32], usize) {
        let Self { kernel, pairs, .. } = *self;
        match &self.strips {
            Strips::Packed(all) => {
                let strips = &all[rows.start * pairs..rows.end * pairs];
                (&strips[from * kernel.rows..], kernel.rows * pairs)
            }
            &Strips::Loose(a, (m, k)) => {
                let words = first(words, rows.len() * some);
                let apart = kernel.rows * some;
                for (row, words) in rows.step_by(kernel.rows).zip(words.chunks_exact_mut(apart)) {
                    packing::strip_part(
                        words,
                        a.from(row, 2 * from),
                        kernel.rows,
                        m - row,
                        k,
                        from,
                    );
                }
                (words, apart)
            }
        }
    }
}
