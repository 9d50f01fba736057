//! `tensorboard/`: the log's numbers as a TensorBoard event file, under the names that transformers' callback gives
//! them.
//!
//! An event file is a run of TFRecords: length, its masked CRC-32C, an `Event` in protobuf, its masked CRC-32C. An
//! event here is a wall time, a step and scalars, and the answers to fixed prompts as texts; the first one names the version of the
//! format.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::disk::atomic;
use crate::metrics::Metric;
use crate::run_folder::eval_log::EvalRecord;
use crate::run_folder::samples::{self, SampleMeans, SampleRecord};
use crate::run_folder::train_log::{StepRecord, elapsed_s};

/// Part of an event file's name, by which TensorBoard finds it.
const MARK: &str = "tfevents";

/// The open event file of a run.
pub struct TensorBoard {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// Opens the file of a run that resumes after `records` and `evaluations`. Writes them to one new file that
    /// replaces all earlier ones, so that no step appears twice. The last record's wall time is now; earlier ones
    /// follow from the step times.
    ///
    /// `answers`: to fixed prompts; those after steps without a record are left out.
    pub fn open(
        folder: &Path,
        records: &[StepRecord],
        evaluations: &[EvalRecord],
        answers: &[SampleRecord],
    ) -> Result<Self> {
        let now = wall_time_s();
        let earlier: Vec<PathBuf> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().contains(MARK))
            .map(|entry| entry.path())
            .collect();
        let name =
            format!("events.out.{MARK}.{:010}.mvpbench.{}.0", now as u64, std::process::id());
        let path = folder.join(name);
        let ahead = elapsed_s(records);
        let mut wall_time = now - ahead;
        atomic::write(&path, |out| {
            out.write_all(&framed(&version_event(wall_time)))?;
            let at = |step| of_step(evaluations, step);
            out.write_all(&eval_event(at(0), wall_time))?;
            out.write_all(&sample_events(answers, 0, wall_time))?;
            for record in records {
                wall_time += elapsed_s(std::slice::from_ref(record));
                out.write_all(&framed(&step_event(record, wall_time)?))?;
                out.write_all(&eval_event(at(record.step), wall_time))?;
                out.write_all(&sample_events(answers, record.step, wall_time))?;
            }
            Ok(())
        })?;
        for old in earlier.iter().filter(|old| **old != path) {
            fs::remove_file(old).with_context(|| format!("cannot remove `{}`", old.display()))?;
        }
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open `{}`", path.display()))?;
        Ok(Self { path, file })
    }

    /// Adds a step.
    pub fn push(&mut self, record: &StepRecord) -> Result<()> {
        self.append(&framed(&step_event(record, wall_time_s())?))
    }

    /// Adds the records of one evaluation.
    pub fn push_evaluation(&mut self, records: &[EvalRecord]) -> Result<()> {
        self.append(&eval_event(records, wall_time_s()))
    }

    /// Adds the answers after `step` steps; `answers`: all so far, the base model's among them.
    pub fn push_samples(&mut self, answers: &[SampleRecord], step: usize) -> Result<()> {
        self.append(&sample_events(answers, step, wall_time_s()))
    }

    fn append(&mut self, event: &[u8]) -> Result<()> {
        self.file
            .write_all(event)
            .with_context(|| format!("cannot write `{}`", self.path.display()))
    }
}

fn wall_time_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// `Event { wall_time = 1, file_version = 3 }`.
fn version_event(wall_time: f64) -> Vec<u8> {
    let mut event = double_field(1, wall_time);
    event.extend(bytes_field(3, b"brain.Event:2"));
    event
}

/// `Event { wall_time = 1, step = 2, summary = 5 }` with every number of the record but the step.
fn step_event(record: &StepRecord, wall_time: f64) -> Result<Vec<u8>> {
    let serde_json::Value::Object(fields) = serde_json::to_value(record)? else {
        anyhow::bail!("a record is not an object")
    };
    let mut summary = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| *name != "step") {
        if let Some(value) = value.as_f64() {
            summary.extend(scalar(&format!("train/{name}"), value));
        }
    }
    Ok(summary_event(record.step, &summary, wall_time))
}

/// The records of `step`; `records` are sorted by step.
fn of_step(records: &[EvalRecord], step: usize) -> &[EvalRecord] {
    let from = records.partition_point(|record| record.step < step);
    &records[from..records.partition_point(|record| record.step <= step)]
}

/// One evaluation as a TFRecord; empty without records. The tags are transformers': `eval/loss`, or `eval/NAME_loss`
/// with several sets.
fn eval_event(records: &[EvalRecord], wall_time: f64) -> Vec<u8> {
    let Some(first) = records.first() else { return Vec::new() };
    let mut summary = Vec::new();
    for record in records {
        let set = if records.len() > 1 { format!("{}_", record.set) } else { String::new() };
        // Before training policy and reference are one: OPA has no figure of that state.
        let has = |name: &str| record.step > 0 || name != Metric::Opa.name();
        for (name, value) in record.figures.iter().filter(|(name, _)| has(name)) {
            summary.extend(scalar(&format!("eval/{set}{name}"), *value));
        }
    }
    framed(&summary_event(first.step, &summary, wall_time))
}

/// The answers after `step` steps as one TFRecord: a text for each prompt, and the means. The base model's are those of step 0 where
/// training starts from a fresh adapter; a later text has them beside it. Empty without answers after `step` steps.
fn sample_events(answers: &[SampleRecord], step: usize, wall_time: f64) -> Vec<u8> {
    let of_step = samples::states(answers).filter(|state| state[0].step == step);
    let Some(state) = of_step.last() else { return Vec::new() }; // the base model's come first
    let base = samples::base(answers);
    let mut summary = Vec::new();
    for record in state {
        let beside = base.iter().find(|base| base.row == record.row && !record.is_base());
        summary.extend(text(
            &format!("samples/{} {}", record.row + 1, record.id),
            &[("prompt".to_owned(), &record.prompt), (named(record), &record.answer)]
                .into_iter()
                .chain(beside.map(|base| (named(base), &base.answer)))
                .collect::<Vec<_>>(),
        ));
    }
    if let Some(means) = SampleMeans::of(state) {
        let kl = means.kl.map(|kl| ("kl", kl));
        let means = [("mean_length", means.length), ("clipped_ratio", means.clipped)];
        for (name, value) in means.into_iter().chain(kl) {
            summary.extend(scalar(&format!("samples/{name}"), value));
        }
    }
    framed(&summary_event(step, &summary, wall_time))
}

/// Whose answer it is.
fn named(record: &SampleRecord) -> String {
    let tokens = record.generated_tokens;
    match record.is_base() {
        true => format!("base model, {tokens} tokens"),
        false => format!("step {}, {tokens} tokens", record.step),
    }
}

/// `Summary.Value { tag = 1, tensor = 8, metadata = 9 }` for TensorBoard's plugin `text`, which reads Markdown: each part under its name,
/// indented so that it is shown as it is.
fn text(tag: &str, parts: &[(String, &String)]) -> Vec<u8> {
    let mut markdown = String::new();
    for (name, text) in parts {
        markdown += &format!("**{name}**\n\n");
        text.lines().for_each(|line| markdown += &format!("    {line}\n"));
        markdown.push('\n');
    }
    // TensorProto { dtype = 1: DT_STRING, tensor_shape = 2: [1], string_val = 8 }
    let mut tensor = vec![1 << 3, 7];
    tensor.extend(bytes_field(2, &bytes_field(2, &[1 << 3, 1])));
    tensor.extend(bytes_field(8, markdown.as_bytes()));
    // SummaryMetadata { plugin_data = 1: { plugin_name = 1 } }
    let metadata = bytes_field(1, &bytes_field(1, b"text"));
    let mut value = bytes_field(1, tag.as_bytes());
    value.extend(bytes_field(8, &tensor));
    value.extend(bytes_field(9, &metadata));
    bytes_field(1, &value)
}

/// `Summary.Value { tag = 1, simple_value = 2 }`, as a field of a summary.
fn scalar(tag: &str, value: f64) -> Vec<u8> {
    let mut scalar = bytes_field(1, tag.as_bytes());
    scalar.push(2 << 3 | 5);
    scalar.extend((value as f32).to_le_bytes());
    bytes_field(1, &scalar)
}

fn summary_event(step: usize, summary: &[u8], wall_time: f64) -> Vec<u8> {
    let mut event = double_field(1, wall_time);
    event.push(2 << 3);
    event.extend(varint(step as u64));
    event.extend(bytes_field(5, summary));
    event
}

fn double_field(number: u8, x: f64) -> Vec<u8> {
    let mut field = vec![number << 3 | 1];
    field.extend(x.to_le_bytes());
    field
}

fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint(bytes.len() as u64));
    field.extend(bytes);
    field
}

/// Seven bits a byte, the lowest first; the high bit marks that more follow.
fn varint(mut x: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while x >= 0x80 {
        bytes.push(x as u8 | 0x80);
        x >>= 7;
    }
    bytes.push(x as u8);
    bytes
}

/// One TFRecord.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(data);
    record.extend(masked(crc32c(data)).to_le_bytes());
    record
}

/// TFRecord's mask: the checksum of data that contains its own checksum would be a constant.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected, a bit at a time: a step has a few hundred bytes.
fn crc32c(data: &[u8]) -> u32 {
    let shifted = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !data
        .iter()
        .fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| shifted(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opa_begins_after_the_first_step() {
        let tags = |step| {
            let figures = [Metric::Opa, Metric::OpaMarginMean].map(|m| (m.name().to_owned(), 0.5));
            let record =
                EvalRecord { step, epoch: 0.0, set: "a".into(), pairs: 1, figures: figures.into() };
            let event = eval_event(&[record], 0.0);
            event.windows(8).filter(|bytes| *bytes == b"eval/opa").count()
        };
        assert_eq!((tags(0), tags(5)), (1, 2), "opa_margin_mean has a figure of an untuned model");
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, appendix B.4, and the customary check value.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn numbers_of_more_than_seven_bits_take_more_bytes() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [127]);
        assert_eq!(varint(300), [0xac, 0x02]);
    }
}
