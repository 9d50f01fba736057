//! AdamW over an adapter: its moments, clipping by the global norm, one step.

use anyhow::{Context, Result, bail};
use candle_core::Tensor;

use crate::config::{OptimizerName, TrainSection};
use crate::model::lora::LoraTensors;
use crate::ops::adamw::{self, Norm, Parameter, Rule, Step, Update};

/// The moments of every adapter tensor and the number of updates.
#[derive(Debug, Clone)]
pub struct Optimizer {
    /// Running means of the gradients, shaped as the adapter, f32.
    pub first_moments: LoraTensors,
    /// Running means of the squared gradients, shaped as the adapter, f32.
    pub second_moments: LoraTensors,
    /// Updates of the adapter, without skipped steps.
    pub count: u64,
}

impl Optimizer {
    /// Zero moments for `adapter`.
    pub fn new(adapter: &LoraTensors) -> Result<Self> {
        let zero = || adapter.map(|tensor| tensor.zeros_like());
        Ok(Self { first_moments: zero()?, second_moments: zero()?, count: 0 })
    }

    /// Updates moments and adapter by one AdamW step. Nothing changes if the norm is not finite.
    ///
    /// - `adapter`, `gradients`: f32, A `[rank, in]` and B `[out, rank]` for each adapted projection.
    /// - `norm`: [`norm`] of `gradients`. They are scaled by `max_grad_norm / (norm + 1e-6)` if that is below 1 (PyTorch's
    ///   `clip_grad_norm_`); a `max_grad_norm` of 0 does not clip.
    /// - `learning_rates`: of A and of B; they differ in LoRA+ (arXiv 2402.12354).
    /// - `train`: the choice of AdamW, `max_grad_norm` and the weight decay.
    ///
    /// Returns the adapter after the step. On a GPU the update is queued and overwrites the tensors of `adapter`. The
    /// caller raises [`Self::count`] once it knows the norm. A tensor without a gradient is an error.
    pub fn step(
        &mut self,
        adapter: &LoraTensors,
        gradients: &LoraTensors,
        norm: &Norm,
        learning_rates: [f64; 2],
        train: &TrainSection,
    ) -> Result<LoraTensors> {
        let (count, weight_decay) = (self.count + 1, train.weight_decay);
        let rule = match train.optimizer {
            OptimizerName::AdamwTorch => Rule::Torch,
            OptimizerName::AdamwHf => Rule::Transformers,
        };
        let steps =
            learning_rates.map(|learning_rate| Step { learning_rate, weight_decay, count, rule });
        let mut updates = Vec::new();
        let moments = self.first_moments.layers.iter().zip(&self.second_moments.layers);
        for ((pairs, gradients), (m, v)) in
            adapter.layers.iter().zip(&gradients.layers).zip(moments)
        {
            for (projection, pair) in pairs.iter() {
                let (Some(gradient), Some(m), Some(v)) =
                    (gradients.get(projection), m.get(projection), v.get(projection))
                else {
                    bail!("a gradient is missing");
                };
                let mut push = |value: &Tensor, m: &Tensor, v: &Tensor, gradient, step| {
                    let parameter = Parameter {
                        value: value.clone(),
                        first_moment: m.clone(),
                        second_moment: v.clone(),
                    };
                    updates.push(Update { parameter, gradient, step });
                };
                push(&pair.a, &m.a, &v.a, &gradient.a, steps[0]);
                push(&pair.b, &m.b, &v.b, &gradient.b, steps[1]);
            }
        }
        let updated = adamw::update_all(updates, norm, train.max_grad_norm)?;
        // `LoraTensors::map` visits the tensors in the order in which they were pushed.
        let collect = |part: fn(&Parameter) -> &Tensor| {
            let mut each = updated.iter().map(part);
            adapter.map(|_| each.next().cloned().context("a tensor was not updated"))
        };
        self.first_moments = collect(|parameter| &parameter.first_moment)?;
        self.second_moments = collect(|parameter| &parameter.second_moment)?;
        collect(|parameter| &parameter.value)
    }
}

/// Global L2 norm over all tensors; not finite if any element is not. A GPU only queues the computation.
pub fn norm(gradients: &LoraTensors) -> Result<Norm> {
    let all: Vec<_> = gradients.iter().map(|(.., gradient)| gradient).collect();
    Ok(adamw::norm(&all)?)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::config::Projection;
    use crate::model::lora::{LoraPair, PerProjection};
    use crate::ops::testing::{assert_close, random};

    #[test]
    fn a_and_b_each_step_by_their_own_learning_rate() {
        let one = |seed| {
            let pair = LoraPair {
                a: random(&[3, 5], seed, DType::F64),
                b: random(&[4, 3], seed + 1, DType::F64),
            };
            let mut layer = PerProjection::default();
            layer.set(Projection::QProj, Some(pair));
            LoraTensors { layers: vec![layer] }
        };
        let (adapter, gradients) = (one(1), one(10));
        let train = TrainSection { max_grad_norm: 0.0, ..TrainSection::default() };
        let stepped = Optimizer::new(&adapter)
            .unwrap()
            .step(&adapter, &gradients, &norm(&gradients).unwrap(), [1e-3, 4e-3], &train)
            .unwrap();
        // Adam's first step moves each element by the learning rate, against the sign of its gradient.
        for ((.., letter, was), ((.., gradient), (.., now))) in
            adapter.iter().zip(gradients.iter().zip(stepped.iter()))
        {
            let rate = if letter == 'A' { 1e-3 } else { 4e-3 };
            let want = (was - (gradient.sign().unwrap() * rate).unwrap()).unwrap();
            assert_close(&letter.to_string(), now, &want, 1e-8);
        }
    }

    #[test]
    fn the_optimizer_of_transformers_moves_a_tiny_gradient_less() {
        let of = |optimizer| {
            let mut layer = PerProjection::default();
            let [a, b] = [1, 2].map(|seed| random(&[2, 2], seed, DType::F64));
            layer.set(Projection::QProj, Some(LoraPair { a, b }));
            let adapter = LoraTensors { layers: vec![layer] };
            let gradients = adapter.map(|tensor| tensor * 1e-7).unwrap();
            let norm = norm(&gradients).unwrap();
            let train = TrainSection { optimizer, ..TrainSection::default() };
            let mut state = Optimizer::new(&adapter).unwrap();
            let stepped = state.step(&adapter, &gradients, &norm, [1e-3; 2], &train).unwrap();
            let moved = |((.., was), (.., now)): ((_, _, _, &Tensor), (_, _, _, &Tensor))| {
                let moved = (was - now).unwrap().abs().unwrap().sum_all().unwrap();
                moved.to_scalar::<f64>().unwrap()
            };
            adapter.iter().zip(stepped.iter()).map(moved).sum::<f64>()
        };
        let [torch, transformers] = OptimizerName::ALL.map(of);
        assert!(transformers < 0.5 * torch, "{transformers} {torch}");
    }
}
