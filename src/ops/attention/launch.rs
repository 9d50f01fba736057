//! Launches of the kernels of `attention.cu`: on the tensor cores for bf16 heads of 64 and 128, otherwise the plain ones.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::{Activations, Heads, Mask, refuse_mismatched};
use crate::ops::cuda::{self, Launch, Module};

const MODULE: Module = cuda::module!("attention");

/// Threads of a block, rows of a tile, and queries of a tile in `dkdv`, as in `attention.cu`.
const THREADS: u32 = 128;
const TILE: usize = 64;
const NARROW: usize = 32;

/// Bytes that `dkdv` keeps of a query.
const QUERY: usize = 20;

impl Mask {
    /// `[3, tokens]` u32 on `device`: start, hide_from and hide_to of each row. Copied there once.
    fn rows(&self, device: &Device) -> Result<Tensor> {
        let mut copied = self.copied.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(rows) = copied.as_ref().filter(|rows| rows.device().same_device(device)) {
            return Ok(rows.clone());
        }
        let [mut start, mut hide_from, mut hide_to] = [(); 3].map(|()| vec![0u32; self.tokens]);
        for run in self.pairs.iter().flatten() {
            start[run.rows.clone()].fill(run.start as u32);
            hide_from[run.rows.clone()].fill(run.hidden.start as u32);
            hide_to[run.rows.clone()].fill(run.hidden.end as u32);
        }
        // One by one: a copy of up to 64 KiB travels with the commands, a larger one may wait for everything that is queued.
        let rows = [start, hide_from, hide_to].map(|numbers| Tensor::new(numbers, device));
        let [start, hide_from, hide_to] = rows;
        let rows = Tensor::stack(&[start?, hide_from?, hide_to?], 0)?;
        Ok(copied.insert(rows).clone())
    }
}

/// Which kernel, and so which dimension its blocks own.
#[derive(Clone, Copy)]
enum Kernel {
    Forward,
    QueryGradients,
    KeyGradients,
}

impl Kernel {
    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::QueryGradients => "dq",
            Self::KeyGradients => "dkdv",
        }
    }

    /// Bytes of dynamic shared memory of a block on the tensor cores, and arrays of `head_dim` floats per warp of a plain kernel.
    fn shared(self, head_dim: usize) -> (usize, usize) {
        let row = 2 * head_dim;
        match self {
            Self::Forward => (5 * TILE * row, 2),
            Self::QueryGradients => (6 * TILE * row, 3),
            Self::KeyGradients => ((2 * TILE + 4 * NARROW) * row + 2 * NARROW * QUERY, 4),
        }
    }
}

/// Shapes of the arguments.
struct Shapes {
    query: [usize; 2],
    key: [usize; 2],
    row: [usize; 2],
    dtype: DType,
}

impl Shapes {
    fn of(q: &Tensor, mask: &Mask, shape: Heads) -> Self {
        let Heads { heads, kv_heads, head_dim } = shape;
        Self {
            query: [mask.tokens, heads * head_dim],
            key: [mask.tokens, kv_heads * head_dim],
            row: [mask.tokens, heads],
            dtype: q.dtype(),
        }
    }
}

fn on_tensor_cores(q: &Tensor, shape: Heads) -> bool {
    q.dtype() == DType::BF16 && matches!(shape.head_dim, 64 | 128)
}

fn begin(kernel: Kernel, q: &Tensor, shape: Heads) -> Result<Launch<'static>> {
    let body =
        if on_tensor_cores(q, shape) { shape.head_dim.to_string() } else { "plain".to_owned() };
    MODULE.launch(&format!("attention_{}_{body}", kernel.name()), q)
}

/// Adds the sizes, the last parameters, and queues the kernel.
///
/// # Safety
///
/// The arguments listed so far are the kernel's parameters before the sizes, and what it writes through them is new.
#[expect(unsafe_code, reason = "a launch")]
unsafe fn finish(
    launch: Launch<'_>,
    kernel: Kernel,
    q: &Tensor,
    mask: &Mask,
    shape: Heads,
) -> Result<()> {
    let Heads { heads, kv_heads, head_dim } = shape;
    let launch = launch.count(mask.tokens)?.count(heads)?.count(kv_heads)?.float(shape.scale());
    let each = if matches!(kernel, Kernel::KeyGradients) { kv_heads } else { heads };
    let (tiles, arrays) = kernel.shared(head_dim);
    let (launch, grid) = if on_tensor_cores(q, shape) {
        (launch.shared(tiles), (mask.tokens.div_ceil(TILE), each))
    } else {
        let warps = THREADS as usize / 32;
        let launch = launch.count(head_dim)?.shared(warps * arrays * head_dim * size_of::<f32>());
        (launch, ((mask.tokens * each).div_ceil(warps), 1))
    };
    // SAFETY: the caller's promise; a block per tile of rows and head, or a warp per row and head.
    unsafe { launch.run(grid, THREADS) }
}

/// Refuses addresses that are no multiple of the 16 bytes by which tiles are copied.
fn aligned(tensors: &[&Tensor], shape: Heads) -> Result<()> {
    for tensor in tensors {
        if on_tensor_cores(tensor, shape) && cuda::address(tensor)? % 16 != 0 {
            bail!("attention: expected a tensor at a multiple of 16 bytes");
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "a launch")]
pub(super) fn forward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Mask,
    shape: Heads,
) -> Result<(Tensor, Tensor)> {
    refuse_mismatched(q, k, v, mask, shape)?;
    aligned(&[q, k, v], shape)?;
    let Shapes { query, key, row, dtype } = Shapes::of(q, mask, shape);
    let rows = mask.rows(q.device())?;
    let o = cuda::empty(q.device(), dtype, &query)?;
    let lse = cuda::empty(q.device(), DType::F32, &row)?;
    let launch = begin(Kernel::Forward, q, shape)?
        .tensor(q, dtype, &query)?
        .tensor(k, dtype, &key)?
        .tensor(v, dtype, &key)?
        .tensor(&rows, DType::U32, &[3, mask.tokens])?
        .tensor(&o, dtype, &query)?
        .tensor(&lse, DType::F32, &row)?;
    // SAFETY: the parameters of `attention_forward`; it writes `o` and `lse`, which are new.
    unsafe { finish(launch, Kernel::Forward, q, mask, shape) }?;
    Ok((o, lse))
}

#[expect(unsafe_code, reason = "launches")]
pub(super) fn backward(
    d_o: &Tensor,
    saved: &Activations<'_>,
    mask: &Mask,
    shape: Heads,
) -> Result<(Tensor, Tensor, Tensor)> {
    let &Activations { q, k, v, o, lse } = saved;
    refuse_mismatched(q, k, v, mask, shape)?;
    aligned(&[q, k, v, d_o], shape)?;
    let Shapes { query, key, row, dtype } = Shapes::of(q, mask, shape);
    let (device, count) = (q.device(), mask.tokens * shape.heads);
    let rows = mask.rows(device)?;
    let delta = cuda::empty(device, DType::F32, &row)?;
    let launch = MODULE
        .launch("attention_delta", q)?
        .tensor(d_o, dtype, &query)?
        .tensor(o, dtype, &query)?
        .tensor(&delta, DType::F32, &row)?
        .count(count)?
        .count(shape.head_dim)?;
    // SAFETY: the parameters of `attention_delta`; a warp per row and head, and `delta` is new.
    unsafe { launch.run((count.div_ceil(THREADS as usize / 32), 1), THREADS) }?;
    let inputs = |kernel| {
        begin(kernel, q, shape)?
            .tensor(d_o, dtype, &query)?
            .tensor(q, dtype, &query)?
            .tensor(k, dtype, &key)?
            .tensor(v, dtype, &key)?
            .tensor(lse, DType::F32, &row)?
            .tensor(&delta, DType::F32, &row)?
            .tensor(&rows, DType::U32, &[3, mask.tokens])
    };
    let dq = cuda::empty(device, dtype, &query)?;
    let launch = inputs(Kernel::QueryGradients)?.tensor(&dq, dtype, &query)?;
    // SAFETY: the parameters of `attention_dq`; it writes `dq`, which is new.
    unsafe { finish(launch, Kernel::QueryGradients, q, mask, shape) }?;
    let (dk, dv) = (cuda::empty(device, dtype, &key)?, cuda::empty(device, dtype, &key)?);
    let launch =
        inputs(Kernel::KeyGradients)?.tensor(&dk, dtype, &key)?.tensor(&dv, dtype, &key)?;
    // SAFETY: the parameters of `attention_dkdv`; it writes `dk` and `dv`, which are new.
    unsafe { finish(launch, Kernel::KeyGradients, q, mask, shape) }?;
    Ok((dq, dk, dv))
}
