//! [`Kernel`]s of the tile registers of AMX: 32 rows of words and a panel give 2 x 2 tiles of sums, which take the products of
//! [`WORDS`] words a row in one instruction each (TDPBF16PS). [`emulated`] does by plain arithmetic what the instruction does.
//!
//! A tile of a panel is every other half of its lines.

use crate::ops::cpu::packed::Kernel;
use crate::ops::cpu::packing::PANEL;
use crate::ops::cpu::pairs::flushed;
use crate::ops::cpu::vectorised;

/// Rows of a tile.
const ROWS: usize = 16;

/// Words of a row of a tile: 64 bytes.
const WORDS: usize = 16;

/// Words of a row between two reads of the sums: a panel of so many lines fills two thirds of a first-level cache of 48 KiB.
const DEPTH: usize = 16 * WORDS;

/// By the instruction.
#[cfg(target_arch = "x86_64")]
pub(super) const AMX: Kernel =
    Kernel { rows: 2 * ROWS, pairs: WORDS, depth: DEPTH, add: amx, within: configured };

/// By plain arithmetic.
pub(super) const EMULATED: Kernel =
    Kernel { rows: 2 * ROWS, pairs: WORDS, depth: DEPTH, add: emulated, within: |calls| calls() };

/// Why this process cannot compute by [`AMX`]; none if it can. The first call asks the system for leave to use the tile registers.
pub(super) fn lacking() -> Option<&'static str> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        static LACKING: std::sync::OnceLock<Option<&str>> = std::sync::OnceLock::new();
        *LACKING.get_or_init(|| match processor::has_amx() {
            false => Some("this processor has no such instructions"),
            true if !processor::is_permitted() => {
                Some("the system does not permit such instructions")
            }
            true => None,
        })
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    Some("this processor has no such instructions")
}

/// The processor and the system, asked.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod processor {
    use std::arch::x86_64::__cpuid_count;

    /// Whether the processor multiplies tiles of bf16 (leaf 7: EDX bits 22 and 24), and the system keeps their configuration and data
    /// when it switches threads (bits 17 and 18 of XCR0, which may be read where ECX bit 27 of leaf 1 is set).
    pub(super) fn has_amx() -> bool {
        let has = |register: u32, bit: u32| register >> bit & 1 == 1;
        if __cpuid_count(0, 0).eax < 7 || !has(__cpuid_count(1, 0).ecx, 27) {
            return false;
        }
        let features = __cpuid_count(7, 0).edx;
        has(features, 22) && has(features, 24) && has(enabled(), 17) && has(enabled(), 18)
    }

    /// The low half of XCR0. The caller has seen that it may be read.
    fn enabled() -> u32 {
        let low: u32;
        // SAFETY: the instruction reads a register of the processor.
        #[expect(unsafe_code, reason = "the intrinsic is not for every processor")]
        unsafe {
            std::arch::asm!(
                "xgetbv", in("ecx") 0, out("eax") low, out("edx") _,
                options(nomem, nostack, preserves_flags)
            );
        }
        low
    }

    /// Asks Linux for the tile data of this process, all its threads included; whether it may use them.
    pub(super) fn is_permitted() -> bool {
        /// `ARCH_REQ_XCOMP_PERM` of `asm/prctl.h`.
        const REQUEST: libc::c_long = 0x1023;
        /// `XFEATURE_XTILEDATA`.
        const TILE_DATA: libc::c_long = 18;
        // SAFETY: the call sets a flag of the process.
        #[expect(unsafe_code, reason = "a system call")]
        unsafe {
            libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0
        }
    }
}

/// What LDTILECFG reads: palette 1 (byte 0), and of eight tiles the bytes of a row (16 bits each, from byte 16 on) and the rows (from byte
/// 48 on). The others are reserved, or the row to start at after an interrupt.
#[repr(align(64))]
struct Configuration([u8; 64]);

static CONFIGURATION: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 4 * WORDS as u8;
        bytes[48 + tile] = ROWS as u8;
        tile += 1;
    }
    Configuration(bytes)
};

/// Panics unless the sums and factors are as long as their shapes, and `pairs` is whole tiles.
fn assert_lengths(sums: &[f32], stride: usize, a: &[u32], b: &[u32], pairs: usize) {
    assert!(stride >= PANEL && sums.len() >= (2 * ROWS - 1) * stride + PANEL);
    assert!(a.len() == 2 * ROWS * pairs && b.len() == PANEL * pairs);
    assert!(pairs > 0 && pairs.is_multiple_of(WORDS));
}

/// Calls `calls` with [`CONFIGURATION`], and releases the tiles after it, so that no thread keeps a state that the system saves whenever it
/// switches threads.
///
/// Panics where the process [lacks](lacking) AMX.
#[cfg(target_arch = "x86_64")]
fn configured(calls: &mut dyn FnMut()) {
    /// Releases the tiles, after a panic too.
    struct Configured;
    impl Drop for Configured {
        fn drop(&mut self) {
            // SAFETY: the process may use AMX, and no tile is read any more.
            #[expect(unsafe_code, reason = "an instruction that not every processor has")]
            unsafe {
                std::arch::asm!("tilerelease", options(nostack, preserves_flags));
            }
        }
    }
    assert!(lacking().is_none(), "no AMX here");
    // SAFETY: the process may use AMX, and the configuration is one of its own.
    #[expect(unsafe_code, reason = "an instruction that not every processor has")]
    unsafe {
        let configuration = CONFIGURATION.0.as_ptr();
        std::arch::asm!("ldtilecfg [{}]", in(reg) configuration, options(nostack, preserves_flags));
    }
    let _configured = Configured;
    calls();
}

/// Within [`configured`]. Panics where the sums or factors are shorter than their shapes.
#[cfg(target_arch = "x86_64")]
fn amx(sums: &mut [f32], stride: usize, a: &[u32], b: &[u32], pairs: usize) {
    assert_lengths(sums, stride, a, b, pairs);
    // SAFETY: the lengths are asserted. Without a configuration the first instruction would be refused by the processor.
    #[expect(unsafe_code, reason = "instructions that not every processor has")]
    unsafe {
        amx_block(sums.as_mut_ptr(), stride, a.as_ptr(), b.as_ptr(), pairs);
    }
}

/// Tiles 0 to 3 are the sums, by rows; 4 and 5 the upper and the lower rows of `a`; 6 and 7 the left and the right half of the panel.
///
/// # Safety
///
/// `sums` has `2 * ROWS` rows of `stride` elements, of the last one [`PANEL`]; `a` has `2 * ROWS * pairs` words and `b` `PANEL * pairs`;
/// `pairs` is a multiple of [`WORDS`] and not 0.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "instructions that not every processor has")]
unsafe fn amx_block(sums: *mut f32, stride: usize, a: *const u32, b: *const u32, pairs: usize) {
    // SAFETY: the caller gives the lengths; every register that is written is an output, and flags and memory are taken to change.
    unsafe {
        std::arch::asm!(
            "tileloadd tmm0, [{top} + {across}*1]",
            "tileloadd tmm1, [{top} + {across}*1 + 64]",
            "tileloadd tmm2, [{bottom} + {across}*1]",
            "tileloadd tmm3, [{bottom} + {across}*1 + 64]",
            "2:",
            "tileloadd tmm4, [{upper} + {along}*1]",
            "tileloadd tmm6, [{b} + {line}*1]",
            "tileloadd tmm7, [{b} + {line}*1 + 64]",
            "tileloadd tmm5, [{lower} + {along}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {upper}, 64",
            "add {lower}, 64",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{top} + {across}*1], tmm0",
            "tilestored [{top} + {across}*1 + 64], tmm1",
            "tilestored [{bottom} + {across}*1], tmm2",
            "tilestored [{bottom} + {across}*1 + 64], tmm3",
            top = in(reg) sums,
            bottom = in(reg) sums.add(ROWS * stride),
            across = in(reg) 4 * stride,
            upper = inout(reg) a => _,
            lower = inout(reg) a.add(ROWS * pairs) => _,
            along = in(reg) 4 * pairs,
            b = inout(reg) b => _,
            line = in(reg) 4 * PANEL,
            steps = inout(reg) pairs / WORDS => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}

/// A tile of words: of f32, or of two bf16 each.
type Tile = [[u32; WORDS]; ROWS];

/// The [`Kernel`] of [`AMX`] with [`tdpbf16ps`] in place of the instruction.
fn emulated(sums: &mut [f32], stride: usize, a: &[u32], b: &[u32], pairs: usize) {
    assert_lengths(sums, stride, a, b, pairs);
    vectorised(
        #[inline(always)]
        || {
            for (half, a) in a.chunks_exact(ROWS * pairs).enumerate() {
                for column in [0, PANEL / 2] {
                    let at = half * ROWS * stride + column;
                    let mut out = [[0.0; WORDS]; ROWS];
                    for (row, out) in out.iter_mut().enumerate() {
                        out.copy_from_slice(&sums[at + row * stride..][..WORDS]);
                    }
                    for step in 0..pairs / WORDS {
                        let a = loaded(&a[step * WORDS..], pairs);
                        let b = loaded(&b[step * WORDS * PANEL + column..], PANEL);
                        tdpbf16ps(&mut out, &a, &b);
                    }
                    for (row, out) in out.iter().enumerate() {
                        sums[at + row * stride..][..WORDS].copy_from_slice(out);
                    }
                }
            }
        },
    );
}

/// A tile of rows that begin `stride` words after one another.
#[inline(always)]
fn loaded(from: &[u32], stride: usize) -> Tile {
    let mut tile = [[0; WORDS]; ROWS];
    for (row, tile) in tile.iter_mut().enumerate() {
        tile.copy_from_slice(&from[row * stride..][..WORDS]);
    }
    tile
}

/// The instruction as Intel's manual has it. The products of the even terms of a row are added to 0 in order, each with one rounding; so
/// are those of the odd terms; the two sums are added, and that to `out`. Denormal numbers are zeros of their sign, read and written.
#[inline(always)]
fn tdpbf16ps(out: &mut [[f32; WORDS]; ROWS], a: &Tile, b: &Tile) {
    let (even, odd) = (|word: u32| flushed(word << 16), |word: u32| flushed(word & 0xffff_0000));
    for (out, a) in out.iter_mut().zip(a) {
        let mut sums = [[0f32; WORDS]; 2];
        for (&x, b) in a.iter().zip(b) {
            for column in 0..WORDS {
                let [evens, odds] = &mut sums;
                let (y, of_even, of_odd) = (b[column], &mut evens[column], &mut odds[column]);
                *of_even = flushed(even(x).mul_add(even(y), *of_even).to_bits());
                *of_odd = flushed(odd(x).mul_add(odd(y), *of_odd).to_bits());
            }
        }
        for (column, out) in out.iter_mut().enumerate() {
            let sum = flushed((sums[0][column] + sums[1][column]).to_bits());
            *out = flushed((flushed(out.to_bits()) + sum).to_bits());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "x86_64")]
    use crate::ops::cpu::pairs::testing::assert_same_bits;

    /// The bytes as the manual lays them out, written out.
    #[test]
    fn eight_tiles_of_sixteen_rows_of_64_bytes_are_configured() {
        let mut want = vec![1];
        want.extend([0; 15]);
        want.extend([64, 0].repeat(8));
        want.extend([0; 16]);
        want.extend([16; 8]);
        want.extend([0; 8]);
        assert_eq!(CONFIGURATION.0.to_vec(), want);
        assert_eq!(CONFIGURATION.0.as_ptr().align_offset(64), 0, "one line of the cache");
    }

    /// Of 1 word in the first row and column: evens and odds apart, then together, then with what was there.
    #[test]
    fn even_and_odd_terms_are_summed_apart_and_denormal_numbers_are_zero() {
        let bits = |x: f32| x.to_bits() >> 16;
        let of = |out: f32, terms: &[(f32, f32)]| {
            let (mut a, mut b) = ([[0; WORDS]; ROWS], [[0; WORDS]; ROWS]);
            for (i, &(x, y)) in terms.iter().enumerate() {
                a[0][i / 2] |= bits(x) << (16 * (i % 2));
                b[i / 2][0] |= bits(y) << (16 * (i % 2));
            }
            let mut sums = [[0.0; WORDS]; ROWS];
            sums[0][0] = out;
            tdpbf16ps(&mut sums, &a, &b);
            sums[0][0]
        };
        let (one, large) = (1.0, 2f32.powi(24));
        // In one chain of sums the small terms would be lost between the large ones.
        assert_eq!(
            of(0.0, &[(large, one), (one, one), (-large, one), (one, one)]).to_bits(),
            2f32.to_bits()
        );
        // The sum of a tile is rounded before it is added: 2^24 + (1 + 1), and not (2^24 + 1) + 1.
        assert_eq!(of(large, &[(one, one), (one, one)]).to_bits(), (large + 2.0).to_bits());
        let (least, denormal) = (f32::MIN_POSITIVE, f32::MIN_POSITIVE / 2.0);
        assert_eq!(of(0.0, &[(denormal, large)]).to_bits(), 0, "read");
        assert_eq!(of(0.0, &[(least, 0.5)]).to_bits(), 0, "written");
        assert_eq!(of(-denormal, &[(0.0, 0.0)]).to_bits(), 0, "what was there");
        assert!(of(1.0, &[(f32::NAN, 0.0)]).is_nan() && of(1.0, &[(f32::INFINITY, 0.0)]).is_nan());
    }

    /// To the bit where the processor has the instruction; where it has not, the whole program's tests count that nothing was compared.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_instruction_gives_the_bits_of_its_emulation() {
        if lacking().is_some() {
            return;
        }
        for (pairs, stride) in [(WORDS, PANEL), (5 * WORDS, PANEL + 32)] {
            assert_same_bits(&AMX, &EMULATED, pairs, stride);
        }
    }
}
