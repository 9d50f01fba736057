//! A matrix product as cuBLAS is given it.

use candle_core::DType;

/// `out = a b`, or `out += a b`; `out`: `[rows, columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Product {
    /// Rows of `a` and `out`.
    pub rows: usize,
    /// Columns of `b` and `out`.
    pub columns: usize,
    /// Columns of `a`, rows of `b`.
    pub inner: usize,
    /// Whether `a` is read transposed, so that the inner dimension is the tokens: the gradient of a weight.
    pub over_tokens: bool,
    /// Whether it is added to what `out` holds.
    pub adds: bool,
    /// Dtype of both factors.
    pub factors: DType,
    /// Dtype of `out`.
    pub out: DType,
}

impl Product {
    /// `y = x W^T`; `x`: `[tokens, from]`, W: `[to, from]`.
    pub fn forward(dtype: DType, tokens: usize, to: usize, from: usize) -> Self {
        let (rows, columns, inner) = (tokens, to, from);
        Self { rows, columns, inner, over_tokens: false, adds: false, factors: dtype, out: dtype }
    }

    /// `dx = dy W`; `dy`: `[tokens, to]`, W: `[to, from]`.
    pub fn backward(dtype: DType, tokens: usize, to: usize, from: usize) -> Self {
        Self::forward(dtype, tokens, from, to)
    }

    /// `dW = dy^T x`, f32; `dy`: `[tokens, to]`, `x`: `[tokens, from]`.
    pub fn weight_gradient(dtype: DType, tokens: usize, to: usize, from: usize) -> Self {
        let product = Self::forward(dtype, to, from, tokens);
        Self { over_tokens: true, out: DType::F32, ..product }
    }

    /// The same, added to what `out` holds.
    #[must_use]
    pub fn added(self) -> Self {
        Self { adds: true, ..self }
    }

    /// The same with an f32 output.
    #[must_use]
    pub fn to_f32(self) -> Self {
        Self { out: DType::F32, ..self }
    }

    /// Floating-point operations: a multiplication and an addition each.
    pub fn flop(&self) -> f64 {
        2.0 * self.rows as f64 * self.columns as f64 * self.inner as f64
    }

    /// Bytes of the output.
    pub fn out_bytes(&self) -> usize {
        self.rows * self.columns * self.out.size_in_bytes()
    }

    /// Bytes read and written: both factors and the output once, twice where it is added to.
    pub fn moved(&self) -> usize {
        let factors = self.inner * (self.rows + self.columns) * self.factors.size_in_bytes();
        factors + self.out_bytes() * if self.adds { 2 } else { 1 }
    }
}
