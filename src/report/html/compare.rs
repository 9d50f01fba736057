//! Several runs side by side; runs that differ in nothing but the seed also as mean and standard deviation.

use crate::console::units;
use std::collections::BTreeSet;

use crate::metrics::{Figure, Metric};
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::html::curves::run_class;
use crate::report::html::{figure, grid, table};
use crate::report::markup::paragraph;
use crate::report::paper::{MVP_TEST, PAPER, PaperRow, UFP4};
use crate::report::svg::{DotChart, DotRow, Mark, Shape};
use crate::report::table::Table;

/// A figure that is compared: its name, which it is, and whether it is that of the tuned model.
type Column = (&'static str, Which, bool);

/// One of the figures of a set.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Which {
    Of(Metric),
    Spmr,
}

/// OPA after tuning, and the preference accuracy before and after.
const COLUMNS: [Column; 3] = [
    ("accuracy before", Which::Of(Metric::PreferenceAccuracy), false),
    ("accuracy", Which::Of(Metric::PreferenceAccuracy), true),
    ("OPA", Which::Of(Metric::Opa), true),
];

/// SPMR before and after, of a set of which a run has it.
const SPMR_COLUMNS: [Column; 2] =
    [("SPMR before", Which::Spmr, false), ("SPMR", Which::Spmr, true)];

/// The columns of every set, with its name.
fn columns<'a>(runs: &[&'a Run]) -> Vec<(&'a str, Column)> {
    let has_spmr = |set| {
        runs.iter().any(|run| {
            [false, true].iter().any(|&after| share(run, set, Which::Spmr, after).is_some())
        })
    };
    set_names(runs)
        .into_iter()
        .flat_map(|set| {
            let more = SPMR_COLUMNS.into_iter().filter(move |_| has_spmr(set));
            COLUMNS.into_iter().chain(more).map(move |column| (set, column))
        })
        .collect()
}

/// The sets of all runs, in the order of their first appearance.
pub fn set_names<'a>(runs: &[&'a Run]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        for name in crate::report::table1::set_names(run.before.as_ref(), run.after.as_ref()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// One row a run, then means over seeds, then the paper's rows of a set that has the paper's name.
pub fn comparison(runs: &[&Run]) -> Table {
    let columns = columns(runs);
    let header = columns.iter().map(|(set, (name, ..))| format!("{set} {name}"));
    let mut rows = Table::new(["run".to_owned()].into_iter().chain(header));
    for run in runs {
        let cells = columns.iter().map(|(set, (_, which, after))| {
            share(run, set, *which, *after)
                .map_or_else(|| cell::NONE.to_owned(), |figure| cell::share(&figure))
        });
        rows.push([run.name.clone()].into_iter().chain(cells));
    }
    for alike in seeds(runs) {
        let cells = columns.iter().map(|(set, (_, which, after))| {
            let values: Option<Vec<f64>> =
                alike.iter().map(|run| Some(share(run, set, *which, *after)?.value)).collect();
            values.map_or_else(|| cell::NONE.to_owned(), |values| mean_and_deviation(&values))
        });
        let names: Vec<_> = alike.iter().map(|run| &*run.name).collect();
        let label = format!("mean ± sd of {} seeds: {}", alike.len(), names.join(", "));
        rows.push([label].into_iter().chain(cells));
    }
    if columns.iter().any(|(set, _)| [MVP_TEST, UFP4].contains(set)) {
        for pair in PAPER.chunks_exact(2) {
            let cells = columns.iter().map(|(set, (_, which, after))| {
                let row: &PaperRow = &pair[usize::from(*after)];
                match (*set, which, after) {
                    (MVP_TEST, Which::Spmr, _) => format!("{:.2}", row.mvp_test_spmr),
                    // The paper's untuned figure can only be an accuracy, see the notes of Table 1.
                    (_, Which::Of(Metric::PreferenceAccuracy), true) => cell::NONE.to_owned(),
                    (MVP_TEST, Which::Of(_), _) => format!("{:.2}", row.mvp_test_opa),
                    (UFP4, Which::Of(_), _) => format!("{:.2}", row.ufp4_opa),
                    _ => cell::NONE.to_owned(),
                }
            });
            rows.push([format!("{}, paper", pair[0].base_model)].into_iter().chain(cells));
        }
    }
    rows
}

fn share(run: &Run, set: &str, which: Which, after: bool) -> Option<Figure> {
    let evaluation = if after { run.after.as_ref() } else { run.before.as_ref() };
    let set = evaluation?.set(set)?;
    Some(match which {
        Which::Of(metric) => *set.overall.get(metric),
        Which::Spmr => *set.spmr.as_ref()?.figure(),
    })
}

/// `97.21 ± 0.43` in percent; the deviation is that of a sample, over `n - 1`.
fn mean_and_deviation(values: &[f64]) -> String {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (squares / (values.len() - 1) as f64).sqrt();
    format!("{:.2} ± {:.2}", 100.0 * mean, 100.0 * deviation)
}

/// The groups of two runs and more whose configurations differ in nothing but seed and folder.
fn seeds<'a>(runs: &[&'a Run]) -> Vec<Vec<&'a Run>> {
    let mut groups: Vec<(toml::Table, Vec<&Run>)> = Vec::new();
    for &run in runs {
        let rest = without_seed(run);
        match groups.iter_mut().find(|(known, _)| *known == rest) {
            Some((_, alike)) => alike.push(run),
            None => groups.push((rest, vec![run])),
        }
    }
    let seed = |run: &Run| run.setting("train.seed").map(toml::Value::to_string);
    let all_differ = |alike: &[&Run]| {
        alike.iter().map(|run| seed(run)).collect::<BTreeSet<_>>().len() == alike.len()
    };
    groups.into_iter().map(|(_, alike)| alike).filter(|a| a.len() > 1 && all_differ(a)).collect()
}

fn without_seed(run: &Run) -> toml::Table {
    let mut config = run.config.clone();
    config.remove("output");
    if let Some(train) = config.get_mut("train").and_then(|train| train.as_table_mut()) {
        train.remove("seed");
    }
    config
}

/// The keys whose values are not the same in all runs.
pub fn differences(runs: &[&Run]) -> Table {
    let keys: BTreeSet<String> = runs
        .iter()
        .flat_map(|run| &run.config)
        .flat_map(|(section, table)| {
            let keys = table.as_table().into_iter().flatten();
            keys.map(move |(key, _)| format!("{section}.{key}"))
        })
        .collect();
    let header = runs.iter().map(|run| run.name.clone());
    let mut rows = Table::new(["key".to_owned()].into_iter().chain(header));
    for key in keys.into_iter().filter(|key| key != "output.dir") {
        let values: Vec<String> = runs
            .iter()
            .map(|run| {
                run.setting(&key).map_or_else(|| cell::NONE.to_owned(), toml::Value::to_string)
            })
            .collect();
        if values.iter().any(|value| *value != values[0]) {
            rows.push([format!("`{key}`")].into_iter().chain(values));
        }
    }
    rows
}

/// The comparison as a section: table, one dot plot a set, what differs.
pub fn compare(runs: &[&Run]) -> String {
    let rows = comparison(runs);
    let class = |name: &str| if name.ends_with(", paper") { "paper" } else { "own" };
    let mut html = table(&rows, class);
    html += &paragraph(
        "note",
        "All in percent, with 95 % bootstrap intervals clustered by user. Accuracy: share of pairs with `s(w) > s(l)`. OPA: the paper's Eq. 3, strict. \
         The paper's untuned figures stand under accuracy before, which is all they can be, its tuned ones under OPA.",
    );
    html +=
        &grid(&set_names(runs).into_iter().filter_map(|set| dots(runs, set)).collect::<Vec<_>>());
    let differences = differences(runs);
    html += "<h3>What differs in the configurations</h3>\n";
    html += &if differences.rows().is_empty() {
        paragraph("note", "Nothing but the folder.")
    } else {
        table(&differences, |_| "")
    };
    html
}

fn dots(runs: &[&Run], set: &str) -> Option<String> {
    let mark = |run: &Run, index: usize, (name, which, after): Column, shape| {
        let figure = share(run, set, which, after)?;
        Some(Mark {
            class: run_class(index),
            shape,
            value: 100.0 * figure.value,
            interval: figure.low.zip(figure.high).map(|(low, high)| [100.0 * low, 100.0 * high]),
            description: format!("{name} {}", cell::share(&figure)),
        })
    };
    let shapes = [Shape::Ring, Shape::Disc, Shape::Diamond];
    let row = |(index, run): (usize, &&Run)| {
        let marks = COLUMNS.into_iter().zip(shapes);
        DotRow {
            name: run.name.clone(),
            count: share(run, set, Which::Of(Metric::Opa), true)
                .map_or_else(String::new, |f| units::count(f.n)),
            marks: marks.filter_map(|(column, shape)| mark(run, index, column, shape)).collect(),
        }
    };
    let chart = DotChart {
        title: set.to_owned(),
        x_label: "% of pairs".to_owned(),
        count_label: "n".to_owned(),
        rows: runs.iter().enumerate().map(row).filter(|row| !row.marks.is_empty()).collect(),
        reference: Some(50.0),
    };
    let reading = "Ring: accuracy before; disc: accuracy after; diamond: OPA after; lines are 95 % intervals.";
    Some(figure(set, "", &chart.draw()?, reading))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_deviation(&[0.5, 0.6, 0.7]), "60.00 ± 10.00");
    }
}
