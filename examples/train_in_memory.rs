//! Trains a LoRA adapter on pairs in memory, from code: `cargo run --release --example train_in_memory -- MODEL PAIRS`.
//!
//! The loop of the recipe without its files: no run folder, no checkpoint, no evaluation. `MODEL` and `PAIRS` as in `score_pairs.rs`.
#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use mvpbench::config::{DataSection, DpoSection, LoraSection, TrainSection};
use mvpbench::console::progress::Verbosity;
use mvpbench::data::file;
use mvpbench::data::tokenize::{Limits, tokenize};
use mvpbench::data::tokenizer::Tokenizer;
use mvpbench::inference::engine::Engine;
use mvpbench::inference::sums::ScoringPass;
use mvpbench::model::decoder::{Decoder, Keep};
use mvpbench::model::lora::Adapter;
use mvpbench::parallel::world::World;
use mvpbench::train::optimizer::{self, Optimizer};
use mvpbench::train::plan::Plan;
use mvpbench::train::schedule::learning_rate;
use mvpbench::train::step::{StepSettings, loss_and_gradients};

/// The adapter after training on the file `pairs`, and the loss of each step in nats.
pub(crate) fn train(
    model: &Path,
    pairs: &Path,
    settings: &TrainSection,
) -> Result<(Adapter, Vec<f64>)> {
    let bytes = std::fs::read(pairs)?;
    let texts = file::parse(&bytes, &pairs.display().to_string())?;
    let tokenizer = Tokenizer::load(model)?;
    let pairs = tokenize(&texts, &tokenizer, &Limits::default())?.pairs;
    let model = Decoder::load(model, DType::F32, &Device::Cpu)?;

    // The reference is the same weights without the adapter; its log-probabilities are computed once.
    let engine = Engine { micro_batch_tokens: 4096, keep: Keep::Everything };
    let members: Vec<_> = pairs.iter().collect();
    let pass = ScoringPass {
        model: &model,
        adapter: None,
        pairs: &members,
        micro_batch_tokens: engine.micro_batch_tokens,
        world: &World::default(),
    };
    let reference = pass.sums("reference", None, Verbosity::Quiet)?;

    let dpo = DpoSection::default();
    let lora = LoraSection { dropout: 0.0, ..LoraSection::default() };
    let mut adapter = Adapter::fresh(&model.shape, &lora, settings.seed, &model.device)?;
    let mut optimizer = Optimizer::new(&adapter.tensors)?;
    let plan = Plan::new((0..pairs.len()).collect(), &DataSection::default(), settings);
    let mut losses = Vec::new();
    for (n, step) in plan.steps_from(0) {
        let how = StepSettings { dpo: &dpo, dropout: None, engine };
        let (output, gradients) =
            loss_and_gradients(&model, &adapter, &pairs, &reference, &step, &how)?;
        let norm = optimizer::norm(&gradients)?;
        let rate = learning_rate(settings, n, plan.steps());
        let rates = [rate, settings.lora_plus_ratio * rate];
        adapter.tensors = optimizer.step(&adapter.tensors, &gradients, &norm, rates, settings)?;
        optimizer.count += 1;
        losses.push(output.loss);
    }
    Ok((adapter, losses))
}

#[cfg_attr(test, expect(dead_code, reason = "the tests call `train`"))]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("usage: train_in_memory MODEL PAIRS");
    let (model, pairs) = (next()?, next()?);
    let settings = TrainSection { learning_rate: 1e-3, ..TrainSection::default() };
    let (adapter, losses) = train(Path::new(&model), Path::new(&pairs), &settings)?;
    for (n, loss) in losses.iter().enumerate() {
        println!("step {}: loss {loss:.4}", n + 1);
    }
    println!("{} trained parameters", adapter.tensors.parameters());
    Ok(())
}
