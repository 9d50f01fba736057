//! What the leader has another rank compute, as messages of JSON.

use serde::{Deserialize, Serialize};

use crate::config::{ModelSection, RunConfig};
use crate::data::token_pair::TokenPair;

/// One order. The rank answers as its line says, or not at all.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Load the model of a run. Answers with the digest of its files.
    Begin(Box<Begin>),
    /// Take a state of training: the cursor here, then a message each for the adapter, the first and the second moments, as safetensors.
    State(String),
    /// Compute leaves of an optimizer step, take part in its sum, and make the step.
    Step(StepOrder),
    /// Hold an adapter for passes; a message with its safetensors follows.
    Adapter(AdapterOrder),
    /// Say the digest of the state's adapter. Answers with it.
    Digest,
    /// Score pairs. Answers with their sums, [`to_bits`].
    Score(ScoreOrder),
    /// Measure divergences. Answers with the mean of each answer as its bits.
    Diverge(DivergeOrder),
    /// Answer prompts. Answers with the generations as JSON.
    Generate(GenerateOrder),
    /// There is nothing more to do.
    End,
}

/// A run, or a pass of answers, that begins.
#[derive(Debug, Serialize, Deserialize)]
pub struct Begin {
    /// The configuration of a run; none for answers alone.
    pub config: Option<RunConfig>,
    /// The base model and its number type.
    pub model: ModelSection,
    /// The folder of the model's files where the leader has them.
    pub folder: String,
    /// Tokens at once, which all ranks must cut alike.
    pub micro_batch_tokens: usize,
    /// Whether a backward pass computes the layers again.
    pub recompute: bool,
    /// What its adapter adapts, as JSON.
    pub plan: String,
    /// Optimizer steps of the run; 0 for an evaluation.
    pub steps: usize,
}

/// A rank's part of an optimizer step.
#[derive(Debug, Serialize, Deserialize)]
pub struct StepOrder {
    /// The step, from 0.
    pub step: usize,
    /// The step's share of a whole one.
    pub share: f64,
    /// Leaves of the whole step.
    pub leaves: usize,
    /// The pairs of this rank's leaves.
    pub pairs: Vec<TokenPair>,
    /// The weight of each in the step's loss.
    pub weights: Vec<f64>,
    /// Summed log-probabilities of each under the reference, [`to_bits`].
    pub reference: Vec<[u64; 2]>,
    /// Places among `pairs`, for each of this rank's leaves.
    pub own: Vec<Vec<usize>>,
}

/// An adapter of passes.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdapterOrder {
    /// Its digest.
    pub digest: String,
    /// The digests of those that are held on; others are dropped.
    pub keep: Vec<String>,
}

/// A rank's part of a scoring pass.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScoreOrder {
    /// The digest of the adapter that is on; none for the base model.
    pub adapter: Option<String>,
    /// Micro-batches of pairs.
    pub batches: Vec<Vec<TokenPair>>,
}

/// A rank's part of a pass of divergences.
#[derive(Debug, Serialize, Deserialize)]
pub struct DivergeOrder {
    /// The digest of the policy's adapter; none for the base model.
    pub policy: Option<String>,
    /// The digest of the reference's adapter; none for the base model.
    pub reference: Option<String>,
    /// Micro-batches of pairs without a rejected answer.
    pub batches: Vec<Vec<TokenPair>>,
}

/// A rank's part of a generation pass.
#[derive(Debug, Serialize, Deserialize)]
pub struct GenerateOrder {
    /// The digest of the adapter that is on; none for the base model.
    pub adapter: Option<String>,
    /// Prompts of the whole pass.
    pub all: usize,
    /// The rows of this rank's prompts among them.
    pub rows: Vec<usize>,
    /// Token ids of each.
    pub prompts: Vec<Vec<u32>>,
    /// The generator's settings, as JSON.
    pub settings: String,
}

/// Sums as their bits: JSON has no NaN.
pub fn to_bits(sums: &[[f64; 2]]) -> Vec<[u64; 2]> {
    sums.iter().map(|sums| sums.map(f64::to_bits)).collect()
}

/// What [`to_bits`] made.
pub fn of_bits(bits: &[[u64; 2]]) -> Vec<[f64; 2]> {
    bits.iter().map(|bits| bits.map(f64::from_bits)).collect()
}
