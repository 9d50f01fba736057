//! Gradients from GPU to GPU over NCCL.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, group_end, group_start};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Storage, Tensor};

use super::wire::Wire;

/// The GPUs of all ranks.
pub(super) struct Nccl {
    comm: Comm,
    device: CudaDevice,
}

/// The name of a new group of GPUs, which rank 0 makes and all ranks join.
pub(super) fn new_name() -> Result<Vec<u8>> {
    let id = Id::new().map_err(|error| failed("cannot begin", &error))?;
    Ok(id.internal().iter().map(|byte| byte.cast_unsigned()).collect())
}

impl Nccl {
    /// Joins the group of the name `name` with `device`. Returns when all ranks have.
    pub(super) fn join(
        name: &[u8],
        device: &CudaDevice,
        rank: usize,
        ranks: usize,
    ) -> Result<Self> {
        let name: [u8; 128] = name.try_into().context("the name of a group has another length")?;
        let id = Id::uninit(name.map(|byte| byte.cast_signed() as _));
        let stream = device.cuda_stream();
        stream.context().bind_to_thread()?;
        let comm = Comm::from_rank(Arc::clone(&stream), rank, ranks, id)
            .map_err(|error| failed("cannot join the other ranks", &error))?;
        Ok(Self { comm, device: device.clone() })
    }
}

impl Wire for Nccl {
    fn swap(
        &self,
        to: usize,
        values: Option<&Tensor>,
        from: usize,
        length: usize,
    ) -> Result<Option<Tensor>> {
        let peer = |rank: usize| i32::try_from(rank).context("a rank beyond 32 bits");
        let (to, from) = (peer(to)?, peer(from)?);
        // The driver gives no memory of 0 bytes.
        let mut incoming = self.device.alloc_zeros::<f32>(length.max(1))?;
        let step = |done: Result<_, NcclError>| {
            done.map(drop).map_err(|error| failed("a group of transfers", &error))
        };
        step(group_start())?;
        if let Some(values) = values {
            let (storage, layout) = values.storage_and_layout();
            let (begin, end) = layout.contiguous_offsets().context("gradients are contiguous")?;
            let Storage::Cuda(storage) = &*storage else {
                return Err(anyhow!("gradients are not on the GPU"));
            };
            let slice = storage.as_cuda_slice::<f32>()?.slice(begin..end);
            self.comm.send(&slice, to).map_err(|error| failed("a send", &error))?;
        }
        if length > 0 {
            step(self.comm.recv(&mut incoming, from))?;
        }
        step(group_end())?;
        if length == 0 {
            return Ok(None);
        }
        let storage = CudaStorage::wrap_cuda_slice(incoming, self.device.clone());
        Ok(Some(Tensor::from_storage(Storage::Cuda(storage), length, BackpropOp::none(), false)))
    }
}

fn failed(what: &str, error: &NcclError) -> anyhow::Error {
    anyhow!("NCCL: {what} failed: {:?}", error.0)
}
