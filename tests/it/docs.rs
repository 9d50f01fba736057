//! The documents: `docs/config.md` is generated from the presets, and what the others name exists.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use mvpbench::config::{LayoutName, LossType, RunConfig};
use mvpbench::data::chat::ChatTemplate;
use mvpbench::data::file::{self, DataFile, Prompts};
use mvpbench::data::format::LAYOUTS;
use mvpbench::data::tokenizer::Tokenizer;
use mvpbench::error::InputError;
use mvpbench::metrics::score::PairScore;
use mvpbench::metrics::spmr::Answer;
use mvpbench::metrics::{Metric, groups};
use mvpbench::presets;
use mvpbench::run_folder::samples::SampleRecord;
use mvpbench::run_folder::summary::TrainingSummary;
use mvpbench::run_folder::train_log::StepRecord;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

const COMMAND: &str = "UPDATE_DOCS=1 cargo test --release --test it docs::";

/// Longest line outside tables and blocks of code, in characters.
const LONGEST_LINE: usize = 160;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a preset explains, in its order: sections such as `[eval.spmr]`, keys such as `lora.rank`, each with its comment.
fn explained(preset: &str) -> Vec<(String, String)> {
    let (mut found, mut section, mut above) = (Vec::new(), String::new(), Vec::new());
    for line in presets::preset(preset).unwrap().lines() {
        let header = |open: &str, close: &str| line.strip_prefix(open)?.strip_suffix(close);
        let name = if let Some(comment) = line.strip_prefix("# ") {
            above.push(comment);
            continue;
        } else if let Some(table) = header("[", "]") {
            section = table.trim_matches(['[', ']']).to_owned();
            line.to_owned()
        } else if let Some((key, _)) = line.split_once(" = ") {
            format!("{section}.{}", key.trim())
        } else {
            // The end of the preset's own heading, or the inside of a list.
            above.clear();
            continue;
        };
        let comment = std::mem::take(&mut above).join(" ");
        // Every set after the first repeats the keys of `[[eval.sets]]`.
        if found.iter().all(|(known, _)| *known != name) {
            found.push((name, comment));
        }
    }
    found
}

/// The default of a key; none where it must be given.
fn default(key: &str) -> Option<Value> {
    let missing = InputError::of(&RunConfig::parse("", "empty").unwrap_err()).unwrap().to_string();
    if missing.contains(&format!("`{key}`")) {
        return None;
    }
    let defaults = Value::Table(toml::from_str(&RunConfig::default().to_toml().unwrap()).unwrap());
    Some(key.split('.').fold(&defaults, |value, part| &value[part]).clone())
}

/// Which values a key accepts, in the words of the error for one that it does not.
fn accepted(key: &str, wrong: &str) -> Option<String> {
    let error = RunConfig::load("llama2-7b.toml", &[format!("{key}={wrong}")]).err()?;
    let message = InputError::of(&error)?.to_string();
    let (_, words) = message.split_once("` must be ")?;
    let (words, _) = words.rsplit_once(", got `")?;
    Some(words.to_owned())
}

/// The accepted values for a reader: an object is refused by its type, another value by the range.
fn range(key: &str) -> String {
    let wrong_type = accepted(key, "{}").or_else(|| accepted(key, "7"));
    let Some(kind) = wrong_type else { return "text".to_owned() };
    match kind.as_str() {
        "an integer" => format!("integer, {}", accepted(key, "-1").unwrap()),
        "a number" => format!("number, {}", accepted(key, "-2").unwrap()),
        "a list of names or a pattern" => "list of names, or a pattern".to_owned(),
        "a list of words" => "list of texts".to_owned(),
        "a list of whole numbers" => "list of integers, at least 0".to_owned(),
        "a table of patterns" => {
            let (wrong, kind) = match accepted(key, "{a=true}").as_deref() {
                Some("an integer") => ("{a=-1}", "integer"),
                _ => ("{a=-1}", "number"),
            };
            format!("table of patterns, each {kind} {}", accepted(key, wrong).unwrap())
        }
        "a list of strings" => match accepted(key, r#"["?"]"#) {
            Some(words) => format!("list, each {words}"),
            None => "list of one or more sources".to_owned(),
        },
        "a table of columns" => "table of roles, each with a column".to_owned(),
        words if words.starts_with("a day ") => kind,
        words if words.starts_with("one of ") || words == "`true` or `false`" => kind,
        other => panic!("{key} must be {other}: say here how docs/config.md writes that"),
    }
}

fn generated() -> String {
    let names: Vec<_> =
        presets::NAMES.iter().map(|name| format!("[`{name}`](../configs/{name})")).collect();
    let mut text = format!(
        "# Configuration keys\n\n\
         Generated from the comments of the presets in [`configs/`](../configs); `{COMMAND}` writes it again.\n\n\
         `train --config FILE` reads a TOML file, or the preset of that name compiled into the binary:\n{}.\n\
         `--set section.key=value` sets one key over it, and the last `--set` of a key wins. A key that is left out has its default.\n\
         An unknown key is an error that names the nearest one. The resolved configuration is in the run folder's `config.toml`.\n\
         Of the ranges, `1..=9` has both its ends and `0..1` lacks the second. The Llama presets hold the paper's recipe, and so do the defaults\n\
         of `[lora]`, `[dpo]`, `[data]` and `[train]`; `tiny.toml` trains at another learning rate, on files inside the binary.\n",
        names.join(",\n")
    );
    for (name, comment) in explained(presets::NAMES[0]) {
        if name.starts_with('[') {
            write!(text, "\n## `{name}`\n\n").unwrap();
            if !comment.is_empty() {
                write!(text, "{comment}\n\n").unwrap();
            }
            text += match name.as_str() {
                "[[eval.sets]]" => SETS,
                _ => "| key | default | accepts | what it is |\n|---|---|---|---|\n",
            };
        } else if !name.starts_with("eval.sets.") {
            let default = match default(&name) {
                None => "must be given".to_owned(),
                Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
                Some(value) => format!("`{value}`"),
            };
            let (_, key) = name.rsplit_once('.').unwrap();
            writeln!(text, "| `{key}` | {default} | {} | {comment} |", range(&name)).unwrap();
        }
    }
    text + &losses()
}

/// The keys of one set, which stand in a list and have no comment each.
const SETS: &str = "\
Repeat the table for every set; without one nothing is evaluated. `--set 'eval.sets=[{name=\"A\",files=[\"a.jsonl\"]}]'` replaces the list.

| key | default | accepts |
|---|---|---|
| `name` | must be given | 1 to 100 letters, digits, `-`, `_` or `.`, the first not a `.`; each set another name |
| `files` | must be given | list of one or more sources |
| `metrics` | `[\"opa\"]` | list of `\"opa\"` and, beside it, `\"spmr\"` |
| `group_by` | none | list of one or more fields of the records, whose values are groups of the figures |
";

/// The formulas of the losses, from the documentation of [`LossType`].
fn losses() -> String {
    let source = read("src/config/choices.rs");
    let body =
        source.split_once("    LossType {\n").and_then(|(_, body)| body.split_once("\n    }\n"));
    let (body, _) =
        body.expect("`LossType` in src/config/choices.rs, each variant under its formula");
    let mut text = String::from(
        "\n## `dpo.loss`\n\n\
         `r` is the reward `beta * (policy - reference)` of an answer's summed log-probability, `w` the chosen answer and `l` the rejected one,\n\
         `z = r(w) - r(l)`, `e` the label smoothing; `r'` and `z'` are the same of log-probabilities that are means per token.\n\n\
         | loss | formula |\n|---|---|\n",
    );
    let mut formula = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("/// ") {
            formula.push(comment);
        } else if let Some(word) = line.split('"').nth(1) {
            let formula = std::mem::take(&mut formula).join(" ").replace('|', "\\|");
            writeln!(text, "| `{word}` | {formula} |").unwrap();
        }
    }
    text
}

#[test]
fn the_reference_of_keys_is_what_the_presets_explain() {
    let (path, text) = (root().join("docs/config.md"), generated());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = stored.lines().zip(text.lines()).find(|(stored, text)| stored != text);
    assert!(
        stored == text,
        "docs/config.md is not what the presets explain; first difference: {differing:#?}\nrun `{COMMAND}`"
    );
}

#[test]
fn the_presets_explain_every_key_in_the_same_words() {
    let first = explained(presets::NAMES[0]);
    for (name, comment) in first.iter().filter(|(name, _)| !name.starts_with("eval.sets.")) {
        let is_sentence = comment.ends_with('.') && comment.len() > 10;
        assert!(is_sentence || name.starts_with('['), "{name}: {comment:?}");
    }
    for preset in &presets::NAMES[1..] {
        assert_eq!(explained(preset), first, "{preset}");
    }
}

#[test]
fn every_loss_metric_and_group_is_documented_under_its_name() {
    let (keys, metrics) = (read("docs/config.md"), read("docs/metrics.md"));
    let losses = LossType::NAMES.iter().map(|name| (&keys, *name));
    let measured = Metric::ALL.iter().map(|metric| (&metrics, metric.name()));
    let attributes = groups::ATTRIBUTES.iter().map(|name| (&metrics, *name));
    for (document, name) in losses.chain(measured).chain(attributes) {
        assert!(document.contains(&format!("`{name}`")), "{name}");
    }
}

/// The part of docs/files.md under a heading.
fn section(heading: &str) -> String {
    let text = read("docs/files.md");
    let (_, rest) =
        text.split_once(&format!("# {heading}\n")).unwrap_or_else(|| panic!("{heading}"));
    rest.split("\n#").next().unwrap().to_owned()
}

/// The names in backticks in the first column of the tables of `text`.
fn first_column(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    rows.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`').to_owned()).collect()
}

/// docs/layouts.md has a row and two records of every layout; the first is the table's own, and both are recognised.
#[test]
fn every_layout_is_documented_with_two_records_that_are_recognised() {
    let text = read("docs/layouts.md");
    let names: BTreeSet<String> =
        LAYOUTS.iter().map(|layout| layout.name.name().to_owned()).collect();
    assert_eq!(first_column(&text), names);
    let source =
        "{% for m in messages %}{{ m.role }}: {{ m.content or m.tool_calls }}\n{% endfor %}";
    let template = ChatTemplate::new(source.to_owned(), &tokenizer(), "t".to_owned()).unwrap();
    let prompts = Prompts { template: Some(&template), ..Prompts::default() };
    for layout in LAYOUTS {
        let name = layout.name.name();
        let (_, rest) = text.split_once(&format!("\n### `{name}`\n\n```json\n")).unwrap();
        let (records, _) = rest.split_once("```").unwrap();
        let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(value(records.lines().next().unwrap()), value(layout.sample), "{name}");
        let file = DataFile::from(("sample.jsonl".to_owned(), records));
        let loaded = file::load(&[file], &[], &prompts).unwrap();
        let found: Vec<_> =
            loaded.counts.layouts.iter().map(|known| (known.layout, known.records)).collect();
        assert_eq!((found, loaded.pairs.len()), (vec![(layout.name, 2)], 2), "{name}");
        // What a judge reads of MVPBench's records is not the prompt's.
        let is_read = loaded.counts.unread.is_empty() || layout.name == LayoutName::Mvpbench;
        assert!(is_read, "{name}: {:?}", loaded.counts.unread);
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&root().join("tests/data/golden/models/tiny")).unwrap()
}

/// The fields of what `json` becomes as a `T`, written again.
fn fields<T: Serialize + DeserializeOwned>(json: &str) -> BTreeSet<String> {
    let value: T = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    serde_json::to_value(value).unwrap().as_object().unwrap().keys().cloned().collect()
}

/// A record of `names`, none of which has a value that any field refuses.
fn blank_record(names: &BTreeSet<String>) -> String {
    let field = |name: &String| {
        let value = match name.as_str() {
            "skipped" => "false",
            "stopped_early" | "exported" | "adapter_sha256" => "null",
            _ => "0",
        };
        format!("\"{name}\":{value}")
    };
    format!("{{{}}}", names.iter().map(field).collect::<Vec<_>>().join(","))
}

#[test]
fn a_logged_field_that_is_not_documented_or_not_logged_is_found() {
    let steps = first_column(&section("`train.jsonl`"));
    assert_eq!(fields::<StepRecord>(&blank_record(&steps)), steps);
    let training = first_column(&section("`summary.json`"));
    assert_eq!(fields::<TrainingSummary>(&blank_record(&training)), training);
}

#[test]
fn the_sample_lines_are_lines_of_those_files() {
    let line = |heading: &str| {
        let text = section(heading);
        let line = text.lines().find(|line| line.starts_with('{')).unwrap();
        let names = serde_json::from_str::<serde_json::Value>(line).unwrap();
        (line.to_owned(), names.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>())
    };
    let (scores, names) = line("`eval/scores-*.jsonl`");
    assert_eq!(fields::<PairScore>(&scores), names);
    let (answer, names) = line("`eval/generations-*.jsonl`");
    assert_eq!(fields::<Answer>(&answer), names);
    let (sample, names) = line("`eval/samples.jsonl`");
    assert_eq!(fields::<SampleRecord>(&sample), names);
    for heading in ["MVPBench records", "Preference pairs"] {
        let text = section(heading);
        let (_, block) = text.split_once("```json\n").unwrap();
        let (records, _) = block.split_once("```").unwrap();
        assert_eq!(file::parse(records.as_bytes(), "sample.jsonl").unwrap().len(), 5, "{heading}");
    }
    let text = section("MVPBench records");
    let records = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let prompt = &file::parse(records.as_bytes(), "sample.jsonl").unwrap()[0].prompt;
    assert!(text.contains(&format!("```\n{prompt}\n```")), "{prompt}");
}

/// Every Markdown document of the repository's own hand.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "docs", "benches/results", ".github"] {
        let entries = std::fs::read_dir(root().join(folder)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let names = names.filter(|name| name.ends_with(".md"));
        found.extend(names.map(|name| Path::new(folder).join(name).to_str().unwrap().to_owned()));
    }
    assert!(found.len() > 4, "{found:?}");
    found
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    for document in documents() {
        let (text, folder) = (read(&document), Path::new(&document).parent().unwrap().to_owned());
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let path = target.split('#').next().unwrap();
            if !target.contains("://") && !path.is_empty() {
                assert!(root().join(&folder).join(path).exists(), "{document}: {target}");
            }
        }
    }
}

#[test]
fn no_line_of_the_documents_is_too_long_to_read() {
    for document in documents() {
        let mut in_code = false;
        for (number, line) in read(&document).lines().enumerate() {
            in_code ^= line.starts_with("```");
            let is_free = in_code || line.starts_with('|') || line.starts_with("![");
            let length = line.chars().count();
            assert!(
                is_free || line.starts_with("`bin > ") || length <= LONGEST_LINE,
                "{document}:{}: {length}",
                number + 1
            );
        }
    }
}

/// The code below a folder, file after file.
fn code_of(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            text += &code_of(&entry);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(entry).unwrap();
        }
    }
    text
}

#[test]
fn a_claim_whose_test_or_script_is_not_there_is_found() {
    let code = ["tests/it", "src"].map(|folder| code_of(&root().join(folder))).concat();
    let readme = read("README.md");
    let (_, table) = readme.split_once("| claim | held by |\n|---|---|\n").unwrap();
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let holders: Vec<&str> =
            row.rsplit(" | ").next().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!holders.is_empty(), "nothing holds: {row}");
        for holder in holders {
            let is_there = match holder.strip_suffix("::") {
                Some(module) => code.contains(&format!("mod {module};")),
                None if holder.contains('/') => root().join(holder).exists(),
                None => code.contains(&format!("fn {holder}()")),
            };
            assert!(is_there, "{holder}: {row}");
        }
    }
}

#[test]
fn the_samples_of_the_readme_are_those_of_the_reference() {
    let (readme, files) = (read("README.md"), read("docs/files.md"));
    let blocks: Vec<&str> = readme.split("```json\n").skip(1).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let records = block.split("```").next().unwrap();
        assert_eq!(records.lines().count(), 5);
        assert!(files.contains(records), "{records}");
    }
}
