//! The figures that a reader wants first.

use crate::console::units;
use crate::metrics::{Figure, Metric, SetResult};
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::section::{Part, Tile};
use crate::report::states::States;

/// The tiles of every set: OPA after tuning, preference accuracy and SPMR before and after; none without a figure.
pub fn part(run: &Run) -> Option<Part> {
    let tiles: Vec<Tile> = run.states().iter().flat_map(tiles).collect();
    (!tiles.is_empty()).then_some(Part::Tiles(tiles))
}

fn tiles(set: &States<'_>) -> Vec<Tile> {
    let opa = set.after.map(|set| tile("OPA", set, set.overall.get(Metric::Opa), None));
    let changed = |name: &str, figure: fn(&SetResult) -> Option<&Figure>| {
        let [before, after] = [set.before, set.after].map(|set| figure(set?));
        let earlier = before.filter(|_| after.is_some());
        Some(tile(name, set.newest(), after.or(before)?, earlier))
    };
    let accuracy = changed("preference accuracy", |set| Some(&set.overall.preference_accuracy));
    let spmr = changed("SPMR", |set| Some(set.spmr.as_ref()?.figure()));
    [opa, accuracy, spmr].into_iter().flatten().collect()
}

fn tile(name: &str, set: &SetResult, figure: &Figure, earlier: Option<&Figure>) -> Tile {
    let earlier = earlier.map(|earlier| format!("before {}", cell::share(earlier)));
    Tile {
        name: format!("{}: {name}", set.name),
        value: format!("{} %", cell::percent(figure.value)),
        lines: [Some(range(figure)), earlier].into_iter().flatten().collect(),
    }
}

/// `95 % interval 48.31 to 71.26, n = 89`.
fn range(figure: &Figure) -> String {
    let interval = match (figure.low, figure.high) {
        (Some(low), Some(high)) => {
            format!("95 % interval {} to {}, ", cell::percent(low), cell::percent(high))
        }
        _ => String::new(),
    };
    format!("{interval}n = {}", units::count(figure.n))
}
