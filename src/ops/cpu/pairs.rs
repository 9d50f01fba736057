//! `sums += a b` of tiles of bf16 by pairs of terms: each step adds the products of two neighbouring terms to sixteen sums, which is one
//! instruction of AVX-512 BF16 (VDPBF16PS).
//!
//! Both factors are packed as 32-bit words of two bf16, the term of even number below: `a` along its rows, `b` in panels of [`PANEL`]
//! columns, zeros past the end. [`emulated`] does by plain arithmetic what the instruction does, so that packing and tiles are tested
//! on any machine. The tiles of AMX ([`super::amx`]) read the same packed factors.

use half::bf16;

use crate::ops::cpu::gemm::Tile;
use crate::ops::cpu::vectorised;

/// Columns of a panel: two registers of sums.
pub(super) const PANEL: usize = 32;

/// Rows that are computed together: with two registers each and those of a panel, 26 of 32 registers.
const ROWS: usize = 12;

/// Packed factors that a thread uses again.
#[derive(Default)]
pub(super) struct Packed {
    a: Vec<u32>,
    b: Vec<u32>,
}

/// What multiplies some rows with a panel.
pub(super) struct Kernel {
    /// Rows that are computed together.
    pub rows: usize,
    /// Words of a row that are computed together.
    pub pairs: usize,
    /// Adds the products of `pairs` words of the rows and of a panel to their sums: `(sums, stride, a, b, pairs)`, where row `r` of the
    /// sums begins at `r * stride` and row `r` of `a` at `r * pairs`.
    pub add: fn(&mut [f32], usize, &[u32], &[u32], usize),
}

/// By AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512: Kernel = Kernel { rows: ROWS, pairs: 1, add: avx512 };

/// By plain arithmetic in the order of AVX-512 BF16.
pub(super) const EMULATED: Kernel = Kernel { rows: ROWS, pairs: 1, add: emulated };

impl Kernel {
    /// Rows and columns of the sums that a tile of `m` rows and `n` columns takes.
    pub(super) fn padded(&self, m: usize, n: usize) -> (usize, usize) {
        (m.next_multiple_of(self.rows), n.next_multiple_of(PANEL))
    }
}

/// `sums += a b`; `a [m, k]`, `b [k, n]`, `sums` as [`Kernel::padded`].
pub(super) fn add(
    sums: &mut [f32],
    (m, k, n): (usize, usize, usize),
    a: Tile<bf16>,
    b: Tile<bf16>,
    packed: &mut Packed,
    kernel: &Kernel,
) {
    let (rows, columns) = kernel.padded(m, n);
    let pairs = k.div_ceil(2).next_multiple_of(kernel.pairs);
    let Packed { a: words, b: panels } = packed;
    vectorised(
        #[inline(always)]
        || {
            pack_rows(words, a, (m, k), (rows, pairs));
            pack_panels(panels, b, (k, n), pairs);
        },
    );
    for (panel, b) in panels.chunks_exact(pairs * PANEL).enumerate() {
        for (strip, a) in words.chunks_exact(pairs * kernel.rows).enumerate() {
            let at = strip * kernel.rows * columns + panel * PANEL;
            (kernel.add)(&mut sums[at..], columns, a, b, pairs);
        }
    }
}

#[inline(always)]
fn word(low: bf16, high: bf16) -> u32 {
    u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16
}

/// `rows` rows of `pairs` words; those past `m` and `k` are zero.
#[inline(always)]
fn pack_rows(
    words: &mut Vec<u32>,
    a: Tile<bf16>,
    (m, k): (usize, usize),
    (rows, pairs): (usize, usize),
) {
    words.clear();
    words.resize(rows * pairs, 0);
    for (i, words) in words.chunks_exact_mut(pairs).take(m).enumerate() {
        let row = &a.data[i * a.row..];
        if a.column == 1 {
            let (whole, rest) = row[..k].as_chunks::<2>();
            for (word_of, &[low, high]) in words.iter_mut().zip(whole) {
                *word_of = word(low, high);
            }
            if let &[last] = rest {
                words[k / 2] = word(last, bf16::ZERO);
            }
        } else {
            let term = |l: usize| if l < k { row[l * a.column] } else { bf16::ZERO };
            for (l, word_of) in words.iter_mut().enumerate() {
                *word_of = word(term(2 * l), term(2 * l + 1));
            }
        }
    }
}

/// Panels of `pairs` lines of words; columns past `n` and lines past `k` are zero.
#[inline(always)]
fn pack_panels(panels: &mut Vec<u32>, b: Tile<bf16>, (k, n): (usize, usize), pairs: usize) {
    panels.clear();
    panels.resize(n.div_ceil(PANEL) * pairs * PANEL, 0);
    for (panel, words) in panels.chunks_exact_mut(pairs * PANEL).enumerate() {
        let from = panel * PANEL;
        let columns = PANEL.min(n - from);
        let data = &b.data[from * b.column..];
        let lines = &mut words.as_chunks_mut::<PANEL>().0[..k.div_ceil(2)];
        let whole = if b.row == 1 && columns == PANEL { k / 2 / DEPTH * DEPTH } else { 0 };
        pack_across(&mut lines[..whole], data, b.column);
        for (pair, words) in lines.iter_mut().enumerate().skip(whole) {
            let (low, alone) = (&data[2 * pair * b.row..], 2 * pair + 1 == k);
            let high = if alone { low } else { &data[(2 * pair + 1) * b.row..] };
            if b.column == 1 {
                let both = low[..columns].iter().zip(&high[..columns]);
                words.iter_mut().zip(both).for_each(|(to, (&low, &high))| *to = word(low, high));
            } else {
                let both = low.iter().step_by(b.column).zip(high.iter().step_by(b.column));
                let both = both.take(columns);
                words.iter_mut().zip(both).for_each(|(to, (&low, &high))| *to = word(low, high));
            }
            if alone {
                words.iter_mut().for_each(|word| *word &= 0xffff);
            }
        }
    }
}

/// Lines of a panel that [`pack_across`] fills together: two words of bf16 each, so that they read a line of the cache.
const DEPTH: usize = 16;

/// A multiple of [`DEPTH`] lines of a panel, of columns whose terms lie side by side, `stride` from one column to the next.
///
/// Eight columns at a time: their lines of the cache stay in it while they are read, also where a large power of two lies between them.
/// Line by line a panel of 256 terms took twelve times as long.
#[inline(always)]
fn pack_across(lines: &mut [[u32; PANEL]], columns: &[bf16], stride: usize) {
    const WIDTH: usize = 8;
    for (block, lines) in lines.chunks_exact_mut(DEPTH).enumerate() {
        for from in (0..PANEL).step_by(WIDTH) {
            let columns: [_; WIDTH] = std::array::from_fn(|column| {
                let terms = &columns[(from + column) * stride + 2 * DEPTH * block..];
                &terms[..2 * DEPTH]
            });
            for (i, line) in lines.iter_mut().enumerate() {
                let words = &mut line[from..][..WIDTH];
                for (word_of, column) in words.iter_mut().zip(columns) {
                    *word_of = word(column[2 * i], column[2 * i + 1]);
                }
            }
        }
    }
}

/// The [`Kernel`] by plain arithmetic, as Intel's manual has the instruction: each product is added with one rounding, the odd term first,
/// and denormal numbers are zeros of their sign, read and written. The terms are summed from 0, and the sum is added to what is there.
fn emulated(sums: &mut [f32], stride: usize, a: &[u32], b: &[u32], pairs: usize) {
    let (low, high) = (|word: u32| flushed(word << 16), |word: u32| flushed(word & 0xffff_0000));
    let add = |x: f32, y: f32, sum: f32| flushed(x.mul_add(y, sum).to_bits());
    for (sums, a) in sums.chunks_mut(stride).zip(a.chunks_exact(pairs)) {
        let mut registers = [0f32; PANEL];
        for (&x, b) in a.iter().zip(b.chunks_exact(PANEL)) {
            for (register, &y) in registers.iter_mut().zip(b) {
                *register = add(low(x), low(y), add(high(x), high(y), *register));
            }
        }
        sums.iter_mut().zip(registers).for_each(|(sum, register)| *sum += register);
    }
}

/// The number of these bits; 0 of its sign if it is denormal, as the instructions of bf16 read and write it.
#[inline(always)]
pub(super) fn flushed(bits: u32) -> f32 {
    let is_normal = bits & 0x7f80_0000 != 0;
    f32::from_bits(if is_normal { bits } else { bits & 0x8000_0000 })
}

/// The [`Kernel`] on AVX-512 BF16.
///
/// Panics where the processor has none, or where the sums or factors are shorter than their shapes.
#[cfg(target_arch = "x86_64")]
fn avx512(sums: &mut [f32], stride: usize, a: &[u32], b: &[u32], pairs: usize) {
    assert!(has_avx512(), "this processor has no AVX-512 BF16");
    assert!(stride >= PANEL && sums.len() >= (ROWS - 1) * stride + PANEL);
    assert!(a.len() == ROWS * pairs && b.len() == PANEL * pairs);
    // SAFETY: the processor has the instructions, and the lengths are asserted.
    #[expect(unsafe_code, reason = "instructions that not every processor has")]
    unsafe {
        avx512_kernel(sums.as_mut_ptr(), stride, a.as_ptr(), b.as_ptr(), pairs);
    }
}

/// Whether the processor has what [`avx512`] needs.
pub(super) fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// # Safety
///
/// The processor has the features; `sums` has [`ROWS`] rows of `stride` elements, of the last one [`PANEL`]; `a` has `ROWS * pairs` words
/// and `b` `PANEL * pairs`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
#[expect(unsafe_code, reason = "instructions that not every processor has")]
unsafe fn avx512_kernel(sums: *mut f32, stride: usize, a: *const u32, b: *const u32, pairs: usize) {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
        _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
    };
    // SAFETY: both are 512 bits without a meaning of their own.
    let as_pairs = |words: __m512i| unsafe { std::mem::transmute::<__m512i, __m512bh>(words) };
    let mut registers = [[_mm512_setzero_ps(); 2]; ROWS];
    for pair in 0..pairs {
        // SAFETY: the caller gives the lengths.
        let (panel, x) = unsafe { (b.add(pair * PANEL), a.add(pair)) };
        let left = as_pairs(unsafe { _mm512_loadu_si512(panel.cast()) });
        let right = as_pairs(unsafe { _mm512_loadu_si512(panel.add(PANEL / 2).cast()) });
        for (row, [first, second]) in registers.iter_mut().enumerate() {
            let x = as_pairs(_mm512_set1_epi32(unsafe { *x.add(row * pairs) }.cast_signed()));
            *first = _mm512_dpbf16_ps(*first, x, left);
            *second = _mm512_dpbf16_ps(*second, x, right);
        }
    }
    for (row, halves) in registers.into_iter().enumerate() {
        for (half, register) in halves.into_iter().enumerate() {
            // SAFETY: the caller gives the lengths.
            unsafe {
                let at = sums.add(row * stride + half * (PANEL / 2));
                _mm512_storeu_ps(at, _mm512_add_ps(_mm512_loadu_ps(at), register));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::ops::testing::values;

    fn words(n: usize, seed: u64) -> Vec<u32> {
        let half = |x: f64| (x as f32).to_bits() >> 16;
        values(2 * n, seed).chunks_exact(2).map(|x| half(x[0]) | half(x[1]) << 16).collect()
    }

    /// That two kernels of one shape add the same bits, denormal numbers and an infinity among their terms.
    pub(in crate::ops::cpu) fn assert_same_bits(
        one: &Kernel,
        other: &Kernel,
        pairs: usize,
        stride: usize,
    ) {
        let (mut a, mut b) = (words(one.rows * pairs, 1), words(PANEL * pairs, 2));
        (a[3], b[40]) = (0x0001_8040, 0x7f80_3f80);
        let sums = values(one.rows * stride, 3).into_iter().map(|x| x as f32);
        let start: Vec<f32> = sums.collect();
        let of = |kernel: &Kernel| {
            let mut sums = start.clone();
            (kernel.add)(&mut sums, stride, &a, &b, pairs);
            let bits = |x: f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
            sums.into_iter().map(bits).collect::<Vec<_>>()
        };
        assert_eq!(of(one), of(other), "{pairs} pairs");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_summed_from_zero_the_odd_one_first_and_denormal_numbers_are_zero() {
        let bits = |x: f32| x.to_bits() >> 16;
        let of = |sum: f32, terms: &[[(f32, f32); 2]]| {
            let word = |[low, high]: [f32; 2]| bits(low) | bits(high) << 16;
            let mut a = vec![0; ROWS * terms.len()];
            let mut b = vec![0; PANEL * terms.len()];
            for (i, &[(x, y), (z, w)]) in terms.iter().enumerate() {
                a[i] = word([x, z]);
                b[i * PANEL] = word([y, w]);
            }
            let mut sums = [0.0; ROWS * PANEL];
            sums[0] = sum;
            emulated(&mut sums, PANEL, &a, &b, terms.len());
            sums[0].to_bits()
        };
        let (one, large, none) = (1.0, 2f32.powi(24), (0.0, 0.0));
        // 2^24 + (1 + 1), and not (2^24 + 1) + 1.
        let ones = [(one, one), (one, one)];
        assert_eq!(of(large, &[ones]), (large + 2.0).to_bits());
        assert_eq!(of(large, &[[(one, one), none], [(one, one), none]]), (large + 2.0).to_bits());
        // (2^24 - 2^24) + 1 with the odd term first, where the even one had been lost in 2^24.
        let terms = [[none, (large, one)], [(one, one), (-large, one)]];
        assert_eq!(of(0.0, &terms), one.to_bits());
        let (least, denormal) = (f32::MIN_POSITIVE, f32::MIN_POSITIVE / 2.0);
        assert_eq!(of(0.0, &[[(denormal, large), none]]), 0, "read");
        assert_eq!(of(0.0, &[[(least, 0.5), none]]), 0, "written");
    }

    /// To the bit where the processor has the instruction; where it has not, the whole program's tests count that nothing was compared.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_instruction_gives_the_bits_of_its_emulation() {
        if has_avx512() {
            for (pairs, stride) in [(2, PANEL), (128, PANEL + 32)] {
                testing::assert_same_bits(&AVX512, &EMULATED, pairs, stride);
            }
        }
    }
}
