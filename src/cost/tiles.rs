//! The tiles of scores that the kernels of attention compute for a pack: they skip those in which no row sees any key.
//!
//! The rules are those of `ops/attention.cu`.

use crate::data::pack::Pack;

/// Rows of a tile.
const TILE: usize = 64;

/// Queries of a tile of the gradients of the keys.
const NARROW: usize = 32;

/// How much of a pack's scores is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tiles {
    /// Rows of the pack.
    pub tokens: usize,
    /// Pairs of a row and a key that it sees.
    pub visible: usize,
    /// Tiles of 64 queries and 64 keys, of the forward pass and of the gradients of the queries.
    pub square: usize,
    /// Tiles of 32 queries and 64 keys, of the gradients of the keys.
    pub narrow: usize,
}

/// Keys `start..=row`, less the hidden ones.
struct Sight {
    row: usize,
    start: usize,
    hidden: std::ops::Range<usize>,
}

impl Sight {
    /// Whether the row sees any of the `TILE` keys from `first` on.
    fn sees_any(&self, first: usize) -> bool {
        let (low, high) = (first.max(self.start), (first + TILE - 1).min(self.row));
        low <= high && !(self.hidden.start <= low && high < self.hidden.end)
    }
}

impl Tiles {
    /// Those of `pack`.
    pub fn of(pack: &Pack) -> Self {
        Self::of_rows(&pack.start, &pack.hide_from, &pack.hide_to)
    }

    /// Those of rows that see `start[i]..=i` less `hide_from[i]..hide_to[i]`.
    pub fn of_rows(start: &[u32], hide_from: &[u32], hide_to: &[u32]) -> Self {
        let sights: Vec<Sight> = (start.iter().zip(hide_from).zip(hide_to).enumerate())
            .map(|(row, ((&start, &from), &to))| {
                let hidden = if from < to { from as usize..to as usize } else { 0..0 };
                Sight { row, start: start as usize, hidden }
            })
            .collect();
        let tokens = sights.len();
        let visible = sights.iter().map(|s| s.row + 1 - s.start - s.hidden.len()).sum();
        let (mut square, mut narrow) = (0, 0);
        for first in (0..tokens).step_by(TILE) {
            let queries = &sights[first..tokens.min(first + TILE)];
            let keys = queries[0].start / TILE * TILE..first + queries.len();
            let is_seen = |key: &usize| queries.iter().any(|query| query.sees_any(*key));
            square += keys.step_by(TILE).filter(is_seen).count();
            for queries in sights[first..].chunks(NARROW) {
                if queries.iter().all(|query| query.start >= first + TILE) {
                    break; // later rows see none either
                }
                narrow += usize::from(queries.iter().any(|query| query.sees_any(first)));
            }
        }
        Self { tokens, visible, square, narrow }
    }

    /// Scores of all square tiles of a head.
    pub fn scores(&self) -> usize {
        self.square * TILE * TILE
    }

    /// Scores of all narrow tiles of a head.
    pub fn narrow_scores(&self) -> usize {
        self.narrow * NARROW * TILE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::token_pair::TokenPair;

    fn pack(pairs: &[[usize; 3]]) -> Pack {
        let pairs: Vec<TokenPair> = pairs
            .iter()
            .map(|&[prompt, chosen, rejected]| TokenPair {
                prompt: vec![1; prompt],
                chosen: vec![2; chosen],
                rejected: vec![3; rejected],
                ..TokenPair::default()
            })
            .collect();
        Pack::new(&pairs)
    }

    /// Every tile with a visible score, counted score by score.
    fn plainly(pack: &Pack, queries: usize) -> usize {
        let mut tiles = std::collections::BTreeSet::new();
        for row in 0..pack.tokens() {
            for key in pack.start[row] as usize..=row {
                let hidden = pack.hide_from[row] as usize..pack.hide_to[row] as usize;
                if !hidden.contains(&key) {
                    tiles.insert((row / queries, key / TILE));
                }
            }
        }
        tiles.len()
    }

    #[test]
    fn tiles_are_those_with_a_score_that_is_read() {
        for pairs in [
            &[[1, 1, 1]][..],
            &[[64, 64, 64]],
            &[[10, 300, 5], [200, 120, 120], [1, 70, 70]],
            &[[3, 2, 4], [5, 1, 1], [90, 33, 31], [2, 2, 2]],
            &[[33, 129, 65]; 9],
        ] {
            let pack = pack(pairs);
            let tiles = Tiles::of(&pack);
            assert_eq!(tiles.square, plainly(&pack, TILE), "{pairs:?}");
            assert_eq!(tiles.narrow, plainly(&pack, NARROW), "{pairs:?}");
        }
    }

    #[test]
    fn eight_pairs_of_a_7bs_step_have_one_and_a_half_times_the_visible_scores() {
        let tiles = Tiles::of(&pack(&[[200, 120, 120]; 8]));
        assert_eq!((tiles.tokens, tiles.square, tiles.narrow), (3520, 250, 472));
        let share = tiles.scores() as f64 / tiles.visible as f64;
        assert!((share - 1.55).abs() < 0.01, "{share}");
        let share = tiles.narrow_scores() as f64 / tiles.visible as f64;
        assert!((share - 1.46).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_pack_without_rows_has_no_tile() {
        assert_eq!(Tiles::of_rows(&[], &[], &[]), Tiles::default());
    }
}
