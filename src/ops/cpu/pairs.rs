//! [`Kernel`]s of pairs of terms: each step adds the products of two neighbouring terms to sixteen sums, which is one instruction of
//! AVX-512 BF16 (VDPBF16PS). [`emulated`] does by plain arithmetic what the instruction does, so that packing and tiles are tested on
//! any machine.

use crate::ops::cpu::packed::Kernel;
use crate::ops::cpu::packing::PANEL;

/// Rows that are computed together: with two registers each and those of a panel, 26 of 32 registers.
const ROWS: usize = 12;

/// Words whose terms are summed from 0.
const DEPTH: usize = 128;

/// By AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512: Kernel =
    Kernel { rows: ROWS, pairs: 1, depth: DEPTH, add: avx512, within: |calls| calls() };

/// By plain arithmetic in the order of AVX-512 BF16.
pub(super) const EMULATED: Kernel =
    Kernel { rows: ROWS, pairs: 1, depth: DEPTH, add: emulated, within: |calls| calls() };

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
            (kernel.within)(&mut || (kernel.add)(&mut sums, stride, &a, &b, pairs));
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
