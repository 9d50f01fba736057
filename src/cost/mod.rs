//! Model, adapter, dtype and pack in; every launch and product of a step on a GPU out, and the time that a card is predicted to take.
//!
//! The counts are this program's own: [`step`] and [`generation`] follow the code launch by launch, and a run on the emulated card is
//! held to them exactly (`tests/it/gpu/costs.rs`), so that a launch added elsewhere is missed here. The times are a model's, made of the
//! numbers in [`assumptions`]; no card has been timed for them.
//!
//! One product or one kernel alone, for what measures them beside their prediction:
//!
//! ```
//! # use candle_core::DType;
//! # use mvpbench::{cost::{kernel::Kernel, pace::Pace, product::Product}, machine::card};
//! let pace = Pace::sustained(card::named("h100")?);
//! let microseconds = pace.product_us(&Product::forward(DType::BF16, 3520, 4096, 4096));
//! assert!((150.0..200.0).contains(&microseconds));
//! let microseconds = pace.kernel_us(&Kernel::swiglu_forward(DType::BF16, 3520, 11_008));
//! assert!((70.0..90.0).contains(&microseconds));
//! # Ok::<(), mvpbench::error::InputError>(())
//! ```

pub mod assumptions;
pub mod generation;
pub mod kernel;
pub mod launches;
mod layer;
pub mod pace;
pub mod product;
pub mod spent;
pub mod step;
pub mod tiles;
