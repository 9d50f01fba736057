//! The beginning of a run for the ranks that do not lead.

use anyhow::Result;

use crate::error::InputError;
use crate::model::decoder::Keep;
use crate::parallel::order::{Begin, Order};
use crate::session::Session;

/// Has the other ranks load the model of `session`, and refuses a rank that has another one. `steps`: of the run, 0 for an evaluation.
pub fn begin(session: &Session<'_>, steps: usize) -> Result<()> {
    let world = &session.options.world;
    if world.ranks() == 1 {
        return Ok(());
    }
    world.forget_adapter();
    world.order_all(&Order::Begin(Box::new(Begin {
        config: session.config.clone(),
        model: std::path::absolute(&session.model_folder)?.display().to_string(),
        micro_batch_tokens: session.engine.micro_batch_tokens,
        recompute: session.engine.keep == Keep::Inputs,
        plan: serde_json::to_string(&session.inputs.plan)?,
        steps,
    })))?;
    for rank in world.others() {
        let digest: String = world.answer_of(rank)?;
        if digest != session.model_digest {
            let message = format!(
                "rank {rank} has another base model `{}`: its files have the digest {digest}, those of rank 0 {}",
                session.config.model.path, session.model_digest
            );
            return Err(InputError::new(message)
                .hint("give every machine the same files, or a folder that all of them see")
                .into());
        }
    }
    Ok(())
}
