//! How far each element of the gradients may be from the exact one, by the arithmetic of the kernels and nothing else.
//!
//! Exact are the gradients that the kernel's inputs, its own `o` and its own log-sum-exps have in real numbers, in which
//!
//! ```text
//! S = scale q k^T    P = exp(S - lse)    T = d_o v^T - rowsum(d_o o)    dS = P T
//! dq = scale dS k    dk = scale dS^T q   dv = P^T d_o
//! ```
//!
//! Every operation of a kernel rounds once, by at most half a unit in the last place. With `e = 2^-24` for f32, `d = head_dim`, and
//! `[a b]` for a product of absolute values, summed as the product is:
//!
//! - a dot product of `n` terms in f32 is off by `(n + 1) e [a b]`, in whatever order it is summed;
//! - the exponent `x = scale s - lse` by `((d + 6) scale [q k] + 3 |lse|) e`: the dot product, three roundings of the factor (scale,
//!   log2 e, their product), one of its product with s, two of lse times log2 e, one of the difference. With an exponential that is
//!   good to 2 units in the last place, P is off by `rel P`, where `rel = exp(that) - 1 + 2^-21`;
//! - T by `(d + 1) e ([d_o v] + [d_o o]) + e |T|`, and dS by P times that, `rel |dS|` and `e |dS|`;
//! - on the tensor cores P and dS are rounded to bf16 once more before they are multiplied;
//! - the last product sums `n` of these, which takes `(n + 2) e` of the sum of their magnitudes (with the factor `scale`), and its
//!   result is rounded to the dtype of the gradient.
//!
//! There is no constant to choose: the errors of one element are added as if all of them pointed the same way. They do not, so that an
//! element that sums hundreds of products is far within, and one that sums two comes close.

use candle_core::DType;

use super::{Case, Gradients, Inputs, kernels};
use crate::kernels::elements::Elements;

/// Half a unit in the last place of f32, as a share of the power of two below.
const E: f64 = 1.0 / (1u64 << 24) as f64;
/// The largest number that a GPU may take for zero.
const TINY: f64 = f32::MIN_POSITIVE as f64;

/// Largest errors of the elements of dq, dk and dv.
pub(super) struct Bounds {
    pub(super) dq: Vec<f64>,
    pub(super) dk: Vec<f64>,
    pub(super) dv: Vec<f64>,
}

/// What rounding a number of at most magnitude `x` to `dtype` may change.
fn half_ulp(x: f64, dtype: DType) -> f64 {
    let share = if dtype == DType::BF16 { 1.0 / 256.0 } else { E };
    if x < TINY { TINY } else { x.log2().floor().exp2() * share }
}

/// Terms of one sum: their magnitudes, what they are off by, how many they are.
#[derive(Clone, Default)]
struct Sum {
    magnitude: f64,
    error: f64,
    terms: usize,
}

impl Sum {
    fn add(&mut self, magnitude: f64, error: f64) {
        self.magnitude += magnitude + error;
        self.error += error;
        self.terms += 1;
    }

    /// Of the sum times `scale`, stored as `dtype`; `exact`: what it is without an error.
    fn bound(&self, scale: f64, exact: f64, dtype: DType) -> f64 {
        let computed = scale * (self.error + (self.terms + 2) as f64 * E * self.magnitude);
        computed + half_ulp(exact.abs() + computed, dtype)
    }
}

/// The products `a b` and `|a| |b|`, summed.
fn dot(a: &[f64], b: &[f64]) -> (f64, f64) {
    a.iter().zip(b).fold((0.0, 0.0), |(sum, size), (a, b)| (sum + a * b, size + (a * b).abs()))
}

impl Bounds {
    /// For gradients of `case` that are `exact`ly dq, dk and dv, given the `o` and `lse` that the kernel read.
    pub(super) fn new(
        case: &Case,
        inputs: &Inputs,
        o: &Elements,
        lse: &[f32],
        exact: &[Vec<f64>; 3],
    ) -> Self {
        let (tokens, d) = (case.tokens(), case.heads.head_dim);
        let (heads, kv_heads) = (case.heads.heads, case.heads.kv_heads);
        let scale = 1.0 / (d as f64).sqrt();
        let [q, k, v, d_o, o] =
            [&inputs.q, &inputs.k, &inputs.v, &inputs.d_o, o].map(Elements::values);
        let product = |x: f64| if case.on_tensor_cores() { half_ulp(x, DType::BF16) } else { 0.0 };
        let mut dq = vec![Sum::default(); q.len()];
        let mut dk = vec![Sum::default(); k.len()];
        let mut dv = vec![Sum::default(); k.len()];
        for row in 0..tokens {
            let [start, from, to] = [0, 1, 2].map(|n| case.rows[n * tokens + row] as usize);
            for head in 0..heads {
                let query = (row * heads + head) * d..(row * heads + head + 1) * d;
                let (q, d_o, o) = (&q[query.clone()], &d_o[query.clone()], &o[query.clone()]);
                let lse = f64::from(lse[row * heads + head]);
                let (delta, delta_size) = dot(d_o, o);
                for other in (start..=row).filter(|key| !(from..to).contains(key)) {
                    let kv = other * kv_heads + head / (heads / kv_heads);
                    let key = kv * d..(kv + 1) * d;
                    let (k, v) = (&k[key.clone()], &v[key.clone()]);
                    let ((s, s_size), (dp, dp_size)) = (dot(q, k), dot(d_o, v));
                    let p = (scale * s - lse).exp();
                    let exponent = ((d + 6) as f64 * scale * s_size + 3.0 * lse.abs()) * E;
                    let rel = exponent.exp_m1() + 8.0 * E;
                    let (t, t_error) = (dp - delta, (d + 1) as f64 * E * (dp_size + delta_size));
                    let ds = (p * t).abs();
                    let ds_error = rel * ds
                        + p * (1.0 + rel) * (t_error + 2.0 * E * t.abs())
                        + TINY * (1.0 + t.abs());
                    let p_error = rel * p + TINY;
                    let (ds_error, p_error) =
                        (ds_error + product(ds + ds_error), p_error + product(p + p_error));
                    for c in 0..d {
                        dq[query.start + c].add(ds * k[c].abs(), ds_error * k[c].abs());
                        dk[key.start + c].add(ds * q[c].abs(), ds_error * q[c].abs());
                        dv[key.start + c].add(p * d_o[c].abs(), p_error * d_o[c].abs());
                    }
                }
            }
        }
        let bounds = |sums: Vec<Sum>, scale: f64, exact: &[f64]| -> Vec<f64> {
            sums.iter().zip(exact).map(|(sum, &x)| sum.bound(scale, x, case.dtype)).collect()
        };
        Self {
            dq: bounds(dq, scale, &exact[0]),
            dk: bounds(dk, scale, &exact[1]),
            dv: bounds(dv, 1.0, &exact[2]),
        }
    }
}

/// The element of a gradient whose error is the largest share of its bound.
#[derive(Debug, Default)]
pub(super) struct Worst {
    pub(super) ratio: f64,
    name: &'static str,
    at: usize,
    got: f64,
    exact: f64,
    bound: f64,
}

impl Worst {
    /// Of all elements; a NaN is infinitely far off.
    pub(super) fn of(got: &Gradients, exact: &[Vec<f64>; 3], bounds: &Bounds) -> Self {
        let mut worst = Self::default();
        let all =
            [("dq", &got.dq, &bounds.dq), ("dk", &got.dk, &bounds.dk), ("dv", &got.dv, &bounds.dv)];
        for ((name, got, bounds), exact) in all.into_iter().zip(exact) {
            let got = got.values();
            assert_eq!((got.len(), bounds.len()), (exact.len(), exact.len()), "{name}: elements");
            for (at, ((&got, &exact), &bound)) in got.iter().zip(exact).zip(bounds).enumerate() {
                let ratio = (got - exact).abs() / bound;
                let ratio = if ratio.is_nan() { f64::INFINITY } else { ratio };
                if ratio > worst.ratio {
                    worst = Self { ratio, name, at, got, exact, bound };
                }
            }
        }
        worst
    }
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ratio, name, at, got, exact, bound } = self;
        write!(
            f,
            "{name}[{at}]: got {got}, expected {exact}, off by {ratio} times its bound {bound:e}"
        )
    }
}

/// What a kernel gets wrong that is told something else: the bounds of the right gradients must notice.
#[test]
fn gradients_of_a_wrong_kernel_are_out_of_bounds() {
    if kernels().is_none() {
        return;
    }
    for (heads, dtype) in [
        ((4, 2, 64), DType::BF16),
        ((2, 1, 128), DType::BF16),
        ((3, 1, 80), DType::BF16),
        ((3, 1, 80), DType::F32),
    ] {
        let case = Case::new(&[(70, 63, 67)], heads, dtype);
        let inputs = case.inputs();
        let (o, lse) = case.forward(&inputs);
        let exact = case.exact(&inputs, &o, &lse);
        let bounds = Bounds::new(&case, &inputs, &o, &lse, &exact);
        let ratio = |case: &Case, o: &Elements, lse: &[f32]| {
            Worst::of(&case.backward(&inputs, o, lse), &exact, &bounds).ratio
        };
        let without = |sees: fn(usize) -> bool, key: usize| {
            let (mut rows, tokens) = (case.rows.clone(), case.tokens());
            for row in (key + 1..tokens).filter(|&row| sees(row)) {
                (rows[tokens + row], rows[2 * tokens + row]) = (key as u32, key as u32 + 1);
            }
            Case { rows, ..case.clone() }
        };
        let scaled = |factor| Case { scale: factor * case.scale, ..case.clone() };
        let more = |x: &Elements| {
            Elements::of(dtype, &x.values().iter().map(|x| 1.01 * x).collect::<Vec<_>>())
        };
        let later: Vec<f32> = lse.iter().map(|lse| lse + 0.01).collect();
        assert!(ratio(&case, &o, &lse) <= 1.0);
        for (what, ratio) in [
            ("scores 1 % too large", ratio(&scaled(1.01), &o, &lse)),
            ("scores 0.1 % too large", ratio(&scaled(1.001), &o, &lse)),
            ("probabilities 1 % too small", ratio(&case, &o, &later)),
            ("delta 1 % too large", ratio(&case, &more(&o), &lse)),
            ("row 20 without key 11", ratio(&without(|row| row == 20, 11), &o, &lse)),
            ("key 100 in its own row alone", ratio(&without(|row| row < 133, 100), &o, &lse)),
        ] {
            assert!(ratio > 1.0, "{what}: off by {ratio} times the bound, {case}");
        }
    }
}
