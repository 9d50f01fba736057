//! `mvpbench merge`: merges an adapter and its base into one checkpoint.

use std::fmt::Write;
use std::path::PathBuf;

use candle_core::{DType, Device};
use clap::{Args, ValueEnum};

use crate::config::ModelSection;
use crate::console::progress::Verbosity;
use crate::console::wrap::{COLUMNS, wrap};
use crate::console::{stdout, units};
use crate::disk::writable;
use crate::model::adapter;
use crate::model::merge::{
    Merge, PROBES, Stored, merge as write_merged, refuse_foreign, templates_of_adapter,
};
use crate::session::adapter_source::AdapterSource;
use crate::session::base::Base;
use crate::session::held;
use crate::session::template_choice::TemplateChoice;

/// Merge an adapter into its base model: a full checkpoint in Hugging Face's layout.
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// Base model: a folder, a hub id (OWNER/NAME), or `embedded:tiny/model`, the one inside the binary
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Branch, tag or commit of a model on the hub
    #[arg(long, default_value = "main")]
    revision: String,
    /// Adapter in PEFT's format: a folder, or a hub id (OWNER/NAME[@REVISION])
    #[arg(long, value_name = "ID|FOLDER")]
    adapter: PathBuf,
    /// Folder to write; it must not exist
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    /// Number type of the stored weights; base: as in the base model
    #[arg(long, value_enum, default_value = "base")]
    dtype: StoredAs,
    /// Text to compare merged and unmerged logits on, instead of the built-in texts; may be repeated
    #[arg(long, value_name = "TEXT")]
    probe: Vec<String>,
    /// Start although less memory is free than this takes; the system may end it at any moment
    #[arg(long)]
    force: bool,
    /// Print only warnings, errors and results
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StoredAs {
    Base,
    F32,
    Bf16,
    F16,
}

/// Runs the verb: results on stdout, progress on stderr.
pub fn merge(args: MergeArgs) -> anyhow::Result<()> {
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let mut probes = args.probe;
    if probes.is_empty() {
        probes = PROBES.map(str::to_owned).to_vec();
    }
    let stored = match args.dtype {
        StoredAs::Base => Stored::Base,
        StoredAs::F32 => Stored::As(DType::F32),
        StoredAs::Bf16 => Stored::As(DType::BF16),
        StoredAs::F16 => Stored::As(DType::F16),
    };
    let output = &*args.output;
    refuse_foreign(output)?;
    // A finished output is only read.
    if !output.exists() {
        writable::check(output)?;
    }
    let section =
        ModelSection { path: args.model, revision: args.revision, ..ModelSection::default() };
    let base = Base::load(&section, &TemplateChoice::typed("", None), verbosity)?;
    base.notes.iter().for_each(|note| verbosity.note(note));
    // Before the weights, so that a wrong adapter costs no download.
    let source = AdapterSource::find(&args.adapter.to_string_lossy(), "--adapter", &base.hub)?;
    source.note.iter().for_each(|note| verbosity.note(note));
    let adapter = &*source.folder;
    adapter::load(adapter, &base.shape, None, &Device::Cpu)?;
    adapter::other_base(adapter, &section.path).iter().for_each(|note| verbosity.note(note));
    if !args.force {
        held::refuse_merge(&section.path, &base.shape)?;
    }
    let mut progress = None;
    let merged = base.in_folder(|model| {
        if let Some(given) = templates_of_adapter(model, adapter)? {
            verbosity.note(format!("chat template: {}, in place of the model's own", given.place));
        }
        write_merged(&Merge { model, adapter, output, stored, probes: &probes }, &mut |_, all| {
            progress
                .get_or_insert_with(|| {
                    verbosity.progress("merge and compare", "tensors and layers", 0, all as u64)
                })
                .advance(1, &[]);
        })
    })?;
    drop(progress);
    if merged.is_earlier {
        verbosity.note(format!("`{}` already holds this merge", output.display()));
    }

    let mut out = String::new();
    let plural = if merged.files == 1 { "" } else { "s" };
    writeln!(
        out,
        "merged: {} of {} tensors changed, {:?}, {} in {} file{plural}",
        merged.changed,
        merged.tensors,
        merged.dtype,
        units::bytes(merged.bytes as f64),
        merged.files
    )?;
    if let Some(difference) = &merged.difference {
        for (probe, largest) in probes.iter().zip(&difference.probes) {
            writeln!(out, "probe:  {largest:.2e}  {probe:?}")?;
        }
        writeln!(
            out,
            "check:  largest logit difference {:.2e}, bound {:.2e} ({:.0e} of the largest logit, {:.2})",
            difference.largest(),
            difference.bound,
            difference.bound / difference.largest_logit,
            difference.largest_logit
        )?;
    }
    writeln!(out, "model:  {}", output.display())?;
    stdout::tell(wrap(&out, COLUMNS, 8) + "\n")
}
