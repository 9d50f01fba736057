//! One decoder layer: `h = x + o_proj(attention(norm(x)))`, `y = h + down_proj(swiglu(gate_proj(norm(h)), up_proj(norm(h))))`.
//!
//! The reader of the layer computes the last sum, fused with the next norm.

use candle_core::{Result, Tensor, bail};

use super::batch::{Batch, TokenKeys};
use super::lora::{self, Active, Adapter, InputGradient, LoraPair, PerProjection};
use super::shape::Shape;
use crate::config::LoraSection;
use crate::config::Projection::{self, DownProj, GateProj, KProj, OProj, QProj, UpProj, VProj};
use crate::ops::dropout::DropoutMask;
use crate::ops::{attention, rms_norm, rope, rows, swiglu};

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

/// Which rows a layer computes after its attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// All tokens: the next layer's attention reads them.
    All,
    /// Those that predict a scored token: nothing reads the others after the last layer.
    Kept,
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

/// What the backward pass of a layer reads. It recomputes the normalised inputs and the feed-forward product, which are cheap.
#[derive(Debug, Clone)]
pub struct Saved {
    x: Tensor,
    x_inv: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    /// The rows of `o` that `o_proj` read.
    o_rows: Tensor,
    h: Tensor,
    h_inv: Tensor,
    gate: Tensor,
    up: Tensor,
    /// `A dropout(x)` of each adapted projection.
    inner: PerProjection<Tensor>,
}

/// Elements that a [`Saved`] holds for a token, or for a row computed after the attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elements {
    /// In the dtype of the model.
    pub activations: usize,
    /// Inverse norms and log-sum-exps: f32, or f64 where the model is.
    pub statistics: usize,
}

impl Saved {
    /// What a layer of `shape` with an adapter of `lora` keeps: for each token, and for each of the `rows` in addition.
    pub fn elements(shape: &Shape, lora: &LoraSection, rows: Rows) -> [Elements; 2] {
        let inner = |projections: &[Projection]| {
            lora.rank * projections.iter().filter(|p| lora.target_modules.contains(p)).count()
        };
        // Of all rows, `o_rows` is `o` itself.
        let o_rows = if rows == Rows::Kept { shape.query_width() } else { 0 };
        let token = Elements {
            // x, q and o, k and v
            activations: shape.hidden
                + 2 * shape.query_width()
                + 2 * shape.key_width()
                + inner(&[QProj, KProj, VProj]),
            statistics: 1 + shape.heads.heads, // x_inv, lse
        };
        let row = Elements {
            // h, gate and up
            activations: o_rows
                + shape.hidden
                + 2 * shape.intermediate
                + inner(&[OProj, GateProj, UpProj, DownProj]),
            statistics: 1, // h_inv
        };
        [token, row]
    }

    /// The layer's input, `[tokens, hidden]`: the only tensor kept under `recompute`.
    pub fn input(&self) -> &Tensor {
        &self.x
    }

    /// Keys (rotated to their positions) and values, each `[tokens, kv_heads * head_dim]`: what later tokens read.
    pub fn keys_values(&self) -> (&Tensor, &Tensor) {
        (&self.k, &self.v)
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
                (x, saved.inner.get(projection)),
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
        let (dq, dk, dv) = attention::backward(
            &d_o,
            (&saved.q, &saved.k, &saved.v),
            &saved.o,
            &saved.lse,
            &batch.mask,
            shape.heads,
        )?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pack::Pack;
    use crate::data::token_pair::TokenPair;
    use crate::ops::testing::random;
    use candle_core::{DType, Device};

    fn shape(heads: usize, kv_heads: usize, head_dim: usize) -> Shape {
        let config = serde_json::json!({
            "model_type": "llama", "vocab_size": 10, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 1,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim,
        });
        Shape::parse(&config.to_string(), "test").unwrap()
    }

    /// A layer's run over three pairs, one a twin: 15 tokens, of which 12 rows predict something.
    fn saved(shape: &Shape, section: &LoraSection, rows: Rows, dtype: DType) -> (Saved, Batch) {
        let pair = |prompt: &[u32], chosen: &[u32], rejected: &[u32]| {
            let [prompt, chosen, rejected] = [prompt, chosen, rejected].map(<[u32]>::to_vec);
            TokenPair { row: 0, prompt, chosen, rejected }
        };
        let pairs = [
            pair(&[1, 2, 3], &[4, 5], &[6, 7, 8]),
            pair(&[1, 2], &[3], &[3]),
            pair(&[4], &[5], &[6, 7]),
        ];
        let batch = Batch::new(&Pack::new(&pairs), shape.vocab, &shape.rotary(dtype, &Device::Cpu))
            .unwrap();
        let weight = |dims: &[usize]| (random(dims, 1, dtype) * 0.1).unwrap();
        let layer = Layer {
            input_layernorm: weight(&[shape.hidden]),
            projections: Projection::ALL.map(|projection| {
                let (out, from) = shape.projection(projection);
                Linear { weight: weight(&[out, from]) }
            }),
            post_attention_layernorm: weight(&[shape.hidden]),
        };
        let adapter =
            Adapter::fresh(shape, section, 1, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let dropout = Some(Dropout { probability: 0.5, seed: 1, step: 2 });
        let lora = LayerLora { layer: 0, adapter: Some(&adapter), dropout };
        let tokens = batch.ids.dim(0).unwrap();
        let part = |seed| random(&[tokens, shape.hidden], seed, dtype);
        let input = Stream { base: part(2), delta: Some(part(3)) };
        let pass = LayerPass { batch: &batch, shape, lora, rows };
        let (_, saved) = layer.forward(&input, pass).unwrap();
        (saved, batch)
    }

    /// Elements of tensors that are not each other's copies.
    fn count<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> usize {
        let mut seen = std::collections::HashSet::new();
        let own = |tensor: &&Tensor| seen.insert(tensor.id());
        tensors.into_iter().filter(own).map(Tensor::elem_count).sum()
    }

    #[test]
    fn a_saved_layer_holds_the_elements_that_are_planned_for_it() {
        let all = Projection::ALL.to_vec();
        for shape in [shape(4, 4, 6), shape(4, 2, 6), shape(3, 1, 10)] {
            for (rank, target_modules) in [
                (4, vec![QProj, VProj]),
                (3, vec![KProj, OProj, DownProj]),
                (2, vec![GateProj, UpProj]),
                (5, all.clone()),
            ] {
                let section = LoraSection { rank, target_modules, ..Default::default() };
                for (rows, dtype) in
                    [(Rows::All, DType::F32), (Rows::Kept, DType::F32), (Rows::Kept, DType::F64)]
                {
                    let (saved, batch) = saved(&shape, &section, rows, dtype);
                    // A new tensor of `Saved` must be named here, and is then missed in `Saved::elements`.
                    let Saved { x, x_inv, q, k, v, o, lse, o_rows, h, h_inv, gate, up, inner } =
                        &saved;
                    let activations = [x, q, k, v, o, o_rows, h, gate, up];
                    let activations =
                        count(activations.into_iter().chain(inner.iter().map(|(_, inner)| inner)));
                    let statistics = count([x_inv, lse, h_inv]);

                    let [token, row] = Saved::elements(&shape, &section, rows);
                    let tokens = batch.ids.dim(0).unwrap();
                    let rows = match rows {
                        Rows::All => tokens,
                        Rows::Kept => batch.kept.dim(0).unwrap(),
                    };
                    let planned =
                        |one: fn(Elements) -> usize| tokens * one(token) + rows * one(row);
                    assert_eq!(activations, planned(|of| of.activations), "{shape:?} {section:?}");
                    assert_eq!(statistics, planned(|of| of.statistics), "{shape:?} {section:?}");
                }
            }
        }
    }
}
