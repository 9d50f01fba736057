//! Runs against each other, pair by pair: which one wins more, and by how much.

use crate::console::units;
use crate::metrics::{Figure, Metric, PairScore, difference};
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::paired::{all_set_names, newest};
use crate::report::section::Chart;
use crate::report::svg::{Forest, ForestGroup, ForestRow, Quantity, State};
use crate::report::table::Table;

/// Most runs of which each is compared with every other; of more, each is compared with the first.
const ALL_AGAINST_ALL: usize = 4;

/// What is compared; an untuned model has no OPA.
const METRICS: [Metric; 2] = [Metric::PreferenceAccuracy, Metric::Opa];

/// One figure of run `a` less that of run `b`, over the same pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The runs: `one - two`.
    name: String,
    set: String,
    metric: Metric,
    figure: Figure,
    /// Pairs that `a` alone wins, that `b` alone wins, and the others.
    won: [usize; 3],
}

/// The differences of every set, two runs and metric; none without a set that two runs have. `runs` are those of
/// [`crate::report::paired::Paired`].
pub fn differences(runs: &[&Run]) -> Vec<Difference> {
    let mut all = Vec::new();
    for set in all_set_names(runs) {
        for [a, b] in couples(runs) {
            let is_tuned = a.after.is_some() && b.after.is_some();
            let metrics = METRICS.into_iter().filter(|one| is_tuned || *one != Metric::Opa);
            all.extend(metrics.filter_map(|metric| Difference::of([a, b], set, metric)));
        }
    }
    all
}

/// One row for each difference; none without any.
pub fn table(differences: &[Difference]) -> Option<Table> {
    let mut rows = Table::new([
        "A - B",
        "set",
        "figure (%)",
        "difference",
        "A alone wins",
        "B alone wins",
        "alike",
    ]);
    for Difference { name, set, metric, figure, won } in differences {
        let figure = [metric.name().to_owned(), cell::change(*metric, figure)];
        let cells = [name.clone(), set.clone()].into_iter().chain(figure);
        rows.push(cells.chain(won.map(units::count)));
    }
    (!differences.is_empty()).then_some(rows)
}

/// A forest plot for each set, with the line at 0.
pub fn charts(differences: &[Difference]) -> Vec<Chart> {
    let mut sets: Vec<&str> = differences.iter().map(|difference| &*difference.set).collect();
    sets.dedup();
    sets.into_iter().filter_map(|set| chart(differences, set)).collect()
}

fn chart(differences: &[Difference], set: &str) -> Option<Chart> {
    let mut groups: Vec<ForestGroup> = Vec::new();
    for difference in differences.iter().filter(|difference| difference.set == set) {
        let row = difference.row();
        match groups.last_mut().filter(|group| group.name == difference.name) {
            Some(group) => group.rows.push(row),
            None => groups.push(ForestGroup {
                name: difference.name.clone(),
                rows: vec![row],
                note: String::new(),
            }),
        }
    }
    Some(Chart {
        caption: format!("{set}: A less B"),
        unit: "points of percent".to_owned(),
        svg: Forest { title: format!("{set}: runs against each other"), groups }
            .draw_differences()?,
        reading: "The dashed line is 0; a figure right of it is better in A, left of it in B."
            .into(),
    })
}

fn couples<'a>(runs: &[&'a Run]) -> Vec<[&'a Run; 2]> {
    let firsts = if runs.len() > ALL_AGAINST_ALL { 1 } else { runs.len() };
    (0..firsts)
        .flat_map(|a| (a + 1..runs.len()).map(move |b| [a, b]))
        .map(|[a, b]| if firsts == 1 { [runs[b], runs[a]] } else { [runs[a], runs[b]] })
        .collect()
}

impl Difference {
    /// None without pairs that both runs have scored.
    fn of([a, b]: [&Run; 2], set: &str, metric: Metric) -> Option<Self> {
        let beta = a.after.as_ref().or(a.before.as_ref())?.beta;
        let (of_a, of_b) = (newest(a, set), newest(b, set));
        // Other pairs, or none, are no difference.
        let metrics = difference(of_b, of_a, beta).ok()?;
        let won = |score: &PairScore| metric.compare(score).is_some_and(std::cmp::Ordering::is_gt);
        let count = |wanted: [bool; 2]| {
            of_a.iter().zip(of_b).filter(|(a, b)| [won(a), won(b)] == wanted).count()
        };
        let (a_alone, b_alone) = (count([true, false]), count([false, true]));
        Some(Self {
            name: format!("{} - {}", a.name, b.name),
            set: set.to_owned(),
            metric,
            figure: *metrics.get(metric),
            won: [a_alone, b_alone, of_a.len() - a_alone - b_alone],
        })
    }

    fn row(&self) -> ForestRow {
        let (quantity, label) = match self.metric {
            Metric::Opa => (Quantity::Opa, "OPA"),
            _ => (Quantity::Accuracy, "accuracy"),
        };
        let (label, state) = (label.to_owned(), State::After);
        ForestRow { label, quantity, state, figure: self.figure, paper: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::paired::sample::run_of;

    fn rows(runs: &[&Run]) -> Vec<Vec<String>> {
        table(&differences(runs))
            .unwrap()
            .rows()
            .iter()
            .map(|row| row.cells.iter().map(ToString::to_string).collect())
            .collect()
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
    fn every_set_has_a_chart_with_a_row_for_each_difference() {
        let runs =
            [run_of("one", 0..100, 70), run_of("two", 0..100, 40), run_of("three", 0..100, 9)];
        let charts = charts(&differences(&runs.iter().collect::<Vec<_>>()));
        let [Chart { caption, svg, .. }] = &charts[..] else { panic!("one set") };
        assert_eq!((&**caption, svg.matches(" whisker").count()), ("UF-P-4: A less B", 6));
        for part in [">one - two<", ">two - three<", ">+30.0 [+2", ">0</text>"] {
            assert!(svg.contains(part), "`{part}` is not in {svg}");
        }
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
        assert_eq!(differences(&[&one, &run_of("two", 5..35, 20)]), []);
        let many: Vec<Run> = (0..5).map(|i| run_of(&i.to_string(), 0..30, i)).collect();
        let names: Vec<String> = self::rows(&many.iter().collect::<Vec<_>>())
            .into_iter()
            .step_by(2)
            .map(|row| row[0].clone())
            .collect();
        assert_eq!(names, ["1 - 0", "2 - 0", "3 - 0", "4 - 0"]);
    }
}
