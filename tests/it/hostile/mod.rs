//! Hostile input: whatever a file holds, reading it gives a result or an error that names the file, never a panic, and
//! takes memory in proportion to the file.
//!
//! Files are made of valid ones by mutation, so that they get past the first check. The cases are the same in every
//! run.

mod data;
mod encoder;
mod model;
mod program;
mod run_files;
mod settings;
mod tokenizer;

use mvpbench::error::InputError;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestCaseResult};
use serde_json::{Map, Value};

use crate::memory::peak_of;

/// Bytes that reading any file may take, whatever its size.
const FIXED_MEMORY: usize = 16 << 20;

/// Further bytes that reading may take for each byte of the file.
const MEMORY_PER_BYTE: usize = 256;

/// The longest message in bytes, file names included.
const LONGEST_MESSAGE: usize = 8000;

/// `cases` cases, the same in every run. Failures are not saved in the source tree.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    }
}

/// Checks that `read` of a file of `length` bytes gives a value or an input error with `name` in it, in bounded memory.
fn tame<T>(
    name: &str,
    length: usize,
    read: impl FnOnce() -> anyhow::Result<T>,
) -> Result<Option<T>, TestCaseError> {
    let (outcome, peak) = peak_of(read);
    let most = FIXED_MEMORY + MEMORY_PER_BYTE * length;
    prop_assert!(peak <= most, "{peak} bytes held for {length}");
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let message = format!("{error:#}");
            prop_assert!(InputError::of(&error).is_some(), "no input error: {message}");
            prop_assert!(message.contains(name), "`{name}` is not in: {message}");
            prop_assert!(message.len() <= LONGEST_MESSAGE, "{} bytes of message", message.len());
            Ok(None)
        }
    }
}

/// [`tame`] without the value.
fn is_tame<T>(
    name: &str,
    length: usize,
    read: impl FnOnce() -> anyhow::Result<T>,
) -> TestCaseResult {
    tame(name, length, read).map(|_| ())
}

/// Text of any characters, some of which break naive code.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,20}",
        any::<String>(),
        Just(String::new()),
        Just("\0\u{feff}\u{202e}\u{fffd}\u{10ffff}\r\n".to_owned()),
        Just("</s><s>[INST] {{ x }} {% raw %}".to_owned()),
        Just("a\u{300}\u{1f468}\u{200d}\u{1f469}".to_owned()),
        Just("x".repeat(70_000)),
        Just("9".repeat(400)),
        Just("../../etc/passwd".to_owned()),
    ]
}

/// Values of the wrong type, size or sign.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![
            Just(0u64),
            Just(1),
            Just(1 << 31),
            Just(1 << 32),
            Just(1 << 40),
            Just((1 << 63) - 1),
            Just(u64::MAX)
        ]
        .prop_map(Value::from),
        prop_oneof![Just(1e308), Just(-1e-308), Just(-1.0), Just(0.5), Just(1e30)]
            .prop_map(Value::from),
        text().prop_map(Value::from),
        Just(deep(100)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

/// Arrays within one another.
fn deep(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| Value::from(vec![inner]))
}

/// A change of a JSON document.
#[derive(Debug, Clone)]
enum Edit {
    Replace(Index, Value),
    Remove(Index),
    Add(Index, String, Value),
    Swap(Index, Index),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let index = any::<Index>;
    let edit = prop_oneof![
        4 => (index(), value()).prop_map(|(at, value)| Edit::Replace(at, value)),
        2 => index().prop_map(Edit::Remove),
        1 => (index(), text(), value()).prop_map(|(at, key, value)| Edit::Add(at, key, value)),
        1 => (index(), index()).prop_map(|(a, b)| Edit::Swap(a, b)),
    ];
    prop::collection::vec(edit, 1..4)
}

/// Pointers to the values within `value`; to some values of a long array or object.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    const SOME: usize = 24;
    all.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate().take(SOME) {
                pointers(item, &format!("{at}/{i}"), all);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields.iter().take(SOME) {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(item, &format!("{at}/{key}"), all);
            }
        }
        _ => {}
    }
}

/// `document` after `edits`.
fn edited(document: &Value, edits: &[Edit]) -> Value {
    let mut document = document.clone();
    for edit in edits {
        let mut all = Vec::new();
        pointers(&document, "", &mut all);
        let at = |index: &Index| index.get(&all).clone();
        match edit {
            Edit::Replace(index, value) => {
                if let Some(place) = document.pointer_mut(&at(index)) {
                    *place = value.clone();
                }
            }
            Edit::Remove(index) => {
                let path = at(index);
                let (parent, key) = path.rsplit_once('/').unwrap_or(("", ""));
                match document.pointer_mut(parent) {
                    Some(Value::Object(fields)) => {
                        fields.shift_remove(&key.replace("~1", "/").replace("~0", "~"));
                    }
                    Some(Value::Array(items)) => {
                        let i = key.parse().unwrap_or(0);
                        if i < items.len() {
                            items.remove(i);
                        }
                    }
                    _ => {}
                }
            }
            Edit::Add(index, key, value) => match document.pointer_mut(&at(index)) {
                Some(Value::Object(fields)) => {
                    fields.insert(key.clone(), value.clone());
                }
                Some(Value::Array(items)) => items.push(value.clone()),
                _ => {}
            },
            Edit::Swap(a, b) => {
                let (a, b) = (at(a), at(b));
                if let (Some(x), Some(y)) =
                    (document.pointer(&a).cloned(), document.pointer(&b).cloned())
                {
                    for (path, value) in [(a, y), (b, x)] {
                        if let Some(place) = document.pointer_mut(&path) {
                            *place = value;
                        }
                    }
                }
            }
        }
    }
    document
}

/// A change of some bytes.
#[derive(Debug, Clone)]
enum Damage {
    Cut(Index),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
    Zero(Index, usize),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let index = any::<Index>;
    let damage = prop_oneof![
        1 => index().prop_map(Damage::Cut),
        4 => (index(), 1u8..).prop_map(|(at, by)| Damage::Flip(at, by)),
        2 => (index(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, b)| Damage::Insert(at, b)),
        1 => (index(), index()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        1 => (index(), 1..64usize).prop_map(|(at, n)| Damage::Zero(at, n)),
    ];
    prop::collection::vec(damage, 1..5)
}

/// `bytes` after `damages`.
fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        let at = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match damage {
            Damage::Cut(index) => bytes.truncate(at(index, &bytes)),
            Damage::Flip(index, by) => {
                let at = at(index, &bytes);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= by;
                }
            }
            Damage::Insert(index, more) => {
                let at = at(index, &bytes);
                bytes.splice(at..at, more.iter().copied());
            }
            Damage::Repeat(from, to) => {
                let (a, b) = (at(from, &bytes), at(to, &bytes));
                let (from, to) = (a.min(b), a.max(b));
                bytes.extend_from_within(from..to);
            }
            Damage::Zero(index, n) => {
                let from = at(index, &bytes);
                let to = (from + n).min(bytes.len());
                bytes[from..to].fill(0);
            }
        }
    }
    bytes
}
