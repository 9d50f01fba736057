//! Launches in groups, the rows of the table.

use super::kernel::Kernel;
use super::product::Product;

/// What a launch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Products with frozen weights of the layers.
    Base,
    /// Products with A, B and for their gradients.
    Adapter,
    /// Masks on the adapter's inputs and their gradients.
    Dropout,
    /// The feed-forward product of gate and up.
    Swiglu,
    /// Norms and the residual stream.
    RmsNorm,
    /// Rotary positions.
    Rope,
    /// Biases of the frozen layers.
    Bias,
    /// Attention, or that of a step of decoding with its cache.
    Attention,
    /// The output layer, log-probabilities, divergences and choices.
    Head,
    /// Rows by index, conversions, sums of micro-batches.
    Moves,
    /// Norm of the gradients and AdamW.
    Optimizer,
}

impl Group {
    /// All of them, in the table's order.
    pub const ALL: [Self; 11] = [
        Self::Base,
        Self::Adapter,
        Self::Dropout,
        Self::Swiglu,
        Self::RmsNorm,
        Self::Rope,
        Self::Bias,
        Self::Attention,
        Self::Head,
        Self::Moves,
        Self::Optimizer,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "products of the base",
            Self::Adapter => "products of the adapter",
            Self::Dropout => "dropout",
            Self::Swiglu => "swiglu",
            Self::RmsNorm => "rms_norm",
            Self::Rope => "rope",
            Self::Bias => "bias",
            Self::Attention => "attention",
            Self::Head => "head, log-probabilities",
            Self::Moves => "rows, casts, sums",
            Self::Optimizer => "optimizer",
        }
    }
}

/// What is launched.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// One of the kernels.
    Kernel(Kernel),
    /// One of cuBLAS's products.
    Product(Product),
}

impl From<Kernel> for Work {
    fn from(kernel: Kernel) -> Self {
        Self::Kernel(kernel)
    }
}

impl From<Product> for Work {
    fn from(product: Product) -> Self {
        Self::Product(product)
    }
}

/// The same work several times.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// What it is for.
    pub group: Group,
    /// What it is.
    pub work: Work,
    /// How many.
    pub count: usize,
}

/// All work of some passes, without an order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Launches {
    /// Kernels and products.
    pub all: Vec<Launch>,
    /// Copies from the host.
    pub copies: usize,
    /// Bytes of these copies.
    pub copied: usize,
    /// How often the GPU idles until the host has computed something of its results.
    pub waits: usize,
}

impl Launches {
    /// Adds one launch.
    pub fn add(&mut self, group: Group, work: impl Into<Work>) {
        self.all.push(Launch { group, work: work.into(), count: 1 });
    }

    /// Adds a copy from the host.
    pub fn copy(&mut self, bytes: usize) {
        self.copies += 1;
        self.copied += bytes;
    }

    /// Adds all of `other`, `times` over.
    pub fn extend(&mut self, other: &Self, times: usize) {
        self.all
            .extend(other.all.iter().map(|one| Launch { count: one.count * times, ..one.clone() }));
        self.copies += other.copies * times;
        self.copied += other.copied * times;
        self.waits += other.waits * times;
    }
}
