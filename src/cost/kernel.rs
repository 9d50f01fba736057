//! One launch of each kernel: its bytes, and what bounds its time.

use std::borrow::Cow;

use candle_core::DType;

use super::tiles::Tiles;
use crate::ops::attention::Heads;

/// What decides how long a kernel takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// The bytes that it moves.
    Memory,
    /// The same, beside the words of dropout.
    Dropout,
    /// The same, of keys and values that one token reads.
    Decode,
    /// Products of tiles on the tensor cores.
    Tiles {
        /// Forward, or one of the backward kernels.
        pass: AttentionPass,
        /// 64 or 128.
        head_dim: usize,
    },
    /// The f32 units.
    Plain,
}

/// Which kernel of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionPass {
    /// Outputs and log-sum-exps.
    Forward,
    /// Gradients of the queries.
    Queries,
    /// Gradients of keys and values.
    Keys,
}

/// One launch.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// Its name in the compiled module.
    pub name: Cow<'static, str>,
    /// Bytes from each tensor that it is given to the end of that tensor's memory: what an emulated card sees of its arguments.
    pub reach: usize,
    /// Bytes that it reads and writes. What it reads again from its own block counts once.
    pub moved: usize,
    /// Operations of attention; 0 for all others, which memory bounds.
    pub flop: f64,
    /// What decides its time.
    pub bound: Bound,
}

/// Bytes of a 32-bit number.
const WORD: usize = 4;

fn named(kernel: &str, dtype: DType) -> Cow<'static, str> {
    let suffix = if dtype == DType::F32 { "float" } else { dtype.as_str() };
    format!("{kernel}_{suffix}").into()
}

impl Kernel {
    /// A kernel that reads or writes each of its tensors once.
    fn once(name: impl Into<Cow<'static, str>>, bytes: usize) -> Self {
        Self { name: name.into(), reach: bytes, moved: bytes, flop: 0.0, bound: Bound::Memory }
    }

    /// Reads `bytes` that it also overwrites.
    fn in_place(self, bytes: usize) -> Self {
        Self { moved: self.moved + bytes, ..self }
    }

    /// `rms_norm_forward`; `delta`: whether there is one to add.
    pub fn rms_norm_forward(dtype: DType, tokens: usize, hidden: usize, delta: bool) -> Self {
        let rows = if delta { 4 } else { 2 };
        Self::once(named("rms_norm_forward", dtype), norm_bytes(dtype, tokens, hidden, rows))
    }

    /// `rms_norm_apply`.
    pub fn rms_norm_apply(dtype: DType, tokens: usize, hidden: usize) -> Self {
        Self::once(named("rms_norm_apply", dtype), norm_bytes(dtype, tokens, hidden, 2))
    }

    /// `rms_norm_backward`; `residual`: whether there is one to add.
    pub fn rms_norm_backward(dtype: DType, tokens: usize, hidden: usize, residual: bool) -> Self {
        let rows = if residual { 4 } else { 3 };
        Self::once(named("rms_norm_backward", dtype), norm_bytes(dtype, tokens, hidden, rows))
    }

    /// `swiglu_forward`.
    pub fn swiglu_forward(dtype: DType, tokens: usize, intermediate: usize) -> Self {
        Self::once(named("swiglu_forward", dtype), 3 * tokens * intermediate * size(dtype))
    }

    /// `swiglu_backward`.
    pub fn swiglu_backward(dtype: DType, tokens: usize, intermediate: usize) -> Self {
        Self::once(named("swiglu_backward", dtype), 5 * tokens * intermediate * size(dtype))
    }

    /// `rope_turn`; `half`: pairs of elements of a head that turn.
    pub fn rope_turn(dtype: DType, tokens: usize, width: usize, half: usize) -> Self {
        let x = tokens * width * size(dtype);
        Self::once(named("rope_turn", dtype), x + 2 * tokens * half * WORD).in_place(x)
    }

    /// `dropout_apply`.
    pub fn dropout_apply(dtype: DType, tokens: usize, columns: usize) -> Self {
        let bytes = 2 * tokens * columns * size(dtype) + 2 * tokens * WORD;
        Self { bound: Bound::Dropout, ..Self::once(named("dropout_apply", dtype), bytes) }
    }

    /// `dropout_add`.
    pub fn dropout_add(dtype: DType, tokens: usize, columns: usize) -> Self {
        let kernel = Self::dropout_apply(dtype, tokens, columns);
        let kernel = kernel.in_place(tokens * columns * size(dtype));
        Self { name: named("dropout_add", dtype), ..kernel }
    }

    /// `bias_add`.
    pub fn bias_add(dtype: DType, tokens: usize, out: usize) -> Self {
        let y = tokens * out * size(dtype);
        Self::once(named("bias_add", dtype), y + out * size(dtype)).in_place(y)
    }

    /// `rows_gather` of `count` rows out of `from`.
    pub fn rows_gather(dtype: DType, from: usize, count: usize, columns: usize) -> Self {
        let row = columns * size(dtype);
        let kernel = Self::once(named("rows_gather", dtype), (from + count) * row + count * WORD);
        Self { moved: 2 * count * row + count * WORD, ..kernel }
    }

    /// `rows_spread` of `listed` rows to `count`.
    pub fn rows_spread(dtype: DType, listed: usize, count: usize, columns: usize) -> Self {
        let bytes = (listed + count) * columns * size(dtype) + listed * WORD;
        Self::once(named("rows_spread", dtype), bytes)
    }

    /// The kernel of attention of that pass, whose pack has these `tiles`.
    pub fn attention(dtype: DType, pass: AttentionPass, heads: Heads, tiles: &Tiles) -> Self {
        let Heads { heads: queries, kv_heads, head_dim } = heads;
        let tokens = tiles.tokens;
        let query = tokens * queries * head_dim * size(dtype);
        let key = tokens * kv_heads * head_dim * size(dtype);
        let (row, mask) = (tokens * queries * WORD, 3 * tokens * WORD);
        let (name, bytes, products) = match pass {
            AttentionPass::Forward => ("forward", 2 * query + 2 * key + row + mask, 2),
            AttentionPass::Queries => ("dq", 3 * query + 2 * key + 2 * row + mask, 3),
            AttentionPass::Keys => ("dkdv", 2 * query + 4 * key + 2 * row + mask, 4),
        };
        let on_tensor_cores = dtype == DType::BF16 && matches!(head_dim, 64 | 128);
        let (body, bound, seen) = if on_tensor_cores {
            let seen =
                if pass == AttentionPass::Keys { tiles.narrow_scores() } else { tiles.scores() };
            (head_dim.to_string(), Bound::Tiles { pass, head_dim }, seen)
        } else {
            ("plain".to_owned(), Bound::Plain, tiles.visible)
        };
        let flop = (2 * products * head_dim * queries) as f64 * seen as f64;
        let name = named(&format!("attention_{name}_{body}"), dtype);
        Self { flop, bound, ..Self::once(name, bytes) }
    }

    /// `attention_delta`.
    pub fn attention_delta(dtype: DType, tokens: usize, heads: Heads) -> Self {
        let rows = tokens * heads.heads;
        let bytes = 2 * rows * heads.head_dim * size(dtype) + rows * WORD;
        Self::once(named("attention_delta", dtype), bytes)
    }

    /// `logps_forward` of `rows` of a chunk of `chunk`, of which the targets of `rest` rows are left; with a `gradient`, its slopes too,
    /// which in f32 overwrite the logits.
    pub fn logps_forward(
        dtype: DType,
        [rows, chunk, rest]: [usize; 3],
        vocab: usize,
        gradient: bool,
    ) -> Self {
        let slopes = |rows: usize| if gradient { rows * vocab * size(dtype) } else { 0 };
        let apart = if dtype == DType::F32 { 0 } else { slopes(chunk) };
        let again = if gradient { rows * vocab * WORD } else { 0 };
        Self {
            moved: rows * (vocab * WORD + 2 * WORD) + again + slopes(rows),
            ..Self::once(
                named("logps_forward", dtype),
                chunk * vocab * WORD + 2 * rest * WORD + apart,
            )
        }
    }

    /// `logps_backward`.
    pub fn logps_backward(dtype: DType, scored: usize, hidden: usize) -> Self {
        let bytes = 2 * scored * hidden * size(dtype) + scored * WORD;
        Self::once(named("logps_backward", dtype), bytes)
    }

    /// `kl_forward` of `rows` of a chunk of `chunk`, with `rest` rows left. It reads both logits three times, the first from memory.
    pub fn kl_forward([rows, chunk, rest]: [usize; 3], vocab: usize) -> Self {
        Self {
            moved: 2 * rows * vocab * WORD + rows * WORD,
            ..Self::once("kl_forward", 2 * chunk * vocab * WORD + rest * WORD)
        }
    }

    /// `decode_store` of one token of each of `sequences`.
    pub fn decode_store(dtype: DType, sequences: usize, heads: Heads, cache: usize) -> Self {
        let key = sequences * heads.kv_heads * heads.head_dim * size(dtype);
        let places = 2 * sequences * WORD;
        Self {
            moved: 4 * key + places,
            ..Self::once(named("decode_store", dtype), 2 * key + places + cache)
        }
    }

    /// `decode_forward` of one token of each of `sequences`, which see `context` tokens in all; `cache`: bytes of keys and values.
    pub fn decode_forward(
        dtype: DType,
        sequences: usize,
        context: usize,
        heads: Heads,
        cache: usize,
    ) -> Self {
        let query = sequences * heads.heads * heads.head_dim * size(dtype);
        let places = 2 * sequences * WORD;
        // The query heads of a group read the same keys.
        let seen = 2 * context * heads.kv_heads * heads.head_dim * size(dtype);
        Self {
            moved: 2 * query + places + seen,
            bound: Bound::Decode,
            ..Self::once(named("decode_forward", dtype), 2 * query + places + cache)
        }
    }

    /// `most_probable`.
    pub fn most_probable(dtype: DType, rows: usize, vocab: usize) -> Self {
        Self::once(named("most_probable", dtype), rows * vocab * size(dtype) + rows * WORD)
    }

    /// The three launches of the optimizer over tensors of these `elements`: sums of squares, norm, update.
    pub fn adamw(elements: &[usize]) -> [Self; 3] {
        let largest = elements.iter().copied().max().unwrap_or(0);
        let blocks = largest.div_ceil(4 * 256).min(2048);
        let (all, table) = (elements.iter().sum::<usize>(), 48 * elements.len());
        let sums = 8 * blocks * elements.len();
        let square = Self::once("adamw_square_sums", table + sums).in_place(4 * all);
        let update = Self::once("adamw_update", table + 8).in_place(28 * all);
        [square, Self::once("adamw_norm", sums + 8), update]
    }

    /// candle's conversion of `elements`.
    pub fn cast(from: DType, to: DType, elements: usize) -> Self {
        let name = format!("cast_{}_{}", from.as_str(), to.as_str());
        Self::once(name, elements * (size(from) + size(to)))
    }

    /// candle's sum of two f32 tensors.
    pub fn add_f32(elements: usize) -> Self {
        Self::once("badd_f32", 3 * elements * WORD)
    }

    /// candle's copy of one of three rows of u32 into one tensor, the one at `place`.
    pub fn stack(tokens: usize, place: usize) -> Self {
        let row = tokens * WORD;
        Self { moved: 2 * row, ..Self::once("copy2d_u32", row + (3 - place) * row) }
    }
}

fn size(dtype: DType) -> usize {
    dtype.size_in_bytes()
}

/// `[tokens, hidden]` this many times, the weight and a number a token.
fn norm_bytes(dtype: DType, tokens: usize, hidden: usize, times: usize) -> usize {
    (times * tokens + 1) * hidden * size(dtype) + tokens * WORD
}
