//! The figures that a reader wants first.

use crate::console::units;
use crate::metrics::{Evaluation, Figure, Metric};
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::markup::escape;

/// One tile per headline figure of each set: OPA after tuning, preference accuracy and SPMR before and after.
pub fn tiles(run: &Run) -> String {
    let (before, after) = (run.before.as_ref(), run.after.as_ref());
    let mut tiles = String::new();
    for name in crate::report::table1::set_names(before, after) {
        let of = |evaluation: Option<&Evaluation>, metric: Metric| -> Option<Figure> {
            Some(*evaluation?.set(name)?.overall.get(metric))
        };
        if let Some(opa) = of(after, Metric::Opa) {
            tiles += &tile(&format!("{name}: OPA"), &opa, None);
        }
        let accuracy = Metric::PreferenceAccuracy;
        let title = format!("{name}: preference accuracy");
        match (of(before, accuracy), of(after, accuracy)) {
            (Some(before), Some(after)) => {
                let from = format!("before {}", cell::figure(accuracy, &before));
                tiles += &tile(&title, &after, Some(from));
            }
            (Some(only), None) | (None, Some(only)) => {
                tiles += &tile(&title, &only, None);
            }
            (None, None) => {}
        }
        let spmr = |evaluation: Option<&Evaluation>| -> Option<Figure> {
            Some(*evaluation?.set(name)?.spmr.as_ref()?.figure())
        };
        if let Some(newest) = spmr(after).or(spmr(before)) {
            let from = spmr(before).filter(|_| spmr(after).is_some());
            let from = from.map(|before| format!("before {}", cell::share(&before)));
            tiles += &tile(&format!("{name}: SPMR"), &newest, from);
        }
    }
    if tiles.is_empty() { tiles } else { format!("<ul class=\"tiles\">\n{tiles}</ul>\n") }
}

/// `95 % interval 48.31 to 71.26, n = 89`.
fn range(figure: &Figure) -> String {
    let interval = match (figure.low, figure.high) {
        (Some(low), Some(high)) => {
            format!("95 % interval {:.2} to {:.2}, ", 100.0 * low, 100.0 * high)
        }
        _ => String::new(),
    };
    format!("{interval}n = {}", units::count(figure.n))
}

fn tile(what: &str, figure: &Figure, before: Option<String>) -> String {
    let lines = [Some(range(figure)), before].into_iter().flatten();
    let lines: String =
        lines.map(|line| format!("<span class=\"range\">{}</span>", escape(&line))).collect();
    format!(
        "<li><span class=\"what\">{}</span><span class=\"value\">{:.2} %</span>{lines}</li>\n",
        escape(what),
        100.0 * figure.value
    )
}
