//! The order in which each epoch visits the pairs.

use crate::config::{DataSection, Order};
use crate::ops::philox::Philox;
use crate::ops::torch_random::TorchRandom;

/// The orders of a run's epochs. They follow from the seed alone, so that a resumed run visits the same pairs.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    pairs: usize,
    seed: u64,
    rule: Rule,
    /// The epoch drawn last, with its order.
    drawn: Option<(usize, Vec<usize>)>,
}

#[derive(Debug, Clone)]
enum Rule {
    /// As in the files.
    Sequential,
    Philox,
    Transformers(Sampler),
}

/// The numbers that transformers' `Trainer` draws from PyTorch's generator. In each epoch the data loader takes one for its
/// workers and its sampler another one, which seeds the generator of the epoch's permutation.
#[derive(Debug, Clone)]
struct Sampler {
    generator: TorchRandom,
    /// The first epoch whose numbers are not drawn yet.
    next: usize,
}

impl Sampler {
    fn new(seed: u64) -> Self {
        Self { generator: TorchRandom::new(seed), next: 0 }
    }
}

impl Orders {
    /// The orders of `pairs` pairs under `seed`.
    pub(super) fn new(pairs: usize, data: &DataSection, seed: u64) -> Self {
        let rule = match (data.shuffle, data.order) {
            (false, _) => Rule::Sequential,
            (true, Order::Philox) => Rule::Philox,
            (true, Order::Transformers) => Rule::Transformers(Sampler::new(seed)),
        };
        Self { pairs, seed, rule, drawn: None }
    }

    /// The order of `epoch`, from 0. Each epoch is drawn once where epochs do not descend.
    pub(super) fn of(&mut self, epoch: usize) -> &[usize] {
        if self.drawn.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.drawn = Some((epoch, self.draw(epoch)));
        }
        self.drawn.as_ref().map_or(&[], |(_, order)| order)
    }

    fn draw(&mut self, epoch: usize) -> Vec<usize> {
        let sampler = match &mut self.rule {
            Rule::Sequential => return (0..self.pairs).collect(),
            Rule::Philox => return Philox::new(self.seed, epoch as u64).permutation(self.pairs),
            Rule::Transformers(sampler) => sampler,
        };
        if epoch < sampler.next {
            *sampler = Sampler::new(self.seed);
        }
        let mut seed = 0;
        while sampler.next <= epoch {
            sampler.generator.int64();
            seed = sampler.generator.int64();
            sampler.next += 1;
        }
        TorchRandom::new(seed).permutation(self.pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::torch_random::golden;

    fn orders(pairs: usize, seed: u64, shuffle: bool, order: Order) -> Orders {
        Orders::new(pairs, &DataSection { shuffle, order, ..DataSection::default() }, seed)
    }

    #[test]
    fn epochs_in_any_sequence_have_the_orders_of_transformers() {
        for case in golden::read()["epochs"].as_array().unwrap() {
            let (seed, n) = (case["seed"].as_u64().unwrap(), case["n"].as_u64().unwrap() as usize);
            let epochs = case["orders"].as_array().unwrap();
            let mut orders = orders(n, seed, true, Order::Transformers);
            for epoch in (0..epochs.len()).chain((0..epochs.len()).rev()) {
                let what = format!("{n} of seed {seed}, epoch {epoch}");
                golden::assert_order(&what, orders.of(epoch), &epochs[epoch]);
            }
        }
    }

    #[test]
    fn without_shuffling_every_order_is_that_of_the_files() {
        for order in Order::ALL {
            let mut orders = orders(5, 1, false, order);
            for epoch in [3, 0] {
                assert_eq!(orders.of(epoch), [0, 1, 2, 3, 4]);
            }
        }
    }
}
