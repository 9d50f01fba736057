//! Whole pairs end to end in one sequence of tokens: no padding, and each prompt once.

use super::tokenize::TokenPair;

/// Pairs laid end to end as `[prompt | chosen | rejected]`, `tokens` rows in all.
///
/// A rejected answer restarts its positions after the prompt and does not see the chosen one. All index arrays are `u32`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pack {
    /// `[tokens]` token ids.
    pub ids: Vec<u32>,
    /// `[tokens]` position for RoPE.
    pub positions: Vec<u32>,
    /// `[tokens]` first row of the token's pair; it sees rows `start..=itself`, less the hidden ones.
    pub start: Vec<u32>,
    /// `[tokens]` first row of the half-open interval it must not see (0 where there is none).
    pub hide_from: Vec<u32>,
    /// `[tokens]` end of that interval (0 where there is none).
    pub hide_to: Vec<u32>,
    /// `[scored]` row of the token before each scored one. A shared prompt's last row is there twice.
    pub rows: Vec<u32>,
    /// `[scored]` the token that row must predict.
    pub targets: Vec<u32>,
    /// `[scored]` `2 * pair + side`, pair counted within the pack, side 0 chosen and 1 rejected. Non-decreasing.
    pub owners: Vec<u32>,
    /// `[tokens]` data-set row of the token's pair, first half of its dropout key.
    pub pair_rows: Vec<u32>,
    /// `[tokens]` place of the token within its pair's `[prompt | chosen | rejected]`, second half of its dropout key.
    pub offsets: Vec<u32>,
    /// Number of pairs.
    pub pairs: usize,
}

impl Pack {
    /// Lays `pairs` end to end.
    ///
    /// A first token without any token before it (an empty prompt) has nothing to predict it and is not scored.
    pub fn new<'a>(pairs: impl IntoIterator<Item = &'a TokenPair>) -> Self {
        let mut pack = Self::default();
        for pair in pairs {
            pack.push(pair);
        }
        pack
    }

    fn push(&mut self, pair: &TokenPair) {
        let base = self.ids.len();
        let (prompt, chosen, rejected) =
            (pair.prompt.len(), pair.chosen.len(), pair.rejected.len());
        let (chosen_at, rejected_at) = (base + prompt, base + prompt + chosen);
        let tokens = prompt + chosen + rejected;

        self.ids.extend(pair.prompt.iter().chain(&pair.chosen).chain(&pair.rejected));
        self.positions
            .extend((0..prompt + chosen).chain(prompt..prompt + rejected).map(|p| p as u32));
        self.start.extend(std::iter::repeat_n(base as u32, tokens));
        for (interval, edge) in [(&mut self.hide_from, chosen_at), (&mut self.hide_to, rejected_at)]
        {
            interval.extend(std::iter::repeat_n(0, prompt + chosen));
            interval
                .extend(std::iter::repeat_n(if chosen == 0 { 0 } else { edge as u32 }, rejected));
        }
        self.pair_rows.extend(std::iter::repeat_n(pair.row, tokens));
        self.offsets.extend(0..tokens as u32);

        for (side, (at, answer)) in
            [(chosen_at, &pair.chosen), (rejected_at, &pair.rejected)].into_iter().enumerate()
        {
            for (i, &token) in answer.iter().enumerate() {
                let before = match i {
                    0 if prompt == 0 => continue,
                    0 => chosen_at - 1,
                    _ => at + i - 1,
                };
                self.rows.push(before as u32);
                self.targets.push(token);
                self.owners.push((2 * self.pairs + side) as u32);
            }
        }
        self.pairs += 1;
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// Cuts a run of pairs into micro-batches of at most `budget` tokens, in order; a longer pair stands alone.
///
/// `lengths`: tokens of each pair. Returns consecutive ranges that cover `0..lengths.len()`.
pub fn cut(lengths: &[usize], budget: usize) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let (mut from, mut tokens) = (0, 0);
    for (i, &length) in lengths.iter().enumerate() {
        if i > from && tokens + length > budget {
            ranges.push(from..i);
            (from, tokens) = (i, 0);
        }
        tokens += length;
    }
    if from < lengths.len() {
        ranges.push(from..lengths.len());
    }
    ranges
}
