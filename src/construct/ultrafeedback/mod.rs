//! UltraFeedback -> UF-P-4: four files of preference pairs, one for each of the attributes that its answers are rated by.
//!
//! UltraFeedback: Cui et al. 2023, `openbmb/UltraFeedback`. UF-P-4: Poddar et al. 2024, four people who each care for one attribute.
//! The files are read twice, one record at a time: the first pass decides which pairs are kept, the second writes them.
//!
//! A [`record`] has completions with ratings; [`pairs`] pairs two of them and says which one each attribute prefers; [`plan`] counts the
//! pairs and chooses those that are kept; [`build`] writes them with a manifest.

pub mod build;
pub mod pairs;
pub mod plan;
pub mod record;
