//! The files of a sample: `sample.csv` for a spreadsheet, `review.html` for a browser, `sample.json`.

use std::path::PathBuf;

use anyhow::Result;

use super::criteria::CRITERIA;
use super::reviewed::Records;
use super::sample::{JSON, NAMED, READ, Sample};
use super::{csv, page};
use crate::disk::{atomic, read, seal};
use crate::error::InputError;

/// What reviewers open.
pub const TABLE: &str = "sample.csv";

/// The page in which they read and mark.
pub const PAGE: &str = "review.html";

/// Writes the files of the sample and returns their folder. The same sample again changes no byte, and leaves a `sample.csv` that
/// somebody has filled in as it is. Refuses a folder that holds another sample.
pub fn write(sample: &Sample, records: &Records) -> Result<PathBuf> {
    let folder = Sample::folder(records.folder(), sample.drawn.seed);
    // The last: if it exists, the others are whole.
    let [csv, html, json] = [TABLE, PAGE, JSON].map(|name| folder.join(name));
    [&csv, &html, &json].into_iter().try_for_each(|path| atomic::sweep_of(path).map(drop))?;
    let sealed = seal::indented(sample)?;
    let known = read::if_there(&json)?;
    if known.as_ref().is_some_and(|known| *known != sealed) {
        let what = format!("`{}` already holds another sample", folder.display());
        return Err(InputError::new(what)
            .hint("draw with another `--seed`; or, if nobody has marked it, remove the folder")
            .into());
    }
    let text = table(sample, records)?;
    match read::if_there(&csv)? {
        Some(found) if known.is_none() && found != text.as_bytes() => {
            let what = format!("`{}` already exists, of another sample", csv.display());
            return Err(InputError::new(what).hint("draw with another `--seed`").into());
        }
        Some(_) => {}
        None => atomic::write(&csv, |out| Ok(out.write_all(text.as_bytes())?))?,
    }
    for (path, bytes) in [(&html, page::page(sample, records)?.into_bytes()), (&json, sealed)] {
        if read::if_there(path)?.as_deref() != Some(&bytes[..]) {
            atomic::write(path, |out| Ok(out.write_all(&bytes)?))?;
        }
    }
    Ok(folder)
}

/// The rows of `sample.csv`, without marks.
fn table(sample: &Sample, records: &Records) -> Result<String> {
    let marks = CRITERIA.iter().map(|criterion| criterion.name);
    let columns = NAMED.into_iter().chain(READ).chain(marks).chain(["comment", "reviewer"]);
    let mut text = format!("\u{feff}{}", csv::line(columns));
    for one in &sample.records {
        let record = sample.record(records, one)?;
        let reviewer = one.reviewer.map_or_else(|| "all".to_owned(), |n| n.to_string());
        let profile: Vec<String> =
            record.profile.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let profile = profile.join("\n");
        let preference = record.preference.as_deref().unwrap_or_default();
        let named = [&*sample.sample, &*one.id, &*one.sha256];
        let texts = [
            &*reviewer,
            &*record.question,
            preference,
            &*profile,
            &*record.answer_w,
            &*record.answer_l,
        ];
        text += &csv::line(named.into_iter().chain(texts).chain([""; 5]));
    }
    Ok(text)
}
