//! The whole model: embedding, decoder layers, final norm, and the log-probabilities of the scored tokens.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use candle_core::{DType, Device, Result, Tensor};

use super::batch::{Batch, Rows};
use super::family;
use super::frozen::Linear;
use super::layer::{Dropout, Layer, LayerLora, LayerPass, Stream};
use super::lora::{Adapter, InputGradient, LoraPair, LoraTensors, PerProjection};
use super::mapped_files::MappedFiles;
use super::rotary::Rotary;
use super::saved::Saved;
use super::shape::Shape;
use super::weights::Checkpoint;
use crate::config::Projection;
use crate::console::interrupt;
use crate::data::pack::Pack;
use crate::disk::read;
use crate::error::InputError;
use crate::ops::weight::{Matrix, Weight, packed_bytes};
use crate::ops::{kl, linear, logps, rms_norm, rows};

/// A frozen decoder-only model: its shape and its weights.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Sizes, heads, RoPE.
    pub shape: Shape,
    /// Dtype of weights and activations.
    pub dtype: DType,
    /// Device of the weights.
    pub device: Device,
    pub(super) embed_tokens: Weight,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Tensor,
    pub(super) lm_head: Weight,
    pub(super) rotary: Rotary,
    /// Lines for the user on what was converted as the weights were read.
    pub notes: Vec<String>,
    /// The files in which weights are read.
    pub files: Arc<MappedFiles>,
}

/// What each layer keeps from the forward pass for the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Everything the backward pass reads.
    Everything,
    /// Its input; the backward pass runs the layer again.
    Inputs,
}

impl Keep {
    /// The word of `train.activations`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Everything => "keep",
            Self::Inputs => "recompute",
        }
    }
}

/// What a forward pass keeps for the backward pass.
pub struct Tape {
    layers: Vec<Kept>,
    /// Residual stream after the last layer and its norm, of the kept rows.
    last: rms_norm::Normed,
    /// `[scored, hidden]`, gradient of each log-probability with respect to its row.
    own: Tensor,
}

enum Kept {
    Everything(Box<Saved>),
    Input(Tensor),
}

impl Decoder {
    /// Loads the checkpoint in `folder`; errors name the file, the key or the tensor.
    pub fn load(folder: &Path, dtype: DType, device: &Device) -> anyhow::Result<Self> {
        if !folder.is_dir() {
            let message = format!("model folder `{}` does not exist", folder.display());
            return Err(InputError::new(message)
                .hint("`model.path` must be the folder of a Hugging Face checkpoint")
                .into());
        }
        let path = folder.join("config.json");
        let text = read::text(&path).map_err(|error| {
            let what = format!("cannot read `{}`", path.display());
            InputError::of_path(what, error, |error| {
                error.hint("`model.path` must be the folder of a Hugging Face checkpoint")
            })
        })?;
        let shape = Shape::parse(&text, &path.display().to_string())?;
        let mut checkpoint = Checkpoint::open(folder, dtype, device)?;
        if shape.tied {
            checkpoint.accept_tied_head()?;
        }
        let mut model = Self::assemble(shape, dtype, device, &mut |name, dims| {
            interrupt::check()?;
            checkpoint.take(name, dims)
        })?;
        let (notes, files) = checkpoint.finish()?;
        (model.notes, model.files) = (notes, files.into());
        let finite = model
            .norm
            .to_dtype(DType::F64)
            .and_then(|t| t.sum_all()?.to_scalar::<f64>())
            .with_context(|| format!("cannot read `{}`", family::NORM))?;
        if !finite.is_finite() {
            return Err(InputError::new(format!(
                "checkpoint `{}`: `{}` is not finite",
                folder.display(),
                family::NORM
            ))
            .into());
        }
        Ok(model)
    }

    /// A model of `shape`. `take` returns the weight of a name in the checkpoint and of these dimensions.
    pub fn assemble(
        shape: Shape,
        dtype: DType,
        device: &Device,
        take: &mut dyn FnMut(&str, &[usize]) -> anyhow::Result<Weight>,
    ) -> anyhow::Result<Self> {
        let (hidden, vocab) = (shape.hidden, shape.vocab);
        let embed_tokens = take(family::EMBED_TOKENS, &[vocab, hidden])?;
        let layers = (0..shape.layers)
            .map(|i| load_layer(take, &shape, i))
            .collect::<anyhow::Result<_>>()?;
        let norm = take(family::NORM, &[hidden])?.into_tensor()?;
        let lm_head = match shape.tied {
            true => embed_tokens.clone(),
            false => take(family::LM_HEAD, &[vocab, hidden])?,
        };
        let rotary = shape.rotary(dtype, device);
        let device = device.clone();
        let (notes, files) = Default::default();
        Ok(Self { shape, dtype, device, embed_tokens, layers, norm, lm_head, rotary, notes, files })
    }

    /// The model with `adapter` merged: `W + scale B A` in each adapted projection; all other weights are shared with this model.
    pub fn merged(&self, adapter: &Adapter) -> Result<Self> {
        let adapter = self.bring(adapter)?;
        let mut merged = self.clone();
        for (i, layer) in merged.layers.iter_mut().enumerate() {
            for projection in Projection::ALL {
                let Some((pair, scale)) = adapter.module(i, projection) else { continue };
                let weight = &mut layer.projections[projection as usize].weight;
                let sum = weight.to_tensor()?;
                linear::add_product(&sum, &pair.b, &pair.a, scale)?;
                *weight = sum.into();
            }
        }
        Ok(merged)
    }

    /// Keeps each matrix that products read packed besides, in [`Decoder::packed_bytes`], where the CPU's products in bf16 read it so.
    /// `backward`: also for the products of a backward pass. Changes no result.
    pub fn keep_packed(&mut self, backward: bool) -> anyhow::Result<()> {
        for linear in self.layers.iter_mut().flat_map(|layer| &mut layer.projections) {
            interrupt::check()?;
            linear.weight.keep_packed(backward)?;
        }
        Ok(self.lm_head.keep_packed(backward)?)
    }

    /// What [`Decoder::keep_packed`] takes, but for the ends of rows and columns.
    pub fn packed_bytes(&self, backward: bool) -> Result<f64> {
        let linears = self.layers.iter().flat_map(|layer| &layer.projections);
        let weights = linears.map(|linear| &linear.weight).chain([&self.lm_head]);
        let elements =
            |weight: &Weight| Matrix::from(weight).dims2().map(|(rows, columns)| rows * columns);
        Ok(packed_bytes(weights.map(elements).sum::<Result<usize>>()?, backward))
    }

    /// An error that names the first weight with a value that is no finite number, if there is one. Reads all weights: for a result that is
    /// not finite, which else the pair or the prompt would be blamed for.
    pub fn refuse_broken_weights(&self) -> anyhow::Result<()> {
        let refuse = |name: &str, weight: Matrix<'_>| -> anyhow::Result<()> {
            interrupt::check()?;
            if weight.is_finite()? {
                return Ok(());
            }
            let message = format!("the base model's `{name}` has values that are not finite");
            Err(InputError::new(message).hint("fetch or make the checkpoint again").into())
        };
        refuse(family::EMBED_TOKENS, (&self.embed_tokens).into())?;
        for (i, layer) in self.layers.iter().enumerate() {
            for projection in Projection::ALL {
                let Linear { weight, bias } = layer.linear(projection);
                refuse(&family::projection_weight(i, projection), weight.into())?;
                if let Some(bias) = bias {
                    refuse(&family::projection_bias(i, projection), bias.into())?;
                }
            }
            for (part, norm) in [
                ("input_layernorm", &layer.input_layernorm),
                ("post_attention_layernorm", &layer.post_attention_layernorm),
            ] {
                refuse(&family::layer_weight(i, part), norm.into())?;
            }
        }
        refuse(family::NORM, (&self.norm).into())?;
        refuse(family::LM_HEAD, (&self.lm_head).into())
    }

    /// `adapter` on this model's device and in its dtype, ready to be applied.
    pub fn bring(&self, adapter: &Adapter) -> Result<Adapter> {
        adapter.to_device(&self.device)?.to_dtype(self.dtype)
    }

    /// `pack` on this model's device.
    pub fn batch(&self, pack: &Pack) -> Result<Batch> {
        Batch::new(pack, self.shape.vocab, &self.rotary)
    }

    /// What one layer reads. The last layer computes only the kept rows after its attention: nothing reads the others.
    pub(super) fn pass<'a>(&'a self, batch: &'a Batch, lora: LayerLora<'a>) -> LayerPass<'a> {
        let last = lora.layer + 1 == self.layers.len();
        let rows = if last { Rows::Kept } else { Rows::All };
        LayerPass { batch, shape: &self.shape, lora, rows }
    }

    pub(super) fn embed(&self, batch: &Batch) -> Result<Stream> {
        Ok(Stream { base: rows::forward(&self.embed_tokens, &batch.ids)?, delta: None })
    }

    pub(super) fn last_norm(&self, stream: &Stream) -> Result<rms_norm::Normed> {
        rms_norm::forward(&stream.base, stream.delta.as_ref(), &self.norm, self.shape.rms_norm_eps)
    }

    /// Log-probability of each scored token in nats, `[scored]`; without an `adapter`, under the base model.
    pub fn logps(&self, batch: &Batch, adapter: Option<&Adapter>) -> Result<Tensor> {
        let hidden = rows::forward(&self.last_hidden(batch, adapter)?, &batch.rows)?;
        logps::forward(&hidden, &self.lm_head, &batch.targets)
    }

    /// KL divergence of `policy`'s prediction of each scored token from `reference`'s in nats, `[scored]`, over the whole vocabulary;
    /// without an adapter, of the base model.
    pub fn kl(
        &self,
        batch: &Batch,
        policy: Option<&Adapter>,
        reference: Option<&Adapter>,
    ) -> Result<Tensor> {
        let [policy, reference] = [policy, reference]
            .map(|adapter| rows::forward(&self.last_hidden(batch, adapter)?, &batch.rows));
        kl::forward(&policy?, &reference?, &self.lm_head)
    }

    /// The final norm's output at the kept rows, `[kept, hidden]`.
    fn last_hidden(&self, batch: &Batch, adapter: Option<&Adapter>) -> Result<Tensor> {
        let mut stream = self.embed(batch)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let lora = LayerLora { layer: i, adapter, dropout: None };
            (stream, _) = layer.forward(&stream, self.pass(batch, lora))?;
        }
        Ok(self.last_norm(&stream)?.y)
    }

    /// Logits of the token after `ids`, `[vocab]`.
    pub fn next_logits(&self, ids: &[u32], adapter: Option<&Adapter>) -> Result<Tensor> {
        let batch = Batch::next(ids, self.shape.vocab, &self.rotary)?;
        linear::forward(&self.last_hidden(&batch, adapter)?, &self.lm_head)?.squeeze(0)
    }

    /// [`Decoder::logps`] under an adapter in training, and the tape that [`Decoder::backward`] reads.
    pub fn forward(
        &self,
        batch: &Batch,
        adapter: &Adapter,
        dropout: Option<Dropout>,
        keep: Keep,
    ) -> Result<(Tensor, Tape)> {
        let mut stream = self.embed(batch)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            let lora = LayerLora { layer: i, adapter: Some(adapter), dropout };
            let (next, saved) = layer.forward(&stream, self.pass(batch, lora))?;
            stream = next;
            layers.push(match keep {
                Keep::Everything => Kept::Everything(Box::new(saved)),
                Keep::Inputs => Kept::Input(saved.input().clone()),
            });
        }
        let last = self.last_norm(&stream)?;
        let (logps, own) = logps::forward_for_backward(
            &rows::forward(&last.y, &batch.rows)?,
            &self.lm_head,
            &batch.targets,
        )?;
        Ok((logps, Tape { layers, last, own }))
    }

    /// Gradients of the adapter. `dlogps`: `[scored]`, gradient of each scored token's log-probability.
    pub fn backward(
        &self,
        dlogps: &Tensor,
        tape: Tape,
        batch: &Batch,
        adapter: &Adapter,
        dropout: Option<Dropout>,
    ) -> Result<LoraTensors> {
        let Tape { layers, last, own } = tape;
        let dscored = logps::backward(dlogps, &own)?;
        let dnormed = rows::backward(&dscored, &batch.rows, last.y.dim(0)?)?;
        let mut dx = rms_norm::backward(&dnormed, &last.sum, &last.inv, &self.norm, None)?;
        drop((last, own, dscored, dnormed)); // makes room for the layers
        let mut gradients = LoraTensors::default();
        // Below the lowest adapted layer nobody reads a gradient.
        let is_adapted = |pairs: &PerProjection<LoraPair>| pairs.iter().next().is_some();
        let lowest = adapter.tensors.layers.iter().position(is_adapted).unwrap_or(0);
        for ((i, layer), kept) in self.layers.iter().enumerate().zip(layers).rev() {
            if i < lowest {
                gradients.layers.push(PerProjection::default());
                continue;
            }
            let pass = self.pass(batch, LayerLora { layer: i, adapter: Some(adapter), dropout });
            let saved = match kept {
                Kept::Everything(saved) => *saved,
                Kept::Input(base) => layer.forward(&Stream { base, delta: None }, pass)?.1,
            };
            let wanted = if i == lowest { InputGradient::Unwanted } else { InputGradient::Wanted };
            let (below, pairs) = layer.backward(&dx, &saved, pass, wanted)?;
            gradients.layers.push(pairs);
            if let Some(below) = below {
                dx = below;
            }
        }
        gradients.layers.reverse();
        Ok(gradients)
    }
}

/// Layer `i` of a model of `shape`, with the weights that `take` returns for names and dimensions.
pub(super) fn load_layer(
    take: &mut dyn FnMut(&str, &[usize]) -> anyhow::Result<Weight>,
    shape: &Shape,
    i: usize,
) -> anyhow::Result<Layer> {
    let mut projections = Vec::with_capacity(Projection::ALL.len());
    for projection in Projection::ALL {
        let (out, from) = shape.projection(projection);
        let weight = take(&family::projection_weight(i, projection), &[out, from])?;
        let bias = match shape.has_bias(projection) {
            true => Some(take(&family::projection_bias(i, projection), &[out])?.into_tensor()?),
            false => None,
        };
        projections.push(Linear { weight, bias });
    }
    let mut norm = |part| -> anyhow::Result<Tensor> {
        Ok(take(&family::layer_weight(i, part), &[shape.hidden])?.into_tensor()?)
    };
    Ok(Layer {
        input_layernorm: norm("input_layernorm")?,
        projections: projections
            .try_into()
            .map_err(|_| anyhow::anyhow!("a layer has seven projections"))?,
        post_attention_layernorm: norm("post_attention_layernorm")?,
    })
}
