//! The model over its key/value cache: whole prompts at once, then one token of each sequence at a time.

use candle_core::{Result, Tensor};

use crate::config::Projection::{self, DownProj, GateProj, KProj, OProj, QProj, UpProj, VProj};
use crate::data::pack::Pack;
use crate::data::token_pair::TokenPair;
use crate::model::decoder::Decoder;
use crate::model::layer::{LayerLora, Stream};
use crate::model::lora::Adapter;
use crate::ops::decode::{self, Cache, Places};
use crate::ops::{bias, matvec, rms_norm, rope, rows, swiglu};

/// An active sequence.
pub(super) struct Sequence {
    /// Index of its prompt among all.
    pub(super) row: usize,
    pub(super) slot: u32,
    pub(super) prompt_tokens: usize,
    pub(super) new: Vec<u32>,
}

impl Sequence {
    /// Position of its last token, which is not in the cache yet.
    pub(super) fn position(&self) -> u32 {
        (self.prompt_tokens + self.new.len() - 1) as u32
    }
}

/// A model, its adapter in the dtype of the model, and the cache of some slots.
pub(super) struct CachedDecoder<'a> {
    model: &'a Decoder,
    adapter: Option<&'a Adapter>,
    caches: Vec<Cache>,
    /// Longest possible sequence, in tokens.
    most: usize,
}

impl<'a> CachedDecoder<'a> {
    /// An empty cache of `slots` sequences, with room for `tokens` tokens each at first, and never for more than `most`.
    pub(super) fn new(
        model: &'a Decoder,
        adapter: Option<&'a Adapter>,
        slots: usize,
        tokens: usize,
        most: usize,
    ) -> Result<Self> {
        let (heads, dtype, device) = (model.shape.heads, model.dtype, &model.device);
        let caches = (0..model.shape.layers)
            .map(|_| Cache::new(slots, tokens, heads, dtype, device))
            .collect::<Result<_>>()?;
        Ok(Self { model, adapter, caches, most })
    }

    /// Makes room for sequences of `tokens` tokens; grows by half at least.
    fn reserve(&mut self, tokens: usize) -> Result<()> {
        let capacity = self.caches.first().map_or(0, Cache::capacity);
        if tokens <= capacity {
            return Ok(());
        }
        let wanted = tokens.max(capacity + capacity / 2).min(self.most);
        for cache in &mut self.caches {
            cache.grow(wanted)?;
        }
        Ok(())
    }

    /// Logits of the token after each prompt, `[prompts, vocab]`. The prompts, each with its slot, lie end to end and do not see each
    /// other.
    pub(super) fn prefill(&mut self, prompts: &[(u32, &[u32])]) -> Result<Tensor> {
        let model = self.model;
        self.reserve(prompts.iter().map(|(_, ids)| ids.len()).max().unwrap_or_default())?;
        let tokens: usize = prompts.iter().map(|(_, ids)| ids.len()).sum();
        let filler = self.least_rows().saturating_sub(tokens);
        let whole = |prompt| TokenPair { prompt, ..TokenPair::default() };
        let mut pairs: Vec<_> = prompts.iter().map(|(_, ids)| whole(ids.to_vec())).collect();
        if filler > 0 {
            pairs.push(whole(vec![0; filler]));
        }
        let mut batch = model.batch(&Pack::new(&pairs))?;
        let mut last: Vec<u32> = Vec::with_capacity(prompts.len());
        let (mut slots, mut positions) = (Vec::with_capacity(tokens), Vec::with_capacity(tokens));
        for (slot, ids) in prompts {
            slots.extend(std::iter::repeat_n(*slot, ids.len()));
            positions.extend(0..ids.len() as u32);
            last.push(slots.len() as u32 - 1);
        }
        let short = self.least_rows().saturating_sub(last.len());
        last.extend(std::iter::repeat_n(0, short));
        batch.kept = Tensor::new(last, &model.device)?;
        let at = Places::new(&slots, &positions);

        let mut stream = model.embed(&batch)?;
        for (i, (layer, cache)) in model.layers.iter().zip(&self.caches).enumerate() {
            let lora = LayerLora { layer: i, adapter: self.adapter, dropout: None };
            let (next, saved) = layer.forward(&stream, model.pass(&batch, lora))?;
            let (keys, values) = saved.keys_values();
            cache.store(&keys.narrow(0, 0, tokens)?, &values.narrow(0, 0, tokens)?, &at)?;
            stream = next;
        }
        let hidden = model.last_norm(&stream)?.y.narrow(0, 0, prompts.len())?;
        matvec::forward(&hidden, &model.lm_head)
    }

    /// Fewest rows from which on the products of training give the same bits for any number of rows: `gemm` takes other paths for one
    /// row, and for 64 rows or less against the at most 64 columns of an adapter's long inner product.
    fn least_rows(&self) -> usize {
        let long = self.model.shape.hidden.max(self.model.shape.intermediate) > 512;
        if self.adapter.is_some() && long { 65 } else { 2 }
    }

    /// Adds each sequence's last token to the cache and returns the logits of the token after it, `[sequences, vocab]`.
    pub(super) fn step(&mut self, sequences: &[Sequence]) -> Result<Tensor> {
        let model = self.model;
        let ids: Vec<u32> = sequences.iter().filter_map(|s| s.new.last().copied()).collect();
        let slots: Vec<u32> = sequences.iter().map(|s| s.slot).collect();
        let positions: Vec<u32> = sequences.iter().map(Sequence::position).collect();
        self.reserve(positions.iter().max().map_or(0, |&last| last as usize + 1))?;
        let at = Places::new(&slots, &positions);
        // The keys in the cache keep the angles that they were stored with, as in transformers: where the angles depend on the length, a
        // token has those of the sequence up to itself.
        let lengths: Vec<u32> = positions.iter().map(|position| position + 1).collect();
        let (cos, sin) = model.rotary.at(&positions, &lengths)?;
        let turn = |x| rope::forward(x, &cos, &sin, model.shape.heads.head_dim);
        let eps = model.shape.rms_norm_eps;

        let ids = Tensor::new(ids, &model.device)?;
        let mut stream = Stream { base: rows::forward(&model.embed_tokens, &ids)?, delta: None };
        for (i, (layer, cache)) in model.layers.iter().zip(&self.caches).enumerate() {
            let project = |projection, x: &Tensor| self.project(i, projection, x);
            let rms_norm::Normed { sum: x, y: a, .. } = rms_norm::forward(
                &stream.base,
                stream.delta.as_ref(),
                &layer.input_layernorm,
                eps,
            )?;
            let q = turn(project(QProj, &a)?)?;
            let k = turn(project(KProj, &a)?)?;
            cache.store(&k, &project(VProj, &a)?, &at)?;
            let o = project(OProj, &decode::forward(&q, cache, &at)?)?;
            let rms_norm::Normed { sum: h, y: m, .. } =
                rms_norm::forward(&x, Some(&o), &layer.post_attention_layernorm, eps)?;
            let act = swiglu::forward(&project(GateProj, &m)?, &project(UpProj, &m)?)?;
            stream = Stream { base: h, delta: Some(project(DownProj, &act)?) };
        }
        matvec::forward(&model.last_norm(&stream)?.y, &model.lm_head)
    }

    /// `W x + b + scale B A x` of one projection, for a few rows.
    fn project(&self, layer: usize, projection: Projection, x: &Tensor) -> Result<Tensor> {
        let frozen = self.model.layers[layer].linear(projection);
        let mut y = matvec::forward(x, &frozen.weight)?;
        if let Some(of_rows) = &frozen.bias {
            y = bias::forward(y, of_rows)?;
        }
        if let Some((pair, scale)) = self.adapter.and_then(|a| a.module(layer, projection)) {
            matvec::add(&y, &matvec::forward(x, &pair.a)?, &pair.b, scale)?;
        }
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoraSection, Modules};
    use crate::ops::testing::random;
    use candle_core::{DType, Device};

    /// A model wide enough that `gemm` cuts its sums in blocks, and an adapter whose B is not zero.
    fn wide() -> (Decoder, Adapter) {
        let folder = tempfile::tempdir().unwrap();
        let config = r#"{"model_type": "llama", "vocab_size": 50, "hidden_size": 640, "intermediate_size": 700,
            "num_hidden_layers": 2, "num_attention_heads": 10, "num_key_value_heads": 5, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 256, "tie_word_embeddings": true, "rope_theta": 10000.0}"#;
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let mut tensors = std::collections::HashMap::new();
        let mut add = |name: String, shape: &[usize]| {
            let seed = tensors.len() as u64;
            tensors.insert(name, (random(shape, seed, DType::F32) * 0.05).unwrap());
        };
        add("model.embed_tokens.weight".to_owned(), &[50, 640]);
        add("model.norm.weight".to_owned(), &[640]);
        for layer in 0..2 {
            for (name, shape) in [
                ("input_layernorm", &[640][..]),
                ("post_attention_layernorm", &[640]),
                ("self_attn.q_proj", &[640, 640]),
                ("self_attn.k_proj", &[320, 640]),
                ("self_attn.v_proj", &[320, 640]),
                ("self_attn.o_proj", &[640, 640]),
                ("mlp.gate_proj", &[700, 640]),
                ("mlp.up_proj", &[700, 640]),
                ("mlp.down_proj", &[640, 700]),
            ] {
                add(format!("model.layers.{layer}.{name}.weight"), shape);
            }
        }
        let path = folder.path().join("model.safetensors");
        candle_core::safetensors::save(&tensors, path).unwrap();
        let model = Decoder::load(folder.path(), DType::F32, &Device::Cpu).unwrap();
        let section =
            LoraSection { target_modules: Modules::of(Projection::ALL), ..Default::default() };
        let mut adapter = Adapter::fresh(&model.shape, &section, 1, &Device::Cpu).unwrap();
        let fill = |t: &Tensor| random(t.dims(), 7, t.dtype()) * 0.1;
        adapter.tensors = adapter.tensors.map(fill).unwrap();
        (model, adapter)
    }

    fn rows(logits: &Tensor) -> Vec<Vec<f32>> {
        logits.to_vec2().unwrap()
    }

    fn prompt(length: usize) -> Vec<u32> {
        (0..length as u32).map(|i| (i * i + length as u32) % 50).collect()
    }

    #[test]
    fn a_prompts_logits_have_the_same_bits_in_any_pack() {
        let (model, adapter) = wide();
        let prompts: Vec<_> = [1, 2, 7, 30, 64, 65, 70, 129].map(prompt).into();
        for adapter in [None, Some(&adapter)] {
            let pack = |members: &[usize]| {
                let packed: Vec<_> =
                    (0..).zip(members).map(|(slot, &i)| (slot, prompts[i].as_slice())).collect();
                let mut decoder =
                    CachedDecoder::new(&model, adapter, members.len(), 1, 129).unwrap();
                rows(&decoder.prefill(&packed).unwrap())
            };
            let together = pack(&[0, 1, 2, 3, 4, 5, 6, 7]);
            for (i, together) in together.iter().enumerate() {
                assert_eq!(&pack(&[i])[0], together, "prompt {i} alone, {}", adapter.is_some());
                let other = (i + 3) % prompts.len();
                assert_eq!(&pack(&[other, i])[1], together, "prompts {other} and {i}");
            }
        }
    }

    #[test]
    fn steps_over_the_cache_give_the_logits_of_the_whole_sequence() {
        let (model, adapter) = wide();
        for adapter in [None, Some(&adapter)] {
            let mut decoder = CachedDecoder::new(&model, adapter, 2, 1, 100).unwrap();
            let all = prompt(100);
            decoder.prefill(&[(1, &all[..3])]).unwrap();
            let mut sequence = Sequence { row: 0, slot: 1, prompt_tokens: 3, new: vec![] };
            for &token in &all[3..] {
                sequence.new.push(token);
                let got = rows(&decoder.step(std::slice::from_ref(&sequence)).unwrap()).remove(0);
                let seen = 3 + sequence.new.len();
                if seen.is_multiple_of(16) || seen == 100 {
                    let want = model.next_logits(&all[..seen], adapter).unwrap();
                    for (got, want) in got.iter().zip(want.to_vec1::<f32>().unwrap()) {
                        assert!((got - want).abs() <= 1e-4, "{seen} tokens: {got} {want}");
                    }
                }
            }
        }
    }
}
