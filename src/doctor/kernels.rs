//! The kernels as the driver loaded them: how long that took, registers, shared memory, blocks of a processor.

use anyhow::Result;
use candle_core::Device;
use serde::Serialize;

use crate::doctor::run::told;

/// The kernels of a GPU.
#[derive(Debug, Default, Serialize)]
pub struct Kernels {
    /// Each file of kernels.
    pub modules: Vec<Module>,
    /// Each kernel that was launched.
    pub kernels: Vec<Kernel>,
    /// In the driver's words why they could not be described; none if they were.
    pub error: Option<String>,
}

/// The kernels of one file.
#[derive(Debug, Serialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// How long loading it took, ms. A driver that has compiled it before on this machine has kept what it made.
    pub load_ms: f64,
}

/// A kernel as it is launched.
#[derive(Debug, Serialize)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Threads of a block.
    pub threads: u32,
    /// Registers of a thread.
    pub registers: i32,
    /// Bytes of a thread that do not fit in registers.
    pub local_bytes: i32,
    /// Bytes of shared memory of a block.
    pub shared_bytes: usize,
    /// Blocks that run on a processor at once.
    pub blocks: u32,
}

/// Loads every file of kernels of a GPU, and counts launches from here on; none on a CPU.
pub(super) fn begin(device: &Device) -> Option<Kernels> {
    if device.is_cpu() {
        return None;
    }
    let mut kernels = Kernels::default();
    match modules(device) {
        Ok(modules) => kernels.modules = modules,
        Err(error) => kernels.error = Some(told(&error)),
    }
    Some(kernels)
}

impl Kernels {
    /// Adds the kernels that were launched since [`begin`].
    pub(super) fn end(&mut self, device: &Device) {
        match launched(device) {
            Ok(kernels) => self.kernels = kernels,
            Err(error) => self.error = Some(told(&error)),
        }
    }

    /// A line for each module and each kernel.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        if let Some(error) = &self.error {
            text += &format!("FAIL kernels: {error}\n");
        }
        let loads: Vec<String> = (self.modules.iter())
            .map(|module| format!("{} {:.1}", module.name, module.load_ms))
            .collect();
        for (at, part) in loads.chunks(5).enumerate() {
            let head = if at == 0 { "loading, ms:" } else { "" };
            text += &format!("{head:<13}{}\n", part.join(", "));
        }
        for Kernel { name, threads, registers, local_bytes, shared_bytes, blocks } in &self.kernels
        {
            let spilled = match local_bytes {
                0 => String::new(),
                bytes => format!(", {bytes} B local"),
            };
            text += &format!(
                "{name:<36} {blocks:>2} x {threads:>4} threads, {registers:>3} regs, {shared_bytes:>5} B{spilled}\n"
            );
        }
        text
    }
}

#[cfg(feature = "cuda")]
fn modules(device: &Device) -> Result<Vec<Module>> {
    use crate::ops::cuda::loaded;
    loaded::count();
    let load =
        |(name, seconds): (&str, f64)| Module { name: name.to_owned(), load_ms: 1e3 * seconds };
    Ok(loaded::load_all(device)?.into_iter().map(load).collect())
}

#[cfg(feature = "cuda")]
fn launched(device: &Device) -> Result<Vec<Kernel>> {
    use crate::ops::cuda::loaded;
    let mut kernels = Vec::new();
    for (name, launched) in loaded::counted() {
        let found = loaded::of_kernel(device, &name, &launched)?;
        kernels.push(Kernel {
            name,
            threads: launched.threads,
            registers: found.registers,
            local_bytes: found.local,
            shared_bytes: launched.shared + usize::try_from(found.shared)?,
            blocks: found.blocks,
        });
    }
    Ok(kernels)
}

/// Launches of this program's kernels since [`begin`]; none on a CPU.
#[cfg(feature = "cuda")]
pub(super) fn launches() -> Option<usize> {
    let counted = crate::ops::cuda::loaded::counted();
    (!counted.is_empty()).then(|| counted.values().map(|launched| launched.launches).sum())
}

#[cfg(not(feature = "cuda"))]
fn modules(_: &Device) -> Result<Vec<Module>> {
    Ok(Vec::new())
}

#[cfg(not(feature = "cuda"))]
fn launched(_: &Device) -> Result<Vec<Kernel>> {
    Ok(Vec::new())
}

/// Launches of this program's kernels: a build without CUDA has none.
#[cfg(not(feature = "cuda"))]
pub(super) fn launches() -> Option<usize> {
    None
}
