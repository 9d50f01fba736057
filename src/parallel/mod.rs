//! Ranks: the processes of one run, each with a device of its own.
//!
//! Rank 0 leads. It reads all input, decides, and writes all files, as a run of one process does; the others hold the model and the
//! adapter's state and compute what it orders ([`order`]): their share of a step, of a scoring pass, of answers. [`link`] carries
//! bytes between two ranks, over MPI or between threads in tests, and [`wire`] gradients, over NCCL between GPUs. The gradients of a step are summed in a fixed tree ([`tree`],
//! [`exchange`]), so that the sum does not depend on who computed which part of it.

pub mod exchange;
pub mod launch;
pub mod link;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
pub mod order;
pub mod shares;
pub mod tree;
pub mod wire;
pub mod world;
