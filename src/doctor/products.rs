//! Products with frozen weights: their rate is a share of a plain product's.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use crate::doctor::Sizes;
use crate::doctor::examiner::{Cost, Examiner, exact, worst};
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
    let weight = examiner.random(&[inner, hidden], 0.02, 1)?;
    let (x, dy) =
        (examiner.random(&[tokens, hidden], 1.0, 2)?, examiner.random(&[tokens, inner], 1.0, 3)?);
    let forward = |examiner: &Examiner| {
        let [x, weight, dy] = few(examiner)?;
        let want = exact(&x)?.matmul(&exact(&weight)?.t()?)?;
        let sum = dy.copy()?;
        linear::add_product_transposed(&sum, &x, &weight, 0.5)?;
        let added = ((&want * 0.5)? + exact(&dy)?)?;
        worst([(&linear::forward(&x, &weight)?, want), (&sum, added)])
    };
    examiner.examine("linear forward", 1.0, forward, flop(1, tokens, inner), || {
        Ok(linear::forward(&x, &weight).map(drop)?)
    });
    // What one product over concatenated weights would gain.
    let together = examiner.random(&[3 * hidden, hidden], 0.02, 6)?;
    let apart = together.chunk(3, 0)?;
    let joined = |examiner: &Examiner| {
        let [x, weight, _] = few(examiner)?;
        let both = linear::forward(&x, &Tensor::cat(&[&weight, &weight], 0)?)?;
        let want = exact(&x)?.matmul(&exact(&weight)?.t()?)?;
        worst([(&both, Tensor::cat(&[&want, &want], 1)?)])
    };
    examiner.examine("q, k, v apart", 1.0, forward, flop(3, tokens, hidden), || {
        apart.iter().try_for_each(|weight| Ok(linear::forward(&x, weight).map(drop)?))
    });
    examiner.examine("q, k, v as one", 1.0, joined, flop(3, tokens, hidden), || {
        Ok(linear::forward(&x, &together).map(drop)?)
    });
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
    examiner.examine("linear backward", 2.0, backward, flop(1, tokens, inner), || {
        Ok(linear::backward(&dy, &weight).map(drop)?)
    });

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
    examiner.examine("logps and gradient", 4.0, scores, flop(2, scored, vocab), || {
        Ok(logps::forward_for_backward(&rows, &head, &targets).map(drop)?)
    });

    let divergences = |examiner: &Examiner| {
        let [p, head, _] = few(examiner)?;
        let q = examiner.random(&[5, 333], 1.0, 9)?;
        let head64 = exact(&head)?;
        let logits = |h: &Tensor| -> Result<Tensor> { Ok(exact(h)?.matmul(&head64.t()?)?) };
        let want = reference::kl(&logits(&p)?, &logits(&q)?)?;
        worst([(&kl::forward(&p, &q, &head)?, want)])
    };
    examiner.examine("kl divergence", 2.0, divergences, flop(2, scored, vocab), || {
        Ok(kl::forward(&rows, &rows, &head).map(drop)?)
    });

    let logits = examiner.random(&[ANSWERS, vocab], 1.0, 7)?;
    let bytes = Cost::Bytes(logits.elem_count() * examiner.dtype.size_in_bytes());
    let best = |examiner: &Examiner| {
        let logits = examiner.random(&[5, 3333], 1.0, 8)?;
        let want = most_probable::forward(&exact(&logits)?)?;
        let got = most_probable::forward(&logits)?;
        Ok(want.iter().zip(got).filter(|(want, got)| *want != got).count() as f64)
    };
    examiner.examine("most probable token", 1.0, best, bytes, || {
        Ok(most_probable::forward(&logits).map(drop)?)
    });
    Ok(())
}
