//! Whole runs of `train`: their numbers, what they leave, and what interrupts them.

mod disk;
mod evaluations;
pub(crate) mod kills;
mod losses;
mod outputs;
mod resume;
mod seeds;
mod signals;
pub(crate) mod trajectories;
