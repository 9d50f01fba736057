//! What several ranks would bring: the largest share of a step, and the time in which its gradients are summed.

use crate::config::RunConfig;
use crate::console::units;
use crate::parallel::shares;
use crate::session::inputs::Inputs;
use crate::train::plan::Plan;

/// Bandwidths between two ranks for which the time is given, GB/s.
const WIRES: [(&str, f64); 3] =
    [("10 Gb/s Ethernet", 1.25), ("host memory or 40 Gb/s", 5.0), ("100 Gb/s", 12.5)];
/// Steps that the largest share is taken from.
const STEPS: usize = 200;

/// A step on several ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scaling {
    /// How many.
    pub ranks: usize,
    /// Pairs of a step.
    pub pairs: usize,
    /// The parts that a step's pairs are cut into, each computed by one rank.
    pub leaves: usize,
    /// The tokens of the largest share, as a part of all of the step's, in `0..=1`.
    pub largest: f64,
    /// Bytes of the gradients.
    pub gradients: f64,
}

impl Scaling {
    /// That of the run `config`; `trained`: parameters of its adapter.
    pub(super) fn new(config: &RunConfig, inputs: &Inputs, trained: usize, ranks: usize) -> Self {
        let plan = Plan::new(inputs.visits.pairs.clone(), &config.data, &config.train);
        let leaves = match config.train.gradient_shards {
            0 => ranks,
            shards => shards,
        };
        let (mut largest, mut all) = (0, 0);
        for (_, step) in plan.steps_from(0).take(STEPS) {
            let lengths: Vec<usize> =
                step.pairs.iter().map(|&i| inputs.train[i].tokens()).collect();
            let leaves_tokens: Vec<usize> = shares::balanced(&lengths, leaves)
                .iter()
                .map(|leaf| leaf.iter().map(|&place| lengths[place]).sum())
                .collect();
            let of_rank = |rank| leaves_tokens[shares::of_rank(leaves, ranks, rank)].iter().sum();
            largest += (0..ranks).map(of_rank).max().unwrap_or(0_usize);
            all += lengths.iter().sum::<usize>();
        }
        let largest = if all == 0 { 1.0 } else { largest as f64 / all as f64 };
        let pairs = config.train.pairs_a_step().min(inputs.visits.pairs.len());
        Self { ranks, pairs, leaves, largest, gradients: 4.0 * trained as f64 }
    }

    /// Seconds in which the gradients of a step are summed at `bandwidth` bytes per second: slices there and sums back, as in a ring.
    pub(super) fn exchange_s(&self, bandwidth: f64) -> f64 {
        2.0 * (self.ranks - 1) as f64 / self.ranks as f64 * self.gradients / bandwidth
    }

    /// How many times faster a step is that takes `step_s` seconds on one rank.
    pub(super) fn speedup(&self, step_s: f64, bandwidth: f64) -> f64 {
        step_s / (step_s * self.largest + self.exchange_s(bandwidth))
    }

    /// The lines of the plan. `step_s`: seconds of a step on one rank, none where the rate is unknown.
    pub(super) fn text(&self, step_s: Option<f64>) -> String {
        let Self { ranks, pairs, leaves, largest, gradients } = self;
        let mut text = format!(
            "ranks:       {ranks} for the {} of a step; the largest share has {:.1} % of its tokens. Each sends {} a step",
            units::counted(*pairs, "pair"),
            100.0 * largest,
            units::bytes(2.0 * (ranks - 1) as f64 / *ranks as f64 * gradients)
        );
        for (wire, gigabytes) in WIRES {
            let bandwidth = gigabytes * 1e9;
            let exchange = self.exchange_s(bandwidth) * 1e3;
            text += &match step_s {
                None => format!("; {exchange:.0} ms by {wire}"),
                Some(step_s) => {
                    let speedup = self.speedup(step_s, bandwidth);
                    let efficiency = 100.0 * speedup / *ranks as f64;
                    format!(
                        "; by {wire} in {exchange:.0} ms: {speedup:.1} times the speed of one, {efficiency:.0} % efficiency"
                    )
                }
            };
        }
        let busy = pairs.min(leaves);
        if busy < ranks {
            let idle = if ranks - busy == 1 {
                "1 rank has".to_owned()
            } else {
                format!("{} ranks have", ranks - busy)
            };
            let raised = match (leaves < ranks, pairs < ranks) {
                (true, true) => "`train.gradient_shards` and `train.total_batch_size`",
                (true, false) => "`train.gradient_shards`",
                (false, _) => "`train.total_batch_size`",
            };
            text += &format!(
                ". {idle} no pair: raise {raised}, or give each seed or configuration a job of its own (docs/clusters.md)"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_of_several_ranks_is_that_of_the_largest_share_and_the_wire() {
        let scaling = Scaling { ranks: 8, pairs: 8, leaves: 8, largest: 0.16, gradients: 32e6 };
        assert!((scaling.exchange_s(1.25e9) - 1.75 * 32e6 / 1.25e9).abs() < 1e-12);
        let speedup = scaling.speedup(0.2, 1.25e9);
        assert!((speedup - 0.2 / (0.032 + 0.0448)).abs() < 1e-9, "{speedup}");
        let text = scaling.text(Some(0.2));
        assert!(
            text.contains(
                "8 for the 8 pairs of a step; the largest share has 16.0 % of its tokens"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "by 10 Gb/s Ethernet in 45 ms: 2.6 times the speed of one, 33 % efficiency"
            ),
            "{text}"
        );
        for (ranks, pairs, leaves, idle) in [
            (64, 8, 64, "56 ranks have no pair: raise `train.total_batch_size`,"),
            (
                64,
                8,
                2,
                "62 ranks have no pair: raise `train.gradient_shards` and `train.total_batch_size`,",
            ),
            (4, 8, 3, "1 rank has no pair: raise `train.gradient_shards`,"),
        ] {
            let more = Scaling { ranks, pairs, leaves, ..scaling }.text(None);
            assert!(more.contains(idle), "{more}");
        }
        assert!(!text.contains("no pair"), "{text}");
    }
}
