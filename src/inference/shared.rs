//! What a pass that several ranks share has them hold first.

use anyhow::Result;

use crate::model::adapter;
use crate::model::lora::Adapter;
use crate::parallel::world::World;

/// Gives the other ranks `adapter` for their parts of a pass, unless they have it.
pub(super) fn share_adapter(world: &World, adapter: Option<&Adapter>) -> Result<()> {
    match adapter.filter(|_| world.ranks() > 1) {
        Some(adapter) => {
            let bytes = || adapter::to_safetensors(&adapter.tensors);
            world.share_adapter(adapter::digest(adapter)?, bytes)
        }
        None => Ok(()),
    }
}
