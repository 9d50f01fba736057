//! The rate of a device's matmul, and the operations that training takes.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use crate::machine::memory::MICRO_BATCH_TOKENS;
use crate::model::shape::Shape;
use crate::ops::linear;
use crate::ops::philox::Philox;

/// Largest hidden size of the timed matmul: a plan may be for a model that does not fit into this machine's memory.
const LARGEST_HIDDEN: usize = 8192;

/// Largest intermediate size of the timed matmul.
const LARGEST_INTERMEDIATE: usize = 32_768;

/// Rate of a plain matmul at the model's feed-forward shape, in TFLOP/s: `mfu` is a share of it.
pub fn matmul_tflops(shape: &Shape, dtype: DType, device: &Device) -> Result<f64> {
    let rows = if device.is_cpu() { 1024 } else { MICRO_BATCH_TOKENS };
    let (hidden, intermediate) =
        (shape.hidden.min(LARGEST_HIDDEN), shape.intermediate.min(LARGEST_INTERMEDIATE));
    let x = uneven(rows, hidden, dtype, device)?;
    let weight = uneven(intermediate, hidden, dtype, device)?;
    let flop = 2.0 * (rows * hidden * intermediate) as f64;
    let mut fastest_s = f64::INFINITY;
    let begun = Instant::now();
    while fastest_s.is_infinite() || begun.elapsed().as_millis() < 50 {
        let each = Instant::now();
        linear::forward(&x, &weight)?;
        device.synchronize()?;
        fastest_s = fastest_s.min(each.elapsed().as_secs_f64());
    }
    Ok(flop / fastest_s / 1e12)
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
