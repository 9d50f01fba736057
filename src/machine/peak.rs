//! Memory in use, free, and at its peak: of this process on a CPU, of tensors on a GPU.

use candle_core::Device;

#[cfg(feature = "cuda")]
use crate::machine::gpu;
use crate::machine::limits;
use crate::machine::proc::kibibytes;

/// Keeps freed memory with the program: activations are freed and allocated again at the same size thousands of times,
/// and fetching their pages from the kernel each time costs up to half of an element-wise operation. Does nothing
/// without glibc.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt only sets parameters of the allocator, which takes its own lock.
        #[expect(unsafe_code, reason = "a C function")]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20); // glibc refuses more
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        }
    }
}

/// Has all threads allocate from one arena. Does nothing without glibc.
pub(super) fn share_one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt only sets parameters of the allocator, which takes its own lock.
        #[expect(unsafe_code, reason = "a C function")]
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// Bytes free for new tensors on `device`; none if the system does not report it.
pub fn free_bytes(device: &Device) -> Option<f64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => gpu::Gpu::of(device).and_then(|gpu| gpu.free_bytes()).ok(),
        _ => available_memory_bytes(),
    }
}

/// Bytes that this process can still allocate: what is free on the machine, or less where a container or `ulimit -v` sets a limit; none
/// if the system does not report it.
pub fn available_memory_bytes() -> Option<f64> {
    let machine = kibibytes("/proc/meminfo", "MemAvailable:").map(|kib| kib * 1024.0);
    [machine, limits::room_bytes()].into_iter().flatten().reduce(f64::min)
}

/// Most memory held at once, by this process on a CPU, by tensors on a GPU; none if the system does not report it.
pub fn peak_memory_gib(device: &Device) -> Option<f64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => {
            let bytes = gpu::Gpu::of(device).and_then(|gpu| gpu.peak_bytes()).ok()?;
            Some(bytes / 1024f64.powi(3))
        }
        _ => kibibytes("/proc/self/status", "VmHWM:").map(|kib| kib / 1024.0 / 1024.0),
    }
}

/// Most memory that a GPU's pool has held at once, in tensors or free between them, GiB; none on a CPU.
pub fn reserved_memory_gib(device: &Device) -> Option<f64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => {
            let bytes = gpu::Gpu::of(device).and_then(|gpu| gpu.reserved_peak_bytes()).ok()?;
            Some(bytes / 1024f64.powi(3))
        }
        _ => None,
    }
}

/// Bytes of a GPU taken beside the pool of this program's tensors: by CUDA, cuBLAS and other programs; none on a CPU and without pools.
pub fn beside_pool_bytes(device: &Device) -> Option<f64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => gpu::Gpu::of(device).and_then(|gpu| gpu.beside_pool_bytes()).ok()?,
        _ => None,
    }
}

/// Measures the largest growth of memory from a moment on: of this process on a CPU, of tensors on a GPU.
pub struct PeakMeter {
    device: Device,
    before: f64,
}

impl PeakMeter {
    /// Starts now; none if the system does not report it.
    pub fn start(device: &Device) -> Option<Self> {
        let before = match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => gpu::Gpu::of(device).and_then(|gpu| gpu.reset_peak()).ok()?,
            _ => {
                give_freed_memory_back();
                // Linux: resets the peak to the current resident size.
                std::fs::write("/proc/self/clear_refs", "5").ok()?;
                1024.0 * kibibytes("/proc/self/status", "VmRSS:")?
            }
        };
        Some(Self { device: device.clone(), before })
    }

    /// Bytes held at the peak since the start, beyond those held at the start.
    pub fn grown_bytes(self) -> Option<f64> {
        Some(peak_memory_gib(&self.device)? * 1024f64.powi(3) - self.before)
    }
}

/// Returns freed memory to the system, so that new allocations show. Does nothing without glibc.
fn give_freed_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: malloc_trim takes the allocator's own lock and touches nothing that is in use.
        #[expect(unsafe_code, reason = "a C function")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
