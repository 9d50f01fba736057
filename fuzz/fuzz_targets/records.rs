//! A data file. The first byte is the layout, the second how the file is named and read; the rest is the file: JSON, JSONL, CSV, Parquet,
//! Arrow, packed or not.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mvpbench::config::{ColumnRole, LayoutName, RankedPairs, Reading};
use mvpbench::data::chat::ChatTemplate;
use mvpbench::data::file::{self, DataFile, Prompts};
use mvpbench::data::{chat_prompt, prompt};
use mvpbench_fuzz::{tame, tokenizer};
use serde_json::json;

/// Writes any message.
static TEMPLATE: LazyLock<ChatTemplate> = LazyLock::new(|| {
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content or m.tool_calls }}{% endfor %}";
    ChatTemplate::new(source.to_owned(), tokenizer(), "t".to_owned()).expect("a template")
});

fuzz_target!(|data: &[u8]| {
    let [layout, how, bytes @ ..] = data else { return };
    let name = ["fuzz.jsonl", "fuzz.csv", "fuzz.tsv", "fuzz.txt"][usize::from(how & 3)];
    let layout = LayoutName::ALL[usize::from(*layout) % LayoutName::ALL.len()];
    let mut reading = Reading { layout, ..Reading::default() };
    if how & 4 != 0 {
        reading.ranked_pairs = RankedPairs::All;
        reading.ranked_margin = 0.5;
    }
    if how & 8 != 0 {
        reading.columns.insert(ColumnRole::Prompt, "chosen".to_owned());
        reading.columns.insert(ColumnRole::Chosen, "prompt".to_owned());
    }
    let template = (how & 16 != 0).then(|| &*TEMPLATE);
    let prompts = Prompts { template, ..Prompts::default() };
    let file = DataFile { name: name.to_owned(), bytes, reading, source: 0 };
    let columns: &[String] = if how & 32 != 0 { &["age".to_owned()] } else { &[] };
    if let Some(loaded) = tame(name, file::load(std::slice::from_ref(&file), columns, &prompts))
        && template.is_none()
    {
        // What was read is read again as it was, written as plain pairs.
        let line = |pair: &mvpbench::data::pair::Pair| {
            let [prompt, chosen, rejected] = [&pair.prompt, &pair.chosen, &pair.rejected];
            format!("{}\n", json!({"prompt": prompt, "chosen": chosen, "rejected": rejected}))
        };
        let lines: String = loaded.pairs.iter().map(line).collect();
        if !loaded.pairs.is_empty() {
            let again = file::parse(lines.as_bytes(), "again.jsonl").expect("plain pairs are read");
            assert_eq!(again.len(), loaded.pairs.len());
            for (again, pair) in again.iter().zip(&loaded.pairs) {
                assert_eq!(
                    [&again.prompt, &again.chosen, &again.rejected],
                    [&pair.prompt, &pair.chosen, &pair.rejected]
                );
            }
        }
    }
    tame(name, prompt::load_as(bytes, name, layout, &prompts));
    tame(name, chat_prompt::load(bytes, name, layout));
});
