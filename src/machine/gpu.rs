//! NVIDIA GPUs through the driver: counting and opening them, their memory.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::result::DriverError;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaEvent, CudaStream, sys};

use crate::bail_input;
use crate::error::InputError;
use crate::ops::cuda;

/// Lowest compute capability of the kernels, which multiply bf16 on tensor cores.
const OLDEST: (i32, i32) = (8, 0);

/// Number of GPUs that the driver shows; 0 without a driver.
pub(super) fn count() -> usize {
    CudaContext::device_count().map_or(0, |count| count.max(0) as usize)
}

/// Opens a GPU with one stream for all threads, and keeps freed memory with the program.
pub(super) fn open(ordinal: usize) -> Result<Device> {
    let count = count();
    if ordinal >= count {
        let error = InputError::new(match count {
            0 => format!("`--device cuda:{ordinal}`: the driver shows no GPU"),
            1 => format!("`--device cuda:{ordinal}`: there is one GPU, `cuda:0`"),
            _ => format!("`--device cuda:{ordinal}`: there are {count} GPUs, from `cuda:0`"),
        });
        return Err(error.hint("`nvidia-smi` lists them; `--device cpu` computes without").into());
    }
    refuse_older_driver(driver_version()?)?;
    let device = Device::new_cuda_with_stream(ordinal)?;
    let gpu = Gpu::of(&device)?;
    let capability = gpu.context.compute_capability()?;
    if capability < OLDEST {
        bail_input!(
            "`--device cuda:{ordinal}`: {} has compute capability {}.{}, expected {}.{} or later",
            gpu.context.name()?,
            capability.0,
            capability.1,
            OLDEST.0,
            OLDEST.1
        );
    }
    gpu.keep_memory()?;
    cuda::prepare(&device).context("the driver cannot load this program's kernels")?;
    Ok(device)
}

/// The release of nvcc that compiled the kernels, as `13.0`; empty where it did not tell.
const NVCC: &str = env!("MVPBENCH_NVCC");

/// The newest CUDA of the driver: 1000 times the first number of its version and 10 times the second.
#[expect(unsafe_code, reason = "a foreign function")]
fn driver_version() -> Result<i32> {
    let mut version = 0;
    // SAFETY: the driver writes a number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok(version)
}

/// Refuses a driver that is older than the compiler of the kernels. Ours hold code that needs no compiling for many cards, but candle's are
/// PTX, and a driver compiles none of a later CUDA.
fn refuse_older_driver(version: i32) -> Result<()> {
    let number = |text: &str| text.parse::<i32>().ok();
    let release = NVCC.split_once('.');
    let release = release.and_then(|(cuda, part)| Some(1000 * number(cuda)? + 10 * number(part)?));
    let Some(release) = release.filter(|release| version < *release) else { return Ok(()) };
    let of = |version: i32| format!("{}.{}", version / 1000, version % 1000 / 10);
    let message = format!(
        "the driver is for CUDA {}, and candle's kernels in this program are PTX of CUDA {}, which it cannot load",
        of(version),
        of(release)
    );
    let hint = format!(
        "install a newer driver, or build with the toolkit of CUDA {} or an earlier one (docs/gpu.md)",
        of(version)
    );
    Err(InputError::new(message).hint(hint).into())
}

/// An open GPU.
pub(super) struct Gpu {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
}

impl Gpu {
    /// The GPU that `device` is.
    pub(super) fn of(device: &Device) -> Result<Self> {
        let Device::Cuda(cuda) = device else {
            bail!("expected a GPU, got {:?}", device.location())
        };
        let stream = cuda.cuda_stream();
        Ok(Self { context: stream.context().clone(), stream })
    }

    /// An event that the GPU records when it has done all work queued so far.
    pub(super) fn event(&self) -> Result<CudaEvent> {
        Ok(self.stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))?)
    }

    /// Its name and number.
    pub(super) fn describe(&self) -> String {
        let name = self.context.name().unwrap_or_else(|_| "GPU of unknown name".to_owned());
        format!("{name}, cuda:{}", self.context.ordinal())
    }

    /// Newest CUDA version of the driver, and compute capability of the card.
    pub(super) fn driver(&self) -> Result<String> {
        let version = driver_version()?;
        let (major, minor) = self.context.compute_capability()?;
        let (cuda, part) = (version / 1000, version % 1000 / 10);
        Ok(format!("driver for CUDA {cuda}.{part}, compute capability {major}.{minor}"))
    }

    /// All that its results may depend on: card, processors, driver and cuBLAS, not its number.
    pub(super) fn numerics(&self, device: &Device) -> Result<String> {
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        Ok(format!(
            "{}, {} processors, {}, cuBLAS {}",
            self.context.name()?,
            self.context.attribute(attribute)?,
            self.driver()?,
            cuda::cublas_version(device)?
        ))
    }

    /// Whether the driver keeps memory in pools; some virtual cards have none.
    fn has_pools(&self) -> Result<bool> {
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
        Ok(self.context.attribute(attribute)? != 0)
    }

    /// Bytes that all programs on the card have taken.
    fn taken_bytes(&self) -> Result<f64> {
        let (free, all) = self.context.mem_get_info()?;
        Ok((all - free) as f64)
    }

    /// Bytes of memory, free or not.
    pub(super) fn memory_bytes(&self) -> Result<f64> {
        Ok(self.context.mem_get_info()?.1 as f64)
    }

    /// Bytes free for new allocations: free at the driver, or held unused in the pool of this program.
    pub(super) fn free_bytes(&self) -> Result<f64> {
        use sys::CUmemPool_attribute as Attribute;
        let (free, _) = self.context.mem_get_info()?;
        if !self.has_pools()? {
            return Ok(free as f64);
        }
        let held = self.pool_bytes(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let used = self.pool_bytes(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        Ok(free as f64 + held.saturating_sub(used) as f64)
    }

    /// Most bytes that tensors have taken at once; without pools what is taken now.
    pub(super) fn peak_bytes(&self) -> Result<f64> {
        if !self.has_pools()? {
            return self.taken_bytes();
        }
        Ok(self.pool_bytes(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)? as f64)
    }

    /// Resets the peak to the bytes taken now, and returns them.
    #[expect(unsafe_code, reason = "foreign functions")]
    pub(super) fn reset_peak(&self) -> Result<f64> {
        use sys::CUmemPool_attribute as Attribute;
        if !self.has_pools()? {
            return self.taken_bytes();
        }
        let mut nothing = 0u64;
        // SAFETY: the attribute is a u64, which the driver reads; zero is the one value that it accepts.
        unsafe {
            sys::cuMemPoolSetAttribute(
                self.pool()?,
                Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH,
                (&raw mut nothing).cast(),
            )
        }
        .result()?;
        Ok(self.pool_bytes(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)? as f64)
    }

    /// Turns off events for each tensor, and keeps freed memory, since every step allocates it again.
    #[expect(unsafe_code, reason = "foreign functions")]
    fn keep_memory(&self) -> Result<()> {
        // SAFETY: all work of this program goes to the one stream that the device was opened with, in the order of the
        // calls.
        unsafe { self.context.disable_event_tracking() };
        if !self.has_pools()? {
            return Ok(());
        }
        let mut everything = u64::MAX;
        // SAFETY: the attribute is a u64, which the driver copies.
        unsafe {
            sys::cuMemPoolSetAttribute(
                self.pool()?,
                sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                (&raw mut everything).cast(),
            )
        }
        .result()?;
        Ok(())
    }

    #[expect(unsafe_code, reason = "foreign functions")]
    fn pool_bytes(&self, attribute: sys::CUmemPool_attribute) -> Result<u64> {
        let mut bytes = 0u64;
        // SAFETY: the attributes read here are u64, which the driver writes.
        unsafe { sys::cuMemPoolGetAttribute(self.pool()?, attribute, (&raw mut bytes).cast()) }
            .result()?;
        Ok(bytes)
    }

    /// The device's default pool, in which tensors are allocated.
    #[expect(unsafe_code, reason = "foreign functions")]
    fn pool(&self) -> Result<sys::CUmemoryPool, DriverError> {
        let mut pool = std::ptr::null_mut();
        // SAFETY: the driver writes a handle, which is valid as long as the device is.
        unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, self.context.cu_device()) }.result()?;
        Ok(pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_older_than_the_kernels_compiler_is_refused_with_the_remedy() {
        assert!(NVCC.split_once('.').is_some(), "the build has not told nvcc's release");
        assert!(refuse_older_driver(99_000).is_ok());
        let error = refuse_older_driver(11_080).unwrap_err();
        let remedy = InputError::of(&error).and_then(InputError::remedy).unwrap();
        assert!(
            remedy.contains("build with the toolkit of CUDA 11.8 or an earlier one"),
            "{remedy}"
        );
    }
}
