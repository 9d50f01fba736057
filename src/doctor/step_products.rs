//! Every product of a step, and some of decoding, at its own shape: a sample of its elements against f64, the same bits again, its time.

use anyhow::Result;
use candle_core::Tensor;

use crate::cost::product::Product;
use crate::doctor::Sizes;
use crate::doctor::examiner::{Cost, Examiner, exact, worst};
use crate::doctor::run::Run;
use crate::ops::{linear, matvec};

/// Rank of the adapter.
const RANK: usize = 16;

/// `alpha / rank`, or any other factor.
const SCALE: f64 = 2.0;

/// Narrower products are held to the bandwidth of the memory, not to the rate of large ones.
const NARROW: usize = 128;

/// What is multiplied, by the names that a layer has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `y = x W^T`.
    Forward,
    /// The same with an f32 result.
    Logits,
    /// The same of a few rows.
    Decode,
    /// `y += scale inner B^T`.
    Added,
    /// `dx = dy W`.
    Backward,
    /// `dx += dy W`.
    BackwardAdded,
    /// `scale dy B`.
    Dinner,
    /// `dW = dy^T x`.
    WeightGradient,
}

/// A product: its kind, tokens, and the width of its output and of its input.
struct Item(&'static str, Kind, [usize; 3]);

fn items(sizes: &Sizes) -> Vec<Item> {
    use Kind::*;
    let (tokens, h, i) = (sizes.tokens, sizes.shape.hidden, sizes.shape.intermediate);
    let (vocab, scored) = (sizes.shape.vocab, sizes.tokens / 2);
    vec![
        Item("q", Forward, [tokens, h, h]),
        Item("q, k, v as one", Forward, [tokens, 3 * h, h]),
        Item("gate", Forward, [tokens, i, h]),
        Item("gate, up as one", Forward, [tokens, 2 * i, h]),
        Item("down", Forward, [tokens, h, i]),
        Item("A", Forward, [tokens, RANK, h]),
        Item("B, added", Added, [tokens, h, RANK]),
        Item("q backward", Backward, [tokens, h, h]),
        Item("q backward, added", BackwardAdded, [tokens, h, h]),
        Item("q, k, v backward as one", Backward, [tokens, 3 * h, h]),
        Item("gate backward", Backward, [tokens, i, h]),
        Item("gate backward, added", BackwardAdded, [tokens, i, h]),
        Item("gate, up backward as one", Backward, [tokens, 2 * i, h]),
        Item("down backward", Backward, [tokens, h, i]),
        Item("dinner", Dinner, [tokens, h, RANK]),
        Item("dA", WeightGradient, [tokens, RANK, h]),
        Item("dB", WeightGradient, [tokens, h, RANK]),
        Item("dinner A", Backward, [tokens, RANK, h]),
        Item("head", Logits, [scored, vocab, h]),
        Item("head backward", Backward, [scored, vocab, h]),
        Item("decode 1, gate", Decode, [1, i, h]),
        Item("decode 16, gate", Decode, [16, i, h]),
        Item("decode 64, gate", Decode, [64, i, h]),
    ]
}

/// An error of one product is its own failed check.
pub(super) fn examine(examiner: &mut Examiner, sizes: &Sizes) {
    for item in items(sizes) {
        examiner.attempt(item.0, |examiner| examine_one(examiner, &item));
    }
}

fn examine_one(examiner: &mut Examiner, item: &Item) -> Result<()> {
    let &Item(name, kind, [tokens, to, from]) = item;
    let dtype = examiner.dtype;
    let as_cost = match kind {
        Kind::Forward | Kind::Decode => Product::forward(dtype, tokens, to, from),
        Kind::Logits => Product::forward(dtype, tokens, to, from).to_f32(),
        Kind::Added => Product::forward(dtype, tokens, to, from).added(),
        Kind::Backward | Kind::Dinner => Product::backward(dtype, tokens, to, from),
        Kind::BackwardAdded => Product::backward(dtype, tokens, to, from).added(),
        Kind::WeightGradient => Product::weight_gradient(dtype, tokens, to, from),
    };
    let us = examiner.product_us(&as_cost);
    let narrow = as_cost.rows.min(as_cost.columns).min(as_cost.inner) < NARROW;
    let cost = match narrow {
        true => Cost::Bytes(as_cost.moved()),
        false => Cost::Flop(as_cost.flop()),
    };
    let random = |shape: [usize; 2], scale, seed| examiner.random(&shape, scale, seed);
    let (a, b) = match kind {
        Kind::Backward | Kind::BackwardAdded | Kind::Dinner => {
            (random([tokens, to], 1.0, 2)?, random([to, from], 0.02, 3)?)
        }
        Kind::WeightGradient => (random([tokens, to], 1.0, 2)?, random([tokens, from], 1.0, 3)?),
        _ => (random([tokens, from], 1.0, 2)?, random([to, from], 0.02, 3)?),
    };
    // What is not added to needs no output of its own.
    let adds = matches!(kind, Kind::Added | Kind::BackwardAdded);
    let out = match adds {
        true => random([as_cost.rows, as_cost.columns], 1.0, 1)?,
        false => a.narrow(0, 0, 1)?,
    };
    let turns = examiner.turns([out, a, b])?;
    let multiply = |[out, a, b]: &[Tensor; 3]| {
        Ok(vec![match kind {
            Kind::Forward => linear::forward(a, b)?,
            Kind::Logits => linear::forward_in_f32(a, b)?,
            Kind::Decode => matvec::forward(a, b)?,
            Kind::Backward => linear::backward(a, b)?,
            Kind::Dinner => linear::scaled_backward(a, b, SCALE)?,
            Kind::WeightGradient => linear::weight_gradient(a, b, SCALE)?,
            Kind::Added => {
                linear::add_product_transposed(out, a, b, SCALE)?;
                out.clone()
            }
            Kind::BackwardAdded => {
                linear::add_product(out, a, b, 1.0)?;
                out.clone()
            }
        }])
    };
    let run = match adds {
        true => Run::in_place(&turns, multiply),
        false => Run::of(&turns, multiply),
    }
    .predicted(us);
    let made = run.once();
    let error = |_: &Examiner| {
        let [out, a, b] = turns.first();
        let made = made?;
        let (rows, columns) = (sample(as_cost.rows), sample(as_cost.columns));
        let got = chosen(&chosen(&made, &rows, 0)?, &columns, 1)?;
        let (rows_of_a, columns_of_b) = match kind {
            Kind::WeightGradient => (exact(&chosen(a, &rows, 1)?)?.t()?, chosen(b, &columns, 1)?),
            Kind::Backward | Kind::BackwardAdded | Kind::Dinner => {
                (exact(&chosen(a, &rows, 0)?)?, chosen(b, &columns, 1)?)
            }
            _ => (exact(&chosen(a, &rows, 0)?)?, chosen(b, &columns, 0)?.t()?),
        };
        let product = rows_of_a.contiguous()?.matmul(&exact(&columns_of_b)?.contiguous()?)?;
        let scaled = match kind {
            Kind::Added | Kind::Dinner | Kind::WeightGradient => (product * SCALE)?,
            _ => product,
        };
        let want = match adds {
            true => (scaled + exact(&chosen(&chosen(out, &rows, 0)?, &columns, 1)?)?)?,
            false => scaled,
        };
        worst([(&got, want)])
    };
    examiner.examine(name, 2.0, error, cost, run);
    Ok(())
}

/// The first and the last of `n` and some between.
fn sample(n: usize) -> Vec<u32> {
    let mut places: Vec<u32> = (0..8).map(|k| (k * n.saturating_sub(1) / 7) as u32).collect();
    places.dedup();
    places
}

/// The rows, or columns with `dim` 1, at `places`.
fn chosen(tensor: &Tensor, places: &[u32], dim: usize) -> Result<Tensor> {
    let list = Tensor::new(places, tensor.device())?;
    Ok(tensor.contiguous()?.index_select(&list, dim)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_both_ends_and_no_element_twice() {
        assert_eq!(sample(1), [0]);
        assert_eq!(sample(3), [0, 1, 2]);
        let many = sample(11_008);
        assert_eq!((many.len(), many[0], many[7]), (8, 0, 11_007));
    }
}
