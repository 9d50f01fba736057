//! Products of matrices of any [`Element`], summed in its type of work and rounded once.
//!
//! f32 and f64 go to the gemm crate as they are. bf16 goes by the [`Products`] of the processor, tile by tile, so that the sums of a tile
//! stay in the cache and a product reads and writes half the memory.

use std::sync::OnceLock;

use half::bf16;
use rayon::prelude::*;

use crate::ops::cpu::block::{Block, Extent};
use crate::ops::cpu::gemm::{self, Into, Threads, Tile, gemm};
use crate::ops::cpu::packed::{self, Kernel, Panels, Right};
use crate::ops::cpu::{Element, amx, pairs, vectorised};

/// How a product in bf16 is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// Tiles become f32, for the product of f32.
    Widened,
    /// By AVX-512 BF16.
    Avx512,
    /// By plain arithmetic in the order of AVX-512 BF16: slow, for tests.
    Avx512Emulated,
    /// By the tiles of AMX.
    Amx,
    /// By plain arithmetic in the order of AMX: slow, for tests.
    AmxEmulated,
}

impl Products {
    const ALL: [Self; 5] =
        [Self::Widened, Self::Avx512, Self::Avx512Emulated, Self::Amx, Self::AmxEmulated];

    /// Its name in `MVPBENCH_CPU_PRODUCT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Widened => "widened",
            Self::Avx512 => "avx512-bf16",
            Self::Avx512Emulated => "avx512-bf16-emulated",
            Self::Amx => "amx",
            Self::AmxEmulated => "amx-emulated",
        }
    }

    /// Whether it multiplies bf16 itself, or stands for instructions that do.
    pub fn has_units(self) -> bool {
        self != Self::Widened
    }

    /// Why it is not possible here; none if it is.
    fn lacking(self) -> Option<&'static str> {
        match self {
            Self::Avx512 if !pairs::has_avx512() => Some("this processor has no such instructions"),
            Self::Amx => amx::lacking(),
            _ => None,
        }
    }

    /// What multiplies packed factors; none where they are not packed.
    fn kernel(self) -> Option<&'static Kernel> {
        match self {
            Self::Widened => None,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Some(&pairs::AVX512),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Some(&amx::AMX),
            Self::AmxEmulated => Some(&amx::EMULATED),
            _ => Some(&pairs::EMULATED),
        }
    }

    /// The way of `MVPBENCH_CPU_PRODUCT`, else the fastest of this processor. Refuses an unknown name and what the processor lacks, in
    /// words.
    pub fn chosen() -> &'static Result<Self, String> {
        static CHOSEN: OnceLock<Result<Products, String>> = OnceLock::new();
        CHOSEN.get_or_init(|| Self::named(std::env::var("MVPBENCH_CPU_PRODUCT").ok().as_deref()))
    }

    fn named(name: Option<&str>) -> Result<Self, String> {
        let Some(name) = name.filter(|name| !name.is_empty() && *name != "auto") else {
            let fastest = [Self::Amx, Self::Avx512].into_iter().find(|way| way.lacking().is_none());
            return Ok(fastest.unwrap_or(Self::Widened));
        };
        match Self::ALL.into_iter().find(|way| way.name() == name) {
            Some(way) => match way.lacking() {
                None => Ok(way),
                Some(why) => Err(format!("`MVPBENCH_CPU_PRODUCT={name}`: {why}")),
            },
            None => Err(format!(
                "`MVPBENCH_CPU_PRODUCT={name}` is none of auto, {}",
                Self::ALL.map(Self::name).join(", ")
            )),
        }
    }
}

/// A frozen matrix `[rows, columns]`, packed as a right factor for the products of this process.
pub(in crate::ops) struct Kept {
    /// Of its transpose, as a forward pass multiplies.
    transposed: Panels,
    /// Of itself, as a backward pass does; none where none is wanted.
    plain: Option<Panels>,
}

impl Kept {
    /// None where products pack nothing. `backward`: whether the matrix itself is a factor, beside its transpose.
    pub(in crate::ops) fn of(
        elements: &[bf16],
        rows: usize,
        columns: usize,
        backward: bool,
    ) -> Option<Self> {
        let (kernel, tile) = (chosen().kernel()?, Tile::rows(elements, columns));
        Some(Self {
            transposed: Panels::of(kernel, tile.t(), columns, rows),
            plain: backward.then(|| Panels::of(kernel, tile, rows, columns)),
        })
    }

    /// The panels of the matrix or of its transpose.
    pub(in crate::ops) fn panels(&self, transposed: bool) -> Option<&Panels> {
        if transposed { Some(&self.transposed) } else { self.plain.as_ref() }
    }
}

/// A right factor.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Factor<'a, T> {
    /// As it lies.
    pub tile: Tile<'a, T>,
    /// The same in panels, where they are kept.
    pub panels: Option<&'a Panels>,
}

impl<'a, T> From<Tile<'a, T>> for Factor<'a, T> {
    fn from(tile: Tile<'a, T>) -> Self {
        Self { tile, panels: None }
    }
}

/// An element that matrices of it are multiplied.
pub(in crate::ops) trait Multiplied: Element {
    /// `a [m, k]` times `b [k, n]`, each element rounded once, in new memory.
    fn product(m: usize, k: usize, n: usize, a: Tile<Self>, b: Factor<Self>) -> Vec<Self>;
    /// [`Multiplied::product`] in the type of work, not rounded.
    fn sums(m: usize, k: usize, n: usize, a: Tile<Self>, b: Factor<Self>) -> Vec<Self::Work>;
    /// `out += scale a b`, each element rounded once; `a [out.rows, k]`, `b [k, out.columns]`.
    fn add_product(out: Block<Self>, k: usize, a: Tile<Self>, b: Factor<Self>, scale: f64);
    /// `out = a b` or `out += a b`, as `into` tells, on the calling thread: a tile of a larger parallel loop; `a [out.rows, k]`,
    /// `b [k, out.columns]`, of elements that are elements of this type in the type of work.
    fn within(
        out: Block<Self::Work>,
        into: Into,
        k: usize,
        a: Tile<Self::Work>,
        b: Tile<Self::Work>,
    );
    /// The first `rows` and `columns` of `from` in the type of work: in `room`, along memory as `from` lies, unless they are already.
    fn in_work<'a>(
        from: Tile<'a, Self>,
        room: &'a mut Vec<Self::Work>,
        rows: usize,
        columns: usize,
    ) -> Tile<'a, Self::Work>;
}

macro_rules! multiplied_as_it_is {
    ($float:ty) => {
        impl Multiplied for $float {
            fn product(m: usize, k: usize, n: usize, a: Tile<Self>, b: Factor<Self>) -> Vec<Self> {
                gemm::product(m, k, n, a, b.tile)
            }
            fn sums(m: usize, k: usize, n: usize, a: Tile<Self>, b: Factor<Self>) -> Vec<Self> {
                gemm::product(m, k, n, a, b.tile)
            }
            fn add_product(out: Block<Self>, k: usize, a: Tile<Self>, b: Factor<Self>, scale: f64) {
                gemm(out, Into::Add, k, a, b.tile, scale as Self, Threads::All);
            }
            fn within(out: Block<Self>, into: Into, k: usize, a: Tile<Self>, b: Tile<Self>) {
                gemm(out, into, k, a, b, 1.0, Threads::One);
            }
            fn in_work<'a>(
                from: Tile<'a, Self>,
                _: &'a mut Vec<Self>,
                _: usize,
                _: usize,
            ) -> Tile<'a, Self> {
                from
            }
        }
    };
}
multiplied_as_it_is!(f32);
multiplied_as_it_is!(f64);

impl Multiplied for bf16 {
    fn product(m: usize, k: usize, n: usize, a: Tile<Self>, b: Factor<Self>) -> Vec<Self> {
        new(chosen(), (m, k, n), a, b, Self::rounded)
    }

    fn sums(m: usize, k: usize, n: usize, a: Tile<Self>, b: Factor<Self>) -> Vec<f32> {
        new(chosen(), (m, k, n), a, b, |sum| sum)
    }

    fn add_product(out: Block<Self>, k: usize, a: Tile<Self>, b: Factor<Self>, scale: f64) {
        let scale = scale as f32;
        let put = |out: &mut Self, sum: f32| *out = Self::rounded(out.value() + sum * scale);
        tiles(chosen(), out, k, a, b, put);
    }

    fn within(out: Block<f32>, into: Into, k: usize, a: Tile<f32>, b: Tile<f32>) {
        within(chosen(), out, into, k, a, b);
    }

    fn in_work<'a>(
        from: Tile<'a, Self>,
        room: &'a mut Vec<f32>,
        rows: usize,
        columns: usize,
    ) -> Tile<'a, f32> {
        let across = from.row < from.column;
        let (lines, length, stride, step) = match across {
            true => (columns, rows, from.column, from.row),
            false => (rows, columns, from.row, from.column),
        };
        room.resize(lines * length, 0.0);
        vectorised(
            #[inline(always)]
            || {
                for (i, room) in room.chunks_exact_mut(length).enumerate() {
                    let from = &from.data[i * stride..];
                    if step == 1 {
                        room.iter_mut().zip(from).for_each(|(to, from)| *to = from.value());
                    } else {
                        let from = from.iter().step_by(step);
                        room.iter_mut().zip(from).for_each(|(to, from)| *to = from.value());
                    }
                }
            },
        );
        let tile = Tile::rows(&room[..], length);
        if across { tile.t() } else { tile }
    }
}

/// Most rows, columns and terms of a tile: three tiles of f32 fit into 768 KiB.
const TILE: usize = 256;

/// Rows and columns that the gemm crate computes together.
const GRAIN: Extent = Extent { rows: 6, columns: 16 };

/// Multiply-adds below which a second thread costs more than it brings.
const WORTH_A_THREAD: usize = 1 << 19;

/// `made(sum)` of every element of `a [m, k] b [k, n]`, in new memory.
fn new<U: Element>(
    way: Products,
    (m, k, n): (usize, usize, usize),
    a: Tile<bf16>,
    b: Factor<bf16>,
    made: impl Fn(f32) -> U + Sync,
) -> Vec<U> {
    if m == 0 || n == 0 {
        return Vec::new();
    }
    let mut out = Box::<[U]>::new_uninit_slice(m * n);
    // SAFETY: `tiles` puts every element of the block, and `put` reads none.
    #[expect(
        unsafe_code,
        reason = "clearing memory that is overwritten costs a tenth of a product"
    )]
    unsafe {
        tiles(way, Block::uncleared(&mut out, n), k, a, b, |out, sum| *out = made(sum));
        out.assume_init().into_vec()
    }
}

/// The [`Products::chosen`]; a program that computes has refused a name that is none.
fn chosen() -> Products {
    Products::chosen().as_ref().copied().unwrap_or(Products::Widened)
}

/// Calls `put(element, sum)` for every element of `out` with that of `a [out.rows, k] b [k, out.columns]`.
///
/// Panics if a factor does not fit its slice: an error of the calling operation, not of its input.
fn tiles<U: Element>(
    way: Products,
    out: Block<U>,
    k: usize,
    a: Tile<bf16>,
    b: Factor<bf16>,
    put: impl Fn(&mut U, f32) + Sync,
) {
    let (m, n) = (out.rows(), out.columns());
    if m == 0 || n == 0 {
        return;
    }
    assert!(k == 0 || (a.holds(m, k) && b.tile.holds(k, n)), "a matrix reaches past its slice");
    let threads = rayon::current_num_threads().min((m * n).saturating_mul(k) / WORTH_A_THREAD);
    match way.kernel() {
        Some(kernel) => {
            let b = b.panels.map_or(Right::Loose(b.tile), Right::Packed);
            packed::multiply(kernel, out, k, a, b, threads, &put);
        }
        None => widened(out, k, a, b.tile, threads, &put),
    }
}

/// [`Multiplied::within`] of bf16.
fn within(way: Products, out: Block<f32>, into: Into, k: usize, a: Tile<f32>, b: Tile<f32>) {
    let (m, n) = (out.rows(), out.columns());
    let Some(kernel) = way.kernel().filter(|_| m * n * k > 0) else {
        return gemm(out, into, k, a, b, 1.0, Threads::One);
    };
    assert!(a.holds(m, k) && b.holds(k, n), "a matrix reaches past its slice");
    let b = Right::Loose(b);
    match into {
        Into::Replace => packed::multiply(kernel, out, k, a, b, 1, &|out, sum| *out = sum),
        Into::Add => packed::multiply(kernel, out, k, a, b, 1, &|out, sum| *out += sum),
    }
}

/// [`tiles`] of f32, for the gemm crate.
fn widened<U: Element>(
    out: Block<U>,
    k: usize,
    a: Tile<bf16>,
    b: Tile<bf16>,
    threads: usize,
    put: &(impl Fn(&mut U, f32) + Sync),
) {
    let work = |scratch: &mut Scratch, (row, column, out): (usize, usize, Block<U>)| {
        let a = Tile { data: a.data.get(row * a.row..).unwrap_or_default(), ..a };
        let b = Tile { data: b.data.get(column * b.column..).unwrap_or_default(), ..b };
        scratch.tile(out, k, a, b, put);
    };
    let (rows, mut columns) = (out.rows().div_ceil(TILE), out.columns().div_ceil(TILE));
    // Fewer tiles than threads become narrower ones, while they stay a whole panel.
    while rows * columns < threads && out.columns() / (columns + 1) >= TILE / 4 {
        columns += 1;
    }
    let tiles = out.cut(Extent { rows, columns }, GRAIN);
    if threads <= 1 {
        let mut scratch = Scratch::default();
        return tiles.into_iter().for_each(|tile| work(&mut scratch, tile));
    }
    tiles.into_par_iter().for_each_init(Scratch::default, work);
}

/// Tiles that a thread uses again.
#[derive(Default)]
struct Scratch {
    sums: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Scratch {
    /// [`widened`] of one tile of `out`.
    fn tile<U: Element>(
        &mut self,
        mut out: Block<U>,
        k: usize,
        a: Tile<bf16>,
        b: Tile<bf16>,
        put: &impl Fn(&mut U, f32),
    ) {
        let (m, n) = (out.rows(), out.columns());
        self.sums.clear();
        self.sums.resize(m * n, 0.0);
        for from in (0..k).step_by(TILE) {
            let k = TILE.min(k - from);
            let a = Tile { data: &a.data[from * a.column..], ..a };
            let b = Tile { data: &b.data[from * b.row..], ..b };
            let a = bf16::in_work(a, &mut self.a, m, k);
            let b = bf16::in_work(b, &mut self.b, k, n);
            gemm(Block::of(&mut self.sums, n), Into::Add, k, a, b, 1.0, Threads::One);
        }
        vectorised(
            #[inline(always)]
            || {
                for (i, sums) in self.sums.chunks_exact(n).enumerate() {
                    out.row(i).iter_mut().zip(sums).for_each(|(out, &sum)| put(out, sum));
                }
            },
        );
    }
}

#[cfg(test)]
mod tests;
