//! What the leader tells the other ranks of the state that is trained.

use anyhow::{Result, bail};

use super::state::State;
use crate::model::adapter;
use crate::parallel::order::Order;
use crate::session::Session;

/// Gives the other ranks the state that training starts from.
pub(super) fn share(session: &Session<'_>, state: &State) -> Result<()> {
    let world = &session.options.world;
    if world.ranks() == 1 {
        return Ok(());
    }
    world.order_all(&Order::State(serde_json::to_string(&state.cursor)?))?;
    let State { adapter, optimizer, .. } = state;
    for tensors in [&adapter.tensors, &optimizer.first_moments, &optimizer.second_moments] {
        world.send_all(&adapter::to_safetensors(tensors)?)?;
    }
    Ok(())
}

/// Refuses to go on where another rank's adapter is not that of `state`: a device that computes otherwise would train another model.
pub(super) fn verify(session: &Session<'_>, state: &State) -> Result<()> {
    let world = &session.options.world;
    if world.ranks() == 1 {
        return Ok(());
    }
    world.order_all(&Order::Digest)?;
    let digest = adapter::digest(&state.adapter)?;
    for rank in world.others() {
        let other: String = world.answer_of(rank)?;
        if other != digest {
            bail!(
                "after step {} the adapter of rank {rank} is not that of rank 0; the last checkpoint is untouched",
                state.cursor.step
            );
        }
    }
    Ok(())
}
