//! AdamW over several tensors at once, and the norm of their gradients.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use crate::cost::kernel::Kernel;
use crate::doctor::Sizes;
use crate::doctor::examiner::{Cost, Examiner, exact, worst};
use crate::doctor::run::Run;
use crate::ops::adamw::{self, Parameter, Rule, Step, Update};
use crate::ops::reference;

const STEP: Step = Step { learning_rate: 1e-2, weight_decay: 0.1, count: 3, rule: Rule::Torch };
/// Small enough to clip these gradients.
const MAX_NORM: f64 = 0.5;

/// A parameter with moments and its gradient, in f32 for any dtype of the model.
fn parameter(examiner: &Examiner, shape: &[usize]) -> Result<(Parameter, Tensor)> {
    let random =
        |seed| -> Result<Tensor> { Ok(examiner.random(shape, 1.0, seed)?.to_dtype(DType::F32)?) };
    let (value, first_moment, gradient) = (random(1)?, random(2)?, random(3)?);
    let second_moment = first_moment.sqr()?;
    Ok((Parameter { value, first_moment, second_moment }, gradient))
}

pub(super) fn examine(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let elements = sizes.shape.hidden * sizes.shape.hidden;
    let (large, gradient) = parameter(examiner, &[sizes.shape.hidden; 2])?;
    let several = |examiner: &Examiner| -> Result<_> {
        let each = [parameter(examiner, &[3, 333])?, parameter(examiner, &[2, 512])?];
        let mut squares = 0.0;
        for (_, gradient) in &each {
            squares += exact(gradient)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        }
        Ok((each, squares.sqrt()))
    };
    let summed = |examiner: &Examiner| {
        let (each, want) = several(examiner)?;
        let gradients = each.each_ref().map(|(_, gradient)| gradient);
        Ok((adamw::norm(&gradients)?.get()? - want).abs() / want)
    };
    let [squares, whole, update] = Kernel::adamw(&[elements]);
    let turns =
        examiner.turns([gradient.clone(), large.value, large.first_moment, large.second_moment])?;
    let run = Run::of(&turns, |[gradient, ..]| {
        adamw::norm(&[gradient])?;
        Ok(Vec::new())
    })
    .repeating(|| Ok(vec![Tensor::new(&[adamw::norm(&[&gradient])?.get()?], &Device::Cpu)?]));
    let us = examiner.kernels_us(&[squares, whole]);
    let cost = Cost::Bytes(4 * elements);
    examiner.examine("norm of the gradients", 1.0, summed, cost, run.predicted(us));
    let updated = |examiner: &Examiner, rule| {
        let step = Step { rule, ..STEP };
        let (each, norm) = several(examiner)?;
        let wanted = each.each_ref().map(|(parameter, gradient)| -> Result<Parameter> {
            let exactly = Parameter {
                value: exact(&parameter.value)?,
                first_moment: exact(&parameter.first_moment)?,
                second_moment: exact(&parameter.second_moment)?,
            };
            Ok(reference::adamw(&exactly, &exact(gradient)?, &step, MAX_NORM / (norm + 1e-6))?)
        });
        let [one, other] = wanted;
        let (one, other) = (one?, other?);
        let updates = each
            .iter()
            .map(|(parameter, gradient)| Update { parameter: parameter.clone(), gradient, step })
            .collect();
        let norm = adamw::norm(&each.each_ref().map(|(_, gradient)| gradient))?;
        let got = adamw::update_all(updates, &norm, MAX_NORM)?;
        worst([
            (&got[0].value, one.value),
            (&got[0].second_moment, one.second_moment),
            (&got[1].value, other.value),
            (&got[1].first_moment, other.first_moment),
        ])
    };
    let norm = adamw::norm(&[&gradient])?;
    // The parameter and moments are read and written, the gradient is read.
    for (name, rule) in [("adamw", Rule::Torch), ("adamw of transformers", Rule::Transformers)] {
        let run = Run::in_place(&turns, |[gradient, value, first, second]| {
            let step = Step { rule, ..STEP };
            let (value, first_moment, second_moment) =
                (value.clone(), first.clone(), second.clone());
            let parameter = Parameter { value, first_moment, second_moment };
            let made =
                adamw::update_all(vec![Update { parameter, gradient, step }], &norm, MAX_NORM)?;
            let tensors = |made: Parameter| [made.value, made.first_moment, made.second_moment];
            Ok(made.into_iter().flat_map(tensors).collect())
        });
        let us = examiner.kernels_us(std::slice::from_ref(&update));
        examiner.examine(
            name,
            1.0,
            |examiner: &Examiner| updated(examiner, rule),
            Cost::Bytes(7 * 4 * elements),
            run.predicted(us),
        );
    }
    Ok(())
}
