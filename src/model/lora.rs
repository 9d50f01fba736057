//! LoRA (Hu et al. 2022): `y = W x + scale B A dropout(x)` beside a frozen linear layer, with the scale of [`ModulePlan::scale`].
//!
//! A, B, their gradients and the optimizer's moments are f32 whatever the base is.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::frozen::Linear;
pub use super::plan::PerProjection;
use super::plan::{AdapterPlan, ModulePlan};
use super::shape::Shape;
use crate::config::{LoraSection, Projection};
use crate::ops::dropout::DropoutMask;
use crate::ops::philox::Philox;
use crate::ops::{bias, linear};

/// The two factors of one adapted projection, or their gradients or moments.
#[derive(Debug, Clone)]
pub struct LoraPair {
    /// `[rank, in]`.
    pub a: Tensor,
    /// `[out, rank]`.
    pub b: Tensor,
}

/// A [`LoraPair`] for every adapted projection of every layer: weights, gradients and moments alike.
#[derive(Debug, Clone, Default)]
pub struct LoraTensors {
    /// One for each decoder layer.
    pub layers: Vec<PerProjection<LoraPair>>,
}

impl LoraTensors {
    /// Every tensor with its layer, projection and factor (`A` or `B`), in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Projection, char, &Tensor)> {
        self.layers.iter().enumerate().flat_map(|(layer, pairs)| {
            pairs.iter().flat_map(move |(projection, pair)| {
                [(layer, projection, 'A', &pair.a), (layer, projection, 'B', &pair.b)]
            })
        })
    }

    /// Applies `f` to every tensor.
    pub fn map<E>(
        &self,
        mut f: impl FnMut(&Tensor) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<Self, E> {
        let mut layers = Vec::with_capacity(self.layers.len());
        for pairs in &self.layers {
            let mut mapped = PerProjection::default();
            for (projection, pair) in pairs.iter() {
                mapped.set(projection, Some(LoraPair { a: f(&pair.a)?, b: f(&pair.b)? }));
            }
            layers.push(mapped);
        }
        Ok(Self { layers })
    }

    /// The sum of two sets of gradients. Refuses sets over different modules: a missing gradient is an error.
    pub fn add(&self, other: &Self) -> Result<Self> {
        let mut rest = other.iter();
        let sum = self.map(|tensor| match rest.next() {
            Some((.., next)) => tensor + next,
            None => bail!("a gradient is missing"),
        })?;
        match rest.next() {
            Some(_) => bail!("a gradient is missing"),
            None => Ok(sum),
        }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.iter().map(|(.., tensor)| tensor.elem_count()).sum()
    }
}

/// An adapter and how it is applied.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// The adapted modules, with rank and scale.
    pub plan: AdapterPlan,
    /// A and B of every adapted module.
    pub tensors: LoraTensors,
}

impl Adapter {
    /// A fresh adapter as PEFT makes it: A Kaiming-uniform with `a = sqrt 5`, which is uniform in `±1 / sqrt(in)`; B zero.
    ///
    /// Refuses a section that [`AdapterPlan::of`] refuses.
    pub fn fresh(
        shape: &Shape,
        section: &LoraSection,
        seed: u64,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let plan = AdapterPlan::of(section, shape)?;
        let mut layers = Vec::with_capacity(shape.layers);
        for (layer, modules) in plan.layers.iter().enumerate() {
            let mut pairs = PerProjection::default();
            for (projection, &ModulePlan { rank, .. }) in modules.iter() {
                let (out, from) = shape.projection(projection);
                let bound = 1.0 / (from as f64).sqrt();
                let philox =
                    Philox::new(seed, INIT_STREAM | module_number(layer, projection) as u64);
                let a = (0..(rank * from) as u64)
                    .map(|i| ((philox.uniform(i) * 2.0 - 1.0) * bound) as f32)
                    .collect();
                let a =
                    Tensor::from_vec::<_, f32>(a, (rank, from), &Device::Cpu)?.to_device(device)?;
                pairs.set(
                    projection,
                    Some(LoraPair { a, b: Tensor::zeros((out, rank), DType::F32, device)? }),
                );
            }
            layers.push(pairs);
        }
        Ok(Self { plan, tensors: LoraTensors { layers } })
    }

    /// The adapter in `dtype`, that of the base it is applied to.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            plan: self.plan.clone(),
            tensors: self.tensors.map(|tensor| tensor.to_dtype(dtype))?,
        })
    }

    /// The adapter on `device`.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self {
            plan: self.plan.clone(),
            tensors: self.tensors.map(|tensor| tensor.to_device(device))?,
        })
    }

    /// A module's factors with their scale; none if it is not adapted.
    pub fn module(&self, layer: usize, projection: Projection) -> Option<(&LoraPair, f64)> {
        let pair = self.tensors.layers.get(layer)?.get(projection)?;
        Some((pair, self.plan.get(layer, projection)?.scale()))
    }
}

/// Stream of [`Philox`] numbers of initial weights; orders of epochs use the small stream numbers.
const INIT_STREAM: u64 = 1 << 40;

/// Number of a module among all, a key of random numbers.
pub fn module_number(layer: usize, projection: Projection) -> u32 {
    256 * layer as u32 + projection as u32
}

/// One adapted projection in use.
pub struct Active<'a> {
    /// A and B in the dtype of the base.
    pub pair: &'a LoraPair,
    /// [`ModulePlan::scale`].
    pub scale: f64,
    /// Dropout of this module at this step; none when evaluating.
    pub mask: Option<DropoutMask<'a>>,
}

impl Active<'_> {
    fn dropped(&self, x: &Tensor) -> Result<Tensor> {
        self.mask.as_ref().map_or_else(|| Ok(x.clone()), |mask| mask.apply(x))
    }
}

/// `y = W x + b + scale B A dropout(x)` and `A dropout(x)` (`[tokens, rank]`), which the backward pass needs.
///
/// - `x`: `[tokens, in]`; `frozen`: W, `[out, in]`, and b, `[out]`, where the model has one. Returns `[tokens, out]`.
pub fn forward(
    x: &Tensor,
    frozen: &Linear,
    lora: Option<&Active<'_>>,
) -> Result<(Tensor, Option<Tensor>)> {
    let mut y = linear::forward(x, &frozen.weight)?;
    if let Some(of_rows) = &frozen.bias {
        y = bias::forward(y, of_rows)?;
    }
    let Some(lora) = lora else { return Ok((y, None)) };
    let inner = linear::forward(&lora.dropped(x)?, &lora.pair.a)?;
    linear::add_product_transposed(&y, &inner, &lora.pair.b, lora.scale)?;
    Ok((y, Some(inner)))
}

/// Gradients of A and B, f32 (f64 if everything is): `dB = scale dy^T inner`, `dA = scale (dy B)^T dropout(x)`; and the
/// gradient of `x`, `dy W + dropout(scale dy B A)`, added to `dx` in place, or alone where `dx` is none. A bias changes none of them
/// ([`bias::backward`]).
///
/// - `dy`: `[tokens, out]`; `x`, `inner`: as in [`forward`]; `x` is read only with an adapter.
/// - `dx`: sum over other projections of the same input, none for the first; `wanted`: whether anybody reads it.
pub fn backward(
    dy: &Tensor,
    x: Option<&Tensor>,
    inner: Option<&Tensor>,
    frozen: &Linear,
    lora: Option<&Active<'_>>,
    dx: Option<Tensor>,
    wanted: InputGradient,
) -> Result<(Option<Tensor>, Option<LoraPair>)> {
    let mut dx = match (wanted, dx) {
        (InputGradient::Unwanted, dx) => dx,
        (InputGradient::Wanted, None) => Some(linear::backward(dy, &frozen.weight)?),
        (InputGradient::Wanted, Some(dx)) => {
            linear::add_product(&dx, dy, &frozen.weight, 1.0)?;
            Some(dx)
        }
    };
    let Some(lora) = lora else { return Ok((dx, None)) };
    let (Some(x), Some(inner)) = (x, inner) else {
        bail!("the forward pass kept nothing of an adapted projection")
    };
    let dinner = linear::scaled_backward(dy, &lora.pair.b, lora.scale)?;
    let a = linear::weight_gradient(&dinner, &lora.dropped(x)?, 1.0)?;
    let b = linear::weight_gradient(dy, inner, lora.scale)?;
    dx = match (dx, &lora.mask) {
        (Some(dx), Some(mask)) => Some(mask.add(dx, &linear::backward(&dinner, &lora.pair.a)?)?),
        (Some(dx), None) => {
            linear::add_product(&dx, &dinner, &lora.pair.a, 1.0)?;
            Some(dx)
        }
        (None, _) => None,
    };
    Ok((dx, Some(LoraPair { a, b })))
}

/// Whether anybody reads the gradient of a projection's input; below the lowest adapted layer nobody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputGradient {
    /// The layer below reads it.
    Wanted,
    /// What is below is frozen: nothing reads it.
    Unwanted,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random, tape};

    #[test]
    fn gradients_agree_with_the_tape_with_and_without_dropout() {
        let [x, weight, a, b, dy] = [[5, 6], [7, 6], [3, 6], [7, 3], [5, 7]]
            .map(|shape| random(&shape, shape[0] as u64 + 10, DType::F64));
        let of_rows = random(&[7], 30, DType::F64);
        let frozen = Linear { weight: weight.clone().into(), bias: Some(of_rows.clone()) };
        let pair = LoraPair { a: a.clone(), b: b.clone() };
        let [rows, offsets] =
            [[4u32; 5], [0, 1, 2, 3, 4]].map(|keys| Tensor::new(&keys, &Device::Cpu).unwrap());
        let mask = DropoutMask {
            probability: 0.4,
            seed: 1,
            step: 2,
            module: 3,
            pair_rows: &rows,
            offsets: &offsets,
        };
        for mask in [None, Some(mask)] {
            let lora = Active { pair: &pair, scale: 1.5, mask: mask.clone() };
            let factor = mask.as_ref().map_or_else(
                || x.ones_like().unwrap(),
                |m| m.apply(&x.ones_like().unwrap()).unwrap(),
            );
            let want = tape(&[&x, &a, &b], &dy, |t| {
                let inner = (&t[0] * &factor)?.matmul(&t[1].t()?)?.matmul(&t[2].t()?)?;
                t[0].matmul(&weight.t()?)?.broadcast_add(&of_rows)? + (inner * 1.5)?
            });
            let (y, inner) = forward(&x, &frozen, Some(&lora)).unwrap();
            let plain = Linear { bias: None, ..frozen.clone() };
            let without = forward(&x, &plain, Some(&lora)).unwrap().0;
            assert_close(
                "b",
                &(y - without).unwrap(),
                &of_rows.broadcast_as((5, 7)).unwrap(),
                1e-12,
            );
            let started = random(&[5, 6], 77, DType::F64);
            let before = started.copy().unwrap();
            let (dx, pair) = backward(
                &dy,
                Some(&x),
                inner.as_ref(),
                &frozen,
                Some(&lora),
                Some(started),
                InputGradient::Wanted,
            )
            .unwrap();
            let pair = pair.unwrap();
            assert_close("dx", &dx.unwrap(), &(&want[0] + before).unwrap(), 1e-12);
            assert_close("dA", &pair.a, &want[1], 1e-12);
            assert_close("dB", &pair.b, &want[2], 1e-12);
        }
    }

    #[test]
    fn a_missing_gradient_is_an_error() {
        let mut one = PerProjection::default();
        one.set(
            Projection::QProj,
            Some(LoraPair { a: random(&[1, 2], 1, DType::F32), b: random(&[2, 1], 2, DType::F32) }),
        );
        let (some, none) = (
            LoraTensors { layers: vec![one] },
            LoraTensors { layers: vec![PerProjection::default()] },
        );
        assert!(some.add(&none).is_err() && none.add(&some).is_err());
        assert_eq!(some.add(&some).unwrap().parameters(), 4);
    }
}
