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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_on_an_edge_lies_in_the_bin_above_and_one_in_the_last() {
        let Histogram { counts, .. } = histogram(&[-1.0, -0.98, 0.0, 0.5, 1.0, 1.0 + 1e-9, -1.1]);
        let filled: Vec<_> = counts.iter().enumerate().filter(|(_, count)| **count > 0).collect();
        assert_eq!(counts.len(), 40);
        assert_eq!(filled, [(0, &3), (20, &1), (30, &1), (39, &2)]);
    }

    #[test]
    fn the_quantiles_are_those_of_their_names() {
        let sorted: Vec<f64> = (0..=20).map(|i| f64::from(i) / 20.0).collect();
        let Quantiles { min, p05, p25, median, p75, p95, max } = quantiles(&sorted);
        let got = [min, p05, p25, median, p75, p95, max];
        let want = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0];
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() <= 1e-12), "{got:?}");
    }
}
