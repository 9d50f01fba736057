//! Tests of every operation in bf16 on the CPU: the same numbers computed in f32 and rounded once, to the bit wherever nothing is rounded
//! on the way.

use candle_core::{DType, Device, Tensor};

use crate::ops::attention::{self, Activations, Heads, Mask};
use crate::ops::decode::{self, Cache, Places};
use crate::ops::dropout::DropoutMask;
use crate::ops::testing::{assert_close, random};
use crate::ops::{bias, kl, linear, logps, matvec, rms_norm, rope, rows, swiglu};

/// Numbers that bf16 holds, in bf16 and in f32.
fn both(shape: &[usize], seed: u64) -> (Tensor, Tensor) {
    let half = random(shape, seed, DType::BF16);
    let whole = half.to_dtype(DType::F32).unwrap();
    (half, whole)
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Fails unless `got` is `want`, which is f32, rounded to bf16.
#[track_caller]
fn assert_rounded(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!((got.dtype(), want.dtype()), (DType::BF16, DType::F32), "{what}");
    assert_eq!(flat(got), flat(&want.to_dtype(DType::BF16).unwrap()), "{what}");
}

/// Fails unless `got`, in bf16, is within one rounding of `want` and a few of f32's sums.
#[track_caller]
fn assert_near(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!((got.dtype(), want.dtype()), (DType::BF16, DType::F32), "{what}");
    for (i, (got, want)) in flat(got).into_iter().zip(flat(want)).enumerate() {
        let bound = want.abs() / 256.0 + 2e-3;
        assert!((got - want).abs() <= bound, "{what}[{i}]: {got}, expected {want}");
    }
}

#[test]
fn operations_without_sums_round_once() {
    let (tokens, width) = (5, 67);
    let shape = [tokens, width];
    let ((gate, gate_f), (up, up_f), (dy, dy_f)) =
        (both(&shape, 1), both(&shape, 2), both(&shape, 3));
    assert_rounded(
        "swiglu",
        &swiglu::forward(&gate, &up).unwrap(),
        &swiglu::forward(&gate_f, &up_f).unwrap(),
    );
    let (dgate, dup) = swiglu::backward(&dy, &gate, &up).unwrap();
    let (dgate_f, dup_f) = swiglu::backward(&dy_f, &gate_f, &up_f).unwrap();
    assert_rounded("dgate", &dgate, &dgate_f);
    assert_rounded("dup", &dup, &dup_f);

    let (row, row_f) = both(&[width], 4);
    let of = |x: &Tensor, row: &Tensor| bias::forward(x.copy().unwrap(), row).unwrap();
    assert_rounded("bias", &of(&gate, &row), &of(&gate_f, &row_f));

    let [cos, sin] = [5, 6].map(|seed| random(&[tokens, 8], seed, DType::F32));
    let ((x, x_f), heads) = (both(&[tokens, 3 * 20], 7), 20);
    for turn in [rope::forward, rope::backward] {
        let of = |x: &Tensor| turn(x.copy().unwrap(), &cos, &sin, heads).unwrap();
        assert_rounded("rope", &of(&x), &of(&x_f));
    }

    let [pair_rows, offsets] =
        [[7u32; 5], [0, 1, 2, 3, 4]].map(|of| Tensor::new(&of, &Device::Cpu).unwrap());
    let mask = DropoutMask {
        probability: 0.3,
        seed: 1,
        step: 2,
        module: 3,
        pair_rows: &pair_rows,
        offsets: &offsets,
    };
    assert_rounded("dropout", &mask.apply(&gate).unwrap(), &mask.apply(&gate_f).unwrap());
    assert_rounded(
        "dropout added",
        &mask.add(up.clone(), &gate).unwrap(),
        &mask.add(up_f.clone(), &gate_f).unwrap(),
    );

    let list = Tensor::new(&[3u32, 0, 3, 3, 4], &Device::Cpu).unwrap();
    assert_rounded(
        "rows",
        &rows::forward(&gate, &list).unwrap(),
        &rows::forward(&gate_f, &list).unwrap(),
    );
    let of = |dy: &Tensor| rows::backward(dy, &list, 6).unwrap();
    assert_rounded("rows backward", &of(&dy), &of(&dy_f));
}

#[test]
fn a_norm_rounds_the_sum_and_the_result() {
    let shape = [4, 100];
    let ((x, x_f), (delta, delta_f), (w, w_f)) =
        (both(&shape, 1), both(&shape, 2), both(&[100], 3));
    let got = rms_norm::forward(&x, Some(&delta), &w, 1e-5).unwrap();
    assert_rounded("sum", &got.sum, &(x_f + delta_f).unwrap());
    let sum_f = got.sum.to_dtype(DType::F32).unwrap();
    let want = rms_norm::forward(&sum_f, None, &w_f, 1e-5).unwrap();
    assert_eq!((got.inv.dtype(), flat(&got.inv)), (DType::F32, flat(&want.inv)));
    assert_rounded("y", &got.y, &want.y);
    assert_rounded("y again", &rms_norm::apply(&got.sum, &got.inv, &w).unwrap(), &want.y);
    let ((dy, dy_f), (past, past_f)) = (both(&shape, 4), both(&shape, 5));
    for (past, past_f) in [(None, None), (Some(&past), Some(&past_f))] {
        let got = rms_norm::backward(&dy, &got.sum, &got.inv, &w, past).unwrap();
        let want = rms_norm::backward(&dy_f, &sum_f, &want.inv, &w_f, past_f).unwrap();
        assert_rounded("dx", &got, &want);
    }
}

#[test]
fn products_sum_in_f32() {
    let (tokens, from, to) = (37, 300, 290);
    let ((x, x_f), (w, w_f), (dy, dy_f)) =
        (both(&[tokens, from], 1), both(&[to, from], 2), both(&[tokens, to], 3));
    assert_near("y", &linear::forward(&x, &w).unwrap(), &linear::forward(&x_f, &w_f).unwrap());
    assert_near("dx", &linear::backward(&dy, &w).unwrap(), &linear::backward(&dy_f, &w_f).unwrap());
    let of = |dy: &Tensor, w: &Tensor| linear::scaled_backward(dy, w, 0.3).unwrap();
    assert_near("scaled dx", &of(&dy, &w), &of(&dy_f, &w_f));
    let got = linear::weight_gradient(&dy, &x, 0.5).unwrap();
    assert_eq!(got.dtype(), DType::F32);
    assert_close("dW", &got, &linear::weight_gradient(&dy_f, &x_f, 0.5).unwrap(), 5e-6);
    let ((y, y_f), (z, z_f)) = (both(&[tokens, to], 4), both(&[tokens, from], 5));
    linear::add_product_transposed(&y, &x, &w, 0.25).unwrap();
    linear::add_product_transposed(&y_f, &x_f, &w_f, 0.25).unwrap();
    assert_near("y + x W^T", &y, &y_f);
    linear::add_product(&z, &dy, &w, 0.25).unwrap();
    linear::add_product(&z_f, &dy_f, &w_f, 0.25).unwrap();
    assert_near("z + dy W", &z, &z_f);

    // The rows of a decoding step have one order of sums, so these are equal.
    for rows in [1, 3, 6] {
        let [few, few_f] = [&x, &x_f].map(|x| x.narrow(0, 0, rows).unwrap().contiguous().unwrap());
        let (got, want) =
            (matvec::forward(&few, &w).unwrap(), matvec::forward(&few_f, &w_f).unwrap());
        assert_rounded("matvec", &got, &want);
        let ((y, y_f), _) = (both(&[rows, to], 6), ());
        matvec::add(&y, &few, &w, -0.5).unwrap();
        matvec::add(&y_f, &few_f, &w_f, -0.5).unwrap();
        assert_rounded("matvec add", &y, &y_f);
    }
}

#[test]
fn log_probabilities_and_divergences_are_of_logits_in_f32() {
    let (rows, width, vocab) = (9, 40, 333);
    let ((h, h_f), (other, other_f)) = (both(&[rows, width], 1), both(&[rows, width], 2));
    let head =
        (random(&[vocab, width], 3, DType::F32) * 0.1).unwrap().to_dtype(DType::BF16).unwrap();
    let head_f = head.to_dtype(DType::F32).unwrap();
    let targets: Vec<u32> = (0..rows as u32).map(|i| i * 30).collect();
    let targets = Tensor::from_vec(targets, rows, &Device::Cpu).unwrap();
    let (got, own) = logps::forward_for_backward(&h, &head, &targets).unwrap();
    let (want, own_f) = logps::forward_for_backward(&h_f, &head_f, &targets).unwrap();
    assert_eq!(got.dtype(), DType::F32);
    assert_close("logps", &got, &want, 5e-6);
    assert_close("logps alone", &logps::forward(&h, &head, &targets).unwrap(), &want, 5e-6);
    assert_close("own", &own, &own_f, 4e-3);
    let slopes = random(&[rows], 4, DType::F32);
    let own_f = own.to_dtype(DType::F32).unwrap();
    assert_rounded(
        "dhidden",
        &logps::backward(&slopes, &own).unwrap(),
        &logps::backward(&slopes, &own_f).unwrap(),
    );
    let got = kl::forward(&h, &other, &head).unwrap();
    assert_eq!(got.dtype(), DType::F32);
    assert_close("kl", &got, &kl::forward(&h_f, &other_f, &head_f).unwrap(), 5e-6);
}

#[test]
fn attention_rounds_probabilities_slopes_and_results() {
    for heads in [
        Heads { heads: 4, kv_heads: 2, head_dim: 12 },
        Heads { heads: 2, kv_heads: 2, head_dim: 64 },
    ] {
        // Two pairs, with a hidden answer; the first is longer than a block of queries.
        let rows: Vec<(u32, u32, u32)> = (0..100u32)
            .map(|i| if i >= 60 { (0, 30, 60) } else { (0, 0, 0) })
            .chain((100..120).map(|_| (100, 0, 0)))
            .collect();
        let of = |pick: fn(&(u32, u32, u32)) -> u32| rows.iter().map(pick).collect::<Vec<u32>>();
        let mask = Mask::new(&of(|r| r.0), &of(|r| r.1), &of(|r| r.2)).unwrap();
        let (tokens, wide, narrow) =
            (120, heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim);
        let ((q, q_f), (k, k_f), (v, v_f), (d_o, d_o_f)) = (
            both(&[tokens, wide], 1),
            both(&[tokens, narrow], 2),
            both(&[tokens, narrow], 3),
            both(&[tokens, wide], 4),
        );
        let (o, lse) = attention::forward(&q, &k, &v, &mask, heads).unwrap();
        let (o_f, lse_f) = attention::forward(&q_f, &k_f, &v_f, &mask, heads).unwrap();
        assert_eq!((o.dtype(), lse.dtype()), (DType::BF16, DType::F32));
        assert_close("lse", &lse, &lse_f, 5e-6);
        assert_close("o", &o, &o_f, 8e-3);
        let back = |d_o, q, k, v, o, lse| {
            attention::backward(d_o, &Activations { q, k, v, o, lse }, &mask, heads).unwrap()
        };
        let (dq, dk, dv) = back(&d_o, &q, &k, &v, &o, &lse);
        let o_f = o.to_dtype(DType::F32).unwrap();
        let (dq_f, dk_f, dv_f) = back(&d_o_f, &q_f, &k_f, &v_f, &o_f, &lse);
        for (name, got, want) in [("dq", dq, dq_f), ("dk", dk, dk_f), ("dv", dv, dv_f)] {
            assert_eq!(got.dtype(), DType::BF16, "{name}");
            assert_close(name, &got, &want, 8e-3);
        }
    }
}

#[test]
fn a_decoding_step_rounds_its_result() {
    let heads = Heads { heads: 6, kv_heads: 2, head_dim: 16 };
    let (slots, positions): (Vec<u32>, Vec<u32>) = (0..70).map(|place| (0, place)).unzip();
    let ((q, q_f), (k, k_f), (v, v_f)) =
        (both(&[1, 96], 1), both(&[70, 32], 2), both(&[70, 32], 3));
    let of = |q: &Tensor, k: &Tensor, v: &Tensor| {
        let mut cache = Cache::new(1, 5, heads, q.dtype(), &Device::Cpu).unwrap();
        cache.grow(70).unwrap();
        cache.store(k, v, &Places::new(&slots, &positions)).unwrap();
        decode::forward(q, &cache, &Places::new(&[0], &[69])).unwrap()
    };
    assert_rounded("o", &of(&q, &k, &v), &of(&q_f, &k_f, &v_f));
}
