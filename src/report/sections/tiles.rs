//! The figures that a reader wants first.

use crate::console::units;
use crate::metrics::{Figure, Metric, SetResult};
use crate::report::cautions;
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::section::{Part, Tile};
use crate::report::states::States;

/// The tiles of every set: preference accuracy before and after, OPA after tuning with its null, SPMR before and after; none
/// without a figure.
pub fn part(run: &Run) -> Option<Part> {
    let chosen = run.chosen_set();
    let is_chosen = |set: &States<'_>| chosen == Some(set.name);
    let tiles: Vec<Tile> = run.states().iter().flat_map(|set| tiles(set, is_chosen(set))).collect();
    (!tiles.is_empty()).then_some(Part::Tiles(tiles))
}

/// `is_chosen`: whether the exported step was chosen on this set.
fn tiles(set: &States<'_>, is_chosen: bool) -> Vec<Tile> {
    let opa = set
        .after
        .map(|set| tile("OPA", set, set.overall.get(Metric::Opa), Some(cell::CHANCE.to_owned())));
    let changed = |name: &str, figure: fn(&SetResult) -> Option<&Figure>| {
        let [before, after] = [set.before, set.after].map(|set| figure(set?));
        let earlier = before.filter(|_| after.is_some());
        let earlier = earlier.map(|earlier| format!("before {}", cell::share(earlier)));
        let untuned = if set.is_tuned() { "" } else { ", untuned model" };
        Some(tile(&format!("{name}{untuned}"), set.newest(), after.or(before)?, earlier))
    };
    let accuracy = changed("preference accuracy", |set| Some(&set.overall.preference_accuracy));
    let spmr = changed("SPMR", |set| Some(set.spmr.as_ref()?.figure()));
    let mut tiles: Vec<Tile> = [accuracy, opa, spmr].into_iter().flatten().collect();
    if is_chosen {
        tiles.iter_mut().for_each(|tile| tile.lines.push(cautions::CHOSEN.to_owned()));
    }
    tiles
}

/// `beside`: what the figure is read against, the figure before tuning or its null.
fn tile(name: &str, set: &SetResult, figure: &Figure, beside: Option<String>) -> Tile {
    Tile {
        name: format!("{}: {name}", set.name),
        value: format!("{} %", cell::percent(figure.value)),
        lines: [Some(range(figure)), beside].into_iter().flatten().collect(),
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
