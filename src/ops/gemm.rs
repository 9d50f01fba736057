//! A bounds-checked view of the `gemm` crate for tiles inside a CPU body, where a candle matmul would have to copy.

use super::cpu::Real;

/// A strided matrix within a slice: element `(i, j)` is at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a, T> {
    /// The elements, from `(0, 0)` on.
    pub data: &'a [T],
    /// Elements from one row to the next.
    pub row: usize,
    /// Elements from one column to the next.
    pub column: usize,
}

impl<'a, T> Tile<'a, T> {
    /// Rows of `row` elements from one to the next, columns side by side.
    pub(super) fn rows(data: &'a [T], row: usize) -> Self {
        Self { data, row, column: 1 }
    }

    /// The transpose, without a copy.
    pub(super) fn t(self) -> Self {
        Self { data: self.data, row: self.column, column: self.row }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// Who computes a product.
#[derive(Clone, Copy)]
pub(super) enum Threads {
    /// The calling thread alone: a tile of a larger parallel loop.
    One,
    /// The whole pool.
    All,
}

/// What becomes of the values already in `out`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// `out = scale a b` or `out += scale a b`; `a [m, k]`, `b [k, n]`, `out [m, n]` with rows `out_row` apart.
///
/// Panics if a matrix does not fit its slice: an error of the calling operation, not of its input.
pub(super) fn gemm<T: Real>(
    (m, k, n): (usize, usize, usize),
    (out, out_row, into): (&mut [T], usize, Into),
    a: Tile<T>,
    b: Tile<T>,
    scale: T,
    threads: Threads,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(n <= out_row && (m - 1) * out_row + n <= out.len(), "a product reaches past its slice");
    let out = Out { data: out.as_mut_ptr(), row: out_row, into };
    // SAFETY: `out` holds the product by the line above and is borrowed mutably, so it overlaps neither factor.
    #[expect(unsafe_code, reason = "the gemm crate takes pointers")]
    unsafe {
        call((m, k, n), out, a, b, scale, threads);
    }
}

/// `a b` in new memory, which is not cleared first.
pub(super) fn product<T: Real>((m, k, n): (usize, usize, usize), a: Tile<T>, b: Tile<T>) -> Vec<T> {
    if k == 0 {
        return vec![T::zero(); m * n];
    }
    let mut out = Box::<[T]>::new_uninit_slice(m * n);
    if m == 0 || n == 0 {
        return Vec::new();
    }
    let place = Out { data: out.as_mut_ptr().cast(), row: n, into: Into::Replace };
    // SAFETY: `out` holds the product, whose every element is written and none is read before.
    #[expect(
        unsafe_code,
        reason = "clearing memory that is overwritten costs a tenth of a product"
    )]
    unsafe {
        call((m, k, n), place, a, b, T::one(), Threads::All);
        out.assume_init().into_vec()
    }
}

/// Where a product goes.
struct Out<T> {
    data: *mut T,
    row: usize,
    into: Into,
}

/// # Safety
///
/// `out` is valid for `m` rows of `n` elements `out.row` apart, and overlaps neither factor; it is initialised if it is added to.
#[expect(unsafe_code, reason = "the gemm crate takes pointers")]
unsafe fn call<T: Real>(
    (m, k, n): (usize, usize, usize),
    out: Out<T>,
    a: Tile<T>,
    b: Tile<T>,
    scale: T,
    threads: Threads,
) {
    assert!(a.holds(m, k) && b.holds(k, n), "a matrix reaches past its slice");
    let parallelism = match threads {
        Threads::All if rayon::current_num_threads() > 1 => {
            gemm::Parallelism::Rayon(rayon::current_num_threads())
        }
        _ => gemm::Parallelism::None,
    };
    let (a_strides, b_strides) =
        ((a.column as isize, a.row as isize), (b.column as isize, b.row as isize));
    let add = out.into == Into::Add;
    // SAFETY: the factors lie within their slices by the assertion, the product where the caller says it does.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data,
            1,
            out.row as isize,
            add,
            a.data.as_ptr(),
            a_strides.0,
            a_strides.1,
            b.data.as_ptr(),
            b_strides.0,
            b_strides.1,
            T::one(),
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
