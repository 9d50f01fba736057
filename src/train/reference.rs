//! The reference's log-probabilities of the training pairs: computed once, cached on disk, never trusted without a check.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::progress::Verbosity;
use super::{cache, digest, scores};
use crate::atomic_file;
use crate::data::tokenize::TokenPair;
use crate::model::adapter;
use crate::model::llama::Llama;
use crate::model::lora::Adapter;

/// Changes whenever the engine may give other bits for the same input.
const ENGINE_VERSION: &str = "1";

/// One cached pass: `key` says of what, `check` is the digest of the numbers.
#[derive(Serialize, Deserialize)]
struct Cached {
    key: String,
    check: String,
    logps: Vec<[f64; 2]>,
}

/// `[chosen, rejected]` of every pair of `pairs` under the reference, in nats; zeros for the pairs that the run never visits.
///
/// - `adapter`: the reference's; without one it is the base model.
/// - `visited`: ascending indices of the pairs that the run visits.
///
/// The numbers are the same bits whether they were cached or not: a cache is keyed by model, adapter, ids, dtype, device and the
/// tokens computed at once, and holds the whole pass.
pub fn logps(
    model: &Llama,
    adapter: Option<&Adapter>,
    model_digest: &str,
    pairs: &[TokenPair],
    visited: &[usize],
    micro_batch_tokens: usize,
    verbosity: Verbosity,
) -> Result<Vec<[f64; 2]>> {
    let members: Vec<&TokenPair> = visited.iter().map(|&i| &pairs[i]).collect();
    let place = format!("{:?} {:?} {micro_batch_tokens}", model.dtype, model.device.location());
    let pairs_digest = digest::of_pairs(members.iter().copied());
    let mut parts = vec![ENGINE_VERSION, model_digest, &pairs_digest, &place];
    let adapter_digest = adapter.map(digest_of).transpose()?;
    parts.extend(adapter_digest.as_deref());
    let key = digest::of_parts(parts);
    let path = cache::folder("reference").map(|folder| folder.join(format!("{key}.json")));
    let cached = path.as_deref().filter(|path| path.exists()).and_then(|path| {
        let read = read(path, &key, members.len());
        if read.is_none() {
            verbosity.warn(format!(
                "reference cache `{}` is broken or of other pairs; it is computed again",
                path.display()
            ));
        }
        read
    });
    let logps = match cached {
        Some(logps) => {
            verbosity.note(format!("reference: {} pairs from the cache", logps.len()));
            logps
        }
        None => {
            let mut progress = verbosity.progress("reference", "pairs", 0, members.len() as u64);
            let logps = scores::sums(model, adapter, &members, micro_batch_tokens, &mut progress)?;
            drop(progress);
            if let Some(path) = &path {
                let cached = Cached { key, check: check(&logps), logps };
                let written =
                    atomic_file::write(path, |out| Ok(serde_json::to_writer(out, &cached)?));
                if let Err(error) = written {
                    verbosity.warn(format!("the reference is not cached: {error:#}"));
                }
                cached.logps
            } else {
                logps
            }
        }
    };
    let mut all = vec![[0.0; 2]; pairs.len()];
    visited.iter().zip(logps).for_each(|(&i, sums)| all[i] = sums);
    Ok(all)
}

/// Digest of an adapter's weights and of how they are scaled.
pub(super) fn digest_of(adapter: &Adapter) -> Result<String> {
    let weights = adapter::to_safetensors(&adapter.tensors)?;
    Ok(digest::of_parts([&weights[..], &adapter.scale().to_le_bytes()]))
}

fn check(logps: &[[f64; 2]]) -> String {
    digest::of_parts(logps.iter().flatten().map(|sum| sum.to_le_bytes()))
}

/// The cached pass, unless anything about it is not as it must be.
fn read(path: &std::path::Path, key: &str, pairs: usize) -> Option<Vec<[f64; 2]>> {
    let cached: Cached = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let whole = cached.key == key
        && cached.logps.len() == pairs
        && cached.logps.iter().flatten().all(|sum| sum.is_finite())
        && cached.check == check(&cached.logps);
    whole.then_some(cached.logps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_with_a_missing_altered_or_foreign_row_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.json");
        let logps = vec![[-1.25, -2.0], [-3.5, -0.125]];
        let write = |key: &str, check: String, logps: Vec<[f64; 2]>| {
            std::fs::write(
                &path,
                serde_json::to_vec(&Cached { key: key.into(), check, logps }).unwrap(),
            )
            .unwrap()
        };
        write("k", check(&logps), logps.clone());
        assert_eq!(read(&path, "k", 2), Some(logps.clone()));
        assert_eq!(read(&path, "other", 2), None);
        assert_eq!(read(&path, "k", 3), None);
        write("k", check(&logps), vec![[-1.25, -2.0], [-3.5, -0.126]]);
        assert_eq!(read(&path, "k", 2), None);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert_eq!(read(&path, "k", 2), None);
        std::fs::write(&path, text.replace("-0.126", "null")).unwrap();
        assert_eq!(read(&path, "k", 2), None);
    }
}
