//! Files of UltraFeedback -> a folder with the files of UF-P-4 and `manifest.json`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use serde_json::{Number, Value, json};

use super::pairs::Label;
use super::plan::{Counts, Plan, Planned, Planner, Rule};
use super::record::{ATTRIBUTES, Completion, Record};
use crate::bail_input;
use crate::console::progress::Verbosity;
use crate::console::units::count;
use crate::construct::prism::Broken;
use crate::data::{file, records};
use crate::disk::json_array::JsonArray;
use crate::disk::once::{MANIFEST, Streams};
use crate::error::InputError;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What it is called in messages and in the manifest.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// What a build did.
#[derive(Debug)]
pub struct Built {
    /// What was counted.
    pub counts: Counts,
    /// Records that are left out.
    pub broken: Vec<Broken>,
    /// Fields that are not of UltraFeedback's schema, which are not read.
    pub unknown_fields: BTreeSet<String>,
    /// The files, with their pairs.
    pub files: Vec<(String, usize)>,
    /// Prompts of the pairs, and those of the test side.
    pub prompts: (usize, usize),
}

/// Builds UF-P-4 from `inputs` in the folder `output`.
///
/// Refuses inputs of the same bytes, inputs without a record, a rule that leaves a file without pairs, and a folder of another build.
pub fn build(inputs: &[Input], rule: &Rule, output: &Path, verbosity: Verbosity) -> Result<Built> {
    let first = read(inputs, rule, verbosity)?;
    refuse_empty(&first.plan, rule, &first.broken)?;
    let files = write(inputs, rule, &first, output, verbosity)?;
    let First { plan: Plan { counts, prompts, .. }, broken, unknown_fields, .. } = first;
    Ok(Built { counts, broken, unknown_fields, files, prompts })
}

/// What the first pass finds.
struct First {
    plan: Plan,
    broken: Vec<Broken>,
    unknown_fields: BTreeSet<String>,
    /// SHA-256 of each input.
    digests: Vec<String>,
}

fn read(inputs: &[Input], rule: &Rule, verbosity: Verbosity) -> Result<First> {
    let mut planner = Planner::new(rule);
    let (mut broken, mut unknown_fields, mut digests) = (Vec::new(), BTreeSet::new(), Vec::new());
    let mut progress = verbosity.progress("reading", "files", 0, inputs.len() as u64);
    for Input { name, path } in inputs {
        let sha256 = records::each(path, name, &mut |line, fields| {
            match fields.and_then(|fields| Record::read(&fields, &mut unknown_fields)) {
                Ok(record) => planner.add(&record),
                Err(why) => {
                    planner.add_broken();
                    broken.push(Broken { file: name.clone(), line, why });
                }
            }
            Ok(())
        })?;
        if let Some(twin) = digests.iter().position(|earlier| *earlier == sha256) {
            bail_input!("`{name}` has the same bytes as `{}`", inputs[twin].name);
        }
        digests.push(sha256);
        progress.advance(1, &[]);
    }
    Ok(First { plan: planner.finish(), broken, unknown_fields, digests })
}

fn refuse_empty(plan: &Plan, rule: &Rule, broken: &[Broken]) -> Result<()> {
    if plan.counts.records == 0 {
        let first = broken.first().map_or_else(String::new, |broken| {
            format!(", the first at {}:{}: {}", broken.file, broken.line, broken.why)
        });
        return Err(InputError::new(format!("no record can be read{first}"))
            .hint("the files are those of `openbmb/UltraFeedback`: `instruction`, and `completions` with `response` and `annotations`")
            .into());
    }
    for (at, attribute) in ATTRIBUTES.into_iter().enumerate() {
        for (is_test, side) in sides(rule) {
            if plan.pairs.iter().any(|pair| pair.kept[at] && pair.is_test == is_test) {
                continue;
            }
            let of = side.map(|side| format!(" on the {side} side")).unwrap_or_default();
            let counts = &plan.counts;
            let [considered, compared] =
                [counts.pairs_considered, counts.pairs_compared].map(count);
            let counts = counts.attributes[at];
            let message = format!(
                "no pair of `{attribute}` is left{of}: {considered} considered, {compared} compared, {} not rated, {} ties",
                count(counts.not_rated),
                count(counts.ties_dropped)
            );
            return Err(InputError::new(message)
                .hint("give more records, `--ties flip`, or another `--test-share`")
                .into());
        }
    }
    Ok(())
}

/// Whether a side is the test side, and its folder; none where there is one side.
fn sides(rule: &Rule) -> Vec<(bool, Option<&'static str>)> {
    match rule.test_share > 0.0 {
        true => vec![(false, Some("train")), (true, Some("test"))],
        false => vec![(false, None)],
    }
}

/// The second pass.
fn write(
    inputs: &[Input],
    rule: &Rule,
    first: &First,
    output: &Path,
    verbosity: Verbosity,
) -> Result<Vec<(String, usize)>> {
    let First { plan, broken, unknown_fields, digests } = first;
    let name = |side: Option<&str>, attribute: &str| match side {
        Some(side) => format!("{side}/{attribute}.json"),
        None => format!("{attribute}.json"),
    };
    let names: Vec<String> = (sides(rule).into_iter())
        .flat_map(|(_, side)| ATTRIBUTES.map(|attribute| name(side, attribute)))
        .collect();
    let mut streams = Streams::begin(output, &names, "of another build")?;
    let mut arrays: Vec<JsonArray> = names.iter().map(|_| JsonArray::default()).collect();
    let sources = file::sources(&inputs.iter().map(|input| &*input.name).collect::<Vec<_>>());
    let mut pairs = plan.pairs.iter().peekable();
    let mut at = 0;
    let total = plan.counts.records as u64;
    let mut progress = verbosity.progress("writing", "records", 0, total);
    for ((Input { name, path }, source), sha256) in inputs.iter().zip(sources).zip(digests) {
        let mut number = 0;
        let found = records::each(path, name, &mut |_, fields| {
            number += 1;
            let Ok(record) = fields.and_then(|f| Record::read(&f, &mut BTreeSet::new())) else {
                return Ok(());
            };
            while let Some(pair) = pairs.next_if(|pair| pair.record == at) {
                for attribute in (0..ATTRIBUTES.len()).filter(|place| pair.kept[*place]) {
                    let file = usize::from(pair.is_test) * ATTRIBUTES.len() + attribute;
                    let id = (&*source, number);
                    let line = line_of(&record, pair, attribute, id);
                    streams.write(file, arrays[file].add(&line)?)?;
                }
            }
            at += 1;
            progress.advance(1, &[]);
            Ok(())
        })?;
        if found != *sha256 {
            bail_input!("`{name}` has changed while it was read");
        }
    }
    drop(progress);
    for (file, array) in arrays.iter().enumerate() {
        streams.write(file, array.end())?;
    }
    let written: Vec<usize> = arrays.iter().map(JsonArray::records).collect();
    streams.finish(MANIFEST, |sha256| {
        let outputs =
            names.iter().zip(&written).zip(sha256).map(
                |((file, pairs), sha256)| json!({"file": file, "sha256": sha256, "pairs": pairs}),
            );
        let inputs = inputs
            .iter()
            .zip(digests)
            .map(|(input, sha256)| json!({"file": input.name, "sha256": sha256}));
        let manifest = json!({
            "mvpbench": env!("CARGO_PKG_VERSION"),
            "data": "UF-P-4",
            "rule": rule,
            "inputs": inputs.collect::<Vec<_>>(),
            "counts": plan.counts,
            "prompts": {"all": plan.prompts.0, "test": plan.prompts.1},
            "unknown_fields": unknown_fields,
            "broken": broken,
            "outputs": outputs.collect::<Vec<_>>(),
        });
        let mut manifest = serde_json::to_vec_pretty(&manifest)?;
        manifest.push(b'\n');
        Ok(manifest)
    })?;
    Ok(names.into_iter().zip(written).collect())
}

/// A pair as it is written.
#[derive(Debug, Serialize)]
struct Line<'a> {
    id: String,
    prompt: &'a str,
    chosen: &'a str,
    rejected: &'a str,
    metadata: Metadata<'a>,
}

/// Where a pair comes from.
#[derive(Debug, Serialize)]
struct Metadata<'a> {
    attribute: &'a str,
    source: &'a str,
    is_controversial: bool,
    is_coin_flip: bool,
    model_chosen: &'a str,
    model_rejected: &'a str,
    ratings_chosen: Value,
    ratings_rejected: Value,
}

/// The pair in the file of `attribute`. `stem`, `number`: stem of the record's file, and its place there from 1.
fn line_of<'a>(
    record: &'a Record,
    pair: &Planned,
    attribute: usize,
    (stem, number): (&str, usize),
) -> Line<'a> {
    let (first, second) = pair.places;
    let label = pair.labels[attribute];
    let is_first = label.is_first() == Some(true);
    let (chosen, rejected) = if is_first { (first, second) } else { (second, first) };
    let [chosen, rejected] = [chosen, rejected].map(|place| &record.completions[place]);
    Line {
        id: format!("{stem}:{number}:{first}-{second}"),
        prompt: &record.instruction,
        chosen: &chosen.response,
        rejected: &rejected.response,
        metadata: Metadata {
            attribute: ATTRIBUTES[attribute],
            source: &record.source,
            is_controversial: super::pairs::is_controversial(&pair.labels),
            is_coin_flip: matches!(label, Label::CoinFirst | Label::CoinSecond),
            model_chosen: &chosen.model,
            model_rejected: &rejected.model,
            ratings_chosen: ratings(chosen),
            ratings_rejected: ratings(rejected),
        },
    }
}

/// The ratings by attribute; a whole number has no fraction, as in UltraFeedback.
fn ratings(completion: &Completion) -> Value {
    let number = |rating: f64| match rating.fract() == 0.0 {
        true => Some(Number::from(rating as u64)),
        false => Number::from_f64(rating),
    };
    let value = |rating: Option<f64>| rating.and_then(number).map_or(Value::Null, Value::Number);
    let rated = ATTRIBUTES.iter().zip(completion.ratings);
    rated.map(|(attribute, rating)| ((*attribute).to_owned(), value(rating))).collect()
}
