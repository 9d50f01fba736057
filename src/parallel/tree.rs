//! The tree in which the leaves of a step are summed: it depends on their number alone, so the sum has the same bits whoever computes them.

use std::ops::Range;

/// The leaves that a node sums.
pub type Node = Range<usize>;

/// The two nodes under `node`, which has two leaves or more: the first has the largest power of two that leaves one for the other.
fn halves(node: &Node) -> [Node; 2] {
    let middle = node.start + node.len().next_power_of_two() / 2;
    [node.start..middle, middle..node.end]
}

/// The fewest nodes of the tree over `leaves` leaves whose leaves are `range`, ascending.
pub fn cover(leaves: usize, range: &Range<usize>) -> Vec<Node> {
    fn descend(node: Node, range: &Range<usize>, found: &mut Vec<Node>) {
        if range.start <= node.start && node.end <= range.end {
            found.push(node);
        } else if node.start < range.end && range.start < node.end {
            halves(&node).into_iter().for_each(|half| descend(half, range, found));
        }
    }
    let mut found = Vec::new();
    if !range.is_empty() {
        descend(0..leaves, range, &mut found);
    }
    found
}

/// The sum over `node`. `known`: takes the value of a node whose value is at hand; an inner none is a leaf without pairs. `add`: the sum of
/// two values, in this order.
///
/// None if no leaf has a value. An error of `add` is returned, and a leaf that is not known is one.
pub fn sum<T>(
    node: Node,
    known: &mut impl FnMut(&Node) -> Option<anyhow::Result<Option<T>>>,
    add: &mut impl FnMut(T, T) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    if let Some(value) = known(&node) {
        return value;
    }
    anyhow::ensure!(node.len() > 1, "leaf {} of a step is missing", node.start);
    let [first, second] = halves(&node);
    let (first, second) = (sum(first, known, add)?, sum(second, known, add)?);
    match (first, second) {
        (Some(first), Some(second)) => add(first, second).map(Some),
        (first, second) => Ok(first.or(second)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::shares;

    /// The sum over all leaves as brackets, from the nodes that each of `ranks` ranks has.
    fn brackets(leaves: usize, ranks: usize) -> String {
        let mut add = |a: String, b: String| Ok(format!("({a}{b})"));
        let mut nodes = Vec::new();
        for rank in 0..ranks {
            for node in cover(leaves, &shares::of_rank(leaves, ranks, rank)) {
                let mut leaf =
                    |node: &Node| (node.len() == 1).then(|| Ok(Some(node.start.to_string())));
                nodes.push((node.clone(), sum(node, &mut leaf, &mut add).unwrap()));
            }
        }
        let mut known = |node: &Node| {
            nodes.iter().find(|(known, _)| known == node).map(|(_, value)| Ok(value.clone()))
        };
        sum(0..leaves, &mut known, &mut add).unwrap().unwrap()
    }

    #[test]
    fn the_order_of_a_sum_depends_on_the_leaves_alone() {
        assert_eq!(brackets(1, 1), "0");
        assert_eq!(brackets(3, 1), "((01)2)");
        assert_eq!(brackets(5, 1), "(((01)(23))4)");
        assert_eq!(brackets(8, 1), "(((01)(23))((45)(67)))");
        for leaves in 1..=17 {
            let whole = brackets(leaves, 1);
            for ranks in 1..=leaves + 2 {
                assert_eq!(brackets(leaves, ranks), whole, "{leaves} leaves on {ranks} ranks");
            }
        }
    }

    #[test]
    fn a_block_is_covered_by_few_nodes() {
        let covered = |leaves, range: Range<usize>| format!("{:?}", cover(leaves, &range));
        assert_eq!(covered(8, 0..4), "[0..4]");
        assert_eq!(covered(8, 2..5), "[2..4, 4..5]");
        assert_eq!(covered(8, 3..8), "[3..4, 4..8]");
        assert_eq!(covered(6, 0..6), "[0..6]");
        assert_eq!(covered(6, 4..4), "[]");
    }

    #[test]
    fn leaves_without_a_value_are_left_out_and_a_missing_one_is_an_error() {
        let mut add = |a: f64, b: f64| Ok(a + b);
        let value = |leaf: usize| [None, Some(2.0), None, Some(4.0)][leaf];
        let mut known = |node: &Node| (node.len() == 1).then(|| Ok(value(node.start)));
        assert_eq!(sum(0..4, &mut known, &mut add).unwrap(), Some(6.0));
        assert_eq!(sum(2..3, &mut known, &mut add).unwrap(), None);
        assert!(sum(0..2, &mut |_| None, &mut add).unwrap_err().to_string().contains("leaf 0"));
    }
}
