//! The sum of what all ranks computed of a step: slices to their owners, each slice summed in the fixed tree, the sums to everybody.
//!
//! Each rank owns a part of the elements. It is sent that part of every other rank's nodes, sums over the tree and sends the sum back. A
//! rank sends about twice the size of the gradient, as in a ring. Every element is summed in the same order whatever the ranks.

use std::ops::Range;

use anyhow::{Result, ensure};

use super::link::Link;
use super::shares;
use super::tree::{self, Node};

/// What a node of the tree has summed so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Figures of the step.
    pub figures: Vec<f64>,
    /// The gradients, one after another, f32.
    pub values: Vec<f32>,
}

impl Part {
    /// This and `other`, element by element.
    fn add(mut self, other: Self) -> Result<Self> {
        let sizes = |part: &Self| (part.figures.len(), part.values.len());
        ensure!(sizes(&self) == sizes(&other), "two parts of a step have other sizes");
        self.figures.iter_mut().zip(other.figures).for_each(|(sum, one)| *sum += one);
        self.values.iter_mut().zip(other.values).for_each(|(sum, one)| *sum += one);
        Ok(self)
    }

    /// Its figures and the elements `range` of its values, little-endian.
    fn to_bytes(&self, range: Range<usize>) -> Vec<u8> {
        let figures = self.figures.iter().flat_map(|figure| figure.to_le_bytes());
        figures.chain(to_bytes(&self.values[range])).collect()
    }

    /// What `to_bytes` of `figures` figures made.
    fn of_bytes(bytes: &[u8], figures: usize) -> Result<Self> {
        ensure!(bytes.len() >= 8 * figures, "a part of a step is too short");
        let (figures, values) = bytes.split_at(8 * figures);
        let (figures, _) = figures.as_chunks();
        let figures = figures.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        Ok(Self { figures, values: of_bytes(values)? })
    }
}

fn to_bytes(values: &[f32]) -> impl Iterator<Item = u8> {
    values.iter().flat_map(|value| value.to_le_bytes())
}

fn of_bytes(bytes: &[u8]) -> Result<Vec<f32>> {
    let (values, rest) = bytes.as_chunks();
    ensure!(rest.is_empty(), "a part of a step is no whole number of elements");
    Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// The sum over the `leaves` leaves of a step, the same bits on every rank.
///
/// - `own`: the nodes of [`tree::cover`] over this rank's leaves, each with its part; none for a node without a pair.
/// - `figures`, `values`: how many a part has.
///
/// All ranks call it at once. None if no leaf has a pair.
pub fn sum(
    link: &dyn Link,
    leaves: usize,
    own: Vec<(Node, Option<Part>)>,
    figures: usize,
    values: usize,
) -> Result<Option<Part>> {
    let (rank, ranks) = (link.rank(), link.ranks());
    let owned = |rank: usize| shares::of_rank(values, ranks, rank);
    let nodes = |rank: usize| tree::cover(leaves, &shares::of_rank(leaves, ranks, rank));
    ensure!(
        own.iter().map(|(node, _)| node).eq(&nodes(rank)),
        "the parts of rank {rank} are not those of its leaves"
    );

    // Slices to their owners: to the ranks after this one, from those before it, so that no two wait for each other.
    let size = |of: usize| 1 + 8 * figures + 4 * owned(of).len();
    let message = |to: usize| -> Vec<u8> {
        let mut bytes = Vec::with_capacity(own.len() * size(to));
        for (_, part) in &own {
            bytes.push(u8::from(part.is_some()));
            bytes.extend(part.iter().flat_map(|part| part.to_bytes(owned(to))));
        }
        bytes
    };
    let read = |from: usize, bytes: &[u8]| -> Result<Vec<(Node, Option<Part>)>> {
        let mut rest = bytes;
        let mut parts = Vec::new();
        for node in nodes(from) {
            let length = match rest.first() {
                Some(1) => size(rank),
                Some(0) => 1,
                _ => anyhow::bail!("a message of rank {from} has another form"),
            };
            ensure!(rest.len() >= length, "a message of rank {from} is too short");
            let (part, after) = rest.split_at(length);
            rest = after;
            let part = (length > 1).then(|| Part::of_bytes(&part[1..], figures)).transpose()?;
            parts.push((node, part));
        }
        ensure!(rest.is_empty(), "a message of rank {from} is too long");
        Ok(parts)
    };
    let mut parts = read(rank, &message(rank))?;
    for distance in 1..ranks {
        let (to, from) = ((rank + distance) % ranks, (rank + ranks - distance) % ranks);
        parts.extend(read(from, &link.swap(to, &message(to), from)?)?);
    }

    // Each slice over the tree.
    let mut known = |node: &Node| {
        let place = parts.iter().position(|(known, _)| known == node)?;
        Some(Ok(parts.swap_remove(place).1))
    };
    let Some(slice) = tree::sum(0..leaves, &mut known, &mut Part::add)? else { return Ok(None) };

    // The sums to everybody.
    let bytes: Vec<u8> = to_bytes(&slice.values).collect();
    let mut all = vec![0.0; values];
    all[owned(rank)].copy_from_slice(&slice.values);
    for distance in 1..ranks {
        let (to, from) = ((rank + distance) % ranks, (rank + ranks - distance) % ranks);
        let sums = of_bytes(&link.swap(to, &bytes, from)?)?;
        ensure!(sums.len() == owned(from).len(), "the sums of rank {from} have another size");
        all[owned(from)].copy_from_slice(&sums);
    }
    Ok(Some(Part { figures: slice.figures, values: all }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::link::threads;

    const FIGURES: usize = 2;
    const VALUES: usize = 37;

    /// A leaf whose sums round: elements of many magnitudes. Every fifth leaf has no pair.
    fn leaf(number: usize) -> Option<Part> {
        let element = |i: usize| {
            let mixed = (number * 7919 + i * 104_729) % 1009;
            (mixed as f32 - 500.0) * 10f32.powi((mixed % 13) as i32 - 6)
        };
        let figures = (0..FIGURES).map(|i| f64::from(element(i)) / 3.0).collect();
        (number % 5 != 4).then(|| Part { figures, values: (0..VALUES).map(element).collect() })
    }

    fn over(node: Node) -> Option<Part> {
        let mut known = |node: &Node| (node.len() == 1).then(|| Ok(leaf(node.start)));
        tree::sum(node, &mut known, &mut Part::add).unwrap()
    }

    #[test]
    fn any_number_of_ranks_gives_the_same_bits_on_every_rank() {
        for leaves in [1, 2, 3, 8, 13] {
            let expected = over(0..leaves).unwrap();
            for ranks in [1, 2, 3, 4, 7, 16] {
                let sums = threads::each(ranks, |link| {
                    let block = shares::of_rank(leaves, ranks, link.rank());
                    let own = tree::cover(leaves, &block)
                        .into_iter()
                        .map(|node| (node.clone(), over(node)))
                        .collect();
                    sum(&link, leaves, own, FIGURES, VALUES).unwrap().unwrap()
                });
                assert!(sums.iter().all(|sum| *sum == expected), "{leaves} leaves, {ranks} ranks");
            }
        }
        // The order matters here: another one gives other bits.
        let in_turn = (0..13).filter_map(leaf).reduce(|a, b| a.add(b).unwrap()).unwrap();
        assert_ne!(in_turn, over(0..13).unwrap());
    }

    #[test]
    fn a_step_without_pairs_has_no_sum_and_parts_of_other_leaves_are_refused() {
        let none = threads::each(2, |link| {
            let own = vec![(link.rank()..link.rank() + 1, None)];
            sum(&link, 2, own, 0, 3).unwrap()
        });
        assert_eq!(none, [None, None]);
        let error = threads::each(1, |link| sum(&link, 2, vec![(0..1, None)], 0, 3).unwrap_err());
        assert!(error[0].to_string().contains("not those of its leaves"));
    }
}
