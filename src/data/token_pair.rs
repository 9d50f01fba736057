//! A pair as token ids, the input of packs.

use crate::disk::digest;

/// A pair as token ids, already truncated. Both sides share `prompt` exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// Row of the pair in the data set, before any shuffling; dropout masks and the reference cache are keyed by it.
    pub row: u32,
    /// Ids both sides begin with (BOS included where the rule puts one).
    pub prompt: Vec<u32>,
    /// Ids of the preferred answer, every one of them scored.
    pub chosen: Vec<u32>,
    /// Ids of the other answer, every one of them scored.
    pub rejected: Vec<u32>,
}

impl TokenPair {
    /// Whether both answers are the same tokens, so that they always tie.
    pub fn is_twin(&self) -> bool {
        self.chosen == self.rejected
    }

    /// Scored tokens of `[chosen, rejected]`. A first token without any token before it has nothing to predict it.
    pub fn scored(&self) -> [usize; 2] {
        let unseen = usize::from(self.prompt.is_empty());
        [&self.chosen, &self.rejected].map(|answer| answer.len().saturating_sub(unseen))
    }

    /// Tokens that the engine computes: the prompt once, and the answers once if they are equal.
    pub fn tokens(&self) -> usize {
        let rejected = if self.is_twin() { 0 } else { self.rejected.len() };
        self.prompt.len() + self.chosen.len() + rejected
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
        };
        assert_ne!(digest_of([&pair(&[1, 2], &[3])]), digest_of([&pair(&[1], &[2, 3])]));
    }

    #[test]
    fn behind_an_empty_prompt_the_first_token_of_an_answer_is_not_scored() {
        let mut pair = TokenPair { row: 0, prompt: vec![1], chosen: vec![2; 3], rejected: vec![] };
        assert_eq!(pair.scored(), [3, 0]);
        pair.prompt.clear();
        assert_eq!(pair.scored(), [2, 0]);
    }

    #[test]
    fn equal_answers_are_computed_once_and_others_both() {
        let mut pair =
            TokenPair { row: 0, prompt: vec![1; 4], chosen: vec![2; 3], rejected: vec![2; 3] };
        assert_eq!((pair.is_twin(), pair.tokens()), (true, 7));
        pair.rejected = vec![2, 3];
        assert_eq!((pair.is_twin(), pair.tokens()), (false, 9));
    }

    #[test]
    fn another_row_changes_the_digest() {
        let pair = |row| TokenPair { row, prompt: vec![1], chosen: vec![2], rejected: vec![3] };
        assert_ne!(digest_of([&pair(0)]), digest_of([&pair(1)]));
        assert_eq!(digest_of([&pair(1)]), digest_of([&pair(1)]));
    }
}
