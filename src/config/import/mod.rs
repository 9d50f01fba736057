//! The configuration of another trainer -> ours: the text of its YAML in, TOML and what became of every key out.
//!
//! `disk::yaml` reads the file as PyYAML does, `known` has the keys that each program documents, and a file of each program (`trl`,
//! `axolotl`, `llama_factory`) translates what has a counterpart; `left_out` tells what the other keys mean for the result. The
//! program's own defaults are written where the file is silent. What makes another method of it, and a key that the program does not
//! have, is refused by name. The TOML is checked as any configuration before it is given.

mod adapter;
mod axolotl;
mod copied;
mod draft;
mod evaluation;
mod known;
mod left_out;
mod llama_factory;
mod losses;
mod precision;
mod recipe;
mod sources;
#[cfg(test)]
mod tests;
mod trl;
mod written;

use std::fmt;

use anyhow::{Context, Result};

use super::RunConfig;
use super::nearest;
use crate::disk::yaml::{self, Node};
use crate::error::{InputError, shown};
use draft::Draft;
use known::Known;

/// A trainer whose configurations are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// TRL: `trl dpo --config FILE`.
    Trl,
    /// Axolotl, `rl: dpo`.
    Axolotl,
    /// LLaMA-Factory, `stage: dpo`.
    LlamaFactory,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Trl, Self::Axolotl, Self::LlamaFactory];

    /// Its name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trl => "trl",
            Self::Axolotl => "axolotl",
            Self::LlamaFactory => "llama-factory",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trl => "TRL",
            Self::Axolotl => "Axolotl",
            Self::LlamaFactory => "LLaMA-Factory",
        })
    }
}

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It has a counterpart, which is written.
    Translated,
    /// It names what is not there: the configuration has a hole.
    Missing,
    /// It has no counterpart, and the result is another.
    Differs,
    /// It has no counterpart, and changes nothing of the result.
    Harmless,
    /// The program does not have it.
    Unknown,
}

impl Fate {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] =
        [Self::Translated, Self::Harmless, Self::Unknown, Self::Differs, Self::Missing];

    /// The heading of the keys with this fate.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Translated => "translated",
            Self::Missing => "to be filled in",
            Self::Differs => "no counterpart, and the result differs",
            Self::Harmless => "no counterpart, the result is the same",
            Self::Unknown => "unknown, and not read",
        }
    }
}

/// A key of the file and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its line; `usize::MAX` for a key that the file does not have.
    pub line: usize,
    /// The key, such as `datasets[0].path`.
    pub key: String,
    /// Its value on one line.
    pub value: String,
    /// What became of it.
    pub fate: Fate,
    /// The key here, or what that means.
    pub said: String,
}

/// A configuration that was translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Whose it was.
    pub program: Program,
    /// Ours, as `train --config` takes it.
    pub toml: String,
    /// What became of each key, in the order of the file.
    pub rows: Vec<Row>,
}

/// Translates the file `path`, which may be a pipe; the rest as in [`import`].
pub fn load(path: &str, from: Option<Program>, allow_unknown: bool) -> Result<Imported> {
    let bytes = super::bytes(path)?;
    if bytes.len() as u64 > super::LONGEST_FILE {
        let message = format!(
            "{path}: has {} bytes, expected a configuration of at most {}",
            bytes.len(),
            super::LONGEST_FILE
        );
        return Err(InputError::new(message).into());
    }
    match String::from_utf8(bytes) {
        Ok(text) => import(&text, path, from, allow_unknown),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(InputError::new(format!("{path}: expected a YAML file in UTF-8, byte {at} is not"))
                .into())
        }
    }
}

/// Translates the text of a file.
///
/// - `name`: the file's, for messages.
/// - `from`: whose it is; none to recognise it by its keys.
/// - `allow_unknown`: whether keys that the program does not have are listed instead of refused.
pub fn import(
    text: &str,
    name: &str,
    from: Option<Program>,
    allow_unknown: bool,
) -> Result<Imported> {
    let keys = yaml::table(text, name)?;
    let program = match from {
        Some(program) => program,
        None => recognised(&keys, name)?,
    };
    let mut draft = Draft::new(program, name, &keys);
    let unknown: Vec<&str> =
        draft.keys().filter(|key| !is_known(program, &draft.known, key)).collect();
    if !unknown.is_empty() && !allow_unknown {
        return Err(refuse_unknown(&draft, &unknown).into());
    }
    refuse_interpolation(&draft, &keys)?;
    match program {
        Program::Trl => trl::translate(&mut draft)?,
        Program::Axolotl => axolotl::translate(&mut draft)?,
        Program::LlamaFactory => llama_factory::translate(&mut draft)?,
    }
    left_out::note(&mut draft)?;
    for key in unknown {
        if !draft.is_noted(key) {
            draft.note(key, Fate::Unknown, format!("{program} does not have it"));
        }
    }
    let mut rows = std::mem::take(&mut draft.rows);
    rows.sort_by_key(|row| row.line);
    draft.rows = rows;
    let toml = written::text(&draft);
    RunConfig::parse(&toml, &format!("{name}, translated"))
        .with_context(|| format!("{name}: what it says is no configuration here"))?;
    Ok(Imported { program, toml, rows: draft.rows })
}

/// Keys of TRL's command that are no fields of its classes: they go to `accelerate` and to the environment.
const OF_TRLS_COMMAND: &[&str] = &[
    "env",
    "accelerate_config",
    "num_processes",
    "num_machines",
    "machine_rank",
    "main_process_ip",
    "main_process_port",
    "mixed_precision",
    "gpu_ids",
    "multi_gpu",
    "use_deepspeed",
    "use_fsdp",
];

/// Earlier fields of alignment-handbook's own classes.
const OF_THE_HANDBOOK: &[&str] = &[
    "hub_model_revision",
    "wandb_entity",
    "wandb_project",
    "benchmarks",
    "callbacks",
    "system_prompt",
];

fn is_known(program: Program, known: &Known, key: &str) -> bool {
    let of_trl = || OF_TRLS_COMMAND.contains(&key) || OF_THE_HANDBOOK.contains(&key);
    known.has(key) || program == Program::Trl && of_trl()
}

/// The program that has the most of the file's keys. Where two have as many, nothing is guessed.
fn recognised(keys: &[(String, Node)], name: &str) -> Result<Program> {
    let has = |program: Program| {
        let known = Known::of(program);
        keys.iter().filter(|(key, _)| is_known(program, &known, key)).count()
    };
    let counts = Program::ALL.map(|program| (has(program), program));
    let most = counts.iter().map(|(count, _)| *count).max().unwrap_or(0);
    let found: Vec<Program> =
        counts.iter().filter(|(count, _)| *count == most).map(|(_, program)| *program).collect();
    let pin = "pin it with `--from trl`, `--from axolotl` or `--from llama-factory`";
    match found[..] {
        [program] => Ok(program),
        _ if most == 0 => {
            let message =
                format!("{name}: none of its keys is one of TRL, Axolotl or LLaMA-Factory");
            Err(InputError::new(message).hint(pin).into())
        }
        _ => {
            let names: Vec<_> = found.iter().map(ToString::to_string).collect();
            let message = format!("{name}: its keys fit {}", names.join(" and "));
            Err(InputError::new(message).hint(pin).into())
        }
    }
}

fn refuse_unknown(draft: &Draft<'_>, unknown: &[&str]) -> InputError {
    const LISTED: usize = 10;
    let plural = if unknown.len() == 1 { "" } else { "s" };
    let names: Vec<_> =
        unknown.iter().take(LISTED).map(|key| format!("`{}`", shown(key))).collect();
    let more = unknown.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (name, program) = (draft.name, draft.program);
    let message =
        format!("{name}: {program} does not have the key{plural} {}{more}", names.join(", "));
    let known: Vec<&str> = draft.known.names().collect();
    let nearest: Vec<_> =
        unknown.iter().filter_map(|key| nearest::nearest_word(key, &known)).collect();
    let mut hint = match nearest.is_empty() {
        true => String::new(),
        false => format!(
            "did you mean {}?\n      ",
            nearest.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        ),
    };
    let is_new_form = unknown.contains(&"peft_config") || unknown.contains(&"train_dataset");
    hint += match is_new_form {
        true => {
            "`model`, `train_dataset` and `peft_config` are LLaMA-Factory's version 1, which is not read"
        }
        false => "`--allow-unknown` lists such keys and leaves them out; `--from` pins the program",
    };
    InputError::new(message).hint(hint)
}

/// LLaMA-Factory reads its file by OmegaConf, which puts other values in the place of `${...}`.
fn refuse_interpolation(draft: &Draft<'_>, keys: &[(String, Node)]) -> Result<()> {
    if draft.program != Program::LlamaFactory {
        return Ok(());
    }
    for (key, node) in keys {
        if node.value.to_string().contains("${") {
            let error =
                draft.wrong(key, node, "a value without `${...}`, which is not replaced here");
            return Err(error.hint("write the value").into());
        }
    }
    Ok(())
}
