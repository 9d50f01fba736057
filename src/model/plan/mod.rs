//! What an adapter adapts: each module with its rank and its scale. `targets` makes it of a configuration by PEFT's rules, with the regular
//! expressions of `pattern`.

mod pattern;
mod targets;

pub(super) use targets::MERGE;

use serde::{Deserialize, Serialize};

use super::shape::Shape;
use crate::config::Projection;

/// A value for each adapted projection of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerProjection<T>([Option<T>; Projection::ALL.len()]);

impl<T> Default for PerProjection<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| None))
    }
}

impl<T> PerProjection<T> {
    /// The value of `projection`, none if it is not adapted.
    pub fn get(&self, projection: Projection) -> Option<&T> {
        self.0[projection as usize].as_ref()
    }

    /// Sets the value of `projection`.
    pub fn set(&mut self, projection: Projection, value: Option<T>) {
        self.0[projection as usize] = value;
    }

    /// Adapted projections with their values, in the order of [`Projection::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Projection, &T)> {
        Projection::ALL.into_iter().filter_map(|p| Some((p, self.get(p)?)))
    }
}

/// An adapted module.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModulePlan {
    /// Rows of A and columns of B.
    pub rank: usize,
    /// Numerator of the scale.
    pub alpha: f64,
    /// Scale by `alpha / sqrt(rank)`, as rsLoRA (Kalajdzievski 2023) does.
    pub use_rslora: bool,
}

impl ModulePlan {
    /// Factor of the product of the factors: `alpha / rank`, or `alpha / sqrt(rank)` with rsLoRA.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

/// The adapted modules of every layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AdapterPlan {
    /// One for each decoder layer.
    pub layers: Vec<PerProjection<ModulePlan>>,
}

impl AdapterPlan {
    /// Nothing adapted on a model of `shape`.
    pub fn none(shape: &Shape) -> Self {
        Self { layers: vec![PerProjection::default(); shape.layers] }
    }

    /// The plan of a module; none if it is not adapted.
    pub fn get(&self, layer: usize, projection: Projection) -> Option<&ModulePlan> {
        self.layers.get(layer)?.get(projection)
    }

    /// Every adapted module, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Projection, &ModulePlan)> {
        self.layers.iter().enumerate().flat_map(|(layer, modules)| {
            modules.iter().map(move |(projection, module)| (layer, projection, module))
        })
    }

    /// Number of parameters of A and B on a model of `shape`.
    pub fn parameters(&self, shape: &Shape) -> usize {
        let of = |(_, projection, module): (usize, Projection, &ModulePlan)| {
            let (out, from) = shape.projection(projection);
            module.rank * (out + from)
        };
        self.iter().map(of).sum()
    }
}
