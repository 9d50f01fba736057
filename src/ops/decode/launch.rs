//! Launches of the kernels of `decode.cu`.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::{Cache, Places};
use crate::ops::attention::Heads;
use crate::ops::cuda::{self, Module, THREADS};

const MODULE: Module = cuda::module!("decode");

/// Threads of a block of `forward`, and the most elements of a head that its registers hold, as in `decode.cu`.
const FORWARD_THREADS: u32 = 128;
const WIDEST: usize = 256;

impl Places<'_> {
    /// `[2, rows]` u32 on `device`: slots, then positions. Copied there once, for all layers.
    fn there(&self, device: &Device) -> Result<Tensor> {
        if let Some(there) = self.copied.get().filter(|there| there.device().same_device(device)) {
            return Ok(there.clone());
        }
        let there =
            Tensor::from_vec([self.slots, self.positions].concat(), (2, self.slots.len()), device)?;
        Ok(self.copied.get_or_init(|| there.clone()).clone())
    }
}

#[expect(unsafe_code, reason = "a launch")]
pub(super) fn store(cache: &Cache, k: &Tensor, v: &Tensor, at: &Places<'_>) -> Result<()> {
    let Heads { kv_heads, head_dim, .. } = cache.heads;
    let (rows, dtype) = (at.slots.len(), k.dtype());
    let (memory, row) = (cache.keys.dims(), [rows, kv_heads * head_dim]);
    let launch = MODULE
        .launch("decode_store", k)?
        .tensor(k, dtype, &row)?
        .tensor(v, dtype, &row)?
        .tensor(&at.there(k.device())?, DType::U32, &[2, rows])?
        .tensor(&cache.keys, dtype, memory)?
        .tensor(&cache.values, dtype, memory)?
        .count(kv_heads)?
        .count(head_dim)?
        .count(cache.capacity())?;
    // SAFETY: the parameters of `decode_store`; a block for each row, and the caller has found each place inside the cache, which
    // only later launches read.
    unsafe { launch.run((rows, 1), THREADS) }
}

#[expect(unsafe_code, reason = "a launch")]
pub(super) fn forward(q: &Tensor, cache: &Cache, at: &Places<'_>) -> Result<Tensor> {
    let Heads { heads, kv_heads, head_dim } = cache.heads;
    if head_dim > WIDEST {
        bail!("decode: expected heads of at most {WIDEST} elements on a gpu, got {head_dim}");
    }
    let (rows, dtype) = (at.slots.len(), q.dtype());
    let (memory, row) = (cache.keys.dims(), [rows, heads * head_dim]);
    let o = cuda::empty(q.device(), dtype, &row)?;
    let launch = MODULE
        .launch("decode_forward", q)?
        .tensor(q, dtype, &row)?
        .tensor(&cache.keys, dtype, memory)?
        .tensor(&cache.values, dtype, memory)?
        .tensor(&at.there(q.device())?, DType::U32, &[2, rows])?
        .tensor(&o, dtype, &row)?
        .count(heads)?
        .count(kv_heads)?
        .count(head_dim)?
        .count(cache.capacity())?
        .float(cache.heads.scale());
    // SAFETY: the parameters of `decode_forward`; a block for each row and head, and `o` is new.
    unsafe { launch.run((rows, heads), FORWARD_THREADS) }?;
    Ok(o)
}
