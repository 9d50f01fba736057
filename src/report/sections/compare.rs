//! Several runs side by side; runs that differ only in the seed also as mean and standard deviation.

use crate::metrics::{Figure, Metric};
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::paired::{Paired, all_set_names};
use crate::report::paper::{MVP_TEST, PAPER, PaperRow, UFP4, paper_base_model};
use crate::report::section::{Chart, Part, Section};
use crate::report::sections::configurations::{differences, seeds};
use crate::report::sections::run_differences;
use crate::report::svg::{Forest, ForestGroup, ForestRow, Quantity, State};
use crate::report::table::{RowKind, Table};
use crate::report::text::Text;

/// A figure that is compared.
#[derive(Debug, Clone, Copy)]
struct Column {
    name: &'static str,
    figure: Compared,
    state: State,
}

/// One of the figures of a set.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Compared {
    Metric(Metric),
    Spmr,
}

const ACCURACY: Compared = Compared::Metric(Metric::PreferenceAccuracy);

/// The columns of every set.
const COLUMNS: [Column; 3] = [
    Column { name: "accuracy before", figure: ACCURACY, state: State::Before },
    Column { name: "accuracy", figure: ACCURACY, state: State::After },
    Column { name: "OPA, chance 50 %", figure: Compared::Metric(Metric::Opa), state: State::After },
];

/// Further columns of a set that has SPMR in any run.
const SPMR_COLUMNS: [Column; 2] = [
    Column { name: "SPMR before", figure: Compared::Spmr, state: State::Before },
    Column { name: "SPMR", figure: Compared::Spmr, state: State::After },
];

/// The comparison: table, differences pair by pair, one forest plot a set, what differs in the configurations.
pub fn section(paired: &Paired) -> Section {
    let runs = &paired.all()[..];
    let charts = all_set_names(runs).into_iter().filter_map(|set| forest(runs, set)).collect();
    let differences = differences(runs);
    let cut = paired.sentences.iter().map(|sentence| Part::reading(format!("{sentence}.")));
    let mut parts: Vec<Part> =
        paired.cautions().into_iter().map(Part::reading).chain(cut).collect();
    parts.extend([
        Part::Table(comparison(runs)),
        Part::note(Text::marked(
            "All in percent, with 95 % bootstrap intervals clustered by user. Accuracy: share of pairs with `s(w) > s(l)`. OPA: the paper's Eq. 3, strict; it has no before, and chance is 50 %. \
             The paper's untuned figures stand under accuracy before, which is all they can be, its tuned ones under OPA.",
        )),
    ]);
    let against = run_differences::differences(runs);
    if let Some(table) = run_differences::table(&against) {
        parts.extend([
            Part::heading("Runs against each other"),
            Part::Charts(run_differences::charts(&against)),
            Part::Table(table),
            Part::note(
                "In percent, A less B, over the same pairs, with 95 % intervals clustered by user: an interval that holds 0 shows no difference. \
                 Beside it the pairs that only one of the two wins.",
            ),
        ]);
    }
    parts.extend([
        Part::Charts(charts),
        Part::heading("What differs in the configurations"),
        if differences.rows().is_empty() {
            Part::note("Nothing but the folder.")
        } else {
            Part::Table(differences)
        },
    ]);
    Section::new("runs", "Results", parts)
}

/// One row a run, then means over seeds, then the paper's rows of a set that has the paper's name.
pub fn comparison(runs: &[&Run]) -> Table {
    let columns = columns(runs);
    let header = columns.iter().map(|(set, column)| format!("{set} {}", column.name));
    let mut rows = Table::new(["run".to_owned()].into_iter().chain(header));
    for run in runs {
        let cells = columns
            .iter()
            .map(|(set, column)| cell::or_none(figure(run, set, *column).map(cell::share)));
        rows.push_as(RowKind::Own, [run.name.clone()].into_iter().chain(cells));
    }
    for alike in seeds(runs) {
        let cells = columns.iter().map(|(set, column)| {
            cell::or_none(values(&alike, set, *column).map(|values| mean_and_deviation(&values)))
        });
        let names: Vec<_> = alike.iter().map(|run| &*run.name).collect();
        let label = format!("mean ± sd of {} seeds: {}", alike.len(), names.join(", "));
        rows.push_as(RowKind::Own, [label].into_iter().chain(cells));
    }
    if columns.iter().any(|(set, _)| [MVP_TEST, UFP4].contains(set)) {
        for [untuned, tuned] in PAPER.as_chunks().0 {
            let cells = columns.iter().map(|(set, column)| {
                let row = if column.state == State::After { tuned } else { untuned };
                cell::or_none(paper_cell(row, set, *column))
            });
            let label = format!("{}, paper", untuned.base_model);
            rows.push_as(RowKind::Paper, [label].into_iter().chain(cells));
        }
    }
    rows
}

fn paper_cell(row: &PaperRow, set: &str, column: Column) -> Option<String> {
    Some(format!("{:.2}", paper_figure(row, set, column)?))
}

/// The paper's figure in percent, of a set that has the paper's name.
fn paper_figure(row: &PaperRow, set: &str, column: Column) -> Option<f64> {
    Some(match (set, column.figure, column.state) {
        (MVP_TEST, Compared::Spmr, _) => row.mvp_test_spmr,
        // The paper's untuned figure can only be an accuracy, see the notes of Table 1.
        (_, ACCURACY, State::After) => return None,
        (MVP_TEST, Compared::Metric(_), _) => row.mvp_test_opa,
        (UFP4, Compared::Metric(_), _) => row.ufp4_opa,
        _ => return None,
    })
}

/// The columns of every set, with its name.
fn columns<'a>(runs: &[&'a Run]) -> Vec<(&'a str, Column)> {
    let has = |set, column: &Column| runs.iter().any(|run| figure(run, set, *column).is_some());
    let columns = |set| {
        let has_spmr = SPMR_COLUMNS.iter().any(|column| has(set, column));
        let spmr = SPMR_COLUMNS.into_iter().filter(move |_| has_spmr);
        COLUMNS.into_iter().chain(spmr).map(move |column| (set, column))
    };
    all_set_names(runs).into_iter().flat_map(columns).collect()
}

fn figure<'a>(run: &'a Run, set: &str, column: Column) -> Option<&'a Figure> {
    let evaluation = match column.state {
        State::Before => run.before.as_ref(),
        State::After => run.after.as_ref(),
    };
    let set = evaluation?.set(set)?;
    match column.figure {
        Compared::Metric(metric) => Some(set.overall.get(metric)),
        Compared::Spmr => Some(set.spmr.as_ref()?.figure()),
    }
}

/// Mean and standard deviation of two values or more; the deviation is that of a sample, over `n - 1`.
fn spread(values: &[f64]) -> [f64; 2] {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    [mean, (squares / (values.len() - 1) as f64).sqrt()]
}

/// `97.21 ± 0.43` in percent.
fn mean_and_deviation(values: &[f64]) -> String {
    let [mean, deviation] = spread(values);
    format!("{:.2} ± {:.2}", 100.0 * mean, 100.0 * deviation)
}

/// The figure of every run; none unless all have it.
fn values(runs: &[&Run], set: &str, column: Column) -> Option<Vec<f64>> {
    runs.iter().map(|run| Some(figure(run, set, column)?.value)).collect()
}

/// One figure of `run` as a row, with the paper's of the same model.
fn row(run: &Run, set: &str, column: Column) -> Option<ForestRow> {
    let base = paper_base_model(run.model());
    let of = |row: &&PaperRow| {
        Some(row.base_model) == base && row.tuned == (column.state == State::After)
    };
    let paper = PAPER.iter().find(of).and_then(|row| paper_figure(row, set, column));
    Some(ForestRow { paper, ..forest_row(column, *figure(run, set, column)?) })
}

fn forest_row(column: Column, figure: Figure) -> ForestRow {
    let (quantity, label) = match (column.figure, column.state) {
        (Compared::Spmr, State::Before) => (Quantity::Spmr, "SPMR before"),
        (Compared::Spmr, State::After) => (Quantity::Spmr, "SPMR"),
        (Compared::Metric(Metric::Opa), _) => (Quantity::Opa, "OPA"),
        (Compared::Metric(_), State::Before) => (Quantity::Accuracy, "before"),
        (Compared::Metric(_), State::After) => (Quantity::Accuracy, "accuracy"),
    };
    ForestRow { label: label.to_owned(), quantity, state: column.state, figure, paper: None }
}

/// The mean over `alike`, runs that differ in the seed, with the band of one standard deviation to either side.
fn band(alike: &[&Run], set: &str) -> ForestGroup {
    let row = |column: Column| {
        let values = values(alike, set, column)?;
        let [mean, deviation] = spread(&values);
        let [low, high] = [mean - deviation, mean + deviation].map(|end| end.clamp(0.0, 1.0));
        let n = figure(alike[0], set, column)?.n;
        let figure = Figure { value: mean, low: Some(low), high: Some(high), n, ties: None };
        Some(forest_row(column, figure))
    };
    let names: Vec<_> = alike.iter().map(|run| &*run.name).collect();
    ForestGroup {
        name: format!("mean ± sd of {} seeds: {}", alike.len(), names.join(", ")),
        rows: COLUMNS.into_iter().filter_map(row).collect(),
        note: String::new(),
    }
}

/// The figures of one set, a group of rows for each run.
pub fn forest(runs: &[&Run], set: &str) -> Option<Chart> {
    let columns = || COLUMNS.into_iter().chain(SPMR_COLUMNS);
    let of_run = |run: &&Run| ForestGroup {
        name: run.name.clone(),
        rows: columns().filter_map(|column| row(run, set, column)).collect(),
        note: String::new(),
    };
    let seeds = seeds(runs);
    let groups = runs.iter().map(of_run).chain(seeds.iter().map(|alike| band(alike, set)));
    let groups: Vec<ForestGroup> = groups.filter(|group| !group.rows.is_empty()).collect();
    let has_paper = groups.iter().flat_map(|group| &group.rows).any(|row| row.paper.is_some());
    let mut reading =
        "Open marks: before tuning; full marks: after. The dashed line is 50 %, OPA's chance."
            .to_owned();
    if has_paper {
        reading += " Crosses are the paper's figures of the same model.";
    }
    if !seeds.is_empty() {
        reading += " The interval of a mean over seeds is one standard deviation to either side.";
    }
    Some(Chart {
        caption: set.to_owned(),
        unit: "%".to_owned(),
        svg: Forest { title: format!("{set}: figures with intervals"), groups }.draw()?,
        reading: reading.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_a_model_of_the_paper_has_its_figures_beside_its_own() {
        let run = crate::report::folder::sample::run();
        let svg = forest(&[&run], "UF-P-4").unwrap().svg;
        assert!(svg.contains("in the paper 54.90") && svg.contains("in the paper 50.47"), "{svg}");
        assert_eq!(svg.matches("paper-mark").count(), 2);
        let other = Run { config: toml::Table::new(), ..run.clone() };
        let other = Run { before: None, after: None, ..other };
        assert_eq!(forest(&[&other], "UF-P-4"), None);
    }

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_deviation(&[0.5, 0.6, 0.7]), "60.00 ± 10.00");
    }
}
