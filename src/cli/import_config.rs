//! `mvpbench import-config`: the configuration of TRL, Axolotl or LLaMA-Factory as ours.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::config::import::{self, Fate, Imported, Program, Row};
use crate::console::units::s;
use crate::console::{stderr, stdout};
use crate::disk::{atomic, read, writable};
use crate::error::{InputError, one_line};

/// Translate a DPO configuration of TRL, Axolotl or LLaMA-Factory into one of this program.
///
/// The TOML goes to stdout, as `train --config` takes it, with a comment above each line that says where it comes from; the program's
/// own defaults are written where the file is silent. What became of each key goes to stderr: translated; without counterpart, and the
/// result is the same; without counterpart, and the result differs, which the head of the TOML lists too; or to be filled in. A key
/// that the program does not have is refused, and so is a method that is not computed here, such as `rl: kto`.
#[derive(Debug, Clone, Args)]
pub struct ImportConfigArgs {
    /// The file: the YAML or JSON of `trl dpo --config` (and alignment-handbook's recipes), of Axolotl with `rl: dpo`, `ipo` or
    /// `simpo`, or of LLaMA-Factory with `stage: dpo`
    #[arg(value_name = "FILE")]
    file: String,
    /// Program that the file is of, instead of the one that has the most of its keys: trl, axolotl, llama-factory
    #[arg(long, value_name = "PROGRAM", value_parser = program)]
    from: Option<Program>,
    /// File to write, instead of stdout; a file that is there is never overwritten
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// List keys that the program does not have and leave them out, instead of refusing the file
    #[arg(long)]
    allow_unknown: bool,
    /// Print only the keys that the result differs by, or that are to be filled in
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb: the configuration on stdout, what became of each key on stderr.
pub fn import_config(args: &ImportConfigArgs) -> Result<()> {
    if let Some(output) = &args.output {
        writable::check_file(output)?;
    }
    let imported = import::load(&args.file, args.from, args.allow_unknown)?;
    tell(&args.file, &imported, args.quiet);
    match &args.output {
        None => stdout::print(&imported.toml),
        Some(output) => {
            write(output, imported.toml.as_bytes())?;
            let output = output.display();
            stdout::tell(format!("config: {output}\nnext:   train --config {output} --dry-run\n"))
        }
    }
}

fn write(output: &Path, bytes: &[u8]) -> Result<()> {
    let is_there = match read::if_there(output)? {
        Some(found) if found == bytes => return Ok(()),
        Some(_) => true,
        None => !atomic::write_new(output, bytes)
            .with_context(|| format!("cannot write `{}`", output.display()))?,
    };
    match is_there {
        true => {
            let message = format!("`{}` already exists, with another text", output.display());
            Err(InputError::new(message).hint("give another file with `--output`").into())
        }
        false => Ok(()),
    }
}

/// Prints the keys by their fate.
fn tell(file: &str, imported: &Imported, is_quiet: bool) {
    let keys = imported.rows.iter().filter(|row| row.line != usize::MAX).count();
    stderr::say(format!("{}: of {}, {keys} key{}", one_line(file), imported.program, s(keys)));
    for fate in Fate::ALL {
        let rows: Vec<&Row> = imported.rows.iter().filter(|row| row.fate == fate).collect();
        let is_shown = !is_quiet || !matches!(fate, Fate::Translated | Fate::Harmless);
        if rows.is_empty() || !is_shown {
            continue;
        }
        stderr::say(format!("\n{} ({}):", fate.heading(), rows.len()));
        for Row { key, value, said, .. } in rows {
            stderr::say(format!("  {}: {}: {}", one_line(key), one_line(value), one_line(said)));
        }
    }
}

fn program(word: &str) -> Result<Program, String> {
    let known = Program::ALL.into_iter().find(|program| program.word() == word.to_lowercase());
    known.ok_or_else(|| {
        let words = Program::ALL.map(Program::word).join(", ");
        format!("expected one of {words}, got `{word}`")
    })
}
