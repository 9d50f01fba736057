//! The adapter folder: the adapter as PEFT loads it, the tokenizer, the configuration and a model card.

use anyhow::Result;

use crate::config::LoraSection;
use crate::disk::{atomic, digest, read};
use crate::model::adapter::{self, WEIGHTS_FILE};
use crate::model::lora::Adapter;
use crate::report::RunReport;
use crate::report::card::BaseModel;
use crate::run_folder::summary::Summary;
use crate::session::Session;

/// Writes adapter and tokenizer into the adapter folder. One that holds these weights, or that the summary says to have held
/// them, is mended: each file that is missing or has changed is written again, with a warning.
///
/// Returns the SHA-256 of the weights' file.
pub(super) fn adapter(session: &Session<'_>, exported: &Adapter) -> Result<String> {
    let path = session.folder.adapter();
    let config = serde_json::to_vec_pretty(&session.adapter_config())?;
    let mut files = vec![
        (WEIGHTS_FILE.to_owned(), adapter::to_safetensors(&exported.tensors)?),
        (adapter::CONFIG_FILE.to_owned(), config),
    ];
    files.extend(session.inputs.tokenizer_files.iter().cloned());
    let sha256 = digest::of_bytes(&files[0].1);
    let there = read::if_there(&path.join(WEIGHTS_FILE))?;
    // A summary that cannot be read tells nothing, and is written anew.
    let summary = Summary::read(&session.folder.summary()).ok().flatten();
    let was_exported = summary.and_then(|summary| summary.training?.adapter_sha256);
    let is_same = there.as_ref() == Some(&files[0].1);
    if !is_same && (was_exported.as_ref() != Some(&sha256) || !path.exists()) {
        atomic::write_folder(&path, &files)?;
        return Ok(sha256);
    }
    // A copied or moved run has its embedded base model at another path, which is no damage.
    let config = path.join(adapter::CONFIG_FILE);
    if read::if_there(&config)?.is_some_and(|there| names_another_base(&there, &files[1].1)) {
        atomic::write(&config, |out| Ok(out.write_all(&files[1].1)?))?;
    }
    for (name, bytes) in atomic::warned_differences(&path, &files, session.options.verbosity)? {
        atomic::write(&path.join(name), |out| Ok(out.write_all(bytes)?))?;
    }
    Ok(sha256)
}

/// Whether two `adapter_config.json` differ in the path of the base model alone.
fn names_another_base(there: &[u8], now: &[u8]) -> bool {
    let [there, now] = [there, now].map(|bytes| {
        let mut fields: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        Some((fields.as_object_mut()?.remove("base_model_name_or_path")?, fields))
    });
    there.zip(now).is_some_and(|(there, now)| there.1 == now.1 && there.0 != now.0)
}

/// The adapted layers, as the configuration chooses them.
fn adapted(lora: &LoraSection) -> String {
    let mut text = lora.target_modules.to_string();
    if !lora.exclude_modules.is_empty() {
        text += &format!(", without {}", lora.exclude_modules);
    }
    if !lora.layers_to_transform.is_empty() {
        text += &format!(", of layers {:?}", lora.layers_to_transform);
    }
    text
}

/// Writes the model card and the configuration into the adapter folder.
pub(super) fn model_card(session: &Session<'_>, report: &RunReport) -> Result<()> {
    let config = session.config;
    let (lora, dpo, train) = (&config.lora, &config.dpo, &config.train);
    let settings = [
        ("rank, alpha, dropout", format!("{}, {}, {}", lora.rank, lora.alpha, lora.dropout)),
        ("adapted layers", adapted(lora)),
        ("loss, beta", format!("{}, {}", dpo.loss, dpo.beta)),
        ("learning rate, schedule", format!("{:e}, {}", train.learning_rate, train.scheduler)),
        ("pairs a step", train.pairs_a_step().to_string()),
        ("tokens at most", config.data.max_length.to_string()),
        ("seed", train.seed.to_string()),
    ];
    let on_hub = session.inputs.model.on_hub().is_some();
    let base = BaseModel { name: &session.base_name, on_hub };
    let card = report.to_model_card(base, &settings, &config.changed()?);
    let put = |name: &str, text: &str| {
        let path = session.folder.adapter().join(name);
        atomic::write(&path, |out| Ok(out.write_all(text.as_bytes())?))
    };
    put("README.md", &card)?;
    // A resume leaves the run folder's copy as it was, so that one may be older.
    put("config.toml", &session.config.to_toml()?)
}
