//! Logits to the next token: the most probable one, or a draw.

use anyhow::{Result, anyhow};
use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::settings::Sampling;
use crate::ops::most_probable;
use crate::ops::philox::Philox;

/// First stream of [`Philox`] numbers for draws of tokens, one stream a row.
const DRAW_STREAM: u64 = 1 << 41;

/// The next token of each sequence.
///
/// - `logits`: `[sequences, vocab]`; `addresses`: row and position of the token to choose.
pub(super) fn choose(
    logits: &Tensor,
    sampling: Option<&Sampling>,
    addresses: &[(usize, u32)],
) -> Result<Vec<u32>> {
    let broken = |row: usize| anyhow!("the model's logits for prompt {} are not finite", row + 1);
    let Some(sampling) = sampling else {
        let best = most_probable::forward(logits)?.into_iter().zip(addresses);
        return best.map(|(best, &(row, _))| best.ok_or_else(|| broken(row))).collect();
    };
    let (_, vocab) = logits.dims2()?;
    let logits = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let rows = logits.par_chunks_exact(vocab).zip(addresses);
    rows.map(|(logits, &(row, position))| {
        most_probable::of_row(logits).ok_or_else(|| broken(row))?;
        let uniform =
            Philox::new(sampling.seed, DRAW_STREAM | row as u64).uniform(u64::from(position));
        Ok(draw(logits, sampling, uniform))
    })
    .collect()
}

/// The token at quantile `uniform`, in `[0, 1)`, of the distribution that `sampling` leaves.
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
    // Rounding left a remainder: the last token with a weight.
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
        // The sum is reached without tokens this improbable: together they weigh less than `top_p` leaves out.
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const LOGITS: [f32; 7] = [1.0, -0.5, 2.0, 0.25, 1.0, f32::NEG_INFINITY, 0.0];

    fn sampling(temperature: f64, top_p: f64, top_k: usize) -> Sampling {
        Sampling { temperature, top_p, top_k, seed: 3 }
    }

    fn draws(n: u32, sampling: &Sampling) -> Vec<u32> {
        let logits = Tensor::new(&[LOGITS], &Device::Cpu).unwrap();
        (0..n)
            .map(|position| choose(&logits, Some(sampling), &[(4, position)]).unwrap()[0])
            .collect()
    }

    /// The distribution by its definition, token by token: temperature, then the `top_k` first, then the first that reach `top_p`.
    fn probabilities(logits: &[f32], sampling: &Sampling) -> Vec<f64> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        if sampling.top_k > 0 {
            order.truncate(sampling.top_k);
        }
        let weight = |token: usize| (f64::from(logits[token]) / sampling.temperature).exp();
        let total: f64 = order.iter().map(|&token| weight(token)).sum();
        let mut kept = vec![0.0; logits.len()];
        let mut sum = 0.0;
        for &token in &order {
            kept[token] = weight(token);
            sum += weight(token);
            if sum >= sampling.top_p * total {
                break;
            }
        }
        kept.iter().map(|weight| weight / sum).collect()
    }

    #[test]
    fn draws_follow_the_distribution() {
        // Largest chi-square that 1 in 10,000 samples reaches, by degrees of freedom.
        const CHI_SQUARE: [f64; 6] = [0.0, 15.14, 18.42, 21.11, 23.51, 25.74];
        const DRAWS: u32 = 20_000;
        for sampling in [
            sampling(1.0, 1.0, 0),
            sampling(0.4, 1.0, 0),
            sampling(3.0, 1.0, 0),
            sampling(1.0, 1.0, 3),
            sampling(0.8, 0.9, 0),
            sampling(1.5, 0.8, 5),
        ] {
            let want = probabilities(&LOGITS, &sampling);
            let mut counts = vec![0.0; want.len()];
            draws(DRAWS, &sampling).iter().for_each(|&token| counts[token as usize] += 1.0);
            let possible = want.iter().filter(|p| **p > 0.0).count();
            let mut chi_square = 0.0;
            for (count, p) in counts.iter().zip(&want) {
                if *p > 0.0 {
                    let expected = f64::from(DRAWS) * p;
                    chi_square += (count - expected).powi(2) / expected;
                } else {
                    assert!(*count < 0.5, "{sampling:?} drew a token that it leaves out");
                }
            }
            assert!(chi_square <= CHI_SQUARE[possible - 1], "{sampling:?}: {chi_square}");
        }
    }

    #[test]
    fn one_candidate_is_the_most_probable_token() {
        for one in [sampling(1.0, 1.0, 1), sampling(1.0, 1e-12, 0), sampling(1e-6, 1.0, 0)] {
            assert_eq!(draws(50, &one), [2; 50], "{one:?}");
        }
    }

    #[test]
    fn of_equal_tokens_the_lower_id_is_kept() {
        let ids = |logits: &[f32], sampling: &Sampling| {
            candidates(logits, sampling).iter().map(|(token, _)| *token).collect::<Vec<_>>()
        };
        assert_eq!(ids(&LOGITS, &sampling(1.0, 1.0, 2)), [2, 0]);
        assert_eq!(ids(&[0.5; 9], &sampling(1.0, 1.0, 4)), [0, 1, 2, 3]);
        assert_eq!(ids(&[0.5; 10], &sampling(1.0, 0.35, 0)), [0, 1, 2, 3]);
    }

    #[test]
    fn tokens_passed_over_early_are_never_in_the_nucleus() {
        let philox = Philox::new(9, 0);
        let logits: Vec<f32> = (0..1000).map(|i| (8.0 * philox.uniform(i)) as f32).collect();
        for top_p in [1e-3, 0.1, 0.5, 0.9, 0.99, 0.9999] {
            let sampling = sampling(1.0, top_p, 0);
            let want = probabilities(&logits, &sampling).iter().filter(|p| **p > 0.0).count();
            assert_eq!(candidates(&logits, &sampling).len(), want, "top_p {top_p}");
        }
    }

    #[test]
    fn a_draw_depends_on_seed_row_and_position() {
        let drawn = |seed, row| -> Vec<u32> {
            let sampling = Sampling { seed, ..sampling(1.0, 1.0, 0) };
            let logits = Tensor::new(&[LOGITS], &Device::Cpu).unwrap();
            let one = |position| choose(&logits, Some(&sampling), &[(row, position)]).unwrap()[0];
            (0..40).map(one).collect()
        };
        assert_eq!(drawn(1, 5), drawn(1, 5));
        assert!(drawn(1, 5) != drawn(2, 5) && drawn(1, 5) != drawn(1, 6));
    }

    #[test]
    fn logits_that_are_not_finite_are_an_error() {
        for bad in [[f32::NAN, 1.0], [1.0, f32::NAN], [f32::NEG_INFINITY; 2], [f32::INFINITY, 0.0]]
        {
            let logits = Tensor::new(&[bad], &Device::Cpu).unwrap();
            let error = choose(&logits, None, &[(2, 9)]).unwrap_err().to_string();
            assert_eq!(error, "the model's logits for prompt 3 are not finite");
        }
    }
}
