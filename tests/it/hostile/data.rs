//! Data files: records and pairs in JSON, JSONL and Parquet, prompts, and the splits made of them.

use std::sync::Arc;

use mvpbench::config::{ColumnRole, LayoutName, RankedPairs, Reading};
use mvpbench::data::chat::ChatTemplate;
use mvpbench::data::file::{self, DataFile, Prompts};
use mvpbench::data::format::LAYOUTS;
use mvpbench::data::prompt;
use mvpbench::data::split::{By, Rule};
use mvpbench::data::tokenize::{Limits, tokenize};
use mvpbench::data::tokenizer::Tokenizer;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use serde_json::{Value, json};

use super::{config, damaged, damages, edited, edits, is_tame, tame, text, value};
use crate::golden::path;

const NAME: &str = "data/hostile.json";

/// A record of every layout, and conversations.
fn records() -> Vec<Value> {
    let samples = LAYOUTS.iter().map(|layout| serde_json::from_str(layout.sample).unwrap());
    let conversations = [
        json!({"prompt": [{"role": "user", "content": "hello"}],
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "assistant", "content": "no"}]}),
        json!({"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}),
    ];
    samples.chain(conversations).collect()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&path("models/tiny")).unwrap()
}

/// A template that takes any message.
fn template(tokenizer: &Tokenizer) -> ChatTemplate {
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content or m.tool_calls }}{% endfor %}";
    ChatTemplate::new(source.to_owned(), tokenizer, "t".to_owned()).unwrap()
}

/// Every way to read a file: layouts recognised or pinned, one pair of a list of answers or all, columns by name.
fn readings() -> Vec<Reading> {
    let pinned = LayoutName::ALL.map(|layout| Reading { layout, ..Reading::default() });
    let all = Reading { ranked_pairs: RankedPairs::All, ranked_margin: 0.5, ..Reading::default() };
    let columns = [(ColumnRole::Prompt, "chosen"), (ColumnRole::Chosen, "prompt")];
    let columns = columns.map(|(role, column)| (role, column.to_owned())).into();
    pinned.into_iter().chain([all, Reading { columns, ..Reading::default() }]).collect()
}

/// Reads one data file as `reading` says, and its conversations through a template.
fn read_as(bytes: &[u8], reading: Reading, template: &ChatTemplate) -> TestCaseResult {
    let prompts = Prompts { template: Some(template), ..Prompts::default() };
    let layout = reading.layout;
    let file = DataFile { name: NAME.to_owned(), bytes, reading, source: 0 };
    if let Some(loaded) =
        tame(NAME, bytes.len(), || file::load(std::slice::from_ref(&file), &[], &prompts))?
    {
        let records: usize = loaded.counts.layouts.iter().map(|known| known.records).sum();
        prop_assert!(
            loaded.pairs.len() >= records || loaded.counts.ties + loaded.counts.within_margin > 0
        );
        prop_assert!(layout == LayoutName::Auto || loaded.counts.layouts.len() == 1);
    }
    is_tame(NAME, bytes.len(), || prompt::load_as(bytes, NAME, layout, &prompts))
}

/// Reads one data file with every reader.
fn read(bytes: &[u8], tokenizer: &Tokenizer) -> TestCaseResult {
    let pairs = tame(NAME, bytes.len(), || file::parse(bytes, NAME))?;
    is_tame(NAME, bytes.len(), || prompt::load(bytes, NAME, &Prompts::default()))?;
    let files = [(NAME.to_owned(), bytes)];
    let rule = Rule { by: By::User, test_share: 0.3, countries: Vec::new(), seed: 3 };
    is_tame("", bytes.len(), || rule.split(&files))?;
    if let Some(pairs) = pairs {
        for limits in [Limits::default(), Limits { max_length: 9, ..Limits::default() }] {
            // Several threads tokenize, so the memory of this thread is no measure.
            let tokenized = tokenize(&pairs, tokenizer, &limits);
            prop_assert!(tokenized.is_ok(), "{tokenized:?}");
        }
    }
    Ok(())
}

#[test]
fn records_with_any_values_are_read_or_refused_by_name() {
    let (records, tokenizer) = (Value::from(records()), tokenizer());
    let mut runner = TestRunner::new(config(300));
    let cases = (edits(), any::<bool>());
    let outcome = runner.run(&cases, |(edits, lines)| {
        let records = edited(&records, &edits);
        let text = match &records {
            Value::Array(items) if lines => {
                items.iter().map(|record| format!("{record}\n")).collect()
            }
            other => other.to_string(),
        };
        read(text.as_bytes(), &tokenizer)
    });
    outcome.unwrap();
}

#[test]
fn records_of_any_layout_are_read_by_any_layout_or_refused_by_name() {
    let (records, tokenizer) = (records(), tokenizer());
    let (template, readings) = (template(&tokenizer), readings());
    let mut runner = TestRunner::new(config(300));
    let cases = (0..records.len(), 0..readings.len(), edits());
    let outcome = runner.run(&cases, |(record, reading, edits)| {
        let record = edited(&records[record], &edits);
        read_as(record.to_string().as_bytes(), readings[reading].clone(), &template)
    });
    outcome.unwrap();
    for record in &records {
        for reading in &readings {
            let line = record.to_string();
            read_as(line.as_bytes(), reading.clone(), &template).unwrap();
        }
    }
}

#[test]
fn damaged_and_arbitrary_bytes_are_read_or_refused_by_name() {
    let tokenizer = tokenizer();
    let lines: String = records().iter().map(|record| format!("{record}\n")).collect();
    let array = serde_json::to_vec_pretty(&records()).unwrap();
    let mut runner = TestRunner::new(config(300));
    let bytes = prop_oneof![
        2 => damages().prop_map(move |damages| damaged(lines.as_bytes(), &damages)),
        2 => damages().prop_map(move |damages| damaged(&array, &damages)),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => text().prop_map(String::into_bytes),
    ];
    runner.run(&bytes, |bytes| read(&bytes, &tokenizer)).unwrap();
}

/// Pairs in Parquet, with compressed and dictionary-encoded columns.
fn parquet() -> Vec<u8> {
    let schema = "message pairs { required binary prompt (STRING); required binary chosen (STRING);
        optional binary rejected (STRING); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let properties = Arc::new(WriterProperties::builder().set_compression(zstd).build());
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, schema, properties).unwrap();
    let mut columns = writer.next_row_group().unwrap();
    let mut column = 0;
    while let Some(mut next) = columns.next_column().unwrap() {
        let texts: Vec<ByteArray> =
            (0..40).map(|row| format!("text {}", row % (3 + column)).as_str().into()).collect();
        let there = vec![1; texts.len()];
        let levels = (column == 2).then_some(&there[..]);
        next.typed::<ByteArrayType>().write_batch(&texts, levels, None).unwrap();
        next.close().unwrap();
        column += 1;
    }
    columns.close().unwrap();
    writer.close().unwrap();
    out
}

#[test]
fn damaged_parquet_files_are_read_or_refused_by_name() {
    let (whole, tokenizer) = (parquet(), tokenizer());
    assert_eq!(file::parse(&whole, NAME).unwrap().len(), 40);
    let footer = whole.len() - 200;
    let cases = (damages(), any::<bool>());
    let outcome = TestRunner::new(config(1500)).run(&cases, |(damages, in_footer)| {
        let from = if in_footer { footer } else { 4 };
        let (start, rest) = whole.split_at(from);
        let mut bytes = [start, &damaged(rest, &damages)].concat();
        // The last bytes stay, so that the footer is found.
        bytes.extend_from_slice(&whole[whole.len() - 8..]);
        read(&bytes, &tokenizer)
    });
    outcome.unwrap();
}

#[test]
fn texts_of_any_characters_keep_their_pairs() {
    let tokenizer = tokenizer();
    let mut runner = TestRunner::new(config(200));
    let texts = prop::collection::vec([text(), text(), text()], 1..4);
    let outcome = runner.run(&texts, |texts| {
        let lines: String = texts
            .iter()
            .map(|[p, c, r]| {
                json!({"id": "same", "prompt": p, "chosen": c, "rejected": r}).to_string() + "\n"
            })
            .collect();
        if let Some(pairs) = tame(NAME, lines.len(), || file::parse(lines.as_bytes(), NAME))? {
            prop_assert_eq!(pairs.len(), texts.len());
            prop_assert!(tokenize(&pairs, &tokenizer, &Limits::default()).is_ok());
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn lines_of_megabytes_and_deep_nesting_are_read_or_refused() {
    let tokenizer = tokenizer();
    let long =
        json!({"prompt": "x ".repeat(1 << 20), "chosen": "é".repeat(1 << 19), "rejected": ""});
    let keys: String = (0..100_000).map(|i| format!("\"k{i}\":0,")).collect();
    for text in [
        long.to_string(),
        format!("[{long}]"),
        "[".repeat(1 << 20),
        "{\"prompt\":".repeat(1 << 17),
        format!("{{\"prompt\":{}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20)),
        format!("{{{keys}\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"r\"}}"),
        "\n".repeat(1 << 20),
        "\"".repeat(1 << 20),
        format!("{{\"prompt\":1{}}}", "0".repeat(1 << 20)),
    ] {
        read(text.as_bytes(), &tokenizer).unwrap();
    }
}
