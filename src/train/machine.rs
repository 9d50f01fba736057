//! The machine a run is on: its device, its memory, its matmul rate, and what the engine makes of them.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde::Serialize;

#[cfg(feature = "cuda")]
use super::gpu;
use super::memory;
use super::step::Engine;
use crate::bail_input;
use crate::config::{Activations, Dtype, LoraSection, TrainSection};
use crate::data::tokenize::TokenPair;
use crate::error::InputError;
use crate::model::config::LlamaConfig;
use crate::model::generation::GenerationSettings;
use crate::model::llama::Keep;
use crate::ops::philox::Philox;

/// Tokens computed at once unless the user says otherwise: enough that packing the weights for each product costs little beside
/// the product on a CPU, and for the full matmul rate of a GPU. It is a constant, and not by the free memory, so that a run gives the same bits when it goes on.
const MICRO_BATCH_TOKENS: usize = 4096;

/// Share of the free memory that activations may take before they are recomputed, and the keys and values of answers.
const ACTIVATION_SHARE: f64 = 0.7;

/// The largest hidden and intermediate size that a matmul is timed at; a plan may be of a model that no memory holds.
const LARGEST_MEASURED: (usize, usize) = (8192, 32_768);

/// Lets freed memory stay with the program: activations are freed and wanted again at the same size thousands of times, and
/// fetching their pages from the kernel each time costs up to half of an element-wise operation. Elsewhere than on glibc, nothing.
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

/// The device that `--device` names: `auto` (the first GPU if there is one), `cpu`, `cuda` or `cuda:N`.
pub fn device(name: &str) -> Result<Device> {
    let ordinal = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" if gpus() == 0 => return Ok(Device::Cpu),
        "auto" | "cuda" => Some(0),
        _ => name.strip_prefix("cuda:").and_then(|n| n.parse::<usize>().ok()),
    };
    match ordinal {
        Some(ordinal) => open_gpu(name, ordinal),
        None => bail_input!("`--device` must be `auto`, `cpu`, `cuda` or `cuda:N`, got `{name}`"),
    }
}

#[cfg(feature = "cuda")]
fn gpus() -> usize {
    gpu::count()
}

#[cfg(feature = "cuda")]
fn open_gpu(_: &str, ordinal: usize) -> Result<Device> {
    gpu::open(ordinal)
}

#[cfg(not(feature = "cuda"))]
fn gpus() -> usize {
    0
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(name: &str, _: usize) -> Result<Device> {
    let error = crate::error::InputError::new(format!(
        "`--device {name}` needs a build with CUDA, and this one computes on the CPU"
    ));
    Err(error.hint("use `--device cpu`").into())
}

/// The dtype of weights and activations on `device`.
pub fn dtype(choice: Dtype, device: &Device) -> Result<DType> {
    match (choice, device) {
        (Dtype::F32, _) | (Dtype::Auto, Device::Cpu) => Ok(DType::F32),
        (Dtype::Bf16, Device::Cpu) => {
            let error = InputError::new(
                "`model.dtype = \"bf16\"` is not computed on a CPU, where it would be slower than f32",
            );
            Err(error.hint("set `model.dtype = \"auto\"`").into())
        }
        _ => Ok(DType::BF16),
    }
}

/// A device by what its system says of it.
#[derive(Debug, Clone, Serialize)]
pub struct Details {
    /// The device in words.
    pub device: String,
    /// What drives it, where that is something of its own.
    pub driver: Option<String>,
    /// All its memory, where the system says.
    pub memory_gib: Option<f64>,
    /// Memory that a new tensor can have, where the system says.
    pub free_memory_gib: Option<f64>,
}

/// What there is to know of `device`.
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

/// The device in words.
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

/// Tokens computed at once and what is kept of them, for pairs of these lengths beside weights that are in memory
/// already; `free_bytes`: what activations may take a share of, where that is known.
pub fn engine(
    train: &TrainSection,
    lora: &LoraSection,
    config: &LlamaConfig,
    dtype: DType,
    pairs: &[TokenPair],
    free_bytes: Option<f64>,
) -> Engine {
    let longest = pairs.iter().map(TokenPair::tokens).max().unwrap_or(1);
    let micro_batch_tokens =
        if train.micro_batch_tokens > 0 { train.micro_batch_tokens } else { MICRO_BATCH_TOKENS };
    let keep = match train.activations {
        Activations::Keep => Keep::Everything,
        Activations::Recompute => Keep::Inputs,
        Activations::Auto => {
            let needed = memory::activation_bytes(config, lora, dtype)
                * micro_batch_tokens.max(longest) as f64;
            let fits = free_bytes.is_none_or(|free| needed <= ACTIVATION_SHARE * free);
            if fits { Keep::Everything } else { Keep::Inputs }
        }
    };
    Engine { micro_batch_tokens, keep }
}

/// Answers of up to `tokens` tokens, prompts included, that are under way at once on `device`: 16 on a CPU, 64 on a GPU, or as many as
/// have room for their keys and values in a share of the free memory.
///
/// A step of them reads every weight once, however many they are, and on a GPU that is what takes its time: by the bytes read, 64 take
/// twice as long as 16. `--dry-run` plans 16 on either.
pub fn answers_at_once(
    config: &LlamaConfig,
    dtype: DType,
    device: &Device,
    tokens: usize,
) -> usize {
    let most = if device.is_cpu() { GenerationSettings::default().batch } else { 64 };
    with_room(memory::key_value_bytes(config, dtype, tokens), free_bytes(device), most)
}

/// How many things of `each` bytes have room, `most` at most and one at least.
fn with_room(each: f64, free_bytes: Option<f64>, most: usize) -> usize {
    free_bytes.map_or(most, |free| (ACTIVATION_SHARE * free / each) as usize).clamp(1, most)
}

/// Memory that a new tensor on `device` can have, where the system says.
pub fn free_bytes(device: &Device) -> Option<f64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => gpu::Gpu::of(device).and_then(|gpu| gpu.free_bytes()).ok(),
        _ => available_memory_bytes(),
    }
}

/// Memory of this machine that a new allocation can have, where the system says.
pub fn available_memory_bytes() -> Option<f64> {
    kibibytes("/proc/meminfo", "MemAvailable:").map(|kib| kib * 1024.0)
}

/// A number of bytes in the unit that suits it: `12.6 GiB`.
pub fn bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = ((bytes.max(1.0).log2() / 10.0) as usize).min(units.len() - 1);
    let digits = if power == 0 { 0 } else { 1 };
    format!("{:.digits$} {}", bytes / 1024f64.powi(power as i32), units[power])
}

/// The most memory held at once, where the system says: on the CPU by this process, on a GPU by its tensors.
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

/// The most memory that is taken from a moment on, beyond what was held then: on the CPU by this process, on a GPU by its tensors.
pub struct PeakMeter {
    device: Device,
    before: f64,
}

impl PeakMeter {
    /// From now on; none where the system does not say.
    pub fn start(device: &Device) -> Option<Self> {
        let before = match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => gpu::Gpu::of(device).and_then(|gpu| gpu.reset_peak()).ok()?,
            _ => {
                give_freed_memory_back();
                // Linux: the largest resident size so far becomes that of now.
                std::fs::write("/proc/self/clear_refs", "5").ok()?;
                1024.0 * kibibytes("/proc/self/status", "VmRSS:")?
            }
        };
        Some(Self { device: device.clone(), before })
    }

    /// By how much more was held at the most since then.
    pub fn grown_bytes(self) -> Option<f64> {
        Some(peak_memory_gib(&self.device)? * 1024f64.powi(3) - self.before)
    }
}

/// Freed memory goes back to the system, so that what is taken next shows. Elsewhere than on glibc, nothing.
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

fn kibibytes(file: &str, field: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok())
}

/// The rate of a plain matmul at the model's own feed-forward shape, TFLOP/s: the ceiling that `mfu` is a share of.
pub fn matmul_tflops(config: &LlamaConfig, dtype: DType, device: &Device) -> Result<f64> {
    let rows = if device.is_cpu() { 1024 } else { MICRO_BATCH_TOKENS };
    let (hidden, intermediate) =
        (config.hidden.min(LARGEST_MEASURED.0), config.intermediate.min(LARGEST_MEASURED.1));
    let x = uneven((rows, hidden), dtype, device)?;
    let weight = uneven((intermediate, hidden), dtype, device)?;
    let flop = 2.0 * (rows * hidden * intermediate) as f64;
    let mut fastest_s = f64::INFINITY;
    let begun = Instant::now();
    while fastest_s.is_infinite() || begun.elapsed().as_millis() < 50 {
        let each = Instant::now();
        x.matmul(&weight.t()?)?;
        device.synchronize()?;
        fastest_s = fastest_s.min(each.elapsed().as_secs_f64());
    }
    Ok(flop / fastest_s / 1e12)
}

/// Numbers in ±1 that differ from place to place, for what is timed: a GPU moves and multiplies equal ones with less power, so faster.
fn uneven(shape: (usize, usize), dtype: DType, device: &Device) -> Result<Tensor> {
    let random = |n: usize, stream| -> Result<Tensor> {
        let philox = Philox::new(0, stream);
        let values = (0..n as u64).map(|i| (2.0 * philox.uniform(i) - 1.0) as f32);
        Ok(Tensor::from_iter(values, device)?.to_dtype(dtype)?)
    };
    let (column, row) = (random(shape.0, 0)?.unsqueeze(1)?, random(shape.1, 1)?.unsqueeze(0)?);
    Ok(column.broadcast_mul(&row)?)
}

/// FLOP of training on `tokens` computed tokens of which `scored` are scored: `4 N` a token for the layers (2 N forward, 2 N
/// back, no weight gradient), the same for the output layer at scored tokens alone.
pub fn training_flop(config: &LlamaConfig, tokens: usize, scored: usize) -> f64 {
    let head = (config.vocab * config.hidden) as f64;
    let embeddings = if config.tied { 1.0 } else { 2.0 } * head;
    let layers = config.parameters() as f64 - embeddings;
    4.0 * (layers * tokens as f64 + head * scored as f64)
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
    fn what_is_timed_has_no_two_numbers_alike() {
        let all = uneven((5, 7), DType::F32, &Device::Cpu).unwrap();
        let mut all = all.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        all.sort_by(f32::total_cmp);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
        assert!(all.iter().all(|x| x.abs() <= 1.0 && x.abs() > 0.0));
    }

    #[test]
    fn as_many_answers_are_under_way_as_have_room_and_at_least_one() {
        let each = 1e6;
        assert_eq!(with_room(each, None, 16), 16);
        assert_eq!(with_room(each, Some(each), 16), 1);
        assert_eq!(with_room(each, Some(10.0 * each), 16), 7);
        assert_eq!(with_room(each, Some(1000.0 * each), 16), 16);
    }

    #[test]
    fn what_is_no_device_or_not_computed_on_one_is_refused_by_name() {
        assert!(device("tpu").unwrap_err().to_string().contains("`tpu`"));
        assert!(dtype(Dtype::Bf16, &Device::Cpu).is_err());
        assert!(matches!(device("cpu"), Ok(Device::Cpu)));
    }
}
