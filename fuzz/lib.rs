//! What the targets share: the promise about an outcome, a folder in memory, and the allocator of the programs.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use mvpbench::data::tokenizer::Tokenizer;
use mvpbench::error::InputError;
use mvpbench::error::bounded::Bounded;
use mvpbench::model::shape::Shape;
use tempfile::TempDir;

/// As in the programs: where a template or a packed file asks for more than it may have, the process ends with status 2.
#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// The longest message in bytes.
const LONGEST_MESSAGE: usize = 8000;

/// A model of one layer, for files that must fit a model.
const MODEL: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 8, "intermediate_size": 12,
    "max_position_embeddings": 16, "model_type": "llama", "num_attention_heads": 2, "num_hidden_layers": 1, "num_key_value_heads": 1,
    "rms_norm_eps": 1e-05, "tie_word_embeddings": true, "vocab_size": 9}"#;

/// The value of an outcome; none where it is an error, which must be one of the input, name the file and fit a screen or two.
pub fn tame<T>(name: &str, outcome: anyhow::Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            let message = format!("{error:#}");
            assert!(InputError::of(&error).is_some(), "no input error: {message}");
            assert!(message.contains(name), "`{name}` is not in: {message}");
            assert!(message.len() <= LONGEST_MESSAGE, "{} bytes of message", message.len());
            None
        }
    }
}

/// A path in a folder of this process, which `TMPDIR` places: in memory, by `run.py`, which removes it.
pub fn place(name: &str) -> PathBuf {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder"));
    FOLDER.path().join(name)
}

/// The shape of the model of one layer.
pub fn shape() -> &'static Shape {
    static SHAPE: LazyLock<Shape> =
        LazyLock::new(|| Shape::parse(MODEL, "config.json").expect("a configuration of a model"));
    &SHAPE
}

/// The tokenizer of the embedded default.
pub fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/tiny/model");
        Tokenizer::load(Path::new(folder)).expect("the tokenizer of configs/tiny")
    });
    &TOKENIZER
}

/// The bytes before the first `\0`, and those after it.
pub fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    (&data[..at], data.get(at + 1..).unwrap_or_default())
}

/// A safetensors file of a header and what follows it.
pub fn safetensors(header: &[u8], rest: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, rest].concat()
}
