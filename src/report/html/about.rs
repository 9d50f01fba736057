//! Where and how the run was made: hardware, timings, what was counted, the configuration.

use crate::console::units;
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::html::{list, table};
use crate::report::markup::escape;
use crate::report::run::RunReport;
use crate::report::table::Table;
use crate::run_folder::train_log::{StepRecord, stepping_s};

/// The table of the training, the notes and the configuration.
pub fn about(run: &Run, report: &RunReport) -> String {
    let optional = |value: Option<f64>, print: &dyn Fn(f64) -> String| {
        value.map_or_else(|| cell::NONE.to_owned(), print)
    };
    let of = |value: fn(&StepRecord) -> Option<f64>| {
        let mut all: Vec<f64> = run.steps.iter().filter_map(value).collect();
        all.sort_by(f64::total_cmp);
        (!all.is_empty()).then(|| crate::metrics::bootstrap::percentile(&all, 0.5))
    };
    let mut rows = Table::new(["of the run", ""]);
    rows.push(["hardware", &report.device]);
    if let Some(training) = &report.training {
        let stepping = stepping_s(&run.steps);
        let wall = run.summary.as_ref().and_then(|all| Some(all.training.as_ref()?.wall_time_s));
        for (name, value) in [
            ("optimizer steps", units::count(training.steps)),
            ("epochs", format!("{:.2}", training.epochs)),
            ("pairs seen", units::count(training.pairs)),
            ("steps skipped, not finite", units::count(training.skipped_steps)),
            (
                "time of a step, median",
                optional(of(|step| step.step_time_s), &|s| format!("{s:.2} s")),
            ),
            ("time of all steps", units::duration(stepping)),
            ("wall time, evaluation included", optional(wall, &units::duration)),
            ("pairs per second", optional(training.pairs_per_second, &|rate| format!("{rate:.2}"))),
            (
                "tokens per second, median",
                optional(of(|step| step.tokens_per_second), &|rate| {
                    units::count(rate.round() as usize)
                }),
            ),
            (
                "share of the machine's matmul rate, median",
                optional(of(|step| step.mfu), &|share| format!("{:.1} %", 100.0 * share)),
            ),
            ("peak memory", optional(training.peak_memory_gib, &|gib| format!("{gib:.2} GiB"))),
        ] {
            rows.push([name.to_owned(), value]);
        }
    }
    if !report.adapter_dir.is_empty() {
        rows.push(["adapter", &report.adapter_dir]);
    }
    for line in &run.head {
        if let Some((name, value)) = line.split_once(": ").filter(|(name, _)| *name != "device") {
            rows.push([name, value]);
        } else if !line.starts_with("device: ") {
            rows.push(["made by", line]);
        }
    }
    let mut html = table(&rows, |_| "");
    if !report.notes.is_empty() {
        html += "<h3>What was counted on the way</h3>\n";
        html += &list("notes", &report.notes);
    }
    html + &format!(
        "<details><summary>Configuration, every key</summary>\n<pre>{}</pre>\n</details>\n",
        escape(run.config_toml.trim_end())
    )
}
