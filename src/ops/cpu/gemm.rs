//! A bounds-checked view of the `gemm` crate for tiles inside a CPU body, where a candle matmul would have to copy.

use rayon::prelude::*;

use crate::ops::cpu::Real;
use crate::ops::cpu::block::{Block, Extent};

/// A strided matrix within a slice: element `(i, j)` is at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Tile<'a, T> {
    /// The elements, from `(0, 0)` on.
    pub data: &'a [T],
    /// Elements from one row to the next.
    pub row: usize,
    /// Elements from one column to the next.
    pub column: usize,
}

impl<'a, T> Tile<'a, T> {
    /// A row-major matrix; `row`: elements from one row to the next.
    pub(in crate::ops) fn rows(data: &'a [T], row: usize) -> Self {
        Self { data, row, column: 1 }
    }

    /// The transpose, without a copy.
    pub(in crate::ops) fn t(self) -> Self {
        Self { data: self.data, row: self.column, column: self.row }
    }

    /// What begins at element `(row, column)`; nothing past the end.
    pub(in crate::ops) fn from(self, row: usize, column: usize) -> Self {
        let data = self.data.get(row * self.row + column * self.column..).unwrap_or_default();
        Self { data, ..self }
    }

    /// Whether `rows` and `columns` lie within the slice; neither is 0.
    pub(in crate::ops) fn holds(&self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// Who computes a product.
#[derive(Clone, Copy)]
pub(in crate::ops) enum Threads {
    /// The calling thread alone: a tile of a larger parallel loop.
    One,
    /// The whole pool.
    All,
}

/// What a product does with the values in `out`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Into {
    /// Replaces them.
    Replace,
    /// Adds itself to them.
    Add,
}

/// `out = scale a b`, or `out += scale a b` as `into` tells; `a [out.rows, k]`, `b [k, out.columns]`.
///
/// Panics if a factor does not fit its slice: an error of the calling operation, not of its input.
pub(in crate::ops) fn gemm<T: Real>(
    out: Block<T>,
    into: Into,
    k: usize,
    a: Tile<T>,
    b: Tile<T>,
    scale: T,
    threads: Threads,
) {
    let (m, n) = (out.rows(), out.columns());
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(a.holds(m, k) && b.holds(k, n), "a matrix reaches past its slice");
    let whole = Extent { rows: 1, columns: 1 };
    let blocks = match threads {
        Threads::One => whole,
        Threads::All => blocks(m, k, n, rayon::current_num_threads()),
    };
    if blocks == whole {
        return one(out, into, k, a, b, scale);
    }
    out.cut(blocks, GRAIN).into_par_iter().for_each(|(row, column, out)| {
        let a = Tile { data: &a.data[row * a.row..], ..a };
        let b = Tile { data: &b.data[column * b.column..], ..b };
        one(out, into, k, a, b, scale);
    });
}

/// `a [m, k]` times `b [k, n]`, in new memory that is not cleared first.
pub(in crate::ops) fn product<T: Real>(
    m: usize,
    k: usize,
    n: usize,
    a: Tile<T>,
    b: Tile<T>,
) -> Vec<T> {
    if k == 0 || m == 0 || n == 0 {
        return vec![T::zero(); m * n];
    }
    let mut out = Box::<[T]>::new_uninit_slice(m * n);
    // SAFETY: the block is written and not read: a product that replaces what is there writes every element.
    #[expect(
        unsafe_code,
        reason = "clearing memory that is overwritten costs a tenth of a product"
    )]
    unsafe {
        gemm(Block::uncleared(&mut out, n), Into::Replace, k, a, b, T::one(), Threads::All);
        out.assume_init().into_vec()
    }
}

/// Rows and columns that the kernels of the gemm crate compute together.
const GRAIN: Extent = Extent { rows: 6, columns: 16 };

/// Fewest columns of a block that pay for loading each row of `a` into the cache.
const WIDE: usize = 512;

/// Fewest rows of a block whose product is worth a thread of its own.
const BLOCK_ROWS: usize = 96;

/// Fewest columns of such a block where rows do not suffice: the widest panel of the gemm crate.
const BLOCK_COLUMNS: usize = 64;

/// Multiply-adds below which a second thread costs more than it brings.
const WORTH_A_THREAD: usize = 1 << 19;

/// Blocks of rows and of columns that a product `[m, k] [k, n]` is cut into, one for each thread. Columns are cut first, while they stay [`WIDE`],
/// since every thread packs the columns of `b` that it reads; then rows; then columns again.
///
/// The gemm crate's own threads would wait while one of them packs `b`, and for one another after each part of `k`.
fn blocks(m: usize, k: usize, n: usize, threads: usize) -> Extent {
    let threads = threads.min((m * n).saturating_mul(k) / WORTH_A_THREAD).max(1);
    let most = |of: usize, size: usize, least: usize| {
        (1..=of).rev().find(|parts| of.is_multiple_of(*parts) && size / parts >= least).unwrap_or(1)
    };
    let columns = most(threads, n, WIDE);
    let rows = most(threads / columns, m, BLOCK_ROWS);
    let more = most(threads / columns / rows, n / columns, BLOCK_COLUMNS);
    Extent { rows, columns: columns * more }
}

/// The product on the calling thread; `a` and `b` hold their factors.
fn one<T: Real>(mut out: Block<T>, into: Into, k: usize, a: Tile<T>, b: Tile<T>, scale: T) {
    // SAFETY: the factors lie within their slices by the assertion of `gemm`; the product is a block, which is borrowed mutably
    // and so overlaps neither factor.
    #[expect(unsafe_code, reason = "the gemm crate takes pointers")]
    unsafe {
        gemm::gemm(
            out.rows(),
            out.columns(),
            k,
            out.as_mut_ptr(),
            1,
            out.stride() as isize,
            into == Into::Add,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            T::one(),
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
