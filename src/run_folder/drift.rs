//! When a policy has drifted so far that somebody should know: rules on the records of a run, each told once.

use std::collections::VecDeque;

use crate::run_folder::samples::SampleMeans;
use crate::run_folder::train_log::StepRecord;

/// Steps of a run's newest means: one step has few pairs.
const WINDOW: usize = 10;

/// Nats per token: an answer's tokens have become less probable by a factor of 0.61, or predictions differ by as much.
pub const STRONG: f64 = 0.5;

/// A mean length of the sampled answers that is so many times the base model's, or the base model's so many times it.
pub const LENGTH_RATIO: f64 = 2.0;

/// Follows a run and tells each kind of strong drift once.
#[derive(Debug, Default)]
pub struct Watch {
    /// Log-ratio, tokens and margin of the newest steps.
    recent: VecDeque<[f64; 3]>,
    told: [bool; 3],
}

impl Watch {
    /// A step's line: the chosen answers fall while the margin is positive.
    pub fn step(&mut self, step: &StepRecord) -> Option<String> {
        let values = [step.logratios_chosen, step.lengths_chosen, step.rewards_margins];
        let [Some(ratio), Some(length), Some(margin)] = values else { return None };
        self.recent.push_back([ratio, length, margin]);
        if self.recent.len() < WINDOW {
            return None;
        }
        let mean = |column: usize| {
            self.recent.iter().map(|step| step[column]).sum::<f64>() / WINDOW as f64
        };
        let [ratio, length, margin] = [0, 1, 2].map(mean);
        self.recent.pop_front();
        let is_strong = length > 0.0 && ratio <= -STRONG * length && margin > 0.0;
        self.once(0, is_strong, || {
            format!(
                "drift: over steps {} to {} the chosen answers are {:.2} nats per token less likely than under the reference \
                 ({ratio:+.1} over {length:.0} tokens; 0 is the reference), while the margin is {margin:+.2}: both answers lose, \
                 the rejected one more; `dpo.sft_weight` above 0 or a lower `train.learning_rate` holds them",
                step.step + 1 - WINDOW.min(step.step),
                step.step,
                -ratio / length
            )
        })
    }

    /// The line of an evaluation of `set` after `step` steps; `kl`: nats per token.
    pub fn kl(&mut self, step: usize, set: &str, kl: f64, error: Option<f64>) -> Option<String> {
        let error = error.map_or_else(String::new, |error| format!(", standard error {error:.2}"));
        self.once(1, kl >= STRONG, || {
            format!(
                "drift: after step {step} the KL divergence from the reference on `{set}` is {kl:.2} nats per token (the reference \
                 has 0{error})"
            )
        })
    }

    /// The line of the sampled answers after `step` steps, beside the base model's.
    pub fn samples(
        &mut self,
        step: usize,
        means: &SampleMeans,
        base: &SampleMeans,
    ) -> Option<String> {
        let (now, was) = (means.length, base.length);
        let is_far = now > LENGTH_RATIO * was || was > LENGTH_RATIO * now;
        self.once(2, is_far, || {
            format!(
                "drift: after step {step} the answers to the sample prompts have {now:.1} tokens, the base model's {was:.1}"
            )
        })
    }

    fn once(&mut self, kind: usize, is_so: bool, line: impl FnOnce() -> String) -> Option<String> {
        let is_new = is_so && !self.told[kind];
        self.told[kind] |= is_so;
        is_new.then(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize, ratio: f64, margin: f64) -> StepRecord {
        StepRecord {
            step,
            logratios_chosen: Some(ratio),
            lengths_chosen: Some(20.0),
            rewards_margins: Some(margin),
            ..StepRecord::default()
        }
    }

    #[test]
    fn chosen_answers_that_fall_beside_a_margin_are_told_once() {
        let mut watch = Watch::default();
        let said: Vec<_> = (1..=30)
            .map(|n| watch.step(&step(n, if n <= 10 { 0.0 } else { -20.0 }, 1.0)))
            .collect();
        let told: Vec<_> = (1..).zip(&said).filter(|(_, line)| line.is_some()).collect();
        // Five of ten steps with -1 nat a token are -0.5 on average: after step 15.
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, 15);
        let line = told[0].1.as_ref().unwrap();
        assert!(
            line.contains("over steps 6 to 15 the chosen answers are 0.50 nats per token less"),
            "{line}"
        );
        assert!(
            line.contains("(-10.0 over 20 tokens; 0 is the reference), while the margin is +1.00"),
            "{line}"
        );
        let told = |ratio, margin| {
            let mut watch = Watch::default();
            (1..=30).filter_map(|n| watch.step(&step(n, ratio, margin))).count()
        };
        assert_eq!((told(-9.9, 1.0), told(-20.0, -1.0), told(20.0, 1.0)), (0, 0, 0));
        let none = StepRecord { rewards_margins: Some(1.0), ..StepRecord::default() };
        assert_eq!((1..=30).filter_map(|_| Watch::default().step(&none)).count(), 0);
    }

    #[test]
    fn a_kl_and_a_length_are_told_once_each_with_their_null() {
        let mut watch = Watch::default();
        assert_eq!(watch.kl(5, "a", 0.49, None), None);
        let line = watch.kl(10, "a", 0.5, Some(0.031)).unwrap();
        assert!(
            line.contains("`a` is 0.50 nats per token (the reference has 0, standard error 0.03)"),
            "{line}"
        );
        assert_eq!(watch.kl(15, "b", 9.0, None), None);
        let means = |length| SampleMeans { length, clipped: 0.0, kl: None };
        assert_eq!(watch.samples(5, &means(20.0), &means(10.0)), None);
        assert_eq!(watch.samples(5, &means(5.0), &means(10.0)), None);
        let line = watch.samples(10, &means(4.9), &means(10.0)).unwrap();
        assert!(line.ends_with("have 4.9 tokens, the base model's 10.0"), "{line}");
        assert_eq!(watch.samples(15, &means(21.0), &means(10.0)), None);
    }
}
