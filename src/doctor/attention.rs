//! Attention over packed pairs, forward and backward, and over a key/value cache.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use crate::doctor::examiner::{Cost, Examiner, exact, worst};
use crate::doctor::{Sizes, llama, pack};
use crate::model::batch::Batch;
use crate::model::shape::Shape;
use crate::ops::attention::{self, Activations, Heads};
use crate::ops::decode::{self, Cache, Places};

/// A batch of about `tokens` tokens, and q, k, v and the gradient of the output.
fn inputs(examiner: &Examiner, shape: &Shape, tokens: usize) -> Result<(Batch, [Tensor; 4])> {
    let pack = pack(tokens, shape.vocab);
    let dims = [pack.tokens(), shape.hidden];
    let [q, k, v, d_o] = [1, 2, 3, 4].map(|seed| examiner.random(&dims, 1.0, seed));
    let rotary = shape.rotary(examiner.dtype, &examiner.device);
    Ok((Batch::new(&pack, shape.vocab, &rotary)?, [q?, k?, v?, d_o?]))
}

/// Errors of the output and of the gradients against the CPU body in f64. Unit tests compare that body with a
/// composition of primitives.
fn error(examiner: &Examiner, head_dim: usize) -> Result<[f64; 2]> {
    let shape = llama(2 * head_dim, 32, 2, 64, 1)?;
    let mut errors = [0.0f64; 2];
    // One tile; then several tiles, some of which no row sees.
    for tokens in [60, 800] {
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

pub(super) fn examine(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let heads = sizes.shape.heads;
    let (batch, [q, k, v, d_o]) = inputs(examiner, &sizes.shape, sizes.tokens)?;
    let visible: f64 = {
        let pack = pack(sizes.tokens, sizes.shape.vocab);
        let of = |row: usize| {
            row as f64 + 1.0
                - f64::from(pack.start[row])
                - f64::from(pack.hide_to[row] - pack.hide_from[row])
        };
        (0..pack.tokens()).map(of).sum()
    };
    let flop = |products: f64| Cost::Flop(products * 2.0 * visible * sizes.shape.hidden as f64);
    let forward = |examiner: &Examiner| Ok(error(examiner, heads.head_dim)?[0]);
    examiner.examine("attention forward", 4.0, forward, flop(2.0), || {
        Ok(attention::forward(&q, &k, &v, &batch.mask, heads).map(drop)?)
    });
    let (o, lse) = attention::forward(&q, &k, &v, &batch.mask, heads)?;
    let saved = Activations { q: &q, k: &k, v: &v, o: &o, lse: &lse };
    let backward = |examiner: &Examiner| Ok(error(examiner, heads.head_dim)?[1]);
    examiner.examine("attention backward", 4.0, backward, flop(5.0), || {
        Ok(attention::backward(&d_o, &saved, &batch.mask, heads).map(drop)?)
    });
    // On a GPU, heads of 64 and 128 have their own kernels in bf16; this times the other kernels.
    let plain =
        Heads { heads: sizes.shape.hidden / 32, kv_heads: sizes.shape.hidden / 32, head_dim: 32 };
    let others = |examiner: &Examiner| {
        let mut largest = 0.0f64;
        for head_dim in [12, 32, 64, 96] {
            for found in error(examiner, head_dim)? {
                largest = if found.is_nan() { return Ok(found) } else { largest.max(found) };
            }
        }
        Ok(largest)
    };
    examiner.examine("attention, other heads", 4.0, others, flop(7.0), || {
        let (o, lse) = attention::forward(&q, &k, &v, &batch.mask, plain)?;
        let saved = Activations { o: &o, lse: &lse, ..saved };
        Ok(attention::backward(&d_o, &saved, &batch.mask, plain).map(drop)?)
    });
    one_token(examiner, sizes)
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
        let dims = [length, shape.hidden];
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
            let (shape, lengths) = (llama(2 * head_dim, 32, 2, 64, 1)?, [1, 33, 300]);
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
    let read = 2 * lengths.iter().sum::<usize>() * sizes.shape.hidden;
    let bytes = Cost::Bytes(read * examiner.dtype.size_in_bytes());
    examiner.examine("attention of one token", 2.0, error, bytes, || {
        Ok(decode::forward(&q, &cache, &at).map(drop)?)
    });
    Ok(())
}
