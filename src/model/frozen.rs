//! The frozen weights of a projection.

use candle_core::Tensor;

/// The frozen weights of one projection, `y = W x + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`; none where the model has none.
    pub bias: Option<Tensor>,
}
