//! Scores preference pairs under a model, from code: `cargo run --release --example score_pairs -- MODEL PAIRS`.
//!
//! `MODEL`: the folder of a checkpoint, such as `runs/tiny/base_model`; `PAIRS`: a file of preference pairs, such as `pairs.jsonl`.
//! Prints each pair's summed log-probabilities in nats, then the share of pairs in which the model prefers the chosen answer.
#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use mvpbench::console::progress::Verbosity;
use mvpbench::data::file;
use mvpbench::data::tokenize::{Limits, tokenize};
use mvpbench::data::tokenizer::Tokenizer;
use mvpbench::inference::sums::{self, ScoringPass};
use mvpbench::metrics::PairScore;
use mvpbench::metrics::figure;
use mvpbench::model::decoder::Decoder;
use mvpbench::parallel::world::World;

/// Scores of the pairs in the file `pairs` under the model in the folder `model`, which is its own reference.
pub(crate) fn score(model: &Path, pairs: &Path) -> Result<Vec<PairScore>> {
    // Text -> token ids, without limits.
    let bytes = std::fs::read(pairs)?;
    let texts = file::parse(&bytes, &pairs.display().to_string())?;
    let tokenizer = Tokenizer::load(model)?;
    let pairs = tokenize(&texts, &tokenizer, &Limits::default())?.pairs;

    // Token ids -> one sum for each answer: 4096 tokens at once, each prompt computed once.
    let model = Decoder::load(model, DType::F32, &Device::Cpu)?;
    let members: Vec<_> = pairs.iter().collect();
    let pass = ScoringPass {
        model: &model,
        adapter: None,
        pairs: &members,
        micro_batch_tokens: 4096,
        world: &World::default(),
    };
    let sums = pass.sums("score", None, Verbosity::Quiet)?;
    Ok(sums::scores(&texts, &pairs, &sums, &sums))
}

#[cfg_attr(test, expect(dead_code, reason = "the tests call `score`"))]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("usage: score_pairs MODEL PAIRS");
    let (model, pairs) = (next()?, next()?);
    let scores = score(Path::new(&model), Path::new(&pairs))?;
    for pair in &scores {
        let (chosen, rejected) = (pair.policy_chosen_logps, pair.policy_rejected_logps);
        println!("{}: chosen {chosen:.4}, rejected {rejected:.4}", pair.id);
    }
    let accuracy = figure::measure(&scores, 0.1)?.preference_accuracy;
    println!("preference accuracy: {:.2} % of {} pairs", 100.0 * accuracy.value, accuracy.n);
    Ok(())
}
