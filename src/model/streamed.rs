//! Logits of a model that need not fit into memory: reads, computes and drops one layer after another.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::batch::{Batch, Rows};
use super::decoder::load_layer;
use super::family;
use super::layer::{LayerLora, LayerPass, Stream};
use super::lora::Adapter;
use super::prefix::Names;
use super::shape::Shape;
use super::shard::Shard;
use super::weights;
use crate::bail_input;
use crate::ops::rms_norm;

/// Logits of the token after each of `texts`, `[vocab]` each, computed in f32 on the CPU; equal to those of
/// [`super::decoder::Decoder::next_logits`].
///
/// - `folder`: the checkpoint of `shape`.
/// - `texts`: token ids, at least one each.
/// - `tick`: called after each layer.
///
/// Holds the embedding or the output layer in f32, or one layer. Refuses a tensor that is missing or of another shape.
pub(super) fn next_logits(
    folder: &Path,
    shape: &Shape,
    adapter: Option<&Adapter>,
    texts: &[Vec<u32>],
    tick: &mut dyn FnMut(),
) -> Result<Vec<Vec<f32>>> {
    let shards: Vec<Shard> =
        weights::shards(folder)?.iter().map(|path| Shard::open(path)).collect::<Result<_>>()?;
    let all = shards.iter().flat_map(Shard::entries).map(|entry| entry.name.as_str());
    let names = Names::of(all);
    let take = |name: &str, dims: &[usize]| take(&shards, names.stored(name), dims);
    let rotary = shape.rotary(DType::F32, &Device::Cpu);
    let batches = texts
        .iter()
        .map(|ids| Batch::next(ids, shape.vocab, &rotary))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let embedding = [shape.vocab, shape.hidden];
    let mut streams = {
        let embed_tokens = take(family::EMBED_TOKENS, &embedding)?;
        let stream = |batch: &Batch| -> Result<Stream> {
            Ok(Stream { base: embed_tokens.index_select(&batch.ids, 0)?, delta: None })
        };
        batches.iter().map(stream).collect::<Result<Vec<_>>>()?
    };
    for i in 0..shape.layers {
        let mut held = |name: &str, dims: &[usize]| Ok(take(name, dims)?.into());
        let layer = load_layer(&mut held, shape, i)?;
        let rows = if i + 1 == shape.layers { Rows::Kept } else { Rows::All };
        for (stream, batch) in streams.iter_mut().zip(&batches) {
            let lora = LayerLora { layer: i, adapter, dropout: None };
            (*stream, _) = layer.forward(stream, LayerPass { batch, shape, lora, rows })?;
        }
        tick();
    }
    let norm = take(family::NORM, &[shape.hidden])?;
    let head = if shape.tied { family::EMBED_TOKENS } else { family::LM_HEAD };
    let lm_head = take(head, &embedding)?.t()?;
    let logits = |stream: &Stream| -> Result<Vec<f32>> {
        let normed =
            rms_norm::forward(&stream.base, stream.delta.as_ref(), &norm, shape.rms_norm_eps)?;
        Ok(normed.y.matmul(&lm_head)?.squeeze(0)?.to_vec1()?)
    };
    streams.iter().map(logits).collect()
}

/// One tensor in f32.
fn take(shards: &[Shard], name: &str, shape: &[usize]) -> Result<Tensor> {
    let found = shards
        .iter()
        .find_map(|shard| Some((shard, shard.entries().iter().find(|entry| entry.name == name)?)));
    let Some((shard, entry)) = found else {
        bail_input!("`{name}` is missing from the checkpoint");
    };
    if entry.shape != shape {
        bail_input!(
            "`{}`: `{name}` has shape {:?}, expected {shape:?}",
            shard.path().display(),
            entry.shape
        );
    }
    let bytes = shard.read(entry)?;
    let stored = Tensor::from_raw_buffer(&bytes, entry.float()?, shape, &Device::Cpu)?;
    drop(bytes);
    Ok(stored.to_dtype(DType::F32)?)
}

#[cfg(test)]
mod tests {
    use super::super::adapter;
    use super::super::decoder::Decoder;
    use super::*;

    #[test]
    fn layer_by_layer_gives_the_loaded_models_logits_to_the_bit() {
        let golden = |name: &str| Path::new("tests/data/golden").join(name);
        for (name, adapter) in [("tiny-gqa", "tiny-gqa-nonzero"), ("tiny-f16", "tiny-f16-nonzero")]
        {
            let folder = golden(&format!("models/{name}"));
            let model = Decoder::load(&folder, DType::F32, &Device::Cpu).unwrap();
            let adapter = golden(&format!("adapters/{adapter}"));
            let adapter = adapter::load(&adapter, &model.shape, None, &Device::Cpu).unwrap();
            let texts = vec![vec![1, 5, 9, 20], vec![3]];
            for adapter in [None, Some(&adapter)] {
                let streamed =
                    next_logits(&folder, &model.shape, adapter, &texts, &mut || ()).unwrap();
                for (ids, got) in texts.iter().zip(&streamed) {
                    let want = model.next_logits(ids, adapter).unwrap().to_vec1::<f32>().unwrap();
                    assert!(want == *got, "{name}, {} tokens", ids.len());
                }
            }
        }
    }
}
