//! A real trained model, stories260K, against transformers. It is not in the repository: `MVPBENCH_STORIES260K` names its
//! folder (`model.safetensors`, `config.json`, `tokenizer.json`, `reference.json`).

use candle_core::{DType, Device};
use mvpbench::data::pack::Pack;
use mvpbench::data::token_pair::TokenPair;
use mvpbench::data::tokenizer::Tokenizer;
use mvpbench::model::decoder::Decoder;
use serde_json::Value;

use crate::golden::{ids, numbers};
use crate::require;

/// stories260K, loaded, and what transformers computes with it.
pub(crate) struct Stories {
    pub(crate) model: Decoder,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) reference: Value,
}

impl Stories {
    /// Skips the calling test, which must return, where the model is not.
    #[track_caller]
    pub(crate) fn load() -> Option<Self> {
        let folder = require::stories()?;
        let reference = std::fs::read(folder.join("reference.json")).unwrap();
        Some(Self {
            model: Decoder::load(&folder, DType::F32, &Device::Cpu).unwrap(),
            tokenizer: Tokenizer::load(&folder).unwrap(),
            reference: serde_json::from_slice(&reference).unwrap(),
        })
    }
}

#[test]
fn a_real_models_logps_and_logits_equal_transformers() {
    let Some(Stories { model, tokenizer, reference }) = Stories::load() else { return };
    for case in reference["logprobs"].as_array().unwrap() {
        let (prompt, full) = (ids(&case["prompt_ids"]), ids(&case["full_ids"]));
        assert_eq!(tokenizer.encode(case["prompt"].as_str().unwrap(), true).unwrap(), prompt);
        let pair =
            TokenPair { chosen: full[prompt.len()..].to_vec(), prompt, ..TokenPair::default() };
        let batch = model.batch(&Pack::new([&pair])).unwrap();
        let got = model.logps(&batch, None).unwrap().to_vec1::<f32>().unwrap();
        let want = numbers(&case["token_logprobs"]);
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!(
                (f64::from(*got) - want).abs() <= 1e-4,
                "{}: got {got}, expected {want}",
                case["answer"]
            );
        }
        assert!(
            (batch.sums(&model.logps(&batch, None).unwrap()).unwrap()[0][0]
                - case["sum_logprob"].as_f64().unwrap())
            .abs()
                <= 1e-3
        );
    }
    let last = &reference["last_token_logits"];
    let prompt = ids(&last["ids"]);
    let got = model.next_logits(&prompt, None).unwrap().to_vec1::<f32>().unwrap();
    let want = numbers(&last["logits"]);
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*got) - want).abs() <= 1e-4, "logit {i}: got {got}, expected {want}");
    }
}
