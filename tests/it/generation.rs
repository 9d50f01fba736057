//! Generation against transformers' greedy tokens, and what must not change a row's tokens.

use candle_core::DType;
use mvpbench::model::generation::{Generation, GenerationSettings, Generator, Stop};
use mvpbench::model::llama::Llama;
use mvpbench::model::lora::Adapter;
use serde_json::Value;

use crate::golden::{CASES, Case, json, numbers};

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|id| id as u32).collect()
}

fn generate(
    model: &Llama,
    adapter: Option<&Adapter>,
    settings: &GenerationSettings,
    prompts: &[Vec<u32>],
) -> Vec<Generation> {
    let generator = Generator::new(model, adapter, settings.clone()).unwrap();
    generator.generate(prompts, |_| Ok(())).unwrap()
}

#[test]
fn greedy_tokens_equal_transformers_alone_batched_and_merged() {
    for name in CASES {
        let case = Case::load(name, DType::F32);
        let golden = json(&format!("cases/{name}/generate.json"));
        let merged = case.model.merged(&case.adapter).unwrap();
        for (kind, model, adapter) in [
            ("base", &case.model, None),
            ("adapted", &case.model, Some(&case.adapter)),
            ("adapted", &merged, None),
        ] {
            let cases = golden[kind].as_array().unwrap();
            assert_eq!(cases.len(), 4);
            let prompts: Vec<_> = cases.iter().map(|c| ids(&c["single"]["prompt_ids"])).collect();
            for batch in [1, 2, 4] {
                let settings = GenerationSettings {
                    max_new_tokens: 32,
                    eos: vec![2],
                    batch,
                    ..Default::default()
                };
                let got = generate(model, adapter, &settings, &prompts);
                for (case, got) in cases.iter().zip(&got) {
                    assert_eq!(
                        got.ids,
                        ids(&case["single"]["new_ids"]),
                        "{name}, {kind}, batch {batch}"
                    );
                    let eos = case["single"]["stopped_at_eos"].as_bool().unwrap();
                    assert_eq!(got.stop, if eos { Stop::Eos } else { Stop::Length });
                }
            }
        }
    }
}
