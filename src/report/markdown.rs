//! `report.md`: a run on one page.

use crate::console::units;
use crate::report::markup::{code, fenced, one_line};
use std::fmt::Write as _;

use crate::metrics::{Metric, Metrics, SetResult};
use crate::report::cell;
use crate::report::groups;
use crate::report::run::RunReport;
use crate::report::spmr;
use crate::report::table::Table;
use crate::report::table1::{Table1, set_names};
use crate::run_folder::summary::TrainingSummary;

impl RunReport {
    /// The page: Table 1, every figure of every set, the training, how to use the adapter, the configuration.
    pub fn to_markdown(&self) -> String {
        let title = one_line(&self.title);
        let mut page = format!(
            "# {title}\n\nBase model {}, on {}.\n\n## Table 1\n\n",
            code(&self.model),
            one_line(&self.device)
        );
        let (before, after) = (self.before.as_ref(), self.after.as_ref());
        if before.is_some() || after.is_some() {
            page += &Table1::new(before, after).to_markdown();
        } else {
            page += "No evaluation set is configured.\n";
        }
        for name in set_names(before, after) {
            page += &set_section(
                name,
                before.and_then(|e| e.set(name)),
                after.and_then(|e| e.set(name)),
            );
        }
        if let Some(training) = &self.training {
            page += &training_section(training);
        }
        page += &notes_section(&self.notes);
        if !self.adapter_dir.is_empty() {
            page += &adapter_section(&self.model, &self.adapter_dir);
        }
        page += &format!("\n## Configuration\n\n{}", fenced("toml", &self.config_toml));
        page
    }
}

/// Every figure of a set, then of each of its files where there are several.
fn set_section(name: &str, before: Option<&SetResult>, after: Option<&SetResult>) -> String {
    let Some(set) = after.or(before) else { return String::new() };
    let change = after.and_then(|after| after.change.as_ref());
    let mut section = format!(
        "\n## {}\n\n{} pairs in {} clusters (a user, or a pair without one); {} scored tokens in preferred answers, {} in the others.",
        one_line(name),
        units::count(set.n),
        units::count(set.clusters),
        units::count(set.chosen_tokens),
        units::count(set.rejected_tokens)
    );
    if set.unscored_answers > 0 {
        let answers = units::count(set.unscored_answers);
        let _ = write!(
            section,
            " {answers} answers were cut down to no scored token and count as log-probability 0."
        );
    }
    section += "\n\n";
    section += &figures(
        before.map(|set| &set.overall),
        after.map(|set| &set.overall),
        change.map(|change| &change.overall),
    );
    section += &spmr::markdown(before, after);
    section += &groups::markdown(set);
    if set.sources.len() < 2 {
        return section;
    }
    for (source, metrics) in &set.sources {
        let (name, source_line) = (one_line(name), one_line(source));
        let _ = write!(
            section,
            "\n### {name}: {source_line}, {} pairs\n\n",
            units::count(metrics.opa.n)
        );
        section += &figures(
            before.and_then(|set| set.sources.get(source)),
            after.and_then(|set| set.sources.get(source)),
            change.and_then(|change| change.sources.get(source)),
        );
    }
    section
}

/// One row per metric: before, after, the paired difference, and the ties of strict comparisons.
fn figures(before: Option<&Metrics>, after: Option<&Metrics>, change: Option<&Metrics>) -> String {
    let mut table =
        Table::new(["figure", "before", "after", "change", "ties before", "ties after"]);
    for metric in Metric::ALL {
        let figure = |metrics: Option<&Metrics>| {
            metrics.map_or_else(
                || cell::NONE.to_owned(),
                |metrics| cell::figure(metric, metrics.get(metric)),
            )
        };
        let ties = |metrics: Option<&Metrics>| {
            let ties = metrics.and_then(|metrics| metrics.get(metric).ties);
            ties.map_or_else(|| cell::NONE.to_owned(), units::count)
        };
        let change = change.map_or_else(
            || cell::NONE.to_owned(),
            |change| cell::change(metric, change.get(metric)),
        );
        table.push([
            cell::label(metric),
            figure(before),
            figure(after),
            change,
            ties(before),
            ties(after),
        ]);
    }
    table.to_markdown()
}

fn training_section(training: &TrainingSummary) -> String {
    let optional = |value: Option<f64>, print: fn(f64) -> String| {
        value.map_or_else(|| cell::NONE.to_owned(), print)
    };
    let mut table = Table::new(["training", ""]);
    for (name, value) in [
        ("optimizer steps", units::count(training.steps)),
        ("epochs", format!("{:.2}", training.epochs)),
        ("pairs seen", units::count(training.pairs)),
        ("steps skipped, not finite", units::count(training.skipped_steps)),
        ("loss, first step", optional(training.first_loss, |loss| format!("{loss:.4}"))),
        ("loss, last step", optional(training.last_loss, |loss| format!("{loss:.4}"))),
        (
            "reward margin, last step",
            optional(training.final_margin, |margin| format!("{margin:.4}")),
        ),
        (
            "reward accuracy, last step",
            optional(training.final_accuracy, |share| format!("{:.2} %", 100.0 * share)),
        ),
        ("pairs per second", optional(training.pairs_per_second, |rate| format!("{rate:.2}"))),
        ("peak memory", optional(training.peak_memory_gib, |memory| format!("{memory:.2} GiB"))),
        ("wall time, evaluation included", units::duration(training.wall_time_s)),
    ] {
        table.push([name, &value]);
    }
    for (name, value) in
        [("stopped early", &training.stopped_early), ("adapter exported", &training.exported)]
    {
        if let Some(value) = value {
            table.push([name, value]);
        }
    }
    format!("\n## Training\n\n{}", table.to_markdown())
}

fn notes_section(notes: &[String]) -> String {
    let notes: String = notes.iter().map(|note| format!("- {}\n", one_line(note))).collect();
    if notes.is_empty() { notes } else { format!("\n{notes}") }
}

fn adapter_section(model: &str, adapter_dir: &str) -> String {
    let python = format!(
        "from peft import PeftModel\n\
         from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         base = AutoModelForCausalLM.from_pretrained({model:?}, dtype=\"auto\")\n\
         model = PeftModel.from_pretrained(base, {adapter_dir:?})\n\
         tokenizer = AutoTokenizer.from_pretrained({model:?})\n"
    );
    format!(
        "\n## Adapter\n\n{} holds `adapter_model.safetensors` and `adapter_config.json`, which PEFT loads:\n\n{}",
        code(adapter_dir),
        fenced("python", &python)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::run::sample::evaluations;

    fn report() -> RunReport {
        let (before, after) = evaluations("meta-llama/Llama-2-7b-hf", &["UF-P-4"]);
        RunReport {
            title: "runs/llama2-7b".into(),
            model: "meta-llama/Llama-2-7b-hf".into(),
            device: "cpu, 2 threads".into(),
            training: Some(TrainingSummary {
                steps: 1_234,
                epochs: 3.0,
                pairs: 9_872,
                first_loss: Some(std::f64::consts::LN_2),
                last_loss: Some(0.25),
                final_accuracy: Some(0.875),
                wall_time_s: 75.0,
                ..TrainingSummary::default()
            }),
            before: Some(before),
            after: Some(after),
            adapter_dir: "runs/llama2-7b/adapter".into(),
            config_toml: "[model]\npath = \"meta-llama/Llama-2-7b-hf\"\n".into(),
            notes: vec!["3 pairs were\ncut".into()],
        }
    }

    #[test]
    fn every_figure_of_every_file_is_on_the_page() {
        let page = report().to_markdown();
        for metric in Metric::ALL {
            assert_eq!(page.matches(&format!("| {} |", cell::label(metric))).count(), 3, "{page}");
        }
        assert!(
            page.contains("### UF-P-4: helpfulness, 2 pairs")
                && page.contains("### UF-P-4: honesty, 2 pairs")
        );
        assert!(page.contains("| opa (%) | 0.00 [0.00, 0.00] | 75.00 ["));
        assert!(
            page.contains(
                "4 pairs in 3 clusters (a user, or a pair without one); 40 scored tokens"
            )
        );
        // Before, all four pairs tie; after, the one that did not move.
        assert!(page.contains("| 4 | 1 |\n"));
    }

    #[test]
    fn the_training_the_notes_and_the_configuration_are_on_the_page() {
        let page = report().to_markdown();
        for line in [
            "# runs/llama2-7b\n",
            "| Llama2-7b, paper | yes | 54.90 |",
            "| optimizer steps | 1,234 |",
            "| loss, first step | 0.6931 |",
            "| reward accuracy, last step | 87.50 % |",
            "| peak memory | - |",
            "| wall time, evaluation included | 1 min 15 s |",
            "- 3 pairs were cut\n",
            "PeftModel.from_pretrained(base, \"runs/llama2-7b/adapter\")",
            "```toml\n[model]\npath = \"meta-llama/Llama-2-7b-hf\"\n```\n",
        ] {
            assert!(page.contains(line), "`{line}` is not in\n{page}");
        }
    }

    #[test]
    fn a_run_without_evaluation_says_so() {
        let page = RunReport { before: None, after: None, ..report() }.to_markdown();
        assert!(page.contains("No evaluation set is configured.") && page.contains("## Training"));
    }

    #[test]
    fn backticks_in_the_configuration_do_not_end_its_block() {
        let page = RunReport { config_toml: "a = '''\n```\n'''".into(), ..report() }.to_markdown();
        assert!(page.ends_with("````toml\na = '''\n```\n'''\n````\n"));
    }
}
