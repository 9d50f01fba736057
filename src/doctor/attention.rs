//! Attention over packed pairs, forward and backward, and over a key/value cache.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use crate::cost::kernel::{AttentionPass, Kernel};
use crate::cost::tiles::Tiles;
use crate::doctor::examiner::{Cost, Examiner, exact, worst};
use crate::doctor::run::Run;
use crate::doctor::{Sizes, llama, pack};
use crate::model::batch::Batch;
use crate::model::shape::Shape;
use crate::ops::attention::{self, Activations, Heads};
use crate::ops::decode::{self, Cache, Places};

/// A batch of about `tokens` tokens, and q, k, v and the gradient of the output.
fn inputs(examiner: &Examiner, shape: &Shape, tokens: usize) -> Result<(Batch, [Tensor; 4])> {
    let pack = pack(tokens, shape.vocab);
    let (query, key) = (shape.query_width(), shape.key_width());
    let [q, k, v, d_o] = [(query, 1), (key, 2), (key, 3), (query, 4)]
        .map(|(width, seed)| examiner.random(&[pack.tokens(), width], 1.0, seed));
    let rotary = shape.rotary(examiner.dtype, &examiner.device);
    Ok((Batch::new(&pack, shape.vocab, &rotary)?, [q?, k?, v?, d_o?]))
}

/// Errors of the output and of the gradients against the CPU body in f64, at these numbers of tokens. Unit tests compare that body with
/// a composition of primitives.
fn error(examiner: &Examiner, heads: Heads, sizes: &[usize]) -> Result<[f64; 2]> {
    let shape = llama([heads.heads * heads.head_dim, 32], [heads.heads, heads.kv_heads], 64, 1)?;
    let mut errors = [0.0f64; 2];
    for &tokens in sizes {
        let (batch, device) = inputs(examiner, &shape, tokens)?;
        let rotary = shape.rotary(DType::F64, &Device::Cpu);
        let there = Batch::new(&pack(tokens, shape.vocab), shape.vocab, &rotary)?;
        let pass = |mask, [q, k, v, d_o]: &[Tensor; 4]| -> Result<[Tensor; 4]> {
            let (o, lse) = attention::forward(q, k, v, mask, shape.heads)?;
            let saved = Activations { q, k, v, o: &o, lse: &lse };
            let (dq, dk, dv) = attention::backward(d_o, &saved, mask, shape.heads)?;
            Ok([o, dq, dk, dv])
        };
        let [q, k, v, d_o] = device.each_ref().map(exact);
        let [o, dq, dk, dv] = pass(&there.mask, &[q?, k?, v?, d_o?])?;
        let got = pass(&batch.mask, &device)?;
        for (error, found) in errors
            .iter_mut()
            .zip([worst([(&got[0], o)])?, worst([(&got[1], dq), (&got[2], dk), (&got[3], dv)])?])
        {
            *error = if found.is_nan() { found } else { error.max(found) };
        }
    }
    Ok(errors)
}

/// One tile; then several tiles, some of which no row sees.
const TOKENS: [usize; 2] = [60, 800];

/// Tokens of a tile that is not whole and of one that is.
const FEW_TOKENS: [usize; 2] = [60, 150];

pub(super) fn examine(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let heads = sizes.shape.heads;
    let same = |head_dim| Heads { heads: 2, kv_heads: 2, head_dim };
    let error_of = |pass: usize, heads: Heads, tokens: &'static [usize]| {
        move |examiner: &Examiner| Ok(error(examiner, heads, tokens)?[pass])
    };
    both(examiner, sizes, &sizes.shape, "attention", |pass| {
        error_of(pass, same(heads.head_dim), &TOKENS)
    })?;
    // Four heads of queries read one of keys, as in models of groups; heads of 128, which `--quick` has not.
    let grouped = Heads { kv_heads: 1, ..Heads { heads: 4, ..same(128) } };
    let hidden = sizes.shape.hidden.max(4 * 128);
    let wide = llama([hidden, 32], [hidden / 128, hidden / 128 / 4], sizes.shape.vocab, 1)?;
    both(examiner, sizes, &wide, "grouped attention", |pass| error_of(pass, grouped, &FEW_TOKENS))?;
    others(examiner, sizes)?;
    one_token(examiner, sizes)
}

/// Forward and backward pass at the heads of `shape`.
fn both<E: FnOnce(&Examiner) -> Result<f64>>(
    examiner: &mut Examiner,
    sizes: &Sizes,
    shape: &Shape,
    name: &str,
    error: impl Fn(usize) -> E,
) -> Result<()> {
    let (dtype, heads) = (examiner.dtype, shape.heads);
    let (batch, inputs) = inputs(examiner, shape, sizes.tokens)?;
    let tiles = Tiles::of(&pack(sizes.tokens, shape.vocab));
    let of = |pass| Kernel::attention(dtype, pass, heads, &tiles);
    let turns = examiner.turns(inputs)?;
    let run = Run::of(&turns, |[q, k, v, _]| {
        let (o, lse) = attention::forward(q, k, v, &batch.mask, heads)?;
        Ok(vec![o, lse])
    });
    let us = examiner.kernels_us(&[of(AttentionPass::Forward)]);
    let cost = flop(sizes, shape, 2.0);
    examiner.examine(&format!("{name} forward"), 4.0, error(0), cost, run.predicted(us));
    let [q, k, v, _] = turns.first();
    let (o, lse) = attention::forward(q, k, v, &batch.mask, heads)?;
    let run = Run::of(&turns, |[q, k, v, d_o]| {
        let saved = Activations { q, k, v, o: &o, lse: &lse };
        let (dq, dk, dv) = attention::backward(d_o, &saved, &batch.mask, heads)?;
        Ok(vec![dq, dk, dv])
    });
    let delta = Kernel::attention_delta(dtype, tiles.tokens, heads);
    let us = [delta, of(AttentionPass::Queries), of(AttentionPass::Keys)];
    let us = examiner.kernels_us(&us);
    let cost = flop(sizes, shape, 5.0);
    examiner.examine(&format!("{name} backward"), 4.0, error(1), cost, run.predicted(us));
    Ok(())
}

/// The cost of this many products over what the rows of a pack see.
fn flop(sizes: &Sizes, shape: &Shape, products: f64) -> Cost {
    let pack = pack(sizes.tokens, shape.vocab);
    let of = |row: usize| {
        row as f64 + 1.0
            - f64::from(pack.start[row])
            - f64::from(pack.hide_to[row] - pack.hide_from[row])
    };
    let visible: f64 = (0..pack.tokens()).map(of).sum();
    Cost::Flop(products * 2.0 * visible * shape.query_width() as f64)
}

/// On a GPU, heads of 64 and 128 have their own kernels in bf16; this times the other kernels.
fn others(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let error = |examiner: &Examiner| {
        let mut largest = 0.0f64;
        for head_dim in [12, 32, 64, 96] {
            let heads = Heads { heads: 2, kv_heads: 2, head_dim };
            for found in error(examiner, heads, &TOKENS)? {
                largest = if found.is_nan() { return Ok(found) } else { largest.max(found) };
            }
        }
        Ok(largest)
    };
    let heads = sizes.shape.hidden / 32;
    let plain = Heads { heads, kv_heads: heads, head_dim: 32 };
    let (batch, inputs) = inputs(examiner, &sizes.shape, sizes.tokens)?;
    let turns = examiner.turns(inputs)?;
    let run = Run::of(&turns, |[q, k, v, d_o]| {
        let (o, lse) = attention::forward(q, k, v, &batch.mask, plain)?;
        let saved = Activations { q, k, v, o: &o, lse: &lse };
        let (dq, dk, dv) = attention::backward(d_o, &saved, &batch.mask, plain)?;
        Ok(vec![o, dq, dk, dv])
    });
    let tiles = Tiles::of(&pack(sizes.tokens, sizes.shape.vocab));
    let passes = [AttentionPass::Forward, AttentionPass::Queries, AttentionPass::Keys];
    let mut kernels =
        passes.map(|pass| Kernel::attention(examiner.dtype, pass, plain, &tiles)).to_vec();
    kernels.push(Kernel::attention_delta(examiner.dtype, tiles.tokens, plain));
    let us = examiner.kernels_us(&kernels);
    let cost = flop(sizes, &sizes.shape, 7.0);
    examiner.examine("attention, other heads", 4.0, error, cost, run.predicted(us));
    Ok(())
}

/// A filled key/value cache of sequences of these lengths, and the queries of their last tokens; `exactly`: in f64 on
/// the CPU.
fn cached(
    examiner: &Examiner,
    shape: &Shape,
    lengths: &[usize],
    exactly: bool,
) -> Result<(Cache, Tensor)> {
    let as_wanted = |tensor: Tensor| if exactly { exact(&tensor) } else { Ok(tensor) };
    let q = as_wanted(examiner.random(&[lengths.len(), shape.hidden], 1.0, 1)?)?;
    let longest = lengths.iter().copied().max().unwrap_or(1);
    let cache = Cache::new(lengths.len(), longest, shape.heads, q.dtype(), q.device())?;
    for (slot, &length) in lengths.iter().enumerate() {
        let dims = [length, shape.key_width()];
        let k = as_wanted(examiner.random(&dims, 1.0, 2 + slot as u64)?)?;
        let v = as_wanted(examiner.random(&dims, 1.0, 100 + slot as u64)?)?;
        let (slots, positions): (Vec<u32>, Vec<u32>) =
            (0..length as u32).map(|position| (slot as u32, position)).unzip();
        cache.store(&k, &v, &Places::new(&slots, &positions))?;
    }
    Ok((cache, q))
}

fn one_token(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let places = |lengths: &[usize]| -> (Vec<u32>, Vec<u32>) {
        (0..).zip(lengths.iter().map(|&length| length as u32 - 1)).unzip()
    };
    let error = |examiner: &Examiner| {
        let mut largest = 0.0f64;
        for head_dim in [12, 64, 128] {
            let shape = llama([2 * head_dim, 32], [2, if head_dim == 128 { 1 } else { 2 }], 64, 1)?;
            let lengths = [1, 33, 300];
            let (slots, positions) = places(&lengths);
            let at = Places::new(&slots, &positions);
            let (cache, q) = cached(examiner, &shape, &lengths, false)?;
            let (want, q64) = cached(examiner, &shape, &lengths, true)?;
            let found =
                worst([(&decode::forward(&q, &cache, &at)?, decode::forward(&q64, &want, &at)?)])?;
            largest = if found.is_nan() { return Ok(found) } else { largest.max(found) };
        }
        Ok(largest)
    };
    let lengths = [sizes.tokens / 8; 16];
    let (slots, positions) = places(&lengths);
    let at = Places::new(&slots, &positions);
    let (cache, q) = cached(examiner, &sizes.shape, &lengths, false)?;
    let context = lengths.iter().sum::<usize>();
    let read = 2 * context * sizes.shape.key_width() * examiner.dtype.size_in_bytes();
    let run = Run::alone(|| Ok(vec![decode::forward(&q, &cache, &at)?]));
    let heads = sizes.shape.heads;
    let kernel = Kernel::decode_forward(examiner.dtype, lengths.len(), context, heads, read);
    let us = examiner.kernels_us(&[kernel]);
    let name = "attention of one token";
    examiner.examine(name, 2.0, error, Cost::Bytes(read), run.predicted(us));
    Ok(())
}
