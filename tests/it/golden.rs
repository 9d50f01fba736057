//! Reads the golden cases of `tests/data/golden`; its README says what they are.

use crate::command::records;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use mvpbench::data::token_pair::TokenPair;
use mvpbench::model::adapter;
use mvpbench::model::decoder::Decoder;
use mvpbench::model::lora::Adapter;
use serde_json::Value;

/// Every case: adapter, model, log-probabilities, gradients.
pub(crate) const CASES: [&str; 4] = ["tiny", "tiny-gqa", "tiny-alllinear", "tiny-f16"];

/// A path under `tests/data/golden`.
pub(crate) fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden").join(relative)
}

/// [`path`] as text.
pub(crate) fn text(relative: &str) -> String {
    path(relative).into_os_string().into_string().unwrap()
}

/// The file of all golden pairs.
pub(crate) fn pairs() -> String {
    text("pairs.jsonl")
}

/// The lines of `pairs.jsonl` with the two answers of each pair swapped: on these, training makes a model worse.
pub(crate) fn swapped_pairs() -> String {
    let swapped = records(&path("pairs.jsonl")).into_iter().map(|mut pair| {
        let (chosen, rejected) = (pair["chosen"].take(), pair["rejected"].take());
        (pair["chosen"], pair["rejected"]) = (rejected, chosen);
        format!("{pair}\n")
    });
    swapped.collect()
}

/// A JSON file under `tests/data/golden`.
pub(crate) fn json(relative: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(relative)).unwrap()).unwrap()
}

/// The numbers of a JSON array.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// The tokens of a JSON array.
pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// One case in one float type.
pub(crate) struct Case {
    pub(crate) logps: Value,
    pub(crate) model: Decoder,
    pub(crate) adapter: Adapter,
    pub(crate) pairs: Vec<TokenPair>,
}

impl Case {
    pub(crate) fn load(name: &str, dtype: DType) -> Self {
        let logps = json(&format!("cases/{name}/logps.json"));
        let model =
            Decoder::load(&path(logps["model"].as_str().unwrap()), dtype, &Device::Cpu).unwrap();
        let folder = path(&format!("adapters/{name}-nonzero"));
        let mut adapter = adapter::load(&folder, &model.shape, None, &Device::Cpu).unwrap();
        adapter.tensors = adapter.tensors.map(|t| t.to_dtype(dtype)).unwrap();
        let pairs = logps["pairs"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
            .map(|(row, pair)| token_pair(row, pair))
            .collect();
        Self { logps, model, adapter, pairs }
    }

    /// Values of `key` (such as `policy_logps_f64`) of every pair: chosen, rejected.
    pub(crate) fn sums(&self, key: &str) -> Vec<[f64; 2]> {
        let pairs = self.logps["pairs"].as_array().unwrap();
        pairs
            .iter()
            .map(|pair| ["chosen", "rejected"].map(|side| pair[side][key].as_f64().unwrap()))
            .collect()
    }

    pub(crate) fn beta(&self) -> f64 {
        self.logps["beta"].as_f64().unwrap()
    }
}

fn token_pair(row: usize, pair: &Value) -> TokenPair {
    let side = |side: &str| {
        let ids = ids(&pair[side]["input_ids"]);
        let prompt = pair[side]["completion_mask"]
            .as_array()
            .unwrap()
            .iter()
            .take_while(|mask| mask.as_u64() == Some(0))
            .count();
        (ids[..prompt].to_vec(), ids[prompt..].to_vec())
    };
    let ((prompt, chosen), (_, rejected)) = (side("chosen"), side("rejected"));
    TokenPair { row: row as u32, prompt, chosen, rejected, ..TokenPair::default() }
}
