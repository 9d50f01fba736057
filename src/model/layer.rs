//! One decoder layer: `h = x + o_proj(attention(norm(x)))`, `y = h + down_proj(swiglu(gate_proj(norm(h)), up_proj(norm(h))))`.
//!
//! The reader of the layer computes the last sum, fused with the next norm.

use candle_core::{Result, Tensor, bail};

use super::batch::{Batch, Rows, TokenKeys};
use super::frozen::Linear;
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
        let (pair, scale) = self.adapter?.module(self.layer, projection)?;
        let mask = self.dropout.map(|dropout| DropoutMask {
            probability: dropout.probability,
            seed: dropout.seed,
            step: dropout.step,
            module: lora::module_number(self.layer, projection),
            pair_rows: &keys.pair_rows,
            offsets: &keys.offsets,
        });
        Some(Active { pair, scale, mask })
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
    /// The frozen weights of `projection`.
    pub fn linear(&self, projection: Projection) -> &Linear {
        &self.projections[projection as usize]
    }

    /// Runs the layer on `input` (`[tokens, hidden]`) and keeps what [`Layer::backward`] reads.
    pub fn forward(&self, input: &Stream, pass: LayerPass<'_>) -> Result<(Stream, Saved)> {
        let LayerPass { batch, shape, lora, rows } = pass;
        let mut inner = PerProjection::default();
        let mut project = |projection, x: &Tensor, keys| -> Result<Tensor> {
            let (y, kept) =
                lora::forward(x, self.linear(projection), lora.active(projection, keys).as_ref())?;
            inner.set(projection, kept);
            Ok(y)
        };
        let rms_norm::Normed { sum: x, y: a, inv: x_inv } = rms_norm::forward(
            &input.base,
            input.delta.as_ref(),
            &self.input_layernorm,
            shape.rms_norm_eps,
        )?;
        let turn = |x| rope::forward(x, &batch.cos, &batch.sin, shape.heads.head_dim);
        let q = turn(project(QProj, &a, &batch.keys)?)?;
        let k = turn(project(KProj, &a, &batch.keys)?)?;
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
                self.linear(projection),
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
        let turn_back = |dy| rope::backward(dy, &batch.cos, &batch.sin, shape.heads.head_dim);
        let (dq, dk) = (turn_back(dq)?, turn_back(dk)?);
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
    use crate::config::{LoraSection, Modules};
    use crate::data::pack::Pack;
    use crate::data::token_pair::TokenPair;
    use crate::ops::testing::{assert_close, finite_difference, random};
    use candle_core::{DType, Device};
    use serde_json::{Value, json};

    /// Numbers within -0.5 and 0.5: outliers would saturate the softmax and cost the differences their digits.
    fn number(dims: &[usize], seed: u64) -> Tensor {
        (random(dims, seed, DType::F64).tanh().unwrap() * 0.5).unwrap()
    }

    /// A layer with every bias of a model of `changes`, an adapter on all of it, and pairs on both sides of a switch at 6 tokens.
    struct Case {
        shape: Shape,
        layer: Layer,
        adapter: Adapter,
        batch: Batch,
    }

    impl Case {
        fn of(changes: &Value) -> Self {
            let mut config = json!({
                "model_type": "llama", "vocab_size": 10, "hidden_size": 12, "intermediate_size": 10, "num_hidden_layers": 1,
                "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 6,
            });
            config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let shape = Shape::parse(&config.to_string(), "test").unwrap();
            let layer = Layer {
                input_layernorm: number(&[12], 1),
                projections: Projection::ALL.map(|projection| {
                    let (out, from) = shape.projection(projection);
                    let seed = 10 + projection as u64;
                    let bias = shape.has_bias(projection).then(|| number(&[out], 20 + seed));
                    Linear { weight: number(&[out, from], seed).into(), bias }
                }),
                post_attention_layernorm: number(&[12], 2),
            };
            let target_modules = Modules::of(Projection::ALL);
            let section =
                LoraSection { rank: 2, alpha: 1.0, target_modules, ..LoraSection::default() };
            let mut adapter = Adapter::fresh(&shape, &section, 1, &Device::Cpu).unwrap();
            let fill = |t: &Tensor| Ok::<_, candle_core::Error>(number(t.dims(), 50));
            adapter.tensors = adapter.tensors.map(fill).unwrap();
            let pair = |answers: [&[u32]; 2]| TokenPair {
                prompt: vec![1, 2, 3],
                chosen: answers[0].to_vec(),
                rejected: answers[1].to_vec(),
                ..TokenPair::default()
            };
            let mut pairs = [pair([&[4], &[5, 6]]), pair([&[4, 5], &[6, 7, 8, 9]])];
            shape.rope.set_apart(&mut pairs);
            let rotary = shape.rotary(DType::F64, &Device::Cpu);
            let batch = Batch::new(&Pack::new(&pairs), shape.vocab, &rotary).unwrap();
            Self { shape, layer, adapter, batch }
        }

        fn pass<'a>(&'a self, adapter: &'a Adapter) -> LayerPass<'a> {
            let lora = LayerLora { layer: 0, adapter: Some(adapter), dropout: None };
            LayerPass { batch: &self.batch, shape: &self.shape, lora, rows: Rows::All }
        }

        fn output(&self, x: &Tensor, adapter: &Adapter) -> Result<Tensor> {
            let input = Stream { base: x.clone(), delta: None };
            let (out, _) = self.layer.forward(&input, self.pass(adapter))?;
            out.delta.map_or_else(|| Ok(out.base.clone()), |delta| &out.base + delta)
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences_for_biases_and_every_kind_of_rope() {
        let long_rope = json!({
            "rope_type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 3.0], "partial_rotary_factor": 0.5,
            "factor": 4.0
        });
        for changes in [
            json!({"attention_bias": true}),
            json!({"mlp_bias": true}),
            json!({"rope_scaling": {"type": "linear", "factor": 1.0, "partial_rotary_factor": 0.25}}),
            json!({"attention_bias": true, "mlp_bias": true, "rope_scaling": {"type": "yarn", "factor": 4.0}}),
            json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
            json!({"attention_bias": true, "rope_scaling": long_rope}),
        ] {
            let case = Case::of(&changes);
            let dims = [case.batch.ids.dim(0).unwrap(), 12];
            let [x, dy] = [3, 4].map(|seed| number(&dims, seed));
            let input = Stream { base: x.clone(), delta: None };
            let (_, saved) = case.layer.forward(&input, case.pass(&case.adapter)).unwrap();
            let (dx, pairs) = case
                .layer
                .backward(&dy, &saved, case.pass(&case.adapter), InputGradient::Wanted)
                .unwrap();
            let want = finite_difference(&x, &dy, |x| case.output(x, &case.adapter));
            assert_close(&format!("dx of {changes}"), &dx.unwrap(), &want, 1e-6);
            assert_eq!(pairs.iter().count(), 7);
            for (projection, pair) in pairs.iter() {
                let of_b = case.adapter.tensors.layers[0].get(projection).unwrap().b.clone();
                let want = finite_difference(&of_b, &dy, |b| {
                    let mut adapter = case.adapter.clone();
                    let a = case.adapter.tensors.layers[0].get(projection).unwrap().a.clone();
                    adapter.tensors.layers[0].set(projection, Some(LoraPair { a, b: b.clone() }));
                    case.output(&x, &adapter)
                });
                assert_close(&format!("dB of {projection:?}, {changes}"), &pair.b, &want, 1e-6);
            }
        }
    }
}
