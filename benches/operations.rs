//! Throughput of each operation, forward and backward, at the shapes of a 27 M Llama: `cargo bench`.
//!
//! Element-wise operations are in bytes read and written per second, products and attention in FLOP ("elements") per second.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use candle_core::{DType, Device, Tensor};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use mvpbench::config::{DataSection, TrainSection};
use mvpbench::data::file;
use mvpbench::data::pack::Pack;
use mvpbench::data::pair::Pair;
use mvpbench::data::token_pair::TokenPair;
use mvpbench::data::tokenize::{Limits, tokenize};
use mvpbench::data::tokenizer::{Tokenizer, TokenizerFiles};
use mvpbench::ops::attention::{self, Heads};
use mvpbench::ops::dropout::DropoutMask;
use mvpbench::ops::{adamw, bias, linear, logps, rms_norm, rope, swiglu};
use mvpbench::presets;
use mvpbench::train::plan::Plan;

const TOKENS: usize = 1024;
const HIDDEN: usize = 512;
const INTERMEDIATE: usize = 1376;
const VOCAB: usize = 4096;
const HEADS: Heads = Heads { heads: 8, kv_heads: 8, head_dim: 64 };

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

fn bytes(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    elements: usize,
    mut f: impl FnMut(),
) {
    group.throughput(Throughput::Bytes(4 * elements as u64));
    group.bench_function(name, |b| b.iter(&mut f));
}

fn flop(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, flop: usize, mut f: impl FnMut()) {
    group.throughput(Throughput::Elements(flop as u64));
    group.bench_function(name, |b| b.iter(&mut f));
}

fn element_wise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("element-wise");
    let [x, dy, residual] = [(); 3].map(|()| random(&[TOKENS, HIDDEN]));
    let weight = random(&[HIDDEN]);
    let normed = rms_norm::forward(&x, Some(&residual), &weight, 1e-5).unwrap();
    let n = TOKENS * HIDDEN;
    bytes(&mut group, "rms_norm forward", 4 * n, || {
        drop(rms_norm::forward(&x, Some(&residual), &weight, 1e-5).unwrap())
    });
    bytes(&mut group, "rms_norm backward", 4 * n, || {
        drop(rms_norm::backward(&dy, &normed.sum, &normed.inv, &weight, Some(&residual)).unwrap())
    });

    let angles = random(&[TOKENS, HEADS.head_dim / 2]);
    let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
    bytes(&mut group, "rope", 2 * n, || {
        drop(rope::forward(x.clone(), &cos, &sin, HEADS.head_dim).unwrap())
    });
    bytes(&mut group, "bias", 2 * n, || drop(bias::forward(x.clone(), &weight).unwrap()));

    let [gate, up, dact] = [(); 3].map(|()| random(&[TOKENS, INTERMEDIATE]));
    let n = TOKENS * INTERMEDIATE;
    bytes(&mut group, "swiglu forward", 3 * n, || drop(swiglu::forward(&gate, &up).unwrap()));
    bytes(&mut group, "swiglu backward", 5 * n, || {
        drop(swiglu::backward(&dact, &gate, &up).unwrap())
    });

    let rows = Tensor::zeros(TOKENS, DType::U32, &Device::Cpu).unwrap();
    let offsets = Tensor::arange(0, TOKENS as u32, &Device::Cpu).unwrap();
    let mask = DropoutMask {
        probability: 0.05,
        seed: 1,
        step: 0,
        module: 0,
        pair_rows: &rows,
        offsets: &offsets,
    };
    bytes(&mut group, "dropout", 2 * TOKENS * HIDDEN, || drop(mask.apply(&dy).unwrap()));

    let zero = dy.zeros_like().unwrap();
    let parameter =
        adamw::Parameter { value: dy.clone(), first_moment: zero.clone(), second_moment: zero };
    let rule = adamw::Rule::Torch;
    let step = adamw::Step { learning_rate: 1e-4, weight_decay: 0.0, count: 1, rule };
    bytes(&mut group, "adamw", 7 * TOKENS * HIDDEN, || {
        drop(adamw::update(&parameter, &dy, &step, 1.0).unwrap())
    });
    group.finish();
}

fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("products");
    let (x, dy) = (random(&[TOKENS, HIDDEN]), random(&[TOKENS, INTERMEDIATE]));
    let weight = random(&[INTERMEDIATE, HIDDEN]);
    let n = 2 * TOKENS * HIDDEN * INTERMEDIATE;
    flop(&mut group, "linear forward", n, || drop(linear::forward(&x, &weight).unwrap()));
    flop(&mut group, "linear backward", n, || drop(linear::backward(&dy, &weight).unwrap()));
    flop(&mut group, "linear backward, added", n, || {
        linear::add_product(&x, &dy, &weight, 1e-6).unwrap()
    });

    let scored = 600;
    let (hidden, head) = (random(&[scored, HIDDEN]), random(&[VOCAB, HIDDEN]));
    let targets = Tensor::zeros(scored, DType::U32, &Device::Cpu).unwrap();
    let n = 2 * scored * HIDDEN * VOCAB;
    flop(&mut group, "logps forward", n, || {
        drop(logps::forward(&hidden, &head, &targets).unwrap())
    });
    flop(&mut group, "logps forward and backward", 2 * n, || {
        drop(logps::forward_for_backward(&hidden, &head, &targets).unwrap())
    });

    // Two pairs of MVPBench-like lengths; FLOP are those of the visible scores alone.
    let pair = |row| TokenPair {
        row,
        prompt: vec![1; 177],
        chosen: vec![2; 131],
        rejected: vec![3; 131],
        ..TokenPair::default()
    };
    let pack = Pack::new(&[pair(0), pair(1)]);
    let mask = attention::Mask::new(&pack.start, &pack.hide_from, &pack.hide_to).unwrap();
    let visible: usize = 2 * (0..177 + 131).sum::<usize>() + 2 * (177..177 + 131).sum::<usize>();
    let [q, k, v, d_o] = [(); 4].map(|()| random(&[pack.tokens(), HIDDEN]));
    let (o, lse) = attention::forward(&q, &k, &v, &mask, HEADS).unwrap();
    flop(&mut group, "attention forward", 4 * visible * HIDDEN, || {
        drop(attention::forward(&q, &k, &v, &mask, HEADS).unwrap())
    });
    let saved = attention::Activations { q: &q, k: &k, v: &v, o: &o, lse: &lse };
    flop(&mut group, "attention backward", 10 * visible * HIDDEN, || {
        drop(attention::backward(&d_o, &saved, &mask, HEADS).unwrap());
    });
    group.finish();
}

fn data(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("data");
    group.sample_size(10);
    let files = presets::embedded_folder("embedded:tiny/model").unwrap();
    let bytes_of =
        |name: &str| files.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes);
    let files = TokenizerFiles {
        tokenizer: bytes_of("tokenizer.json").unwrap(),
        tokenizer_config: bytes_of("tokenizer_config.json"),
        ..Default::default()
    };
    let tokenizer = Tokenizer::from_bytes(&files, "tiny").unwrap();
    let name = "embedded:tiny/data/MVP_train.json";
    let sample = file::load(
        &[(name.to_owned(), presets::read(name).unwrap()).into()],
        &[],
        &file::Prompts::default(),
    )
    .unwrap()
    .pairs;
    let pairs: Vec<Pair> = sample.iter().cycle().take(24_000).cloned().collect();
    let limits = Limits { max_prompt_tokens: 512, max_length: 1024, ..Limits::default() };
    group.throughput(Throughput::Elements(pairs.len() as u64));
    group.bench_function("tokenize 24,000 pairs", |b| {
        b.iter(|| tokenize(&pairs, &tokenizer, &limits).unwrap())
    });
    let plan = Plan::new((0..24_000).collect(), &DataSection::default(), &TrainSection::default());
    group.bench_function("plan three epochs of 24,000 pairs", |b| {
        b.iter(|| plan.steps_from(0).count())
    });
    group.finish();
}

criterion_group!(all, element_wise, products, data);
criterion_main!(all);
