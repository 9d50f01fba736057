//! Sentences in, vectors of length 1 out: the encoder of SPMR, a BERT of sentence-transformers, on the CPU in f32.
//!
//! Its forward pass is candle-transformers'. It runs on the CPU wherever the language model runs: MiniLM takes 11 million
//! multiplications a token, and so a figure does not depend on the device.

use std::io;
use std::path::Path;

use anyhow::Result;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{self, BertModel};
use rayon::prelude::*;
use tokenizers::{Tokenizer, TruncationParams};

use crate::disk::read;
use crate::encoder::layout::{CONFIG_FILE, Layout, Module, Pooling, TOKENIZER_FILE, WEIGHTS_FILE};
use crate::error::InputError;
use crate::error::contained::contained;

/// Tokens of a batch, padding included.
const BATCH_TOKENS: usize = 2048;

/// Batches between two reports of progress.
const BATCHES_A_TIME: usize = 16;

/// A sentence encoder.
pub struct Embedder {
    layout: Layout,
    tokenizer: Tokenizer,
    bert: BertModel,
    vocab: usize,
    modules: Vec<Loaded>,
}

/// A module after the pooling, with its weights.
enum Loaded {
    Normalize,
    Dense { weight: Tensor, bias: Option<Tensor>, tanh: bool },
}

impl Embedder {
    /// Loads the encoder in `folder`; errors name the file and the field or tensor.
    pub fn load(folder: &Path) -> Result<Self> {
        guarded(&folder.display().to_string(), || Self::read(folder))
    }

    fn read(folder: &Path) -> Result<Self> {
        let layout = Layout::read(folder)?;
        let tokenizer = tokenizer(&layout)?;
        let config: bert::Config =
            serde_json::from_value(layout.config.clone()).map_err(|error| {
                let file = layout.transformer.join(CONFIG_FILE);
                InputError::new(format!(
                    "{}: not the configuration of a BERT: {error}",
                    file.display()
                ))
            })?;
        let (weights, file) = weights(&layout.transformer)?;
        let bert = BertModel::load(weights, &config)
            .map_err(|error| InputError::new(format!("sentence encoder `{file}`: {error}")))?;
        let modules = layout.modules.iter().map(Loaded::load).collect::<Result<_>>()?;
        Ok(Self { layout, tokenizer, bert, vocab: config.vocab_size, modules })
    }

    /// The vector of each text, in order, of length 1 whether or not the folder has a Normalize: only their cosines are used.
    ///
    /// Cuts the end of a text that has more tokens than the folder allows. Computes texts of similar length together; passes to `done`
    /// how many more are finished, and stops at its error. Refuses a vector that is not finite.
    pub fn embed(
        &self,
        texts: &[&str],
        mut done: impl FnMut(usize) -> Result<()>,
    ) -> Result<Vec<Vec<f32>>> {
        let ids: Vec<Vec<u32>> =
            texts.par_iter().map(|text| self.ids(text)).collect::<Result<_>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| ids[i].len());
        let batches = batches(&order, |i| ids[i].len());
        let mut vectors = vec![Vec::new(); texts.len()];
        for some in batches.chunks(BATCHES_A_TIME) {
            let computed: Vec<_> = some
                .par_iter()
                .map(|batch| guarded(&self.layout.name, || self.forward(batch, &ids)))
                .collect::<Result<_>>()?;
            for (&i, vector) in some.iter().copied().flatten().zip(computed.into_iter().flatten()) {
                vectors[i] = vector;
            }
            done(some.iter().map(|batch| batch.len()).sum())?;
        }
        Ok(vectors)
    }

    /// The folder, as messages and results call it.
    pub fn name(&self) -> &str {
        &self.layout.name
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let text = text.trim();
        let lower = self.layout.lower_case.then(|| text.to_lowercase());
        let text = lower.as_deref().unwrap_or(text);
        let encode = || self.tokenizer.encode_fast(text, true).map_err(anyhow::Error::from_boxed);
        let ids = guarded(&self.layout.name, encode)?.get_ids().to_vec();
        match ids.iter().max() {
            Some(&id) if (id as usize) < self.vocab => Ok(ids),
            Some(id) => Err(InputError::new(format!(
                "sentence encoder `{}`: the tokenizer gives the id {id}, but the encoder's vocabulary has {} rows",
                self.layout.name, self.vocab
            ))
            .hint("the tokenizer files belong to another encoder")
            .into()),
            None => Err(InputError::new(format!(
                "sentence encoder `{}`: the tokenizer gives no token, not even a special one, for the text `{text}`",
                self.layout.name
            ))
            .into()),
        }
    }

    /// Vectors of the texts `batch`, padded to the longest of them.
    fn forward(&self, batch: &[usize], ids: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let (rows, longest) = (batch.len(), batch.iter().map(|&i| ids[i].len()).max().unwrap_or(0));
        let (mut padded, mut mask) = (vec![0u32; rows * longest], vec![0f32; rows * longest]);
        for (row, &i) in batch.iter().enumerate() {
            let start = row * longest;
            padded[start..start + ids[i].len()].copy_from_slice(&ids[i]);
            mask[start..start + ids[i].len()].fill(1.0);
        }
        let cpu = &Device::Cpu;
        let padded = Tensor::from_vec(padded, (rows, longest), cpu)?;
        let mask = Tensor::from_vec(mask, (rows, longest), cpu)?;
        let tokens = self.bert.forward(&padded, &padded.zeros_like()?, Some(&mask))?; // [rows, longest, hidden]
        let mut sentences = pool(&tokens, &mask, self.layout.pooling)?;
        for module in &self.modules {
            sentences = module.forward(&sentences)?;
        }
        let vectors = unit(&sentences)?.to_vec2::<f32>()?;
        if vectors.iter().flatten().any(|x| !x.is_finite()) {
            let message =
                format!("sentence encoder `{}` gives values that are not finite", self.layout.name);
            return Err(InputError::new(message)
                .hint("its weights are broken; fetch them again")
                .into());
        }
        Ok(vectors)
    }
}

impl Loaded {
    fn load(module: &Module) -> Result<Self> {
        let Module::Dense { folder, shape: [inside, outside], bias, tanh } = module else {
            return Ok(Self::Normalize);
        };
        let (weights, file) = weights(folder)?;
        let load = || -> candle_core::Result<_> {
            let bias = bias.then(|| weights.get(*outside, "linear.bias")).transpose()?;
            Ok((weights.get((*outside, *inside), "linear.weight")?, bias))
        };
        let (weight, bias) = load()
            .map_err(|error| InputError::new(format!("sentence encoder `{file}`: {error}")))?;
        Ok(Self::Dense { weight, bias, tanh: *tanh })
    }

    fn forward(&self, sentences: &Tensor) -> candle_core::Result<Tensor> {
        let Self::Dense { weight, bias, tanh } = self else { return unit(sentences) };
        let mut out = sentences.matmul(&weight.t()?)?;
        if let Some(bias) = bias {
            out = out.broadcast_add(bias)?;
        }
        if *tanh { out.tanh() } else { Ok(out) }
    }
}

/// Runs `call` into the encoder's libraries, which fail or panic on some broken folders only when they are used.
fn guarded<T>(name: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    let broken = |why: &str| -> anyhow::Error {
        InputError::new(format!("sentence encoder `{name}` is not usable: {why}"))
            .hint("fetch its files again")
            .into()
    };
    contained(call, broken).map_err(|error| match InputError::of(&error) {
        Some(_) => error,
        // A file could not be read, which says nothing about the folder.
        None if error.chain().any(|cause| cause.is::<io::Error>()) => error,
        None => broken(&error.to_string()),
    })
}

/// Cosine of the angle between two vectors of length 1, in f64.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

const TOKENIZER_HINT: &str = "a sentence-transformers folder with a fast tokenizer has this file";

/// The tokenizer, set to cut at the folder's length and never to pad; its own file may set other lengths (MiniLM's sets 128 for both).
fn tokenizer(layout: &Layout) -> Result<Tokenizer> {
    let path = layout.transformer.join(TOKENIZER_FILE);
    let wrong = |what: String| {
        InputError::new(format!("sentence encoder: `{}` {what}", path.display()))
            .hint(TOKENIZER_HINT)
    };
    let bytes = read::bytes(&path).map_err(|error| {
        let what = format!("sentence encoder: `{}` cannot be read", path.display());
        InputError::of_path(what, error, |error| error.hint(TOKENIZER_HINT))
    })?;
    let mut tokenizer = Tokenizer::from_bytes(&bytes)
        .map_err(|error| wrong(format!("is not a tokenizer: {error}")))?;
    let truncation = TruncationParams { max_length: layout.max_tokens, ..Default::default() };
    tokenizer
        .with_padding(None)
        .with_truncation(Some(truncation))
        .map_err(|error| wrong(format!("cannot cut to {} tokens: {error}", layout.max_tokens)))?;
    Ok(tokenizer)
}

/// The weights in `folder`, as f32, and the name of their file.
fn weights(folder: &Path) -> Result<(VarBuilder<'static>, String)> {
    let path = folder.join(WEIGHTS_FILE);
    let file = path.display().to_string();
    let bytes = read::bytes(&path).map_err(|error| {
        let what = format!("sentence encoder: cannot read `{file}`");
        InputError::of_path(what, error, |error| {
            if !folder.join("pytorch_model.bin").exists() {
                return error;
            }
            error.hint("the folder has a `pytorch_model.bin`; save the encoder again with sentence-transformers, which writes safetensors")
        })
    })?;
    let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu);
    let weights = weights.map_err(|error| {
        InputError::new(format!(
            "sentence encoder: `{file}` is not a whole safetensors file: {error}"
        ))
    })?;
    Ok((weights, file))
}

/// `[rows, tokens, hidden]` and a mask `[rows, tokens]` of ones and zeros -> `[rows, hidden]`.
fn pool(tokens: &Tensor, mask: &Tensor, pooling: Pooling) -> candle_core::Result<Tensor> {
    let wide = mask.unsqueeze(D::Minus1)?;
    match pooling {
        Pooling::Mean => tokens.broadcast_mul(&wide)?.sum(1)?.broadcast_div(&wide.sum(1)?),
        Pooling::Cls => tokens.narrow(1, 0, 1)?.squeeze(1),
        Pooling::Max => {
            let below_all = ((wide - 1.0)? * 1e9)?; // 0 at tokens, -1e9 at padding
            tokens.broadcast_add(&below_all)?.max(1)
        }
    }
}

/// Rows scaled to length 1, as torch's `normalize` does; a row of zeros does not change.
fn unit(rows: &Tensor) -> candle_core::Result<Tensor> {
    let length = rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12)?;
    rows.broadcast_div(&length)
}

/// Cuts `order`, by ascending length, where a batch padded to its longest would pass [`BATCH_TOKENS`].
fn batches(order: &[usize], length: impl Fn(usize) -> usize) -> Vec<&[usize]> {
    let mut batches = Vec::new();
    let mut start = 0;
    for (end, &i) in order.iter().enumerate() {
        if end > start && (end + 1 - start) * length(i) > BATCH_TOKENS {
            batches.push(&order[start..end]);
            start = end;
        }
    }
    if start < order.len() {
        batches.push(&order[start..]);
    }
    batches
}
