//! Angles of the rotary position embedding.

use candle_core::{DType, Device, Result, Tensor};

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

    /// Cosines and sines of each token's angles, `[tokens, head_dim / 2]` each. Angles are computed in f64, then rounded to `dtype`.
    pub fn angles(
        &self,
        positions: &[u32],
        head_dim: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let frequencies = self.frequencies(head_dim);
        let rows = positions.iter().max().map_or(0, |&last| last as usize + 1);
        let shape = (rows, head_dim / 2);
        let angles = (0..rows).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let (sin, cos): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
        let positions = Tensor::new(positions, &Device::Cpu)?;
        let table = |values: Vec<f64>| {
            Tensor::from_vec(values, shape, &Device::Cpu)?
                .to_dtype(dtype)?
                .index_select(&positions, 0)?
                .to_device(device)
        };
        Ok((table(cos)?, table(sin)?))
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
    fn equal_positions_have_equal_angles_wherever_they_stand() {
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::None };
        let (cos, sin) = rope.angles(&[0, 5, 2, 5], 4, DType::F64, &Device::Cpu).unwrap();
        let (cos, sin) = (cos.to_vec2::<f64>().unwrap(), sin.to_vec2::<f64>().unwrap());
        assert_eq!(cos[1], cos[3]);
        assert!(
            (sin[1][1] - (5.0 / 100f64).sin()).abs() <= 1e-15 && (cos[0][0] - 1.0).abs() <= 1e-15
        );
    }
}
