//! Summed log-probabilities on disk: of a whole pass as a cache, of an interrupted pass to resume from. Verified on
//! every read.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::bail_input;
use crate::data::token_pair::{self, TokenPair};
use crate::disk::{atomic, digest, read};
use crate::machine;
use crate::model::adapter;
use crate::model::decoder::Decoder;
use crate::model::lora::Adapter;

/// Digest of the code that computes sums: another version may give other bits for the same input.
const ENGINE: &str = env!("MVPBENCH_ENGINE");

/// Digest of everything that the sums of a pass depend on: code, model, adapter, token ids, dtype, device and the tokens
/// computed at once. `model_digest`: of the model's files.
pub fn key<'a>(
    model: &Decoder,
    model_digest: &str,
    adapter: Option<&Adapter>,
    pairs: impl IntoIterator<Item = &'a TokenPair>,
    micro_batch_tokens: usize,
) -> Result<String> {
    let device = machine::numerics(&model.device, model.dtype)?;
    let numerics = format!("{:?} {device} {micro_batch_tokens}", model.dtype);
    let pairs = token_pair::digest_of(pairs);
    let mut parts = vec![ENGINE, model_digest, &pairs, &numerics];
    let adapter = adapter.map(adapter::digest).transpose()?;
    parts.extend(adapter.as_deref());
    Ok(digest::of_parts(parts))
}

/// A file of saved sums.
pub struct KeptSums {
    /// The file.
    pub path: PathBuf,
    /// Digest of everything that the sums depend on.
    pub key: String,
}

/// Content of the file; `check` is [`digest_of`] its `logps`.
#[derive(Serialize, Deserialize)]
struct Content {
    key: String,
    check: String,
    logps: Vec<[f64; 2]>,
}

fn digest_of(logps: &[[f64; 2]]) -> String {
    digest::of_parts(logps.iter().flatten().map(|sum| sum.to_le_bytes()))
}

impl KeptSums {
    /// The sums `[chosen, rejected]` in the file, in nats; none if it is missing or broken, or has another key.
    pub fn read(&self) -> Option<Vec<[f64; 2]>> {
        self.read_or_why().ok().flatten()
    }

    /// [`KeptSums::read`]; with an error if the file is there and of no use.
    pub fn read_or_why(&self) -> Result<Option<Vec<[f64; 2]>>> {
        let Some(bytes) = read::if_there(&self.path)? else { return Ok(None) };
        let whole = serde_json::from_slice(&bytes).ok().filter(|content: &Content| {
            content.key == self.key
                && content.logps.iter().flatten().all(|sum| sum.is_finite())
                && content.check == digest_of(&content.logps)
        });
        match whole {
            Some(content) => Ok(Some(content.logps)),
            None => bail_input!("`{}` is broken or of another pass", self.path.display()),
        }
    }

    /// Replaces the file, atomically, with `sums`.
    pub fn write(&self, sums: &[[f64; 2]]) -> Result<()> {
        let content =
            Content { key: self.key.clone(), check: digest_of(sums), logps: sums.to_vec() };
        atomic::write(&self.path, |out| Ok(serde_json::to_writer(out, &content)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_altered_or_foreign_row_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums.json");
        let sums = [[-1.25, -2.0], [-3.5, -0.125]];
        let kept = KeptSums { path: path.clone(), key: "k".into() };
        assert_eq!(kept.read(), None);
        kept.write(&sums).unwrap();
        assert_eq!(kept.read(), Some(sums.to_vec()));
        assert_eq!(KeptSums { path: path.clone(), key: "other".into() }.read(), None);
        let text = std::fs::read_to_string(&path).unwrap();
        for broken in [
            text.replace("-0.125", "-0.126"),
            text.replace("-0.125", "null"),
            text.replace("[-1.25,-2.0],", ""),
            text[..text.len() / 2].to_owned(),
        ] {
            assert_ne!(broken, text);
            std::fs::write(&path, broken).unwrap();
            assert_eq!(kept.read(), None);
        }
    }
}
