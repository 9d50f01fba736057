//! The reference's log-probabilities of the training pairs: computed once, cached on disk, verified on every read.

use anyhow::Result;

use crate::bail_input;
use crate::config::Reference;
use crate::data::token_pair::TokenPair;
use crate::disk::cache;
use crate::inference::kept_sums::{self, KeptSums};
use crate::inference::sums;
use crate::session::Session;

/// Summed log-probabilities `[chosen, rejected]` of every training pair under the reference, in nats. Zeros for pairs
/// that the run never visits, and for all pairs if the loss reads no reference.
///
/// - `visited`: ascending indices of the pairs that the run visits.
///
/// Cached and computed sums are the same bits: the key of the cache covers model, adapter, token ids, dtype, device and
/// the tokens computed at once. An interrupted pass is resumed. A cache that is broken or cannot be written is a
/// warning.
pub(super) fn logps(session: &Session<'_>, visited: &[usize]) -> Result<Vec<[f64; 2]>> {
    let Session { config, inputs, model, model_digest, .. } = session;
    let (pairs, verbosity) = (&inputs.train, session.options.verbosity);
    let mut all = vec![[0.0; 2]; pairs.len()];
    if !config.dpo.loss.needs_reference() {
        return Ok(all);
    }
    let adapter = session.start.as_ref().filter(|_| config.dpo.reference == Reference::Init);
    let micro_batch_tokens = session.engine.micro_batch_tokens;
    let members: Vec<&TokenPair> = visited.iter().map(|&i| &pairs[i]).collect();
    let key =
        kept_sums::key(model, model_digest, adapter, members.iter().copied(), micro_batch_tokens)?;
    let file = |name: String| {
        let key = key.clone();
        cache::folder("reference").map(|folder| KeptSums { path: folder.join(name), key })
    };
    let (whole, partial) = (file(format!("{key}.json")), file(format!("{key}.partial.json")));
    let found: Result<_> = whole.as_ref().map_or(Ok(None), |file| match file.read_or_why()? {
        Some(sums) if sums.len() != members.len() => {
            bail_input!("`{}` is broken or of another pass", file.path.display())
        }
        sums => Ok(sums),
    });
    let cached = found.unwrap_or_else(|error| {
        verbosity.warn(format!("reference cache: {error:#}; the reference is computed again"));
        None
    });
    let logps = match cached {
        Some(logps) => {
            verbosity.note(format!("reference: {} pairs from the cache", logps.len()));
            logps
        }
        None => {
            let pass = sums::ScoringPass {
                model,
                adapter,
                pairs: &members,
                micro_batch_tokens,
                world: &session.options.world,
            };
            let logps = pass.sums("reference", partial.as_ref(), verbosity)?;
            if let Some(Err(error)) = whole.map(|file| file.write(&logps)) {
                verbosity.warn(format!("the reference is not cached: {error:#}"));
            }
            logps
        }
    };
    if let Some(partial) = partial {
        // The file is missing if the pass was never interrupted; a program killed before this line leaves it.
        let _ = std::fs::remove_file(partial.path);
    }
    visited.iter().zip(logps).for_each(|(&i, sums)| all[i] = sums);
    Ok(all)
}
