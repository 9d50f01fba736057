//! The time and the memory of a whole step of a model of two layers: forward, backward and optimizer, by marks in the queue of a GPU.

use std::cell::RefCell;
use std::time::Instant;

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::cost::spent::Spent;
use crate::cost::step::{Engine, PackSizes};
use crate::doctor::examiner::Examiner;
use crate::doctor::kernels;
use crate::doctor::model::TwoLayers;
use crate::doctor::step_times::StepTimes;
use crate::machine::moment::Moment;
use crate::machine::peak;
use crate::model::decoder::Keep;
use crate::ops::adamw::{self, Parameter, Rule, Step, Update};

/// Steps of a GPU, and of a CPU, that are timed after one that is not.
const STEPS: [usize; 2] = [5, 1];

const STEP: Step = Step { learning_rate: 1e-5, weight_decay: 0.0, count: 1, rule: Rule::Torch };

pub(super) fn examine(examiner: &mut Examiner, model: &TwoLayers) -> Result<()> {
    let device = &examiner.device;
    let steps = STEPS[usize::from(device.is_cpu())];
    let mut parameters = Vec::new();
    for (.., value) in model.adapter.tensors.iter() {
        let moment = value.zeros_like()?;
        let (value, second_moment) = (value.copy()?, value.zeros_like()?);
        parameters.push(Parameter { value, first_moment: moment, second_moment });
    }
    one(device, model, &mut parameters)?; // the first one loads kernels and fills the pool
    let mut each = Vec::new();
    let before = kernels::launches();
    for _ in 0..steps {
        each.push(one(device, model, &mut parameters)?);
    }
    let launches = kernels::launches().zip(before).map(|(after, before)| (after - before) / steps);
    each.sort_by(|one, other| one.device_ms.total_cmp(&other.device_ms));
    let planned = model.planned(Keep::Everything);
    let predicted_ms = examiner.pace.map(|pace| {
        let engine = Engine {
            shape: &model.model.shape,
            plan: &model.adapter.plan,
            dtype: model.model.dtype,
            keep: Keep::Everything,
            dropout: true,
            angle_rows: Engine::angle_rows_of(0),
        };
        let mut spent = Spent::default();
        spent.add(&engine.step(&[PackSizes::of(&model.pack, &model.model.shape)]), 1, &pace);
        spent.total().us / 1e3
    });
    let gib = |bytes: f64| bytes / 1024f64.powi(3);
    examiner.push_step(StepTimes {
        predicted_ms,
        launches,
        peak_memory_gib: peak::peak_memory_gib(device),
        reserved_memory_gib: peak::reserved_memory_gib(device),
        beside_pool_gib: peak::beside_pool_bytes(device).map(gib),
        planned_gib: gib(planned.kept + planned.working),
        ..each.swap_remove(steps / 2)
    });
    Ok(())
}

fn one(device: &Device, model: &TwoLayers, parameters: &mut [Parameter]) -> Result<StepTimes> {
    device.synchronize()?;
    let clock = Instant::now();
    let between = RefCell::new(None);
    let begun = Moment::on(device)?;
    let _policy = model.adapter.to_dtype(model.model.dtype)?; // as every step makes it
    let gradients = model.gradients(Keep::Everything, || {
        *between.borrow_mut() = Some(Moment::on(device)?);
        Ok(())
    })?;
    let backward = Moment::on(device)?;
    let gradients: Vec<&Tensor> = gradients.iter().map(|(.., gradient)| gradient).collect();
    let norm = adamw::norm(&gradients)?;
    let updates = parameters.iter().zip(&gradients).map(|(parameter, gradient)| Update {
        parameter: parameter.clone(),
        gradient,
        step: STEP,
    });
    adamw::update_all(updates.collect(), &norm, 1.0)?;
    let end = Moment::on(device)?;
    let queued_ms = 1e3 * clock.elapsed().as_secs_f64();
    device.synchronize()?;
    let wall_ms = 1e3 * clock.elapsed().as_secs_f64();
    let Some(forward) = between.into_inner() else { anyhow::bail!("no forward pass") };
    let ms = |from: &Moment, to: &Moment| Ok::<_, anyhow::Error>(1e3 * to.seconds_since(from)?);
    Ok(StepTimes {
        forward_ms: ms(&begun, &forward)?,
        backward_ms: ms(&forward, &backward)?,
        optimizer_ms: ms(&backward, &end)?,
        device_ms: ms(&begun, &end)?,
        queued_ms,
        wall_ms,
        ..StepTimes::default()
    })
}
