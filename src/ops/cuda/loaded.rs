//! Which kernels were launched, with how many threads and how much memory, and what the driver made of them when it loaded them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute as Attribute;
use candle_core::{Device, Result};

use super::{Module, module, of};

/// The kernels of each file of `src/ops`.
const MODULES: [Module; 12] = [
    module!("adamw"),
    module!("attention"),
    module!("bias"),
    module!("decode"),
    module!("dropout"),
    module!("kl"),
    module!("logps"),
    module!("most_probable"),
    module!("rms_norm"),
    module!("rope"),
    module!("rows"),
    module!("swiglu"),
];

/// Launches of one kernel.
#[derive(Clone)]
pub(crate) struct Launched {
    module: Module,
    /// Threads of a block.
    pub(crate) threads: u32,
    /// The most bytes of dynamic shared memory.
    pub(crate) shared: usize,
    /// How often it was launched.
    pub(crate) launches: usize,
}

/// Launches by kernel; none while nobody asks.
static SEEN: Mutex<Option<BTreeMap<String, Launched>>> = Mutex::new(None);

fn seen() -> std::sync::MutexGuard<'static, Option<BTreeMap<String, Launched>>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes a launch, if somebody asks.
pub(super) fn note(module: &Module, kernel: &str, threads: u32, shared: usize) {
    if let Some(seen) = seen().as_mut() {
        let first = Launched { module: *module, threads, shared: 0, launches: 0 };
        let launched = seen.entry(kernel.to_owned()).or_insert(first);
        launched.threads = launched.threads.max(threads);
        launched.shared = launched.shared.max(shared);
        launched.launches += 1;
    }
}

/// Counts launches from here on.
pub(crate) fn count() {
    *seen() = Some(BTreeMap::new());
}

/// The launches since [`count`].
pub(crate) fn counted() -> BTreeMap<String, Launched> {
    seen().clone().unwrap_or_default()
}

/// What the driver made of a kernel.
pub(crate) struct Loaded {
    /// Registers of a thread.
    pub(crate) registers: i32,
    /// Bytes of a thread that do not fit in registers.
    pub(crate) local: i32,
    /// Bytes of static shared memory of a block.
    pub(crate) shared: i32,
    /// Blocks that run on a processor at once.
    pub(crate) blocks: u32,
}

/// What the driver made of `kernel`, which was launched.
pub(crate) fn of_kernel(device: &Device, kernel: &str, launched: &Launched) -> Result<Loaded> {
    let function = launched.module.kernel(kernel, of(device)?)?;
    let (threads, shared) = (launched.threads, launched.shared);
    Ok(Loaded {
        registers: function.get_attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS).w()?,
        local: function.get_attribute(Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES).w()?,
        shared: function.get_attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES).w()?,
        blocks: function
            .occupancy_max_active_blocks_per_multiprocessor(threads, shared, None)
            .w()?,
    })
}

/// Loads each file's kernels anew; returns the seconds that it took, in which the driver compiles what is PTX and not kept from before.
pub(crate) fn load_all(device: &Device) -> Result<Vec<(&'static str, f64)>> {
    let context = of(device)?.cuda_stream().context().clone();
    let load = |module: &Module| {
        let begun = Instant::now();
        let loaded = module.load(&context)?;
        for kernel in kernels(module.ptx) {
            loaded.load_function(kernel).w()?;
        }
        Ok((module.name, begun.elapsed().as_secs_f64()))
    };
    MODULES.iter().map(load).collect()
}

/// The names of the kernels in `ptx`.
fn kernels(ptx: &str) -> impl Iterator<Item = &str> {
    ptx.split(".entry ").skip(1).filter_map(|rest| Some(rest.split_once('(')?.0.trim()))
}

/// The version that the kernels' PTX is of, as `9.0`.
pub(crate) fn ptx_version() -> Option<&'static str> {
    let line = MODULES[0].ptx.lines().find(|line| line.starts_with(".version "))?;
    line.split_whitespace().nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_kernels_is_loaded_and_has_some() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| {
                Some(entry.unwrap().file_name().to_str()?.strip_suffix(".cu")?.to_owned())
            })
            .collect();
        files.sort();
        assert_eq!(MODULES.iter().map(|module| module.name).collect::<Vec<_>>(), files);
        for module in &MODULES {
            assert!(kernels(module.ptx).count() > 0, "{}", module.name);
            assert!(kernels(module.ptx).all(|name| !name.contains(char::is_whitespace)));
        }
        assert!(ptx_version().unwrap().contains('.'));
    }
}
