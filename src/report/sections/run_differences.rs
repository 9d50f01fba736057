//! Runs against each other, pair by pair: which one wins more, and by how much.

use crate::console::units;
use crate::metrics::{Metric, PairScore, difference};
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::paired::{all_set_names, newest};
use crate::report::table::Table;

/// Most runs of which each is compared with every other; of more, each is compared with the first.
const ALL_AGAINST_ALL: usize = 4;

/// What is compared; an untuned model has no OPA.
const METRICS: [Metric; 2] = [Metric::PreferenceAccuracy, Metric::Opa];

/// One row for each set, metric and two runs; none without a set that two runs have. `runs` are those of
/// [`crate::report::paired::Paired`].
pub fn table(runs: &[&Run]) -> Option<Table> {
    let mut rows = Table::new([
        "A - B",
        "set",
        "figure (%)",
        "difference",
        "A alone wins",
        "B alone wins",
        "alike",
    ]);
    for name in all_set_names(runs) {
        for [a, b] in couples(runs) {
            let (of_a, of_b) = (newest(a, name), newest(b, name));
            let is_tuned = a.after.is_some() && b.after.is_some();
            for metric in METRICS.into_iter().filter(|one| is_tuned || *one != Metric::Opa) {
                rows_of(&mut rows, [a, b], name, metric, [of_a, of_b]);
            }
        }
    }
    (!rows.rows().is_empty()).then_some(rows)
}

fn couples<'a>(runs: &[&'a Run]) -> Vec<[&'a Run; 2]> {
    let firsts = if runs.len() > ALL_AGAINST_ALL { 1 } else { runs.len() };
    (0..firsts)
        .flat_map(|a| (a + 1..runs.len()).map(move |b| [a, b]))
        .map(|[a, b]| if firsts == 1 { [runs[b], runs[a]] } else { [runs[a], runs[b]] })
        .collect()
}

fn rows_of(
    rows: &mut Table,
    [a, b]: [&Run; 2],
    set: &str,
    metric: Metric,
    [of_a, of_b]: [&[PairScore]; 2],
) {
    let Some(beta) = a.after.as_ref().or(a.before.as_ref()).map(|evaluation| evaluation.beta)
    else {
        return;
    };
    // Other pairs, or none, are no difference.
    let Ok(metrics) = difference(of_b, of_a, beta) else { return };
    let won = |score: &PairScore| metric.compare(score).is_some_and(std::cmp::Ordering::is_gt);
    let count = |wanted: [bool; 2]| {
        of_a.iter().zip(of_b).filter(|(a, b)| [won(a), won(b)] == wanted).count()
    };
    let (a_alone, b_alone) = (count([true, false]), count([false, true]));
    rows.push([
        format!("{} - {}", a.name, b.name),
        set.to_owned(),
        metric.name().to_owned(),
        cell::change(metric, metrics.get(metric)),
        units::count(a_alone),
        units::count(b_alone),
        units::count(of_a.len() - a_alone - b_alone),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::paired::sample::run_of;

    fn rows(runs: &[&Run]) -> Vec<Vec<String>> {
        let table = table(runs).unwrap();
        table.rows().iter().map(|row| row.cells.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn a_difference_has_an_interval_and_counts_of_pairs() {
        let (one, two) = (run_of("one", 0..100, 70), run_of("two", 0..100, 40));
        for (row, metric) in rows(&[&one, &two]).iter().zip(["preference_accuracy", "opa"]) {
            assert_eq!(row[..3], ["one - two", "UF-P-4", metric]);
            assert!(row[3].starts_with("+30.00 [+2") && row[3].ends_with(']'), "{row:?}");
            assert_eq!(row[4..], ["30", "0", "70"]);
        }
        let swapped = &rows(&[&two, &one])[0];
        assert!(swapped[3].starts_with("-30.00 [-3"), "{swapped:?}");
        assert_eq!(swapped[4..], ["0", "30", "70"]);
    }

    #[test]
    fn an_untuned_model_is_compared_without_opa_and_other_pairs_not_at_all() {
        let (one, mut base) = (run_of("one", 0..30, 20), run_of("base", 0..30, 20));
        base.after = None;
        let rows = rows(&[&one, &base]);
        assert_eq!(rows.len(), 1);
        assert_eq!(
            rows[0][4..],
            ["20", "0", "10"],
            "every pair of the base is a tie, which is not won"
        );
        assert_eq!(table(&[&one, &run_of("two", 5..35, 20)]), None);
        let many: Vec<Run> = (0..5).map(|i| run_of(&i.to_string(), 0..30, i)).collect();
        let names: Vec<String> = self::rows(&many.iter().collect::<Vec<_>>())
            .into_iter()
            .step_by(2)
            .map(|row| row[0].clone())
            .collect();
        assert_eq!(names, ["1 - 0", "2 - 0", "3 - 0", "4 - 0"]);
    }
}
