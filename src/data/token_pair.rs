//! A pair as token ids, the input of packs.

use serde::{Deserialize, Serialize};

use crate::disk::digest;

/// A pair as token ids, already truncated. Both sides share `prompt` exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPair {
    /// Row of the pair in the data set, before any shuffling; dropout masks and the reference cache are keyed by it.
    pub row: u32,
    /// Ids both sides begin with (BOS included where the rule puts one).
    pub prompt: Vec<u32>,
    /// Ids of the preferred answer.
    pub chosen: Vec<u32>,
    /// Ids of the other answer.
    pub rejected: Vec<u32>,
    /// How many of the first ids of `[chosen, rejected]` are read and not scored: parts of the prompt that differ between both sides.
    /// All others are scored.
    pub unscored: [usize; 2],
    /// Whether the prompt is computed once for each answer, because the model has other angles in one of the two sequences.
    pub is_apart: bool,
}

impl TokenPair {
    /// Whether both answers are the same tokens, so that they always tie.
    pub fn is_twin(&self) -> bool {
        self.chosen == self.rejected && self.unscored[0] == self.unscored[1]
    }

    /// Scored tokens of `[chosen, rejected]`. A first token without any token before it has nothing to predict it.
    pub fn scored(&self) -> [usize; 2] {
        let of = |answer: &[u32], side: usize| answer.len().saturating_sub(self.first_scored(side));
        [of(&self.chosen, 0), of(&self.rejected, 1)]
    }

    /// Place of the first scored token among the ids of an answer; `side`: 0 chosen, 1 rejected.
    pub fn first_scored(&self, side: usize) -> usize {
        self.unscored[side].max(usize::from(self.prompt.is_empty()))
    }

    /// Tokens that the engine computes: the prompt once, unless the answers are apart, and the answers once if they are equal.
    pub fn tokens(&self) -> usize {
        let prompts = if self.is_apart { 2 } else { 1 };
        prompts * self.prompt.len() + self.answer_tokens()
    }

    /// Of these, the tokens of the answers.
    pub fn answer_tokens(&self) -> usize {
        self.chosen.len() + if self.is_twin() { 0 } else { self.rejected.len() }
    }
}

/// Digest of every token id of `pairs` and where the answers begin.
pub fn digest_of<'a>(pairs: impl IntoIterator<Item = &'a TokenPair>) -> String {
    let mut hasher = digest::Hasher::default();
    for pair in pairs {
        hasher.update(&pair.row.to_le_bytes());
        for ids in [&pair.prompt, &pair.chosen, &pair.rejected] {
            hasher.update(&(ids.len() as u64).to_le_bytes());
            ids.iter().for_each(|id| hasher.update(&id.to_le_bytes()));
        }
        if pair.unscored != [0; 2] {
            // No pair has that row, so that this is no beginning of the next one.
            hasher.update(&u32::MAX.to_le_bytes());
            pair.unscored.iter().for_each(|n| hasher.update(&(*n as u64).to_le_bytes()));
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_token_across_the_boundary_changes_the_digest() {
        let pair = |prompt: &[u32], chosen: &[u32]| TokenPair {
            row: 0,
            prompt: prompt.to_vec(),
            chosen: chosen.to_vec(),
            rejected: vec![9],
            ..TokenPair::default()
        };
        assert_ne!(digest_of([&pair(&[1, 2], &[3])]), digest_of([&pair(&[1], &[2, 3])]));
    }

    #[test]
    fn behind_an_empty_prompt_the_first_token_of_an_answer_is_not_scored() {
        let mut pair = TokenPair { prompt: vec![1], chosen: vec![2; 3], ..TokenPair::default() };
        assert_eq!(pair.scored(), [3, 0]);
        pair.prompt.clear();
        assert_eq!(pair.scored(), [2, 0]);
        pair.unscored = [2, 2];
        assert_eq!(pair.scored(), [1, 0]);
    }

    #[test]
    fn equal_answers_are_computed_once_and_others_both() {
        let mut pair = TokenPair {
            prompt: vec![1; 4],
            chosen: vec![2; 3],
            rejected: vec![2; 3],
            ..TokenPair::default()
        };
        assert_eq!((pair.is_twin(), pair.tokens()), (true, 7));
        pair.unscored = [1, 0];
        assert_eq!((pair.is_twin(), pair.tokens()), (false, 10));
        pair.unscored = [1, 1];
        assert_eq!((pair.is_twin(), pair.tokens()), (true, 7));
        pair.rejected = vec![2, 3];
        assert_eq!((pair.is_twin(), pair.tokens()), (false, 9));
        pair.is_apart = true;
        assert_eq!((pair.tokens(), pair.answer_tokens()), (13, 5));
    }

    #[test]
    fn another_row_or_another_first_scored_token_changes_the_digest() {
        let pair = |row| TokenPair {
            row,
            prompt: vec![1],
            chosen: vec![2],
            rejected: vec![3],
            ..TokenPair::default()
        };
        assert_ne!(digest_of([&pair(0)]), digest_of([&pair(1)]));
        let [one, other] = [[1, 0], [0, 1]].map(|unscored| TokenPair { unscored, ..pair(0) });
        assert_ne!(digest_of([&pair(0)]), digest_of([&one]));
        assert_ne!(digest_of([&other]), digest_of([&one]));
        assert_eq!(digest_of([&pair(1)]), digest_of([&pair(1)]));
    }
}
