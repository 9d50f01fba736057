//! `mvpbench doctor`: whether this device computes what the formulas say, and how fast beside what it could.
//!
//! Every operation runs on the device in the dtype a run would use; its values and gradients are compared with the f64 reference
//! of the very numbers it was given, and it is timed at a layer's shapes. A rate is told, an error is judged.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use super::machine;
use crate::config::{LoraSection, Projection};
use crate::data::pack::Pack;
use crate::data::tokenize::TokenPair;
use crate::model::batch::Batch;
use crate::model::config::LlamaConfig;
use crate::model::layer::{Dropout, Layer, LayerLora, Pass, Rows, Stream};
use crate::model::lora::{self, Adapter, InputGradient};
use crate::ops::philox::Philox;
use crate::ops::{
    adamw, attention, dropout, linear, logps, reference, rms_norm, rope, rows, swiglu,
};

/// What is timed is run for this long at least.
const TIMED_S: f64 = 0.02;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// The device in words.
    pub device: String,
    /// What was computed in.
    pub dtype: String,
    /// Memory that a tensor can have, where the system says.
    pub free_memory_gib: Option<f64>,
    /// Copying a tensor: bytes read and written.
    pub copy_gb_per_s: f64,
    /// A plain product at the feed-forward network's shape.
    pub matmul_tflops: f64,
    /// One for each operation, and a whole layer.
    pub checks: Vec<Check>,
}

/// One operation.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Whether `error` is within `bound`.
    pub ok: bool,
    /// Largest error as a share of the largest expected magnitude; none where one is not a number or the operation failed.
    pub error: Option<f64>,
    /// What it may be.
    pub bound: f64,
    /// GB/s or TFLOP/s.
    pub rate: f64,
    /// Unit of `rate`.
    pub unit: &'static str,
    /// `rate` as a share of the device's copy bandwidth or matmul rate.
    pub share: f64,
    /// Why the operation failed, if it did.
    pub failure: Option<String>,
}

impl Diagnosis {
    /// Checks that did not pass.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.ok).count()
    }

    /// One line for each check.
    pub fn to_text(&self) -> String {
        let memory =
            self.free_memory_gib.map_or_else(String::new, |gib| format!(", {gib:.1} GiB free"));
        let mut text = format!(
            "{}, {}{memory}\ncopy {:.1} GB/s, matmul {:.3} TFLOP/s\n",
            self.device, self.dtype, self.copy_gb_per_s, self.matmul_tflops
        );
        for check in &self.checks {
            let Check { name, bound, rate, unit, share, .. } = check;
            let verdict = if check.ok { "OK" } else { "FAIL" };
            let found = match (&check.failure, check.error) {
                (Some(failure), _) => failure.lines().next().unwrap_or_default().to_owned(),
                (None, None) => "not a number".to_owned(),
                (None, Some(error)) => {
                    let digits = if *unit == "GB/s" { 1 } else { 3 };
                    format!(
                        "error {error:.1e} of {bound:.0e}  {rate:.digits$} {unit}, {:.0} %",
                        100.0 * share
                    )
                }
            };
            text.push_str(&format!("{verdict:<5}{name:<28}{found}\n"));
        }
        text
    }
}

/// Sizes that an operation is timed at: a 7B layer on a GPU, an eighth of it on a CPU, which is to end in seconds.
struct Sizes {
    tokens: usize,
    config: LlamaConfig,
}

impl Sizes {
    fn of(device: &Device) -> Result<Self> {
        let (tokens, hidden, intermediate, heads, vocab) = match device {
            Device::Cpu => (384, 512, 1376, 8, 4096),
            _ => (3072, 4096, 11008, 32, 32_000),
        };
        Ok(Self { tokens, config: shape(hidden, intermediate, heads, vocab)? })
    }
}

/// A one-layer Llama.
fn shape(hidden: usize, intermediate: usize, heads: usize, vocab: usize) -> Result<LlamaConfig> {
    let json = serde_json::json!({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden, "intermediate_size": intermediate,
        "num_attention_heads": heads, "num_key_value_heads": heads, "num_hidden_layers": 1,
        "vocab_size": vocab, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "rope_theta": 1e4,
    });
    LlamaConfig::parse(&json.to_string(), "doctor")
}

struct Doctor {
    device: Device,
    dtype: DType,
    copy_gb_per_s: f64,
    matmul_tflops: f64,
    checks: Vec<Check>,
}

enum Work {
    Bytes(usize),
    Flop(f64),
}

impl Doctor {
    /// Random numbers of about ±`scale`, on the device, the same for the same seed.
    fn random(&self, shape: &[usize], scale: f64, seed: u64) -> Result<Tensor> {
        let philox = Philox::new(seed, 0);
        let n = shape.iter().product::<usize>() as u64;
        let values: Vec<f32> =
            (0..n).map(|i| ((philox.uniform(i) * 2.0 - 1.0) * scale) as f32).collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?
            .to_dtype(self.dtype)?
            .to_device(&self.device)?)
    }

    /// Numbers 0, 1, 2, ... below `end`, over and over.
    fn numbers(&self, n: usize, end: usize) -> Result<Tensor> {
        let numbers: Vec<u32> = (0..n).map(|i| (i % end) as u32).collect();
        Ok(Tensor::new(numbers, &self.device)?)
    }

    /// The fastest of several runs, in seconds.
    fn time(&self, run: &dyn Fn() -> Result<()>) -> Result<f64> {
        run()?;
        self.device.synchronize()?;
        let (begun, mut fastest_s) = (Instant::now(), f64::INFINITY);
        while fastest_s.is_infinite() || begun.elapsed().as_secs_f64() < TIMED_S {
            let each = Instant::now();
            run()?;
            self.device.synchronize()?;
            fastest_s = fastest_s.min(each.elapsed().as_secs_f64());
        }
        Ok(fastest_s)
    }

    /// Compares what `error` computes, then times `run`. `slack`: how many times the dtype's own error is allowed.
    fn check(
        &mut self,
        name: &str,
        slack: f64,
        error: impl FnOnce(&Self) -> Result<f64>,
        work: Work,
        run: impl Fn() -> Result<()>,
    ) {
        let bound = slack * if self.dtype == DType::BF16 { 8e-3 } else { 1e-5 };
        let (found, failure) = match error(self).and_then(|error| Ok((error, self.time(&run)?))) {
            Ok(found) => (found, None),
            Err(error) => ((f64::NAN, f64::INFINITY), Some(format!("{error:#}"))),
        };
        let (error, seconds) = found;
        let (rate, unit, ceiling) = match work {
            Work::Bytes(bytes) => (bytes as f64 / seconds / 1e9, "GB/s", self.copy_gb_per_s),
            Work::Flop(flop) => (flop / seconds / 1e12, "TFLOP/s", self.matmul_tflops),
        };
        self.checks.push(Check {
            name: name.to_owned(),
            ok: error <= bound, // false for NaN
            error: error.is_finite().then_some(error),
            bound,
            rate,
            unit,
            share: rate / ceiling,
            failure,
        });
    }
}

/// The very numbers of `tensor`, in f64 on the CPU.
fn exact(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
}

/// Largest error of each of `pairs` as a share of the largest magnitude expected, the worst of all; NaN if there is one.
fn worst<const N: usize>(pairs: [(&Tensor, Tensor); N]) -> Result<f64> {
    let mut worst = 0f64;
    for (got, want) in pairs {
        let list = |t: &Tensor| -> Result<Vec<f64>> { Ok(exact(t)?.flatten_all()?.to_vec1()?) };
        let (got, want) = (list(got)?, list(&want)?);
        anyhow::ensure!(got.len() == want.len(), "{} elements, expected {}", got.len(), want.len());
        let scale = want.iter().fold(1e-3, |most: f64, want| most.max(want.abs()));
        for (got, want) in got.iter().zip(&want) {
            let error = (got - want).abs() / scale;
            worst = if error <= worst { worst } else { error };
            if error.is_nan() {
                return Ok(f64::NAN);
            }
        }
    }
    Ok(worst)
}

/// Examines `device` in `dtype`.
pub fn examine(device: &Device, dtype: DType) -> Result<Diagnosis> {
    let sizes = Sizes::of(device)?;
    let matmul_tflops = machine::matmul_tflops(&sizes.config, dtype, device)?;
    let mut doctor = Doctor {
        device: device.clone(),
        dtype,
        copy_gb_per_s: f64::NAN,
        matmul_tflops,
        checks: Vec::new(),
    };
    let large = doctor.random(&[sizes.tokens, 4 * sizes.config.hidden], 1.0, 1)?;
    let copied = 2 * large.elem_count() * dtype.size_in_bytes();
    let seconds = doctor.time(&|| Ok(large.copy().map(drop)?))?;
    doctor.copy_gb_per_s = copied as f64 / seconds / 1e9;
    drop(large);
    element_wise(&mut doctor, &sizes)?;
    products(&mut doctor, &sizes)?;
    whole_layer(&mut doctor, &sizes)?;
    Ok(Diagnosis {
        device: machine::describe(device),
        dtype: format!("{dtype:?}").to_lowercase(),
        free_memory_gib: machine::free_bytes(device).map(|bytes| bytes / 1024f64.powi(3)),
        copy_gb_per_s: doctor.copy_gb_per_s,
        matmul_tflops,
        checks: doctor.checks,
    })
}

fn element_wise(doctor: &mut Doctor, sizes: &Sizes) -> Result<()> {
    let (tokens, hidden, inner) = (sizes.tokens, sizes.config.hidden, sizes.config.intermediate);
    let size = doctor.dtype.size_in_bytes();
    let streams = |count: usize| Work::Bytes(count * tokens * hidden * size);
    let inners = |count: usize| Work::Bytes(count * tokens * inner * size);

    let eps = sizes.config.rms_norm_eps;
    let [x, delta] = [1, 2].map(|seed| doctor.random(&[tokens, hidden], 1.0, seed));
    let (x, delta, weight) = (x?, delta?, doctor.random(&[hidden], 1.0, 3)?);
    let odd = |doctor: &Doctor, columns: usize, seed| doctor.random(&[5, columns], 2.0, seed);
    doctor.check(
        "rms_norm forward",
        1.0,
        |doctor| {
            let (x, delta, w) =
                (odd(doctor, 333, 1)?, odd(doctor, 333, 2)?, doctor.random(&[333], 1.0, 3)?);
            let normed = rms_norm::forward(&x, Some(&delta), &w, eps)?;
            let (sum, w64) = (exact(&normed.sum)?, exact(&w)?);
            worst([
                (&normed.sum, (exact(&x)? + exact(&delta)?)?),
                (&normed.y, reference::rms_norm(&sum, &w64, eps)?),
            ])
        },
        streams(4),
        || Ok(rms_norm::forward(&x, Some(&delta), &weight, eps).map(drop)?),
    );
    let normed = rms_norm::forward(&x, None, &weight, eps)?;
    doctor.check(
        "rms_norm backward",
        2.0,
        |doctor| {
            let (x, dy, w) =
                (odd(doctor, 333, 1)?, odd(doctor, 333, 2)?, doctor.random(&[333], 1.0, 3)?);
            let normed = rms_norm::forward(&x, None, &w, eps)?;
            let dx = rms_norm::backward(&dy, &normed.sum, &normed.inv, &w, Some(&x))?;
            let (x64, w64) = (exact(&x)?, exact(&w)?);
            let f = |t: &[Tensor]| reference::rms_norm(&t[0], &w64, eps);
            let want = reference::gradients(&[&x64], &exact(&dy)?, f)?.remove(0);
            worst([(&dx, (want + x64)?)])
        },
        streams(4),
        || Ok(rms_norm::backward(&delta, &normed.sum, &normed.inv, &weight, Some(&x)).map(drop)?),
    );

    let half = sizes.config.heads.head_dim / 2;
    let angles = |doctor: &Doctor, tokens: usize, half: usize| -> Result<(Tensor, Tensor)> {
        let positions: Vec<u32> = (0..tokens as u32).collect();
        let dtype = if doctor.dtype == DType::BF16 { DType::F32 } else { doctor.dtype };
        Ok(sizes.config.rope.angles(&positions, 2 * half, dtype, &doctor.device)?)
    };
    let (cos, sin) = angles(doctor, tokens, half)?;
    doctor.check(
        "rope",
        1.0,
        |doctor| {
            let (cos, sin) = angles(doctor, 5, 3)?;
            let x = odd(doctor, 18, 1)?;
            let want = reference::rope(&exact(&x)?, &exact(&cos)?, &exact(&sin)?)?;
            let back = rope::backward(rope::forward(x.copy()?, &cos, &sin)?, &cos, &sin)?;
            worst([(&rope::forward(x.copy()?, &cos, &sin)?, want), (&back, exact(&x)?)])
        },
        streams(2),
        || Ok(rope::forward(x.clone(), &cos, &sin).map(drop)?),
    );

    let [gate, up] = [4, 5].map(|seed| doctor.random(&[tokens, inner], 1.0, seed));
    let (gate, up) = (gate?, up?);
    doctor.check(
        "swiglu forward",
        1.0,
        |doctor| {
            let (gate, up) = (odd(doctor, 333, 1)?, odd(doctor, 333, 2)?);
            worst([(
                &swiglu::forward(&gate, &up)?,
                reference::swiglu(&exact(&gate)?, &exact(&up)?)?,
            )])
        },
        inners(3),
        || Ok(swiglu::forward(&gate, &up).map(drop)?),
    );
    doctor.check(
        "swiglu backward",
        1.0,
        |doctor| {
            let (gate, up, dy) = (odd(doctor, 333, 1)?, odd(doctor, 333, 2)?, odd(doctor, 333, 3)?);
            let (dgate, dup) = swiglu::backward(&dy, &gate, &up)?;
            let f = |t: &[Tensor]| reference::swiglu(&t[0], &t[1]);
            let want = reference::gradients(&[&exact(&gate)?, &exact(&up)?], &exact(&dy)?, f)?;
            worst([(&dgate, want[0].clone()), (&dup, want[1].clone())])
        },
        inners(5),
        || Ok(swiglu::backward(&gate, &gate, &up).map(drop)?),
    );

    let keys = (doctor.numbers(tokens, 7)?, doctor.numbers(tokens, tokens)?);
    doctor.check(
        "dropout",
        1.0,
        |doctor| {
            let (x, keys) = (odd(doctor, 333, 1)?, (doctor.numbers(5, 2)?, doctor.numbers(5, 5)?));
            let y = mask((&keys.0, &keys.1)).apply(&x)?;
            let there = (keys.0.to_device(&Device::Cpu)?, keys.1.to_device(&Device::Cpu)?);
            worst([(&y, mask((&there.0, &there.1)).apply(&exact(&x)?)?)])
        },
        streams(2),
        || Ok(mask((&keys.0, &keys.1)).apply(&x).map(drop)?),
    );
    let list = doctor.numbers(tokens, tokens)?;
    doctor.check(
        "rows by number",
        2.0,
        |doctor| {
            let (x, list) = (odd(doctor, 333, 1)?, doctor.numbers(9, 4)?);
            let y = rows::forward(&x, &list)?;
            let there = list.to_device(&Device::Cpu)?;
            let want = rows::backward(&exact(&y)?, &there, 5)?;
            worst([
                (&y, rows::forward(&exact(&x)?, &there)?),
                (&rows::backward(&y, &list, 5)?, want),
            ])
        },
        streams(2),
        || Ok(rows::forward(&x, &list).map(drop)?),
    );
    optimizer(doctor, sizes)
}

/// Some mask of dropout for tokens with these keys.
fn mask<'a>((pair_rows, offsets): (&'a Tensor, &'a Tensor)) -> dropout::Mask<'a> {
    dropout::Mask { probability: 0.3, seed: 12, step: 5, place: 258, pair_rows, offsets }
}

fn optimizer(doctor: &mut Doctor, sizes: &Sizes) -> Result<()> {
    // Adapters are f32 whatever the model is.
    let array = |doctor: &Doctor, shape: &[usize], seed| -> Result<Tensor> {
        Ok(doctor.random(shape, 1.0, seed)?.to_dtype(DType::F32)?)
    };
    let parameter = |doctor: &Doctor, shape: &[usize]| -> Result<(adamw::Parameter, Tensor)> {
        let [value, first, gradient] = [1, 2, 3].map(|seed| array(doctor, shape, seed));
        let (value, first_moment) = (value?, first?);
        let second_moment = first_moment.sqr()?;
        Ok((adamw::Parameter { value, first_moment, second_moment }, gradient?))
    };
    let step =
        adamw::Step { learning_rate: 1e-2, weight_decay: 0.1, gradient_scale: 0.5, count: 3 };
    let shape = [sizes.config.hidden, sizes.config.hidden];
    let (large, gradient) = parameter(doctor, &shape)?;
    let update = |parameter: &adamw::Parameter, gradient: &Tensor| {
        let part = adamw::Update { parameter: parameter.clone(), gradient, step };
        adamw::update_all(vec![part])
    };
    doctor.check(
        "adamw",
        1.0,
        |doctor| {
            let (parameter, gradient) = parameter(doctor, &[3, 333])?;
            let adamw::Parameter { value, first_moment, second_moment } = &parameter;
            let exactly = adamw::Parameter {
                value: exact(value)?,
                first_moment: exact(first_moment)?,
                second_moment: exact(second_moment)?,
            };
            let want = reference::adamw(&exactly, &exact(&gradient)?, &step)?;
            let got = update(&parameter, &gradient)?.remove(0);
            worst([(&got.value, want.value), (&got.second_moment, want.second_moment)])
        },
        Work::Bytes(7 * 4 * shape[0] * shape[1]),
        || Ok(update(&large, &gradient).map(drop)?),
    );
    Ok(())
}

fn products(doctor: &mut Doctor, sizes: &Sizes) -> Result<()> {
    let (tokens, hidden, inner) = (sizes.tokens, sizes.config.hidden, sizes.config.intermediate);
    let flop = |count: usize, rows: usize, width: usize| {
        Work::Flop((2 * count * rows * hidden * width) as f64)
    };
    let weight = doctor.random(&[inner, hidden], 0.02, 1)?;
    let (x, dy) =
        (doctor.random(&[tokens, hidden], 1.0, 2)?, doctor.random(&[tokens, inner], 1.0, 3)?);
    let small = |doctor: &Doctor| -> Result<[Tensor; 3]> {
        let tensors = [([5, 333], 1), ([7, 333], 2), ([5, 7], 3)];
        let [x, weight, dy] = tensors.map(|(shape, seed)| doctor.random(&shape, 1.0, seed));
        Ok([x?, weight?, dy?])
    };
    doctor.check(
        "linear forward",
        1.0,
        |doctor| {
            let [x, weight, _] = small(doctor)?;
            let y = linear::forward(&x, &weight)?;
            let want = exact(&x)?.matmul(&exact(&weight)?.t()?)?;
            worst([(&y, want)])
        },
        flop(1, tokens, inner),
        || Ok(linear::forward(&x, &weight).map(drop)?),
    );
    doctor.check(
        "linear backward",
        2.0,
        |doctor| {
            let [x, weight, dy] = small(doctor)?;
            let dx = linear::backward(&dy, &weight)?;
            let want = exact(&dy)?.matmul(&exact(&weight)?)?;
            let twice = (&want + exact(&dx)?)?;
            let sum = dx.copy()?;
            linear::add_product(&sum, &dy, &weight, 1.0)?;
            let slope = linear::weight_gradient(&dy, &x, 0.5)?;
            let wanted = (exact(&dy)?.t()?.matmul(&exact(&x)?)? * 0.5)?;
            worst([(&dx, want), (&sum, twice), (&slope, wanted)])
        },
        flop(1, tokens, inner),
        || Ok(linear::backward(&dy, &weight).map(drop)?),
    );

    let (scored, vocab) = (sizes.tokens / 2, sizes.config.vocab);
    let (head, rows) =
        (doctor.random(&[vocab, hidden], 0.05, 4)?, doctor.random(&[scored, hidden], 1.0, 5)?);
    let targets = doctor.numbers(scored, vocab)?;
    doctor.check(
        "logps and gradient",
        4.0,
        |doctor| {
            let [h, head, _] = small(doctor)?;
            let (targets, slopes) =
                (doctor.numbers(5, 7)?, doctor.random(&[5], 1.0, 6)?.to_dtype(DType::F32)?);
            let (logps, own) = logps::forward_for_backward(&h, &head, &targets)?;
            let (there, head) = (targets.to_device(&Device::Cpu)?, exact(&head)?);
            let f = |t: &[Tensor]| reference::logps(&t[0].matmul(&head.t()?)?, &there);
            let want = reference::gradients(&[&exact(&h)?], &exact(&slopes)?, f)?.remove(0);
            worst([(&logps, f(&[exact(&h)?])?), (&logps::backward(&slopes, &own)?, want)])
        },
        flop(2, scored, vocab),
        || Ok(logps::forward_for_backward(&rows, &head, &targets).map(drop)?),
    );
    attention_rows(doctor, sizes)
}

/// Pairs of the paper's lengths as long as `tokens` reach; at least one, of a few tokens.
fn pack(tokens: usize, vocab: usize) -> Pack {
    let (prompt, answer) = if tokens < 384 { (9, 7) } else { (160, 112) };
    let token = |i: usize| (i % vocab) as u32;
    let pair = |row: usize| TokenPair {
        row: row as u32,
        prompt: (0..prompt).map(token).collect(),
        chosen: (0..answer).map(|i| token(i + 1)).collect(),
        rejected: (0..answer).map(|i| token(i + 2)).collect(),
    };
    let pairs: Vec<TokenPair> = (0..(tokens / (prompt + 2 * answer)).max(1)).map(pair).collect();
    Pack::new(&pairs)
}

fn attention_rows(doctor: &mut Doctor, sizes: &Sizes) -> Result<()> {
    let inputs =
        |doctor: &Doctor, config: &LlamaConfig, tokens: usize| -> Result<(Batch, [Tensor; 4])> {
            let pack = pack(tokens, config.vocab);
            let shape = [pack.tokens(), config.hidden];
            let [q, k, v, d_o] = [1, 2, 3, 4].map(|seed| doctor.random(&shape, 1.0, seed));
            Ok((Batch::new(&pack, config, doctor.dtype, &doctor.device)?, [q?, k?, v?, d_o?]))
        };
    let heads = sizes.config.heads;
    let (batch, [q, k, v, d_o]) = inputs(doctor, &sizes.config, sizes.tokens)?;
    let visible: f64 = {
        let pack = pack(sizes.tokens, sizes.config.vocab);
        let of = |row: usize| {
            row as f64 + 1.0
                - f64::from(pack.start[row])
                - f64::from(pack.hide_to[row] - pack.hide_from[row])
        };
        (0..pack.tokens()).map(of).sum()
    };
    let flop = |products: f64| Work::Flop(products * 2.0 * visible * sizes.config.hidden as f64);
    let tiny = shape(2 * heads.head_dim, 32, 2, 64)?;
    // The reference is the CPU's own body in f64, which the tests hold to a composition of primitives.
    let small = |doctor: &Doctor| -> Result<f64> {
        let (batch, device) = inputs(doctor, &tiny, 60)?;
        let there = Batch::new(&pack(60, tiny.vocab), &tiny, DType::F64, &Device::Cpu)?;
        let pass = |mask, [q, k, v, d_o]: &[Tensor; 4]| -> Result<[Tensor; 4]> {
            let (o, lse) = attention::forward(q, k, v, mask, tiny.heads)?;
            let (dq, dk, dv) = attention::backward(d_o, (q, k, v), &o, &lse, mask, tiny.heads)?;
            Ok([o, dq, dk, dv])
        };
        let [q, k, v, d_o] = device.each_ref().map(exact);
        let want = pass(&there.mask, &[q?, k?, v?, d_o?])?;
        let got = pass(&batch.mask, &device)?;
        let mut each = got.iter().zip(want);
        let mut next = || each.next().ok_or_else(|| anyhow::anyhow!("four tensors"));
        worst([next()?, next()?, next()?, next()?])
    };
    doctor.check("attention forward", 4.0, small, flop(2.0), || {
        Ok(attention::forward(&q, &k, &v, &batch.mask, heads).map(drop)?)
    });
    let (o, lse) = attention::forward(&q, &k, &v, &batch.mask, heads)?;
    doctor.check("attention backward", 4.0, small, flop(5.0), || {
        Ok(attention::backward(&d_o, (&q, &k, &v), &o, &lse, &batch.mask, heads).map(drop)?)
    });
    Ok(())
}

/// Numbers of a shape, a magnitude and a seed.
type Numbers<'a> = dyn Fn(&[usize], f64, u64) -> Result<Tensor> + 'a;

/// A layer, its input and what flows back into it, with an adapter on q and v.
struct Whole {
    layer: Layer,
    adapter: Adapter,
    x: Tensor,
    dy: Tensor,
    batch: Batch,
    config: LlamaConfig,
}

impl Whole {
    /// Everything that `number` makes of a shape, a magnitude and a seed.
    fn new(
        number: &Numbers<'_>,
        (config, pack): (&LlamaConfig, &Pack),
        (dtype, device): (DType, &Device),
    ) -> Result<Self> {
        let section = LoraSection::default();
        let mut projections = Vec::new();
        for projection in Projection::ALL {
            let (out, from) = lora::shape(config, projection);
            projections.push(number(&[out, from], 1.0 / (from as f64).sqrt(), projection as u64)?);
        }
        let mut adapter = Adapter::fresh(config, &section, 1, device)?;
        adapter.tensors = adapter.tensors.map(|tensor| number(tensor.dims(), 0.1, 20))?;
        let tokens = pack.tokens();
        Ok(Self {
            layer: Layer {
                input_layernorm: number(&[config.hidden], 1.0, 10)?,
                projections: projections
                    .try_into()
                    .map_err(|_| anyhow::anyhow!("a layer has seven projections"))?,
                post_attention_layernorm: number(&[config.hidden], 1.0, 11)?,
            },
            adapter,
            x: number(&[tokens, config.hidden], 1.0, 12)?,
            dy: number(&[tokens, config.hidden], 1.0, 13)?,
            batch: Batch::new(pack, config, dtype, device)?,
            config: config.clone(),
        })
    }

    /// Output, gradient of the input, and the gradients of q's A and B.
    fn run(&self) -> Result<[Tensor; 4]> {
        let dropout = Some(Dropout { probability: 0.05, seed: 1, step: 2 });
        let lora = LayerLora { layer: 0, adapter: Some(&self.adapter), dropout };
        let pass = Pass { batch: &self.batch, config: &self.config, lora, rows: Rows::All };
        let input = Stream { base: self.x.clone(), delta: None };
        let (stream, saved) = self.layer.forward(&input, pass)?;
        let (dx, gradients) = self.layer.backward(&self.dy, &saved, pass, InputGradient::Wanted)?;
        let (Some(delta), Some(dx), Some(pair)) =
            (stream.delta, dx, gradients.get(Projection::QProj))
        else {
            anyhow::bail!("a layer without an output or a gradient")
        };
        Ok([(stream.base + delta)?, dx, pair.a.clone(), pair.b.clone()])
    }
}

fn whole_layer(doctor: &mut Doctor, sizes: &Sizes) -> Result<()> {
    let (dtype, device) = (doctor.dtype, doctor.device.clone());
    let here = |shape: &[usize], scale, seed| doctor.random(shape, scale, seed);
    let long = pack(sizes.tokens, sizes.config.vocab);
    let large = Whole::new(&here, (&sizes.config, &long), (dtype, &device))?;
    let (tiny, short) = (shape(64, 96, 2, 64)?, pack(60, 64));
    let error = |doctor: &Doctor| {
        let here = |shape: &[usize], scale, seed| doctor.random(shape, scale, seed);
        let there = |shape: &[usize], scale, seed| exact(&doctor.random(shape, scale, seed)?);
        let got = Whole::new(&here, (&tiny, &short), (dtype, &device))?.run()?;
        let want = Whole::new(&there, (&tiny, &short), (DType::F64, &Device::Cpu))?.run()?;
        let [y, dx, a, b] = want;
        worst([(&got[0], y), (&got[1], dx), (&got[2], a), (&got[3], b)])
    };
    let parameters: usize = Projection::ALL
        .iter()
        .map(|&projection| lora::shape(&sizes.config, projection))
        .map(|(out, from)| out * from)
        .sum();
    let flop = Work::Flop(4.0 * (parameters * long.tokens()) as f64);
    doctor.check("layer forward and backward", 10.0, error, flop, || large.run().map(drop));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_well_and_a_wrong_number_or_a_nan_is_not() {
        let diagnosis = examine(&Device::Cpu, DType::F32).unwrap();
        assert_eq!(diagnosis.failed(), 0, "{}", diagnosis.to_text());
        assert_eq!(diagnosis.checks.len(), 14);
        let one = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        let want = |values: [f64; 2]| Tensor::new(&values, &Device::Cpu).unwrap();
        assert!(worst([(&one, want([1.0, 4.0]))]).unwrap() > 0.4);
        let nan = Tensor::new(&[1f32, f32::NAN], &Device::Cpu).unwrap();
        assert!(worst([(&nan, want([1.0, 2.0]))]).unwrap().is_nan());
    }
}
