//! The notes below Table 1: how its figures are defined, and what the paper has beside them.

use crate::console::units;
use crate::metrics::{Evaluation, SetResult};
use crate::report::paper::{MVP_TEST, UFP4};
use crate::report::text::Text;

/// One text per note; `has_paper_set`: whether a set has one of the paper's names.
pub(super) fn notes(
    before: Option<&Evaluation>,
    after: Option<&Evaluation>,
    model: &str,
    is_paper_model: bool,
    has_paper_set: bool,
) -> Vec<Text> {
    let mut notes = vec![
        Text::marked(
            "Accuracy: share of pairs with `s_policy(w) > s_policy(l)`, s an answer's summed log-probability. The paper's `no` rows \
             can only be this; its `yes` rows are OPA.",
        ),
        Text::marked(
            "OPA: share of pairs with `s_policy(w) - s_policy(l) > s_ref(w) - s_ref(l)`, the paper's Eq. 3. Ties are not won. A model that \
             learned nothing moves half of the pairs each way, so chance is 50 %; an untuned model is its own reference and ties \
             everywhere, so OPA has no before and no change.",
        ),
    ];
    let ties = |set: &SetResult| {
        let ties = set.overall.opa.ties.filter(|&ties| ties > 0)?;
        Some(format!("{}: {} of {} pairs", set.name, units::count(ties), units::count(set.n)))
    };
    let ties: Vec<String> =
        after.map_or(Vec::new(), |after| after.sets.iter().filter_map(ties).collect());
    if !ties.is_empty() {
        notes.push(format!("OPA ties after tuning: {}.", ties.join("; ")).into());
    }
    let figures = after.or(before).map_or_else(String::new, |evaluation| {
        format!(
            "; in brackets the 95 % interval, clustered by user (bootstrap of {} resamples, seed {}; Wilson's with the design effect for few users and at 0 and 100; \
             no brackets where all pairs are of one user)",
            units::count(evaluation.resamples),
            evaluation.seed
        )
    });
    notes.push(format!("All figures in percent{figures}.").into());
    notes.extend(spmr_note(after.or(before)));
    if before.is_some_and(|before| before.adapter.is_some()) {
        notes.push(Text::marked("`start`: with the adapter that tuning began from."));
    }
    if !has_paper_set {
        notes.push(Text::marked(&format!(
            "The paper has figures for `{MVP_TEST}` and `{UFP4}`; no set of this run has that name."
        )));
    } else if !is_paper_model {
        let note = Text::from("The paper has no row for ").and(Text::code(model));
        notes.push(note.and("; its rows are shown for reference."));
    }
    notes
}

/// How SPMR was measured, or why there is none.
fn spmr_note(evaluation: Option<&Evaluation>) -> Option<Text> {
    let sets = &evaluation?.sets;
    let Some(spmr) = sets.iter().find_map(|set| set.spmr.as_ref()) else {
        return sets.iter().any(|set| set.name == MVP_TEST).then(|| {
            Text::marked(
                "SPMR was not computed: that takes `spmr` among the metrics of a set and a sentence encoder, `eval.spmr.embedder`.",
            )
        });
    };
    let prompt = if spmr.embed_prompt { "after its prompt" } else { "without its prompt" };
    let note = Text::from(format!(
        "SPMR: share of prompts whose generated answer (greedy, at most {} tokens, embedded {prompt}) and preferred answer have a \
         cosine above {} under ",
        spmr.max_new_tokens, spmr.threshold
    ));
    let note = note.and(Text::code(&spmr.embedder));
    Some(note.and(", the paper's Eq. 4; its authors embedded the answer after its prompt."))
}
