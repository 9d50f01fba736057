//! Whole pairs end to end in one sequence of tokens: no padding, and each prompt once where both answers give it the same angles.

use crate::data::token_pair::TokenPair;

/// Pairs laid end to end as `[prompt | chosen | rejected]`, `tokens` rows in all.
///
/// A rejected answer restarts its positions after the prompt and does not see the chosen one. Where both answers are the
/// same tokens they are laid out once, so that they tie exactly. A pair that is apart lies there as two sequences,
/// `[prompt | chosen]` and `[prompt | rejected]`. All index arrays are `u32`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pack {
    /// `[tokens]` token ids.
    pub ids: Vec<u32>,
    /// `[tokens]` position for RoPE.
    pub positions: Vec<u32>,
    /// `[tokens]` tokens of the token's whole sequence, a prompt with its answer; those with the chosen answer for a shared prompt.
    pub lengths: Vec<u32>,
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
    /// `[tokens]` place of the token within its pair's `[prompt | chosen | rejected]`, second half of its dropout key; both copies of a
    /// prompt have the same.
    pub offsets: Vec<u32>,
    /// `[pairs]` whether the rejected answer equals the chosen one and shares its rows.
    pub twins: Vec<bool>,
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
        let answer = if pair.is_twin() { &[][..] } else { &pair.rejected };
        let (prompt, chosen, rejected) = (pair.prompt.len(), pair.chosen.len(), answer.len());
        // The prompt once more before the rejected answer.
        let again = if pair.is_apart { &pair.prompt[..] } else { &[] };
        let (chosen_at, again_at) = (base + prompt, base + prompt + chosen);
        let rejected_at = again_at + again.len();
        let second = again.len() + rejected;

        self.ids.extend(pair.prompt.iter().chain(&pair.chosen).chain(again).chain(answer));
        let position = prompt - again.len();
        self.positions
            .extend((0..prompt + chosen).chain(position..prompt + rejected).map(|p| p as u32));
        for (length, rows) in [(prompt + chosen, prompt + chosen), (prompt + rejected, second)] {
            self.lengths.extend(std::iter::repeat_n(length as u32, rows));
        }
        let start = if pair.is_apart { again_at } else { base };
        for (start, rows) in [(base, prompt + chosen), (start, second)] {
            self.start.extend(std::iter::repeat_n(start as u32, rows));
        }
        let hides = chosen > 0 && !pair.is_apart;
        for (interval, edge) in [(&mut self.hide_from, chosen_at), (&mut self.hide_to, rejected_at)]
        {
            interval.extend(std::iter::repeat_n(0, prompt + chosen));
            interval.extend(std::iter::repeat_n(if hides { edge as u32 } else { 0 }, second));
        }
        self.pair_rows.extend(std::iter::repeat_n(pair.row, prompt + chosen + second));
        let answers = prompt..prompt + chosen + rejected;
        let offsets = (0..prompt + chosen).chain(0..again.len()).chain(answers.skip(chosen));
        self.offsets.extend(offsets.map(|offset| offset as u32));

        for (side, (at, answer)) in
            [(chosen_at, &pair.chosen[..]), (rejected_at, answer)].into_iter().enumerate()
        {
            // Of the row that predicts the answer's first token.
            let last = if side == 1 && pair.is_apart { rejected_at } else { chosen_at };
            for (i, &token) in answer.iter().enumerate().skip(pair.first_scored(side)) {
                let before = match i {
                    0 => last - 1,
                    _ => at + i - 1,
                };
                self.rows.push(before as u32);
                self.targets.push(token);
                self.owners.push((2 * self.twins.len() + side) as u32);
            }
        }
        self.twins.push(pair.is_twin());
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// Cuts a run of pairs into micro-batches of at most `budget` tokens, in order; a longer pair is a micro-batch of its own.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(row: u32, prompt: &[u32], chosen: &[u32], rejected: &[u32]) -> TokenPair {
        TokenPair {
            row,
            prompt: prompt.to_vec(),
            chosen: chosen.to_vec(),
            rejected: rejected.to_vec(),
            ..TokenPair::default()
        }
    }

    #[test]
    fn two_pairs_are_laid_end_to_end() {
        let pack =
            Pack::new(&[pair(7, &[1, 10], &[20, 21], &[30, 31, 32]), pair(3, &[1], &[40], &[50])]);
        assert_eq!(pack.ids, [1, 10, 20, 21, 30, 31, 32, 1, 40, 50]);
        assert_eq!(pack.positions, [0, 1, 2, 3, 2, 3, 4, 0, 1, 1]);
        assert_eq!(pack.lengths, [4, 4, 4, 4, 5, 5, 5, 2, 2, 2]);
        assert_eq!(pack.start, [0, 0, 0, 0, 0, 0, 0, 7, 7, 7]);
        assert_eq!(pack.hide_from, [0, 0, 0, 0, 2, 2, 2, 0, 0, 8]);
        assert_eq!(pack.hide_to, [0, 0, 0, 0, 4, 4, 4, 0, 0, 9]);
        assert_eq!(pack.rows, [1, 2, 1, 4, 5, 7, 7]);
        assert_eq!(pack.targets, [20, 21, 30, 31, 32, 40, 50]);
        assert_eq!(pack.owners, [0, 0, 1, 1, 1, 2, 3]);
        assert_eq!(pack.pair_rows, [7, 7, 7, 7, 7, 7, 7, 3, 3, 3]);
        assert_eq!(pack.offsets, [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]);
        assert_eq!((pack.twins.len(), pack.tokens()), (2, 10));
    }

    #[test]
    fn a_pair_that_is_apart_is_two_sequences_with_one_prompts_keys() {
        let apart = TokenPair { is_apart: true, ..pair(7, &[1, 10], &[20, 21], &[30, 31, 32]) };
        let pack = Pack::new(&[pair(1, &[], &[5], &[5]), apart]);
        assert_eq!(pack.ids, [5, 1, 10, 20, 21, 1, 10, 30, 31, 32]);
        assert_eq!(pack.positions, [0, 0, 1, 2, 3, 0, 1, 2, 3, 4]);
        assert_eq!(pack.lengths, [1, 4, 4, 4, 4, 5, 5, 5, 5, 5]);
        assert_eq!(pack.start, [0, 1, 1, 1, 1, 5, 5, 5, 5, 5]);
        assert_eq!((&pack.hide_from[..], &pack.hide_to[..]), (&[0; 10][..], &[0; 10][..]));
        assert_eq!(pack.rows, [2, 3, 6, 7, 8]);
        assert_eq!(pack.targets, [20, 21, 30, 31, 32]);
        assert_eq!(pack.owners, [2, 2, 3, 3, 3]);
        assert_eq!(pack.offsets, [0, 0, 1, 2, 3, 0, 1, 4, 5, 6]);
        assert_eq!(pack.pair_rows[1..], [7; 9]);
    }

    #[test]
    fn an_empty_chosen_answer_hides_nothing() {
        let pack = Pack::new(&[pair(0, &[1, 2], &[], &[3, 4])]);
        assert_eq!(pack.positions, [0, 1, 2, 3]);
        assert_eq!(
            (pack.hide_from.as_slice(), pack.hide_to.as_slice()),
            ([0; 4].as_slice(), [0; 4].as_slice())
        );
        assert_eq!(
            (pack.rows.as_slice(), pack.owners.as_slice()),
            ([1, 2].as_slice(), [1, 1].as_slice())
        );
    }

    #[test]
    fn the_first_token_after_an_empty_prompt_is_not_scored() {
        let pack = Pack::new(&[pair(0, &[1], &[2], &[3]), pair(1, &[], &[4, 5], &[6, 7])]);
        assert_eq!(pack.positions, [0, 1, 1, 0, 1, 0, 1]);
        assert_eq!(pack.rows, [0, 0, 3, 5]);
        assert_eq!(pack.targets, [2, 3, 5, 7]);
        assert_eq!(pack.owners, [0, 1, 2, 3]);
        assert_eq!((pack.hide_from[5], pack.hide_to[5]), (3, 5));
    }

    #[test]
    fn tokens_of_an_answer_that_belong_to_the_prompt_are_read_and_not_scored() {
        let unscored = [1, 2];
        let pack = Pack::new(&[TokenPair { unscored, ..pair(0, &[1], &[2, 3], &[4, 5, 6]) }]);
        assert_eq!(pack.ids, [1, 2, 3, 4, 5, 6]);
        assert_eq!(pack.positions, [0, 1, 2, 1, 2, 3]);
        assert_eq!((&pack.rows[..], &pack.targets[..]), (&[1, 4][..], &[3, 6][..]));
        assert_eq!(pack.owners, [0, 1]);
        let none = Pack::new(&[TokenPair { unscored: [9, 0], ..pair(0, &[], &[2], &[4]) }]);
        assert_eq!((none.tokens(), none.rows.len()), (2, 0));
    }

    #[test]
    fn an_empty_pair_or_no_pair_is_an_empty_pack() {
        assert_eq!(Pack::new([]), Pack::default());
        let pack = Pack::new(&[pair(0, &[], &[], &[])]);
        assert_eq!((pack.tokens(), pack.twins.len(), pack.rows.len()), (0, 1, 0));
    }

    #[test]
    fn every_scored_row_sees_its_own_side_only() {
        let pack = Pack::new(&[
            pair(0, &[9; 3], &[8; 4], &[7; 5]),
            pair(1, &[6; 2], &[], &[5; 3]),
            pair(2, &[], &[4; 2], &[3; 2]),
            TokenPair { is_apart: true, ..pair(3, &[2; 3], &[1; 4], &[5; 2]) },
        ]);
        let sees = |row: usize| {
            (pack.start[row] as usize..=row)
                .filter(|&at| {
                    !(pack.hide_from[row] as usize..pack.hide_to[row] as usize).contains(&at)
                })
                .count()
        };
        for row in 0..pack.tokens() {
            assert_eq!(sees(row), pack.positions[row] as usize + 1, "row {row}");
        }
    }

    #[test]
    fn a_cut_covers_every_pair_once_within_the_budget() {
        let lengths: Vec<usize> = (0..200u64).map(|i| (i * i * 2654435761 % 97) as usize).collect();
        for budget in [0, 1, 50, 96, 300, usize::MAX / 2] {
            let ranges = cut(&lengths, budget);
            assert_eq!(
                ranges.iter().cloned().flatten().collect::<Vec<_>>(),
                (0..lengths.len()).collect::<Vec<_>>()
            );
            for range in ranges {
                assert!(
                    range.len() == 1 || lengths[range.clone()].iter().sum::<usize>() <= budget,
                    "{range:?} over {budget}"
                );
            }
        }
        assert!(cut(&[], 10).is_empty());
        assert_eq!(cut(&[5, 5, 1, 20, 3], 10), [0..2, 2..3, 3..4, 4..5]);
    }
}
