//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): random numbers by address.
//!
//! A number is a function of a 64-bit key and a 128-bit counter; nothing is stored and no order is implied. Every random
//! choice of the project comes from here: dropout masks, the initial A of LoRA, the order of the pairs. The exception is an order that
//! another program gives to the pairs ([`crate::ops::torch_random`]).

const MULTIPLIERS: (u32, u32) = (0xD251_1F53, 0xCD9E_8D57);
const WEYL: (u32, u32) = (0x9E37_79B9, 0xBB67_AE85);

/// The four 32-bit words at `counter` under `key`.
#[inline(always)]
pub fn block(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    blocks::<1>(key, counter).map(|[word]| word)
}

/// [`block`] at `counter` and at the `N - 1` counters after it (first word + 1, + 2, ...), computed side by side in vectors; word `w` of
/// block `i` is `[w][i]`.
#[inline(always)]
pub fn blocks<const N: usize>(mut key: [u32; 2], counter: [u32; 4]) -> [[u32; N]; 4] {
    // Each word in the lower half of 64 bits, so that a vector lane has room for its product.
    let low = |word: u64| word & u64::from(u32::MAX);
    let [mut a, mut b, mut c, mut d] = counter.map(|word| [u64::from(word); N]);
    for (i, first) in a.iter_mut().enumerate() {
        *first = low(*first + i as u64);
    }
    for _ in 0..10 {
        let [k0, k1] = key.map(u64::from);
        for i in 0..N {
            let left = u64::from(MULTIPLIERS.0) * low(a[i]);
            let right = u64::from(MULTIPLIERS.1) * low(c[i]);
            a[i] = right >> 32 ^ b[i] ^ k0;
            b[i] = low(right);
            c[i] = left >> 32 ^ d[i] ^ k1;
            d[i] = low(left);
        }
        key = [key[0].wrapping_add(WEYL.0), key[1].wrapping_add(WEYL.1)];
    }
    let mut words = [[0; N]; 4];
    for i in 0..N {
        [words[0][i], words[1][i], words[2][i], words[3][i]] =
            [a[i], b[i], c[i], d[i]].map(|word| word as u32);
    }
    words
}

/// A stream of numbers under one seed, read at any place.
#[derive(Debug, Clone, Copy)]
pub struct Philox {
    key: [u32; 2],
    stream: u64,
}

impl Philox {
    /// The numbers of `seed` that belong to `stream`; streams do not overlap.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], stream }
    }

    /// The 64-bit word at `place`.
    pub fn word(&self, place: u64) -> u64 {
        let [a, b, ..] = block(
            self.key,
            [place as u32, (place >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32],
        );
        u64::from(a) << 32 | u64::from(b)
    }

    /// The number at `place`, uniform in `[0, 1)` with 53 bits.
    pub fn uniform(&self, place: u64) -> f64 {
        (self.word(place) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A permutation of `0..n` (Fisher and Yates), the same for the same seed and stream.
    pub fn permutation(&self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            // The high half of a 64x64-bit product is uniform in 0..=last to within 2^-40.
            let other = ((u128::from(self.word(last as u64)) * (last as u128 + 1)) >> 64) as usize;
            order.swap(last, other);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`, philox4x32-10).
    #[test]
    fn words_equal_the_published_known_answers() {
        assert_eq!(block([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            block([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(
            block([0xa409_3822, 0x299f_31d0], pi),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn blocks_side_by_side_are_those_one_after_another() {
        let (key, counter) = ([0xa409_3822, 0x299f_31d0], [u32::MAX - 2, 7, u32::MAX, 9]);
        let side_by_side = blocks::<5>(key, counter);
        for i in 0..5 {
            let one = block(key, [counter[0].wrapping_add(i), 7, u32::MAX, 9]);
            assert_eq!(side_by_side.map(|words| words[i as usize]), one);
        }
    }

    #[test]
    fn a_permutation_holds_every_place_once_and_depends_on_its_stream() {
        let (first, second) =
            (Philox::new(12, 0).permutation(100), Philox::new(12, 1).permutation(100));
        assert_ne!(first, second);
        assert_eq!(first, Philox::new(12, 0).permutation(100));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(Philox::new(12, 0).permutation(0), Vec::<usize>::new());
    }

    #[test]
    fn uniform_numbers_have_the_mean_and_spread_of_a_uniform() {
        let philox = Philox::new(7, 3);
        let n = 100_000;
        let numbers: Vec<f64> = (0..n).map(|i| philox.uniform(i)).collect();
        let mean = numbers.iter().sum::<f64>() / n as f64;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(
            (mean - 0.5).abs() <= 0.005 && (variance - 1.0 / 12.0).abs() <= 0.002,
            "{mean} {variance}"
        );
        assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
    }
}
