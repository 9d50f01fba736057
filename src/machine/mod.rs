//! The machine of a run: its device and dtype, its memory, the memory that a run takes, its speed.

pub mod card;
pub mod card_identity;
#[cfg(feature = "cuda")]
mod gpu;
pub mod identity;
mod limits;
pub mod memory;
pub mod moment;
pub mod peak;
mod proc;
pub mod rate;
pub mod threads;
pub mod timing;

use anyhow::Result;
use candle_core::{DType, Device};
use serde::Serialize;

use crate::bail_input;
use crate::config::Dtype;
use crate::error::InputError;
use crate::machine::peak::free_bytes;
use crate::machine::proc::kibibytes;
use crate::ops::linear::Products;
use crate::parallel::launch;

/// The device that `--device` names: `auto` (the first GPU if there is one), `cpu`, `cuda` or `cuda:N`.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" if gpus() == 0 => Ok(Device::Cpu),
        "auto" | "cuda" => open_gpu(name, 0),
        _ => open_gpu(name, numbered(name)?),
    }
}

/// The number of the GPU `cuda:N`.
fn numbered(name: &str) -> Result<usize> {
    match name.strip_prefix("cuda:").and_then(|number| number.parse().ok()) {
        Some(number) => Ok(number),
        None => bail_input!("`--device` must be `auto`, `cpu`, `cuda` or `cuda:N`, got `{name}`"),
    }
}

/// The device of this rank of `ranks`, where `--device` says `asked`: of several ranks on a machine each takes a GPU of its own.
pub fn device_of_rank(asked: &str, ranks: usize) -> Result<String> {
    if ranks == 1 {
        return Ok(asked.to_owned());
    }
    let number = launch::local().map_or(0, |(rank, _)| rank);
    match asked {
        "cuda" => Ok(format!("cuda:{number}")),
        "auto" if gpus() > 0 => Ok(format!("cuda:{number}")),
        "auto" | "cpu" => Ok("cpu".to_owned()),
        other => {
            numbered(other)?;
            let message = format!("`--device {other}` is one device, and there are {ranks} ranks");
            let hint = "use `--device cuda`: each rank takes the GPU of its number on its machine";
            Err(InputError::new(message).hint(hint).into())
        }
    }
}

/// How many GPUs there are.
#[cfg(feature = "cuda")]
pub fn gpus() -> usize {
    gpu::count()
}

#[cfg(feature = "cuda")]
fn open_gpu(_: &str, ordinal: usize) -> Result<Device> {
    gpu::open(ordinal)
}

/// How many GPUs there are for this program.
#[cfg(not(feature = "cuda"))]
pub fn gpus() -> usize {
    0
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(name: &str, _: usize) -> Result<Device> {
    let error = crate::error::InputError::new(format!(
        "`--device {name}` needs a build with CUDA, and this one computes on the CPU"
    ));
    Err(error.hint("use `--device cpu`").into())
}

/// The dtype of weights and activations on `device`. Refuses a `MVPBENCH_CPU_PRODUCT` that is none or that this processor lacks.
pub fn dtype(choice: Dtype, device: &Device) -> Result<DType> {
    match (choice, device) {
        (Dtype::F32, _) | (Dtype::Auto, Device::Cpu) => Ok(DType::F32),
        (Dtype::Bf16, Device::Cpu) => products().map(|_| DType::BF16),
        _ => Ok(DType::BF16),
    }
}

/// How this processor multiplies in bf16.
pub fn products() -> Result<Products> {
    Products::chosen().clone().map_err(|why| InputError::new(why).into())
}

/// The name of the way in which `device` multiplies, where it has several: a CPU in bf16.
pub fn products_of(device: &Device, dtype: DType) -> Option<&'static str> {
    match (device, dtype) {
        (Device::Cpu, DType::BF16) => products().map(Products::name).ok(),
        _ => None,
    }
}

/// The number type and the place of a computation, for messages: `bf16 by widened products on cpu, 2 threads`.
pub fn computation(device: &Device, dtype: DType) -> String {
    let products = products_of(device, dtype);
    let how = products.map(|name| format!(" by {name} products")).unwrap_or_default();
    format!("{}{how} on {}", dtype.as_str(), describe(device))
}

/// A device as its system describes it.
#[derive(Debug, Clone, Serialize)]
pub struct Details {
    /// Its name.
    pub device: String,
    /// Driver of a GPU; none on a CPU.
    pub driver: Option<String>,
    /// All its memory; none if the system does not report it.
    pub memory_gib: Option<f64>,
    /// Memory free for new tensors; none if the system does not report it.
    pub free_memory_gib: Option<f64>,
}

/// Describes `device`, its driver and its memory.
pub fn details(device: &Device) -> Details {
    let gib = |bytes: f64| bytes / 1024f64.powi(3);
    let (driver, memory) = match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => match gpu::Gpu::of(device) {
            Ok(gpu) => (gpu.driver().ok(), gpu.memory_bytes().ok()),
            Err(_) => (None, None),
        },
        _ => (None, kibibytes("/proc/meminfo", "MemTotal:").map(|kib| kib * 1024.0)),
    };
    Details {
        device: describe(device),
        driver,
        memory_gib: memory.map(gib),
        free_memory_gib: free_bytes(device).map(gib),
    }
}

/// All of `device` that the bits of a result may depend on, for keys of caches.
pub fn numerics(device: &Device, dtype: DType) -> Result<String> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => gpu::Gpu::of(device)?.numerics(device),
        Device::Cpu if dtype == DType::BF16 => Ok(format!("Cpu {}", products()?.name())),
        other => Ok(format!("{:?}", other.location())),
    }
}

/// The name of `device`, for messages.
pub fn describe(device: &Device) -> String {
    match device {
        Device::Cpu => format!("cpu, {} threads", rayon::current_num_threads()),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => {
            gpu::Gpu::of(device).map_or_else(|e| e.to_string(), |gpu| gpu.describe())
        }
        other => format!("{:?}", other.location()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_is_refused_by_a_cpu_build_with_the_remedy() {
        let error = device("cuda:1").unwrap_err();
        use crate::error::InputError;
        assert_eq!(InputError::of(&error).and_then(InputError::remedy), Some("use `--device cpu`"));
        assert!(matches!(device("auto"), Ok(Device::Cpu)));
    }

    #[test]
    fn what_is_no_device_is_refused_by_name_and_a_cpu_computes_in_both_dtypes() {
        assert!(device("tpu").unwrap_err().to_string().contains("`tpu`"));
        assert_eq!(dtype(Dtype::Auto, &Device::Cpu).unwrap(), DType::F32);
        assert_eq!(dtype(Dtype::Bf16, &Device::Cpu).unwrap(), DType::BF16);
        assert!(matches!(device("cpu"), Ok(Device::Cpu)));
    }
}
