//! The beginning of a run for the ranks that do not lead.

use anyhow::Result;

use candle_core::Device;

use crate::config::ModelSection;
use crate::error::InputError;
use crate::model::decoder::Keep;
use crate::parallel::order::{Begin, Order};
use crate::parallel::world::World;
use crate::session::Session;
use crate::session::precision::Precision;

/// Has the other ranks load the model of `session`, and refuses a rank that has another one. `steps`: of the run, 0 for an evaluation.
pub fn begin(session: &Session<'_>, steps: usize) -> Result<()> {
    let begin = Begin {
        config: Some(session.config.clone()),
        model: ModelSection {
            dtype: Precision::named(session.model.dtype),
            ..session.config.model.clone()
        },
        folder: std::path::absolute(&session.model_folder)?.display().to_string(),
        micro_batch_tokens: session.engine.micro_batch_tokens,
        recompute: session.engine.keep == Keep::Inputs,
        plan: serde_json::to_string(&session.inputs.plan)?,
        steps,
    };
    load(&session.options.world, begin, &session.model_digest, &session.model.device)
}

/// Has the other ranks of `world` load the model of `begin`, whose files have the digest `model_digest` here, and refuses a rank that has
/// another one.
pub(super) fn load(world: &World, begin: Begin, model_digest: &str, device: &Device) -> Result<()> {
    if world.ranks() == 1 {
        return Ok(());
    }
    world.forget_adapters();
    let model = begin.model.path.clone();
    world.order_all(&Order::Begin(Box::new(begin)))?;
    for rank in world.others() {
        let digest: String = world.answer_of(rank)?;
        if digest != model_digest {
            let message = format!(
                "rank {rank} has another base model `{model}`: its files have the digest {digest}, those of rank 0 {model_digest}"
            );
            return Err(InputError::new(message)
                .hint("give every machine the same files, or a folder that all of them see")
                .into());
        }
    }
    world.connect(device)
}
