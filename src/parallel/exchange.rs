//! The sum of what all ranks computed of a step: slices to their owners, each slice summed in the fixed tree, the sums to everybody.
//!
//! Each rank owns a part of the elements. It is sent that part of every other rank's nodes, sums over the tree and sends the sum back. A
//! rank sends about twice the size of the gradient, as in a ring. Every element is summed in the same order whatever the ranks.

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;

use super::link::Link;
use super::shares;
use super::tree::{self, Node};
use super::wire::Wire;

/// What a node of the tree has summed so far.
#[derive(Debug, Clone)]
pub struct Part {
    /// Figures of the step.
    pub figures: Vec<f64>,
    /// The gradients, one after another: `[values]` f32 on the device of the wire.
    pub values: Tensor,
}

/// The same for one rank's slice of the elements, which is none where it has none.
struct Slice {
    figures: Vec<f64>,
    values: Option<Tensor>,
}

impl Slice {
    /// This and `other`, element by element.
    fn add(mut self, other: Self) -> Result<Self> {
        ensure!(self.figures.len() == other.figures.len(), "two parts of a step have other sizes");
        self.figures.iter_mut().zip(other.figures).for_each(|(sum, one)| *sum += one);
        let values = match (self.values, other.values) {
            (Some(own), Some(other)) => Some((own + other)?),
            (None, None) => None,
            _ => anyhow::bail!("two parts of a step have other sizes"),
        };
        Ok(Self { figures: self.figures, values })
    }
}

/// The figures of each node, little-endian, behind a byte that says whether it has a pair.
fn figures_to_bytes(own: &[(Node, Option<Part>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (_, part) in own {
        bytes.push(u8::from(part.is_some()));
        let figures = part.iter().flat_map(|part| &part.figures);
        bytes.extend(figures.flat_map(|figure| figure.to_le_bytes()));
    }
    bytes
}

/// What [`figures_to_bytes`] made of `nodes` nodes with `figures` figures each.
fn figures_of_bytes(
    mut bytes: &[u8],
    nodes: usize,
    figures: usize,
) -> Result<Vec<Option<Vec<f64>>>> {
    let mut all = Vec::with_capacity(nodes);
    for _ in 0..nodes {
        let (has, rest) = bytes.split_first().context("it is too short")?;
        bytes = rest;
        all.push(match has {
            0 => None,
            1 => {
                let (own, rest) = bytes.split_at_checked(8 * figures).context("it is too short")?;
                bytes = rest;
                let (own, _) = own.as_chunks();
                Some(own.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
            }
            _ => anyhow::bail!("it has another form"),
        });
    }
    ensure!(bytes.is_empty(), "it is too long");
    Ok(all)
}

/// The sum over the `leaves` leaves of a step, the same bits on every rank.
///
/// - `link`: carries the figures; `wire`: the gradients.
/// - `own`: the nodes of [`tree::cover`] over this rank's leaves, each with its part; none for a node without a pair.
/// - `figures`, `values`: how many a part has.
///
/// All ranks call it at once. None if no leaf has a pair.
pub fn sum(
    link: &dyn Link,
    wire: &dyn Wire,
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
    ensure!(
        own.iter().flat_map(|(_, part)| part).all(|part| part.values.elem_count() == values),
        "two parts of a step have other sizes"
    );
    // To the ranks after this one, from those before it, so that no two wait for each other.
    let turns =
        (1..ranks).map(|distance| ((rank + distance) % ranks, (rank + ranks - distance) % ranks));
    let mine = owned(rank).len();

    // Slices to their owners.
    let of_slice = |part: &Part, owner: usize| {
        let range = owned(owner);
        (!range.is_empty()).then(|| part.values.narrow(0, range.start, range.len())).transpose()
    };
    let mut parts: Vec<(Node, Option<Slice>)> = Vec::new();
    for (node, part) in &own {
        let slice = |part: &Part| -> Result<Slice> {
            Ok(Slice { figures: part.figures.clone(), values: of_slice(part, rank)? })
        };
        parts.push((node.clone(), part.as_ref().map(slice).transpose()?));
    }
    let bytes = figures_to_bytes(&own);
    for (to, from) in turns.clone() {
        let theirs = nodes(from);
        let found = figures_of_bytes(&link.swap(to, &bytes, from)?, theirs.len(), figures)
            .with_context(|| format!("a message of rank {from} is not understood"))?;
        let outgoing = own.iter().flat_map(|(_, part)| part).map(|part| of_slice(part, to));
        let outgoing: Vec<Tensor> =
            outgoing.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let outgoing = (!outgoing.is_empty()).then(|| Tensor::cat(&outgoing, 0)).transpose()?;
        let count = found.iter().flatten().count();
        let incoming = wire.swap(to, outgoing.as_ref(), from, count * mine)?;
        let mut place = 0;
        for (node, figures) in theirs.into_iter().zip(found) {
            let slice = |figures| -> Result<Slice> {
                let values = incoming.as_ref().map(|all| all.narrow(0, place * mine, mine));
                place += 1;
                Ok(Slice { figures, values: values.transpose()? })
            };
            parts.push((node, figures.map(slice).transpose()?));
        }
    }

    // Each slice over the tree.
    let mut known = |node: &Node| {
        let place = parts.iter().position(|(known, _)| known == node)?;
        Some(Ok(parts.swap_remove(place).1))
    };
    let Some(slice) = tree::sum(0..leaves, &mut known, &mut Slice::add)? else { return Ok(None) };

    // The sums to everybody.
    let mut sums: Vec<Option<Tensor>> = vec![None; ranks];
    let own_sum = slice.values.map(|values| values.contiguous()).transpose()?;
    for (to, from) in turns {
        sums[from] = wire.swap(to, own_sum.as_ref(), from, owned(from).len())?;
    }
    sums[rank] = own_sum;
    let sums: Vec<Tensor> = sums.into_iter().flatten().collect();
    Ok(Some(Part { figures: slice.figures, values: Tensor::cat(&sums, 0)? }))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::parallel::link::threads;
    use crate::parallel::wire::Host;

    const FIGURES: usize = 2;
    const VALUES: usize = 37;

    /// A leaf whose sums round: elements of many magnitudes. Every fifth leaf has no pair.
    fn leaf(number: usize) -> Option<Part> {
        let element = |i: usize| {
            let mixed = (number * 7919 + i * 104_729) % 1009;
            (mixed as f32 - 500.0) * 10f32.powi((mixed % 13) as i32 - 6)
        };
        let figures = (0..FIGURES).map(|i| f64::from(element(i)) / 3.0).collect();
        let values = Tensor::from_iter((0..VALUES).map(element), &Device::Cpu).unwrap();
        (number % 5 != 4).then_some(Part { figures, values })
    }

    fn over(node: Node) -> Option<Part> {
        let mut known = |node: &Node| (node.len() == 1).then(|| Ok(leaf(node.start)));
        tree::sum(node, &mut known, &mut add).unwrap()
    }

    fn add(a: Part, b: Part) -> Result<Part> {
        let figures = a.figures.iter().zip(&b.figures).map(|(a, b)| a + b).collect();
        Ok(Part { figures, values: (a.values + b.values)? })
    }

    fn bits(part: &Part) -> (Vec<u64>, Vec<u32>) {
        let values = part.values.to_vec1::<f32>().unwrap();
        let figures = part.figures.iter().map(|figure| figure.to_bits()).collect();
        (figures, values.iter().map(|value| value.to_bits()).collect())
    }

    fn host(link: &dyn Link) -> Host<'_> {
        Host { link, device: Device::Cpu }
    }

    #[test]
    fn any_number_of_ranks_gives_the_same_bits_on_every_rank() {
        for leaves in [1, 2, 3, 8, 13] {
            let expected = bits(&over(0..leaves).unwrap());
            for ranks in [1, 2, 3, 4, 7, 16] {
                let sums = threads::each(ranks, |link| {
                    let block = shares::of_rank(leaves, ranks, link.rank());
                    let own = tree::cover(leaves, &block)
                        .into_iter()
                        .map(|node| (node.clone(), over(node)))
                        .collect();
                    bits(&sum(&link, &host(&link), leaves, own, FIGURES, VALUES).unwrap().unwrap())
                });
                assert!(sums.iter().all(|sum| *sum == expected), "{leaves} leaves, {ranks} ranks");
            }
        }
        // The order matters here: another one gives other bits.
        let in_turn = (0..13).filter_map(leaf).reduce(|a, b| add(a, b).unwrap()).unwrap();
        assert_ne!(bits(&in_turn), bits(&over(0..13).unwrap()));
    }

    #[test]
    fn a_step_without_pairs_has_no_sum_and_parts_of_other_leaves_are_refused() {
        let none = threads::each(2, |link| {
            let own = vec![(link.rank()..link.rank() + 1, None)];
            sum(&link, &host(&link), 2, own, 0, 3).unwrap().is_none()
        });
        assert_eq!(none, [true, true]);
        let error = threads::each(1, |link| {
            sum(&link, &host(&link), 2, vec![(0..1, None)], 0, 3).unwrap_err()
        });
        assert!(error[0].to_string().contains("not those of its leaves"));
    }
}
