//! Makes `configs/tiny/model`: a tokenizer of Llama-2's shape and a Llama of 0.9 M parameters, trained here on text that this
//! project generates, so that `train --config tiny.toml` has a base model without a network. One file, because a model must be made
//! again from what one command compiles.
//!
//! ```text
//! python3 scripts/make_sample.py --corpus target/tiny-corpus.jsonl
//! RAYON_NUM_THREADS=1 cargo run --release --example make_tiny_model -- target/tiny-corpus.jsonl configs/tiny/model
//! ```
//!
//! Documents in (JSON strings, one a line), a Hugging Face model folder out. This is the one place that trains all weights, so it uses
//! candle's tape: with the compositions that have a backward (`rms_norm_slow`, `rope_slow`; the fused ones have none), and with two fused
//! operations of its own where the compositions cost most of a step.
//! The same corpus gives the same files on the same machine. The batch is shared by `SHARDS` threads, each with a tape of its own, so
//! candle's own threads, which spin where the cores are busy, are turned off by the variable above.
#![expect(clippy::print_stdout, reason = "a script that reports to the person who runs it")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::{Tokenizer, Trainer};

const VOCAB: usize = 1024;
const HIDDEN: usize = 128;
const INTERMEDIATE: usize = 320;
const LAYERS: usize = 4;
const HEADS: usize = 4;
const HEAD_DIM: usize = HIDDEN / HEADS;
const MAX_POSITIONS: usize = 1024;
const ROPE_THETA: f32 = 10_000.0;
const RMS_NORM_EPS: f32 = 1e-5;

const BOS: u32 = 1;
const EOS: u32 = 2;
/// `<unk>`, `<s>`, `</s>` and the 256 bytes come before the pieces.
const FIRST_PIECE: usize = 3 + 256;

const SEED: u64 = 20_250_910;
const MAX_LENGTH: usize = 416;
const BATCH: usize = 8;
const SHARDS: usize = 2;
const STEPS: usize = 1300;
const WARMUP: usize = 60;
const LEARNING_RATE: f64 = 3e-3;
const HELD_OUT: usize = 320;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, out] = arguments.as_slice() else {
        bail!("usage: make_tiny_model CORPUS.jsonl OUT_FOLDER")
    };
    let out = Path::new(out);
    std::fs::create_dir_all(out)?;
    let documents = read_documents(Path::new(corpus))?;

    let tokenizer_json = train_tokenizer(&documents)?;
    write_json(&out.join("tokenizer.json"), &tokenizer_json)?;
    let tokenizer =
        Tokenizer::from_bytes(serde_json::to_vec(&tokenizer_json)?).map_err(|e| anyhow!(e))?;
    let ids = encode(&tokenizer, &documents)?;
    let (held_out, training) = ids.split_at(HELD_OUT.min(ids.len() / 10));
    println!(
        "{} documents for training, {} held out, {} tokens on average",
        training.len(),
        held_out.len(),
        mean_length(&ids)
    );

    let mut random = Random(SEED);
    let parameters = initial_parameters(&mut random)?;
    println!("{} parameters", parameters.values().map(|p| p.elem_count()).sum::<usize>());
    train(&parameters, training, held_out, &mut random)?;
    save(&parameters, out)?;
    let rounded = load_rounded(&out.join("model.safetensors"))?;
    println!("held-out loss of the saved f16 weights: {:.4}", mean_loss(&rounded, held_out)?);
    Ok(())
}

fn read_documents(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| path.display().to_string()))
        .collect()
}

// ---------------------------------------------------------------- tokenizer
/// The words that merges are counted in: `▁` and the letters after it are one, every other character stands alone, as in Llama-2,
/// where no piece spans a space and digits are single. Only ASCII: all else goes to the bytes.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false; // the last word still takes letters
    for c in std::iter::once(' ').chain(text.chars()) {
        match c {
            ' ' => words.push("▁".to_owned()),
            c if c.is_ascii_alphabetic() && open => {
                words.last_mut().expect("a word is open").push(c)
            }
            c if c.is_ascii_graphic() => words.push(c.to_string()),
            _ => {}
        }
        open = c == ' ' || c.is_ascii_alphabetic();
    }
    words
}

/// Learns the merges and lays out `tokenizer.json` as Llama-2's: specials, bytes, merged pieces by rank, single characters.
fn train_tokenizer(documents: &[String]) -> Result<Value> {
    let alphabet: HashSet<char> = ('!'..='~').chain(['▁']).collect();
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(VOCAB - FIRST_PIECE)
        .initial_alphabet(alphabet)
        .build();
    trainer.feed(documents.iter(), |text| Ok(words(text))).map_err(|e| anyhow!(e))?;
    let mut bpe = BPE::default();
    trainer.train(&mut bpe).map_err(|e| anyhow!(e))?;
    let learned = serde_json::to_value(&bpe)?;
    let merges: Vec<(String, String)> = serde_json::from_value(learned["merges"].clone())?;
    let pieces: BTreeMap<String, u32> = serde_json::from_value(learned["vocab"].clone())?;

    let mut vocab: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    vocab.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    vocab.extend(merges.iter().map(|(left, right)| format!("{left}{right}")));
    vocab.extend(pieces.into_keys().filter(|piece| piece.chars().count() == 1));
    let by_piece: serde_json::Map<String, Value> =
        vocab.iter().enumerate().map(|(id, piece)| (piece.clone(), id.into())).collect();
    if by_piece.len() != VOCAB || vocab.len() != VOCAB {
        bail!(
            "the tokenizer has {} pieces, {} of them different, expected {VOCAB}",
            vocab.len(),
            by_piece.len()
        );
    }
    let merges: Vec<String> =
        merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
    Ok(tokenizer_file(by_piece, merges))
}

fn tokenizer_file(vocab: serde_json::Map<String, Value>, merges: Vec<String>) -> Value {
    let added = |id: u32, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let special = |type_id: u32| json!({"SpecialToken": {"id": "<s>", "type_id": type_id}});
    let sequence = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [added(0, "<unk>"), added(BOS, "<s>"), added(EOS, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special(0), sequence("A", 0)],
            "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    })
}

/// Token ids of each document, `<s>` in front and `</s>` behind, cut at `MAX_LENGTH`.
fn encode(tokenizer: &Tokenizer, documents: &[String]) -> Result<Vec<Vec<u32>>> {
    let encodings = tokenizer
        .encode_batch_fast(documents.iter().map(String::as_str).collect::<Vec<_>>(), true)
        .map_err(|e| anyhow!(e))?;
    Ok(encodings
        .iter()
        .map(|e| e.get_ids().iter().copied().chain([EOS]).take(MAX_LENGTH).collect())
        .collect())
}

fn mean_length(ids: &[Vec<u32>]) -> usize {
    ids.iter().map(Vec::len).sum::<usize>() / ids.len()
}

// ---------------------------------------------------------------- model
/// SplitMix64: candle's own generator for the CPU cannot be seeded.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1].
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f32 {
        ((-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos())
            as f32
    }

    /// Fisher and Yates.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, (self.next() % (i as u64 + 1)) as usize);
        }
    }
}

type Parameters = BTreeMap<String, Var>;

fn initial_parameters(random: &mut Random) -> Result<Parameters> {
    let mut parameters = Parameters::new();
    let mut linear = |name: String, rows: usize, columns: usize, std: f32| -> Result<()> {
        let values: Vec<f32> = (0..rows * columns).map(|_| std * random.normal()).collect();
        parameters.insert(name, Var::from_vec(values, (rows, columns), &Device::Cpu)?);
        Ok(())
    };
    let (std, residual_std) = (0.02, 0.02 / (2.0 * LAYERS as f32).sqrt());
    linear("model.embed_tokens.weight".to_owned(), VOCAB, HIDDEN, std)?;
    for layer in 0..LAYERS {
        for name in ["q_proj", "k_proj", "v_proj"] {
            linear(format!("model.layers.{layer}.self_attn.{name}.weight"), HIDDEN, HIDDEN, std)?;
        }
        linear(
            format!("model.layers.{layer}.self_attn.o_proj.weight"),
            HIDDEN,
            HIDDEN,
            residual_std,
        )?;
        for name in ["gate_proj", "up_proj"] {
            linear(format!("model.layers.{layer}.mlp.{name}.weight"), INTERMEDIATE, HIDDEN, std)?;
        }
        linear(
            format!("model.layers.{layer}.mlp.down_proj.weight"),
            HIDDEN,
            INTERMEDIATE,
            residual_std,
        )?;
    }
    let norms = (0..LAYERS).flat_map(|layer| {
        ["input_layernorm", "post_attention_layernorm"]
            .map(|name| format!("model.layers.{layer}.{name}.weight"))
    });
    for name in norms.chain(["model.norm.weight".to_owned()]) {
        parameters.insert(name, Var::ones(HIDDEN, DType::F32, &Device::Cpu)?);
    }
    Ok(parameters)
}

/// Logits `[rows * tokens, vocab]` of `ids` `[rows, tokens]` u32; every row begins at position 0.
fn forward(parameters: &Parameters, ids: &Tensor) -> candle_core::Result<Tensor> {
    let (rows, tokens) = ids.dims2()?;
    let weight = |layer: usize, name: &str| {
        parameters[&format!("model.layers.{layer}.{name}.weight")].as_tensor()
    };
    let linear = |x: &Tensor, layer: usize, name: &str| x.matmul(&weight(layer, name).t()?);
    let heads =
        |y: Tensor| y.reshape((rows, tokens, HEADS, HEAD_DIM))?.transpose(1, 2)?.contiguous();
    let (cos, sin) = rotations(tokens)?;

    let embeddings = parameters["model.embed_tokens.weight"].as_tensor();
    let mut x = embeddings.index_select(&ids.flatten_all()?, 0)?; // (rows * tokens, hidden)
    for layer in 0..LAYERS {
        let a = candle_nn::ops::rms_norm_slow(&x, weight(layer, "input_layernorm"), RMS_NORM_EPS)?;
        let q = candle_nn::rotary_emb::rope_slow(
            &heads(linear(&a, layer, "self_attn.q_proj")?)?,
            &cos,
            &sin,
        )?;
        let k = candle_nn::rotary_emb::rope_slow(
            &heads(linear(&a, layer, "self_attn.k_proj")?)?,
            &cos,
            &sin,
        )?;
        let v = heads(linear(&a, layer, "self_attn.v_proj")?)?;
        let mixed = q.matmul(&k.t()?)?.apply_op1(CausalSoftmax { tokens })?.matmul(&v)?; // (rows, heads, tokens, head_dim)
        let mixed = mixed.transpose(1, 2)?.contiguous()?.reshape((rows * tokens, HIDDEN))?;
        x = (x + linear(&mixed, layer, "self_attn.o_proj")?)?;
        let m = candle_nn::ops::rms_norm_slow(
            &x,
            weight(layer, "post_attention_layernorm"),
            RMS_NORM_EPS,
        )?;
        let gated =
            (linear(&m, layer, "mlp.gate_proj")?.silu()? * linear(&m, layer, "mlp.up_proj")?)?;
        x = (x + linear(&gated, layer, "mlp.down_proj")?)?;
    }
    let x = candle_nn::ops::rms_norm_slow(
        &x,
        parameters["model.norm.weight"].as_tensor(),
        RMS_NORM_EPS,
    )?;
    x.matmul(&embeddings.t()?)
}

/// cos and sin, each `[tokens, head_dim / 2]`.
fn rotations(tokens: usize) -> candle_core::Result<(Tensor, Tensor)> {
    let angles: Vec<f32> = (0..tokens)
        .flat_map(|t| {
            (0..HEAD_DIM / 2)
                .map(move |i| t as f32 * ROPE_THETA.powf(-2.0 * i as f32 / HEAD_DIM as f32))
        })
        .collect();
    let angles = Tensor::from_vec(angles, (tokens, HEAD_DIM / 2), &Device::Cpu)?;
    Ok((angles.cos()?, angles.sin()?))
}

/// The f32 values of a contiguous tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let (from, to) = layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::msg("expected a contiguous tensor"))?;
    Ok(&storage.as_slice::<f32>()?[from..to])
}

/// Attention weights of scores `[.., tokens, tokens]`: `softmax(scores / sqrt(head_dim))` over the columns up to the row's own, 0 beyond.
///
/// Backward: `ds = p * (dp - sum(dp * p)) / sqrt(head_dim)`.
struct CausalSoftmax {
    tokens: usize,
}

impl CustomOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let scores = values(storage, layout)?;
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        let mut weights = vec![0f32; scores.len()];
        weights.chunks_mut(self.tokens).zip(scores.chunks(self.tokens)).enumerate().for_each(
            |(row, (p, s))| {
                let seen = row % self.tokens + 1;
                let max = s[..seen].iter().copied().fold(f32::NEG_INFINITY, f32::max);
                p[..seen].iter_mut().zip(s).for_each(|(p, s)| *p = ((s - max) * scale).exp());
                let sum: f32 = p[..seen].iter().sum();
                p[..seen].iter_mut().for_each(|p| *p /= sum);
            },
        );
        Ok((CpuStorage::F32(weights), layout.shape().clone()))
    }

    fn bwd(
        &self,
        _scores: &Tensor,
        weights: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        let p = weights.flatten_all()?.to_vec1::<f32>()?;
        let mut g = gradient.flatten_all()?.to_vec1::<f32>()?;
        g.chunks_mut(self.tokens).zip(p.chunks(self.tokens)).for_each(|(g, p)| {
            let dot: f32 = g.iter().zip(p).map(|(g, p)| g * p).sum();
            g.iter_mut().zip(p).for_each(|(g, p)| *g = p * (*g - dot) * scale);
        });
        Ok(Some(Tensor::from_vec(g, weights.shape(), &Device::Cpu)?))
    }
}

/// Negative log-likelihood in nats of each row's target: logits `[rows, vocab]` -> `[rows]`; a row without a target gives 0.
///
/// Backward: `dlogits = g * (softmax(logits) - onehot(target))`.
struct NegativeLogLikelihood {
    targets: Vec<Option<u32>>,
}

impl CustomOp1 for NegativeLogLikelihood {
    fn name(&self) -> &'static str {
        "negative-log-likelihood"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let logits = values(storage, layout)?;
        let losses: Vec<f32> = logits
            .chunks(VOCAB)
            .zip(&self.targets)
            .map(|(z, target)| target.map_or(0.0, |target| log_sum_exp(z) - z[target as usize]))
            .collect();
        let rows = losses.len();
        Ok((CpuStorage::F32(losses), Shape::from(rows)))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        _losses: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let gradient = gradient.to_vec1::<f32>()?;
        let mut z = logits.flatten_all()?.to_vec1::<f32>()?;
        z.chunks_mut(VOCAB).zip(&self.targets).zip(gradient).for_each(|((z, target), g)| {
            match target {
                Some(target) => {
                    let lse = log_sum_exp(z);
                    z.iter_mut().for_each(|z| *z = g * (*z - lse).exp());
                    z[*target as usize] -= g;
                }
                None => z.fill(0.0),
            }
        });
        Ok(Some(Tensor::from_vec(z, logits.shape(), &Device::Cpu)?))
    }
}

fn log_sum_exp(z: &[f32]) -> f32 {
    let max = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    max + z.iter().map(|z| (z - max).exp()).sum::<f32>().ln()
}

// ---------------------------------------------------------------- training
/// Summed negative log-likelihood in nats of a batch of documents, padded with `</s>`, and how many tokens it is over.
fn batch_loss(
    parameters: &Parameters,
    batch: &[&Vec<u32>],
) -> candle_core::Result<(Tensor, usize)> {
    let tokens = batch.iter().map(|ids| ids.len()).max().unwrap_or(1) - 1;
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for ids in batch {
        for i in 0..tokens {
            inputs.push(ids.get(i).copied().unwrap_or(EOS));
            targets.push(ids.get(i + 1).copied());
        }
    }
    let count = batch.iter().map(|ids| ids.len() - 1).sum();
    let logits =
        forward(parameters, &Tensor::from_vec(inputs, (batch.len(), tokens), &Device::Cpu)?)?;
    let loss = logits.apply_op1(NegativeLogLikelihood { targets })?.sum_all()?;
    Ok((loss, count))
}

/// Mean negative log-likelihood of a token, in nats.
fn mean_loss(parameters: &Parameters, documents: &[Vec<u32>]) -> Result<f64> {
    let (mut total, mut count) = (0.0, 0);
    for batch in documents.chunks(BATCH) {
        let (loss, tokens) = batch_loss(parameters, &batch.iter().collect::<Vec<_>>())?;
        total += f64::from(loss.to_scalar::<f32>()?);
        count += tokens;
    }
    Ok(total / count as f64)
}

/// One epoch's batches: neighbours in length stand together so that little is padded, and the batches come in random order.
fn batches<'a>(documents: &'a [Vec<u32>], random: &mut Random) -> Vec<Vec<&'a Vec<u32>>> {
    let mut order: Vec<&Vec<u32>> = documents.iter().collect();
    random.shuffle(&mut order);
    order.sort_by_key(|ids| ids.len());
    let mut batches: Vec<Vec<&Vec<u32>>> = order.chunks(BATCH).map(<[_]>::to_vec).collect();
    random.shuffle(&mut batches);
    batches
}

fn learning_rate(step: usize) -> f64 {
    let warm = ((step + 1) as f64 / WARMUP as f64).min(1.0);
    let done = step as f64 / STEPS as f64;
    LEARNING_RATE * warm * (0.05 + 0.95 * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()))
}

/// Mean loss of a batch and its gradients, one shard a thread, added in order.
fn loss_and_gradients(parameters: &Parameters, batch: &[&Vec<u32>]) -> Result<(f64, GradStore)> {
    let count: usize = batch.iter().map(|ids| ids.len() - 1).sum();
    let shard = |documents: &[&Vec<u32>]| -> Result<(f64, GradStore)> {
        let loss = (batch_loss(parameters, documents)?.0 / count as f64)?;
        Ok((f64::from(loss.to_scalar::<f32>()?), loss.backward()?))
    };
    let shards = std::thread::scope(|scope| -> Result<Vec<_>> {
        let threads: Vec<_> = batch
            .chunks(batch.len().div_ceil(SHARDS))
            .map(|documents| scope.spawn(|| shard(documents)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a shard's thread panicked"))?)
            .collect()
    })?;
    let (mut loss, mut gradients) = (0.0, GradStore::default());
    for (shard_loss, shard_gradients) in shards {
        loss += shard_loss;
        for (name, parameter) in parameters {
            let added = shard_gradients
                .get(parameter)
                .with_context(|| format!("`{name}` has no gradient"))?;
            let sum =
                gradients.get(parameter).map_or_else(|| Ok(added.clone()), |sum| sum + added)?;
            gradients.insert(parameter, sum);
        }
    }
    Ok((loss, gradients))
}

fn train(
    parameters: &Parameters,
    training: &[Vec<u32>],
    held_out: &[Vec<u32>],
    random: &mut Random,
) -> Result<()> {
    let options =
        ParamsAdamW { lr: LEARNING_RATE, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0 };
    let mut optimizer = AdamW::new(parameters.values().cloned().collect(), options)?;
    println!(
        "uniform guessing is {:.4}, the fresh model {:.4}",
        (VOCAB as f64).ln(),
        mean_loss(parameters, held_out)?
    );
    let (started, mut queue) = (Instant::now(), Vec::new());
    for step in 0..STEPS {
        if queue.is_empty() {
            queue = batches(training, random);
        }
        let batch = queue.pop().context("no documents to train on")?;
        let (loss, gradients) = loss_and_gradients(parameters, &batch)?;
        optimizer.set_learning_rate(learning_rate(step));
        optimizer.step(&gradients)?;
        if step % 50 == 49 {
            println!(
                "step {:4}  loss {loss:.4}  {:.0} s",
                step + 1,
                started.elapsed().as_secs_f64()
            );
        }
    }
    println!("held-out loss of the f32 weights: {:.4}", mean_loss(parameters, held_out)?);
    Ok(())
}

// ---------------------------------------------------------------- files
fn write_json(path: &Path, value: &Value) -> Result<()> {
    Ok(std::fs::write(path, serde_json::to_string_pretty(value)? + "\n")?)
}

/// Llama-2's set of files, weights in f16 so that the file stays below 2 MiB.
fn save(parameters: &Parameters, out: &Path) -> Result<()> {
    let halves = parameters
        .iter()
        .map(|(name, p)| Ok((name.clone(), p.to_dtype(DType::F16)?)))
        .collect::<Result<HashMap<String, Tensor>>>()?;
    candle_core::safetensors::save(&halves, out.join("model.safetensors"))?;
    let token = |content: &str| json!({"content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false});
    let added = |content: &str| json!({"__type": "AddedToken", "content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false});
    write_json(
        &out.join("config.json"),
        &json!({
            "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": BOS, "eos_token_id": EOS,
            "hidden_act": "silu", "hidden_size": HIDDEN, "initializer_range": 0.02, "intermediate_size": INTERMEDIATE,
            "max_position_embeddings": MAX_POSITIONS, "model_type": "llama", "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
            "num_key_value_heads": HEADS, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": null, "rope_theta": 10000.0,
            "tie_word_embeddings": true, "torch_dtype": "float16", "transformers_version": "4.31.0.dev0", "use_cache": true, "vocab_size": VOCAB,
        }),
    )?;
    write_json(
        &out.join("tokenizer_config.json"),
        &json!({
            "add_bos_token": true, "add_eos_token": false, "bos_token": added("<s>"), "clean_up_tokenization_spaces": false,
            "eos_token": added("</s>"), "legacy": false, "model_max_length": MAX_POSITIONS, "pad_token": null, "padding_side": "right",
            "sp_model_kwargs": {}, "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": added("<unk>"),
        }),
    )?;
    write_json(
        &out.join("special_tokens_map.json"),
        &json!({"bos_token": token("<s>"), "eos_token": token("</s>"), "unk_token": token("<unk>")}),
    )?;
    write_json(
        &out.join("generation_config.json"),
        &json!({
            "_from_model_config": true, "bos_token_id": BOS, "eos_token_id": EOS, "transformers_version": "4.31.0.dev0",
        }),
    )
}

/// The saved weights as a user's run will see them.
fn load_rounded(path: &Path) -> Result<Parameters> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu)?;
    tensors
        .iter()
        .map(|(name, t)| Ok((name.clone(), Var::from_tensor(&t.to_dtype(DType::F32)?)?)))
        .collect()
}
