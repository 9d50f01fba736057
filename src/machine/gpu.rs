//! NVIDIA GPUs through the driver: counting and opening them, their memory.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::result::DriverError;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaEvent, CudaStream, sys};

use crate::bail_input;
use crate::error::InputError;
use crate::machine::card_identity::{CardIdentity, driver_version as version_in};
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

    /// A number that the driver tells of the card; none where it has none.
    fn number(&self, attribute: sys::CUdevice_attribute) -> Option<i32> {
        self.context.attribute(attribute).ok().filter(|number| *number != 0)
    }

    /// Bytes of the cache that all processors share.
    pub(super) fn cache_bytes(&self) -> Result<f64> {
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE;
        Ok(f64::from(self.context.attribute(attribute)?))
    }

    /// The card, its driver and its libraries.
    pub(super) fn identity(&self, device: &Device) -> CardIdentity {
        use sys::CUdevice_attribute as Attribute;
        let kib = |attribute| self.number(attribute).map(|bytes| f64::from(bytes) / 1024.0);
        let khz = |attribute| self.number(attribute).map(f64::from);
        let width = self.number(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
        let memory_khz = khz(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
        // Two transfers a clock, of as many bits as the bus is wide.
        let rate = memory_khz.zip(width).map(|(khz, bits)| 2.0 * khz * f64::from(bits) / 8.0 / 1e6);
        let ecc = self.context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_ECC_ENABLED);
        let of = |version: i32| format!("{}.{}", version / 1000, version % 1000 / 10);
        let cublas = cuda::cublas_version(device).ok();
        let said = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
        CardIdentity {
            name: self.context.name().ok(),
            capability: self
                .context
                .compute_capability()
                .ok()
                .map(|(major, minor)| format!("{major}.{minor}")),
            processors: self.number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
            l2_mib: kib(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE).map(|kib| kib / 1024.0),
            shared_kib_per_block: kib(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            ),
            shared_kib_per_processor: kib(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
            ),
            clock_mhz: khz(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE).map(|khz| khz / 1e3),
            memory_gb_per_s: rate,
            ecc: ecc.ok().map(|on| on != 0),
            pools: self.has_pools().ok(),
            link: self.link(),
            driver_cuda: driver_version().ok().map(of),
            driver: version_in(&said),
            nvcc: NVCC.to_owned(),
            ptx: cuda::loaded::ptx_version().map(str::to_owned),
            cublas: cublas.map(|v| format!("{}.{}.{}", v / 10_000, v % 10_000 / 100, v % 100)),
            math_mode: cuda::math_mode(device).ok().map(|mode| match mode {
                0 => "parts of sums may be rounded".to_owned(),
                16 => "sums are rounded once".to_owned(),
                other => format!("cuBLAS mode {other}"),
            }),
        }
    }

    /// The link to the host, as the system's files describe it.
    fn link(&self) -> Option<String> {
        use sys::CUdevice_attribute as Attribute;
        let part = |attribute| self.context.attribute(attribute).ok();
        let domain = part(Attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?;
        let bus = part(Attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?;
        let device = part(Attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?;
        let folder = format!("/sys/bus/pci/devices/{domain:04x}:{bus:02x}:{device:02x}.0");
        let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).ok();
        let (speed, width) = (read("current_link_speed")?, read("current_link_width")?);
        Some(format!("{} x{}", speed.trim(), width.trim()))
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

    /// Most bytes that the pool has held at once, in tensors or free between them; without pools what is taken now.
    pub(super) fn reserved_peak_bytes(&self) -> Result<f64> {
        if !self.has_pools()? {
            return self.taken_bytes();
        }
        Ok(self.pool_bytes(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)? as f64)
    }

    /// Bytes taken beside the pool: by CUDA, by cuBLAS, and by other programs; none without pools.
    pub(super) fn beside_pool_bytes(&self) -> Result<Option<f64>> {
        if !self.has_pools()? {
            return Ok(None);
        }
        let held =
            self.pool_bytes(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        Ok(Some(self.taken_bytes()? - held as f64))
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
