//! Operations as pairs of functions, `forward` and `backward`, over plain candle tensors.
//!
//! Tensors in, tensors out; nothing is recorded. A file is one operation: its formula, its shapes, its gradient, the CPU body and the
//! launch of its kernels. Five files serve all of them: [`mod@reference`] composes each operation from candle primitives, [`philox`] makes
//! random numbers and [`torch_random`] PyTorch's, [`weight`] is a frozen matrix, `testing` compares. The folders `cpu` and `cuda` hold what bodies and launches share. Feeds [`crate::model`] and
//! [`crate::train`]; imports no other room.
//!
//! On the CPU an operation runs in f32, or in f64 where a test wants exact arithmetic; on a GPU in bf16 or f32, by the kernels of the
//! `.cu` file with its name.

pub mod adamw;
pub mod attention;
pub mod bias;
mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
pub mod decode;
pub mod dropout;
#[cfg(test)]
mod in_bf16;
pub mod kl;
pub mod linear;
pub mod logps;
pub mod matvec;
pub mod most_probable;
pub mod philox;
pub mod reference;
pub mod rms_norm;
pub mod rope;
pub mod rows;
pub mod swiglu;
#[cfg(test)]
pub(crate) mod testing;
pub mod torch_random;
pub mod weight;
