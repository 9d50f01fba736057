//! `src/ops/adamw.cu` against the reference: all tensors of a step in one launch.

use candle_core::{DType, Device, Tensor};
use mvpbench::ops::adamw::{BETA1, BETA2, EPS, Parameter, Rule, Step};
use mvpbench::ops::reference;

use super::elements::{Elements, TOLERANCE};
use super::{Argument, Kernels, Launch};

/// Stands behind the elements of each array, where no kernel may write.
const BEHIND: f32 = 1e3;

/// A tensor of the table: value, moments and gradient, each with [`BEHIND`] at its end.
fn tensors(sizes: &[usize]) -> Vec<[Vec<f32>; 4]> {
    let array = |n, seed| -> Vec<f32> {
        let values = Elements::random(DType::F32, n, seed).values();
        values.iter().map(|&x| x as f32).chain([BEHIND]).collect()
    };
    let make = |(i, &n): (usize, &usize)| {
        let seed = 10 * i as u64;
        let second = array(n, seed + 3).iter().map(|x| x * x).collect();
        [array(n, seed + 1), array(n, seed + 2), second, array(n, seed + 4)]
    };
    sizes.iter().enumerate().map(make).collect()
}

/// The kernels' table: four addresses, the number of elements, and `keep` and `size` of each.
fn table(tensors: &mut [[Vec<f32>; 4]], steps: &[Step]) -> Vec<u64> {
    let row = |(arrays, step): (&mut [Vec<f32>; 4], &Step)| {
        let elements = arrays[0].len() as u64 - 1;
        let [value, first, second, gradient] =
            arrays.each_mut().map(|array| array.as_mut_ptr() as u64);
        let (keep, size) = step.keep_and_size();
        let pair = u64::from((keep as f32).to_bits()) | u64::from((size as f32).to_bits()) << 32;
        [value, first, second, gradient, elements, pair]
    };
    tensors.iter_mut().zip(steps).flat_map(row).collect()
}

fn f64s(array: &[f32]) -> Tensor {
    Tensor::new(array, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
}

#[test]
fn a_step_over_tensors_of_several_sizes_agrees_with_the_reference() {
    let Some(kernels) = Kernels::of("src/ops/adamw.cu") else { return };
    for rule in [Rule::Torch, Rule::Transformers] {
        assert_steps(kernels, rule);
    }
}

fn assert_steps(kernels: &Kernels, rule: Rule) {
    let sizes = [1, 33, 1000];
    let count = 3;
    let steps = [1e-2, 4e-2, 1e-3].map(|learning_rate| Step {
        learning_rate,
        weight_decay: 0.1,
        count,
        rule,
    });
    let (norm, far) = (4.0, f64::INFINITY);
    for (norm, max_norm, scale) in [
        (norm, 1.0, 1.0 / (norm + 1e-6)),
        (norm, 9.0, 1.0),
        (norm, 0.0, 1.0),
        (far, 1.0, 0.0),
        (f64::NAN, 0.0, 0.0),
    ] {
        let mut orders = [(1, 1), (2, 5)].map(|(seed, blocks)| {
            let mut all = tensors(&sizes);
            if rule == Rule::Transformers {
                near_eps(&mut all[1]);
            }
            let table = table(&mut all, &steps);
            let value = |x: f64| Argument::value(x as f32);
            kernels.launch(
                "adamw_update",
                Launch { grid: [blocks, 3, 1], seed, ..Launch::of(1, 64) },
                &mut [
                    Argument::read(&table),
                    Argument::read(&[norm]),
                    Argument::value(max_norm),
                    value(steps[0].root()),
                    value(BETA1),
                    value(BETA2),
                    value(1.0 - BETA1),
                    value(1.0 - BETA2),
                    value(EPS),
                ],
            );
            all
        });
        assert_eq!(orders[0], orders[1], "on another grid");
        let mut before = tensors(&sizes);
        if rule == Rule::Transformers {
            near_eps(&mut before[1]);
        }
        if !norm.is_finite() {
            assert_eq!(orders[0], before, "after a step of norm {norm}");
            continue;
        }
        for ((before, after), step) in before.iter_mut().zip(&mut orders[0]).zip(&steps) {
            let [got, want] =
                [&mut *after, &mut *before].map(|tensor| tensor.each_mut().map(Vec::pop));
            assert_eq!(got, want, "behind the elements");
            let [value, first_moment, second_moment, gradient] =
                before.each_ref().map(|array| f64s(array));
            let parameter = Parameter { value, first_moment, second_moment };
            let want = reference::adamw(&parameter, &gradient, step, scale).unwrap();
            for (what, got, want) in [
                ("value", &after[0], &want.value),
                ("first moment", &after[1], &want.first_moment),
                ("second moment", &after[2], &want.second_moment),
            ] {
                let got: Vec<f64> = got.iter().map(|&x| f64::from(x)).collect();
                Elements::of(DType::F32, &got).assert_close(what, want, TOLERANCE);
            }
        }
    }
}

/// Moments and a gradient so small that it matters where eps is added.
fn near_eps(tensor: &mut [Vec<f32>; 4]) {
    let [_, first, second, gradient] = tensor;
    first.iter_mut().chain(gradient).for_each(|x| *x *= 1e-8);
    second.iter_mut().for_each(|x| *x *= 1e-16);
}

#[test]
fn the_norm_is_exact_enough_in_any_order_and_nan_where_a_gradient_is() {
    let Some(kernels) = Kernels::of("src/ops/adamw.cu") else { return };
    let norm = |gradients: &mut [[Vec<f32>; 4]], seed| {
        let step = Step { learning_rate: 0.0, weight_decay: 0.0, count: 1, rule: Rule::Torch };
        let (count, blocks) = (gradients.len(), 3);
        let table = table(gradients, &vec![step; count]);
        let (mut sums, mut norm) = (vec![f64::NAN; count * blocks], [f64::NAN]);
        let grid = [blocks as u32, count as u32, 1];
        kernels.launch(
            "adamw_square_sums",
            Launch { grid, seed, ..Launch::of(1, 64) },
            &mut [Argument::read(&table), Argument::write(&mut sums)],
        );
        kernels.launch(
            "adamw_norm",
            Launch { seed, ..Launch::of(1, 1024) },
            &mut [
                Argument::read(&sums),
                Argument::write(&mut norm),
                Argument::value(sums.len() as u32),
            ],
        );
        norm[0]
    };
    let mut all = tensors(&[1, 33, 1000]);
    let want: f64 = all
        .iter()
        .flat_map(|arrays| &arrays[3][..arrays[3].len() - 1])
        .map(|&g| f64::from(g).powi(2))
        .sum::<f64>()
        .sqrt();
    let got = norm(&mut all, 1);
    assert!((got - want).abs() <= 1e-13 * want, "{got} {want}");
    assert_eq!(norm(&mut all, 2).to_bits(), got.to_bits());
    all[1][3][20] = f32::NAN;
    assert!(norm(&mut all, 1).is_nan());
}
