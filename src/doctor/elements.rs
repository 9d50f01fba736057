//! The operations that read and write every element once: their rate is a share of the copy bandwidth.

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::cost::kernel::Kernel;
use crate::doctor::Sizes;
use crate::doctor::examiner::{Cost, Examiner, exact, worst};
use crate::doctor::run::Run;
use crate::model::rotary::Rotary;
use crate::ops::dropout::DropoutMask;
use crate::ops::{bias, reference, rms_norm, rope, rows, swiglu};

/// Row widths to test: odd (moved one by one) and a multiple of 8 (moved 16 bytes at a time).
const COLUMNS: [usize; 2] = [333, 512];

/// The larger error of `f` over [`COLUMNS`].
fn over_columns(f: impl Fn(usize) -> Result<f64>) -> Result<f64> {
    let [one, other] = COLUMNS.map(f);
    let (one, other) = (one?, other?);
    Ok(if one >= other || one.is_nan() { one } else { other })
}

/// Kinds of operations that are examined one after another.
type Part = fn(&mut Examiner, &Sizes) -> Result<()>;

/// An error in one kind ends no other.
pub(super) fn examine(examiner: &mut Examiner, sizes: &Sizes) {
    let parts: [(&str, Part); 5] = [
        ("norms", norms),
        ("rotary", rotary),
        ("biases", biases),
        ("gates", gates),
        ("rows of tokens", rows_of_tokens),
    ];
    for (name, part) in parts {
        examiner.attempt(name, |examiner| part(examiner, sizes));
    }
}

fn few(examiner: &Examiner, columns: usize, seed: u64) -> Result<Tensor> {
    examiner.random(&[5, columns], 2.0, seed)
}

/// The cost of moving a number of matrices of `columns` elements a token.
fn matrices(examiner: &Examiner, sizes: &Sizes, columns: usize) -> impl Fn(usize) -> Cost + use<> {
    let bytes = sizes.tokens * columns * examiner.dtype.size_in_bytes();
    move |count| Cost::Bytes(count * bytes)
}

fn norms(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let (eps, hidden) = (sizes.shape.rms_norm_eps, sizes.shape.hidden);
    let streams = matrices(examiner, sizes, hidden);
    let (dtype, tokens) = (examiner.dtype, sizes.tokens);
    let [x, delta] = [1, 2].map(|seed| examiner.random(&[tokens, hidden], 1.0, seed));
    let (x, delta, weight) = (x?, delta?, examiner.random(&[hidden], 1.0, 3)?);
    let normed = rms_norm::forward(&x, None, &weight, eps)?;
    let inputs = examiner.turns([x, delta])?;
    let forward = |examiner: &Examiner| {
        over_columns(|columns| {
            let (x, delta) = (few(examiner, columns, 1)?, few(examiner, columns, 2)?);
            let w = examiner.random(&[columns], 1.0, 3)?;
            let normed = rms_norm::forward(&x, Some(&delta), &w, eps)?;
            let want = reference::rms_norm(&exact(&normed.sum)?, &exact(&w)?, eps)?;
            worst([(&normed.sum, (exact(&x)? + exact(&delta)?)?), (&normed.y, want)])
        })
    };
    let run = Run::of(&inputs, |[x, delta]| {
        let normed = rms_norm::forward(x, Some(delta), &weight, eps)?;
        Ok(vec![normed.y, normed.sum, normed.inv])
    });
    let us = examiner.kernels_us(&[Kernel::rms_norm_forward(dtype, tokens, hidden, true)]);
    examiner.examine("rms_norm forward", 1.0, forward, streams(4), run.predicted(us));
    let again = |examiner: &Examiner| {
        over_columns(|columns| {
            let (x, w) = (few(examiner, columns, 1)?, examiner.random(&[columns], 1.0, 3)?);
            let normed = rms_norm::forward(&x, None, &w, eps)?;
            let y = rms_norm::apply(&normed.sum, &normed.inv, &w)?;
            worst([(&y, reference::rms_norm(&exact(&x)?, &exact(&w)?, eps)?)])
        })
    };
    let run = Run::of(&inputs, |[x, _]| Ok(vec![rms_norm::apply(x, &normed.inv, &weight)?]));
    let us = examiner.kernels_us(&[Kernel::rms_norm_apply(dtype, tokens, hidden)]);
    examiner.examine("rms_norm again", 1.0, again, streams(2), run.predicted(us));
    let backward = |examiner: &Examiner| {
        over_columns(|columns| {
            let (x, dy) = (few(examiner, columns, 1)?, few(examiner, columns, 2)?);
            let w = examiner.random(&[columns], 1.0, 3)?;
            let normed = rms_norm::forward(&x, None, &w, eps)?;
            let dx = rms_norm::backward(&dy, &normed.sum, &normed.inv, &w, Some(&x))?;
            let (x64, w64) = (exact(&x)?, exact(&w)?);
            let f = |t: &[Tensor]| reference::rms_norm(&t[0], &w64, eps);
            let want = reference::gradients(&[&x64], &exact(&dy)?, f)?.remove(0);
            worst([(&dx, (want + x64)?)])
        })
    };
    let residual = examiner.random(&[tokens, hidden], 1.0, 4)?;
    let inputs = examiner.turns([normed.sum, inputs.first()[1].clone(), residual])?;
    let run = Run::of(&inputs, |[x, dy, residual]| {
        Ok(vec![rms_norm::backward(dy, x, &normed.inv, &weight, Some(residual))?])
    });
    let us = examiner.kernels_us(&[Kernel::rms_norm_backward(dtype, tokens, hidden, true)]);
    examiner.examine("rms_norm backward", 2.0, backward, streams(4), run.predicted(us));
    Ok(())
}

fn rotary(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let angles = |examiner: &Examiner, tokens: usize, half: usize| -> Result<(Tensor, Tensor)> {
        let positions: Vec<u32> = (0..tokens as u32).collect();
        let rotary =
            Rotary::new(sizes.shape.rope.clone(), 2 * half, examiner.dtype, &examiner.device);
        Ok(rotary.at(&positions, &vec![tokens as u32; tokens])?)
    };
    let (hidden, head_dim) = (sizes.shape.hidden, sizes.shape.heads.head_dim);
    let inputs = examiner.turns([examiner.random(&[sizes.tokens, hidden], 1.0, 1)?])?;
    let (cos, sin) = angles(examiner, sizes.tokens, head_dim / 2)?;
    let turned = |examiner: &Examiner| {
        let mut largest = 0.0f64;
        // Whole heads, then a part of each.
        for (heads, head_dim, half) in [(3, 6, 3), (2, 64, 32), (3, 22, 8), (2, 64, 16)] {
            let (cos, sin) = angles(examiner, 5, half)?;
            let x = few(examiner, heads * head_dim, 1)?;
            let want = reference::rope(&exact(&x)?, &exact(&cos)?, &exact(&sin)?, head_dim)?;
            let turned = rope::forward(x.copy()?, &cos, &sin, head_dim)?;
            let back = rope::backward(turned.copy()?, &cos, &sin, head_dim)?;
            let found = worst([(&turned, want), (&back, exact(&x)?)])?;
            largest = if found.is_nan() { return Ok(found) } else { largest.max(found) };
        }
        Ok(largest)
    };
    let streams = matrices(examiner, sizes, sizes.shape.hidden);
    let run =
        Run::in_place(&inputs, |[x]| Ok(vec![rope::forward(x.clone(), &cos, &sin, head_dim)?]));
    let kernel = Kernel::rope_turn(examiner.dtype, sizes.tokens, hidden, head_dim / 2);
    let us = examiner.kernels_us(&[kernel]);
    examiner.examine("rope", 1.0, turned, streams(2), run.predicted(us));
    Ok(())
}

fn biases(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let hidden = sizes.shape.hidden;
    let inputs = examiner.turns([examiner.random(&[sizes.tokens, hidden], 1.0, 1)?])?;
    let of_row = examiner.random(&[hidden], 1.0, 2)?;
    let added = |examiner: &Examiner| {
        over_columns(|columns| {
            let (x, of_row) = (few(examiner, columns, 1)?, examiner.random(&[columns], 1.0, 2)?);
            let want = reference::bias(&exact(&x)?, &exact(&of_row)?)?;
            worst([(&bias::forward(x.copy()?, &of_row)?, want)])
        })
    };
    let run = Run::in_place(&inputs, |[x]| Ok(vec![bias::forward(x.clone(), &of_row)?]));
    let us = examiner.kernels_us(&[Kernel::bias_add(examiner.dtype, sizes.tokens, hidden)]);
    let streams = matrices(examiner, sizes, hidden);
    examiner.examine("bias", 1.0, added, streams(2), run.predicted(us));
    Ok(())
}

fn gates(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let inner = sizes.shape.intermediate;
    let inners = matrices(examiner, sizes, inner);
    let [gate, up, dy] = [4, 5, 6].map(|seed| examiner.random(&[sizes.tokens, inner], 1.0, seed));
    let inputs = examiner.turns([gate?, up?, dy?])?;
    let forward = |examiner: &Examiner| {
        over_columns(|columns| {
            let (gate, up) = (few(examiner, columns, 1)?, few(examiner, columns, 2)?);
            let want = reference::swiglu(&exact(&gate)?, &exact(&up)?)?;
            worst([(&swiglu::forward(&gate, &up)?, want)])
        })
    };
    let run = Run::of(&inputs, |[gate, up, _]| Ok(vec![swiglu::forward(gate, up)?]));
    let us = examiner.kernels_us(&[Kernel::swiglu_forward(examiner.dtype, sizes.tokens, inner)]);
    examiner.examine("swiglu forward", 1.0, forward, inners(3), run.predicted(us));
    let backward = |examiner: &Examiner| {
        over_columns(|columns| {
            let [gate, up, dy] = [1, 2, 3].map(|seed| few(examiner, columns, seed));
            let (gate, up, dy) = (gate?, up?, dy?);
            let (dgate, dup) = swiglu::backward(&dy, &gate, &up)?;
            let f = |t: &[Tensor]| reference::swiglu(&t[0], &t[1]);
            let inputs = [&exact(&gate)?, &exact(&up)?];
            let want = reference::gradients(&inputs, &exact(&dy)?, f)?;
            worst([(&dgate, want[0].clone()), (&dup, want[1].clone())])
        })
    };
    let run = Run::of(&inputs, |[gate, up, dy]| {
        let (dgate, dup) = swiglu::backward(dy, gate, up)?;
        Ok(vec![dgate, dup])
    });
    let us = examiner.kernels_us(&[Kernel::swiglu_backward(examiner.dtype, sizes.tokens, inner)]);
    examiner.examine("swiglu backward", 1.0, backward, inners(5), run.predicted(us));
    Ok(())
}

/// The keys of a dropout mask, `[tokens]` each.
struct Keys {
    pair_rows: Tensor,
    offsets: Tensor,
}

impl Keys {
    fn on_cpu(&self) -> Result<Self> {
        let cpu = &Device::Cpu;
        let (pair_rows, offsets) = (self.pair_rows.to_device(cpu)?, self.offsets.to_device(cpu)?);
        Ok(Self { pair_rows, offsets })
    }

    fn mask(&self) -> DropoutMask<'_> {
        let Self { pair_rows, offsets } = self;
        DropoutMask { probability: 0.3, seed: 12, step: 5, module: 258, pair_rows, offsets }
    }
}

fn rows_of_tokens(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let (tokens, hidden) = (sizes.tokens, sizes.shape.hidden);
    let streams = matrices(examiner, sizes, hidden);
    let inputs = examiner.turns([examiner.random(&[tokens, hidden], 1.0, 1)?])?;
    let keys = |examiner: &Examiner, tokens, pairs| -> Result<Keys> {
        let pair_rows = examiner.numbers(tokens, pairs)?;
        Ok(Keys { pair_rows, offsets: examiner.numbers(tokens, tokens)? })
    };
    let dropped = |examiner: &Examiner| {
        over_columns(|columns| {
            let (x, y) = (few(examiner, columns, 1)?, few(examiner, columns, 2)?);
            let keys = keys(examiner, 5, 2)?;
            let want = keys.on_cpu()?.mask().apply(&exact(&x)?)?;
            let mask = keys.mask();
            let sum = (&want + exact(&y)?)?;
            worst([(&mask.apply(&x)?, want), (&mask.add(y.copy()?, &x)?, sum)])
        })
    };
    let all = keys(examiner, tokens, 7)?;
    let run = Run::of(&inputs, |[x]| Ok(vec![all.mask().apply(x)?]));
    let us = examiner.kernels_us(&[Kernel::dropout_apply(examiner.dtype, tokens, hidden)]);
    examiner.examine("dropout", 1.0, dropped, streams(2), run.predicted(us));
    let list = examiner.numbers(tokens, tokens)?;
    let gathered = |examiner: &Examiner| {
        over_columns(|columns| {
            let (x, list) = (few(examiner, columns, 1)?, examiner.numbers(9, 4)?);
            let (y, there) = (rows::forward(&x, &list)?, list.to_device(&Device::Cpu)?);
            let want = rows::backward(&exact(&y)?, &there, 5)?;
            let spread = rows::backward(&y, &list, 5)?;
            worst([(&y, rows::forward(&exact(&x)?, &there)?), (&spread, want)])
        })
    };
    let run = Run::of(&inputs, |[x]| Ok(vec![rows::forward(x, &list)?]));
    let kernel = Kernel::rows_gather(examiner.dtype, tokens, tokens, hidden);
    let us = examiner.kernels_us(&[kernel]);
    examiner.examine("rows by number", 2.0, gathered, streams(2), run.predicted(us));
    Ok(())
}
