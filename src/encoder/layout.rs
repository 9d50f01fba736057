//! The small files of a sentence-transformers folder: which modules, how tokens are pooled, how long a text may be.
//!
//! A folder is a list of modules, `modules.json`: a Transformer, here a BERT, then a Pooling, then any Dense and Normalize. Anything else
//! is refused by name, so that a cosine always comes from the encoder that the folder describes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Map, Value};

use crate::data::tokenizer_config::refuse_unknown_beside;
use crate::disk::fields::{Known, WITHOUT_EFFECT, refuse_unknown};
use crate::disk::read;
use crate::encoder::known;
use crate::error::InputError;

/// The list of modules.
pub const MODULES_FILE: &str = "modules.json";
/// Settings of the whole encoder, such as a default prompt; older folders have only versions in it.
pub const SETTINGS_FILE: &str = "config_sentence_transformers.json";
/// Settings of the Transformer module.
pub const TRANSFORMER_FILE: &str = "sentence_bert_config.json";
/// The tokenizer of the Transformer module.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Its settings: the longest text, if no other file has it.
pub const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
/// Configuration of any module.
pub const CONFIG_FILE: &str = "config.json";
/// Weights of a module that has some.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// How to make one vector of the vectors of a text's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean, special tokens included, padding not.
    Mean,
    /// The first token's.
    Cls,
    /// The largest of each dimension.
    Max,
}

/// A module after the pooling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Module {
    /// Division by the Euclidean length.
    Normalize,
    /// A linear layer.
    Dense {
        /// Its folder.
        folder: PathBuf,
        /// Width of the input and of the output.
        shape: [usize; 2],
        /// Whether it adds a bias.
        bias: bool,
        /// Whether the result goes through tanh.
        tanh: bool,
    },
}

/// The content of the small files. No weight is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The folder, as messages call it.
    pub name: String,
    /// Folder of the Transformer: `config.json`, `tokenizer.json`, `model.safetensors`.
    pub transformer: PathBuf,
    /// Content of the Transformer's `config.json`, a BERT's.
    pub config: Value,
    /// Most tokens of a text, special ones included; the rest is cut.
    pub max_tokens: usize,
    /// Whether a text is put into lower case before it reaches the tokenizer.
    pub lower_case: bool,
    /// How tokens become a sentence.
    pub pooling: Pooling,
    /// The modules after the pooling.
    pub modules: Vec<Module>,
    /// Every file that an embedding depends on, weights included.
    pub files: Vec<PathBuf>,
}

impl Layout {
    /// Reads the small files of the encoder in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let name = folder.display().to_string();
        if !folder.is_dir() {
            return Err(InputError::new(format!("sentence encoder `{name}` is not a folder"))
                .hint(HINT)
                .into());
        }
        refuse_prompts(folder)?;
        let listed = listed_modules(folder)?;
        let types: Vec<&str> = listed.iter().map(|(kind, _)| kind.as_str()).collect();
        let [(first, transformer), (second, pooling), rest @ ..] = &listed[..] else {
            return Err(wrong_modules(folder, &types));
        };
        if (first.as_str(), second.as_str()) != ("Transformer", "Pooling") {
            return Err(wrong_modules(folder, &types));
        }
        let adapter = transformer.join("adapter_config.json");
        if adapter.is_file() {
            return Err(InputError::new(format!(
                "sentence encoder: `{}` is an adapter, which is not computed here",
                adapter.display()
            ))
            .hint("merge it into the encoder first")
            .into());
        }
        let config = Fields::read(&transformer.join(CONFIG_FILE), "the encoder's configuration")?;
        let hidden = bert(&config)?;
        let (max_tokens, lower_case) = length(transformer, &config)?;
        let file = pooling.join(CONFIG_FILE);
        let pooling = pooling_mode(&Fields::read(&file, "the pooling mode")?, hidden)?;
        let mut files = vec![folder.join(MODULES_FILE), file];
        let optional = [TRANSFORMER_FILE, TOKENIZER_CONFIG_FILE].map(|name| transformer.join(name));
        files.extend(optional.into_iter().filter(|path| path.is_file()));
        files
            .extend([CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE].map(|name| transformer.join(name)));
        let mut width = hidden;
        let mut modules = Vec::new();
        for (kind, path) in rest {
            modules.push(match kind.as_str() {
                "Normalize" => {
                    let file = path.join(CONFIG_FILE);
                    if file.is_file() {
                        Fields::read(&file, "a Normalize module's configuration")?
                            .refuse_unknown(&[known::NORMALIZE])?;
                    }
                    Module::Normalize
                }
                "Dense" => {
                    files.extend([CONFIG_FILE, WEIGHTS_FILE].map(|name| path.join(name)));
                    dense(path, &mut width)?
                }
                _ => return Err(wrong_modules(folder, &types)),
            });
        }
        let transformer = transformer.clone();
        let config = Value::Object(config.fields);
        Ok(Self { name, transformer, config, max_tokens, lower_case, pooling, modules, files })
    }

    /// The files that hold weights.
    pub fn weight_files(&self) -> Vec<PathBuf> {
        self.files.iter().filter(|path| path.ends_with(WEIGHTS_FILE)).cloned().collect()
    }
}

const HINT: &str = "give a sentence-transformers folder or hub id, such as `sentence-transformers/all-MiniLM-L6-v2`";

/// Type and folder of each module of a `modules.json`, in order; a type is the last word of its Python path.
pub(crate) fn parse_modules(text: &str, file: &str) -> Result<Vec<(String, String)>> {
    let wrong = |what: String| InputError::new(format!("{file}: {what}"));
    let modules: Vec<Map<String, Value>> = serde_json::from_str(text)
        .map_err(|error| wrong(format!("expected a list of modules: {error}")))?;
    let module = |(i, module): (usize, &Map<String, Value>)| {
        refuse_unknown(&format!("{file}: module {i}"), module, &[known::MODULE])?;
        let text = |key: &str| module.get(key).and_then(Value::as_str);
        let (Some(kind), Some(path)) = (text("type"), text("path")) else {
            return Err(wrong(format!("module {i} has no `type` or no `path`")).into());
        };
        let plain = |part: &str| !matches!(part, "." | "..") && !part.contains(['\\', '\0', ':']);
        if path.starts_with('/') || !path.split('/').all(plain) {
            return Err(wrong(format!(
                "module {i} has the path `{path}`, expected a folder inside this one"
            ))
            .into());
        }
        Ok((kind.rsplit('.').next().unwrap_or(kind).to_owned(), path.to_owned()))
    };
    modules.iter().enumerate().map(module).collect()
}

/// Type and folder of each module of the encoder in `folder`.
fn listed_modules(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let path = folder.join(MODULES_FILE);
    let text = read(&path, "the list of an encoder's modules")?;
    let modules = parse_modules(&text, &path.display().to_string())?;
    Ok(modules.into_iter().map(|(kind, path)| (kind, folder.join(path))).collect())
}

/// The error for modules that are not Transformer, Pooling and then Dense or Normalize.
fn wrong_modules(folder: &Path, types: &[&str]) -> anyhow::Error {
    let known = ["Transformer", "Pooling", "Normalize", "Dense"];
    let path = folder.join(MODULES_FILE);
    let what = match types.iter().find(|kind| !known.contains(kind)) {
        Some(kind) => format!("module `{kind}`"),
        None => format!("modules {}", types.join(", ")),
    };
    InputError::new(format!(
        "{}: expected Transformer, Pooling, then any Dense and Normalize, got {what}",
        path.display()
    ))
    .hint("take an encoder such as `sentence-transformers/all-MiniLM-L6-v2`")
    .into()
}

/// Refuses an encoder that puts a default prompt before every text.
fn refuse_prompts(folder: &Path) -> Result<()> {
    let path = folder.join(SETTINGS_FILE);
    if !path.is_file() {
        return Ok(());
    }
    let fields = Fields::read(&path, "settings")?;
    if fields.get("default_prompt_name").is_some() {
        return Err(
            fields.wrong("default_prompt_name", "`null`: default prompts are not supported")
        );
    }
    fields.refuse_unknown(&[known::SETTINGS])
}

/// Refuses a Transformer that is not a supported BERT; returns its width.
fn bert(config: &Fields) -> Result<usize> {
    let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or("bert");
    if model_type != "bert" {
        return Err(config.wrong("model_type", "`\"bert\"`, the only supported encoder"));
    }
    // candle's `Gelu` is the exact one, as transformers' "gelu".
    if !matches!(config.get("hidden_act").and_then(Value::as_str), Some("gelu" | "relu")) {
        return Err(config.wrong("hidden_act", "`\"gelu\"` or `\"relu\"`"));
    }
    config.refuse_unknown(&[known::BERT, WITHOUT_EFFECT])?;
    config.count("hidden_size")
}

/// Most tokens of a text, decided as in sentence-transformers, and whether it is put into lower case.
fn length(transformer: &Path, config: &Fields) -> Result<(usize, bool)> {
    let positions = config.count("max_position_embeddings")?;
    let optional = |name: &str| match transformer.join(name) {
        path if path.is_file() => Fields::read(&path, "settings").map(Some),
        _ => Ok(None),
    };
    let (settings, tokenizer) = (optional(TRANSFORMER_FILE)?, optional(TOKENIZER_CONFIG_FILE)?);
    if let Some(tokenizer) = &tokenizer {
        refuse_unknown_beside(known::TOKENIZER, &tokenizer.fields, &tokenizer.file)?;
    }
    if let Some(settings) = &settings {
        settings.refuse_unknown(&[known::TRANSFORMER])?;
        let plain = serde_json::json!({"text": {"method": "forward", "method_output_name": "last_hidden_state"}});
        if settings.get("modality_config").is_some_and(|modalities| *modalities != plain) {
            return Err(settings.wrong("modality_config", &format!("`{plain}`")));
        }
    }
    let lower_case = settings.as_ref().and_then(|s| s.get("do_lower_case")) == Some(&true.into());
    if let Some(settings) = settings.filter(|settings| settings.get("max_seq_length").is_some()) {
        let most = settings.count("max_seq_length")?;
        if most > positions {
            return Err(settings.wrong(
                "max_seq_length",
                &format!("at most `max_position_embeddings`, {positions}"),
            ));
        }
        return Ok((most, lower_case));
    }
    // 1e30 for a tokenizer without a limit of its own.
    let own = tokenizer.as_ref().and_then(|t| t.get("model_max_length")).and_then(Value::as_f64);
    let own = own.filter(|most| (1.0..1e9).contains(most)).map_or(positions, |most| most as usize);
    Ok((own.min(positions), lower_case))
}

/// The one pooling mode that is on, spelled as flags (until sentence-transformers 5) or as a word (since 6).
fn pooling_mode(fields: &Fields, hidden: usize) -> Result<Pooling> {
    const PREFIX: &str = "pooling_mode_";
    fields.refuse_unknown(&[known::POOLING])?;
    for key in ["word_embedding_dimension", "embedding_dimension"] {
        if fields.get(key).is_some() && fields.count(key)? != hidden {
            return Err(fields.wrong(key, &format!("the encoder's `hidden_size`, {hidden}")));
        }
    }
    let modes: Vec<String> = match fields.get("pooling_mode") {
        Some(Value::String(mode)) => vec![mode.clone()],
        Some(Value::Array(modes)) => {
            modes.iter().map(|mode| mode.as_str().unwrap_or("?").to_owned()).collect()
        }
        Some(_) => return Err(fields.wrong("pooling_mode", "a word")),
        None => {
            let on = fields.fields.iter().filter(|(_, value)| **value == Value::Bool(true));
            let modes = on.filter_map(|(key, _)| key.strip_prefix(PREFIX));
            modes
                .map(|mode| {
                    mode.strip_suffix("_token")
                        .or(mode.strip_suffix("_tokens"))
                        .unwrap_or(mode)
                        .to_owned()
                })
                .collect()
        }
    };
    let one = |mode: &str| match mode {
        "mean" => Some(Pooling::Mean),
        "cls" => Some(Pooling::Cls),
        "max" => Some(Pooling::Max),
        _ => None,
    };
    let unknown = |what: String| {
        InputError::new(format!(
            "{}: expected one pooling mode of `mean`, `cls` and `max`, got {what}",
            fields.file
        ))
        .hint("take an encoder such as `sentence-transformers/all-MiniLM-L6-v2`")
    };
    match &modes[..] {
        [] => Err(unknown("none".to_owned()).into()),
        [mode] => one(mode).ok_or_else(|| unknown(format!("`{mode}`")).into()),
        several => Err(unknown(several.join(", ")).into()),
    }
}

/// A Dense module; `width`: that of its input, replaced by that of its output.
fn dense(folder: &Path, width: &mut usize) -> Result<Module> {
    let fields = Fields::read(&folder.join(CONFIG_FILE), "a Dense module's configuration")?;
    let (inside, outside) = (fields.count("in_features")?, fields.count("out_features")?);
    if inside != *width {
        return Err(
            fields.wrong("in_features", &format!("the width of the module before it, {width}"))
        );
    }
    *width = outside;
    let activation = fields.get("activation_function").and_then(Value::as_str).unwrap_or_default();
    let tanh = match activation.rsplit('.').next() {
        Some("Tanh") => true,
        Some("Identity") => false,
        _ => return Err(fields.wrong("activation_function", "`Tanh` or `Identity` of torch.nn")),
    };
    let bias = fields.get("bias") != Some(&Value::Bool(false));
    fields.refuse_unknown(&[known::DENSE])?;
    Ok(Module::Dense { folder: folder.to_owned(), shape: [inside, outside], bias, tanh })
}

/// The fields of a JSON file.
struct Fields {
    file: String,
    fields: Map<String, Value>,
}

impl Fields {
    fn read(path: &Path, what: &str) -> Result<Self> {
        let (file, text) = (path.display().to_string(), read(path, what)?);
        let fields = serde_json::from_str(&text)
            .map_err(|error| InputError::new(format!("{file}: expected a JSON object: {error}")))?;
        Ok(Self { file, fields })
    }

    /// The value of a field; none if it is missing or null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    fn count(&self, key: &str) -> Result<usize> {
        let count =
            self.get(key).and_then(Value::as_u64).filter(|count| (1..1 << 32).contains(count));
        count.map(|count| count as usize).ok_or_else(|| self.wrong(key, "a positive whole number"))
    }

    fn refuse_unknown(&self, known: &[&[(&str, Known)]]) -> Result<()> {
        Ok(refuse_unknown(&self.file, &self.fields, known)?)
    }

    fn wrong(&self, key: &str, expected: &str) -> anyhow::Error {
        let found = self.fields.get(key).unwrap_or(&Value::Null);
        InputError::new(format!("{}: `{key}` must be {expected}, got `{found}`", self.file)).into()
    }
}

/// The text of a file of the encoder; `what`: its content, for the error if it is missing.
fn read(path: &Path, what: &str) -> Result<String> {
    let file = path.display();
    match read::bytes(path) {
        Ok(bytes) => Ok(String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            InputError::new(format!("{file}: expected JSON in UTF-8, byte {at} is not"))
        })?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(InputError::new(
            format!("sentence encoder: expected {what} in `{file}`, found no such file"),
        )
        .hint(HINT)
        .into()),
        Err(error) => {
            Err(InputError::of_path(format!("cannot read `{file}`"), error, |error| error))
        }
    }
}
