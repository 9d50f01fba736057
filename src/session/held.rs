//! The memory that a command will hold, and whether it is free: asked before a weight is read, since the system ends a program that
//! takes too much without a word.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device};

use crate::config::{Activations, MetricName, RunConfig};
use crate::console::units;
use crate::data::token_pair::TokenPair;
use crate::error::InputError;
use crate::hub::HubModel;
use crate::inference::engine::{self, Engine};
use crate::machine::memory::{self, DeviceKind, GenerationPlan, Memory, PassPlan};
use crate::machine::{self, peak};
use crate::model::decoder::{Decoder, Keep};
use crate::model::generation::GenerationSettings;
use crate::model::shape::Shape;
use crate::model::shard::Shard;
use crate::model::weights;
use crate::run_folder::purpose::Purpose;
use crate::session::inputs::{EvalInputs, Inputs};
use crate::session::source::ModelSource;

/// Resident memory of the program itself on Linux: code, threads, allocator. Measured: `VmHWM` of a run on the golden
/// `tiny` model, minus the other components below.
const PROGRAM_BYTES: f64 = 11.5 * MIB;

/// Memory that CUDA takes on a device for its context and cuBLAS; a round figure, not measured here.
const CUDA_CONTEXT_BYTES: f64 = 640.0 * MIB;

/// Memory of a tokenizer per byte of its `tokenizer.json`: the parsed JSON and the maps made of it.
const TOKENIZER_EXPANSION: f64 = 30.0;

/// Memory per byte of the data files: the file, its parsed records and their texts.
const DATA_EXPANSION: f64 = 3.0;

const MIB: f64 = 1024.0 * 1024.0;

/// The headers of the weights.
#[derive(Debug, Clone, PartialEq)]
pub enum Headers {
    /// Files and bytes of all tensors.
    Read {
        /// Number of safetensors files.
        files: usize,
        /// Bytes of their tensors.
        bytes: f64,
        /// Bytes of those that are stored in another dtype than the run's, and so are copied.
        converted: f64,
    },
    /// Why they were not read.
    Absent(String),
}

/// The size of a micro-batch; the largest is the one with most tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MicroBatch {
    /// Tokens computed, each prompt once.
    pub tokens: usize,
    /// Scored tokens among them.
    pub scored: usize,
}

/// What the memory depends on besides the model.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Kind of device.
    pub place: DeviceKind,
    /// Of weights and activations.
    pub dtype: DType,
    /// The largest micro-batch.
    pub micro_batch: MicroBatch,
}

/// The memory of a training run under `keep`.
pub fn held(
    config: &RunConfig,
    inputs: &Inputs,
    sizes: &Sizes,
    keep: Keep,
    headers: &Headers,
) -> Result<Memory> {
    let model = &inputs.shape;
    let MicroBatch { tokens, scored } = sizes.micro_batch;
    let pass = PassPlan {
        shape: model,
        lora: &inputs.plan,
        device: sizes.place,
        dtype: sizes.dtype,
        tokens,
        scored,
    };
    let pass = pass.bytes(keep);
    let weights = (model.parameters() * sizes.dtype.size_in_bytes()) as f64;
    let trained = inputs.plan.parameters(model);
    let adapter = memory::adapter_bytes(trained, sizes.dtype);
    let ids = |pairs: &[TokenPair]| -> usize {
        pairs.iter().map(|pair| pair.prompt.len() + pair.chosen.len() + pair.rejected.len()).sum()
    };
    let all_ids = ids(&inputs.train) + inputs.sets.iter().map(|set| ids(&set.pairs)).sum::<usize>();
    let tokenizer: usize = inputs
        .tokenizer_files
        .iter()
        .filter(|(name, _)| name == "tokenizer.json")
        .map(|(_, bytes)| bytes.len())
        .sum();
    let on_host = TOKENIZER_EXPANSION * tokenizer as f64
        + DATA_EXPANSION * inputs.data_bytes as f64
        + 4.0 * all_ids as f64;
    let fragmentation = memory::fragmentation(sizes.place, sizes.dtype, keep);
    let generating = generating(config, inputs, sizes.dtype);
    let budget = engine::micro_batch_tokens(&config.train, sizes.place);
    let scored = |pairs: &[TokenPair]| largest_micro_batch(pairs, pairs.len(), budget);
    let sets = inputs.sets.iter().map(|set| scored(&set.pairs));
    let largest = sets.fold(scored(&inputs.train), MicroBatch::max);
    // The KL divergence holds the policy's last hidden states while the reference's are computed.
    let beside = if config.eval.kl_pairs > 0 { largest.scored * model.hidden } else { 0 };
    let scoring =
        memory::scoring_bytes(model, sizes.place, sizes.dtype, largest.tokens, largest.scored)
            + (beside * sizes.dtype.size_in_bytes()) as f64;
    let (program, inputs) = match sizes.place {
        DeviceKind::Cpu => (PROGRAM_BYTES, on_host),
        DeviceKind::Cuda => (CUDA_CONTEXT_BYTES, 0.0),
    };
    let mapped = match (sizes.place, headers) {
        (DeviceKind::Cpu, Headers::Read { converted, .. }) => *converted,
        // As Llama-2 is published: 16 bits a parameter.
        (DeviceKind::Cpu, Headers::Absent(_)) => 2.0 * model.parameters() as f64,
        (DeviceKind::Cuda, _) => 0.0,
    };
    Ok(Memory {
        program,
        inputs,
        weights,
        adapter,
        activations: fragmentation * pass.kept,
        working: fragmentation * pass.working,
        logits: pass.logits,
        scoring,
        generating,
        loading: program + inputs + weights + mapped,
    })
}

/// [`held`] with the largest micro-batch that `engine` makes, before the weights' headers are read.
fn of_engine(
    config: &RunConfig,
    inputs: &Inputs,
    place: DeviceKind,
    dtype: DType,
    engine: Engine,
) -> Result<Memory> {
    let step = config.train.pairs_a_step();
    let micro_batch = largest_micro_batch(&inputs.train, step, engine.micro_batch_tokens);
    let sizes = Sizes { place, dtype, micro_batch };
    held(config, inputs, &sizes, engine.keep, &Headers::Absent(String::new()))
}

/// The sets that SPMR is measured on.
pub fn asked(inputs: &Inputs) -> impl Iterator<Item = &EvalInputs> {
    let wanted = |set: &&EvalInputs| set.metrics.contains(&MetricName::Spmr);
    inputs.sets.iter().filter(wanted).filter(|_| inputs.encoder.is_some())
}

/// Bytes for 16 answers of full length at once, or for all of a smaller set. A GPU with more memory generates more at
/// once.
pub fn generating(config: &RunConfig, inputs: &Inputs, dtype: DType) -> f64 {
    let model = &inputs.shape;
    let longest = |set: &EvalInputs| set.pairs.iter().map(|pair| pair.prompt.len()).max();
    let bytes = |tokens: usize, prompts: usize| {
        let sequences = GenerationSettings::default().batch.min(prompts);
        let tokens = tokens.min(model.max_positions);
        GenerationPlan { shape: model, lora: &inputs.plan, dtype, sequences, tokens }.bytes()
    };
    let (spmr, samples) = (&config.eval.spmr, &config.eval.samples);
    let sets = asked(inputs)
        .map(|set| bytes(longest(set).unwrap_or(0) + spmr.max_new_tokens, set.pairs.len()));
    let fixed = inputs
        .samples
        .iter()
        .map(|inputs| bytes(inputs.longest() + samples.max_new_tokens, inputs.prompts.len()));
    sets.chain(fixed).fold(0.0, f64::max)
}

/// Reads the headers of the weights of a run in `dtype`, if they are there.
pub fn headers(source: &ModelSource, dtype: DType) -> Headers {
    let folder = match source {
        ModelSource::Folder(folder) | ModelSource::Hub(HubModel { folder, .. }) => folder,
        ModelSource::Embedded(files) => {
            let weights = files.iter().filter(|(name, _)| name.ends_with(".safetensors"));
            let (files, bytes) =
                weights.fold((0, 0), |(n, total), (_, bytes)| (n + 1, total + bytes.len()));
            // The embedded model is stored in f32.
            let converted = if dtype == DType::F32 { 0.0 } else { bytes as f64 };
            return Headers::Read { files, bytes: bytes as f64, converted };
        }
    };
    let read = |folder: &Path| -> Result<Headers> {
        let paths = weights::shards(folder)?;
        let (mut bytes, mut converted) = (0, 0);
        for path in &paths {
            for entry in Shard::open(path)?.entries() {
                bytes += entry.bytes();
                let stays = DType::try_from(entry.dtype).is_ok_and(|stored| stored == dtype);
                converted += if stays { 0 } else { entry.bytes() };
            }
        }
        let (bytes, converted) = (bytes as f64, converted as f64);
        Ok(Headers::Read { files: paths.len(), bytes, converted })
    };
    read(folder).unwrap_or_else(|error| Headers::Absent(error.to_string()))
}

/// Refuses a training run that takes more memory than is free on `device`; `inputs` and the program are in memory already.
pub fn refuse_training(
    config: &RunConfig,
    inputs: &Inputs,
    dtype: DType,
    device: &Device,
) -> Result<()> {
    let Some(free) = peak::free_bytes(device) else { return Ok(()) };
    let weights = (inputs.shape.parameters() * dtype.size_in_bytes()) as f64;
    let train = &config.train;
    let beside = Some(free - weights);
    let place = DeviceKind::of(device);
    let engine =
        engine::engine(train, &inputs.plan, &inputs.shape, place, dtype, &inputs.train, beside);
    let Engine { micro_batch_tokens, keep } = engine;
    let memory = of_engine(config, inputs, place, dtype, engine)?;
    let there = memory.program + memory.inputs;
    let parts = [
        ("weights", memory.weights),
        ("adapter, moments and gradients", memory.adapter),
        ("activations and working memory", memory.activations + memory.working),
    ];
    let training = parts.iter().map(|(_, bytes)| bytes).sum::<f64>();
    let narrower = (dtype == DType::F32).then_some(NARROWER);
    let fewer = (micro_batch_tokens > 1024).then_some("`--set train.micro_batch_tokens=1024`");
    let without_gradients: Vec<_> = narrower.into_iter().chain(fewer).collect();
    let mut hints = without_gradients.clone();
    if keep == Keep::Everything && train.activations == Activations::Keep {
        hints.push("`--set train.activations=recompute`");
    }
    if memory.computing() > memory.training().max(memory.answering()) {
        let scoring = [parts[0], parts[1], ("a forward pass", memory.scoring)];
        refuse(&config.model.path, &scoring, free, &without_gradients)
    } else if training >= memory.answering() - there {
        refuse(&config.model.path, &parts, free, &hints)
    } else {
        let answering = [parts[0], parts[1], ("generated answers", memory.generating)];
        let mut hints = Vec::from_iter(narrower);
        if asked(inputs).next().is_some() {
            hints.push("`--set eval.spmr.max_new_tokens=128`");
        }
        if inputs.samples.is_some() {
            hints.push("`--set eval.samples.max_new_tokens=32`");
        }
        refuse(&config.model.path, &answering, free, &hints)
    }
}

/// Keeps the weights of `model` packed besides, where the products in bf16 of a CPU read them so and that much memory is free beside all that
/// the run, or the evaluation, will hold. Returns a line on it.
pub fn keep_packed(
    model: &mut Decoder,
    config: &RunConfig,
    inputs: &Inputs,
    engine: Engine,
    purpose: Purpose,
) -> Result<Option<String>> {
    let (place, dtype) = (DeviceKind::of(&model.device), model.dtype);
    let Some(products) = machine::products_of(&model.device, dtype) else { return Ok(None) };
    let (Some(free), true) = (peak::free_bytes(&model.device), machine::products()?.has_units())
    else {
        return Ok(None);
    };
    let memory = of_engine(config, inputs, place, dtype, engine)?;
    let backward = purpose == Purpose::Run;
    let packed = model.packed_bytes(backward)?;
    if memory.computing() + packed > free {
        return Ok(None);
    }
    model.keep_packed(backward)?;
    Ok(Some(format!(
        "weights: packed for {products} products besides, in {}",
        units::bytes(packed)
    )))
}

/// The setting that halves what a run or an evaluation takes.
pub const NARROWER: &str = "`--set model.dtype=bf16`";

/// Refuses a forward pass over so many tokens, or answers of `answering` bytes, that take more memory beside the weights of `shape`
/// than is free on `device`; `narrower`: the flag or setting that makes them bf16.
pub fn refuse_inference(
    model: &str,
    shape: &Shape,
    dtype: DType,
    tokens_at_once: usize,
    answering: f64,
    device: &Device,
    narrower: &str,
) -> Result<()> {
    let Some(free) = peak::free_bytes(device) else { return Ok(()) };
    let size = dtype.size_in_bytes() as f64;
    let pass =
        memory::scoring_bytes(shape, DeviceKind::of(device), dtype, tokens_at_once, tokens_at_once);
    let parts =
        [("weights", shape.parameters() as f64 * size), ("working memory", pass.max(answering))];
    let hints = (dtype == DType::F32).then_some(narrower);
    refuse(model, &parts, free, hints.as_slice())
}

/// Refuses a merge that takes more memory than is free: two tensors of the largest size in f32, the one that is merged or compared and
/// its product.
pub fn refuse_merge(model: &str, shape: &Shape) -> Result<()> {
    let Some(free) = peak::available_memory_bytes() else { return Ok(()) };
    let largest = shape.hidden * shape.vocab.max(shape.intermediate);
    refuse(model, &[("two tensors of the largest size in f32", 8.0 * largest as f64)], free, &[])
}

/// A bound on the largest micro-batch of any order of `pairs`: the longest ones of a step, up to the budget or the longest pair.
fn largest_micro_batch(pairs: &[TokenPair], step: usize, budget: usize) -> MicroBatch {
    let most = |of: fn(&TokenPair) -> usize| {
        let mut all: Vec<usize> = pairs.iter().map(of).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let longest = all.first().copied().unwrap_or(0);
        all.iter().take(step).sum::<usize>().min(budget.max(longest))
    };
    MicroBatch { tokens: most(TokenPair::tokens), scored: most(TokenPair::answer_tokens) }
}

/// Refuses `parts` that together are more than `free` bytes; `model`: what takes them, `hints`: settings that take less.
fn refuse(model: &str, parts: &[(&str, f64)], free: f64, hints: &[&str]) -> Result<()> {
    let needed: f64 = parts.iter().map(|(_, bytes)| bytes).sum();
    if needed <= free {
        return Ok(());
    }
    let each: Vec<_> =
        parts.iter().map(|(name, bytes)| format!("{name} {}", units::bytes(*bytes))).collect();
    let less = match hints {
        [] => String::new(),
        hints => format!("{} takes less; ", hints.join(" or ")),
    };
    Err(InputError::new(format!(
        "`{model}` takes {} more memory ({}), and {} are free",
        units::bytes(needed),
        each.join(", "),
        units::bytes(free)
    ))
    .hint(format!("{less}`--force` starts all the same, and the system may end it at any moment"))
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(prompt: usize, chosen: usize, rejected: usize) -> TokenPair {
        let ids = |id: u32, n: usize| vec![id; n];
        let (chosen, rejected) = (ids(2, chosen), ids(3, rejected));
        TokenPair { prompt: ids(1, prompt), chosen, rejected, ..TokenPair::default() }
    }

    #[test]
    fn the_largest_micro_batch_is_bounded_by_the_step_and_by_the_budget() {
        let pairs = [pair(10, 5, 5), pair(30, 10, 10), pair(1, 1, 1), pair(10, 10, 20)];
        let of = |step, budget| {
            let MicroBatch { tokens, scored } = largest_micro_batch(&pairs, step, budget);
            (tokens, scored)
        };
        assert_eq!(of(2, 1000), (90, 50));
        assert_eq!(of(8, 1000), (113, 62));
        assert_eq!(of(8, 60), (60, 60));
        assert_eq!(of(8, 1), (50, 30), "the longest pair is computed whatever the budget");
        assert_eq!(largest_micro_batch(&[], 8, 100).tokens, 0);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_parts_and_what_takes_less() {
        let parts = [("weights", 3e9), ("activations", 2e9)];
        refuse("m", &parts, 5e9, &[]).unwrap();
        let error = refuse("m", &parts, 4.9e9, &["`--set a=1`", "`--set b=2`"]).unwrap_err();
        let error = InputError::of(&error).unwrap();
        for part in
            ["`m` takes 4.7 GiB", "weights 2.8 GiB", "activations 1.9 GiB", "4.6 GiB are free"]
        {
            assert!(error.to_string().contains(part), "{error}");
        }
        let hint = error.remedy().unwrap();
        assert!(hint.starts_with("`--set a=1` or `--set b=2` takes less; `--force`"), "{hint}");
    }
}
