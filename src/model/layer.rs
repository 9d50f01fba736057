//! One decoder layer: `h = x + o_proj(attention(norm(x)))`, `y = h + down_proj(swiglu(gate_proj(norm(h)), up_proj(norm(h))))`.
//!
//! The reader of the layer computes the last sum, fused with the next norm.

use candle_core::{Result, Tensor, bail};

use super::batch::{Batch, Rows, TokenKeys};
use super::lora::{self, Active, Adapter, InputGradient, LoraPair, PerProjection};
use super::saved::Saved;
use super::shape::Shape;
use crate::config::Projection::{self, DownProj, GateProj, KProj, OProj, QProj, UpProj, VProj};
use crate::ops::attention::{self, Activations};
use crate::ops::dropout::DropoutMask;
use crate::ops::{rms_norm, rope, rows, swiglu};

/// The frozen weights of a layer, under the checkpoint's names.
#[derive(Debug, Clone)]
pub struct Layer {
    /// `[hidden]`.
    pub input_layernorm: Tensor,
    /// In the order of [`Projection::ALL`].
    pub projections: [Linear; Projection::ALL.len()],
    /// `[hidden]`.
    pub post_attention_layernorm: Tensor,
}

/// The frozen weights of one projection.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Tensor,
}

/// Dropout of one optimizer step.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Share of the elements set to zero.
    pub probability: f64,
    /// The run's seed.
    pub seed: u64,
    /// Optimizer steps done before this one.
    pub step: u32,
}

/// The adapter in one layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerLora<'a> {
    /// Number of the layer, from 0.
    pub layer: usize,
    /// In the dtype of the base; none computes the base model.
    pub adapter: Option<&'a Adapter>,
    /// Dropout of the adapter's input; none when evaluating.
    pub dropout: Option<Dropout>,
}

/// What a layer reads besides its input, forward and backward.
#[derive(Clone, Copy)]
pub struct LayerPass<'a> {
    /// The pack.
    pub batch: &'a Batch,
    /// Shape of the model.
    pub shape: &'a Shape,
    /// The adapter.
    pub lora: LayerLora<'a>,
    /// Rows computed after the attention.
    pub rows: Rows,
}

impl<'a> LayerLora<'a> {
    fn active(&self, projection: Projection, keys: &'a TokenKeys) -> Option<Active<'a>> {
        let adapter = self.adapter?;
        let pair = adapter.tensors.layers.get(self.layer)?.get(projection)?;
        let mask = self.dropout.map(|dropout| DropoutMask {
            probability: dropout.probability,
            seed: dropout.seed,
            step: dropout.step,
            module: lora::module_number(self.layer, projection),
            pair_rows: &keys.pair_rows,
            offsets: &keys.offsets,
        });
        Some(Active { pair, scale: adapter.scale(), mask })
    }

    fn adapts(&self, projections: &[Projection]) -> bool {
        let pairs = self.adapter.and_then(|adapter| adapter.tensors.layers.get(self.layer));
        pairs.is_some_and(|pairs| {
            projections.iter().any(|&projection| pairs.get(projection).is_some())
        })
    }
}

/// A layer's output in two parts, whose sum is the residual stream.
#[derive(Debug, Clone)]
pub struct Stream {
    /// `[rows, hidden]`.
    pub base: Tensor,
    /// `[rows, hidden]`, still to be added.
    pub delta: Option<Tensor>,
}

impl Layer {
    /// `[out, in]` of `projection`.
    pub fn weight(&self, projection: Projection) -> &Tensor {
        &self.projections[projection as usize].weight
    }

    /// Runs the layer on `input` (`[tokens, hidden]`) and keeps what [`Layer::backward`] reads.
    pub fn forward(&self, input: &Stream, pass: LayerPass<'_>) -> Result<(Stream, Saved)> {
        let LayerPass { batch, shape, lora, rows } = pass;
        let mut inner = PerProjection::default();
        let mut project = |projection, x: &Tensor, keys| -> Result<Tensor> {
            let (y, kept) =
                lora::forward(x, self.weight(projection), lora.active(projection, keys).as_ref())?;
            inner.set(projection, kept);
            Ok(y)
        };
        let rms_norm::Normed { sum: x, y: a, inv: x_inv } = rms_norm::forward(
            &input.base,
            input.delta.as_ref(),
            &self.input_layernorm,
            shape.rms_norm_eps,
        )?;
        let q = rope::forward(project(QProj, &a, &batch.keys)?, &batch.cos, &batch.sin)?;
        let k = rope::forward(project(KProj, &a, &batch.keys)?, &batch.cos, &batch.sin)?;
        let v = project(VProj, &a, &batch.keys)?;
        let (o, lse) = attention::forward(&q, &k, &v, &batch.mask, shape.heads)?;

        let (o_rows, x_rows, keys) = match rows {
            Rows::All => (o.clone(), x.clone(), &batch.keys),
            Rows::Kept => {
                (rows::forward(&o, &batch.kept)?, rows::forward(&x, &batch.kept)?, &batch.kept_keys)
            }
        };
        let y = project(OProj, &o_rows, keys)?;
        let rms_norm::Normed { sum: h, y: m, inv: h_inv } = rms_norm::forward(
            &x_rows,
            Some(&y),
            &self.post_attention_layernorm,
            shape.rms_norm_eps,
        )?;
        let gate = project(GateProj, &m, keys)?;
        let up = project(UpProj, &m, keys)?;
        let delta = Some(project(DownProj, &swiglu::forward(&gate, &up)?, keys)?);
        let out = Stream { base: h.clone(), delta };
        Ok((out, Saved { x, x_inv, q, k, v, o, lse, o_rows, h, h_inv, gate, up, inner }))
    }

    /// Gradients of the layer's input (`[tokens, hidden]`, if `wanted`) and of its adapted projections.
    ///
    /// - `dy`: gradient of the output stream, `[rows, hidden]`; `saved`: as [`Layer::forward`] returned it.
    pub fn backward(
        &self,
        dy: &Tensor,
        saved: &Saved,
        pass: LayerPass<'_>,
        wanted: InputGradient,
    ) -> Result<(Option<Tensor>, PerProjection<LoraPair>)> {
        let LayerPass { batch, shape, lora, rows } = pass;
        let mut gradients = PerProjection::default();
        let mut back = |projection,
                        dy: &Tensor,
                        x: Option<&Tensor>,
                        keys,
                        dx,
                        wanted|
         -> Result<Option<Tensor>> {
            let active = lora.active(projection, keys);
            let (dx, pair) = lora::backward(
                dy,
                x,
                saved.inner.get(projection),
                self.weight(projection),
                active.as_ref(),
                dx,
                wanted,
            )?;
            gradients.set(projection, pair);
            Ok(dx)
        };
        let keys = if rows == Rows::All { &batch.keys } else { &batch.kept_keys };
        let again = |needed: bool, make: &dyn Fn() -> Result<Tensor>| {
            if needed { make().map(Some) } else { Ok(None) }
        };
        let needed = InputGradient::Wanted;

        let act = again(lora.adapts(&[DownProj]), &|| swiglu::forward(&saved.gate, &saved.up))?;
        let dact = flows(back(DownProj, dy, act.as_ref(), keys, None, needed)?)?;
        let (dgate, dup) = swiglu::backward(&dact, &saved.gate, &saved.up)?;
        let m = again(lora.adapts(&[GateProj, UpProj]), &|| {
            rms_norm::apply(&saved.h, &saved.h_inv, &self.post_attention_layernorm)
        })?;
        let dm = back(GateProj, &dgate, m.as_ref(), keys, None, needed)?;
        let dm = flows(back(UpProj, &dup, m.as_ref(), keys, dm, needed)?)?;
        drop((act, dact, dgate, dup, m)); // makes room for the attention
        let dh = rms_norm::backward(
            &dm,
            &saved.h,
            &saved.h_inv,
            &self.post_attention_layernorm,
            Some(dy),
        )?;
        drop(dm);
        let d_o = flows(back(OProj, &dh, Some(&saved.o_rows), keys, None, needed)?)?;

        let (dh, d_o) = match rows {
            Rows::All => (dh, d_o),
            Rows::Kept => {
                let tokens = saved.x.dim(0)?;
                (
                    rows::backward(&dh, &batch.kept, tokens)?,
                    rows::backward(&d_o, &batch.kept, tokens)?,
                )
            }
        };
        let activations =
            Activations { q: &saved.q, k: &saved.k, v: &saved.v, o: &saved.o, lse: &saved.lse };
        let (dq, dk, dv) = attention::backward(&d_o, &activations, &batch.mask, shape.heads)?;
        let (dq, dk) = (
            rope::backward(dq, &batch.cos, &batch.sin)?,
            rope::backward(dk, &batch.cos, &batch.sin)?,
        );
        let a = again(lora.adapts(&[QProj, KProj, VProj]), &|| {
            rms_norm::apply(&saved.x, &saved.x_inv, &self.input_layernorm)
        })?;
        let mut da = None;
        for (projection, dy) in [(QProj, &dq), (KProj, &dk), (VProj, &dv)] {
            da = back(projection, dy, a.as_ref(), &batch.keys, da, wanted)?;
        }
        let dx = match wanted {
            InputGradient::Unwanted => None,
            InputGradient::Wanted => Some(rms_norm::backward(
                &flows(da)?,
                &saved.x,
                &saved.x_inv,
                &self.input_layernorm,
                Some(&dh),
            )?),
        };
        Ok((dx, gradients))
    }
}

/// The gradient of a projection's input; one that was wanted exists.
fn flows(gradient: Option<Tensor>) -> Result<Tensor> {
    gradient.map_or_else(|| bail!("the gradient of a projection's input is missing"), Ok)
}
