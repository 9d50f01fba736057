//! What a decoder layer keeps from its forward pass for its backward pass, and how much that is.

use candle_core::Tensor;

use super::batch::Rows;
use super::lora::PerProjection;
use super::plan::ModulePlan;
use super::shape::Shape;
use crate::config::Projection::{self, DownProj, GateProj, KProj, OProj, QProj, UpProj, VProj};

/// What the backward pass of a layer reads. It recomputes the normalised inputs and the feed-forward product, which are cheap.
#[derive(Debug, Clone)]
pub struct Saved {
    pub(super) x: Tensor,
    pub(super) x_inv: Tensor,
    pub(super) q: Tensor,
    pub(super) k: Tensor,
    pub(super) v: Tensor,
    pub(super) o: Tensor,
    pub(super) lse: Tensor,
    /// The rows of `o` that `o_proj` read.
    pub(super) o_rows: Tensor,
    pub(super) h: Tensor,
    pub(super) h_inv: Tensor,
    pub(super) gate: Tensor,
    pub(super) up: Tensor,
    /// `A dropout(x)` of each adapted projection.
    pub(super) inner: PerProjection<Tensor>,
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
    /// What a layer of `shape` with an adapter on `modules` keeps: for each token, and for each of the `rows` in addition.
    pub fn elements(
        shape: &Shape,
        modules: &PerProjection<ModulePlan>,
        rows: Rows,
    ) -> [Elements; 2] {
        let inner = |projections: &[Projection]| -> usize {
            projections.iter().filter_map(|p| modules.get(*p)).map(|module| module.rank).sum()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoraSection, Modules, Patterns};
    use crate::data::pack::Pack;
    use crate::data::token_pair::TokenPair;
    use crate::model::batch::Batch;
    use crate::model::frozen::Linear;
    use crate::model::layer::{Dropout, Layer, LayerLora, LayerPass, Stream};
    use crate::model::lora::Adapter;
    use crate::model::plan::AdapterPlan;
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
            TokenPair { prompt, chosen, rejected, ..TokenPair::default() }
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
                Linear { weight: weight(&[out, from]).into(), bias: Some(weight(&[out])) }
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
        let ranks = |ranks: &[(Projection, usize)]| {
            let named =
                ranks.iter().map(|(projection, rank)| (projection.name().to_owned(), *rank));
            Patterns(named.collect())
        };
        for shape in [shape(4, 4, 6), shape(4, 2, 6), shape(3, 1, 10)] {
            for (rank, target_modules, rank_pattern) in [
                (4, vec![QProj, VProj], ranks(&[])),
                (3, vec![KProj, OProj, DownProj], ranks(&[])),
                (2, vec![GateProj, UpProj], ranks(&[])),
                (5, all.clone(), ranks(&[(KProj, 2), (UpProj, 7)])),
            ] {
                let target_modules = Modules::of(target_modules);
                let section =
                    LoraSection { rank, target_modules, rank_pattern, ..Default::default() };
                let plan = AdapterPlan::of(&section, &shape).unwrap();
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

                    let [token, row] = Saved::elements(&shape, &plan.layers[0], rows);
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
