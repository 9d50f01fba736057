//! Timestamps in the queue of a device, taken without waiting for it.

use std::time::Instant;

use anyhow::Result;
use candle_core::Device;

/// The moment when a device finishes the work queued so far; on a CPU, now.
pub enum Moment {
    /// The host's clock.
    Host(Instant),
    /// A mark in the GPU's queue.
    #[cfg(feature = "cuda")]
    Gpu(candle_core::cuda_backend::cudarc::driver::CudaEvent),
}

impl Moment {
    /// Marks the moment when `device` finishes all work queued so far.
    pub fn on(device: &Device) -> Result<Self> {
        match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Ok(Self::Gpu(crate::machine::gpu::Gpu::of(device)?.event()?)),
            _ => Ok(Self::Host(Instant::now())),
        }
    }

    /// Seconds since `earlier` on the same device; waits for this moment.
    pub fn seconds_since(&self, earlier: &Self) -> Result<f64> {
        match (earlier, self) {
            (Self::Host(earlier), Self::Host(later)) => Ok((*later - *earlier).as_secs_f64()),
            #[cfg(feature = "cuda")]
            (Self::Gpu(earlier), Self::Gpu(later)) => {
                Ok(f64::from(earlier.elapsed_ms(later)?) / 1e3)
            }
            #[cfg(feature = "cuda")]
            _ => anyhow::bail!("two moments of different devices"),
        }
    }
}
