//! Attention over packed, prefix-shared sequences: `o = softmax(q k^T / sqrt(head_dim)) v` where a token sees the rows from
//! the start of its pair to itself, less one hidden interval (a rejected answer does not see the chosen one).
//!
//! Only the log-sum-exp of each row is kept; the backward pass recomputes the probabilities, block by block:
//! `dS = P * (dO V^T - rowsum(dO * O))`, `dQ = dS K / sqrt(d)`, `dK = dS^T Q / sqrt(d)`, `dV = P^T dO`.
//! Head `n` of the queries reads key/value head `n / (heads / kv_heads)`.

#[cfg(feature = "cuda")]
mod launch;
mod tiled;

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use crate::ops::cpu::on_device;

/// How a row of `q`, `k` or `v` divides into heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of one head.
    pub head_dim: usize,
}

impl Heads {
    pub(super) fn scale(self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
    }
}

/// Which rows each row sees.
#[derive(Debug, Clone)]
pub struct Mask {
    /// Rows of one pair each, in order.
    pairs: Vec<Vec<Run>>,
    tokens: usize,
    /// The same on a GPU, once copied.
    #[cfg(feature = "cuda")]
    copied: std::sync::Arc<std::sync::Mutex<Option<Tensor>>>,
}

/// Consecutive rows of one pair with the same hidden interval.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    rows: Range<usize>,
    /// First row of the pair.
    start: usize,
    /// Rows hidden from all of these, before the first of them; may be empty.
    hidden: Range<usize>,
}

impl Mask {
    /// From a pack's `start`, `hide_from` and `hide_to`, each `[tokens]`: row `i` sees `start[i]..=i` less `hide_from[i]..hide_to[i]`.
    ///
    /// Refuses intervals that reach outside the pair or hide a row from itself.
    pub fn new(start: &[u32], hide_from: &[u32], hide_to: &[u32]) -> Result<Self> {
        let mut pairs: Vec<Vec<Run>> = Vec::new();
        for (row, ((&start, &from), &to)) in start.iter().zip(hide_from).zip(hide_to).enumerate() {
            let (start, hidden) =
                (start as usize, if from < to { from as usize..to as usize } else { 0..0 });
            if start > row || (!hidden.is_empty() && (hidden.start < start || hidden.end > row)) {
                bail!(
                    "attention: row {row}: expected a start and a hidden interval before it, got start {start}, hidden {hidden:?}"
                );
            }
            match pairs.last_mut() {
                Some(runs) if runs[0].start == start => match runs.last_mut() {
                    Some(run) if run.hidden == hidden => run.rows.end = row + 1,
                    _ => runs.push(Run { rows: row..row + 1, start, hidden }),
                },
                _ if start == row => pairs.push(vec![Run { rows: row..row + 1, start, hidden }]),
                _ => bail!(
                    "attention: row {row}: expected the pair of the row before it, got the one that starts at {start}"
                ),
            }
        }
        for run in pairs.iter().flatten() {
            if run.hidden.end > run.rows.start {
                bail!(
                    "attention: rows {:?}: expected a hidden interval before all of them, got {:?}",
                    run.rows,
                    run.hidden
                );
            }
        }
        Ok(Self {
            pairs,
            tokens: start.len(),
            #[cfg(feature = "cuda")]
            copied: Default::default(),
        })
    }

    /// The rows of each pair.
    fn bands(&self) -> Vec<Range<usize>> {
        let last = |runs: &[Run]| runs.last().map_or(0, |run| run.rows.end);
        self.pairs.iter().map(|runs| runs[0].start..last(runs)).collect()
    }
}

/// Returns `o` `[tokens, heads * head_dim]` and the log-sum-exp of each row's scaled scores, `[tokens, heads]`, f32 for bf16.
///
/// - `q`: `[tokens, heads * head_dim]`, `k`, `v`: `[tokens, kv_heads * head_dim]`; positions already applied.
pub fn forward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Mask,
    heads: Heads,
) -> Result<(Tensor, Tensor)> {
    on_device!(
        "attention", q,
        T => tiled::forward::<T>(q, k, v, mask, heads),
        cuda => launch::forward(q, k, v, mask, heads)
    )
}

/// The tensors of a forward pass that [`backward`] reads.
#[derive(Debug, Clone, Copy)]
pub struct Activations<'a> {
    /// Queries, as [`forward`] took them.
    pub q: &'a Tensor,
    /// Keys, as [`forward`] took them.
    pub k: &'a Tensor,
    /// Values, as [`forward`] took them.
    pub v: &'a Tensor,
    /// Output, as [`forward`] returned it.
    pub o: &'a Tensor,
    /// Log-sum-exps, as [`forward`] returned them.
    pub lse: &'a Tensor,
}

/// Returns the gradients of `q`, `k` and `v`, in their shapes; `d_o`: gradient of `o`.
pub fn backward(
    d_o: &Tensor,
    saved: &Activations<'_>,
    mask: &Mask,
    heads: Heads,
) -> Result<(Tensor, Tensor, Tensor)> {
    on_device!(
        "attention backward", d_o,
        T => tiled::backward::<T>(d_o, saved, mask, heads),
        cuda => launch::backward(d_o, saved, mask, heads)
    )
}

fn refuse_mismatched(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Mask, heads: Heads) -> Result<()> {
    let (query, key) = (
        [mask.tokens, heads.heads * heads.head_dim],
        [mask.tokens, heads.kv_heads * heads.head_dim],
    );
    if q.dims() != query
        || k.dims() != key
        || v.dims() != key
        || heads.kv_heads == 0
        || !heads.heads.is_multiple_of(heads.kv_heads)
    {
        bail!(
            "attention: q {:?}, k {:?}, v {:?} do not match {} tokens and {heads:?}",
            q.dims(),
            k.dims(),
            v.dims(),
            mask.tokens
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::tiled::BLOCK;
    use super::*;
    use crate::ops::testing::{
        NOT_FINITE, assert_close, broken, finite_difference, not_finite, random, tape, tolerance,
    };
    use candle_core::DType;

    type Arrays = (Vec<u32>, Vec<u32>, Vec<u32>);

    /// `[prompt | chosen | rejected]` of each pair, end to end.
    fn packed(pairs: &[(u32, u32, u32)]) -> Arrays {
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
        (start, from, to)
    }

    fn reference(t: &[Tensor], (start, from, to): &Arrays, shape: Heads) -> Result<Tensor> {
        let (tokens, _) = t[0].dims2()?;
        let Heads { heads, kv_heads, head_dim } = shape;
        let blocked: Vec<f64> = (0..tokens * tokens)
            .map(|at| (at / tokens, at % tokens))
            .map(|(i, j)| {
                j <= i && j >= start[i] as usize && !(j >= from[i] as usize && j < to[i] as usize)
            })
            .map(|visible| if visible { 0.0 } else { -1e30 })
            .collect();
        let blocked = Tensor::from_vec(blocked, (1, tokens, tokens), t[0].device())?
            .to_dtype(t[0].dtype())?;
        let split = |t: &Tensor, heads: usize| {
            t.reshape((tokens, heads, head_dim))?.transpose(0, 1)?.contiguous()
        };
        let wide = |t: &Tensor| {
            let t = split(t, kv_heads)?.unsqueeze(1)?.broadcast_as((
                kv_heads,
                heads / kv_heads,
                tokens,
                head_dim,
            ))?;
            t.reshape((heads, tokens, head_dim))?.contiguous()
        };
        let (q, k, v) = (split(&t[0], heads)?, wide(&t[1])?, wide(&t[2])?);
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * shape.scale())?
            .broadcast_add(&blocked)?;
        candle_nn::ops::softmax(&scores, 2)?
            .matmul(&v)?
            .transpose(0, 1)?
            .contiguous()?
            .reshape((tokens, heads * head_dim))
    }

    fn inputs(tokens: usize, shape: Heads, dtype: DType) -> [Tensor; 4] {
        let (query, key) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        [(query, 1), (key, 2), (key, 3), (query, 4)]
            .map(|(width, seed)| random(&[tokens, width], seed, dtype))
    }

    #[test]
    fn values_and_gradients_agree_with_the_reference() {
        let long = BLOCK as u32;
        let packs: [&[(u32, u32, u32)]; 5] = [
            &[(1, 0, 0)],
            &[(2, 1, 1), (3, 0, 2), (0, 2, 2)],
            &[(5, 3, 4)],
            &[(long + 3, long - 1, 2 * long)],
            &[(1, 1, 0), (long, 1, 1)],
        ];
        for dtype in [DType::F32, DType::F64] {
            for pack in packs {
                for (heads, kv_heads, head_dim) in [(1, 1, 1), (4, 2, 8), (3, 1, 5)] {
                    let shape = Heads { heads, kv_heads, head_dim };
                    let arrays = packed(pack);
                    let mask = Mask::new(&arrays.0, &arrays.1, &arrays.2).unwrap();
                    let [q, k, v, d_o] = inputs(arrays.0.len(), shape, dtype);
                    let (o, lse) = forward(&q, &k, &v, &mask, shape).unwrap();
                    let want =
                        reference(&[q.clone(), k.clone(), v.clone()], &arrays, shape).unwrap();
                    assert_close("o", &o, &want, 4.0 * tolerance(dtype));
                    let saved = Activations { q: &q, k: &k, v: &v, o: &o, lse: &lse };
                    let (dq, dk, dv) = backward(&d_o, &saved, &mask, shape).unwrap();
                    let want = tape(&[&q, &k, &v], &d_o, |t| reference(t, &arrays, shape));
                    for (name, got, want) in
                        [("dq", dq, &want[0]), ("dk", dk, &want[1]), ("dv", dv, &want[2])]
                    {
                        assert_close(name, &got, want, 40.0 * tolerance(dtype));
                    }
                }
            }
        }
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let shape = Heads { heads: 2, kv_heads: 1, head_dim: 3 };
        let arrays = packed(&[(2, 2, 2)]);
        let mask = Mask::new(&arrays.0, &arrays.1, &arrays.2).unwrap();
        let [q, k, v, d_o] = inputs(6, shape, DType::F64);
        let (o, lse) = forward(&q, &k, &v, &mask, shape).unwrap();
        let saved = Activations { q: &q, k: &k, v: &v, o: &o, lse: &lse };
        let (dq, dk, dv) = backward(&d_o, &saved, &mask, shape).unwrap();
        let value = |q: &Tensor, k: &Tensor, v: &Tensor| Ok(forward(q, k, v, &mask, shape)?.0);
        assert_close("dq", &dq, &finite_difference(&q, &d_o, |q| value(q, &k, &v)), 1e-6);
        assert_close("dk", &dk, &finite_difference(&k, &d_o, |k| value(&q, k, &v)), 1e-6);
        assert_close("dv", &dv, &finite_difference(&v, &d_o, |v| value(&q, &k, v)), 1e-6);
    }

    /// The reference multiplies hidden rows by zero, so an infinite one makes more of its elements NaN.
    fn assert_reached(name: &str, got: &Tensor, want: &Tensor) {
        let any = |t: &Tensor| not_finite(t).iter().any(|&n| n > 0);
        assert!(any(got) || !any(want), "{name} is finite");
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let shape = Heads { heads: 2, kv_heads: 1, head_dim: 8 };
        let arrays = packed(&[(40, 3, 2)]);
        let mask = Mask::new(&arrays.0, &arrays.1, &arrays.2).unwrap();
        for bad in NOT_FINITE {
            for side in 0..4 {
                let of = |i: usize| if i == side { bad } else { 1.0 };
                let [q, k, v, d_o] = [(0, 16), (1, 8), (2, 8), (3, 16)]
                    .map(|(i, width)| broken(&[45, width], i as u64, 33 * width, of(i)));
                let wide = [&q, &k, &v, &d_o].map(|t| t.to_dtype(DType::F64).unwrap());
                let (o, lse) = forward(&q, &k, &v, &mask, shape).unwrap();
                let want = reference(&wide[..3], &arrays, shape).unwrap();
                assert_reached("o", &o, &want);
                let saved = Activations { q: &q, k: &k, v: &v, o: &o, lse: &lse };
                let (dq, dk, dv) = backward(&d_o, &saved, &mask, shape).unwrap();
                let want = tape(&[&wide[0], &wide[1], &wide[2]], &wide[3], |t| {
                    reference(t, &arrays, shape)
                });
                for (name, got, want) in
                    [("dq", dq, &want[0]), ("dk", dk, &want[1]), ("dv", dv, &want[2])]
                {
                    assert_reached(name, &got, want);
                }
            }
        }
    }

    #[test]
    fn a_rejected_answer_does_not_see_the_chosen_one() {
        let shape = Heads { heads: 1, kv_heads: 1, head_dim: 4 };
        let arrays = packed(&[(2, 3, 2)]);
        let mask = Mask::new(&arrays.0, &arrays.1, &arrays.2).unwrap();
        let [q, k, v, _] = inputs(7, shape, DType::F32);
        let chosen_replaced = |t: &Tensor| {
            Tensor::cat(
                &[t.narrow(0, 0, 2)?, t.narrow(0, 2, 3)?.zeros_like()?, t.narrow(0, 5, 2)?],
                0,
            )
        };
        let (o, _) = forward(&q, &k, &v, &mask, shape).unwrap();
        let (other, _) =
            forward(&q, &chosen_replaced(&k).unwrap(), &chosen_replaced(&v).unwrap(), &mask, shape)
                .unwrap();
        let rows = |t: &Tensor| t.narrow(0, 5, 2).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(rows(&o), rows(&other));
    }

    #[test]
    fn masks_that_hide_a_row_from_itself_or_leave_the_pair_are_refused() {
        assert!(Mask::new(&[0, 0], &[0, 1], &[0, 2]).is_err());
        assert!(Mask::new(&[0, 1], &[0, 0], &[0, 1]).is_err());
        assert!(Mask::new(&[1], &[0], &[0]).is_err());
    }

    #[test]
    fn tensors_that_do_not_match_the_mask_or_the_heads_are_refused() {
        let shape = Heads { heads: 4, kv_heads: 2, head_dim: 3 };
        let arrays = packed(&[(2, 2, 2)]);
        let mask = Mask::new(&arrays.0, &arrays.1, &arrays.2).unwrap();
        let [q, k, v, _] = inputs(6, shape, DType::F32);
        let refused = |q: &Tensor, k: &Tensor, v: &Tensor, shape| {
            let error = forward(q, k, v, &mask, shape).err().map(|error| error.to_string());
            error.is_some_and(|error| error.contains("do not match 6 tokens"))
        };
        assert!(!refused(&q, &k, &v, shape));
        let (longer, wider) = (inputs(7, shape, DType::F32), random(&[6, 9], 5, DType::F32));
        assert!(refused(&longer[0], &longer[1], &longer[2], shape));
        assert!(refused(&wider, &k, &v, shape));
        assert!(refused(&q, &wider, &v, shape));
        assert!(refused(&q, &k, &wider, shape));
        let uneven = Heads { heads: 3, kv_heads: 2, head_dim: 4 };
        let [_, k, v, _] = inputs(6, uneven, DType::F32);
        assert!(refused(&q, &k, &v, uneven));
    }
}
