//! The memory of a run by component, counted from the shape of the model. [`crate::doctor`] compares it with the
//! device's allocator.

use candle_core::{DType, Device};

use crate::config::Projection;
use crate::model::batch::Rows;
use crate::model::decoder::Keep;
use crate::model::generation::PREFILL_TOKENS;
use crate::model::plan::{AdapterPlan, ModulePlan, PerProjection};
use crate::model::saved::Saved;
use crate::model::shape::Shape;
use crate::ops::logps;

/// Default number of tokens computed at once on a GPU: enough for the full matmul rate.
const GPU_MICRO_BATCH_TOKENS: usize = 4096;
/// The same on a CPU: enough that packing the weights costs little compared with the product. More would be no faster, for what is kept
/// leaves the caches.
const CPU_MICRO_BATCH_TOKENS: usize = 1024;

/// Bytes that the allocator holds for each byte of activations and working memory, when all activations are kept:
/// micro-batches of different sizes leave holes. Measured as `VmHWM` of runs on a CPU, not measured on a GPU.
const FRAGMENTATION: f64 = 1.08;

/// The same of a step in bf16 on a CPU, which was measured at 1.06 to 1.27 times what its tensors take (`doctor`).
const FRAGMENTATION_BF16: f64 = 1.2;

/// Bytes that the allocator holds for each byte requested. On a CPU in f32, recomputed layers are freed one by one and leave
/// no holes.
pub fn fragmentation(device: DeviceKind, dtype: DType, keep: Keep) -> f64 {
    match (device, dtype, keep) {
        (DeviceKind::Cpu, DType::BF16, _) => FRAGMENTATION_BF16,
        (DeviceKind::Cpu, _, Keep::Inputs) => 1.0,
        _ => FRAGMENTATION,
    }
}

/// Kind of device that a run is planned for; this machine may lack it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// A processor.
    Cpu,
    /// A GPU.
    Cuda,
}

/// Bytes by component, each at its peak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// The program, or the CUDA context on a GPU.
    pub program: f64,
    /// Tokenizer, texts and token ids.
    pub inputs: f64,
    /// Frozen weights.
    pub weights: f64,
    /// Adapter, moments and gradients.
    pub adapter: f64,
    /// Activations kept from the forward pass for the backward pass.
    pub activations: f64,
    /// Allocated and freed within a layer or the output layer.
    pub working: f64,
    /// The part of `working` that a chunk of logits takes; it is freed before the layers' backward pass.
    pub logits: f64,
    /// A forward pass of the reference or of an evaluation, over a micro-batch of any of their sets.
    pub scoring: f64,
    /// Keys and values of active answers, and the pass over new prompts; 0 without SPMR.
    pub generating: f64,
    /// Sum while the weights are read: program, inputs, weights, and the mapped files of those that are converted (the system may evict the files).
    pub loading: f64,
}

impl Memory {
    /// Bytes held while training.
    pub fn training(&self) -> f64 {
        self.program + self.inputs + self.weights + self.adapter + self.activations + self.working
    }

    /// Bytes held while pairs are scored, training state included.
    pub fn scored(&self) -> f64 {
        self.program + self.inputs + self.weights + self.adapter + self.scoring
    }

    /// Bytes held while answers are generated, training state included.
    pub fn answering(&self) -> f64 {
        self.program + self.inputs + self.weights + self.adapter + self.generating
    }

    /// The largest of loading, training, scoring and answering.
    pub fn peak(&self) -> f64 {
        self.computing().max(self.loading)
    }

    /// The largest of training, scoring and answering.
    pub fn computing(&self) -> f64 {
        self.training().max(self.scored()).max(self.answering())
    }
}

/// A forward and backward pass over one micro-batch.
#[derive(Debug, Clone, Copy)]
pub struct PassPlan<'a> {
    /// Shape of the model.
    pub shape: &'a Shape,
    /// Its adapter.
    pub lora: &'a AdapterPlan,
    /// Kind of device that computes the pass.
    pub device: DeviceKind,
    /// Dtype of weights and activations.
    pub dtype: DType,
    /// Tokens, each prompt once.
    pub tokens: usize,
    /// Scored tokens among them.
    pub scored: usize,
}

/// Bytes of a [`PassPlan`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PassBytes {
    /// Kept from the forward pass for the backward pass.
    pub kept: f64,
    /// Temporary memory at the moment when kept + temporary is largest.
    pub working: f64,
    /// A chunk of logits, with their gradient.
    pub logits: f64,
}

impl PassPlan<'_> {
    /// Bytes of the pass under `keep`, without weights, adapter and gradients.
    pub fn bytes(&self, keep: Keep) -> PassBytes {
        let shape = self.shape;
        let [hidden, inner, query, key, tokens, scored] = [
            shape.hidden,
            shape.intermediate,
            shape.query_width(),
            shape.key_width(),
            self.tokens,
            self.scored,
        ]
        .map(|count| count as f64);
        let kept = |modules, rows| kept_elements(shape, modules, rows, self.dtype);
        let (last_modules, below) = match self.lora.layers.split_last() {
            Some((last, below)) => (last, below),
            None => (&PerProjection::default(), &[][..]),
        };
        let whole = |modules| {
            let [token, row] = kept(modules, Rows::All);
            tokens * (token + row)
        };
        // Of the layer that keeps most, if all of its rows are computed.
        let full = self.lora.layers.iter().map(whole).fold(0.0, f64::max);
        let [last_token, last_row] = kept(last_modules, Rows::Kept);
        let last = tokens * last_token + scored * last_row;
        let kept = match keep {
            Keep::Everything => below.iter().map(whole).sum::<f64>() + last,
            Keep::Inputs => shape.layers as f64 * tokens * hidden,
        };
        let logits =
            logps::chunk_elements(self.scored, shape.vocab, self.dtype, self.device.is_cuda());

        // The final norm's sum and output, its scored rows, and the gradient of each: freed before the layers' backward
        // pass.
        let output_layer = 4.0 * scored * hidden + logits as f64;
        // The feed-forward network's backward pass: gradients of its stream, of its products and of its input.
        let own = |modules: &PerProjection<ModulePlan>| {
            let adapts = |projections: &[Projection]| {
                f64::from(u8::from(projections.iter().any(|p| modules.get(*p).is_some())))
            };
            adapts(&[Projection::DownProj]) * 2.0 * inner
                + adapts(&[Projection::GateProj, Projection::UpProj]) * 2.0 * hidden
        };
        let feed_forward = |rows: f64, own: f64| rows * (3.0 * inner + 2.0 * hidden + own);
        let largest_own = below.iter().map(own).fold(0.0, f64::max);
        // The attention's: gradients of the stream above and below the feed-forward network, of its output, q, k and v;
        // the normalised input again, and its gradient with the adapter's part, to which the CPU applies dropout in new
        // memory.
        let streams = if self.device.is_cuda() { 5.0 } else { 8.0 };
        let attention = tokens * (2.0 * query + 2.0 * key + streams * hidden);
        // In the last layer two gradients were computed for the scored rows first.
        let last_attention = attention + scored * (hidden + query);
        let again = |layer: f64| match keep {
            Keep::Everything => 0.0,
            Keep::Inputs => layer - tokens * hidden,
        };
        let last_layer = feed_forward(scored, own(last_modules)).max(last_attention) + again(last);
        // A layer below it, after the last one's memory is freed.
        let gone = match keep {
            Keep::Everything => last,
            Keep::Inputs => tokens * hidden,
        };
        let other_layer = match shape.layers {
            1 => 0.0,
            _ => feed_forward(tokens, largest_own).max(attention) + again(full) - gone,
        };
        let forward = tokens * (2.0 * inner + 3.0 * hidden) + again(full);
        let working = output_layer.max(last_layer).max(other_layer).max(forward);
        let size = self.dtype.size_in_bytes() as f64;
        PassBytes { kept: kept * size, working: working * size, logits: logits as f64 * size }
    }
}

impl DeviceKind {
    /// The kind of `device`.
    pub fn of(device: &Device) -> Self {
        if device.is_cpu() { Self::Cpu } else { Self::Cuda }
    }

    /// Tokens that are computed at once unless `train.micro_batch_tokens` says otherwise.
    pub fn micro_batch_tokens(self) -> usize {
        match self {
            Self::Cpu => CPU_MICRO_BATCH_TOKENS,
            Self::Cuda => GPU_MICRO_BATCH_TOKENS,
        }
    }

    /// Whether it is a GPU.
    pub fn is_cuda(self) -> bool {
        self == Self::Cuda
    }
}

/// Elements of `dtype` that a layer with an adapter on `modules` keeps for the backward pass: for each token, and in addition for each
/// of the `rows`.
fn kept_elements(
    shape: &Shape,
    modules: &PerProjection<ModulePlan>,
    rows: Rows,
    dtype: DType,
) -> [f64; 2] {
    let statistic = 4usize.div_ceil(dtype.size_in_bytes()); // statistics are f32, activations may be bf16
    Saved::elements(shape, modules, rows)
        .map(|each| (each.activations + statistic * each.statistics) as f64)
}

/// Bytes that the whole model keeps for the backward pass of one token, when all activations are kept.
pub fn activation_bytes(shape: &Shape, lora: &AdapterPlan, dtype: DType) -> f64 {
    let of = |modules| kept_elements(shape, modules, Rows::All, dtype).iter().sum::<f64>();
    lora.layers.iter().map(of).sum::<f64>() * dtype.size_in_bytes() as f64
}

/// Bytes of the keys and values of a sequence of `tokens` tokens.
pub fn key_value_bytes(shape: &Shape, dtype: DType, tokens: usize) -> f64 {
    (2 * shape.layers * tokens * shape.key_width() * dtype.size_in_bytes()) as f64
}

/// Bytes of a forward pass that keeps nothing, over `tokens` tokens, `scored` of them: the feed-forward network's products and
/// three streams are the most that a layer holds at once; at the end two streams and a chunk of logits.
pub fn scoring_bytes(
    shape: &Shape,
    device: DeviceKind,
    dtype: DType,
    tokens: usize,
    scored: usize,
) -> f64 {
    let layer = (2 * shape.intermediate + 3 * shape.hidden) * tokens;
    let logits = logps::chunk_elements(scored, shape.vocab, dtype, device.is_cuda());
    let end = (tokens + scored) * shape.hidden + logits;
    (layer.max(end) * dtype.size_in_bytes()) as f64
}

/// Answers that are generated at once.
#[derive(Debug, Clone, Copy)]
pub struct GenerationPlan<'a> {
    /// Shape of the model.
    pub shape: &'a Shape,
    /// Its adapter.
    pub lora: &'a AdapterPlan,
    /// Dtype of weights and activations.
    pub dtype: DType,
    /// Number of answers.
    pub sequences: usize,
    /// Tokens of each, prompt included.
    pub tokens: usize,
}

impl GenerationPlan<'_> {
    /// Bytes of the keys and values, and of a layer's pass over the prompts.
    pub fn bytes(&self) -> f64 {
        let Self { shape, lora, dtype, sequences, tokens } = *self;
        let of = |modules| kept_elements(shape, modules, Rows::All, dtype).iter().sum::<f64>();
        let layer = lora.layers.iter().map(of).fold(0.0, f64::max);
        let (hidden, inner) = (shape.hidden as f64, shape.intermediate as f64);
        let prefilled = PREFILL_TOKENS.min(sequences * tokens) as f64;
        let pass = prefilled * (layer + inner + 4.0 * hidden);
        let key_values = sequences as f64 * key_value_bytes(shape, dtype, tokens);
        key_values + pass * dtype.size_in_bytes() as f64
    }
}

/// Bytes of an adapter in training: value, two moments, gradient of the step and of a micro-batch, all f32, and a copy
/// in the base's dtype if that is not f32.
pub fn adapter_bytes(parameters: usize, dtype: DType) -> f64 {
    let copy = if dtype == DType::F32 { 0 } else { dtype.size_in_bytes() };
    ((20 + copy) * parameters) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoraSection;

    const GB: f64 = 1e9;

    /// The default adapter, of rank 16 on q and v.
    fn default_plan(shape: &Shape) -> AdapterPlan {
        AdapterPlan::of(&LoraSection::default(), shape).unwrap()
    }

    fn llama(hidden: usize, intermediate: usize, layers: usize, heads: usize) -> Shape {
        let json = serde_json::json!({
            "model_type": "llama", "hidden_size": hidden, "intermediate_size": intermediate,
            "num_attention_heads": heads, "num_key_value_heads": heads, "num_hidden_layers": layers,
            "vocab_size": 32_000, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
        });
        Shape::parse(&json.to_string(), "test").unwrap()
    }

    /// 4096 tokens at once, 2400 of them scored, in bf16 on a GPU.
    fn pass_of_4096<'a>(shape: &'a Shape, lora: &'a AdapterPlan) -> PassPlan<'a> {
        PassPlan {
            shape,
            lora,
            device: DeviceKind::Cuda,
            dtype: DType::BF16,
            tokens: 4096,
            scored: 2400,
        }
    }

    /// Llama-2-7b in bf16, 4096 tokens at once, 2400 of them scored, an adapter of rank 16 on q and v.
    #[test]
    fn a_7b_on_a_gpu_takes_what_is_counted_by_hand() {
        let shape = llama(4096, 11_008, 32, 32);
        let lora = default_plan(&shape);
        let pass = pass_of_4096(&shape, &lora);
        // x, q, k, v, o: 5 * 4096; A x of q and v: 2 * 16; h: 4096; gate and up: 2 * 11008; all bf16. In f32: the
        // inverse norms of x and h, and 32 log-sum-exps.
        let token: u64 = 2 * (6 * 4096 + 2 * 16 + 2 * 11_008) + 4 * (1 + 1 + 32);
        assert_eq!(token, 93_384);
        assert!((activation_bytes(&shape, &lora, DType::BF16) - (32 * token) as f64).abs() < 0.5);
        // The last layer keeps h, gate and up of the scored rows only, and those rows of o.
        let before: u64 = 2 * (5 * 4096 + 2 * 16) + 4 * (1 + 32);
        let after: u64 = 2 * (4096 + 2 * 11_008) + 4 + 2 * 4096;
        let keep = pass.bytes(Keep::Everything);
        let kept = (31 * 4096 * token + 4096 * before + 2400 * after) as f64;
        assert!((keep.kept - kept).abs() < 0.5, "{} {kept}", keep.kept);
        // Temporary memory is largest in the last layer's attention: dy, dh, the normalised input, its gradient, the
        // adapter's part of it; d_o and dq, dk and dv; and dh and d_o of the scored rows.
        let working = (4096u64 * 2 * 9 * 4096 + 2400 * 2 * 2 * 4096) as f64;
        assert!((keep.working - working).abs() < 0.5, "{} {working}", keep.working);
        // 1024 rows of logits in f32 and their gradients in bf16.
        assert!((keep.logits - (1024u64 * 32_000 * 6) as f64).abs() < 0.5);

        let recompute = pass.bytes(Keep::Inputs);
        assert!((recompute.kept - (32u64 * 4096 * 2 * 4096) as f64).abs() < 0.5);
        // A layer below the last: all of its own again but its input, and the feed-forward network's gradients (3 *
        // 11008 and two streams), when the last layer's input is gone.
        let working = (4096 * (token - 2 * 4096) + 4096 * 2 * (3 * 11_008 + 2 * 4096)
            - 4096 * 2 * 4096) as f64;
        assert!((recompute.working - working).abs() < 0.5, "{} {working}", recompute.working);

        let (weights, adapter) = (2.0 * shape.parameters() as f64, lora.parameters(&shape));
        assert_eq!(adapter, 32 * 2 * 16 * (4096 + 4096));
        assert!((weights - 2.0 * 6_738_415_616.0).abs() < 0.5);
        let beside = weights + adapter_bytes(adapter, DType::BF16);
        assert!((adapter_bytes(adapter, DType::BF16) - 22.0 * 8_388_608.0).abs() < 0.5);
        let total = |bytes: PassBytes| (beside + bytes.kept + bytes.working) / GB;
        // 13.48 + 0.18 + 12.2 + 0.3 and 13.48 + 0.18 + 1.07 + 0.65 GB: a card of 24 GiB (25.8 GB) trains it, with
        // `recompute`.
        assert!((25.5..26.5).contains(&total(keep)), "{}", total(keep));
        assert!((15.0..15.8).contains(&total(recompute)), "{}", total(recompute));
    }

    /// 16 answers of 512 tokens to prompts of 512: 2 * 32 layers * 4096 * 2 bytes = 0.5 MiB a token.
    #[test]
    fn answers_of_a_7b_keep_half_a_mebibyte_a_token() {
        let shape = llama(4096, 11_008, 32, 32);
        let lora = default_plan(&shape);
        let (dtype, sequences, tokens) = (DType::BF16, 16, 1024);
        let bytes = GenerationPlan { shape: &shape, lora: &lora, dtype, sequences, tokens }.bytes();
        let cached = (16u64 * 1024 * 524_288) as f64;
        let pass = 2048.0 * (93_384 + 2 * (11_008 + 4 * 4096)) as f64;
        assert!((bytes - cached - pass).abs() < 0.5, "{bytes}");
    }

    #[test]
    fn a_pass_that_keeps_nothing_takes_less_than_a_step_and_a_chunk_of_logits_is_in_it() {
        let shape = llama(4096, 11_008, 32, 32);
        let lora = default_plan(&shape);
        let of =
            |tokens, scored| scoring_bytes(&shape, DeviceKind::Cuda, DType::BF16, tokens, scored);
        assert!((of(4096, 2400) - (4096u64 * 2 * (2 * 11_008 + 3 * 4096)) as f64).abs() < 0.5);
        let step = pass_of_4096(&shape, &lora).bytes(Keep::Inputs);
        assert!(of(4096, 2400) < step.kept + step.working);
        assert!(of(64, 64) > 64.0 * 32_000.0 * 2.0, "few tokens of a large vocabulary");
    }

    #[test]
    fn a_13b_recomputes_on_40_gb_and_keeps_on_80() {
        let shape = llama(5120, 13_824, 40, 40);
        let lora = default_plan(&shape);
        let pass = pass_of_4096(&shape, &lora);
        let adapter = adapter_bytes(lora.parameters(&shape), DType::BF16);
        let beside = 2.0 * shape.parameters() as f64 + adapter;
        let total = |keep| {
            let bytes = pass.bytes(keep);
            (beside + bytes.kept + bytes.working) / GB
        };
        // 26.03 + 0.29 + 40 * 4096 * 2 * 5120 = 1.68 + working memory; 40 * 4096 * 116_936 = 19.2.
        assert!((28.0..30.0).contains(&total(Keep::Inputs)), "{}", total(Keep::Inputs));
        assert!((45.0..47.0).contains(&total(Keep::Everything)), "{}", total(Keep::Everything));
    }

    #[test]
    fn fewer_tokens_at_once_and_recomputing_take_less() {
        let shape = llama(512, 1376, 4, 8);
        let lora = default_plan(&shape);
        for (device, dtype) in [(DeviceKind::Cpu, DType::F32), (DeviceKind::Cuda, DType::BF16)] {
            let pass = |tokens| PassPlan {
                shape: &shape,
                lora: &lora,
                device,
                dtype,
                tokens,
                scored: tokens / 2,
            };
            let total = |tokens, keep| {
                let bytes = pass(tokens).bytes(keep);
                bytes.kept + bytes.working
            };
            assert!(total(2048, Keep::Everything) < total(4096, Keep::Everything));
            assert!(total(4096, Keep::Inputs) < total(4096, Keep::Everything));
        }
    }
}
