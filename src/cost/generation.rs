//! The launches of answers: prompts read through the layers of training, then one token of each sequence a step, as
//! `model/generation/cached.rs` makes them.

use candle_core::DType;

use super::kernel::Kernel;
use super::launches::{Group, Launches};
use super::product::Product;
use super::step::{Engine, PackSizes, Pass};
use super::tiles::Tiles;
use crate::ops::decode::BLOCK;

/// Rows that the first layers compute at least, and answers that the last one does, where an adapter stands beside a wide model.
const LEAST_ROWS: [usize; 2] = [2, 65];

/// Width above which these are the more.
const WIDE: usize = 512;

/// The caches of all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// Sequences that it has room for.
    slots: usize,
    /// Tokens of each.
    capacity: usize,
}

impl Cache {
    /// Room for `slots` sequences of `tokens` tokens, in whole blocks. A run begins with less and copies what it has as sequences grow,
    /// which is not counted.
    pub fn new(slots: usize, tokens: usize) -> Self {
        Self { slots, capacity: tokens.next_multiple_of(BLOCK) }
    }
}

impl Engine<'_> {
    /// Reads prompts of these lengths at once, and chooses the first token of each answer.
    pub fn prefill(&self, prompts: &[usize], cache: Cache, adapted: bool) -> Launches {
        let mut list = Launches::default();
        let (shape, dtype) = (self.shape, self.dtype);
        let is_long = adapted && shape.hidden.max(shape.intermediate) > WIDE;
        let least = LEAST_ROWS[usize::from(is_long)];
        let tokens: usize = prompts.iter().sum();
        let longest = prompts.iter().copied().max().unwrap_or(0);
        let filler = least.saturating_sub(tokens);
        let mut start: Vec<u32> = Vec::with_capacity(tokens + filler);
        for &length in prompts.iter().chain([&filler]) {
            start.extend(std::iter::repeat_n(start.len() as u32, length));
        }
        let none = vec![0; start.len()];
        let pack = PackSizes {
            tiles: Tiles::of_rows(&start, &none, &none),
            scored: 0,
            kept: prompts.len().max(least),
            positions: Some(longest),
        };
        self.read(&mut list, &pack, adapted);
        for _ in 0..shape.layers {
            let bytes = self.cache_bytes(cache);
            let store = Kernel::decode_store(dtype, tokens, shape.heads, bytes);
            // Its rows of keys and values may be fewer than were computed.
            let filled =
                2 * filler * shape.heads.kv_heads * shape.heads.head_dim * dtype.size_in_bytes();
            list.add(Group::Attention, Kernel { reach: store.reach + filled, ..store });
        }
        self.choose(&mut list, prompts.len());
        list
    }

    /// One token more of each of `sequences`, which then see `context` tokens in all.
    pub fn decode(
        &self,
        sequences: usize,
        context: usize,
        cache: Cache,
        adapted: bool,
    ) -> Launches {
        let mut list = Launches::default();
        let (shape, dtype) = (self.shape, self.dtype);
        self.angles(&mut list, sequences);
        let embed = Kernel::rows_gather(dtype, shape.vocab, sequences, shape.hidden);
        list.add(Group::Moves, embed);
        let pack = PackSizes {
            tiles: Tiles { tokens: sequences, ..Tiles::default() },
            scored: 0,
            kept: sequences,
            positions: None,
        };
        let pass = if adapted { Pass::Adapted } else { Pass::Base };
        self.each_layer(&mut list, &pack, pass, |layer, list, delta| {
            layer.decode(list, delta, context, self.cache_bytes(cache));
        });
        let norm = Kernel::rms_norm_forward(dtype, sequences, shape.hidden, true);
        list.add(Group::RmsNorm, norm);
        self.choose(&mut list, sequences);
        list
    }

    /// Keys and values of a layer.
    fn cache_bytes(&self, cache: Cache) -> usize {
        let each = self.shape.key_width() * self.dtype.size_in_bytes();
        2 * cache.slots * cache.capacity * each
    }

    /// The most probable token of each of `rows`, which the host waits for.
    fn choose(&self, list: &mut Launches, rows: usize) {
        let (shape, dtype): (_, DType) = (self.shape, self.dtype);
        list.add(Group::Head, Product::forward(dtype, rows, shape.vocab, shape.hidden));
        list.add(Group::Head, Kernel::most_probable(dtype, rows, shape.vocab));
    }
}
