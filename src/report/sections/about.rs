//! What was measured on the way: losses, timings, memory, what was counted, how to load the adapter, the configuration.

use crate::console::units;
use crate::metrics::bootstrap::percentile;
use crate::report::cell;
use crate::report::folder::Run;
use crate::report::run::RunReport;
use crate::report::section::{Code, Part, Section};
use crate::report::table::Table;
use crate::report::text::Text;
use crate::run_folder::summary::TrainingSummary;
use crate::run_folder::train_log::{StepRecord, stepping_s};

/// The table of the run, the notes, the adapter and the configuration.
pub fn section(run: &Run, report: &RunReport) -> Section {
    let table = table(run, report);
    let mut parts = Vec::new();
    if !table.rows().is_empty() {
        parts.push(Part::Table(table));
    }
    if !report.notes.is_empty() {
        parts.push(Part::heading("What was counted on the way"));
        parts.push(Part::List(report.notes.iter().map(|note| Text::marked(note)).collect()));
    }
    if !report.adapter_dir.is_empty() {
        parts.push(adapter(&report.model, &report.adapter_dir));
    }
    parts.push(Part::Details {
        summary: "Configuration, every key".to_owned(),
        parts: vec![Part::Code(Code { language: "toml", text: report.config_toml.clone() })],
    });
    Section::new("about", "The run", parts)
}

fn table(run: &Run, report: &RunReport) -> Table {
    let mut rows = Table::new(["of the run", "value"]);
    if let Some(training) = &report.training {
        let wall_time_s =
            run.summary.as_ref().and_then(|all| Some(all.training.as_ref()?.wall_time_s));
        for (name, value) in training_rows(training, &run.steps, wall_time_s) {
            rows.push([name.to_owned(), cell::or_none(value)]);
        }
        for (name, value) in
            [("stopped early", &training.stopped_early), ("adapter exported", &training.exported)]
        {
            value.iter().for_each(|value| rows.push([name, value]));
        }
    }
    if !report.adapter_dir.is_empty() {
        rows.push(["adapter", &report.adapter_dir]);
    }
    rows
}

/// Name and printed value of everything measured over the training; `wall_time_s`: of all processes of the run.
fn training_rows(
    training: &TrainingSummary,
    steps: &[StepRecord],
    wall_time_s: Option<f64>,
) -> Vec<(&'static str, Option<String>)> {
    let four_decimals = |value: f64| format!("{value:.4}");
    let median = |value| median(steps, value);
    vec![
        (
            "steps skipped, not finite",
            Some(units::count(training.skipped_steps) + &of_recorded(training)),
        ),
        ("loss, first step", training.first_loss.map(four_decimals)),
        ("loss, last step", training.last_loss.map(four_decimals)),
        ("reward margin, last step", training.final_margin.map(four_decimals)),
        (
            "reward accuracy, last step",
            training.final_accuracy.map(|share| format!("{} %", cell::percent(share))),
        ),
        ("time of a step, median", median(|step| step.step_time_s).map(|s| format!("{s:.2} s"))),
        ("time of all steps", Some(units::duration(stepping_s(steps)))),
        ("wall time, evaluation included", wall_time_s.map(units::duration)),
        ("pairs per second", training.pairs_per_second.map(|rate| format!("{rate:.2}"))),
        (
            "tokens per second, median",
            median(|step| step.tokens_per_second).map(|rate| units::count(rate.round() as usize)),
        ),
        (
            "share of the machine's matmul rate, median",
            median(|step| step.mfu.filter(|share| *share <= 1.0))
                .map(|share| format!("{:.1} %", 100.0 * share)),
        ),
        ("peak memory", training.peak_memory_gib.map(|gib| format!("{gib:.2} GiB"))),
    ]
}

/// What a count over the recorded steps is followed by; nothing where all steps are recorded.
pub(crate) fn of_recorded(training: &TrainingSummary) -> String {
    let [all, recorded] =
        [training.steps, training.steps.saturating_sub(training.unrecorded_steps)]
            .map(units::count);
    match training.unrecorded_steps {
        0 => String::new(),
        _ => format!(" in the {recorded} recorded steps of {all}"),
    }
}

/// The median over the steps that have the value.
fn median(steps: &[StepRecord], value: fn(&StepRecord) -> Option<f64>) -> Option<f64> {
    let mut all: Vec<f64> = steps.iter().filter_map(value).collect();
    all.sort_by(f64::total_cmp);
    (!all.is_empty()).then(|| percentile(&all, 0.5))
}

fn adapter(model: &str, adapter_dir: &str) -> Part {
    let python = format!(
        "from peft import PeftModel\n\
         from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         base = AutoModelForCausalLM.from_pretrained({model:?}, dtype=\"auto\")\n\
         model = PeftModel.from_pretrained(base, {adapter_dir:?})\n\
         tokenizer = AutoTokenizer.from_pretrained({model:?})\n"
    );
    let files = Text::code(adapter_dir).and(Text::marked(
        " holds `adapter_model.safetensors` and `adapter_config.json`, which PEFT loads:",
    ));
    Part::Details {
        summary: "How to load the adapter".to_owned(),
        parts: vec![Part::note(files), Part::Code(Code { language: "python", text: python })],
    }
}
