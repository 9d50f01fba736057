//! Logits to the next token: the most probable one, or a draw.

use anyhow::{Result, bail};
use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::settings::Sampling;
use crate::ops::philox::Philox;

/// Streams of [`Philox`] numbers that tokens are drawn from, one for each row.
const DRAW_STREAM: u64 = 1 << 41;

/// The next token of each sequence.
///
/// - `logits`: `[sequences, vocab]`; `addresses`: row and position of the token to choose.
pub(super) fn choose(
    logits: &Tensor,
    sampling: Option<&Sampling>,
    addresses: &[(usize, u32)],
) -> Result<Vec<u32>> {
    let (_, vocab) = logits.dims2()?;
    let logits = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let rows = logits.par_chunks_exact(vocab).zip(addresses);
    rows.map(|(logits, &(row, position))| {
        let best = most_probable(logits);
        if !logits[best as usize].is_finite() || logits.iter().any(|x| x.is_nan()) {
            bail!("the model's logits for prompt {} are not finite", row + 1);
        }
        Ok(match sampling {
            None => best,
            Some(sampling) => {
                let uniform = Philox::new(sampling.seed, DRAW_STREAM | row as u64)
                    .uniform(u64::from(position));
                draw(logits, sampling, uniform)
            }
        })
    })
    .collect()
}

/// The token of the largest logit; of equal ones the one with the lowest id.
fn most_probable(logits: &[f32]) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&x| x >= largest).unwrap_or_default() as u32
}

/// The token at `uniform`, in `[0, 1)`, of the distribution that `sampling` leaves.
fn draw(logits: &[f32], sampling: &Sampling, uniform: f64) -> u32 {
    let candidates = candidates(logits, sampling);
    let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
    let mut left = uniform * total;
    for (token, weight) in &candidates {
        left -= weight;
        if left < 0.0 {
            return *token;
        }
    }
    // Rounding left a crumb: the last token that has any weight.
    candidates.iter().rev().find(|(_, weight)| *weight > 0.0).map_or(0, |(token, _)| *token)
}

/// The tokens that may be drawn and their weights, in an order that depends on the logits alone.
fn candidates(logits: &[f32], sampling: &Sampling) -> Vec<(u32, f64)> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weight = |x: f32| ((f64::from(x) - largest) / sampling.temperature).exp();
    let mut tokens: Vec<(u32, f64)> =
        (0..).zip(logits).map(|(token, &x)| (token, weight(x))).collect();
    let order = |a: &(u32, f64), b: &(u32, f64)| {
        logits[b.0 as usize].total_cmp(&logits[a.0 as usize]).then(a.0.cmp(&b.0))
    };
    let all = sampling.top_p >= 1.0;
    if (1..tokens.len()).contains(&sampling.top_k) {
        tokens.select_nth_unstable_by(sampling.top_k - 1, order);
        tokens.truncate(sampling.top_k);
        tokens.sort_unstable_by(order);
    } else if !all {
        // Tokens this improbable are not needed to reach the sum: all of them together are less than what it leaves out.
        let total: f64 = tokens.iter().map(|(_, weight)| weight).sum();
        let least = (1.0 - sampling.top_p) * total / tokens.len() as f64;
        let kept_total = total * sampling.top_p;
        tokens.retain(|(_, weight)| *weight >= least);
        tokens.sort_unstable_by(order);
        nucleus(&mut tokens, kept_total);
        return tokens;
    }
    if !all {
        let total: f64 = tokens.iter().map(|(_, weight)| weight).sum();
        nucleus(&mut tokens, total * sampling.top_p);
    }
    tokens
}

/// Keeps the first tokens, at least one, whose weights reach `enough`.
fn nucleus(tokens: &mut Vec<(u32, f64)>, enough: f64) {
    let mut sum = 0.0;
    let reached = tokens.iter().position(|(_, weight)| {
        sum += weight;
        sum >= enough
    });
    tokens.truncate(reached.map_or(tokens.len(), |last| last + 1));
}
