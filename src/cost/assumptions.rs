//! The numbers behind a predicted time that no data sheet has. None was measured on a card by this program.
//!
//! They are round figures for this program's kernels, from their instructions, registers and bytes, and from what cuBLAS is known to
//! reach. `mvpbench doctor` on a card says which of them are off.

/// Share of the published bf16 rate that a large product sustains, at the shape of [`REFERENCE_PRODUCT`].
pub const PRODUCT_SHARE: f64 = 0.80;

/// The same under a power limit: what 700 W leave of it on random numbers.
pub const LIMITED_PRODUCT_SHARE: f64 = 0.69;

/// Share of the published f32 rate of the vector units that a large f32 product sustains.
pub const F32_PRODUCT_SHARE: f64 = 0.80;

/// Rows, columns and inner dimension of the product that a share is told for: `gate_proj` of a 7B on a full micro-batch.
pub const REFERENCE_PRODUCT: [usize; 3] = [4096, 11_008, 4096];

/// Tiles of the output that a block computes, and what a tile reaches of the best. The best of them in whole waves is taken.
pub const OUTPUT_TILES: [(usize, usize, f64); 4] =
    [(128, 256, 1.0), (256, 128, 1.0), (128, 192, 0.97), (128, 128, 0.90)];

/// A product with a dimension below this is bound by memory: its tiles are mostly empty.
pub const NARROW_PRODUCT: usize = 128;

/// Start and end of a product.
pub const PRODUCT_US: f64 = 3.0;

/// Share of the published bandwidth that a kernel over whole tensors reaches.
pub const BANDWIDTH_SHARE: f64 = 0.9;

/// Start and end of such a kernel.
pub const KERNEL_US: f64 = 2.0;

/// Of [`BANDWIDTH_SHARE`], in a product whose right factor has few rows: `A dropout(x)`, `dy B`.
pub const FEW_COLUMNS: f64 = 0.55;

/// Of [`BANDWIDTH_SHARE`], in a product of few rows: a step of decoding, which reads each weight once.
pub const FEW_ROWS: f64 = 0.97;

/// Of [`BANDWIDTH_SHARE`], in a product with a short inner dimension: `dinner A`.
pub const SHORT_INNER: f64 = 0.70;

/// The same where it adds to its output: `y += inner B^T`.
pub const SHORT_INNER_ADDED: f64 = 0.75;

/// Of [`BANDWIDTH_SHARE`], in the gradients of A and B, whose inner dimension is the tokens and is split over the processors.
pub const OVER_TOKENS: f64 = 0.45;

/// The sum of the parts of such a product.
pub const SPLIT_US: f64 = 2.0;

/// Of [`BANDWIDTH_SHARE`], in dropout, whose words take as many instructions as its bytes take time.
pub const DROPOUT: f64 = 0.83;

/// Of [`BANDWIDTH_SHARE`], in the attention of a step of decoding, which reads keys and values by 4 bytes.
pub const DECODE: f64 = 0.72;

/// TFLOP/s of a processor on tiles of attention that shared memory's bandwidth allows: 16 rows a warp.
pub const ATTENTION_TFLOPS_A_PROCESSOR: f64 = 3.03;

/// Share of the published rate that `mma` reaches where the published rate is that of `wgmma` or its successor: from capability 9.0 on,
/// except 12.0.
pub const MMA_SHARE: f64 = 0.61;

/// Share of these two bounds that the forward and the backward kernels reach, with two blocks a processor.
pub const ATTENTION_SHARES: [f64; 2] = [0.5, 0.4];

/// Of [`ATTENTION_SHARES`], where one block fits a processor and nothing hides its waits.
pub const ONE_BLOCK: f64 = 0.5;

/// Start and end of a kernel of attention.
pub const ATTENTION_US: f64 = 4.0;

/// Share of the published f32 rate that the plain kernels of attention reach: f32, and heads of other sizes than 64 and 128.
pub const PLAIN_ATTENTION_SHARE: f64 = 0.1;

/// Between a launch and the next, which reads what it wrote.
pub const GAP_US: f64 = 1.2;

/// The host's work for a launch. A step takes at least that of all its launches.
pub const HOST_US: f64 = 6.5;

/// The GPU idles while the host makes loss and slopes of a micro-batch's log-probabilities.
pub const WAIT_US: f64 = 120.0;
