//! The paper's Table 1 with this run's rows beside it.

use crate::console::units;
use crate::metrics::{Evaluation, Metric};
use crate::report::cell;
use crate::report::paper::{MVP_TEST, PAPER, PaperRow, UFP4, paper_base_model};
use crate::report::table::{Table, wrap};

/// The rows and what must be said about them, for the console and for Markdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table1 {
    table: Table,
    notes: Vec<String>,
}

/// A column after the first two.
enum Column<'a> {
    Opa(&'a str),
    Spmr(&'a str),
}

impl Table1 {
    /// The table for one run.
    ///
    /// Columns are the run's sets, in its order. The paper's rows stand beside ours where the model is one of the paper's (see
    /// [`paper_base_model`]), all of them beneath ours where it is not, and not at all where no set has one of the paper's names.
    pub fn new(before: Option<&Evaluation>, after: Option<&Evaluation>) -> Self {
        let names = set_names(before, after);
        let has_spmr = |name: &str| {
            let sets = before.into_iter().chain(after).filter_map(|e| e.set(name));
            sets.into_iter().any(|set| set.spmr.is_some())
        };
        let columns = columns(&names, has_spmr);
        let header = columns.iter().map(|column| match column {
            Column::Opa(name) => format!("{name} OPA"),
            Column::Spmr(name) => format!("{name} SPMR"),
        });
        let mut table =
            Table::new(["base model".to_owned(), "tuned".to_owned()].into_iter().chain(header));
        let push_paper = |table: &mut Table, base: Option<&str>, tuned: Option<bool>| {
            for row in PAPER.iter().filter(|row| base.is_none_or(|base| row.base_model == base)) {
                if tuned.is_none_or(|tuned| row.tuned == tuned) {
                    table.push(paper_cells(row, &columns));
                }
            }
        };

        let model = after.or(before).map_or("", |evaluation| &evaluation.model);
        let has_paper_set = names.iter().any(|name| [MVP_TEST, UFP4].contains(name));
        let base = paper_base_model(model).filter(|_| has_paper_set);
        if base.is_some() {
            push_paper(&mut table, base, Some(false));
        }
        if let Some(before) = before {
            let tuned = if before.adapter.is_some() { "start" } else { "no" };
            table.push(run_cells(
                "this run: accuracy [1]",
                tuned,
                before,
                Metric::PreferenceAccuracy,
                &columns,
            ));
        }
        if base.is_some() {
            push_paper(&mut table, base, Some(true));
        }
        if let Some(after) = after {
            table.push(run_cells("this run: OPA [2]", "yes", after, Metric::Opa, &columns));
            table.push(run_cells(
                "this run: accuracy [1]",
                "yes",
                after,
                Metric::PreferenceAccuracy,
                &columns,
            ));
        }
        if base.is_none() && has_paper_set {
            push_paper(&mut table, None, None);
        }
        Self { table, notes: notes(before, after, model, base.is_some(), has_paper_set) }
    }

    /// Plain aligned text in at most 100 columns, notes below.
    pub fn to_text(&self) -> String {
        let notes: Vec<String> = self.notes.iter().map(|note| wrap(note)).collect();
        format!("{}\n{}\n", self.table.to_text(2), notes.join("\n"))
    }

    /// The rows, and the notes below.
    pub fn into_parts(self) -> (Table, Vec<String>) {
        (self.table, self.notes)
    }

    /// A Markdown table, notes below.
    pub fn to_markdown(&self) -> String {
        format!("{}\n{}\n", self.table.to_markdown(), self.notes.join("\n\n"))
    }
}

/// The sets of either evaluation, in the configuration's order.
pub(super) fn set_names<'a>(
    before: Option<&'a Evaluation>,
    after: Option<&'a Evaluation>,
) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for set in after.into_iter().chain(before).flat_map(|evaluation| &evaluation.sets) {
        if !names.contains(&&*set.name) {
            names.push(&set.name);
        }
    }
    names
}

/// SPMR has a column where it was measured or the paper has a figure.
fn columns<'a>(names: &[&'a str], has_spmr: impl Fn(&str) -> bool) -> Vec<Column<'a>> {
    let column = |&name: &&'a str| {
        let spmr = (name == MVP_TEST || has_spmr(name)).then_some(Column::Spmr(name));
        std::iter::once(Column::Opa(name)).chain(spmr)
    };
    names.iter().flat_map(column).collect()
}

fn paper_cells(row: &PaperRow, columns: &[Column<'_>]) -> Vec<String> {
    let cell = |column: &Column<'_>| match column {
        Column::Opa(MVP_TEST) => format!("{:.2}", row.mvp_test_opa),
        Column::Opa(UFP4) => format!("{:.2}", row.ufp4_opa),
        Column::Spmr(MVP_TEST) => format!("{:.2}", row.mvp_test_spmr),
        Column::Opa(_) | Column::Spmr(_) => cell::NONE.to_owned(),
    };
    let tuned = if row.tuned { "yes" } else { "no" };
    [format!("{}, paper", row.base_model), tuned.to_owned()]
        .into_iter()
        .chain(columns.iter().map(cell))
        .collect()
}

fn run_cells(
    label: &str,
    tuned: &str,
    evaluation: &Evaluation,
    metric: Metric,
    columns: &[Column<'_>],
) -> Vec<String> {
    let cell = |column: &Column<'_>| match column {
        Column::Opa(name) => evaluation.set(name).map_or_else(
            || cell::NONE.to_owned(),
            |set| cell::figure(metric, set.overall.get(metric)),
        ),
        Column::Spmr(name) => evaluation
            .set(name)
            .and_then(|set| set.spmr.as_ref())
            .map_or_else(|| cell::NONE.to_owned(), |spmr| cell::share(spmr.figure())),
    };
    [label.to_owned(), tuned.to_owned()].into_iter().chain(columns.iter().map(cell)).collect()
}

fn notes(
    before: Option<&Evaluation>,
    after: Option<&Evaluation>,
    model: &str,
    is_paper_model: bool,
    has_paper_set: bool,
) -> Vec<String> {
    let mut notes = vec![
        "[1] accuracy: share of pairs with `s_policy(w) > s_policy(l)`, s an answer's summed log-probability. An untuned model \
         is its own reference, so its strict OPA is 0 with every pair a tie; the paper's `no` rows can only be this."
            .to_owned(),
        "[2] OPA: share of pairs with `s_policy(w) - s_policy(l) > s_ref(w) - s_ref(l)`, the paper's Eq. 3. Ties are not won."
            .to_owned(),
    ];
    let ties = |set: &crate::metrics::SetResult| {
        let ties = set.overall.opa.ties.filter(|&ties| ties > 0)?;
        Some(format!("{}: {} of {} pairs", set.name, units::count(ties), units::count(set.n)))
    };
    let ties: Vec<String> =
        after.map_or(Vec::new(), |after| after.sets.iter().filter_map(ties).collect());
    if !ties.is_empty() {
        notes.push(format!("OPA ties after tuning: {}.", ties.join("; ")));
    }
    let figures = after.or(before).map_or_else(String::new, |evaluation| {
        format!(
            "; in brackets the 95 % bootstrap interval, clustered by user ({} resamples, seed {}; no brackets where all pairs are of one user)",
            units::count(evaluation.resamples),
            evaluation.seed
        )
    });
    notes.push(format!("All figures in percent{figures}."));
    notes.extend(spmr_note(after.or(before)));
    if before.is_some_and(|before| before.adapter.is_some()) {
        notes.push("`start`: with the adapter that tuning began from.".to_owned());
    }
    if !has_paper_set {
        notes.push(format!(
            "The paper has figures for `{MVP_TEST}` and `{UFP4}`; no set of this run has that name."
        ));
    } else if !is_paper_model {
        notes
            .push(format!("The paper has no row for `{model}`; its rows are shown for reference."));
    }
    notes
}

/// What SPMR is here, or why there is none.
fn spmr_note(evaluation: Option<&Evaluation>) -> Option<String> {
    let sets = &evaluation?.sets;
    let Some(spmr) = sets.iter().find_map(|set| set.spmr.as_ref()) else {
        return sets.iter().any(|set| set.name == MVP_TEST).then(|| {
            "SPMR was not computed: that takes `spmr` among the metrics of a set and a sentence encoder, `eval.spmr.embedder`."
                .to_owned()
        });
    };
    let prompt = if spmr.embed_prompt { "after its prompt" } else { "without its prompt" };
    Some(format!(
        "SPMR: share of prompts whose generated answer (greedy, at most {} tokens, embedded {prompt}) and preferred answer have a \
         cosine above {} under `{}`, the paper's Eq. 4; its authors embedded the answer after its prompt.",
        spmr.max_new_tokens, spmr.threshold, spmr.embedder
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::run::sample::evaluations;
    use crate::report::table::CONSOLE_WIDTH;

    /// Lines of the console version that begin with the paper's or our rows: label, tuned and the rest.
    fn rows(table: &Table1) -> Vec<Vec<String>> {
        let text = table.to_text();
        let lines = text.lines().take_while(|line| !line.is_empty()).skip(1);
        lines
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .map(Into::into)
                    .collect()
            })
            .collect()
    }

    #[test]
    fn our_rows_stand_beside_the_papers_row_of_the_same_model() {
        let (before, after) = evaluations("meta-llama/Llama-2-7b-hf", &["MVP_test", "UF-P-4"]);
        let rows = rows(&Table1::new(Some(&before), Some(&after)));
        let labels: Vec<_> = rows.iter().map(|row| format!("{} {}", row[0], row[1])).collect();
        assert_eq!(
            labels,
            [
                "Llama2-7b, paper no",
                "this run: accuracy [1] no",
                "Llama2-7b, paper yes",
                "this run: OPA [2] yes",
                "this run: accuracy [1] yes"
            ]
        );
        assert_eq!(rows[0][2..], ["44.08", "5.87", "50.47"]);
        assert_eq!(rows[2][2..], ["99.60", "26.60", "54.90"]);
        assert!(rows[1][2].starts_with("25.00 [") && rows[3][2].starts_with("75.00 ["));
        assert_eq!(rows[3][3], "-");
    }

    #[test]
    fn an_unknown_model_gets_all_of_the_papers_rows_beneath() {
        let (before, after) = evaluations("models/tiny", &["UF-P-4", "mine"]);
        let table = Table1::new(Some(&before), Some(&after));
        let rows = rows(&table);
        assert_eq!(rows.len(), 3 + PAPER.len());
        assert_eq!(rows[3], ["Llama2-7b, paper", "no", "50.47", "-"]);
        assert!(table.to_text().contains("no row for `models/tiny`"));
        assert!(!table.to_text().contains("MVP_test SPMR"));
    }

    #[test]
    fn the_papers_figures_never_stand_under_another_name() {
        let (before, after) = evaluations("Llama-2-7b-hf", &["mvp_test_small"]);
        let text = Table1::new(Some(&before), Some(&after)).to_text();
        assert!(!text.contains("paper  ") && !text.contains("44.08"), "{text}");
    }

    #[test]
    fn the_console_version_fits_in_100_columns_and_markdown_has_the_same_rows() {
        let names: Vec<String> = (0..9).map(|set| format!("a long set name {set}")).collect();
        let names: Vec<&str> =
            ["MVP_test"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let (before, after) = evaluations("llama-2-13b-chat-hf", &names);
        let table = Table1::new(Some(&before), Some(&after));
        let text = table.to_text();
        assert!(text.lines().all(|line| line.chars().count() <= CONSOLE_WIDTH), "{text}");
        let markdown = table.to_markdown();
        assert!(
            markdown.contains("| Llama2-13b-chat, paper | yes | 99.66 | 27.81 | - |"),
            "{markdown}"
        );
        assert!(names.iter().all(|name| text.contains(name) && markdown.contains(name)));
    }

    #[test]
    fn one_side_alone_is_a_table_too() {
        let (before, _) = evaluations("llama-2-7b-hf", &["UF-P-4"]);
        assert_eq!(rows(&Table1::new(Some(&before), None)).len(), 3);
        assert_eq!(rows(&Table1::new(None, None)).len(), 0);
    }
}
