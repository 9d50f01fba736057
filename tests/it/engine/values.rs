//! The engine against TRL, PEFT and the float64 golden values, and the equalities that packing, sharing and recomputing promise.

use candle_core::safetensors::load;
use candle_core::{DType, Device, Tensor};
use mvpbench::config::DpoSection;
use mvpbench::config::{LoraSection, Modules, Projection};
use mvpbench::data::pack::Pack;
use mvpbench::data::token_pair::TokenPair;
use mvpbench::inference::engine::Engine;
use mvpbench::model::adapter::key;
use mvpbench::model::batch::Rows;
use mvpbench::model::decoder::{Decoder, Keep};
use mvpbench::model::frozen::Linear;
use mvpbench::model::layer::{Dropout, Layer, LayerLora, LayerPass, Stream};
use mvpbench::model::lora::{Adapter, InputGradient, LoraPair, LoraTensors, PerProjection};
use mvpbench::train::plan::PlannedStep;
use mvpbench::train::step::{StepOutput, StepSettings, loss_and_gradients};

use crate::golden::{CASES, Case, numbers, path};

const KEEP: Engine = Engine { micro_batch_tokens: 100_000, keep: Keep::Everything };

fn sums(model: &Decoder, adapter: Option<&Adapter>, pairs: &[TokenPair]) -> Vec<[f64; 2]> {
    let batch = model.batch(&Pack::new(pairs)).unwrap();
    batch.sums(&model.logps(&batch, adapter).unwrap()).unwrap()
}

fn step(
    case: &Case,
    pairs: usize,
    engine: Engine,
    dropout: Option<Dropout>,
) -> (StepOutput, LoraTensors) {
    let reference = sums(&case.model, None, &case.pairs);
    let planned = PlannedStep {
        pairs: (0..pairs).collect(),
        weights: vec![1.0 / pairs as f64; pairs],
        share: 1.0,
        epoch: 0.0,
    };
    let dpo = DpoSection { beta: case.beta(), ..DpoSection::default() };
    loss_and_gradients(
        &case.model,
        &case.adapter,
        &case.pairs,
        &reference,
        &planned,
        &StepSettings { dpo: &dpo, dropout, engine },
    )
    .unwrap()
}

#[track_caller]
fn assert_sums(what: &str, got: &[[f64; 2]], want: &[[f64; 2]], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (pair, (got, want)) in got.iter().zip(want).enumerate() {
        for side in 0..2 {
            assert!(
                (got[side] - want[side]).abs() <= tolerance,
                "{what}, pair {pair}, side {side}: got {}, expected {}",
                got[side],
                want[side]
            );
        }
    }
}

/// Largest relative L2 distance of any gradient tensor from the golden f64 one.
fn gradient_distance(case: &str, file: &str, gradients: &LoraTensors) -> f64 {
    let golden = load(path(&format!("cases/{case}/{file}")), &Device::Cpu).unwrap();
    let distances: Vec<f64> = gradients
        .iter()
        .map(|(layer, projection, letter, got)| {
            let want = &golden[&key(layer, projection, letter)];
            let norm = |t: candle_core::Tensor| {
                t.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
            };
            norm((got.to_dtype(DType::F64).unwrap() - want).unwrap()) / norm(want.clone())
        })
        .collect();
    assert_eq!(distances.len(), golden.len(), "{case}: every adapter tensor receives a gradient");
    assert!(distances.iter().all(|d| d.is_finite()), "{case}: {distances:?}");
    distances.into_iter().fold(0.0, f64::max)
}

#[test]
fn logps_and_gradients_equal_the_specification_in_f64() {
    for name in CASES {
        let case = Case::load(name, DType::F64);
        assert_sums(
            name,
            &sums(&case.model, Some(&case.adapter), &case.pairs),
            &case.sums("policy_logps_f64"),
            1e-9,
        );
        assert_sums(name, &sums(&case.model, None, &case.pairs), &case.sums("ref_logps_f64"), 1e-9);
        for (pairs, file) in
            [(2, "grads_microbatch0_f64.safetensors"), (8, "grads_step0_f64.safetensors")]
        {
            let distance = gradient_distance(name, file, &step(&case, pairs, KEEP, None).1);
            assert!(distance <= 1e-10, "{name} {file}: {distance:e}");
        }
    }
}

#[test]
fn logps_losses_and_gradients_equal_trl_in_f32() {
    for name in CASES {
        let case = Case::load(name, DType::F32);
        assert_sums(
            name,
            &sums(&case.model, Some(&case.adapter), &case.pairs),
            &case.sums("policy_logps"),
            1e-3,
        );
        assert_sums(name, &sums(&case.model, None, &case.pairs), &case.sums("ref_logps"), 1e-3);
        let (all, _) = step(&case, case.pairs.len(), KEEP, None);
        let summary = &case.logps["summary"];
        for (what, got) in [
            ("mean_loss", all.loss),
            ("mean_margin", all.rewards[0] - all.rewards[1]),
            ("accuracy", all.accuracy),
        ] {
            assert!((got - summary[what].as_f64().unwrap()).abs() <= 1e-4, "{name} {what}: {got}");
        }
        for (pairs, file) in
            [(2, "grads_microbatch0_f64.safetensors"), (8, "grads_step0_f64.safetensors")]
        {
            let distance = gradient_distance(name, file, &step(&case, pairs, KEEP, None).1);
            assert!(distance <= 1e-4, "{name} {file}: {distance:e}");
        }
    }
}

#[test]
fn every_tokens_logp_equals_trls() {
    for name in CASES {
        let case = Case::load(name, DType::F32);
        let batch = case.model.batch(&Pack::new(&case.pairs)).unwrap();
        for (adapter, key) in
            [(Some(&case.adapter), "policy_token_logps"), (None, "ref_token_logps")]
        {
            let got = case.model.logps(&batch, adapter).unwrap().to_vec1::<f32>().unwrap();
            let pairs = case.logps["pairs"].as_array().unwrap();
            let twin = |pair: &serde_json::Value| {
                pair["chosen"]["input_ids"] == pair["rejected"]["input_ids"]
            };
            let sides = |pair| if twin(pair) { &["chosen"][..] } else { &["chosen", "rejected"] };
            let want: Vec<f64> = pairs
                .iter()
                .flat_map(|pair| sides(pair).iter().flat_map(|side| numbers(&pair[side][key])))
                .collect();
            assert_eq!(got.len(), want.len(), "{name}: prompt tokens are never scored");
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                assert!(
                    (f64::from(*got) - want).abs() <= 1e-4,
                    "{name} {key}[{i}]: got {got}, expected {want}"
                );
            }
        }
    }
}

#[test]
fn packing_and_sharing_the_prefix_change_nothing() {
    let case = Case::load("tiny-gqa", DType::F64);
    let packed = sums(&case.model, Some(&case.adapter), &case.pairs);
    for (row, pair) in case.pairs.iter().enumerate() {
        assert_sums(
            "alone",
            &sums(&case.model, Some(&case.adapter), std::slice::from_ref(pair)),
            &packed[row..=row],
            1e-10,
        );
        let none = TokenPair { rejected: vec![], ..pair.clone() };
        let other = TokenPair { chosen: pair.rejected.clone(), rejected: vec![], ..pair.clone() };
        let (chosen, rejected) = (
            sums(&case.model, Some(&case.adapter), &[none]),
            sums(&case.model, Some(&case.adapter), &[other]),
        );
        assert_sums("two sequences", &[[chosen[0][0], rejected[0][0]]], &packed[row..=row], 1e-10);
    }
}

#[test]
fn adapter_off_and_fresh_adapter_are_bit_identical_to_base() {
    let case = Case::load("tiny", DType::F32);
    let batch = case.model.batch(&Pack::new(&case.pairs)).unwrap();
    let section = LoraSection {
        rank: 4,
        target_modules: Modules::of(Projection::ALL),
        ..LoraSection::default()
    };
    let fresh = Adapter::fresh(&case.model.shape, &section, 1, &Device::Cpu).unwrap();
    let bits = |adapter| {
        case.model
            .logps(&batch, adapter)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
            .into_iter()
            .map(f32::to_bits)
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(None), bits(Some(&fresh)));
}

fn bits((_, gradients): &(StepOutput, LoraTensors)) -> Vec<u32> {
    gradients
        .iter()
        .flat_map(|(.., t)| t.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        .map(f32::to_bits)
        .collect()
}

#[test]
fn recompute_equals_keep_to_the_bit() {
    let dropout = Some(Dropout { probability: 0.2, seed: 3, step: 5 });
    for name in ["tiny-gqa", "tiny-alllinear"] {
        let case = Case::load(name, DType::F32);
        let keep = step(&case, 8, KEEP, dropout);
        let recompute = step(&case, 8, Engine { keep: Keep::Inputs, ..KEEP }, dropout);
        assert_eq!(bits(&keep), bits(&recompute));
        assert_ne!(bits(&keep), bits(&step(&case, 8, KEEP, None)), "dropout is at work");
    }
}

#[test]
fn a_layer_without_an_adapter_changes_no_gradient_above_it() {
    let dropout = Some(Dropout { probability: 0.2, seed: 3, step: 5 });
    let mut case = Case::load("tiny-alllinear", DType::F32);
    let upper = |gradients: &LoraTensors| {
        let of = gradients.iter().filter(|(layer, ..)| *layer == 1);
        of.map(|(.., t)| t.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect::<Vec<_>>()
    };
    // An adapter that does nothing in the lower layer, and the same one without that layer.
    let mut nothing = PerProjection::default();
    for (projection, pair) in case.adapter.tensors.layers[0].iter() {
        let b = pair.b.zeros_like().unwrap();
        nothing.set(projection, Some(LoraPair { a: pair.a.clone(), b }));
    }
    case.adapter.tensors.layers[0] = nothing;
    let whole = step(&case, 8, KEEP, dropout);
    case.adapter.tensors.layers[0] = PerProjection::default();
    case.adapter.plan.layers[0] = PerProjection::default();
    for keep in [Keep::Everything, Keep::Inputs] {
        let alone = step(&case, 8, Engine { keep, ..KEEP }, dropout);
        assert!(alone.1.layers[0].iter().next().is_none() && alone.1.layers.len() == 2);
        assert_eq!(upper(&alone.1), upper(&whole.1));
    }
}

#[test]
fn micro_batches_equal_one_big_batch() {
    let dropout = Some(Dropout { probability: 0.2, seed: 3, step: 5 });
    let case = Case::load("tiny-alllinear", DType::F64);
    let whole = step(&case, 8, KEEP, dropout);
    for micro_batch_tokens in [1, 300, 700] {
        let cut = step(&case, 8, Engine { micro_batch_tokens, ..KEEP }, dropout);
        assert!((whole.0.loss - cut.0.loss).abs() <= 1e-12);
        for ((.., a), (.., b)) in whole.1.iter().zip(cut.1.iter()) {
            let norm = |t: &candle_core::Tensor| {
                t.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
            };
            assert!(norm(&(a - b).unwrap()) <= 1e-10 * norm(a));
        }
    }
}

/// `name` of the layer fixture of `case`, which scripts/make_layer_fixture.py wrote from the engine's specification.
fn layer_fixture(case: &str) -> impl Fn(&str) -> Tensor {
    let prefix = format!("{case}.");
    let all = load(path("layer.safetensors"), &Device::Cpu).unwrap();
    move |name| all[&format!("{prefix}{name}")].clone()
}

#[track_caller]
fn assert_to_rounding(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let largest = |t: &Tensor| {
        t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap()
    };
    let distance = largest(&(got - want).unwrap()) / largest(want);
    assert!(distance <= 1e-13, "{what}: {distance:e} of its largest element");
}

#[test]
fn a_layer_and_its_gradients_equal_the_specification_in_f64() {
    for (name, number) in [("tiny-gqa", 0), ("tiny-alllinear", 1)] {
        let (case, fixture) = (Case::load(name, DType::F64), layer_fixture(name));
        let folder = path(case.logps["model"].as_str().unwrap());
        let weights = load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
        let weight = |part: &str| {
            let key = format!("model.layers.{number}.{part}.weight");
            weights[&key].to_dtype(DType::F64).unwrap()
        };
        let layer = Layer {
            input_layernorm: weight("input_layernorm"),
            projections: Projection::ALL
                .map(|p| weight(&format!("{}.{}", p.module(), p.name())))
                .map(|weight| Linear { weight: weight.into(), bias: None }),
            post_attention_layernorm: weight("post_attention_layernorm"),
        };
        let ids = |part: &str, pair: u32| fixture(&format!("{part}.{pair}")).to_vec1().unwrap();
        let pairs = [0, 1, 2].map(|row| TokenPair {
            row,
            prompt: ids("prompt", row),
            chosen: ids("chosen", row),
            rejected: ids("rejected", row),
            ..TokenPair::default()
        });
        let batch = case.model.batch(&Pack::new(&pairs)).unwrap();
        let stream = Stream { base: fixture("x"), delta: None };
        let lora = LayerLora { layer: number, adapter: Some(&case.adapter), dropout: None };
        for (rows, prefix) in [(Rows::All, ""), (Rows::Kept, "kept.")] {
            let pass = LayerPass { batch: &batch, shape: &case.model.shape, lora, rows };
            let of_rows = |t: Tensor| match rows {
                Rows::All => t,
                Rows::Kept => t.index_select(&batch.kept, 0).unwrap(),
            };
            let (out, saved) = layer.forward(&stream, pass).unwrap();
            let y = (out.base + out.delta.unwrap()).unwrap();
            assert_to_rounding(&format!("{name} {prefix}y"), &y, &of_rows(fixture("y")));
            let dy = of_rows(fixture("dy"));
            let (dx, gradients) = layer.backward(&dy, &saved, pass, InputGradient::Wanted).unwrap();
            let want = fixture(&format!("{prefix}dx"));
            assert_to_rounding(&format!("{name} {prefix}dx"), &dx.unwrap(), &want);
            assert_eq!(gradients.iter().count(), if name == "tiny-gqa" { 2 } else { 7 });
            for (projection, pair) in gradients.iter() {
                for (letter, got) in [('A', &pair.a), ('B', &pair.b)] {
                    let key = format!("{prefix}{}.{letter}", projection.name());
                    assert_to_rounding(&format!("{name} {key}"), got, &fixture(&key));
                }
            }
        }
    }
}
