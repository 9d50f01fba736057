//! Angles of the rotary position embedding.
//!
//! The kinds are those of transformers, by its names and formulas. `dynamic` and `longrope` have other frequencies for long sequences.
//! There the length is that of each sequence alone, prompt and answer, so that no neighbour in a pack changes a number.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Tensor};

use crate::data::token_pair::TokenPair;
use crate::ops::rows;

/// Base and scaling of RoPE.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base: element `i` of a head turns by `position * theta^(-2i / turned)`.
    pub theta: f64,
    /// How the frequencies are stretched for longer contexts.
    pub scaling: RopeScaling,
    /// Share of each head's elements that turn, from the first, in `0..=1`.
    pub partial: f64,
}

/// Stretching of RoPE's frequencies; the names are those of `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// `default`.
    None,
    /// `linear`: every frequency divided by `factor`.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// `dynamic`: beyond `max_positions` the base grows with the length of the sequence.
    Dynamic {
        /// How fast the base grows.
        factor: f64,
        /// Longest sequence with the given base.
        max_positions: f64,
    },
    /// `yarn` (Peng et al. 2023): frequencies that turn rarely within the first context divided by `factor`, frequent ones kept, a linear
    /// blend between.
    Yarn {
        /// Divisor.
        factor: f64,
        /// Turns within the first context from which on a frequency is kept.
        beta_fast: f64,
        /// Turns up to which it is divided.
        beta_slow: f64,
        /// `original_max_position_embeddings`.
        original_max_positions: f64,
        /// Whether the ends of the blend are rounded outwards to whole elements.
        truncate: bool,
        /// Factor on cosines and sines.
        attention_factor: f64,
    },
    /// `longrope` (Ding et al. 2024): each frequency divided by its own factor, from one of two lists.
    LongRope {
        /// Divisors for sequences of at most `original_max_positions` tokens.
        short: Arc<[f64]>,
        /// Divisors for longer ones.
        long: Arc<[f64]>,
        /// `original_max_position_embeddings`.
        original_max_positions: f64,
        /// Factor on cosines and sines.
        attention_factor: f64,
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
    /// Elements of a head of `head_dim` that turn.
    pub fn turned(&self, head_dim: usize) -> usize {
        (head_dim as f64 * self.partial) as usize
    }

    /// Radians per position of each pair of elements in a sequence of `length` tokens, half of [`Rope::turned`] of them.
    pub fn frequencies(&self, head_dim: usize, length: u32) -> Vec<f64> {
        let turned = self.turned(head_dim);
        let theta = self.base(turned, length);
        let plain = (0..turned / 2).map(|i| theta.powf(-2.0 * i as f64 / turned as f64));
        plain.enumerate().map(|(i, f)| self.stretched(f, i, turned, length)).collect()
    }

    /// The base for a sequence of `length` tokens.
    fn base(&self, turned: usize, length: u32) -> f64 {
        match self.scaling {
            RopeScaling::Dynamic { factor, max_positions } if f64::from(length) > max_positions => {
                let stretch = factor * f64::from(length) / max_positions - (factor - 1.0);
                self.theta * stretch.powf(turned as f64 / (turned as f64 - 2.0))
            }
            _ => self.theta,
        }
    }

    /// `frequency` of pair `i` as the kind of RoPE has it.
    fn stretched(&self, frequency: f64, i: usize, turned: usize, length: u32) -> f64 {
        match &self.scaling {
            RopeScaling::None | RopeScaling::Dynamic { .. } => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Yarn { factor, .. } => {
                let kept = 1.0 - self.yarn_ramp(i, turned);
                frequency / factor * (1.0 - kept) + frequency * kept
            }
            RopeScaling::LongRope { short, long, original_max_positions, .. } => {
                let all = if f64::from(length) > *original_max_positions { long } else { short };
                frequency / all.get(i).copied().unwrap_or(1.0)
            }
            &RopeScaling::Llama3 {
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

    /// Share of `yarn`'s division that pair `i` takes, in `0..=1`.
    fn yarn_ramp(&self, i: usize, turned: usize) -> f64 {
        let RopeScaling::Yarn { beta_fast, beta_slow, original_max_positions, truncate, .. } =
            self.scaling
        else {
            return 0.0;
        };
        // The element, as a real number, that turns so often within the first context.
        let element = |turns: f64| {
            turned as f64 * (original_max_positions / (turns * 2.0 * std::f64::consts::PI)).ln()
                / (2.0 * self.theta.ln())
        };
        let (mut low, mut high) = (element(beta_fast), element(beta_slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(turned as f64 - 1.0));
        if low.partial_cmp(&high) == Some(Ordering::Equal) {
            high += 0.001; // as transformers does, so that nothing is divided by 0
        }
        ((i as f64 - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// Factor on cosines and sines, 1 but for `yarn` and `longrope`: the square of it stands before every score of attention.
    pub fn attention_factor(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. }
            | RopeScaling::LongRope { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    /// A number that is the same for two lengths exactly where sequences of both have the same frequencies.
    fn regime(&self, length: u32) -> u32 {
        match self.scaling {
            RopeScaling::Dynamic { max_positions, .. } => length.max(max_positions as u32),
            RopeScaling::LongRope { original_max_positions, .. } => {
                u32::from(f64::from(length) > original_max_positions)
            }
            _ => 0,
        }
    }

    /// Whether sequences of all `lengths` have the same frequencies.
    pub fn are_alike(&self, mut lengths: impl Iterator<Item = u32>) -> bool {
        let Some(first) = lengths.next().map(|length| self.regime(length)) else { return true };
        lengths.all(|length| self.regime(length) == first)
    }

    /// Marks the pairs whose answers turn by different angles, because their lengths lie on different sides of a switch: their prompt
    /// has no one value to share, so it is computed for each answer. Returns their number.
    pub fn set_apart(&self, pairs: &mut [TokenPair]) -> usize {
        let mut apart = 0;
        for pair in pairs {
            let lengths = [&pair.chosen, &pair.rejected]
                .map(|answer| (pair.prompt.len() + answer.len()) as u32);
            pair.is_apart = !pair.is_twin() && !self.are_alike(lengths.into_iter());
            apart += usize::from(pair.is_apart);
        }
        apart
    }

    /// Cosines and sines of `angles`, in radians, `[rows, half]` each, with the factor on them. Rounded to `dtype`.
    fn tensors(
        &self,
        angles: impl Iterator<Item = f64>,
        half: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let factor = self.attention_factor();
        let (sin, cos): (Vec<f64>, Vec<f64>) =
            angles.map(f64::sin_cos).map(|(sin, cos)| (sin * factor, cos * factor)).unzip();
        let table = |values: Vec<f64>| {
            let shape = (values.len() / half.max(1), half);
            Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
        };
        Ok((table(cos)?, table(sin)?))
    }
}

/// Rows of the first table.
const FEWEST_ROWS: usize = 1024;

/// Cosines and sines of all positions requested so far, computed in f64, rounded and copied to a device once.
#[derive(Debug, Clone)]
pub struct Rotary {
    rope: Rope,
    head_dim: usize,
    dtype: DType,
    device: Device,
    /// Of the shortest sequences, which is all sequences but for `dynamic` and `longrope`.
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

    /// Base and scaling.
    pub fn rope(&self) -> &Rope {
        &self.rope
    }

    /// Cosines and sines of each token's angles, `[tokens, turned / 2]` each, f32 or better.
    ///
    /// - `positions`: `[tokens]` within each token's sequence.
    /// - `lengths`: `[tokens]` tokens of that sequence.
    pub fn at(&self, positions: &[u32], lengths: &[u32]) -> Result<(Tensor, Tensor)> {
        if !self.rope.are_alike(std::iter::once(0).chain(lengths.iter().copied())) {
            return self.beyond(positions, lengths);
        }
        let (cos, sin) = self.table(positions.iter().max().map_or(0, |&last| last as usize + 1))?;
        let positions = Tensor::new(positions, &self.device)?;
        Ok((rows::forward(&cos, &positions)?, rows::forward(&sin, &positions)?))
    }

    /// [`Rotary::at`] where some sequences are beyond the switch: every row on its own.
    fn beyond(&self, positions: &[u32], lengths: &[u32]) -> Result<(Tensor, Tensor)> {
        let half = self.rope.turned(self.head_dim) / 2;
        let mut angles = Vec::with_capacity(positions.len() * half);
        let mut known: Option<(u32, Vec<f64>)> = None;
        for (&position, &length) in positions.iter().zip(lengths) {
            let regime = self.rope.regime(length);
            let frequencies = match &mut known {
                Some((of, frequencies)) if *of == regime => frequencies,
                _ => {
                    let new = self.rope.frequencies(self.head_dim, length);
                    &mut known.insert((regime, new)).1
                }
            };
            angles.extend(frequencies.iter().map(|f| f64::from(position) * f));
        }
        self.rope.tensors(angles.into_iter(), half, self.dtype, &self.device)
    }

    /// A table of `rows` rows at least.
    fn table(&self, rows: usize) -> Result<(Tensor, Tensor)> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((cos, sin)) = table.as_ref().filter(|(cos, _)| cos.dims()[0] >= rows) {
            return Ok((cos.clone(), sin.clone()));
        }
        let rows = rows.next_power_of_two().max(FEWEST_ROWS);
        let frequencies = self.rope.frequencies(self.head_dim, 0);
        let angles = (0..rows).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let new = self.rope.tensors(angles, frequencies.len(), self.dtype, &self.device)?;
        Ok(table.insert(new).clone())
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
        let rope = |scaling| Rope { theta: 500_000.0, scaling, partial: 1.0 };
        let scaled = rope(scaling).frequencies(128, 1);
        let plain = rope(RopeScaling::None).frequencies(128, 1);
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
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::None, partial: 1.0 };
        let rotary = Rotary::new(rope, 4, DType::F64, &Device::Cpu);
        let at = |positions: &[u32]| {
            let (cos, sin) = rotary.at(positions, &vec![9; positions.len()]).unwrap();
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

    /// The kinds whose frequencies depend on the length, with the switch after 8 tokens.
    fn switching() -> [Rope; 2] {
        let list = |by: f64| [by, 2.0 * by].into();
        let (short, long) = (list(1.0), list(3.0));
        let longrope = RopeScaling::LongRope {
            short,
            long,
            original_max_positions: 8.0,
            attention_factor: 1.25,
        };
        let dynamic = RopeScaling::Dynamic { factor: 2.0, max_positions: 8.0 };
        [longrope, dynamic].map(|scaling| Rope { theta: 10_000.0, scaling, partial: 1.0 })
    }

    #[test]
    fn a_sequence_has_the_angles_of_its_own_length_beside_any_other() {
        for rope in switching() {
            let rotary = Rotary::new(rope.clone(), 4, DType::F64, &Device::Cpu);
            let at = |positions: &[u32], lengths: &[u32]| {
                let (cos, sin) = rotary.at(positions, lengths).unwrap();
                (cos.to_vec2::<f64>().unwrap(), sin.to_vec2::<f64>().unwrap())
            };
            let together = at(&[3, 3, 3, 3, 3], &[8, 9, 1, 12, 9]);
            for (row, length) in [8, 9, 1, 12, 9].into_iter().enumerate() {
                let alone = at(&[3], &[length]);
                assert_eq!((&alone.0[0], &alone.1[0]), (&together.0[row], &together.1[row]));
            }
            assert_eq!(together.0[0], together.0[2]);
            assert_eq!(together.0[1], together.0[4]);
            assert_ne!(together.0[0], together.0[1]);
            let is_dynamic = matches!(rope.scaling, RopeScaling::Dynamic { .. });
            assert_eq!(together.0[1] != together.0[3], is_dynamic);
            let (cos, sin) = at(&[0, 0], &[8, 9]);
            assert!(cos.iter().flatten().all(|x| (x - rope.attention_factor()).abs() <= 1e-15));
            assert!(sin.iter().flatten().all(|x| x.abs() <= 1e-15));
        }
    }

    #[test]
    fn pairs_on_both_sides_of_a_switch_are_set_apart_and_no_others() {
        let pair = |chosen: usize, rejected: usize| TokenPair {
            prompt: vec![1; 4],
            chosen: vec![2; chosen],
            rejected: vec![3; rejected],
            ..TokenPair::default()
        };
        let twin = TokenPair { rejected: vec![2; 9], ..pair(9, 9) };
        let pairs = [pair(1, 4), pair(4, 5), pair(5, 4), pair(5, 9), pair(9, 9), twin];
        let [longrope, dynamic] = switching().map(|rope| {
            let mut pairs = pairs.clone();
            let apart = rope.set_apart(&mut pairs);
            assert_eq!(apart, pairs.iter().filter(|pair| pair.is_apart).count());
            pairs.map(|pair| pair.is_apart)
        });
        assert_eq!(longrope, [false, true, true, false, false, false]);
        assert_eq!(dynamic, [false, true, true, true, false, false]);
        let plain = Rope { scaling: RopeScaling::None, ..switching()[0].clone() };
        assert_eq!(plain.set_apart(&mut pairs.clone()), 0);
    }
}
