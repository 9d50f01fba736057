//! Whole runs of `train`: their numbers, their files and their interruptions.

mod adapters;
pub(crate) mod authors;
mod broken_weights;
mod changed_inputs;
mod damage;
mod disk;
mod evaluations;
pub(crate) mod kills;
mod losses;
mod mapped_weights;
mod outputs;
mod resume;
mod samples;
mod seeds;
mod signals;
pub(crate) mod trajectories;
mod weights;
