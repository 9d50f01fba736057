//! Results that several threads write at once: matrices cut into blocks of rows and columns.
//!
//! Each thread clears the memory that it then writes, while that memory is in its cache. Clearing everything at once
//! would keep one thread busy while the others wait: a twentieth of a training step.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use crate::ops::cpu::{Element, vectorised};

/// A block of a matrix: `rows` times `columns` elements that no other block has.
pub(in crate::ops) struct Block<'a, T> {
    data: *mut T,
    /// Elements from one row to the next.
    stride: usize,
    rows: usize,
    columns: usize,
    matrix: PhantomData<&'a mut [T]>,
}

// SAFETY: a block is the only way to its elements, like a `&mut [T]`.
#[expect(unsafe_code, reason = "the blocks of one matrix are written by several threads")]
unsafe impl<T: Send> Send for Block<'_, T> {}

/// A number of rows and of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) struct Extent {
    pub rows: usize,
    pub columns: usize,
}

impl<'a, T> Block<'a, T> {
    /// All of `data`, in rows of `columns` elements.
    ///
    /// Panics if `data` is not whole rows: an error of the calling operation, not of its input.
    pub(in crate::ops) fn of(data: &'a mut [T], columns: usize) -> Self {
        let rows = data.len() / columns.max(1);
        assert_eq!(rows * columns, data.len(), "a matrix is whole rows");
        Self { data: data.as_mut_ptr(), stride: columns, rows, columns, matrix: PhantomData }
    }

    /// All of `memory`, in rows of `columns` elements.
    ///
    /// # Safety
    ///
    /// The caller writes each element of the block before reading it.
    #[expect(
        unsafe_code,
        reason = "clearing memory that is overwritten costs a tenth of a product"
    )]
    pub(in crate::ops) unsafe fn uncleared(
        memory: &'a mut [MaybeUninit<T>],
        columns: usize,
    ) -> Self {
        let rows = memory.len() / columns.max(1);
        let data = memory.as_mut_ptr().cast();
        Self { data, stride: columns, rows, columns, matrix: PhantomData }
    }

    /// Number of rows.
    pub(in crate::ops) fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub(in crate::ops) fn columns(&self) -> usize {
        self.columns
    }

    /// Elements from one row to the next.
    pub(in crate::ops) fn stride(&self) -> usize {
        self.stride
    }

    /// The first element; those of row `i` begin `i * stride` after it.
    pub(in crate::ops) fn as_mut_ptr(&mut self) -> *mut T {
        self.data
    }

    /// Row `i`.
    #[inline(always)]
    pub(in crate::ops) fn row(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: the row lies within the block, which is borrowed mutably.
        #[expect(unsafe_code, reason = "a row of a block that is not the whole width")]
        unsafe {
            std::slice::from_raw_parts_mut(self.data.add(i * self.stride), self.columns)
        }
    }

    /// A block of the block.
    pub(in crate::ops) fn part(
        &mut self,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Block<'_, T> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        assert!(columns.start <= columns.end && columns.end <= self.columns, "columns {columns:?}");
        Block {
            data: self.data.wrapping_add(rows.start * self.stride + columns.start),
            stride: self.stride,
            rows: rows.len(),
            columns: columns.len(),
            matrix: PhantomData,
        }
    }

    /// Cuts rows and columns into that many about equal blocks at multiples of `grain`; each comes with the row and
    /// column of its first element.
    pub(in crate::ops) fn cut(self, count: Extent, grain: Extent) -> Vec<(usize, usize, Self)> {
        let mut blocks = Vec::with_capacity(count.rows * count.columns);
        for rows in cuts(self.rows, count.rows, grain.rows) {
            for columns in cuts(self.columns, count.columns, grain.columns) {
                let data = self.data.wrapping_add(rows.start * self.stride + columns.start);
                let block = Block { data, rows: rows.len(), columns: columns.len(), ..self };
                blocks.push((rows.start, columns.start, block));
            }
        }
        blocks
    }
}

/// `0..length` in at most `parts` ranges, cut at multiples of `grain`; none is empty.
fn cuts(length: usize, parts: usize, grain: usize) -> impl Iterator<Item = Range<usize>> {
    let cut = move |part: usize| (length * part / parts).next_multiple_of(grain).min(length);
    (0..parts).map(move |part| cut(part)..cut(part + 1)).filter(|range| !range.is_empty())
}

/// Matrices that parallel calls of `write(band, part, scratch, blocks, others)` fill, with the rows of all `bands`. Matrix `i`
/// has `parts * widths[i]` columns; a call gets the rows `bands[band]` and the columns of `part` of each matrix, all
/// zero. The others, of `other_widths`, are of the type of work.
///
/// A thread passes its `scratch` from call to call. Panics unless the bands follow one another from 0 on.
pub(in crate::ops) fn matrices<T: Element, S: Default, const N: usize, const M: usize>(
    bands: &[Range<usize>],
    parts: usize,
    widths: [usize; N],
    other_widths: [usize; M],
    write: impl Fn(usize, usize, &mut S, [Block<'_, T>; N], [Block<'_, T::Work>; M]) + Sync,
) -> ([Vec<T>; N], [Vec<T::Work>; M]) {
    let rows = bands.iter().fold(0, |from, band| {
        assert!(band.start == from && band.end >= from, "bands follow one another");
        band.end
    });
    let (memory, places) = Uncleared::of(rows, parts, widths);
    let (other_memory, other_places) = Uncleared::of(rows, parts, other_widths);
    let call = |scratch: &mut S, task: usize| {
        let (band, part) = (task / parts, task % parts);
        let blocks = places.map(|place| place.cleared(&bands[band], part));
        write(
            band,
            part,
            scratch,
            blocks,
            other_places.map(|place| place.cleared(&bands[band], part)),
        );
    };
    (0..bands.len() * parts).into_par_iter().for_each_init(S::default, call);
    // SAFETY: every task cleared its blocks, and these are all rows and all columns of each matrix.
    #[expect(unsafe_code, reason = "each thread clears what it writes")]
    unsafe {
        (
            memory.map(|memory| memory.assume_init().into_vec()),
            other_memory.map(|memory| memory.assume_init().into_vec()),
        )
    }
}

/// Matrices of `rows` rows that parallel, [`vectorised`] calls of `write(row, [that row of each])` fill; the rows start
/// as zeros.
#[inline(always)]
pub(in crate::ops) fn by_row<T: Element, const N: usize>(
    rows: usize,
    widths: [usize; N],
    write: impl Fn(usize, [&mut [T]; N]) + Sync,
) -> [Vec<T>; N] {
    let (matrices, _) = by_row_with::<T, (), N>(
        rows,
        widths,
        #[inline(always)]
        |i, row, _| write(i, row),
    );
    matrices
}

/// [`by_row`] with one more value of each row, `write(row, [that row of each], the value)`.
#[inline(always)]
pub(in crate::ops) fn by_row_with<T: Element, U: Copy + Default + Send, const N: usize>(
    rows: usize,
    widths: [usize; N],
    write: impl Fn(usize, [&mut [T]; N], &mut U) + Sync,
) -> ([Vec<T>; N], Vec<U>) {
    /// Elements of a task, so that it outlasts its scheduling.
    const TASK: usize = 32 * 1024;
    let width = widths.iter().copied().max().unwrap_or(0);
    let step = (TASK / width.max(1)).max(1);
    let (memory, places) = Uncleared::of(rows, 1, widths);
    let mut values = vec![U::default(); rows];
    values.par_chunks_mut(step).enumerate().for_each(|(task, values)| {
        vectorised(
            #[inline(always)]
            || {
                for (i, value) in (task * step..).zip(values) {
                    let mut row = places.map(|place| place.cleared(&(i..i + 1), 0));
                    write(i, row.each_mut().map(|row| row.row(0)), value);
                }
            },
        );
    });
    // SAFETY: every row of every matrix was cleared.
    #[expect(unsafe_code, reason = "each thread clears what it writes")]
    (memory.map(|memory| unsafe { memory.assume_init() }.into_vec()), values)
}

/// A result before it is written.
type Memory<T> = Box<[MaybeUninit<T>]>;

/// Address of a matrix of `parts * width` columns that is not cleared yet.
#[derive(Clone, Copy)]
struct Uncleared<T> {
    data: *mut T,
    parts: usize,
    width: usize,
}

// SAFETY: the callers of `cleared` give each block to one task.
#[expect(unsafe_code, reason = "the blocks of one matrix are written by several threads")]
unsafe impl<T: Send> Sync for Uncleared<T> {}

impl<T: Element> Uncleared<T> {
    /// Memory for `rows` rows of each matrix, and its address.
    fn of<const N: usize>(
        rows: usize,
        parts: usize,
        widths: [usize; N],
    ) -> ([Memory<T>; N], [Self; N]) {
        let mut memory = widths.map(|width| Box::new_uninit_slice(rows * parts * width));
        let mut widths = widths.into_iter();
        let places = memory.each_mut().map(|memory| Self {
            data: memory.as_mut_ptr().cast(),
            parts,
            width: widths.next().unwrap_or_default(),
        });
        (memory, places)
    }

    /// The block of `rows` and the columns of `part`, cleared.
    #[inline(always)]
    fn cleared<'a>(self, rows: &Range<usize>, part: usize) -> Block<'a, T> {
        let stride = self.parts * self.width;
        let data = self.data.wrapping_add(rows.start * stride + part * self.width);
        for i in 0..rows.len() {
            // SAFETY: the row lies within the matrix, and zero bits are the number 0.
            #[expect(unsafe_code, reason = "each thread clears what it writes")]
            unsafe {
                data.add(i * stride).write_bytes(0, self.width);
            }
        }
        Block { data, stride, rows: rows.len(), columns: self.width, matrix: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_lands_in_its_place_and_starts_cleared() {
        let bands = [0..2, 2..2, 2..5];
        let ([a, b], []) =
            matrices(&bands, 3, [2, 1], [], |band, part, calls: &mut usize, [mut a, mut b], []| {
                *calls += 1;
                for i in 0..a.rows() {
                    assert!(
                        a.row(i).iter().chain(b.row(i).iter()).all(|&x: &f64| x.to_bits() == 0)
                    );
                    a.part(i..i + 1, 1..2).row(0)[0] = (100 * band + 10 * part + i) as f64;
                    b.row(i)[0] = 1.0;
                }
            });
        let want = |row: usize, part: usize| {
            let (band, i) = if row < 2 { (0, row) } else { (2, row - 2) };
            [0.0, (100 * band + 10 * part + i) as f64]
        };
        let want: Vec<f64> =
            (0..5).flat_map(|row| (0..3).flat_map(move |part| want(row, part))).collect();
        assert_eq!((a, b), (want, vec![1.0; 15]));
    }

    #[test]
    fn a_cut_block_has_every_element_once() {
        let count = Extent { rows: 2, columns: 3 };
        let grain = Extent { rows: 6, columns: 16 };
        for (rows, columns) in [(1, 1), (7, 40), (100, 3)] {
            let mut data = vec![0u32; rows * columns];
            for (from_row, from_column, mut block) in
                Block::of(&mut data, columns).cut(count, grain)
            {
                for i in 0..block.rows() {
                    for (j, x) in block.row(i).iter_mut().enumerate() {
                        *x += ((from_row + i) * columns + from_column + j) as u32 + 1;
                    }
                }
            }
            assert!(data.iter().zip(1..).all(|(&x, i)| x == i), "{rows} {columns}: {data:?}");
        }
    }
}
