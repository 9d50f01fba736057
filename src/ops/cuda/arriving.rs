//! A number that a queued copy brings from the GPU to the host, so that the host waits only when it reads it.

use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, PinnedHostSlice};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{Result, Storage, Tensor, bail};

use crate::ops::cuda;

/// Pinned memory to use again: allocating some waits for everything that is queued.
static SPARE: Mutex<Vec<Pinned>> = Mutex::new(Vec::new());

/// Host memory that the GPU writes, and the event that it records afterwards.
struct Pinned {
    number: PinnedHostSlice<f64>,
    written: CudaEvent,
}

/// A number that is copied after everything that was queued before it.
pub(in crate::ops) struct Arriving(Option<Pinned>); // none once it is dropped

impl Arriving {
    /// Queues the copy of `number`: `[1]`, f64, on a GPU.
    #[expect(unsafe_code, reason = "memory of the driver")]
    pub(in crate::ops) fn of(number: &Tensor) -> Result<Self> {
        let stream = cuda::of(number.device())?.cuda_stream();
        let context = stream.context();
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut pinned = match spare.filter(|pinned| pinned.written.context() == context) {
            Some(pinned) => pinned,
            None => Pinned {
                // SAFETY: nothing reads it before the event that is recorded behind the copy.
                number: unsafe { context.alloc_pinned_with_flags(1, 0) }.w()?,
                written: context.new_event(None).w()?,
            },
        };
        let (storage, layout) = number.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => match &storage.slice {
                CudaStorageSlice::F64(slice) if layout.shape().elem_count() == 1 => {
                    let from = slice.slice(layout.start_offset()..=layout.start_offset());
                    stream.memcpy_dtoh(&from, &mut pinned.number).w()?;
                }
                _ => bail!("expected one f64, got {:?} {:?}", number.dtype(), number.dims()),
            },
            _ => bail!("expected a tensor on the gpu"),
        }
        pinned.written.record(&stream).w()?;
        Ok(Self(Some(pinned)))
    }

    /// The number; waits until it has arrived.
    pub(in crate::ops) fn get(&self) -> Result<f64> {
        let Some(pinned) = &self.0 else { bail!("the number was dropped") };
        pinned.written.synchronize().w()?;
        Ok(pinned.number.as_slice().w()?[0])
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        SPARE.lock().unwrap_or_else(PoisonError::into_inner).extend(self.0.take());
    }
}
