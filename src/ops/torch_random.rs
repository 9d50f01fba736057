//! PyTorch's random numbers on the CPU: the Mersenne Twister (Matsumoto and Nishimura 1998) and the draws that PyTorch makes from it.
//!
//! The order of the pairs in a run of transformers follows from them and the seed.

/// Words of the generator's state.
const WORDS: usize = 624;
/// Distance of the two words that a new one is made of.
const SHIFT: usize = 397;

/// `torch.Generator()` of the CPU: a stream of 32-bit words.
#[derive(Debug, Clone)]
pub struct TorchRandom {
    state: [u32; WORDS],
    /// Words of the state that were given out.
    used: usize,
}

impl TorchRandom {
    /// The generator after `manual_seed(seed)`. PyTorch reads the low 32 bits of a seed and no others.
    pub fn new(seed: u64) -> Self {
        let mut state = [seed as u32; WORDS];
        for i in 1..WORDS {
            let before = state[i - 1];
            state[i] =
                1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, used: WORDS }
    }

    fn refill(&mut self) {
        for i in 0..WORDS {
            let (this, next) = (self.state[i], self.state[(i + 1) % WORDS]);
            let mixed = (this & 0x8000_0000) | (next & 0x7fff_ffff);
            let twist = if next & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + SHIFT) % WORDS] ^ (mixed >> 1) ^ twist;
        }
        self.used = 0;
    }

    /// The next word.
    pub fn word(&mut self) -> u32 {
        if self.used == WORDS {
            self.refill();
        }
        let mut word = self.state[self.used];
        self.used += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// The next two words, the first in the high half.
    fn two_words(&mut self) -> u64 {
        let high = u64::from(self.word());
        high << 32 | u64::from(self.word())
    }

    /// `torch.empty((), dtype=torch.int64).random_()`: a number of 63 bits.
    pub fn int64(&mut self) -> u64 {
        self.two_words() & i64::MAX as u64
    }

    /// `torch.randperm(n)`: a permutation of `0..n` (Fisher and Yates, from the front), with one word for each element but the last.
    ///
    /// PyTorch 2.0.1 does so for any `n`; newer versions have another rule from 214,748,364 elements on.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in 0..n.saturating_sub(1) {
            order.swap(i, i + self.word() as usize % (n - i));
        }
        order
    }
}

/// Permutations and draws of PyTorch itself, for tests.
#[cfg(test)]
pub(crate) mod golden {
    use serde_json::Value;

    /// What `scripts/make_order_golden.py` wrote.
    pub(crate) fn read() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/torch_order.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    pub(crate) fn numbers(value: &Value) -> Vec<u64> {
        serde_json::from_value(value.clone()).unwrap()
    }

    /// The first elements, the last ones and the sum of `(place + 1) * element` modulo 2^64.
    fn summary(order: &[usize]) -> [Vec<u64>; 3] {
        let shown = |part: &[usize]| part.iter().map(|&x| x as u64).collect();
        let sum = order
            .iter()
            .zip(1u64..)
            .fold(0, |sum: u64, (&x, place)| sum.wrapping_add(place.wrapping_mul(x as u64)));
        let ends = order.len().min(8);
        [shown(&order[..ends]), shown(&order[order.len() - ends..]), vec![sum]]
    }

    #[track_caller]
    pub(crate) fn assert_order(what: &str, got: &[usize], want: &Value) {
        let want = ["first", "last", "sum"].map(|key| numbers(&want[key]));
        assert_eq!(summary(got), want, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::golden::{assert_order, numbers, read};
    use super::*;

    #[test]
    fn the_words_are_those_of_the_published_generator() {
        let mut random = TorchRandom::new(5489);
        assert_eq!(random.word(), 3_499_211_612);
        let last = (0..9_999).map(|_| random.word()).last();
        assert_eq!(last, Some(4_123_659_995), "the 10,000th, which C++ gives as a check");
    }

    #[test]
    fn draws_and_permutations_are_those_of_pytorch() {
        let golden = read();
        let cases = golden["permutations"].as_array().unwrap();
        assert!(cases.len() >= 40);
        for case in cases {
            let (seed, n) = (case["seed"].as_u64().unwrap(), case["n"].as_u64().unwrap() as usize);
            let got = TorchRandom::new(seed).permutation(n);
            assert_order(&format!("{n} of seed {seed}"), &got, case);
        }
        for case in golden["int64"].as_array().unwrap() {
            let mut random = TorchRandom::new(case["seed"].as_u64().unwrap());
            let want = numbers(&case["draws"]);
            let got: Vec<u64> = want.iter().map(|_| random.int64()).collect();
            assert_eq!(got, want, "seed {}", case["seed"]);
        }
    }
}
