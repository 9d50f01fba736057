//! AdamW (Loshchilov and Hutter 2019), in the order of PyTorch's fused kernel or by transformers' rule, and the gradient norm for clipping.
//!
//! `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, then with `r = sqrt(1 - b2^t)`
//! PyTorch: `p = p (1 - lr wd) - lr / (1 - b1^t) * m / (sqrt(v) / r + eps)`,
//! transformers: `p = (p - lr r / (1 - b1^t) * m / (sqrt(v) + eps)) (1 - lr wd)`.
//!
//! Both are `p = p keep - size m / (sqrt(v) / root + eps)`, so they share one body and one kernel.

use candle_core::{Result, Tensor, WithDType};

use crate::ops::cpu::{self, Real, on_cpu, vectorised};
#[cfg(feature = "cuda")]
use crate::ops::cuda::arriving::Arriving;

/// First-moment decay.
pub const BETA1: f64 = 0.9;
/// Second-moment decay.
pub const BETA2: f64 = 0.999;
/// Added to the denominator.
pub const EPS: f64 = 1e-8;

/// Whose AdamW: where eps is added and when the weights decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// PyTorch's: eps is added after the bias correction of the second moment, and the weights decay before the update.
    Torch,
    /// That of transformers up to 4: eps is added before the bias correction, and the weights decay after the update.
    Transformers,
}

/// Settings of one step for one tensor.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Steps taken including this one, from 1.
    pub count: u64,
    /// Whose AdamW.
    pub rule: Rule,
}

/// A parameter and its moments, all of one shape, f32.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its value.
    pub value: Tensor,
    /// Running mean of the gradient.
    pub first_moment: Tensor,
    /// Running mean of its square.
    pub second_moment: Tensor,
}

/// The parameter and moments after one step with `scale * gradient`. No backward: nothing differentiates the optimizer.
pub fn update(
    parameter: &Parameter,
    gradient: &Tensor,
    step: &Step,
    scale: f64,
) -> Result<Parameter> {
    on_cpu!("adamw", gradient, T => update_cpu::<<T as cpu::Element>::Work>(parameter, gradient, step, scale))
}

/// Sum of the squares of `gradient`, accumulated in f64. Infinite or NaN where the gradient is.
fn sum_of_squares(gradient: &Tensor) -> Result<f64> {
    on_cpu!("sum_of_squares", gradient, T => Ok(cpu::elements::<T>(gradient)?.iter().map(|g| g.to_f64().powi(2)).sum()))
}

/// The L2 norm over all gradients of a step; a GPU may not have computed it yet.
pub struct Norm(Computed);

enum Computed {
    Here(f64),
    #[cfg(feature = "cuda")]
    There {
        /// `[1]`, f64, for the update that is queued after it.
        norm: Tensor,
        /// The copy for the host.
        arriving: Arriving,
    },
}

impl Norm {
    /// The norm, accumulated in f64: infinite or NaN where a gradient is. Waits until a GPU has computed it.
    pub fn get(&self) -> Result<f64> {
        match &self.0 {
            Computed::Here(norm) => Ok(*norm),
            #[cfg(feature = "cuda")]
            Computed::There { arriving, .. } => arriving.get(),
        }
    }
}

/// The L2 norm over all gradients. On a GPU it is queued, and the call does not wait.
pub fn norm(gradients: &[&Tensor]) -> Result<Norm> {
    #[cfg(feature = "cuda")]
    if let Some(first) = gradients.first().filter(|first| first.device().is_cuda()) {
        let norm = launch::norm(gradients, first)?;
        return Ok(Norm(Computed::There { arriving: Arriving::of(&norm)?, norm }));
    }
    let mut squares = 0.0;
    for gradient in gradients {
        squares += sum_of_squares(gradient)?;
    }
    Ok(Norm(Computed::Here(squares.sqrt())))
}

/// Factor that clips gradients of this norm: `max_norm / (norm + 1e-6)` where that is below 1, as PyTorch's `clip_grad_norm_`;
/// a `max_norm` of 0 does not clip.
fn scale(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

/// One tensor's part of a step.
#[derive(Debug, Clone)]
pub struct Update<'a> {
    /// The parameter and its moments.
    pub parameter: Parameter,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// Its settings; all updates of a step have the same count and rule.
    pub step: Step,
}

/// [`update`] of all tensors of a step whose gradients have this `norm`, clipped to `max_norm`. Changes nothing if the norm is not finite.
/// On a GPU one launch overwrites the parameters and moments: the result shares their memory, so nothing else may.
pub fn update_all(updates: Vec<Update<'_>>, norm: &Norm, max_norm: f64) -> Result<Vec<Parameter>> {
    let norm = match &norm.0 {
        Computed::Here(norm) => *norm,
        #[cfg(feature = "cuda")]
        Computed::There { norm, .. } => {
            launch::update_all(&updates, norm, max_norm)?;
            return Ok(updates.into_iter().map(|update| update.parameter).collect());
        }
    };
    if !norm.is_finite() {
        return Ok(updates.into_iter().map(|update| update.parameter).collect());
    }
    let scale = scale(norm, max_norm);
    updates.iter().map(|part| update(&part.parameter, part.gradient, &part.step, scale)).collect()
}

impl Step {
    /// `keep` and `size` of the update.
    pub fn keep_and_size(&self) -> (f64, f64) {
        let keep = 1.0 - self.learning_rate * self.weight_decay;
        let size = self.learning_rate / (1.0 - BETA1.powf(self.count as f64));
        match self.rule {
            Rule::Torch => (keep, size),
            Rule::Transformers => (keep, keep * size * self.correction()),
        }
    }

    /// `root` of the update.
    pub fn root(&self) -> f64 {
        match self.rule {
            Rule::Torch => self.correction(),
            Rule::Transformers => 1.0,
        }
    }

    /// `sqrt(1 - b2^t)`.
    fn correction(&self) -> f64 {
        (1.0 - BETA2.powf(self.count as f64)).sqrt()
    }
}

fn update_cpu<T: Real>(
    parameter: &Parameter,
    gradient: &Tensor,
    step: &Step,
    scale: f64,
) -> Result<Parameter> {
    let shape = gradient.shape().clone();
    let mut value = cpu::elements::<T>(&parameter.value)?.to_vec();
    let mut first = cpu::elements::<T>(&parameter.first_moment)?.to_vec();
    let mut second = cpu::elements::<T>(&parameter.second_moment)?.to_vec();
    let gradient = cpu::elements::<T>(gradient)?;
    let gradient = &gradient[..];

    let real = T::from_f64;
    let (keep, size) = step.keep_and_size();
    let (keep, size) = (real(keep), real(size));
    let (scale, root, eps) = (real(scale), real(step.root()), real(EPS));
    let (beta1, beta2, rest1, rest2) =
        (real(BETA1), real(BETA2), real(1.0 - BETA1), real(1.0 - BETA2));
    vectorised(
        #[inline(always)]
        || {
            for (((p, m), v), &g) in value.iter_mut().zip(&mut first).zip(&mut second).zip(gradient)
            {
                let g = g * scale;
                *m = beta1 * *m + rest1 * g;
                *v = beta2 * *v + rest2 * g * g;
                *p = *p * keep - size * *m / (Real::sqrt(*v) / root + eps);
            }
        },
    );
    Ok(Parameter {
        value: cpu::tensor(value, shape.clone())?,
        first_moment: cpu::tensor(first, shape.clone())?,
        second_moment: cpu::tensor(second, shape)?,
    })
}

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{DType, Result, Tensor, bail};

    use super::{BETA1, BETA2, EPS, Update};
    use crate::ops::cuda::{self, Launch, Module, THREADS};

    const MODULE: Module = cuda::module!("adamw");

    /// 64-bit words of the kernels' `struct Parameter`.
    const WORDS: usize = 6;

    /// `keep` and `size` of a `struct Parameter` in one word.
    fn pair(keep: f64, size: f64) -> u64 {
        u64::from((keep as f32).to_bits()) | u64::from((size as f32).to_bits()) << 32
    }

    /// A launch whose first argument is the table of tensors, that table, and the grid for tensors of at most `largest` elements.
    fn over(
        kernel: &str,
        table: Vec<u64>,
        like: &Tensor,
        largest: usize,
    ) -> Result<(Launch<'static>, Tensor, (usize, usize))> {
        let tensors = table.len() / WORDS;
        let words: Vec<i64> = table.into_iter().map(|word| word as i64).collect();
        let table = Tensor::from_vec(words, (tensors, WORDS), like.device())?;
        let launch =
            MODULE.launch_untyped(kernel, like)?.tensor(&table, DType::I64, &[tensors, WORDS])?;
        Ok((launch, table, (cuda::blocks(largest, 4), tensors)))
    }

    fn f32_only(tensor: &Tensor, shape: &[usize]) -> Result<u64> {
        if tensor.dtype() != DType::F32 || tensor.dims() != shape {
            bail!("adamw: expected F32 {shape:?}, got {:?} {:?}", tensor.dtype(), tensor.dims());
        }
        cuda::address(tensor)
    }

    /// `norm`: `[1]`, f64.
    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn update_all(updates: &[Update<'_>], norm: &Tensor, max_norm: f64) -> Result<()> {
        let Some(first) = updates.first() else { return Ok(()) };
        let mut table = Vec::with_capacity(updates.len() * WORDS);
        for Update { parameter, gradient, step } in updates {
            if step.count != first.step.count {
                bail!("adamw: expected step {}, got {}", first.step.count, step.count);
            }
            if step.rule != first.step.rule {
                bail!("adamw: expected the rule {:?}, got {:?}", first.step.rule, step.rule);
            }
            let shape = gradient.dims();
            let (keep, size) = step.keep_and_size();
            table.extend([
                f32_only(&parameter.value, shape)?,
                f32_only(&parameter.first_moment, shape)?,
                f32_only(&parameter.second_moment, shape)?,
                f32_only(gradient, shape)?,
                gradient.elem_count() as u64,
                pair(keep, size),
            ]);
        }
        let largest = updates.iter().map(|part| part.gradient.elem_count()).max().unwrap_or(0);
        let (launch, _table, grid) = over("adamw_update", table, first.gradient, largest)?;
        let launch = launch
            .tensor(norm, DType::F64, &[1])?
            .double(max_norm)
            .float(first.step.root())
            .float(BETA1)
            .float(BETA2)
            .float(1.0 - BETA1)
            .float(1.0 - BETA2)
            .float(EPS);
        // SAFETY: the parameters of `adamw_update`; the table's tensors are f32 of the sizes in it, and each thread overwrites
        // the elements that it alone has read.
        unsafe { launch.run(grid, THREADS) }
    }

    /// The norm of `gradients`, `[1]`, f64; `first`: the first of them.
    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn norm(gradients: &[&Tensor], first: &Tensor) -> Result<Tensor> {
        let mut table = Vec::with_capacity(gradients.len() * WORDS);
        for gradient in gradients {
            let address = f32_only(gradient, gradient.dims())?;
            table.extend([0, 0, 0, address, gradient.elem_count() as u64, 0]);
        }
        let largest = gradients.iter().map(|gradient| gradient.elem_count()).max().unwrap_or(0);
        let (launch, _table, grid) = over("adamw_square_sums", table, first, largest)?;
        let sums = cuda::empty(first.device(), DType::F64, (grid.1, grid.0))?;
        let norm = cuda::empty(first.device(), DType::F64, 1)?;
        let launch = launch.tensor(&sums, DType::F64, &[grid.1, grid.0])?;
        // SAFETY: the parameters of `adamw_square_sums`; a sum per block, and `sums` is new.
        unsafe { launch.run(grid, THREADS) }?;
        let launch = MODULE
            .launch_untyped("adamw_norm", first)?
            .tensor(&sums, DType::F64, &[grid.1, grid.0])?
            .tensor(&norm, DType::F64, &[1])?
            .count(grid.0 * grid.1)?;
        // SAFETY: the parameters of `adamw_norm`; one block, and `norm` is new.
        unsafe { launch.run((1, 1), 4 * THREADS) }?;
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference;
    use crate::ops::testing::{NOT_FINITE, assert_close, broken, random};
    use candle_core::{DType, Var};
    use candle_nn::{AdamW, Optimizer, ParamsAdamW};

    #[test]
    fn the_norm_of_what_is_not_finite_is_not_finite() {
        for bad in NOT_FINITE {
            assert!(!sum_of_squares(&broken(&[5, 33], 1, 164, bad)).unwrap().is_finite());
        }
    }

    #[test]
    fn twenty_steps_agree_with_candles_adamw() {
        let start = random(&[5, 33], 1, DType::F64);
        let variable = Var::from_tensor(&start).unwrap();
        let params =
            ParamsAdamW { lr: 1e-2, beta1: BETA1, beta2: BETA2, eps: EPS, weight_decay: 0.1 };
        let mut peer = AdamW::new(vec![variable.clone()], params).unwrap();
        let zero = start.zeros_like().unwrap();
        let mut ours =
            Parameter { value: start.clone(), first_moment: zero.clone(), second_moment: zero };
        for count in 1..=20 {
            let gradient = random(&[5, 33], 100 + count, DType::F64);
            let loss = (variable.as_tensor() * &gradient).unwrap().sum_all().unwrap();
            peer.step(&loss.backward().unwrap()).unwrap();
            let step = Step { learning_rate: 1e-2, weight_decay: 0.1, count, rule: Rule::Torch };
            ours = update(&ours, &gradient, &step, 1.0).unwrap();
        }
        assert_close("parameter", &ours.value, variable.as_tensor(), 1e-12);
    }

    #[test]
    fn a_step_agrees_with_the_reference() {
        let [value, first, gradient] = [1, 2, 3].map(|seed| random(&[4, 9], seed, DType::F64));
        let second = first.sqr().unwrap();
        let parameter = Parameter { value, first_moment: first, second_moment: second };
        for rule in [Rule::Torch, Rule::Transformers] {
            let step = Step { learning_rate: 1e-2, weight_decay: 0.1, count: 3, rule };
            let got = update(&parameter, &gradient, &step, 0.5).unwrap();
            let want = reference::adamw(&parameter, &gradient, &step, 0.5).unwrap();
            assert_close("value", &got.value, &want.value, 1e-12);
            assert_close("first moment", &got.first_moment, &want.first_moment, 1e-12);
            assert_close("second moment", &got.second_moment, &want.second_moment, 1e-12);
        }
    }

    /// Numbers of transformers 4.31's `AdamW(lr=0.01, weight_decay=0.5, eps=1e-8)` by its formula, in float64.
    #[test]
    fn transformers_adds_eps_before_the_bias_correction_and_decays_last() {
        let number = |x: f64| Tensor::new(&[x], &candle_core::Device::Cpu).unwrap();
        let zero = number(0.0);
        let start =
            Parameter { value: number(2.0), first_moment: zero.clone(), second_moment: zero };
        let stepped = |gradient, rule| {
            let step = Step { learning_rate: 0.01, weight_decay: 0.5, count: 1, rule };
            let after = update(&start, &number(gradient), &step, 1.0).unwrap();
            after.value.to_vec1::<f64>().unwrap()[0]
        };
        // Step 1: m = 0.1 g, v = 0.001 g^2, and the size is 0.01 sqrt(0.001) / 0.1.
        for gradient in [1e-7f64, 1e-3] {
            let root = 0.001f64.sqrt();
            let move_by = 0.01 * root / 0.1 * (0.1 * gradient) / (root * gradient + 1e-8);
            let want = (2.0 - move_by) * (1.0 - 0.01 * 0.5);
            let got = stepped(gradient, Rule::Transformers);
            assert!((got - want).abs() <= 1e-13, "{gradient}: {got} {want}");
        }
        let [tiny, torch] =
            [Rule::Transformers, Rule::Torch].map(|rule| 1.99 - stepped(1e-7, rule));
        assert!(tiny < 0.3 * torch, "a gradient near eps moves a weight less: {tiny} {torch}");
    }

    #[test]
    fn a_gradient_of_zero_moves_nothing_and_stays_finite() {
        let start = random(&[4], 1, DType::F32);
        let zero = start.zeros_like().unwrap();
        let parameter = Parameter {
            value: start.clone(),
            first_moment: zero.clone(),
            second_moment: zero.clone(),
        };
        let step = Step { learning_rate: 1.0, weight_decay: 0.0, count: 1, rule: Rule::Torch };
        let stepped = update(&parameter, &zero, &step, 1.0).unwrap();
        assert_close("parameter", &stepped.value, &start, 0.0);
    }

    #[test]
    fn all_at_once_is_one_after_the_other() {
        let [value, first, gradient] = [1, 2, 3].map(|seed| random(&[4, 9], seed, DType::F32));
        let second = first.sqr().unwrap();
        let parameter = Parameter { value, first_moment: first, second_moment: second };
        let step = Step { learning_rate: 1e-2, weight_decay: 0.1, count: 3, rule: Rule::Torch };
        let slower = Step { learning_rate: 1e-4, ..step };
        let part = |step| Update { parameter: parameter.clone(), gradient: &gradient, step };
        let both = norm(&[&gradient, &gradient]).unwrap();
        let alone = sum_of_squares(&gradient).unwrap().sqrt();
        let of_both = both.get().unwrap();
        assert!((of_both - 2f64.sqrt() * alone).abs() <= 1e-12 * alone, "{of_both} {alone}");
        for (max_norm, scale) in [(0.0, 1.0), (1e9, 1.0), (0.5, 0.5 / (of_both + 1e-6))] {
            let together = update_all(vec![part(step), part(slower)], &both, max_norm).unwrap();
            for (got, step) in together.iter().zip([step, slower]) {
                let want = update(&parameter, &gradient, &step, scale).unwrap();
                assert_close("value", &got.value, &want.value, 0.0);
                assert_close("second moment", &got.second_moment, &want.second_moment, 0.0);
            }
        }
    }

    #[test]
    fn a_norm_that_is_not_finite_changes_nothing() {
        let [value, first, gradient] = [1, 2, 3].map(|seed| random(&[4, 9], seed, DType::F32));
        let parameter =
            Parameter { value, second_moment: first.sqr().unwrap(), first_moment: first };
        let step = Step { learning_rate: 1e-2, weight_decay: 0.1, count: 3, rule: Rule::Torch };
        for bad in NOT_FINITE {
            let norm = norm(&[&gradient, &broken(&[4, 9], 1, 7, bad)]).unwrap();
            let update = Update { parameter: parameter.clone(), gradient: &gradient, step };
            let got = &update_all(vec![update], &norm, 1.0).unwrap()[0];
            assert_close("value", &got.value, &parameter.value, 0.0);
            assert_close("first moment", &got.first_moment, &parameter.first_moment, 0.0);
            assert_close("second moment", &got.second_moment, &parameter.second_moment, 0.0);
        }
    }

    #[test]
    fn a_nan_in_the_gradient_shows_in_the_norm() {
        let gradient =
            candle_core::Tensor::new(&[1f32, f32::NAN], &candle_core::Device::Cpu).unwrap();
        assert!(sum_of_squares(&gradient).unwrap().is_nan());
    }
}
