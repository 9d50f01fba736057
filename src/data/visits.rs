//! How often an epoch visits each training pair, from the weights of the sources.

use std::fmt;

use anyhow::Result;

use crate::console::units::s;
use crate::data::token_pair::TokenPair;
use crate::error::{InputError, shown};
use crate::ops::philox::Philox;

/// First stream of the draws of a seed; source `n` has the `n`-th after it. Epochs have the streams from 0, which end far below.
const STREAM: u64 = 0x7765_6967_6874_0000;

/// Most visits of an epoch.
const MOST: usize = 1 << 31;

/// A source of training pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighted {
    /// Its name, for messages.
    pub name: String,
    /// Visits of each pair in an epoch; the fraction visits that share of the pairs once more.
    pub weight: f64,
    /// Pairs as text, those that are dropped for their length among them.
    pub texts: usize,
}

/// The visits of an epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Visits {
    /// Indices of the kept pairs, one for each visit: source after source, and in the order of the file.
    pub pairs: Vec<usize>,
    /// Sources with their kept pairs and visits.
    pub counts: Vec<(Weighted, usize, usize)>,
}

impl Visits {
    /// The visits of `kept`, the pairs of `sources` in order, `row` the place among all texts. The share of a source that is visited once more is
    /// drawn by `seed` alone, once for the run.
    ///
    /// Refuses a weight that visits no pair of a source that has some.
    pub fn new(kept: &[TokenPair], sources: Vec<Weighted>, seed: u64) -> Result<Self> {
        let mut visits = Self::default();
        let (mut from, mut end) = (0, 0);
        for (n, source) in sources.into_iter().enumerate() {
            end += source.texts;
            let pairs = kept[from..].iter().take_while(|pair| (pair.row as usize) < end).count();
            let whole = source.weight.floor();
            let more = ((source.weight - whole) * pairs as f64).round() as usize;
            let count = whole * pairs as f64 + more as f64;
            if pairs > 0 && count < 1.0 {
                let plural = s(pairs);
                return Err(InputError::new(format!(
                    "`{}`: its weight `{}` visits none of its {pairs} pair{plural}",
                    shown(&source.name),
                    source.weight
                ))
                .hint(format!("a weight from {} visits one", 0.5 / pairs as f64))
                .into());
            }
            if visits.pairs.len() as f64 + count > MOST as f64 {
                return Err(InputError::new(format!(
                    "`{}`: its weight `{}` makes more than {MOST} visits",
                    shown(&source.name),
                    source.weight
                ))
                .hint("a weight is the number of visits of each pair in an epoch")
                .into());
            }
            let all = from..from + pairs;
            (0..whole as usize).for_each(|_| visits.pairs.extend(all.clone()));
            let mut drawn = Philox::new(seed, STREAM + n as u64).permutation(pairs);
            drawn.truncate(more);
            drawn.sort_unstable();
            visits.pairs.extend(drawn.into_iter().map(|index| from + index));
            visits.counts.push((source, pairs, count as usize));
            from = all.end;
        }
        Ok(visits)
    }

    /// Whether every pair is visited once, in order.
    pub fn are_plain(&self) -> bool {
        self.pairs.iter().enumerate().all(|(place, index)| place == *index)
    }

    /// The indices of the visits as bytes, for a digest.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.pairs.iter().flat_map(|index| (*index as u64).to_le_bytes()).collect()
    }
}

/// `30 visits in an epoch`, and a line for each source: pairs, weight, visits.
impl fmt::Display for Visits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} visit{} in an epoch", self.pairs.len(), s(self.pairs.len()))?;
        for (Weighted { name, weight, .. }, pairs, visits) in &self.counts {
            write!(
                f,
                "\n{name}: {pairs} pair{}, weight {weight}, {visits} visit{}",
                s(*pairs),
                s(*visits)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(rows: &[u32]) -> Vec<TokenPair> {
        rows.iter().map(|&row| TokenPair { row, ..TokenPair::default() }).collect()
    }

    fn source(weight: f64, texts: usize) -> Weighted {
        Weighted { name: "a.jsonl".to_owned(), weight, texts }
    }

    #[test]
    fn without_weights_every_kept_pair_is_visited_once_in_order() {
        let visits =
            Visits::new(&kept(&[0, 2, 3, 5]), vec![source(1.0, 3), source(1.0, 3)], 12).unwrap();
        assert!(visits.are_plain());
        assert_eq!(
            visits.counts.iter().map(|(_, pairs, visits)| (*pairs, *visits)).collect::<Vec<_>>(),
            [(2, 2), (2, 2)]
        );
    }

    #[test]
    fn a_whole_weight_repeats_and_a_fraction_draws_a_share_of_its_own_source() {
        let rows: Vec<u32> = (0..20).collect();
        let sources = vec![source(2.5, 10), source(0.5, 6), source(1.0, 4)];
        let of = |seed| Visits::new(&kept(&rows), sources.clone(), seed).unwrap();
        let visits = of(12);
        assert!(!visits.are_plain());
        assert_eq!(
            visits.counts.iter().map(|(.., visits)| *visits).collect::<Vec<_>>(),
            [25, 3, 4]
        );
        assert_eq!(visits.pairs[..20], [(0..10).collect::<Vec<_>>(), (0..10).collect()].concat());
        let (half, other) = (&visits.pairs[20..25], &visits.pairs[25..28]);
        assert!(half.is_sorted() && half.iter().all(|index| *index < 10));
        assert!(other.is_sorted() && other.iter().all(|index| (10..16).contains(index)));
        assert_eq!(visits.pairs[28..], [16, 17, 18, 19]);
        assert_eq!(of(12), visits, "the seed alone decides");
        assert!((13..20).any(|seed| of(seed) != visits));
        let lines = visits.to_string();
        assert_eq!(lines.lines().nth(1), Some("a.jsonl: 10 pairs, weight 2.5, 25 visits"));
    }

    #[test]
    fn a_weight_that_visits_nothing_or_without_end_is_refused() {
        let error = |weight| {
            Visits::new(&kept(&[0, 1, 2]), vec![source(weight, 3)], 1).unwrap_err().to_string()
        };
        assert_eq!(error(0.1), "`a.jsonl`: its weight `0.1` visits none of its 3 pairs");
        assert!(error(1e18).contains("makes more than"));
        let dropped = Visits::new(&kept(&[]), vec![source(0.1, 3)], 1).unwrap();
        assert_eq!(dropped.counts[0].1, 0);
    }
}
