//! Tokenizer files and chat templates.

use mvpbench::data::chat::{ChatTemplate, Variables};
use mvpbench::data::tokenizer::{Tokenizer, TokenizerFiles};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use serde_json::{Value, json};

use super::{config, damaged, damages, edited, edits, is_tame, tame, text};
use crate::golden;

const NAME: &str = "hostile-model";
const FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json"];

fn files() -> [Value; 4] {
    FILES.map(|name| golden::json(&format!("models/tiny/{name}")))
}

/// Reads the files. Their tokenizer must accept any text.
fn read(files: &[Vec<u8>; 4], text: &str) -> TestCaseResult {
    let length = files.iter().map(Vec::len).sum::<usize>() + text.len();
    let [tokenizer, tokenizer_config, special_tokens_map, config] = files;
    let files = TokenizerFiles {
        tokenizer,
        tokenizer_config: Some(tokenizer_config),
        special_tokens_map: Some(special_tokens_map),
        config: Some(config),
        ..Default::default()
    };
    let Some(mut tokenizer) = tame(NAME, length, || Tokenizer::from_bytes(&files, NAME))? else {
        return Ok(());
    };
    is_tame(NAME, length, || {
        tokenizer.check_vocab(512)?;
        let ids = tokenizer.encode(text, true)?;
        tokenizer.encoder().encode(text, true)?;
        tokenizer.decode(&ids, false)?;
        tokenizer.decode(&[0, 5, 511, u32::MAX], true)?;
        ChatTemplate::find(None, &[], files.tokenizer_config, &tokenizer, NAME).map(|_| ())
    })
}

#[test]
fn tokenizer_files_with_any_values_are_taken_or_refused_by_name() {
    let whole = files();
    let cases = (any::<prop::sample::Index>(), edits(), text());
    let outcome = TestRunner::new(config(300)).run(&cases, |(which, edits, text)| {
        // Most cases change tokenizer.json.
        let which = which.index(8).saturating_sub(4);
        let mut files = whole.clone();
        files[which] = edited(&files[which], &edits);
        read(&files.map(|file| file.to_string().into_bytes()), &text)
    });
    outcome.unwrap();
}

/// Well-formed values that make the library fail, in the places where it reads them.
#[test]
fn settings_that_the_library_stumbles_over_are_refused_by_name() {
    let whole = files();
    let huge = 1u64 << 40;
    for (pointer, value) in [
        (
            "/padding",
            json!({"strategy": {"Fixed": huge}, "direction": "Right", "pad_to_multiple_of": 0,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}),
        ),
        (
            "/truncation",
            json!({"max_length": 0, "strategy": "LongestFirst", "stride": huge, "direction": "Right"}),
        ),
        ("/model/vocab", json!({})),
        ("/model/vocab/a", json!(u32::MAX)),
        ("/model/vocab/a", json!(huge)),
        ("/model/merges", json!([["a", "b"], ["zz", ""]])),
        ("/model/merges", json!(["a b c", "", " "])),
        ("/model/dropout", json!(1e300)),
        ("/model/unk_token", json!("nowhere")),
        ("/model/type", json!("Unigram")),
        ("/model", json!({"type": "Unigram", "unk_id": 99, "vocab": []})),
        ("/model", json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", "nan"]]})),
        (
            "/model",
            json!({"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "b",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": huge}),
        ),
        ("/model", json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "b"})),
        ("/normalizer", json!({"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": "x"})),
        ("/normalizer", json!({"type": "Replace", "pattern": {"Regex": "("}, "content": "x"})),
        ("/normalizer", json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"})),
        ("/normalizer", json!({"type": "Prepend", "prepend": "x".repeat(1 << 16)})),
        ("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        ("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": ""})),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": true}),
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Metaspace", "replacement": "xx", "prepend_scheme": "always"}),
        ),
        (
            "/post_processor",
            json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "q", "type_id": 0}}],
            "pair": [], "special_tokens": {}}),
        ),
        ("/post_processor", json!({"type": "BertProcessing", "sep": ["a", huge], "cls": ["b", 1]})),
        ("/decoder", json!({"type": "Strip", "content": "x", "start": huge, "stop": huge})),
        (
            "/decoder",
            json!({"type": "CTC", "pad_token": "", "word_delimiter_token": "", "cleanup": true}),
        ),
        (
            "/added_tokens",
            json!([{"id": u32::MAX, "content": "", "special": true, "single_word": true,
            "lstrip": true, "rstrip": true, "normalized": true}]),
        ),
        ("/added_tokens", json!([{"id": 0, "content": "a", "special": true}])),
    ] {
        let mut tokenizer = whole[0].clone();
        match tokenizer.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                tokenizer.pointer_mut(parent).unwrap()[key] = value.clone();
            }
        }
        let mut files = whole.clone().map(|file| file.to_string().into_bytes());
        files[0] = tokenizer.to_string().into_bytes();
        for text in ["", "a b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\u{1f468}\u{200d}</s>"] {
            if let Err(error) = read(&files, text) {
                panic!("{pointer} = {value} on {text:?}: {error}");
            }
        }
    }
}

#[test]
fn damaged_tokenizer_files_are_taken_or_refused_by_name() {
    let whole = files().map(|file| file.to_string().into_bytes());
    let cases = (any::<prop::sample::Index>(), damages(), text());
    let outcome = TestRunner::new(config(200)).run(&cases, |(which, damages, text)| {
        let which = which.index(4);
        let mut files = whole.clone();
        files[which] = damaged(&files[which], &damages);
        read(&files, &text)
    });
    outcome.unwrap();
}

#[test]
fn chat_templates_of_anything_end_and_are_refused_by_name() {
    let tokenizer = Tokenizer::load(&golden::path("models/tiny")).unwrap();
    let message = [json!({"role": "user", "content": "x"})];
    let render = |source: &str| {
        // A text may have 64 MiB, and its vector twice as much.
        is_tame(NAME, source.len() + (1 << 20), || {
            let template = ChatTemplate::new(source.to_owned(), &tokenizer, NAME.to_owned())?;
            template.render(&message, &Variables::default(), true)
        })
    };
    for source in [
        "{% for a in range(1000000000) %}x{% endfor %}".to_owned(),
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"
            .to_owned(),
        "{{ 'x' * 1000000000 }}".to_owned(),
        "{{ ('x' * 100000) * 100000 }}".to_owned(),
        "{% set s = 'x' %}{% for a in range(64) %}{% set s = s ~ s %}{% endfor %}{{ s }}"
            .to_owned(),
        "{% for a in range(100000) %}{{ 'x' * 10000 }}{% endfor %}".to_owned(),
        "{{ range(1000000000)|list }}".to_owned(),
        "{{ 'x'.ljust(1000000000) }}{{ 'ab'.replace('', 'x' * 1000) }}".to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ 1{} }}}}", "+1".repeat(100_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(100_000)),
        format!("{{{{ x{} }}}}", "|trim".repeat(100_000)),
        format!("{}{}", "{% if 1 %}".repeat(100_000), "{% endif %}".repeat(100_000)),
        format!("{{{{ {} }}}}", "not ".repeat(100_000)),
        format!("{{{{ 1{} }}}}", "+1".repeat(8_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(8_000)),
        format!("{{{{ x{} }}}}", "()".repeat(8_000)),
        format!("{{{{ x{} }}}}", "|e".repeat(8_000)),
        format!("{{{{ x{} }}}}", "~x".repeat(8_000)),
        format!("{{{{ 1{} }}}}", " if 1".repeat(5_000)),
        format!("{{{{ 1{} }}}}", "<1".repeat(8_000)),
        format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(5_000)),
    ] {
        let begun = std::time::Instant::now();
        let start: String = source.chars().take(40).collect();
        render(&source).unwrap_or_else(|error| panic!("{start}: {error}"));
        assert!(begun.elapsed().as_secs() < 10, "{start}: {:?}", begun.elapsed());
    }
    let whole = "{% for m in messages %}{{ bos_token ~ m['role'] | trim + m.content[1:2] }}\
                 {% if loop.last and not add_generation_prompt %}{{ raise_exception('no') }}{% endif %}{% endfor %}";
    let cases = prop_oneof![
        damages().prop_map(move |damages| {
            String::from_utf8_lossy(&damaged(whole.as_bytes(), &damages)).into_owned()
        }),
        text(),
    ];
    TestRunner::new(config(300)).run(&cases, |source| render(&source)).unwrap();
}
