//! Attention's kernels beside the CPU body in f64, which the operation's own tests hold to a composition of candle primitives.
//!
//! Bounds of `o` and of the log-sum-exps are shares of the largest wanted magnitude; each element of a gradient has a [`bound`] of its
//! own. Gradients are compared given the kernel's own `o` and log-sum-exp: what rounding `o` does to delta is no mistake of the backward
//! kernels, and with outliers it is as large as the gradients are.

mod bound;

use candle_core::{DType, Tensor};
use mvpbench::ops::attention::{self, Activations, Heads, Mask};

use self::bound::{Bounds, Worst};
use super::elements::Elements;
use super::{Accesses, Argument, Kernels, Launch};

/// Threads of a block, and rows of a tile, of `attention.cu`.
const THREADS: u32 = 128;
const TILE: u32 = 64;
const NARROW: u32 = 32;

fn kernels() -> Option<&'static Kernels> {
    Kernels::of("src/ops/attention.cu")
}

/// `[prompt | chosen | rejected]` of each pair, end to end: start, hide_from and hide_to of each row, `[3, tokens]`.
fn packed(pairs: &[(u32, u32, u32)]) -> Vec<u32> {
    let (mut start, mut from, mut to) = (vec![], vec![], vec![]);
    for &(prompt, chosen, rejected) in pairs {
        let base = start.len() as u32;
        for i in 0..prompt + chosen + rejected {
            let hides = i >= prompt + chosen && chosen > 0;
            start.push(base);
            from.push(if hides { base + prompt } else { 0 });
            to.push(if hides { base + prompt + chosen } else { 0 });
        }
    }
    [start, from, to].concat()
}

/// What a launch is given.
#[derive(Clone)]
struct Inputs {
    q: Elements,
    k: Elements,
    v: Elements,
    d_o: Elements,
}

struct Gradients {
    dq: Elements,
    dk: Elements,
    dv: Elements,
}

#[derive(Clone)]
struct Case {
    rows: Vec<u32>,
    heads: Heads,
    dtype: DType,
    seed: u64,
    /// Factor of the scores that the kernels are told.
    scale: f64,
    accesses: Accesses,
}

impl Case {
    fn new(pairs: &[(u32, u32, u32)], heads: (usize, usize, usize), dtype: DType) -> Self {
        let (heads, kv_heads, head_dim) = heads;
        let scale = 1.0 / (head_dim as f64).sqrt();
        let heads = Heads { heads, kv_heads, head_dim };
        let accesses = Accesses::InOrderIfFew;
        Self { rows: packed(pairs), heads, dtype, seed: 1, scale, accesses }
    }

    fn tokens(&self) -> usize {
        self.rows.len() / 3
    }

    fn query_shape(&self) -> [usize; 2] {
        [self.tokens(), self.heads.heads * self.heads.head_dim]
    }

    fn key_shape(&self) -> [usize; 2] {
        [self.tokens(), self.heads.kv_heads * self.heads.head_dim]
    }

    fn inputs(&self) -> Inputs {
        let of =
            |[tokens, width]: [usize; 2], seed| Elements::random(self.dtype, tokens * width, seed);
        let (query, key) = (self.query_shape(), self.key_shape());
        Inputs { q: of(query, 1), k: of(key, 2), v: of(key, 3), d_o: of(query, 4) }
    }

    fn on_tensor_cores(&self) -> bool {
        self.dtype == DType::BF16 && [64, 128].contains(&self.heads.head_dim)
    }

    /// Name and launch of `kernel`, which walks over other rows for each of `heads`.
    fn kernel(&self, kernel: &str, heads: usize) -> (String, Launch) {
        let (tokens, d) = (self.tokens() as u32, self.heads.head_dim as u32);
        let (heads, shared, arrays) = match kernel {
            "forward" => (heads as u32, 5 * TILE * d * 2, 2),
            "dq" => (heads as u32, 6 * TILE * d * 2, 3),
            _ => (heads as u32, (2 * TILE + 4 * NARROW) * d * 2 + 2 * NARROW * 20, 4),
        };
        let (body, grid, shared) = if self.on_tensor_cores() {
            (d.to_string(), [tokens.div_ceil(TILE), heads, 1], shared)
        } else {
            ("plain".to_owned(), [(tokens * heads).div_ceil(4), 1, 1], 4 * arrays * d * 4)
        };
        let Self { seed, accesses, .. } = *self;
        let launch = Launch { grid, shared, seed, accesses, ..Launch::of(1, THREADS) };
        (format!("attention_{kernel}_{body}_{}", self.suffix()), launch)
    }

    fn suffix(&self) -> &'static str {
        if self.dtype == DType::BF16 { "bf16" } else { "float" }
    }

    /// The last arguments of every kernel but `delta`.
    fn sizes(&self) -> Vec<Argument<'static>> {
        let Heads { heads, kv_heads, head_dim } = self.heads;
        let mut sizes: Vec<Argument<'_>> =
            [self.tokens(), heads, kv_heads].map(|n| Argument::value(n as u32)).into();
        sizes.push(Argument::value(self.scale as f32));
        if !self.on_tensor_cores() {
            sizes.push(Argument::value(head_dim as u32));
        }
        sizes
    }

    fn forward(&self, inputs: &Inputs) -> (Elements, Vec<f32>) {
        let [tokens, width] = self.query_shape();
        let mut o = Elements::unwritten(self.dtype, tokens * width);
        let mut lse = vec![f32::NAN; tokens * self.heads.heads];
        let (name, launch) = self.kernel("forward", self.heads.heads);
        let mut arguments = vec![inputs.q.read(), inputs.k.read(), inputs.v.read()];
        arguments.extend([Argument::read(&self.rows), o.write(), Argument::write(&mut lse)]);
        arguments.extend(self.sizes());
        kernels().unwrap().launch(&name, launch, &mut arguments);
        drop(arguments);
        (o, lse)
    }

    fn backward(&self, inputs: &Inputs, o: &Elements, lse: &[f32]) -> Gradients {
        let ([tokens, width], [_, kv_width]) = (self.query_shape(), self.key_shape());
        let Heads { heads, kv_heads, head_dim } = self.heads;
        let mut delta = vec![f32::NAN; tokens * heads];
        let count = (tokens * heads) as u32;
        kernels().unwrap().launch(
            &format!("attention_delta_{}", self.suffix()),
            Launch {
                seed: self.seed,
                accesses: self.accesses,
                ..Launch::of(count.div_ceil(4), THREADS)
            },
            &mut [
                inputs.d_o.read(),
                o.read(),
                Argument::write(&mut delta),
                Argument::value(count),
                Argument::value(head_dim as u32),
            ],
        );
        let [mut dq, mut dk, mut dv] = [width, kv_width, kv_width]
            .map(|width| Elements::unwritten(self.dtype, tokens * width));
        for (kernel, heads, outputs) in
            [("dq", heads, vec![&mut dq]), ("dkdv", kv_heads, vec![&mut dk, &mut dv])]
        {
            let (name, launch) = self.kernel(kernel, heads);
            let mut arguments =
                vec![inputs.d_o.read(), inputs.q.read(), inputs.k.read(), inputs.v.read()];
            arguments.extend([lse, &delta].map(Argument::read));
            arguments.push(Argument::read(&self.rows));
            arguments.extend(outputs.into_iter().map(Elements::write));
            arguments.extend(self.sizes());
            kernels().unwrap().launch(&name, launch, &mut arguments);
        }
        Gradients { dq, dk, dv }
    }

    fn mask(&self) -> Mask {
        let (start, hidden) = self.rows.split_at(self.tokens());
        let (from, to) = hidden.split_at(self.tokens());
        Mask::new(start, from, to).unwrap()
    }

    /// Values and log-sum-exps within a share of the largest of the CPU body's, gradients within their [`bound`].
    fn check(&self, inputs: &Inputs) {
        let (query, key) = (self.query_shape(), self.key_shape());
        let (q, k, v) = (inputs.q.tensor(&query), inputs.k.tensor(&key), inputs.v.tensor(&key));
        let (want, want_lse) = attention::forward(&q, &k, &v, &self.mask(), self.heads).unwrap();
        let (o, lse) = self.forward(inputs);
        let values = if self.dtype == DType::BF16 { 8e-3 } else { 1e-5 };
        assert_close(&format!("o of {self}"), &o, &want, values);
        let kept = Elements::F32(lse.iter().map(|lse| lse.to_bits()).collect());
        assert_close(&format!("lse of {self}"), &kept, &want_lse, 2e-6);
        let gradients = self.backward(inputs, &o, &lse);
        let exact = self.exact(inputs, &o, &lse);
        let bounds = Bounds::new(self, inputs, &o, &lse, &exact);
        let worst = Worst::of(&gradients, &exact, &bounds);
        assert!(worst.ratio <= 1.0, "{worst} of {self}");
    }

    /// dq, dk and dv by the CPU body in f64, given `o` and `lse`.
    fn exact(&self, inputs: &Inputs, o: &Elements, lse: &[f32]) -> [Vec<f64>; 3] {
        let (query, key) = (self.query_shape(), self.key_shape());
        let lse = Elements::F32(lse.iter().map(|lse| lse.to_bits()).collect());
        let saved = Activations {
            q: &inputs.q.tensor(&query),
            k: &inputs.k.tensor(&key),
            v: &inputs.v.tensor(&key),
            o: &o.tensor(&query),
            lse: &lse.tensor(&[self.tokens(), self.heads.heads]),
        };
        let d_o = inputs.d_o.tensor(&query);
        let (dq, dk, dv) = attention::backward(&d_o, &saved, &self.mask(), self.heads).unwrap();
        [dq, dk, dv].map(|gradient| gradient.flatten_all().unwrap().to_vec1().unwrap())
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = self.tokens();
        write!(f, "{:?} {:?} {tokens} tokens, seed {}", self.heads, self.dtype, self.seed)
    }
}

/// Fails unless every element is within `tolerance` of the largest wanted one, or of 1. NaN is never close.
#[track_caller]
fn assert_close(what: &str, got: &Elements, want: &Tensor, tolerance: f64) {
    let want = want.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let got = got.values();
    assert_eq!(got.len(), want.len(), "{what}: elements");
    let scale = want.iter().fold(1.0, |m: f64, w| m.max(w.abs()));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let close = (got - want).abs() <= tolerance * scale;
        assert!(
            close,
            "{what}[{i}]: got {got}, expected {want}, tolerance {tolerance:e} of {scale}"
        );
    }
}

const PACKS: [&[(u32, u32, u32)]; 5] = [
    &[(1, 0, 0)],
    &[(2, 1, 1), (3, 0, 2), (0, 2, 2)],
    &[(70, 63, 67)],
    &[(1, 1, 0), (TILE, 1, 1), (33, 40, 29)],
    &[(3, TILE, 65)],
];

#[test]
fn values_and_gradients_on_tensor_cores_agree_with_the_reference() {
    if kernels().is_none() {
        return;
    }
    for (seed, pack) in PACKS.into_iter().enumerate() {
        for heads in [(1, 1, 64), (4, 2, 64), (2, 1, 128)] {
            let case = Case { seed: seed as u64, ..Case::new(pack, heads, DType::BF16) };
            assert!(case.on_tensor_cores());
            case.check(&case.inputs());
        }
    }
}

/// Whatever the values: at a place where a vote happens to stand between a write and a read they are right here, and not on a GPU.
#[test]
fn barriers_order_all_accesses_of_every_kernel() {
    if kernels().is_none() {
        return;
    }
    for heads in [(2, 1, 64), (2, 1, 128), (2, 1, 5)] {
        // Several tiles, and more than one buffer of them; of few rows where each is a warp's.
        let pairs: &[_] = if heads.2 == 5 { PACKS[1] } else { PACKS[2] };
        let case = Case::new(pairs, heads, DType::BF16);
        let case = Case { accesses: Accesses::InOrder, ..case };
        let inputs = case.inputs();
        let (o, lse) = case.forward(&inputs);
        case.backward(&inputs, &o, &lse);
    }
}

#[test]
fn values_and_gradients_of_other_heads_agree_with_the_reference() {
    if kernels().is_none() {
        return;
    }
    for (seed, pack) in PACKS.into_iter().enumerate() {
        for (heads, dtype) in [
            ((2, 1, 5), DType::F32),
            ((4, 2, 64), DType::F32),
            ((3, 1, 80), DType::F32),
            ((3, 1, 80), DType::BF16),
            ((1, 1, 7), DType::BF16),
        ] {
            let case = Case { seed: seed as u64, ..Case::new(pack, heads, dtype) };
            assert!(!case.on_tensor_cores());
            case.check(&case.inputs());
        }
    }
}

#[test]
fn scores_far_beyond_the_range_of_exp_are_right() {
    if kernels().is_none() {
        return;
    }
    for (heads, dtype) in [((2, 1, 64), DType::BF16), ((2, 1, 80), DType::F32)] {
        let case = Case::new(&[(40, 50, 60)], heads, dtype);
        let mut inputs = case.inputs();
        for x in [&mut inputs.q, &mut inputs.k] {
            *x = Elements::of(dtype, &x.values().iter().map(|x| x * 30.0).collect::<Vec<_>>());
        }
        // Scores reach 1e5, where f32 has steps of 0.01: too coarse to compare probabilities that nearly tie.
        let (o, lse) = case.forward(&inputs);
        assert!(o.values().iter().all(|x| x.is_finite()) && lse.iter().all(|x| x.is_finite()));
        let (query, key) = (case.query_shape(), case.key_shape());
        let (q, k, v) = (inputs.q.tensor(&query), inputs.k.tensor(&key), inputs.v.tensor(&key));
        let (_, want) = attention::forward(&q, &k, &v, &case.mask(), case.heads).unwrap();
        let kept = Elements::F32(lse.iter().map(|lse| lse.to_bits()).collect());
        assert_close("lse", &kept, &want, 2e-6);
        let Gradients { dq, dk, dv } = case.backward(&inputs, &o, &lse);
        assert!([dq, dk, dv].iter().all(|g| g.values().iter().all(|x| x.is_finite())));
    }
}

#[test]
fn the_order_of_threads_does_not_change_a_bit() {
    if kernels().is_none() {
        return;
    }
    for (heads, dtype) in
        [((2, 1, 128), DType::BF16), ((2, 1, 64), DType::BF16), ((2, 1, 9), DType::F32)]
    {
        let case = Case::new(&[(20, 60, 70), (5, 3, 4)], heads, dtype);
        let inputs = case.inputs();
        let run = |seed| {
            let case = Case { seed, ..case.clone() };
            let (o, lse) = case.forward(&inputs);
            let Gradients { dq, dk, dv } = case.backward(&inputs, &o, &lse);
            let lse: Vec<u32> = lse.iter().map(|lse| lse.to_bits()).collect();
            (o, lse, dq, dk, dv)
        };
        let first = run(0);
        for seed in 1..4 {
            assert!(run(seed) == first, "{heads:?} {dtype:?} seed {seed}");
        }
    }
}

#[test]
fn an_empty_range_hides_nothing_wherever_it_lies() {
    if kernels().is_none() {
        return;
    }
    for (heads, dtype) in [((1, 1, 64), DType::BF16), ((2, 1, 5), DType::F32)] {
        let case = Case::new(&[(5, 4, 0)], heads, dtype);
        let mut other = case.clone();
        other.rows[case.tokens()..].fill(3);
        let inputs = case.inputs();
        let run = |case: &Case| {
            let (o, lse) = case.forward(&inputs);
            let Gradients { dq, dk, dv } = case.backward(&inputs, &o, &lse);
            (o, lse, dq, dk, dv)
        };
        assert!(run(&case) == run(&other), "{heads:?}");
    }
}

/// Rows `rows` of each array NaN, `[tokens, width]`.
fn poisoned(case: &Case, x: &Elements, rows: std::ops::Range<usize>) -> Elements {
    let mut values = x.values();
    let width = values.len() / case.tokens();
    values[rows.start * width..rows.end * width].fill(f64::NAN);
    Elements::of(case.dtype, &values)
}

#[test]
fn tiles_that_nobody_sees_are_not_read() {
    if kernels().is_none() {
        return;
    }
    let (prompt, chosen) = (64, 64);
    for (heads, dtype) in
        [((2, 1, 64), DType::BF16), ((1, 1, 128), DType::BF16), ((2, 1, 80), DType::F32)]
    {
        // The chosen answer is a tile of its own; the rejected one and the next pair see nothing of it.
        let case = Case::new(&[(prompt, chosen, 50), (30, 20, 10)], heads, dtype);
        let inputs = case.inputs();
        let (o, lse) = case.forward(&inputs);
        let clean = case.backward(&inputs, &o, &lse);
        let hidden = prompt as usize..(prompt + chosen) as usize;
        let poison = |x: &Elements| poisoned(&case, x, hidden.clone());
        let Inputs { q, k, v, d_o } = &inputs;
        let broken = Inputs { q: poison(q), k: poison(k), v: poison(v), d_o: poison(d_o) };
        let (broken_o, broken_lse) = case.forward(&broken);
        let rejected = |x: &Elements| {
            let values = x.values();
            let width = values.len() / case.tokens();
            values[hidden.end * width..].iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(rejected(&broken_o), rejected(&o), "{heads:?}");
        let after = hidden.end * heads.0;
        assert_eq!(broken_lse[after..], lse[after..]);
        let got = case.backward(&broken, &o, &lse);
        for (name, got, want) in
            [("dq", &got.dq, &clean.dq), ("dk", &got.dk, &clean.dk), ("dv", &got.dv, &clean.dv)]
        {
            assert_eq!(rejected(got), rejected(want), "{name} {heads:?}");
        }
        // And NaN does come through where it is seen.
        let width = o.values().len() / case.tokens();
        assert!(
            broken_o.values()[hidden.start * width..hidden.end * width].iter().all(|x| x.is_nan())
        );
        assert!(
            broken_lse[hidden.start * heads.0..hidden.end * heads.0].iter().all(|x| x.is_nan())
        );
        assert!(
            got.dq.values()[hidden.start * width..hidden.end * width].iter().all(|x| x.is_nan())
        );
        assert!(got.dk.values()[0].is_nan() && got.dv.values()[0].is_nan());
    }
}
