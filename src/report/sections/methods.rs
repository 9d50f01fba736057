//! How a run was made, so that it can be made again: date, command, program, machine, model, data, settings.

use toml::Value;

use crate::console::units;
use crate::report::folder::Run;
use crate::report::section::{Part, Section};
use crate::report::sections::about::of_recorded;
use crate::report::table::Table;
use crate::report::text::Text;
use crate::run_folder::provenance::InputKind;

/// Settings shown, with the key that holds each.
const SETTINGS: [(&str, &str); 8] = [
    ("seed", "train.seed"),
    ("beta", "dpo.beta"),
    ("loss", "dpo.loss"),
    ("learning rate", "train.learning_rate"),
    ("schedule", "train.scheduler"),
    ("warm-up steps", "train.warmup_steps"),
    ("LoRA rank", "lora.rank"),
    ("LoRA alpha", "lora.alpha"),
];

/// Digits shown of a SHA-256, enough to tell files apart.
pub(in crate::report::sections) const DIGITS: usize = 16;

/// The table; a fact that the folder does not have is left out.
pub fn section(run: &Run) -> Section {
    let mut rows = Table::new(["fact", "value"]);
    let mut push = |name: &str, value: Text| rows.push([Text::from(name), value]);
    for (name, head) in [("date", "begun: "), ("command", "command: ")] {
        let value = fact(run, head);
        let shown = |value| if name == "command" { Text::code(value) } else { Text::from(value) };
        value.into_iter().for_each(|value| push(name, shown(value)));
    }
    fact(run, "mvpbench ").into_iter().for_each(|version| push("mvpbench", version.into()));
    push("device", run.device().into());
    push("base model", model(run));
    let named = files(run);
    for (name, file) in &named {
        push(name, with_digest(run, file));
    }
    // A folder, a pattern or a data set stands for files of other names.
    for line in run.head.iter().filter_map(|line| line.strip_prefix("data: ")) {
        let file = line.rsplit_once(", sha256 ").map_or(line, |(file, _)| file);
        if named.iter().all(|(_, known)| *known != file) {
            push("data file", with_digest(run, file));
        }
    }
    let dtype = fact(run, "dtype: ").or(run.setting("model.dtype").and_then(Value::as_str));
    dtype.into_iter().for_each(|dtype| push("dtype", dtype.into()));
    if !run.is_evaluation {
        for (name, key) in SETTINGS {
            run.setting(key).into_iter().for_each(|value| push(name, printed(value).into()));
        }
        steps(run).into_iter().for_each(|steps| push("steps", steps.into()));
    }
    for line in run.head.iter().filter(|line| !is_shown(line)) {
        let (name, value) = line.split_once(": ").unwrap_or(("made by", line));
        push(if name == "inputs" { "digest of all inputs" } else { name }, shortened(value).into());
    }
    let mut parts = vec![Part::Table(rows)];
    if run.head.iter().any(|line| line.contains("sha256 ")) {
        let file = if run.is_evaluation { "evaluation.toml" } else { "config.toml" };
        let note =
            format!("A digest ends after {DIGITS} digits; `{file}` in the run folder has all.");
        parts.push(Part::note(Text::marked(&note)));
    }
    Section::new("methods", "Methods and provenance", parts)
}

/// The first digits of the SHA-256 at the end of `line`.
pub(in crate::report::sections) fn shortened(line: &str) -> String {
    let Some((before, digits)) = line.rsplit_once("sha256 ") else { return line.to_owned() };
    let cut = if digits.chars().count() > DIGITS { "…" } else { "" };
    format!("{before}sha256 {}{cut}", digits.chars().take(DIGITS).collect::<String>())
}

/// What follows `begin` in the head of the configuration.
fn fact<'a>(run: &'a Run, begin: &str) -> Option<&'a str> {
    run.head.iter().find_map(|line| line.strip_prefix(begin))
}

/// Whether a row of its own shows the line of the head.
fn is_shown(line: &str) -> bool {
    ["begun: ", "command: ", "mvpbench ", "device: ", "dtype: ", "model: ", "weights: ", "data: "]
        .iter()
        .any(|begin| line.starts_with(begin))
        || InputKind::has_line(line) // the digest of all inputs stands for these files
}

/// The base model with its commit and the digest of its files.
fn model(run: &Run) -> Text {
    [fact(run, "model: "), fact(run, "weights: ")]
        .into_iter()
        .flatten()
        .fold(Text::code(run.model()), |text, more| text.and(format!(", {}", shortened(more))))
}

/// Every data file with what it was read for.
fn files(run: &Run) -> Vec<(String, &str)> {
    let mut files = Vec::new();
    if !run.is_evaluation {
        let train = names(run.setting("data.train")).iter().flat_map(source);
        files.extend(train.map(|file| ("training data".to_owned(), file)));
    }
    for set in names(run.setting("eval.sets")) {
        let name = set.get("name").and_then(Value::as_str).unwrap_or_default();
        let read = names(set.get("files")).iter().flat_map(source);
        files.extend(read.map(|file| (format!("set {name}"), file)));
    }
    files
}

/// The names of one source: a name, or the `files` of a table.
fn source(source: &Value) -> Vec<&str> {
    let files = source.get("files").unwrap_or(source);
    let several = names(Some(files)).iter().filter_map(Value::as_str);
    files.as_str().into_iter().chain(several).collect()
}

/// The elements of a list; none of anything else.
fn names(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], |all| all)
}

fn with_digest(run: &Run, file: &str) -> Text {
    let digest = run.head.iter().find_map(|line| {
        let (name, sha256) = line.strip_prefix("data: ")?.rsplit_once(", sha256 ")?;
        (name == file).then_some(sha256)
    });
    digest.map_or_else(
        || Text::code(file),
        |sha256| Text::code(file).and(shortened(&format!(", sha256 {sha256}"))),
    )
}

fn printed(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Steps, pairs and epochs; none without a summary of the training.
fn steps(run: &Run) -> Option<String> {
    let training = run.summary.as_ref()?.training.as_ref()?;
    let steps = units::counted(training.steps, "step");
    let pairs = units::counted(training.pairs, "pair");
    let recorded = of_recorded(training);
    Some(format!("{steps}, {pairs}{recorded}, {:.2} epochs", training.epochs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::folder::sample::run;
    use crate::report::markdown;
    use crate::report::section::Page;

    #[test]
    fn whatever_makes_the_run_again_is_in_the_table() {
        let mut run = run();
        run.config = "[model]\npath = \"m\"\n[data]\ntrain = [\"a.jsonl\"]\n[train]\nseed = 12\nlearning_rate = 0.001\n\
             [dpo]\nbeta = 0.1\n[[eval.sets]]\nname = \"S\"\nfiles = [\"b.jsonl\"]\n"
            .parse()
            .unwrap();
        run.head = [
            "mvpbench 0.1.0, commit abc",
            "begun: 2026-01-02 03:04 UTC",
            "command: train --config a.toml",
            "dtype: bf16",
            "weights: sha256 77",
            "data: a.jsonl, sha256 0123456789abcdef99",
            "sentence encoder: e/modules.json, sha256 88",
            "inputs: sha256 99",
            "changed after step 2: `train.epochs`",
        ]
        .map(str::to_owned)
        .into();
        let page = markdown::page(&Page { sections: vec![section(&run)], ..Page::default() });
        for row in [
            "| date | 2026-01-02 03:04 UTC |",
            "| command | `train --config a.toml` |",
            "| mvpbench | 0.1.0, commit abc |",
            "| device | cpu, 2 threads |",
            "| base model | `m`, sha256 77 |",
            "| training data | `a.jsonl`, sha256 0123456789abcdef… |",
            "| set S | `b.jsonl` |",
            "| dtype | bf16 |",
            "| seed | 12 |",
            "| beta | 0.1 |",
            "| learning rate | 0.001 |",
            "| steps | 1,234 steps, 9,872 pairs, 3.00 epochs |",
            "A digest ends after 16 digits; `config.toml` in the run folder has all.",
            "| digest of all inputs | sha256 99 |",
            "| changed after step 2 | \\`train.epochs\\` |",
        ] {
            assert!(page.contains(row), "`{row}` is not in\n{page}");
        }
        assert!(!page.contains("modules.json"), "{page}");
    }
}
