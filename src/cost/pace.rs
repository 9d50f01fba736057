//! The time that a launch or a product is predicted to take on a card: bytes over bandwidth or operations over a rate, whichever is longer.

use candle_core::DType;

use super::assumptions::*;
use super::kernel::{AttentionPass, Bound, Kernel};
use super::launches::Work;
use super::product::Product;
use crate::machine::card::Card;

/// A card with the share of its published rate that large products sustain on it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    card: &'static Card,
    share: f64,
}

/// Microseconds of `count` at `tera` 10^12 a second.
fn us(count: f64, tera: f64) -> f64 {
    count / tera / 1e6
}

/// The part of its time in which a product's blocks do what it asks for, on `sms` processors: they compute whole tiles in whole waves.
fn efficiency([rows, columns]: [usize; 2], sms: usize) -> f64 {
    let wanted = (rows * columns) as f64;
    let of_tile = |&(height, width, reached): &(usize, usize, f64)| {
        let tiles = rows.div_ceil(height) * columns.div_ceil(width);
        let computed = tiles.div_ceil(sms) * sms * height * width;
        reached * wanted / computed.max(1) as f64
    };
    OUTPUT_TILES.iter().map(of_tile).fold(0.0, f64::max)
}

impl Pace {
    /// The card at the clocks that it sustains within its power limit, as far as the limit does not bind.
    pub fn sustained(card: &'static Card) -> Self {
        Self { card, share: PRODUCT_SHARE }
    }

    /// The card at the clocks that its power limit leaves it.
    pub fn limited(card: &'static Card) -> Self {
        Self { card, share: LIMITED_PRODUCT_SHARE }
    }

    /// The card.
    pub fn card(&self) -> &'static Card {
        self.card
    }

    /// The rate of a large product of `dtype`, in TFLOP/s.
    pub fn product_tflops(&self, dtype: DType) -> f64 {
        match dtype {
            DType::BF16 => self.share * self.card.bf16_tflops,
            _ => F32_PRODUCT_SHARE * self.card.f32_tflops,
        }
    }

    /// Bandwidth of a kernel over whole tensors, in TB/s.
    pub fn bandwidth_tb_s(&self) -> f64 {
        BANDWIDTH_SHARE * self.card.bandwidth_gb_s / 1e3
    }

    /// One product, in microseconds.
    pub fn product_us(&self, product: &Product) -> f64 {
        let Product { rows, columns, inner, over_tokens, adds, .. } = *product;
        let (rate, bandwidth) = (self.product_tflops(product.factors), self.bandwidth_tb_s());
        let moved = product.moved() as f64;
        if rows.min(columns).min(inner) < NARROW_PRODUCT {
            let share = if over_tokens {
                OVER_TOKENS
            } else if rows < NARROW_PRODUCT {
                FEW_ROWS
            } else if columns < NARROW_PRODUCT {
                FEW_COLUMNS
            } else if adds {
                SHORT_INNER_ADDED
            } else {
                SHORT_INNER
            };
            let split = if over_tokens { SPLIT_US } else { 0.0 };
            return us(moved, share * bandwidth).max(us(product.flop(), rate)) + PRODUCT_US + split;
        }
        let [reference_rows, reference_columns, _] = REFERENCE_PRODUCT;
        let best = rate / efficiency([reference_rows, reference_columns], self.card.sms);
        let computed = us(product.flop(), best * efficiency([rows, columns], self.card.sms));
        let read = if adds { us(product.out_bytes() as f64, bandwidth) } else { 0.0 };
        (computed + read).max(us(moved, bandwidth)) + PRODUCT_US
    }

    /// One launch of a kernel, in microseconds.
    pub fn kernel_us(&self, kernel: &Kernel) -> f64 {
        let memory = |share: f64| us(kernel.moved as f64, share * self.bandwidth_tb_s());
        match kernel.bound {
            Bound::Memory => memory(1.0) + KERNEL_US,
            Bound::Dropout => memory(DROPOUT) + KERNEL_US,
            Bound::Decode => memory(DECODE) + KERNEL_US,
            Bound::Tiles { pass, head_dim } => {
                let computed = us(kernel.flop, self.attention_tflops(pass, head_dim));
                computed.max(memory(1.0)) + ATTENTION_US
            }
            Bound::Plain => {
                let computed = us(kernel.flop, PLAIN_ATTENTION_SHARE * self.card.f32_tflops);
                computed.max(memory(1.0)) + ATTENTION_US
            }
        }
    }

    /// A launch or a product, in microseconds.
    pub fn work_us(&self, work: &Work) -> f64 {
        match work {
            Work::Kernel(kernel) => self.kernel_us(kernel),
            Work::Product(product) => self.product_us(product),
        }
    }

    /// The rate of a kernel of attention on the tensor cores, of its tiles, in TFLOP/s.
    fn attention_tflops(&self, pass: AttentionPass, head_dim: usize) -> f64 {
        let Card { capability, sms, bf16_tflops, .. } = *self.card;
        let mma = if matches!(capability, 90 | 100) { MMA_SHARE } else { 1.0 };
        let bound = (ATTENTION_TFLOPS_A_PROCESSOR * sms as f64).min(mma * bf16_tflops);
        let [forward, backward] = ATTENTION_SHARES;
        let share = if pass == AttentionPass::Forward { forward } else { backward };
        // Registers and shared memory of one block leave no room for another.
        let alone = head_dim == 128
            && match capability {
                90 | 100 => false,
                80 => pass == AttentionPass::Queries,
                _ => true,
            };
        bound * share * if alone { ONE_BLOCK } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::card::{CARDS, named};

    #[test]
    fn the_reference_product_takes_its_share_of_the_published_rate_on_every_card() {
        let [rows, columns, inner] = REFERENCE_PRODUCT;
        let product = Product::forward(DType::BF16, rows, columns, inner);
        for card in CARDS {
            let time = Pace::sustained(card).product_us(&product) - PRODUCT_US;
            let share = product.flop() / time / 1e6 / card.bf16_tflops;
            assert!((share / PRODUCT_SHARE - 1.0).abs() < 1e-9, "{}: {share}", card.name);
        }
    }

    #[test]
    fn a_product_of_more_than_whole_waves_pays_for_the_next() {
        let of = |rows| efficiency([rows, 4096], 132);
        // 33 x 16 tiles are four waves of 132.
        assert!((of(4224) - 1.0).abs() < 1e-12, "{}", of(4224));
        assert!((of(3520) - 0.862).abs() < 1e-3, "{}", of(3520));
        assert!(of(4225) < 0.95, "{}", of(4225));
    }

    #[test]
    fn every_time_is_finite_and_grows_with_the_size() {
        for card in CARDS {
            for pace in [Pace::sustained(card), Pace::limited(card)] {
                for dtype in [DType::BF16, DType::F32] {
                    for size in [1, 16, 100, 128, 700, 4096] {
                        let less = pace.product_us(&Product::forward(dtype, size, size, size));
                        let more =
                            pace.product_us(&Product::forward(dtype, 2 * size, 2 * size, 2 * size));
                        assert!(less.is_finite() && less > 0.0 && more > less, "{size}");
                    }
                }
            }
        }
    }

    #[test]
    fn attention_has_half_its_rate_where_a_block_is_alone_on_a_processor() {
        let rate =
            |name, pass, dim| Pace::sustained(named(name).unwrap()).attention_tflops(pass, dim);
        use AttentionPass::{Forward, Keys, Queries};
        assert!((rate("h100", Forward, 128) - 200.0).abs() < 0.1);
        assert!((rate("h200", Keys, 128) - 160.0).abs() < 0.1);
        let [keys, queries] = [Keys, Queries].map(|pass| rate("a100-80", pass, 128));
        assert!((queries / keys - 0.5).abs() < 1e-9);
        let [wide, narrow] = [128, 64].map(|dim| rate("4090", Forward, dim));
        assert!((wide / narrow - 0.5).abs() < 1e-9);
    }
}
