//! The pairs of each optimizer step and their weights. They follow from the configuration alone, so a resumed run
//! visits the same pairs as an uninterrupted one.

use std::ops::Range;

use crate::config::{DataSection, LeftoverBatches, TrainSection};
use crate::train::order::Orders;

/// The steps of a whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The pairs that an epoch visits, each as often as it does; an order is one of these places.
    visits: Vec<usize>,
    batch: usize,
    accumulation: usize,
    leftover: LeftoverBatches,
    /// The orders of the epochs, none of them drawn yet.
    orders: Orders,
    steps: usize,
}

/// One optimizer step.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStep {
    /// Indices of its pairs, in the order of computation. A step that crosses epochs may hold one twice, and so may one of a source with a weight
    /// above 1.
    pub pairs: Vec<usize>,
    /// Weight of each pair in the step's loss; they sum to `share`.
    pub weights: Vec<f64>,
    /// 1; with `leftover_batches = "carry"` the batches of the step as a share of the accumulation.
    pub share: f64,
    /// Epochs done after this step, a fraction counted in batches (TRL's `epoch`).
    pub epoch: f64,
}

impl Plan {
    /// The plan of a run whose epochs visit the pairs `visits`, indices of the training pairs.
    pub fn new(visits: Vec<usize>, data: &DataSection, train: &TrainSection) -> Self {
        let (batch, accumulation) = (train.per_device_batch_size, train.batches_a_step());
        let leftover = train.leftover_batches;
        let orders = Orders::new(visits.len(), data, train.seed);
        let mut plan = Self { visits, batch, accumulation, leftover, orders, steps: 0 };
        let passes = |steps: usize| (train.epochs * steps as f64).ceil() as usize;
        let steps = match leftover {
            _ if plan.visits.is_empty() => 0,
            LeftoverBatches::Step => passes(plan.batches().div_ceil(accumulation)),
            LeftoverBatches::Carry => passes((plan.batches() / accumulation).max(1)),
        };
        plan.steps = if train.max_steps > 0 { steps.min(train.max_steps) } else { steps };
        plan
    }

    /// Optimizer steps of the run.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Batches of an epoch.
    fn batches(&self) -> usize {
        self.visits.len().div_ceil(self.batch)
    }

    /// Batches of the run before step `step`, counted through the epochs.
    fn batches_before(&self, step: usize) -> usize {
        let (batches, accumulation) = (self.batches(), self.accumulation);
        match self.leftover {
            LeftoverBatches::Step => {
                let steps_per_epoch = batches.div_ceil(accumulation).max(1);
                let (epoch, within) = (step / steps_per_epoch, step % steps_per_epoch);
                epoch * batches + within * accumulation
            }
            LeftoverBatches::Carry if batches > accumulation => step * accumulation,
            // A step ends where the count of batches is a multiple of the accumulation, and at the end of each epoch.
            LeftoverBatches::Carry => {
                let both = batches * accumulation / greatest_common_divisor(batches, accumulation);
                let ended = |done: usize| done / accumulation + done / batches - done / both;
                let (mut least, mut most) = (0, step * batches);
                while least < most {
                    let done = least.midpoint(most);
                    (least, most) =
                        if ended(done) < step { (done + 1, most) } else { (least, done) };
                }
                least
            }
        }
    }

    /// The batches of step `step`, counted through the epochs.
    fn batches_of(&self, step: usize) -> Range<usize> {
        let (from, next) = (self.batches_before(step), self.batches_before(step + 1));
        from..next
    }

    /// Step `step` of the run, from 0.
    ///
    /// A step takes `accumulation` batches. At the end of an epoch it takes fewer, or with `leftover_batches = "carry"` those of the next
    /// epoch too. Its loss is the mean over batches of each batch's mean over pairs, as in TRL and transformers; carried, it is
    /// the sum of these means divided by `accumulation`, however many there are.
    pub fn step(&self, step: usize) -> PlannedStep {
        self.step_of(&mut self.orders.clone(), step)
    }

    /// Steps `from..self.steps()` with their numbers. Draws the order of each epoch once.
    pub fn steps_from(&self, from: usize) -> impl Iterator<Item = (usize, PlannedStep)> {
        let mut orders = self.orders.clone();
        (from..self.steps).map(move |step| (step, self.step_of(&mut orders, step)))
    }

    fn step_of(&self, orders: &mut Orders, step: usize) -> PlannedStep {
        let of_step = self.batches_of(step);
        let divisor = match self.leftover {
            LeftoverBatches::Step => of_step.len(),
            LeftoverBatches::Carry => self.accumulation,
        };
        let (mut pairs, mut weights) = (Vec::new(), Vec::new());
        for batch in of_step.clone() {
            let (epoch, within) = (batch / self.batches(), batch % self.batches());
            let from = within * self.batch;
            let members = &orders.of(epoch)[from..self.visits.len().min(from + self.batch)];
            weights
                .extend(std::iter::repeat_n(1.0 / (divisor * members.len()) as f64, members.len()));
            pairs.extend(members.iter().map(|&place| self.visits[place]));
        }
        let share = of_step.len() as f64 / divisor as f64;
        // The last batch's epoch and how much of it is done: sums and quotients round as those of transformers do.
        let last = of_step.end - 1;
        let (epoch, within) = (last / self.batches(), last % self.batches());
        let epoch = epoch as f64 + (within + 1) as f64 / self.batches() as f64;
        PlannedStep { pairs, weights, share, epoch }
    }

    /// Epochs done after `steps` steps.
    pub fn epochs_after(&self, steps: usize) -> f64 {
        steps.checked_sub(1).map_or(0.0, |last| self.step(last).epoch)
    }

    /// Indices of the pairs that the run visits, ascending, each once.
    pub fn visited(&self) -> Vec<usize> {
        let mut visited = match self.batches_before(self.steps) >= self.batches() {
            true => self.visits.clone(),
            false => self.steps_from(0).flat_map(|(_, step)| step.pairs).collect(),
        };
        visited.sort_unstable();
        visited.dedup();
        visited
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Order;

    fn plan(pairs: usize, shuffle: bool, max_steps: usize) -> Plan {
        let train = TrainSection {
            per_device_batch_size: 2,
            gradient_accumulation_steps: 4,
            epochs: 3.0,
            max_steps,
            ..TrainSection::default()
        };
        let data = DataSection { shuffle, ..DataSection::default() };
        Plan::new((0..pairs).collect(), &data, &train)
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

    /// Runs of transformers' Trainer, see scripts/interop/make_sources.py.
    #[test]
    fn fractions_of_epochs_and_warm_up_ratios_are_those_of_transformers() {
        use crate::config::Scheduler;
        use crate::train::schedule::learning_rate;
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/data/sources/schedules.json")).unwrap();
        let cases = cases.as_array().unwrap();
        assert!(cases.len() >= 10);
        for case in cases {
            let count = |key: &str| case[key].as_u64().unwrap() as usize;
            let warmup = case["warmup"].as_f64().unwrap();
            let scheduler = match case["scheduler"].as_str().unwrap() {
                "linear" => Scheduler::Linear,
                "cosine" => Scheduler::Cosine,
                _ => Scheduler::Constant,
            };
            let train = TrainSection {
                per_device_batch_size: count("batch"),
                gradient_accumulation_steps: count("accumulation"),
                epochs: case["epochs"].as_f64().unwrap(),
                warmup_steps: if warmup >= 1.0 { warmup as usize } else { 0 },
                warmup_ratio: if warmup < 1.0 { warmup } else { 0.0 },
                learning_rate: 0.002,
                scheduler,
                ..TrainSection::default()
            };
            let plan = Plan::new((0..count("pairs")).collect(), &DataSection::default(), &train);
            assert_eq!(plan.steps(), count("steps"), "{case}");
            for (step, planned) in plan.steps_from(0) {
                let rate = learning_rate(&train, step, plan.steps());
                let want = case["rates"][step].as_f64().unwrap();
                assert!((rate - want).abs() <= 1e-15, "{case}: step {step} at {rate}");
                let done = case["epochs_done"][step].as_f64().unwrap();
                assert!((planned.epoch - done).abs() <= 1e-12, "{case}: {}", planned.epoch);
            }
        }
    }

    #[test]
    fn a_fraction_of_an_epoch_visits_a_part_of_the_pairs_and_ends_within_one() {
        let of = |epochs, leftover| {
            let train =
                TrainSection { epochs, leftover_batches: leftover, ..TrainSection::default() };
            Plan::new((0..26).collect(), &DataSection::default(), &train)
        };
        let half = of(0.5, LeftoverBatches::Step);
        assert_eq!((half.steps(), half.visited().len()), (2, 16));
        // 3 steps an epoch where batches are carried: ceil(2.5 * 3).
        let carried = of(2.5, LeftoverBatches::Carry);
        assert_eq!((carried.steps(), carried.visited().len()), (8, 26));
        assert_eq!(of(2.5, LeftoverBatches::Step).steps(), 10);
    }

    #[test]
    fn a_pair_that_is_visited_twice_has_two_places_in_each_epoch_and_one_reference() {
        let visits = vec![0, 1, 2, 0, 1, 2, 5];
        let train = TrainSection { epochs: 2.0, ..TrainSection::default() };
        let plan = Plan::new(visits.clone(), &DataSection::default(), &train);
        assert_eq!((plan.steps(), plan.visited()), (2, vec![0, 1, 2, 5]));
        let (first, second) = (plan.step(0).pairs, plan.step(1).pairs);
        assert_ne!(first, second);
        for mut epoch in [first, second] {
            epoch.sort_unstable();
            let mut sorted = visits.clone();
            sorted.sort_unstable();
            assert_eq!(epoch, sorted);
        }
    }

    #[test]
    fn resuming_in_the_middle_gives_the_same_steps() {
        for (pairs, order) in [29, 6].into_iter().flat_map(|n| Order::ALL.map(|order| (n, order))) {
            for plan in [ordered(pairs, order, 0), carried(pairs, order, 0)] {
                let all: Vec<_> = plan.steps_from(0).collect();
                for from in 0..plan.steps() {
                    assert!(plan.steps_from(from).eq(all[from..].iter().cloned()));
                    assert_eq!(plan.step(from), all[from].1);
                }
            }
        }
    }

    fn ordered(pairs: usize, order: Order, max_steps: usize) -> Plan {
        let mut plan = plan(pairs, true, max_steps);
        plan.orders = Orders::new(pairs, &DataSection { order, ..DataSection::default() }, 12);
        plan
    }

    /// As [`plan`], with the batches that an epoch leaves over in the next one.
    fn carried(pairs: usize, order: Order, max_steps: usize) -> Plan {
        let train = TrainSection {
            leftover_batches: LeftoverBatches::Carry,
            max_steps,
            ..TrainSection::default()
        };
        let data = DataSection { order, ..DataSection::default() };
        Plan::new((0..pairs).collect(), &data, &train)
    }

    #[test]
    fn carried_batches_are_counted_through_the_epochs_and_each_is_divided_by_the_accumulation() {
        assert_eq!(carried(24_020, Order::Philox, 0).steps(), 9006);
        assert_eq!(plan(24_020, true, 0).steps(), 9009);
        let plan = carried(26, Order::Transformers, 0);
        assert_eq!(plan.steps(), 9);
        let epochs: Vec<usize> =
            (0..3).flat_map(|epoch| plan.orders.clone().of(epoch).to_vec()).collect();
        let visited: Vec<usize> = plan.steps_from(0).flat_map(|(_, step)| step.pairs).collect();
        assert_eq!(visited, epochs[..72]);
        for (n, step) in plan.steps_from(0) {
            assert_eq!((step.weights, step.share.to_bits()), (vec![0.125; 8], 1f64.to_bits()));
            let want = (4 * (n + 1)) as f64 / 13.0;
            assert!((step.epoch - want).abs() <= 1e-15, "{} {want}", step.epoch);
        }
        // The last batch of an epoch is one pair, and its weight that of two.
        let step = carried(25, Order::Philox, 0).step(3);
        assert_eq!((step.weights[..2].to_vec(), step.weights.len()), (vec![0.25, 0.125], 7));
    }

    /// Batches and epochs of each step, as the `Trainer` of transformers 4.31 takes them.
    #[test]
    fn fewer_batches_than_the_accumulation_also_end_a_step_with_each_epoch() {
        let steps = |pairs| -> Vec<(usize, f64, f64)> {
            let plan = carried(pairs, Order::Philox, 0);
            assert_eq!(plan.steps(), 3);
            let of = |(_, step): (_, PlannedStep)| {
                assert!((step.weights.iter().sum::<f64>() - step.share).abs() <= 1e-15);
                (step.pairs.len(), step.share, step.epoch)
            };
            plan.steps_from(0).map(of).collect()
        };
        assert_eq!(steps(6), [(6, 0.75, 1.0), (2, 0.25, 1.0 + 1.0 / 3.0), (4, 0.5, 2.0)]);
        assert_eq!(steps(8), [(8, 1.0, 1.0), (8, 1.0, 2.0), (8, 1.0, 3.0)]);
        assert_eq!(steps(1), [(1, 0.25, 1.0), (1, 0.25, 2.0), (1, 0.25, 3.0)]);
        let slow = carried(6, Order::Philox, 0);
        let mut ends = (1..1000).filter(|done| done % 4 == 0 || done % 3 == 0);
        assert!((1..400).all(|step| Some(slow.batches_before(step)) == ends.next()));
    }

    #[test]
    fn a_short_run_visits_only_its_own_pairs() {
        let visited = plan(100, true, 1).visited();
        assert!(visited.len() == 8 && visited.is_sorted(), "{visited:?}");
        let visited = carried(100, Order::Transformers, 1).visited();
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
