//! Pairs as token ids.

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
