//! Products with frozen weights: their rate is a share of a plain product's.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use crate::cost::kernel::Kernel;
use crate::cost::product::Product;
use crate::doctor::Sizes;
use crate::doctor::examiner::{Cost, Examiner, exact, worst};
use crate::doctor::run::Run;
use crate::ops::{kl, linear, logps, most_probable, reference};

/// Answers that choose their next token together.
const ANSWERS: usize = 16;

/// `x`, a weight and a gradient of a few rows, of odd sizes.
fn few(examiner: &Examiner) -> Result<[Tensor; 3]> {
    let tensors = [([5, 333], 1), ([7, 333], 2), ([5, 7], 3)];
    let [x, weight, dy] = tensors.map(|(shape, seed)| examiner.random(&shape, 1.0, seed));
    Ok([x?, weight?, dy?])
}

pub(super) fn examine(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let (tokens, hidden, inner) = (sizes.tokens, sizes.shape.hidden, sizes.shape.intermediate);
    let flop = |count: usize, rows: usize, width: usize| {
        Cost::Flop((2 * count * rows * hidden * width) as f64)
    };
    let dtype = examiner.dtype;
    let weight = examiner.random(&[inner, hidden], 0.02, 1)?;
    let x = examiner.random(&[tokens, hidden], 1.0, 2)?;
    let turns = examiner.turns([x, examiner.random(&[tokens, inner], 1.0, 3)?, weight])?;
    let forward = |examiner: &Examiner| {
        let [x, weight, dy] = few(examiner)?;
        let want = exact(&x)?.matmul(&exact(&weight)?.t()?)?;
        let sum = dy.copy()?;
        linear::add_product_transposed(&sum, &x, &weight, 0.5)?;
        let added = ((&want * 0.5)? + exact(&dy)?)?;
        worst([(&linear::forward(&x, &weight)?, want), (&sum, added)])
    };
    let run = Run::of(&turns, |[x, _, weight]| Ok(vec![linear::forward(x, weight)?]));
    let us = examiner.product_us(&Product::forward(dtype, tokens, inner, hidden));
    let cost = flop(1, tokens, inner);
    examiner.examine("linear forward", 1.0, forward, cost, run.predicted(us));
    let backward = |examiner: &Examiner| {
        let [x, weight, dy] = few(examiner)?;
        let dx = linear::backward(&dy, &weight)?;
        let want = exact(&dy)?.matmul(&exact(&weight)?)?;
        let twice = (&want + exact(&dx)?)?;
        let sum = dx.copy()?;
        linear::add_product(&sum, &dy, &weight, 1.0)?;
        let slope = linear::weight_gradient(&dy, &x, 0.5)?;
        let wanted = (exact(&dy)?.t()?.matmul(&exact(&x)?)? * 0.5)?;
        worst([(&dx, want), (&sum, twice), (&slope, wanted)])
    };
    let run = Run::of(&turns, |[_, dy, weight]| Ok(vec![linear::backward(dy, weight)?]));
    let us = examiner.product_us(&Product::backward(dtype, tokens, inner, hidden));
    let cost = flop(1, tokens, inner);
    examiner.examine("linear backward", 2.0, backward, cost, run.predicted(us));
    drop(turns);
    scored_rows(examiner, sizes)
}

/// The output layer over the scored rows, and the choice of a token.
fn scored_rows(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let (dtype, hidden) = (examiner.dtype, sizes.shape.hidden);
    let (scored, vocab) = (sizes.tokens / 2, sizes.shape.vocab);
    let (head, rows) =
        (examiner.random(&[vocab, hidden], 0.05, 4)?, examiner.random(&[scored, hidden], 1.0, 5)?);
    let targets = examiner.numbers(scored, vocab)?;
    let scores = |examiner: &Examiner| {
        let [h, head, _] = few(examiner)?;
        let (targets, slopes) =
            (examiner.numbers(5, 7)?, examiner.random(&[5], 1.0, 6)?.to_dtype(DType::F32)?);
        let (logps, own) = logps::forward_for_backward(&h, &head, &targets)?;
        let (there, head) = (targets.to_device(&Device::Cpu)?, exact(&head)?);
        let f = |t: &[Tensor]| reference::logps(&t[0].matmul(&head.t()?)?, &there);
        let want = reference::gradients(&[&exact(&h)?], &exact(&slopes)?, f)?.remove(0);
        worst([(&logps, f(&[exact(&h)?])?), (&logps::backward(&slopes, &own)?, want)])
    };
    let products = |count: usize| Cost::Flop((2 * count * scored * hidden * vocab) as f64);
    let run = Run::alone(|| {
        let (logps, own) = logps::forward_for_backward(&rows, &head, &targets)?;
        Ok(vec![logps, own])
    });
    let us = chunked(examiner, scored, |rows, chunk, rest| {
        let logits = Product::forward(dtype, rows, vocab, hidden).to_f32();
        let own = Product::backward(dtype, rows, vocab, hidden);
        let kernel = Kernel::logps_forward(dtype, [rows, chunk, rest], vocab, true);
        (vec![logits, own], kernel)
    });
    let cost = products(2);
    examiner.examine("logps and gradient", 4.0, scores, cost, run.predicted(us));

    let divergences = |examiner: &Examiner| {
        let [p, head, _] = few(examiner)?;
        let q = examiner.random(&[5, 333], 1.0, 9)?;
        let head64 = exact(&head)?;
        let logits = |h: &Tensor| -> Result<Tensor> { Ok(exact(h)?.matmul(&head64.t()?)?) };
        let want = reference::kl(&logits(&p)?, &logits(&q)?)?;
        worst([(&kl::forward(&p, &q, &head)?, want)])
    };
    let run = Run::alone(|| Ok(vec![kl::forward(&rows, &rows, &head)?]));
    let us = chunked(examiner, scored, |rows, chunk, rest| {
        let logits = Product::forward(dtype, rows, vocab, hidden).to_f32();
        (vec![logits, logits], Kernel::kl_forward([rows, chunk, rest], vocab))
    });
    let cost = products(2);
    examiner.examine("kl divergence", 2.0, divergences, cost, run.predicted(us));

    let logits = examiner.random(&[ANSWERS, vocab], 1.0, 7)?;
    let bytes = Cost::Bytes(logits.elem_count() * examiner.dtype.size_in_bytes());
    let best = |examiner: &Examiner| {
        let logits = examiner.random(&[5, 3333], 1.0, 8)?;
        let want = most_probable::forward(&exact(&logits)?)?;
        let got = most_probable::forward(&logits)?;
        Ok(want.iter().zip(got).filter(|(want, got)| *want != got).count() as f64)
    };
    let run = Run::alone(|| {
        let tokens = most_probable::forward(&logits)?;
        let tokens: Vec<u32> = tokens.into_iter().map(|token| token.unwrap_or(u32::MAX)).collect();
        Ok(vec![Tensor::new(tokens, &Device::Cpu)?])
    });
    let us = examiner.kernels_us(&[Kernel::most_probable(dtype, ANSWERS, vocab)]);
    examiner.examine("most probable token", 1.0, best, bytes, run.predicted(us));
    Ok(())
}

/// What chunks of rows are predicted to take, in µs; `of`: the products and the kernel of a chunk, by its rows, those of the largest
/// chunk, and those that are left with it.
fn chunked(
    examiner: &Examiner,
    scored: usize,
    of: impl Fn(usize, usize, usize) -> (Vec<Product>, Kernel),
) -> Option<f64> {
    let pace = examiner.pace?;
    let chunk = scored.min(logps::MAX_CHUNK_ROWS);
    let us = |from: usize| {
        let (products, kernel) = of(chunk.min(scored - from), chunk, scored - from);
        let products: f64 = products.iter().map(|product| pace.product_us(product)).sum();
        products + pace.kernel_us(&kernel)
    };
    Some((0..scored).step_by(logps::MAX_CHUNK_ROWS).map(us).sum())
}
