//! The frozen weights of a projection.

use candle_core::Tensor;

use crate::ops::weight::Weight;

/// The frozen weights of one projection, `y = W x + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Weight,
    /// `[out]`; none where the model has none.
    pub bias: Option<Tensor>,
}
