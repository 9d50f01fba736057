//! `report.md`: a run on one page.

use std::fmt::Write as _;

use crate::eval::{Metric, Metrics, SetResult};
use crate::report::cell;
use crate::report::groups;
use crate::report::run::{RunReport, TrainingSummary};
use crate::report::spmr;
use crate::report::table::Table;
use crate::report::table1::{Table1, set_names};

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
        page += &training_section(&self.training, &self.notes);
        page += &adapter_section(&self.model, &self.adapter_dir);
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
        cell::count(set.n),
        cell::count(set.clusters),
        cell::count(set.chosen_tokens),
        cell::count(set.rejected_tokens)
    );
    if set.unscored_answers > 0 {
        let answers = cell::count(set.unscored_answers);
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
            cell::count(metrics.opa.n)
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
            ties.map_or_else(|| cell::NONE.to_owned(), cell::count)
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

fn training_section(training: &TrainingSummary, notes: &[String]) -> String {
    let optional = |value: Option<f64>, print: fn(f64) -> String| {
        value.map_or_else(|| cell::NONE.to_owned(), print)
    };
    let mut table = Table::new(["training", ""]);
    for (name, value) in [
        ("optimizer steps", cell::count(training.steps)),
        ("epochs", format!("{:.2}", training.epochs)),
        ("pairs seen", cell::count(training.pairs)),
        ("steps skipped, not finite", cell::count(training.skipped_steps)),
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
        ("wall time, evaluation included", cell::duration(training.wall_time_s)),
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
    let mut section = format!("\n## Training\n\n{}", table.to_markdown());
    if !notes.is_empty() {
        section.push('\n');
    }
    for note in notes {
        let _ = writeln!(section, "- {}", one_line(note));
    }
    section
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

/// Text where a line break would end the heading or the item.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn code(text: &str) -> String {
    let ticks = "`".repeat(longest_ticks(text) + 1);
    format!("{ticks}{}{ticks}", one_line(text))
}

/// A code block whose fence is longer than any run of backticks in it.
pub(super) fn fenced(language: &str, text: &str) -> String {
    let fence = "`".repeat((longest_ticks(text) + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

fn longest_ticks(text: &str) -> usize {
    text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0)
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
            training: TrainingSummary {
                steps: 1_234,
                epochs: 3.0,
                pairs: 9_872,
                first_loss: Some(std::f64::consts::LN_2),
                last_loss: Some(0.25),
                final_accuracy: Some(0.875),
                wall_time_s: 75.0,
                ..TrainingSummary::default()
            },
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
