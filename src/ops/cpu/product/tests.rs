use super::*;
use crate::ops::testing::values;

fn bf16s(n: usize, seed: u64) -> Vec<bf16> {
    values(n, seed).into_iter().map(|x| bf16::rounded(x as f32)).collect()
}

/// Element `(i, j)` of a factor and of its transpose, which lies with rows of `stride`.
fn laid_out(rows: usize, columns: usize, seed: u64, stride: usize) -> (Vec<bf16>, Vec<bf16>) {
    let all = bf16s(rows * columns, seed);
    let mut across = vec![bf16::ONE; columns * stride];
    for (i, row) in all.chunks_exact(columns).enumerate() {
        row.iter().enumerate().for_each(|(j, &x)| across[j * stride + i] = x);
    }
    (all, across)
}

/// Sums of exact products in f64, and the same of magnitudes: what a bound on the error is a share of.
fn exact(m: usize, k: usize, n: usize, a: &[bf16], b: &[bf16]) -> Vec<(f64, f64)> {
    let of = |i: usize, j: usize| {
        let terms =
            (0..k).map(|l| f64::from(a[i * k + l].value()) * f64::from(b[l * n + j].value()));
        terms.fold((0.0, 0.0), |(sum, all), x| (sum + x, all + x.abs()))
    };
    (0..m).flat_map(|i| (0..n).map(move |j| of(i, j))).collect()
}

/// By each way that the processor has.
#[test]
fn sums_are_exact_but_for_the_rounding_of_f32_in_every_layout() {
    for way in Products::ALL.into_iter().filter(|way| way.lacking().is_none()) {
        sums_are_exact_by(way);
    }
}

fn sums_are_exact_by(way: Products) {
    for (m, k, n) in [(1, 1, 1), (3, 7, 5), (70, 33, 290), (300, 600, 20), (16, 515, 261)] {
        let (a, a_across) = laid_out(m, k, 1, m + 3);
        let (b, b_across) = laid_out(k, n, 2, k + 1);
        let want = exact(m, k, n, &a, &b);
        let lies =
            |all, width, across, stride| [Tile::rows(all, width), Tile::rows(across, stride).t()];
        for a in lies(&a[..], k, &a_across[..], m + 3) {
            for b in lies(&b[..], n, &b_across[..], k + 1) {
                let sums = new(way, (m, k, n), a, b.into(), |sum| sum);
                for (i, (&got, &(want, all))) in sums.iter().zip(&want).enumerate() {
                    let bound = all * f64::from(f32::EPSILON) * (k as f64).sqrt().max(2.0);
                    let error = (f64::from(got) - want).abs();
                    assert!(error <= bound, "{way:?} {m} {k} {n} [{i}]: {got}, expected {want}");
                }
                let rounded: Vec<bf16> = sums.iter().map(|&sum| bf16::rounded(sum)).collect();
                assert_eq!(new(way, (m, k, n), a, b.into(), bf16::rounded), rounded, "{m} {k} {n}");
                assert_within_gives(way, (m, k, n), a, b, &sums);
                if way != chosen() {
                    continue;
                }
                assert_eq!(bf16::product(m, k, n, a, b.into()), rounded, "{m} {k} {n}");
                let mut out = bf16s(m * n, 3);
                let added = out.iter().zip(&sums);
                let added: Vec<bf16> =
                    added.map(|(y, x)| bf16::rounded(y.value() + x * 0.5)).collect();
                bf16::add_product(Block::of(&mut out, n), k, a, b.into(), 0.5);
                assert_eq!(out, added, "{m} {k} {n}");
            }
        }
    }
}

/// On one thread, of factors in f32: the same bits where both are packed.
fn assert_within_gives(
    way: Products,
    (m, k, n): (usize, usize, usize),
    a: Tile<bf16>,
    b: Tile<bf16>,
    sums: &[f32],
) {
    let wide = |tile: Tile<bf16>| tile.data.iter().map(|x| x.value()).collect::<Vec<_>>();
    let (a_wide, b_wide) = (wide(a), wide(b));
    let (a, b) = (
        Tile { data: &a_wide[..], row: a.row, column: a.column },
        Tile { data: &b_wide[..], row: b.row, column: b.column },
    );
    let mut out = vec![f32::NAN; m * n];
    within(way, Block::of(&mut out, n), Into::Replace, k, a, b);
    let once = out.clone();
    within(way, Block::of(&mut out, n), Into::Add, k, a, b);
    for ((&once, twice), &sum) in once.iter().zip(out).zip(sums) {
        match way.kernel() {
            Some(_) => assert_eq!((once, twice), (sum, sum + sum), "{way:?} {m} {k} {n}"),
            None => {
                let bound = f32::EPSILON * (k as f32).sqrt().max(2.0) * k as f32;
                assert!((once - sum).abs() <= bound && (twice - 2.0 * sum).abs() <= 2.0 * bound);
            }
        }
    }
}

/// More columns than are packed at once, and rows of every kind, on one thread and on several.
#[test]
fn a_factor_that_is_kept_packed_gives_the_bits_of_one_that_is_not() {
    for way in Products::ALL.into_iter().filter(|way| way.lacking().is_none()) {
        let Some(kernel) = way.kernel() else { continue };
        for (m, k, n) in [(1, 1, 1), (5, 31, 40), (300, 65, 290), (40, 2200, 1000)] {
            let (a, _) = laid_out(m, k, 1, m);
            let (b, across) = laid_out(k, n, 2, k + 1);
            let a = Tile::rows(&a[..], k);
            for tile in [Tile::rows(&b[..], n), Tile::rows(&across[..], k + 1).t()] {
                let panels = Panels::of(kernel, tile, k, n);
                let of = |panels| new(way, (m, k, n), a, Factor { tile, panels }, |sum| sum);
                let bits = |sums: Vec<f32>| sums.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                assert_eq!(bits(of(Some(&panels))), bits(of(None)), "{way:?} {m} {k} {n}");
            }
        }
    }
}

#[test]
fn a_path_that_is_none_or_not_of_this_processor_is_refused_by_name() {
    assert!(Products::named(Some("fast")).unwrap_err().contains("`MVPBENCH_CPU_PRODUCT=fast`"));
    assert_eq!(Products::named(Some("widened")), Ok(Products::Widened));
    assert_eq!(Products::named(Some("auto")), Products::named(None));
    assert_eq!(Products::named(Some("avx512-bf16")).is_ok(), pairs::has_avx512());
    match amx::lacking() {
        None => assert_eq!(Products::named(None), Ok(Products::Amx), "the fastest"),
        Some(why) => {
            let said = Products::named(Some("amx")).unwrap_err();
            assert!(said.contains("`MVPBENCH_CPU_PRODUCT=amx`") && said.ends_with(why), "{said}");
        }
    }
}

#[test]
fn a_product_of_nothing_is_zero() {
    let none = Tile::rows(&[][..], 0);
    let empty = Tile::rows(&[][..], 3).into();
    for way in Products::ALL.into_iter().filter(|way| way.lacking().is_none()) {
        assert_eq!(new(way, (2, 0, 3), none, empty, bf16::rounded), [bf16::ZERO; 6]);
    }
    assert_eq!(bf16::product(2, 0, 3, none, empty), [bf16::ZERO; 6]);
    assert!(bf16::product(0, 4, 3, none, Tile::rows(&[bf16::ONE; 12][..], 3).into()).is_empty());
}
