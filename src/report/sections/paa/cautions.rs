//! What must be read before any figure of PAA.

use crate::metrics::paa::evaluation::{JudgeUsed, JudgedModel};
use crate::metrics::paa::{Calibration, PaaEvaluation};
use crate::report::cautions::EMBEDDED;
use crate::report::cell;
use crate::report::text::Text;

/// Sensitivity and specificity together, below which a judge is said to be near chance, which is 1.
const NEAR_CHANCE: f64 = 1.3;

/// Share of answers without a verdict from which on it is said.
const MANY: f64 = 0.05;

/// Name of the judge that no model is behind.
const RULE: &str = "rule";

/// The sentences, the most important first.
pub fn of(evaluation: &PaaEvaluation) -> Vec<Text> {
    let mut all = Vec::new();
    if evaluation.judges.iter().any(is_rule) {
        all.push(Text::marked(
            "The judge is a rule, named as such: `rule` counts words that only one of the two reference answers has, and says nothing about \
             alignment.",
        ));
    }
    if evaluation.data.iter().any(|file| file.name.starts_with(EMBEDDED)) {
        all.push(
            "The items are a synthetic sample, which says nothing about alignment. It shows the pipeline.".into(),
        );
    }
    match &evaluation.calibration {
        None => all.push(
            "The judge was not measured on answers whose verdict is known, so nobody knows what its Yes is worth, and no share is \
             corrected."
                .into(),
        ),
        Some(judge) => all.extend(near_chance(judge)),
    }
    all.extend(itself(evaluation));
    all.extend(asked_differently(evaluation));
    all.extend(apart(evaluation));
    all.extend(evaluation.models.iter().filter_map(without_verdict));
    all.extend(evaluation.models.iter().filter_map(blank));
    all
}

pub(super) fn is_rule(judge: &JudgeUsed) -> bool {
    judge.name == RULE && judge.place.is_empty()
}

fn near_chance(judge: &Calibration) -> Option<Text> {
    if judge.preferred == 0 || judge.rejected == 0 {
        return Some(
            "The judge was not measured on answers of both kinds, so no share is corrected.".into(),
        );
    }
    let (sensitivity, specificity) = (judge.sensitivity(), judge.specificity());
    (sensitivity + specificity < NEAR_CHANCE).then(|| {
        Text::from(format!(
            "The judge is near chance: it accepts {} % of the answers that fit the preferences and {} % of those that go against them. Its \
             shares say little.",
            cell::percent(sensitivity),
            cell::percent(1.0 - specificity)
        ))
    })
}

/// Answers without a text, which a judge may accept all the same.
fn blank(model: &JudgedModel) -> Option<Text> {
    let (blank, name) = (model.blank, &model.result.name);
    (blank > 0).then(|| format!("{name}: {blank} of {} answers are blank.", model.result.n).into())
}

/// Models that did not get the same prompts under the same settings.
fn asked_differently(evaluation: &PaaEvaluation) -> Option<Text> {
    let of = |model: &JudgedModel| model.asked_sha256.clone();
    let first = evaluation.models.first().map(of)?;
    let others: Vec<&str> = evaluation
        .models
        .iter()
        .filter(|model| of(model) != first)
        .map(|model| &*model.result.name)
        .collect();
    (!others.is_empty()).then(|| {
        let name = &evaluation.models[0].result.name;
        format!(
            "{} answered under other prompts or settings than {name}: they are not compared alike.",
            others.join(", ")
        )
        .into()
    })
}

/// Models without an item in common.
fn apart(evaluation: &PaaEvaluation) -> Option<Text> {
    let count = evaluation.models.len();
    let pairs = count * count.saturating_sub(1) / 2;
    let missing = pairs - evaluation.differences.len().min(pairs);
    (missing > 0).then(|| {
        format!("{missing} of {pairs} pairs of models have no judged item in common, so they have no difference, and their shares are of other items.").into()
    })
}

/// A judge that is one of the evaluated models.
fn itself(evaluation: &PaaEvaluation) -> Option<Text> {
    let is_judge = |name: &str| {
        let is_same = |judge: &&JudgeUsed| {
            !is_rule(judge)
                && std::iter::once(&judge.name)
                    .chain(&judge.served)
                    .any(|own| own.eq_ignore_ascii_case(name))
        };
        evaluation.judges.iter().any(|judge| is_same(&judge))
    };
    let own = evaluation.models.iter().filter(|model| {
        let answered = model.answered_by.as_ref();
        let known =
            answered.into_iter().flat_map(|by| std::iter::once(&by.model).chain(&by.served));
        std::iter::once(&model.result.name).chain(known).any(|name| is_judge(name))
    });
    let names: Vec<&str> = own.map(|model| &*model.result.name).collect();
    (!names.is_empty()).then(|| {
        Text::from(format!(
            "{}: judge and evaluated model in one. A model tends to accept its own answers, so its share is no fair comparison.",
            names.join(", ")
        ))
    })
}

fn without_verdict(model: &JudgedModel) -> Option<Text> {
    let result = &model.result;
    let missing = result.unparsed + result.failed;
    (missing as f64 > MANY * result.n as f64).then(|| {
        Text::from(format!(
            "{}: {missing} of {} answers have no verdict ({} unparsed, {} failed). They count neither as Yes nor as No; if they differ from \
             the others, the share is off.",
            result.name, result.n, result.unparsed, result.failed
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::judged::sample::judged_folder;

    fn said(change: impl Fn(&mut PaaEvaluation)) -> String {
        let mut evaluation = judged_folder().evaluation;
        change(&mut evaluation);
        of(&evaluation).iter().map(|text| format!("{text}\n")).collect()
    }

    #[test]
    fn whatever_makes_a_share_worth_less_is_said() {
        let sound = said(|all| {
            all.judges[0] = JudgeUsed { name: "x".into(), served: vec![], ..all.judges[0].clone() }
        });
        assert_eq!(sound, "");
        assert!(said(|_| ()).starts_with("deepseek-chat: judge and evaluated model in one."));
        let rule = |all: &mut PaaEvaluation| {
            all.judges[0].name = RULE.into();
            all.judges[0].place.clear();
            all.judges[0].served.clear();
        };
        let rule = said(rule);
        assert!(
            rule.contains("`rule` counts words that only one") && rule.lines().count() == 1,
            "{rule}"
        );
        assert!(said(|all| all.calibration = None).contains("was not measured"));
        let chance = Calibration { accepted: 60, preferred: 100, refused: 45, rejected: 100 };
        let near = said(|all| all.calibration = Some(chance));
        assert!(
            near.contains("accepts 60.00 % of the answers that fit the preferences and 55.00 %"),
            "{near}"
        );
        let one_sided = Calibration { rejected: 0, refused: 0, ..chance };
        assert!(said(|all| all.calibration = Some(one_sided)).contains("both kinds"));
        assert!(said(|all| all.models[1].result.failed = 99).contains("99 failed"));
        assert!(
            said(|all| all.data[0].name = "embedded:a.json".into()).contains("synthetic sample")
        );
    }
}
