//! The best evaluation and the step to stop at, from the records of `eval.jsonl` alone.

use crate::config::{BestMetric, EvalSection};
use crate::metrics::Metric;
use crate::run_folder::eval_log::EvalRecord;

/// An evaluation and the value to compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// Steps trained before it.
    pub step: usize,
    /// Value of the judge's metric.
    pub value: f64,
}

/// Compares evaluations by one metric on one set.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    /// The metric.
    pub metric: Metric,
    /// Name of the evaluation set.
    pub set: String,
    patience: usize,
    min_delta: f64,
}

impl Judge {
    /// The judge that `section` configures; none without a metric or a set.
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

    /// Step and value of each evaluation after steps `1..=until`. Step 0 is no candidate, as in transformers.
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

    /// The value to compare. For `dpo_loss` it is the training loss, not the sigmoid loss of [`Metric::DpoLoss`].
    fn value(&self, record: &EvalRecord) -> Option<f64> {
        match self.metric {
            Metric::DpoLoss => record.figures.get("loss").copied(),
            metric => record.value(metric),
        }
    }

    /// How much better `value` is than `than`; negative if it is worse.
    fn gain(&self, value: f64, than: f64) -> f64 {
        if self.metric == Metric::DpoLoss { than - value } else { value - than }
    }

    /// The best evaluation up to step `until`, the earliest of equal ones; none if there is none from step 1 on.
    pub fn best(&self, records: &[EvalRecord], until: usize) -> Option<Best> {
        self.values(records, until)
            .reduce(|best, new| if self.gain(new.value, best.value) > 0.0 { new } else { best })
    }

    /// The step at which `patience` ran out: the last of `patience` evaluations in a row that did not beat the best
    /// before them by more than `min_delta`. None if it did not run out; a patience of 0 never does.
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

    /// What the best evaluation has to beat: the model before training, or for OPA, which has no figure of that state, chance.
    fn baseline(&self, records: &[EvalRecord]) -> Option<f64> {
        if self.metric == Metric::Opa { Some(0.5) } else { self.at_start(records) }
    }

    /// The baseline in words.
    pub fn baseline_name(&self) -> &'static str {
        if self.metric == Metric::Opa { "chance, 50 %" } else { "the model before training" }
    }

    /// Value of the metric before training; none without that evaluation.
    pub fn at_start(&self, records: &[EvalRecord]) -> Option<f64> {
        let start = |record: &&EvalRecord| record.step == 0 && record.set == self.set;
        self.value(records.iter().find(start)?)
    }

    /// Whether `best` is worse than the baseline.
    pub fn is_worse_than_baseline(&self, best: Best, records: &[EvalRecord]) -> bool {
        self.baseline(records).is_some_and(|start| self.gain(best.value, start) < 0.0)
    }

    /// Metric and set, such as `preference_accuracy of MVP_test`.
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

    /// Evaluations of set `a` after steps 0, 10, 20, ...; those of set `other` are always better.
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
        let worse =
            |judge: &Judge, value| judge.is_worse_than_baseline(Best { step: 20, value }, &values);
        assert!(
            !worse(&opa, 0.7) && worse(&opa, 0.49),
            "chance, whatever is logged before training"
        );
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
        // 0.875 is exactly 0.125 above the best before it.
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
        let metric = Metric::PreferenceAccuracy;
        let values = records(metric, &[0.9, 0.5]);
        let (own, other) = (judge(metric, 0, 0.0), records(metric, &[8.9, 0.5]));
        assert_eq!(own.at_start(&values), Some(0.9), "the other set's is 8.1 and comes first");
        assert_eq!(own.at_start(&other), Some(8.9), "the other set's is 0.1 and comes first");
        assert!(own.is_worse_than_baseline(Best { step: 10, value: 0.5 }, &other));
        assert_eq!(own.at_start(&values[2..]), None, "no evaluation before training");
    }

    #[test]
    fn the_reason_counts_the_evaluations_and_names_what_was_not_beaten() {
        assert_eq!(judge(Metric::Opa, 1, 0.0).reason(), "1 evaluation without a better opa of a");
        assert_eq!(
            judge(Metric::DpoLoss, 3, 0.25).reason(),
            "3 evaluations without a better dpo_loss of a by more than 0.25"
        );
    }
}
