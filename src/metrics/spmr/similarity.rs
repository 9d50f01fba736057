//! The distribution of a set's cosines: share, mean, quantiles and histogram.

use serde::{Deserialize, Serialize};

use crate::metrics::bootstrap;
use crate::metrics::figure::Figure;

/// Bins of a histogram of cosines, which covers -1..=1.
const BINS: usize = 40;

/// How near answers are to the preferred ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Similarity {
    /// Share of cosines above the threshold; a tie is a cosine that equals it.
    pub spmr: Figure,
    /// Mean cosine.
    pub cosine_mean: Figure,
    /// The cosines at some shares of the sorted list.
    pub quantiles: Quantiles,
    /// How many cosines lie where.
    pub histogram: Histogram,
}

/// Cosines of the sorted list, interpolated linearly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The smallest.
    pub min: f64,
    /// A twentieth lies below.
    pub p05: f64,
    /// A quarter lies below.
    pub p25: f64,
    /// Half lies below.
    pub median: f64,
    /// A quarter lies above.
    pub p75: f64,
    /// A twentieth lies above.
    pub p95: f64,
    /// The largest.
    pub max: f64,
}

/// Counts of bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Lower end of the first bin.
    pub low: f64,
    /// Width of a bin; a cosine on an edge lies in the bin above it, 1 in the last.
    pub width: f64,
    /// Cosines in each bin.
    pub counts: Vec<usize>,
}

pub(super) fn quantiles(sorted: &[f64]) -> Quantiles {
    let at = |share| bootstrap::percentile(sorted, share);
    Quantiles {
        min: at(0.0),
        p05: at(0.05),
        p25: at(0.25),
        median: at(0.5),
        p75: at(0.75),
        p95: at(0.95),
        max: at(1.0),
    }
}

pub(super) fn histogram(cosines: &[f64]) -> Histogram {
    let per_unit = BINS as f64 / 2.0;
    let mut counts = vec![0; BINS];
    for cosine in cosines {
        counts[(((cosine + 1.0) * per_unit).floor().max(0.0) as usize).min(BINS - 1)] += 1;
    }
    Histogram { low: -1.0, width: 1.0 / per_unit, counts }
}
