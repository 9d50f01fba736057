//! The pairs of each optimizer step and their weights. They follow from the configuration alone, so a resumed run
//! visits the same pairs as an uninterrupted one.

use crate::config::{DataSection, TrainSection};
use crate::ops::philox::Philox;

/// The steps of a whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pairs: usize,
    batch: usize,
    accumulation: usize,
    seed: u64,
    shuffle: bool,
    steps: usize,
}

/// One optimizer step.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStep {
    /// Indices of its pairs, in the order of computation.
    pub pairs: Vec<usize>,
    /// Weight of each pair in the step's loss; they sum to 1.
    pub weights: Vec<f64>,
    /// Epochs done after this step, a fraction counted in batches (TRL's `epoch`).
    pub epoch: f64,
}

impl Plan {
    /// The plan of a run over `pairs` training pairs.
    pub fn new(pairs: usize, data: &DataSection, train: &TrainSection) -> Self {
        let (batch, accumulation) =
            (train.per_device_batch_size, train.gradient_accumulation_steps);
        let steps = train.epochs * pairs.div_ceil(batch).div_ceil(accumulation);
        let steps = if train.max_steps > 0 { steps.min(train.max_steps) } else { steps };
        Self { pairs, batch, accumulation, seed: train.seed, shuffle: data.shuffle, steps }
    }

    /// Optimizer steps of the run.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Batches of an epoch.
    fn batches(&self) -> usize {
        self.pairs.div_ceil(self.batch)
    }

    /// Optimizer steps of an epoch.
    fn steps_per_epoch(&self) -> usize {
        self.batches().div_ceil(self.accumulation)
    }

    /// The order in which an epoch visits the pairs.
    fn order(&self, epoch: usize) -> Vec<usize> {
        if self.shuffle {
            Philox::new(self.seed, epoch as u64).permutation(self.pairs)
        } else {
            (0..self.pairs).collect()
        }
    }

    /// Step `step` of the run, from 0.
    ///
    /// A step takes `accumulation` batches, fewer at the end of an epoch: no step crosses epochs. Its loss is the mean
    /// over batches of each batch's mean over pairs, as in TRL and transformers.
    pub fn step(&self, step: usize) -> PlannedStep {
        let (epoch, within) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        self.step_of(&self.order(epoch), epoch, within)
    }

    /// Steps `from..self.steps()` with their numbers. Draws the order of each epoch once.
    pub fn steps_from(&self, from: usize) -> impl Iterator<Item = (usize, PlannedStep)> {
        let mut drawn: Option<(usize, Vec<usize>)> = None;
        (from..self.steps).map(move |step| {
            let (epoch, within) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
            if drawn.as_ref().is_none_or(|(of, _)| *of != epoch) {
                drawn = Some((epoch, self.order(epoch)));
            }
            let order = drawn.as_ref().map_or(&[][..], |(_, order)| order);
            (step, self.step_of(order, epoch, within))
        })
    }

    fn step_of(&self, order: &[usize], epoch: usize, within: usize) -> PlannedStep {
        let size = self.batch * self.accumulation;
        let pairs = order[within * size..self.pairs.min((within + 1) * size)].to_vec();
        let batches = pairs.len().div_ceil(self.batch);
        let weights = pairs
            .chunks(self.batch)
            .flat_map(|batch| {
                std::iter::repeat_n(1.0 / (batches * batch.len()) as f64, batch.len())
            })
            .collect();
        let done = (within * self.accumulation + batches) as f64 / self.batches() as f64;
        PlannedStep { pairs, weights, epoch: epoch as f64 + done }
    }

    /// Epochs done after `steps` steps.
    pub fn epochs_after(&self, steps: usize) -> f64 {
        steps.checked_sub(1).map_or(0.0, |last| self.step(last).epoch)
    }

    /// Indices of the pairs that the run visits, ascending.
    pub fn visited(&self) -> Vec<usize> {
        if self.steps >= self.steps_per_epoch() {
            return (0..self.pairs).collect();
        }
        let mut visited: Vec<usize> = self.steps_from(0).flat_map(|(_, step)| step.pairs).collect();
        visited.sort_unstable();
        visited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pairs: usize, shuffle: bool, max_steps: usize) -> Plan {
        let train = TrainSection {
            per_device_batch_size: 2,
            gradient_accumulation_steps: 4,
            epochs: 3,
            max_steps,
            ..TrainSection::default()
        };
        Plan::new(pairs, &DataSection { shuffle, ..DataSection::default() }, &train)
    }

    #[test]
    fn thirteen_pairs_make_two_steps_an_epoch_with_the_weights_of_their_batches() {
        let plan = plan(13, false, 0);
        assert_eq!(plan.steps(), 6);
        let (first, last) = (plan.step(0), plan.step(1));
        assert_eq!((first.pairs, first.weights), ((0..8).collect(), vec![0.125; 8]));
        assert_eq!(last.pairs, [8, 9, 10, 11, 12]);
        let sixth = 1.0 / 6.0;
        assert_eq!(last.weights, [sixth, sixth, sixth, sixth, 1.0 / 3.0]);
        assert!((first.epoch - 4.0 / 7.0).abs() <= 1e-15 && (last.epoch - 1.0).abs() <= 1e-15);
    }

    #[test]
    fn each_epoch_visits_every_pair_once_in_its_own_order() {
        let plan = plan(13, true, 0);
        let epochs: Vec<Vec<usize>> = (0..3)
            .map(|epoch| [plan.step(2 * epoch).pairs, plan.step(2 * epoch + 1).pairs].concat())
            .collect();
        assert_ne!(epochs[0], epochs[1]);
        for mut epoch in epochs {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..13).collect::<Vec<_>>());
        }
    }

    #[test]
    fn resuming_in_the_middle_gives_the_same_steps() {
        let plan = plan(29, true, 0);
        let all: Vec<_> = plan.steps_from(0).collect();
        for from in 0..plan.steps() {
            assert!(plan.steps_from(from).eq(all[from..].iter().cloned()));
            assert_eq!(plan.step(from), all[from].1);
        }
    }

    #[test]
    fn a_short_run_visits_only_its_own_pairs() {
        let visited = plan(100, true, 1).visited();
        assert!(visited.len() == 8 && visited.is_sorted(), "{visited:?}");
        assert_eq!(plan(13, true, 0).visited(), (0..13).collect::<Vec<_>>());
    }

    #[test]
    fn epochs_after_some_steps_are_those_of_the_last_step_and_zero_at_the_start() {
        let plan = plan(13, true, 0);
        let sevenths = [0.0, 4.0, 7.0, 11.0, 14.0, 18.0, 21.0];
        for (steps, sevenths) in sevenths.into_iter().enumerate() {
            let (got, want) = (plan.epochs_after(steps), sevenths / 7.0);
            assert!((got - want).abs() <= 1e-15, "after {steps} steps: {got} {want}");
        }
    }
}
