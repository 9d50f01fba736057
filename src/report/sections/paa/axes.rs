//! Intra-profile consistency and inter-group fairness of every model's verdicts.

use crate::console::units;
use crate::metrics::paa::PaaEvaluation;
use crate::report::cell;
use crate::report::section::{Part, Section};
use crate::report::sections::attributes::attribute_title;
use crate::report::sections::axes::extreme;
use crate::report::table::Table;

/// Both tables; empty where no model has either.
pub(super) fn section(evaluation: &PaaEvaluation) -> Section {
    let mut parts = Vec::new();
    let mut consistency = Table::new(["model", "agreement (%)", "by chance (%)", "users"]);
    let mut fairness = Table::new([
        "model",
        "by",
        "gap",
        "shuffled, 95 %",
        "p adjusted",
        "best group",
        "best (%)",
        "best n",
        "worst group",
        "worst (%)",
        "worst n",
    ]);
    let p = |value: Option<f64>| cell::or_none(value.map(|p| format!("{p:.4}")));
    for model in &evaluation.models {
        let name = &model.result.name;
        if let Some(own) = &model.result.consistency {
            consistency.push([
                name.clone(),
                cell::share(&own.agreement),
                cell::percent(own.by_chance),
                units::count(own.agreement.n),
            ]);
        }
        for gap in &model.result.fairness {
            let figures = [
                name.clone(),
                attribute_title(&gap.attribute),
                cell::share(&gap.gap),
                cell::percent(gap.shuffled_gap),
                p(gap.p_adjusted),
            ];
            let extremes = [&gap.best, &gap.worst].into_iter().flat_map(extreme);
            fairness.push(figures.into_iter().chain(extremes));
        }
    }
    if !consistency.rows().is_empty() {
        parts.push(Part::heading("Intra-profile consistency"));
        parts.push(Part::Table(consistency));
        parts.push(Part::note(
            "Agreement: of a user's pairs of answers, the share with the same verdict, averaged over the users with two or more. By chance: the same \
             of verdicts that know no user.",
        ));
    }
    if !fairness.rows().is_empty() {
        parts.push(Part::heading("Gaps between groups"));
        parts.push(Part::Table(fairness));
        parts.push(Part::note(
            "Gap: the best group's share less the worst's, in points, over the groups with a figure. Shuffled: 95 of 100 gaps lie below this when \
             users are shuffled over the groups. p: how often chance alone gives such a gap, adjusted for the number of attributes (Holm, 1979).",
        ));
    } else if !parts.is_empty() {
        parts.push(Part::missing(
            "No attribute has two groups that are large enough, so there are no gaps.",
        ));
    }
    Section::new("axes", "Consistency and fairness", parts)
}
