//! The paper's Table 1 with this run's rows beside it.

mod notes;

use crate::metrics::{Evaluation, Metric};
use crate::report::brief::{Shown, brief};
use crate::report::cell;
use crate::report::paper::{MVP_TEST, PAPER, PaperRow, UFP4, paper_base_model};
use crate::report::section::Part;
use crate::report::states::set_names;
use crate::report::table::{RowKind, Table};
use crate::report::text::Text;

/// Label and metric of the rows of a run.
const ACCURACY: (&str, Metric) = ("this run: accuracy", Metric::PreferenceAccuracy);
const OPA: (&str, Metric) = ("this run: OPA, chance 50 %", Metric::Opa);

/// The rows and the notes that explain them, for the console and for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table1 {
    cautions: Vec<Text>,
    table: Table,
    notes: Vec<Text>,
}

/// A column after the first two; accuracy and OPA of a set share one, for a row is of one of them.
enum Column<'a> {
    Preference(&'a str),
    Spmr(&'a str),
}

impl Table1 {
    /// The table for one run.
    ///
    /// Columns are the run's sets, in its order. The paper's rows of the same model (see [`paper_base_model`]) stand beside ours. For
    /// another model, all of the paper's rows stand beneath ours. A run whose sets have other names than the paper's shows none.
    pub fn new(before: Option<&Evaluation>, after: Option<&Evaluation>) -> Self {
        let names = set_names(before, after);
        let has_spmr = |name: &str| {
            let sets = before.into_iter().chain(after).filter_map(|e| e.set(name));
            sets.into_iter().any(|set| set.spmr.is_some())
        };
        let columns = columns(&names, has_spmr);
        let header = columns.iter().map(|column| match column {
            Column::Preference(name) => (*name).to_owned(),
            Column::Spmr(name) => format!("{name} SPMR"),
        });
        let mut table =
            Table::new(["base model".to_owned(), "tuned".to_owned()].into_iter().chain(header));
        let push_paper = |table: &mut Table, base: Option<&str>, tuned: Option<bool>| {
            for row in PAPER.iter().filter(|row| base.is_none_or(|base| row.base_model == base)) {
                if tuned.is_none_or(|tuned| row.tuned == tuned) {
                    table.push_as(RowKind::Paper, paper_cells(row, &columns));
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
            table.push_as(RowKind::Own, run_cells(ACCURACY, tuned, before, &columns));
        }
        if base.is_some() {
            push_paper(&mut table, base, Some(true));
        }
        if let Some(after) = after {
            for figure in [ACCURACY, OPA] {
                table.push_as(RowKind::Own, run_cells(figure, "yes", after, &columns));
            }
        }
        if base.is_none() && has_paper_set {
            push_paper(&mut table, None, None);
        }
        Self {
            cautions: Vec::new(),
            table,
            notes: notes::notes(before, after, model, base.is_some(), has_paper_set),
        }
    }

    /// The same with `cautions` above it.
    pub fn below(self, cautions: &[Text]) -> Self {
        Self { cautions: cautions.to_vec(), ..self }
    }

    /// Plain aligned text for a console, below the first of the cautions and notes.
    pub fn to_text(&self) -> Shown {
        let notes: Vec<&Text> = self.cautions.iter().chain(&self.notes).collect();
        let (lines, shown) = brief(&notes);
        let above: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let gap = if lines.is_empty() { "" } else { "\n" };
        let text = format!("{above}{gap}{}", self.table.to_text(2));
        Shown { text, left_out: notes.len() - shown }
    }

    /// The cautions, the table and the notes below it.
    pub fn into_parts(self) -> Vec<Part> {
        self.cautions
            .into_iter()
            .map(Part::reading)
            .chain([Part::Table(self.table)])
            .chain(self.notes.into_iter().map(Part::note))
            .collect()
    }
}

/// Accuracy and OPA of every set, and SPMR of a set that has it here or in the paper.
fn columns<'a>(names: &[&'a str], has_spmr: impl Fn(&str) -> bool) -> Vec<Column<'a>> {
    let column = |&name: &&'a str| {
        let spmr = (name == MVP_TEST || has_spmr(name)).then_some(Column::Spmr(name));
        std::iter::once(Column::Preference(name)).chain(spmr)
    };
    names.iter().flat_map(column).collect()
}

fn paper_cells(row: &PaperRow, columns: &[Column<'_>]) -> Vec<String> {
    let cell = |column: &Column<'_>| match column {
        Column::Preference(MVP_TEST) => format!("{:.2}", row.mvp_test_opa),
        Column::Preference(UFP4) => format!("{:.2}", row.ufp4_opa),
        Column::Spmr(MVP_TEST) => format!("{:.2}", row.mvp_test_spmr),
        Column::Preference(_) | Column::Spmr(_) => cell::NONE.to_owned(),
    };
    let tuned = if row.tuned { "yes" } else { "no" };
    [format!("{}, paper", row.base_model), tuned.to_owned()]
        .into_iter()
        .chain(columns.iter().map(cell))
        .collect()
}

fn run_cells(
    (label, metric): (&str, Metric),
    tuned: &str,
    evaluation: &Evaluation,
    columns: &[Column<'_>],
) -> Vec<String> {
    let cell = |column: &Column<'_>| match column {
        Column::Preference(name) => {
            let set = evaluation.set(name);
            cell::or_none(set.map(|set| cell::figure(metric, set.overall.get(metric))))
        }
        Column::Spmr(name) => {
            let spmr = evaluation.set(name).and_then(|set| set.spmr.as_ref());
            cell::or_none(spmr.map(|spmr| cell::share(spmr.figure())))
        }
    };
    [label.to_owned(), tuned.to_owned()].into_iter().chain(columns.iter().map(cell)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::wrap::COLUMNS;
    use crate::report::run::sample::evaluations;
    use crate::report::section::Page;

    /// The cells of every row: label, tuned and the rest.
    fn rows(table: &Table1) -> Vec<Vec<String>> {
        let cells =
            |row: &crate::report::table::Row| row.cells.iter().map(Text::to_string).collect();
        table.table.rows().iter().map(cells).collect()
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
                "this run: accuracy no",
                "Llama2-7b, paper yes",
                "this run: accuracy yes",
                "this run: OPA, chance 50 % yes"
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
        assert!(table.notes.iter().any(|n| n.to_string().contains("no row for `models/tiny`")));
        assert!(!table.to_text().text.contains("MVP_test SPMR"));
    }

    #[test]
    fn the_papers_figures_never_stand_under_another_name() {
        let (before, after) = evaluations("Llama-2-7b-hf", &["mvp_test_small"]);
        let text = Table1::new(Some(&before), Some(&after)).to_text().text;
        assert!(!text.contains("paper  ") && !text.contains("44.08"), "{text}");
    }

    #[test]
    fn the_console_version_fits_in_80_columns_and_a_page_has_the_same_rows() {
        let names: Vec<String> = (0..9).map(|set| format!("a long set name {set}")).collect();
        let names: Vec<&str> =
            ["MVP_test"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let (before, after) = evaluations("llama-2-13b-chat-hf", &names);
        let table = Table1::new(Some(&before), Some(&after));
        let text = table.to_text().text;
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        let page = Page { intro: table.into_parts(), ..Page::default() };
        let markdown = crate::report::markdown::page(&page);
        assert!(
            markdown.contains("| Llama2-13b-chat, paper | yes | 99.66 | 27.81 | - |"),
            "{markdown}"
        );
        assert!(names.iter().all(|name| text.contains(name) && markdown.contains(name)));
        assert_eq!(text.matches("Llama2-13b-chat, paper  yes").count(), 1, "{text}");
    }

    #[test]
    fn every_row_of_the_paper_is_printed_once() {
        let (before, after) = evaluations("models/tiny", &["MVP_test", "UF-P-4", "mine"]);
        let text = Table1::new(Some(&before), Some(&after)).to_text().text;
        let rows: Vec<&str> = text.lines().filter(|line| line.contains(", paper ")).collect();
        assert_eq!(rows.len(), PAPER.len(), "{text}");
        assert_eq!(
            rows[0].split_whitespace().collect::<Vec<_>>()[2..],
            ["no", "44.08", "5.87", "50.47"]
        );
        let paper = &text[text.find(rows[0]).unwrap()..];
        assert_eq!(paper.lines().count(), PAPER.len(), "{text}");
    }

    #[test]
    fn no_column_is_called_opa_for_its_rows_name_their_figures() {
        let (before, after) = evaluations("models/tiny", &["p"]);
        for table in [Table1::new(Some(&before), None), Table1::new(Some(&before), Some(&after))] {
            assert_eq!(table.table.header()[2], "p".into());
            assert!(rows(&table).iter().all(|row| row[0].starts_with("this run: ")));
        }
    }

    #[test]
    fn one_side_alone_is_a_table_too() {
        let (before, _) = evaluations("llama-2-7b-hf", &["UF-P-4"]);
        assert_eq!(rows(&Table1::new(Some(&before), None)).len(), 3);
        assert_eq!(rows(&Table1::new(None, None)).len(), 0);
    }
}
