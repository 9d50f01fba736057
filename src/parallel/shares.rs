//! Which pairs of a step make which leaf, and which leaves a rank computes.

use std::cmp::Reverse;
use std::ops::Range;

/// The places of `lengths` in `leaves` shares of about as many tokens, each share ascending. A share is empty where there are fewer places.
///
/// The longest goes first, to the share that has the fewest tokens so far, the first of several (Graham's LPT rule: the largest share is at
/// most a third above the best one). Depends on the lengths and the number of shares alone.
pub fn balanced(lengths: &[usize], leaves: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&place| Reverse(lengths[place])); // stable: of equal lengths the first
    let mut shares = vec![(0, Vec::new()); leaves];
    for place in order {
        let lightest = shares.iter_mut().min_by_key(|(tokens, places)| (*tokens, places.len()));
        if let Some((tokens, places)) = lightest {
            *tokens += lengths[place];
            places.push(place);
        }
    }
    let ascending = |(_, mut places): (usize, Vec<usize>)| {
        places.sort_unstable();
        places
    };
    shares.into_iter().map(ascending).collect()
}

/// The leaves that `rank` of `ranks` computes.
pub fn of_rank(leaves: usize, ranks: usize, rank: usize) -> Range<usize> {
    rank * leaves / ranks..(rank + 1) * leaves / ranks
}

/// The places of `weights` in `ranks` runs of neighbours, of about as much weight each.
pub fn runs(weights: &[usize], ranks: usize) -> Vec<Range<usize>> {
    let whole: usize = weights.iter().sum();
    let (mut runs, mut begun, mut done) = (Vec::with_capacity(ranks), 0, 0);
    for rank in 1..=ranks {
        let mut end = begun;
        // An item goes to the rank in whose part of the whole its middle lies.
        while end < weights.len() && (2 * done + weights[end]) * ranks < 2 * whole * rank {
            done += weights[end];
            end += 1;
        }
        let end = if rank == ranks { weights.len() } else { end };
        runs.push(begun..end);
        begun = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_about_as_many_tokens_and_keep_the_order() {
        assert_eq!(balanced(&[10, 70, 20, 40], 2), [vec![1], vec![0, 2, 3]]);
        assert_eq!(balanced(&[5, 5, 5, 5], 2), [vec![0, 2], vec![1, 3]]);
        assert_eq!(balanced(&[7, 3, 9], 1), [vec![0, 1, 2]]);
        assert_eq!(balanced(&[4], 3), [vec![0], vec![], vec![]]);
        let lengths: Vec<usize> = (0..64).map(|i| 100 + (i * 7919) % 900).collect();
        let tokens = |places: &Vec<usize>| places.iter().map(|&p| lengths[p]).sum::<usize>();
        let shares: Vec<usize> = balanced(&lengths, 8).iter().map(tokens).collect();
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least < 110, "{shares:?}");
        assert_eq!(shares.iter().sum::<usize>(), lengths.iter().sum::<usize>());
    }

    #[test]
    fn every_leaf_has_one_rank() {
        for leaves in 1..20 {
            for ranks in 1..24 {
                let all: Vec<usize> =
                    (0..ranks).flat_map(|rank| of_rank(leaves, ranks, rank)).collect();
                assert_eq!(all, (0..leaves).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn runs_are_neighbours_and_cover_everything() {
        assert_eq!(runs(&[1, 1, 1, 1], 2), [0..2, 2..4]);
        assert_eq!(runs(&[10, 1, 1], 3), [0..0, 0..1, 1..3]);
        assert_eq!(runs(&[], 2), [0..0, 0..0]);
        for ranks in 1..9 {
            let weights: Vec<usize> = (0..50).map(|i| (i * 31) % 17).collect();
            let runs = runs(&weights, ranks);
            assert_eq!((runs.len(), runs[0].start, runs[ranks - 1].end), (ranks, 0, 50));
            assert!(runs.windows(2).all(|two| two[0].end == two[1].start));
        }
    }
}
