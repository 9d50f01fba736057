//! Which evaluation was the best and when it is time to stop: a function of the records of `eval.jsonl` alone.

use crate::config::{BestMetric, EvalSection};
use crate::metrics::Metric;
use crate::run_folder::eval_log::EvalRecord;

/// An evaluation that is the best so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// The step it followed.
    pub step: usize,
    /// The metric's value.
    pub value: f64,
}

/// How evaluations are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    /// The figure that is compared.
    pub metric: Metric,
    /// The set whose figure it is.
    pub set: String,
    patience: usize,
    min_delta: f64,
}

impl Judge {
    /// What `section` chose; none where no metric is named.
    pub fn new(section: &EvalSection) -> Option<Self> {
        let metric = match section.best_metric {
            BestMetric::None => return None,
            BestMetric::Opa => Metric::Opa,
            BestMetric::PreferenceAccuracy => Metric::PreferenceAccuracy,
            BestMetric::PreferenceAccuracyNormalized => Metric::PreferenceAccuracyNormalized,
            BestMetric::OpaMarginMean => Metric::OpaMarginMean,
            BestMetric::RewardMarginMean => Metric::RewardMarginMean,
            BestMetric::DpoLoss => Metric::DpoLoss,
        };
        let set = match section.best_set.as_str() {
            "" => section.sets.first()?.name.clone(),
            name => name.to_owned(),
        };
        Some(Self { metric, set, patience: section.patience, min_delta: section.min_delta })
    }

    /// Step and value of each evaluation after at least one step and at most `until`: step 0 is no candidate, as in transformers.
    fn values<'a>(
        &'a self,
        records: &'a [EvalRecord],
        until: usize,
    ) -> impl Iterator<Item = Best> + 'a {
        records
            .iter()
            .filter(move |record| (1..=until).contains(&record.step) && record.set == self.set)
            .filter_map(|record| Some(Best { step: record.step, value: self.value(record)? }))
    }

    /// The figure that is compared; for `dpo_loss` the loss that is trained, not the sigmoid loss of [`Metric::DpoLoss`].
    fn value(&self, record: &EvalRecord) -> Option<f64> {
        match self.metric {
            Metric::DpoLoss => record.figures.get("loss").copied(),
            metric => record.value(metric),
        }
    }

    /// By how much `value` is better than `than`; negative where it is worse.
    fn gain(&self, value: f64, than: f64) -> f64 {
        if self.metric == Metric::DpoLoss { than - value } else { value - than }
    }

    /// The best of the evaluations up to step `until`; of equal ones the earliest.
    pub fn best(&self, records: &[EvalRecord], until: usize) -> Option<Best> {
        self.values(records, until)
            .reduce(|best, new| if self.gain(new.value, best.value) > 0.0 { new } else { best })
    }

    /// The step at which patience ended: so many evaluations in a row none of which was better by more than `min_delta` than the
    /// best before it.
    pub fn stop(&self, records: &[EvalRecord]) -> Option<usize> {
        let mut best: Option<Best> = None;
        let mut stale = 0;
        for new in self.values(records, usize::MAX) {
            let gain = best.map_or(f64::INFINITY, |best| self.gain(new.value, best.value));
            stale = if gain > self.min_delta { 0 } else { stale + 1 };
            if gain > 0.0 {
                best = Some(new);
            }
            if self.patience > 0 && stale >= self.patience {
                return Some(new.step);
            }
        }
        None
    }

    /// Value of the metric before training.
    pub fn at_start(&self, records: &[EvalRecord]) -> Option<f64> {
        let start = |record: &&EvalRecord| record.step == 0 && record.set == self.set;
        self.value(records.iter().find(start)?)
    }

    /// Whether the best evaluation is worse than the model before training.
    pub fn is_worse_than_start(&self, best: Best, records: &[EvalRecord]) -> bool {
        self.at_start(records).is_some_and(|start| self.gain(best.value, start) < 0.0)
    }

    /// `preference_accuracy of MVP_test`.
    pub fn title(&self) -> String {
        format!("{} of {}", self.metric.name(), self.set)
    }

    /// Why the run stopped before its last step.
    pub fn reason(&self) -> String {
        let better = match self.min_delta {
            0.0 => String::new(),
            delta => format!(" by more than {delta}"),
        };
        let plural = if self.patience == 1 { "" } else { "s" };
        format!("{} evaluation{plural} without a better {}{better}", self.patience, self.title())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evaluations after steps 0, 10, 20, ...; another set's are always better.
    fn records(metric: Metric, values: &[f64]) -> Vec<EvalRecord> {
        let record = |step: usize, set: &str, value: f64| EvalRecord {
            step: 10 * step,
            epoch: 0.0,
            set: set.into(),
            pairs: 1,
            figures: match metric {
                Metric::DpoLoss => [("loss".to_owned(), value), ("dpo_loss".to_owned(), -value)],
                metric => [(metric.name().to_owned(), value), ("loss".to_owned(), -value)],
            }
            .into(),
        };
        (values.iter().enumerate())
            .flat_map(|(step, &value)| {
                [record(step, "other", 9.0 - value), record(step, "a", value)]
            })
            .collect()
    }

    fn judge(metric: Metric, patience: usize, min_delta: f64) -> Judge {
        Judge { metric, set: "a".into(), patience, min_delta }
    }

    #[test]
    fn the_earlier_of_two_equal_evaluations_is_the_best_and_step_0_is_none() {
        let opa = judge(Metric::Opa, 0, 0.0);
        let values = records(Metric::Opa, &[0.9, 0.5, 0.7, 0.7, 0.6]);
        assert_eq!(opa.best(&values, 40), Some(Best { step: 20, value: 0.7 }));
        assert_eq!(opa.best(&values, 19), Some(Best { step: 10, value: 0.5 }));
        assert_eq!(opa.best(&values, 9), None);
        assert!(opa.is_worse_than_start(Best { step: 20, value: 0.7 }, &values));
        assert_eq!(opa.stop(&values), None, "a patience of 0 never ends");
    }

    #[test]
    fn dpo_loss_is_the_loss_that_is_trained_and_the_lower_one_is_better() {
        let loss = judge(Metric::DpoLoss, 2, 0.0);
        let values = records(Metric::DpoLoss, &[0.69, 0.6, 0.5, 0.7, 0.8, 0.1]);
        assert_eq!(loss.best(&values, 40), Some(Best { step: 20, value: 0.5 }));
        assert_eq!(loss.stop(&values), Some(40));
    }

    #[test]
    fn patience_counts_evaluations_in_a_row_and_asks_for_more_than_min_delta() {
        let values = records(Metric::Opa, &[0.0, 0.5, 0.5, 0.75, 0.75, 0.875, 0.875, 0.875]);
        assert_eq!(judge(Metric::Opa, 1, 0.0).stop(&values), Some(20));
        assert_eq!(judge(Metric::Opa, 2, 0.0).stop(&values), Some(70));
        assert_eq!(judge(Metric::Opa, 3, 0.0).stop(&values), None);
        // 0.875 is 0.125 above the best before it, and no more.
        assert_eq!(judge(Metric::Opa, 2, 0.125).stop(&values), Some(50));
        assert_eq!(judge(Metric::Opa, 2, 0.124).stop(&values), Some(70));
    }

    #[test]
    fn patience_is_measured_from_the_best_and_not_from_the_evaluation_before() {
        let values = records(Metric::Opa, &[0.0, 0.5, 0.75, 0.6, 0.7]);
        assert_eq!(judge(Metric::Opa, 2, 0.0).stop(&values), Some(40));
    }

    #[test]
    fn the_start_of_another_set_is_not_the_start_of_this_one() {
        let values = records(Metric::Opa, &[0.9, 0.5]);
        let (own, other) = (judge(Metric::Opa, 0, 0.0), records(Metric::Opa, &[8.9, 0.5]));
        assert_eq!(own.at_start(&values), Some(0.9), "the other set's is 8.1 and comes first");
        assert_eq!(own.at_start(&other), Some(8.9), "the other set's is 0.1 and comes first");
        assert!(own.is_worse_than_start(Best { step: 10, value: 0.5 }, &other));
        assert_eq!(own.at_start(&values[2..]), None, "no evaluation before training");
    }
}
