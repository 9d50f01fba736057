//! The rate of a device's matmul, and the operations that training takes.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use crate::machine::memory::DeviceKind;
use crate::machine::timing;
use crate::model::shape::Shape;
use crate::ops::linear;
use crate::ops::philox::Philox;

/// Largest hidden size of the timed matmul: a plan may be for a model that does not fit into this machine's memory.
const LARGEST_HIDDEN: usize = 8192;

/// Largest intermediate size of the timed matmul.
const LARGEST_INTERMEDIATE: usize = 32_768;

/// Shortest time for which the matmul is timed, seconds.
const TIMED_S: f64 = 0.05;

/// Most products between two marks of a GPU's queue while a sustained rate is measured.
const BETWEEN_MARKS: usize = 20;

/// Longest time between them, seconds.
const BETWEEN_MARKS_S: f64 = 0.02;

/// Rates of a plain matmul, TFLOP/s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatmulRate {
    /// Of the fastest runs.
    pub best: f64,
    /// The median.
    pub median: f64,
    /// After clocks and temperature have settled; none where it was not measured.
    pub sustained: Option<f64>,
}

/// Best rate of a plain matmul at the model's feed-forward shape, in TFLOP/s: `mfu` is a share of it.
pub fn matmul_tflops(shape: &Shape, dtype: DType, device: &Device) -> Result<f64> {
    Ok(matmul_rate(shape, dtype, device, None)?.best)
}

/// Rates of a plain matmul at the model's feed-forward shape; `sustained_s`: for how long, for a sustained rate.
pub fn matmul_rate(
    shape: &Shape,
    dtype: DType,
    device: &Device,
    sustained_s: Option<f64>,
) -> Result<MatmulRate> {
    let rows = DeviceKind::of(device).micro_batch_tokens();
    let (hidden, intermediate) =
        (shape.hidden.min(LARGEST_HIDDEN), shape.intermediate.min(LARGEST_INTERMEDIATE));
    let x = uneven(rows, hidden, dtype, device)?;
    let weight = uneven(intermediate, hidden, dtype, device)?;
    let bytes = (rows * hidden + intermediate * hidden) * dtype.size_in_bytes();
    let mut sets = vec![(x, weight)];
    for _ in 1..timing::sets(device, bytes) {
        sets.push((sets[0].0.copy()?, sets[0].1.copy()?));
    }
    let run = |run: usize| -> Result<Tensor> {
        let (x, weight) = &sets[run % sets.len()];
        Ok(linear::forward(x, weight)?)
    };
    let flop = 2.0 * (rows * hidden * intermediate) as f64;
    let tflops = |seconds: f64| flop / seconds / 1e12;
    let timed = timing::time(device, TIMED_S, sets.len(), &run)?;
    let batch = ((BETWEEN_MARKS_S / timed.median_s) as usize).clamp(1, BETWEEN_MARKS);
    let sustained = sustained_s
        .map(|seconds| timing::sustained(device, seconds, [sets.len(), batch], &run))
        .transpose()?;
    Ok(MatmulRate {
        best: tflops(timed.best_s),
        median: tflops(timed.median_s),
        sustained: sustained.map(tflops),
    })
}

/// Numbers in ±1, no two alike, for timing: on equal numbers a GPU takes less power and runs faster.
fn uneven(rows: usize, columns: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let random = |n: usize, stream| -> Result<Tensor> {
        let philox = Philox::new(0, stream);
        let values = (0..n as u64).map(|i| (2.0 * philox.uniform(i) - 1.0) as f32);
        Ok(Tensor::from_iter(values, device)?.to_dtype(dtype)?)
    };
    let (column, row) = (random(rows, 0)?.unsqueeze(1)?, random(columns, 1)?.unsqueeze(0)?);
    Ok(column.broadcast_mul(&row)?)
}

/// FLOP of training on `tokens` computed tokens, `scored` of them scored: `4 N` a token for the layers (2 N forward, 2
/// N back, no weight gradient), the same for the output layer at scored tokens alone.
pub fn training_flop(shape: &Shape, tokens: usize, scored: usize) -> f64 {
    let head = (shape.vocab * shape.hidden) as f64;
    let embeddings = if shape.tied { 1.0 } else { 2.0 } * head;
    let layers = shape.parameters() as f64 - embeddings;
    4.0 * (layers * tokens as f64 + head * scored as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_timed_has_no_two_numbers_alike() {
        let all = uneven(5, 7, DType::F32, &Device::Cpu).unwrap();
        let mut all = all.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        all.sort_by(f32::total_cmp);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
        assert!(all.iter().all(|x| x.abs() <= 1.0 && x.abs() > 0.0));
    }
}
