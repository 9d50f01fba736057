//! Angles of the rotary position embedding.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Tensor};

use crate::ops::rows;

/// Base and scaling of RoPE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Base: element `i` of a head turns by `position * theta^(-2i / head_dim)`.
    pub theta: f64,
    /// How the frequencies are stretched for longer contexts.
    pub scaling: RopeScaling,
}

/// Stretching of RoPE's frequencies; the names are those of `config.json`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// `default`.
    None,
    /// `linear`: every frequency divided by `factor`.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// `llama3`: long wavelengths divided by `factor`, short ones kept, a linear blend between.
    Llama3 {
        /// Divisor of the long wavelengths.
        factor: f64,
        /// Wavelengths above `original_max_positions / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_positions / high_freq_factor` are short.
        high_freq_factor: f64,
        /// `original_max_position_embeddings`.
        original_max_positions: f64,
    },
}

impl Rope {
    /// Radians per position of each pair of elements, `head_dim / 2` of them.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        (0..head_dim / 2)
            .map(|i| self.stretched(self.theta.powf(-2.0 * i as f64 / head_dim as f64)))
            .collect()
    }

    fn stretched(&self, frequency: f64) -> f64 {
        match self.scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_positions,
            } => {
                let turns = original_max_positions * frequency / (2.0 * std::f64::consts::PI);
                let blend = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor))
                    .clamp(0.0, 1.0);
                (1.0 - blend) * frequency / factor + blend * frequency
            }
        }
    }

    /// Cosines and sines of the positions `0..rows`, `[rows, head_dim / 2]` each. Angles are computed in f64, then rounded to `dtype`.
    fn table(
        &self,
        rows: usize,
        head_dim: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let frequencies = self.frequencies(head_dim);
        let angles = (0..rows).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let (sin, cos): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
        let table = |values: Vec<f64>| {
            let shape = (rows, head_dim / 2);
            Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
        };
        Ok((table(cos)?, table(sin)?))
    }
}

/// Rows of the first table.
const FEWEST_ROWS: usize = 1024;

/// Cosines and sines of all positions requested so far, computed and copied to a device once.
#[derive(Debug, Clone)]
pub struct Rotary {
    rope: Rope,
    head_dim: usize,
    dtype: DType,
    device: Device,
    table: Arc<Mutex<Option<(Tensor, Tensor)>>>,
}

impl Rotary {
    /// For heads of `head_dim` elements of `dtype` on `device`.
    pub fn new(rope: Rope, head_dim: usize, dtype: DType, device: &Device) -> Self {
        let dtype = if dtype == DType::BF16 { DType::F32 } else { dtype };
        Self { rope, head_dim, dtype, device: device.clone(), table: Arc::default() }
    }

    /// Device of the table.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Cosines and sines of each token's angles, `[tokens, head_dim / 2]` each, f32 or better.
    pub fn at(&self, positions: &[u32]) -> Result<(Tensor, Tensor)> {
        let (cos, sin) = self.table(positions.iter().max().map_or(0, |&last| last as usize + 1))?;
        let positions = Tensor::new(positions, &self.device)?;
        Ok((rows::forward(&cos, &positions)?, rows::forward(&sin, &positions)?))
    }

    /// A table of `rows` rows at least.
    fn table(&self, rows: usize) -> Result<(Tensor, Tensor)> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((cos, sin)) = table.as_ref().filter(|(cos, _)| cos.dims()[0] >= rows) {
            return Ok((cos.clone(), sin.clone()));
        }
        let rows = rows.next_power_of_two().max(FEWEST_ROWS);
        Ok(table.insert(self.rope.table(rows, self.head_dim, self.dtype, &self.device)?).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frequencies of transformers 5 for Llama 3.1's parameters with head_dim 8, from its published formula by hand.
    #[test]
    fn llama3_keeps_short_waves_and_divides_long_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192.0,
        };
        let scaled = Rope { theta: 500_000.0, scaling }.frequencies(128);
        let plain = Rope { theta: 500_000.0, scaling: RopeScaling::None }.frequencies(128);
        assert!((scaled[0] - plain[0]).abs() <= 1e-15);
        assert!((scaled[63] - plain[63] / 8.0).abs() <= 1e-18);
        for (scaled, plain) in scaled.iter().zip(&plain) {
            let wavelength = 2.0 * std::f64::consts::PI / plain;
            let smooth = (8192.0 / wavelength - 1.0) / 3.0;
            let want = if wavelength > 8192.0 {
                plain / 8.0
            } else if wavelength < 2048.0 {
                *plain
            } else {
                (1.0 - smooth) * plain / 8.0 + smooth * plain
            };
            assert!((scaled - want).abs() <= 1e-15 * plain);
        }
    }

    #[test]
    fn equal_positions_have_equal_angles_wherever_they_stand_and_whatever_came_before() {
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::None };
        let rotary = Rotary::new(rope, 4, DType::F64, &Device::Cpu);
        let at = |positions: &[u32]| {
            let (cos, sin) = rotary.at(positions).unwrap();
            (cos.to_vec2::<f64>().unwrap(), sin.to_vec2::<f64>().unwrap())
        };
        let (cos, sin) = at(&[0, 5, 2, 5]);
        assert_eq!(cos[1], cos[3]);
        assert!(
            (sin[1][1] - (5.0 / 100f64).sin()).abs() <= 1e-15 && (cos[0][0] - 1.0).abs() <= 1e-15
        );
        let (far, _) = at(&[5, 3000]); // beyond the first table
        assert_eq!(far[0], cos[1]);
        assert!((far[1][1] - 30f64.cos()).abs() <= 1e-12);
        assert_eq!(at(&[5]).0[0], cos[1]);
    }
}
