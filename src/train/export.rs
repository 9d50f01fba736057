//! The adapter folder: the adapter as PEFT loads it, the tokenizer, the configuration and a model card.

use anyhow::Result;

use crate::disk::{atomic, read};
use crate::model::adapter::{self, WEIGHTS_FILE};
use crate::model::lora::Adapter;
use crate::report::RunReport;
use crate::session::Session;

/// Writes adapter and tokenizer into the adapter folder. One that holds the same weights is mended: each other file that is
/// missing or has changed is written again, with a warning.
pub(super) fn adapter(session: &Session<'_>, exported: &Adapter) -> Result<()> {
    let path = session.folder.adapter();
    let config = serde_json::to_vec_pretty(&session.adapter_config(exported))?;
    let mut files = vec![
        (WEIGHTS_FILE.to_owned(), adapter::to_safetensors(&exported.tensors)?),
        (adapter::CONFIG_FILE.to_owned(), config),
    ];
    files.extend(session.inputs.tokenizer_files.iter().cloned());
    let there = |name: &str| read::if_there(&path.join(name));
    if there(WEIGHTS_FILE)?.as_ref() != Some(&files[0].1) {
        return atomic::write_folder(&path, &files);
    }
    for (name, bytes) in &files[1..] {
        let file = path.join(name);
        let what = match there(name)? {
            Some(found) if found == *bytes => continue,
            Some(_) => "has changed",
            None => "is missing",
        };
        let warning = format!("`{}` {what}; it is written again", file.display());
        session.options.verbosity.warn(warning);
        atomic::write(&file, |out| Ok(out.write_all(bytes)?))?;
    }
    Ok(())
}

/// Writes the model card and the configuration into the adapter folder.
pub(super) fn model_card(session: &Session<'_>, report: &RunReport) -> Result<()> {
    let config = session.config;
    let (lora, dpo, train) = (&config.lora, &config.dpo, &config.train);
    let modules: Vec<_> = lora.target_modules.iter().map(|module| module.name()).collect();
    let pairs_a_step = train.per_device_batch_size * train.gradient_accumulation_steps;
    let settings = [
        ("rank, alpha, dropout", format!("{}, {}, {}", lora.rank, lora.alpha, lora.dropout)),
        ("adapted layers", modules.join(", ")),
        ("loss, beta", format!("{}, {}", dpo.loss, dpo.beta)),
        ("learning rate, schedule", format!("{:e}, {}", train.learning_rate, train.scheduler)),
        ("pairs a step", pairs_a_step.to_string()),
        ("tokens at most", config.data.max_length.to_string()),
        ("seed", train.seed.to_string()),
    ];
    let card = report.to_model_card(&session.base_name, &settings, &config.changed()?);
    let put = |name: &str, text: &str| {
        let path = session.folder.adapter().join(name);
        atomic::write(&path, |out| Ok(out.write_all(text.as_bytes())?))
    };
    put("README.md", &card)?;
    // A resume leaves the run folder's copy as it was, so that one may be older.
    put("config.toml", &session.config.to_toml()?)
}
