//! Launches added up by group, with the time that a card is predicted to take for them.

use super::assumptions::{GAP_US, HOST_US, WAIT_US};
use super::launches::{Group, Launches, Work};
use super::pace::Pace;

/// Of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    /// Launches and products.
    pub launches: usize,
    /// Operations of products and of attention.
    pub flop: f64,
    /// Bytes read and written.
    pub bytes: f64,
    /// Predicted time on the GPU.
    pub us: f64,
}

/// Of all groups, and what lies between launches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spent {
    groups: [Sum; Group::ALL.len()],
    /// Between launches.
    pub gaps_us: f64,
    /// The GPU waits for the host.
    pub waits_us: f64,
}

impl Spent {
    /// Adds `times` the time of `launches`, one after another.
    pub fn add(&mut self, launches: &Launches, times: usize, pace: &Pace) {
        let (mut count, mut busy_us) = (0, 0.0);
        for one in &launches.all {
            let us = one.count as f64 * pace.work_us(&one.work);
            let (flop, bytes) = match &one.work {
                Work::Kernel(kernel) => (kernel.flop, kernel.moved),
                Work::Product(product) => (product.flop(), product.moved()),
            };
            let sum = &mut self.groups[one.group as usize];
            sum.launches += one.count * times;
            sum.flop += (one.count * times) as f64 * flop;
            sum.bytes += (one.count * times) as f64 * bytes as f64;
            sum.us += times as f64 * us;
            count += one.count;
            busy_us += us;
        }
        let gaps_us = GAP_US * count as f64;
        let waits_us = WAIT_US * launches.waits as f64;
        let idle_us = (HOST_US * count as f64 - busy_us - gaps_us - waits_us).max(0.0);
        self.gaps_us += times as f64 * gaps_us;
        self.waits_us += times as f64 * (waits_us + idle_us);
    }

    /// Of a group.
    pub fn of(&self, group: Group) -> Sum {
        self.groups[group as usize]
    }

    /// Of all groups, with what lies between.
    pub fn total(&self) -> Sum {
        let mut all = Sum { us: self.gaps_us + self.waits_us, ..Sum::default() };
        for sum in &self.groups {
            all.launches += sum.launches;
            all.flop += sum.flop;
            all.bytes += sum.bytes;
            all.us += sum.us;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use serde_json::json;

    use super::*;
    use crate::config::LoraSection;
    use crate::cost::generation::Cache;
    use crate::cost::step::{Engine, PackSizes};
    use crate::data::pack::Pack;
    use crate::data::token_pair::TokenPair;
    use crate::machine::card::named;
    use crate::machine::rate::training_flop;
    use crate::model::decoder::Keep;
    use crate::model::plan::AdapterPlan;
    use crate::model::shape::Shape;

    fn llama_7b() -> (Shape, AdapterPlan) {
        let config = json!({
            "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32_000, "max_position_embeddings": 4096,
        });
        let shape = Shape::parse(&config.to_string(), "test").unwrap();
        let section = LoraSection { rank: 16, ..LoraSection::default() };
        let plan = AdapterPlan::of(&section, &shape).unwrap();
        (shape, plan)
    }

    fn engine<'a>(shape: &'a Shape, plan: &'a AdapterPlan) -> Engine<'a> {
        let (dtype, keep) = (DType::BF16, Keep::Everything);
        Engine { shape, plan, dtype, keep, dropout: true, angle_rows: 1024 }
    }

    /// Eight pairs of a prompt of 200 tokens and answers of 120.
    fn eight_pairs(shape: &Shape) -> PackSizes {
        let pair = TokenPair {
            prompt: vec![1; 200],
            chosen: vec![2; 120],
            rejected: vec![3; 120],
            ..TokenPair::default()
        };
        PackSizes::of(&Pack::new(&vec![pair; 8]), shape)
    }

    fn step_on(pace: &Pace) -> Spent {
        let (shape, plan) = llama_7b();
        let mut spent = Spent::default();
        spent.add(&engine(&shape, &plan).step(&[eight_pairs(&shape)]), 1, pace);
        spent
    }

    /// 21 kernels and 26 products a layer and 128 casts of A and B, counted by hand from the code; the head has two chunks.
    #[test]
    fn a_step_of_a_7b_makes_the_launches_that_were_counted_by_hand() {
        let (shape, plan) = llama_7b();
        let launches = engine(&shape, &plan).step(&[eight_pairs(&shape)]);
        let count = |is_product: bool| -> usize {
            let all = launches.all.iter();
            all.filter(|one| matches!(one.work, Work::Product(_)) == is_product)
                .map(|one| one.count)
                .sum()
        };
        assert_eq!((count(true), count(false)), (831, 818));
        let products: f64 = (launches.all.iter())
            .filter(|one| one.group == Group::Base)
            .map(|one| match &one.work {
                Work::Product(product) => one.count as f64 * product.flop(),
                Work::Kernel(_) => 0.0,
            })
            .sum();
        // The last layer computes 1912 of 3520 rows after its attention, and the lowest no gradient of its input.
        let all = training_flop(&shape, 3520, 0);
        assert!((0.97..1.0).contains(&(products / all)), "{}", products / all);
    }

    /// A model of the same step that was made apart from this one, at 790 TFLOP/s: 174.6 ms on an H100, 165.4 on an H200. There a
    /// product of the head is one of the base, and what is added to an output is read apart.
    #[test]
    fn a_step_of_a_7b_takes_what_was_predicted_group_by_group_by_hand() {
        for (name, want) in [
            ("h100", [127.7, 8.9, 5.5, 6.6, 5.8, 2.8, 15.1, 2.2, 174.6]),
            ("h200", [127.3, 6.6, 4.0, 4.7, 4.1, 2.0, 14.5, 2.2, 165.4]),
        ] {
            let spent = step_on(&Pace::sustained(named(name).unwrap()));
            let ms = |group| spent.of(group).us / 1e3;
            let rest = [Group::Base, Group::Head, Group::Moves, Group::Optimizer];
            let got = [
                rest.map(ms).iter().sum(),
                ms(Group::Adapter),
                ms(Group::Dropout),
                ms(Group::Swiglu),
                ms(Group::RmsNorm),
                ms(Group::Rope),
                ms(Group::Attention),
                (spent.gaps_us + spent.waits_us) / 1e3,
                spent.total().us / 1e3,
            ];
            for (place, (got, want)) in got.into_iter().zip(want).enumerate() {
                assert!((got / want - 1.0).abs() <= 0.05, "{name}: {place}: {got} for {want}");
            }
        }
    }

    #[test]
    fn a_step_that_is_computed_again_takes_a_forward_pass_more_and_no_dropout_no_mask() {
        let (shape, plan) = llama_7b();
        let pack = eight_pairs(&shape);
        let pace = Pace::sustained(named("h100").unwrap());
        let of = |engine: &Engine<'_>| {
            let mut spent = Spent::default();
            spent.add(&engine.step(&[pack]), 1, &pace);
            spent
        };
        let kept = of(&engine(&shape, &plan));
        let again = of(&Engine { keep: Keep::Inputs, ..engine(&shape, &plan) });
        let ratio = again.of(Group::Base).flop / kept.of(Group::Base).flop;
        assert!((ratio - 1.5).abs() < 0.02, "{ratio}");
        let without = of(&Engine { dropout: false, ..engine(&shape, &plan) });
        assert_eq!(without.of(Group::Dropout), Sum::default());
        assert!(without.total().us < kept.total().us - 4e3);
    }

    /// Greedy answers of a merged 7B at a context of 456 tokens, as they were predicted by hand.
    #[test]
    fn a_step_of_decoding_reads_every_weight_once() {
        let (shape, plan) = llama_7b();
        for (name, sequences, want_ms) in
            [("h100", 1, 6.3), ("h100", 64, 13.8), ("h200", 1, 4.9), ("h200", 64, 10.1)]
        {
            let cache = Cache::new(sequences, 1024);
            let launches = engine(&shape, &plan).decode(sequences, 456 * sequences, cache, false);
            let products = launches.all.iter().filter(|one| matches!(one.work, Work::Product(_)));
            assert_eq!(products.map(|one| one.count).sum::<usize>(), 225);
            let mut spent = Spent::default();
            spent.add(&launches, 1, &Pace::sustained(named(name).unwrap()));
            let ms = spent.total().us / 1e3;
            assert!((ms / want_ms - 1.0).abs() <= 0.07, "{name}, {sequences}: {ms} for {want_ms}");
        }
    }

    #[test]
    fn a_tiny_step_takes_the_hosts_time() {
        let (mut shape, _) = llama_7b();
        (shape.hidden, shape.intermediate, shape.vocab) = (64, 64, 64);
        (shape.heads.heads, shape.heads.kv_heads, shape.heads.head_dim) = (2, 2, 32);
        let plan = AdapterPlan::of(&LoraSection::default(), &shape).unwrap();
        let pair = TokenPair {
            prompt: vec![1; 9],
            chosen: vec![2],
            rejected: vec![3],
            ..TokenPair::default()
        };
        let pack = PackSizes::of(&Pack::new(&[pair]), &shape);
        let mut spent = Spent::default();
        let launches = engine(&shape, &plan).step(&[pack]);
        spent.add(&launches, 1, &Pace::sustained(named("h100").unwrap()));
        let total = spent.total();
        assert!((total.us / total.launches as f64 / HOST_US - 1.0).abs() < 1e-9, "{total:?}");
    }
}
