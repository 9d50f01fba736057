//! A number on its way from the GPU to the host, which need not wait for it.

use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, PinnedHostSlice};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{Result, Storage, Tensor, bail};

use crate::ops::cuda;

/// Where such numbers arrive, of those that have been read: to have such memory from the driver waits for all that is queued.
static READ: Mutex<Vec<Pinned>> = Mutex::new(Vec::new());

/// Memory that the GPU writes by itself, and what it passes after it has.
struct Pinned {
    number: PinnedHostSlice<f64>,
    written: CudaEvent,
}

/// A number that is copied after everything that was queued before it.
pub(in crate::ops) struct Arriving(Option<Pinned>); // until it is dropped

impl Arriving {
    /// Queues the copy of `number`: `[1]`, f64, on a GPU.
    #[expect(unsafe_code, reason = "memory of the driver")]
    pub(in crate::ops) fn of(number: &Tensor) -> Result<Self> {
        let stream = cuda::of(number.device())?.cuda_stream();
        let context = stream.context();
        let read = READ.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut place = match read.filter(|place| place.written.context() == context) {
            Some(place) => place,
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
                    stream.memcpy_dtoh(&from, &mut place.number).w()?;
                }
                _ => bail!("expected one f64, got {:?} {:?}", number.dtype(), number.dims()),
            },
            _ => bail!("expected a tensor on the gpu"),
        }
        place.written.record(&stream).w()?;
        Ok(Self(Some(place)))
    }

    /// The number, once it is here.
    pub(in crate::ops) fn get(&self) -> Result<f64> {
        let Some(place) = &self.0 else { bail!("a number has no place") };
        place.written.synchronize().w()?;
        Ok(place.number.as_slice().w()?[0])
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        READ.lock().unwrap_or_else(PoisonError::into_inner).extend(self.0.take());
    }
}
