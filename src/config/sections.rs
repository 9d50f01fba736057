//! The sections of a configuration with their defaults: the paper's recipe where it has one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::choices::{
    Activations, AddBos, BestMetric, ColumnRole, Dtype, EvalTokenization, LayoutName,
    LeftoverBatches, LossType, MetricName, OptimizerName, Order, Projection, PromptFormat,
    RankedPairs, Reference, Scheduler, Tokenization, TokenizerRules, Truncation,
};
use super::modules::{Modules, Patterns};
use super::source::{Reading, Source};

/// `[model]`: the frozen base model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSection {
    /// A hub id, or a folder with `config.json`, `tokenizer.json` and `*.safetensors`, or `embedded:...`; it has no default.
    pub path: String,
    /// Branch, tag or commit of a model on the hub.
    pub revision: String,
    /// Number type of the frozen weights and of the activations; the adapter is always f32.
    pub dtype: Dtype,
    /// Whose rules make token ids of a text.
    pub tokenizer: TokenizerRules,
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            path: String::new(),
            revision: "main".into(),
            dtype: Dtype::Auto,
            tokenizer: TokenizerRules::File,
        }
    }
}

/// `[lora]`: the adapter that is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSection {
    /// Rows of A and columns of B.
    pub rank: usize,
    /// The adapter's output is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Whether it is scaled by `alpha / sqrt(rank)` instead (rsLoRA, arXiv 2312.03732).
    pub use_rslora: bool,
    /// Share of the adapter's inputs that a training step sets to zero.
    pub dropout: f64,
    /// The linear layers that carry an adapter: names, `all-linear`, or a regular expression.
    pub target_modules: Modules,
    /// Linear layers that carry none although `target_modules` names them.
    pub exclude_modules: Modules,
    /// The layers, counted from 0, whose modules carry an adapter; empty for all.
    pub layers_to_transform: Vec<usize>,
    /// What the list of layers is called in the names of modules; empty for any.
    pub layers_pattern: Vec<String>,
    /// Rank of the modules that a pattern matches, instead of `rank`.
    pub rank_pattern: Patterns<usize>,
    /// Alpha of the modules that a pattern matches, instead of `alpha`.
    pub alpha_pattern: Patterns<f64>,
    /// A PEFT adapter to start from, a folder or a hub id; empty for a fresh adapter.
    pub init_from: String,
}

impl Default for LoraSection {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            use_rslora: false,
            dropout: 0.05,
            target_modules: Modules::of([Projection::QProj, Projection::VProj]),
            exclude_modules: Modules::NONE,
            layers_to_transform: Vec::new(),
            layers_pattern: Vec::new(),
            rank_pattern: Patterns::default(),
            alpha_pattern: Patterns::default(),
            init_from: String::new(),
        }
    }
}

/// `[dpo]`: the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpoSection {
    /// How strongly the policy is held to the reference: rewards are `beta * (policy - reference)` log-probabilities.
    pub beta: f64,
    /// The function of a pair's rewards that is minimised.
    pub loss: LossType,
    /// Probability that a pair's label is the wrong way round.
    pub label_smoothing: f64,
    /// Reward margin that `simpo` asks for; the default is TRL's.
    pub simpo_gamma: f64,
    /// Weight of an SFT term (RPO, arXiv 2404.19733): the mean negative log-probability per token of the chosen answer; 0 for none.
    pub sft_weight: f64,
    /// The policy that rewards are measured from.
    pub reference: Reference,
}

impl Default for DpoSection {
    fn default() -> Self {
        Self {
            beta: 0.1,
            loss: LossType::Sigmoid,
            label_smoothing: 0.0,
            simpo_gamma: 0.5,
            sft_weight: 0.0,
            reference: Reference::Base,
        }
    }
}

/// `[data]`: the training pairs and how they become tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSection {
    /// Sources of MVPBench records or of preference pairs, one after another; it has no default.
    pub train: Vec<Source>,
    /// The layout of the records of `train`; `auto` recognises it.
    pub layout: LayoutName,
    /// The column of each role, where it is named otherwise than in the layout; empty where no column has the role.
    pub columns: BTreeMap<ColumnRole, String>,
    /// Which pairs a record with more than two answers gives.
    pub ranked_pairs: RankedPairs,
    /// Two answers of such a record make a pair if their scores differ by more than this.
    pub ranked_margin: f64,
    /// How a record's prompt becomes a pair's.
    pub prompt_format: PromptFormat,
    /// The chat template in place of the model's: a `.jinja` file, or a folder that has one; empty for the model's own.
    pub chat_template: String,
    /// The day that a chat template is given where it asks for the date, `YYYY-MM-DD`; empty for the day on which the run began.
    pub template_date: String,
    /// How a prompt and its answers become token ids.
    pub tokenization: Tokenization,
    /// Whether a conversation gets a BOS that its chat template does not write.
    pub add_bos: AddBos,
    /// Tokens of a prompt that are kept, its BOS and its end; 0 for no limit.
    pub max_prompt_tokens: usize,
    /// Tokens of prompt and answer together, the end of the answer is cut; 0 for no limit.
    pub max_length: usize,
    /// How a pair is cut to these two.
    pub truncation: Truncation,
    /// Whether each epoch visits the pairs in an order of its own, drawn from `train.seed`.
    pub shuffle: bool,
    /// Where that order comes from.
    pub order: Order,
}

impl Default for DataSection {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            layout: LayoutName::Auto,
            columns: BTreeMap::new(),
            ranked_pairs: RankedPairs::BestWorst,
            ranked_margin: 0.0,
            prompt_format: PromptFormat::Mvpbench,
            chat_template: String::new(),
            template_date: String::new(),
            tokenization: Tokenization::Joint,
            add_bos: AddBos::Template,
            max_prompt_tokens: 512,
            max_length: 1024,
            truncation: Truncation::Room,
            shuffle: true,
            order: Order::Philox,
        }
    }
}

impl DataSection {
    /// How a source of `data.train` without keys of its own is read.
    pub fn reading(&self) -> Reading {
        Reading {
            layout: self.layout,
            columns: self.columns.clone(),
            ranked_pairs: self.ranked_pairs,
            ranked_margin: self.ranked_margin,
        }
    }
}

/// `[train]`: the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSection {
    /// Passes over the training pairs; a fraction ends within a pass.
    pub epochs: f64,
    /// Most optimizer steps of the run; 0 for no limit but `epochs`.
    pub max_steps: usize,
    /// The highest learning rate, which the schedule starts from after the warm-up.
    pub learning_rate: f64,
    /// Learning rate of B as a multiple of A's (LoRA+, arXiv 2402.12354, recommends 16); the log has A's.
    pub lora_plus_ratio: f64,
    /// Learning rate over the steps, after the warm-up.
    pub scheduler: Scheduler,
    /// Optimizer steps over which the learning rate rises from zero.
    pub warmup_steps: usize,
    /// The same as a share of all steps, rounded up; 0 leaves it to `warmup_steps`.
    pub warmup_ratio: f64,
    /// Whose AdamW.
    pub optimizer: OptimizerName,
    /// AdamW's decoupled weight decay, on A and B.
    pub weight_decay: f64,
    /// Global L2 norm that a step's gradient is scaled down to; 0 for no clipping.
    pub max_grad_norm: f64,
    /// Pairs of one batch on one device.
    pub per_device_batch_size: usize,
    /// Batches of one optimizer step on one device.
    pub gradient_accumulation_steps: usize,
    /// Pairs of one optimizer step on all devices together, in place of `gradient_accumulation_steps`; 0 for as many as the devices take.
    pub total_batch_size: usize,
    /// Parts that a step's pairs are computed in, each alone: then any number of ranks up to it gives the same bytes; 0 for one part a rank.
    pub gradient_shards: usize,
    /// What becomes of the batches of an epoch that do not fill a step.
    pub leftover_batches: LeftoverBatches,
    /// Seed of the adapter's start, of the order of the pairs and of dropout.
    pub seed: u64,
    /// What the forward pass keeps for the backward pass.
    pub activations: Activations,
    /// Tokens that the engine computes at once, which changes no result beyond rounding; 0 lets it choose.
    pub micro_batch_tokens: usize,
    /// Optimizer steps between two checkpoints.
    pub checkpoint_every: usize,
    /// Newest checkpoints that stay on disk.
    pub keep_checkpoints: usize,
    /// Steps in a row with a non-finite loss or gradient after which the run stops.
    pub max_skipped_steps: usize,
}

impl Default for TrainSection {
    fn default() -> Self {
        Self {
            epochs: 3.0,
            max_steps: 0,
            learning_rate: 5e-5,
            lora_plus_ratio: 1.0,
            scheduler: Scheduler::Linear,
            warmup_steps: 0,
            warmup_ratio: 0.0,
            optimizer: OptimizerName::AdamwTorch,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            per_device_batch_size: 2,
            gradient_accumulation_steps: 4,
            total_batch_size: 0,
            gradient_shards: 0,
            leftover_batches: LeftoverBatches::Step,
            seed: 12,
            activations: Activations::Auto,
            micro_batch_tokens: 0,
            checkpoint_every: 100,
            keep_checkpoints: 2,
            max_skipped_steps: 8,
        }
    }
}

impl TrainSection {
    /// Batches of one optimizer step, on all devices together.
    pub fn batches_a_step(&self) -> usize {
        match self.total_batch_size {
            0 => self.gradient_accumulation_steps,
            total => total / self.per_device_batch_size,
        }
    }

    /// Pairs of one optimizer step that no epoch's end makes smaller.
    pub fn pairs_a_step(&self) -> usize {
        self.per_device_batch_size * self.batches_a_step()
    }
}

/// `[eval]`: evaluations before, during and after training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalSection {
    /// How the pairs of the sets become token ids.
    pub tokenization: EvalTokenization,
    /// Whether the EOS that ends an answer is scored.
    pub score_eos: bool,
    /// Optimizer steps between two evaluations during training; the last step is evaluated too; 0 for none.
    pub every: usize,
    /// The figure that chooses the best evaluation during training, whose adapter is kept and exported.
    pub best_metric: BestMetric,
    /// Set whose figure is compared; empty for the first.
    pub best_set: String,
    /// Evaluations in a row without a better figure after which training stops; 0 for never.
    pub patience: usize,
    /// A figure counts as better for `patience` if it improves by more than this.
    pub min_delta: f64,
    /// Pairs of each set, spread evenly over it, whose chosen answers the KL divergence from the reference is measured on; 0 for none.
    pub kl_pairs: usize,
    /// The data sets, each a `[[eval.sets]]`; none for no evaluation.
    pub sets: Vec<EvalSet>,
    /// How SPMR is measured.
    pub spmr: SpmrSection,
    /// Answers to fixed prompts.
    pub samples: SamplesSection,
}

impl Default for EvalSection {
    fn default() -> Self {
        Self {
            tokenization: EvalTokenization::Data,
            score_eos: true,
            every: 0,
            best_metric: BestMetric::None,
            best_set: String::new(),
            patience: 0,
            min_delta: 0.0,
            kl_pairs: 64,
            sets: Vec::new(),
            spmr: SpmrSection::default(),
            samples: SamplesSection::default(),
        }
    }
}

/// `[eval.spmr]`: generates answers and compares them with the preferred ones, for sets with `spmr` among their metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpmrSection {
    /// The sentence encoder, a sentence-transformers folder or hub id; empty leaves SPMR out, with a note.
    pub embedder: String,
    /// Cosine that an answer must exceed.
    pub threshold: f64,
    /// Tokens after which an answer is cut.
    pub max_new_tokens: usize,
    /// Whether the prompt is embedded before the answer, as the authors left it in; the figure without it is given too.
    pub embed_prompt: bool,
    /// Prompts of a set that are answered, spread evenly over it; 0 for all.
    pub max_prompts: usize,
}

impl Default for SpmrSection {
    fn default() -> Self {
        Self {
            embedder: String::new(),
            threshold: 0.8,
            max_new_tokens: 512,
            embed_prompt: false,
            max_prompts: 0,
        }
    }
}

/// `[eval.samples]`: greedy answers to fixed prompts, of the base model and of the policy at every evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplesSection {
    /// File of the prompts, as `mvpbench generate --prompts` reads it; empty for no answers.
    pub prompts: String,
    /// Prompts of the file that are answered, spread evenly over it; 0 for all.
    pub max_prompts: usize,
    /// Tokens after which an answer is cut.
    pub max_new_tokens: usize,
}

impl Default for SamplesSection {
    fn default() -> Self {
        Self { prompts: String::new(), max_prompts: 8, max_new_tokens: 128 }
    }
}

impl SamplesSection {
    /// Whether prompts are answered.
    pub fn is_on(&self) -> bool {
        !self.prompts.is_empty()
    }
}

/// `[[eval.sets]]`: one data set of the evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSet {
    /// Its name in the report and in `eval/scores-<name>-before.jsonl`.
    pub name: String,
    /// Its sources; figures are given for each file and for all together.
    pub files: Vec<Source>,
    /// The figures to compute.
    #[serde(default = "EvalSet::default_metrics")]
    pub metrics: Vec<MetricName>,
    /// Fields of the records whose values are groups of the figures, beside the demographic ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
}

impl EvalSet {
    /// The names of its files, as its sources have them.
    pub fn names(&self) -> Vec<String> {
        self.files.iter().flat_map(|source| &source.files).cloned().collect()
    }

    fn default_metrics() -> Vec<MetricName> {
        vec![MetricName::Opa]
    }
}

/// `[output]`: where the results go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSection {
    /// The run folder; it has no default.
    pub dir: PathBuf,
}
