//! `data split`: files of records -> `train.json`, `test.json` and a manifest.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::built;
use crate::bail_input;
use crate::cli::{layout, whole_number};
use crate::config::LayoutName;
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::console::units::s;
use crate::data::split::{By, Rule, Side};
use crate::disk::once::MANIFEST;
use crate::disk::{atomic, digest, lock, once, read, seal};
use crate::error::InputError;
use crate::hub::Hub;
use crate::session::{data_file, data_files};

/// Split files of records into train.json and test.json, by default by user
#[derive(Debug, Clone, Args)]
pub(super) struct SplitArgs {
    /// Files of records, folders or patterns of them
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<String>,
    /// Layout of the records, as in `data.layout`
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = layout)]
    layout: LayoutName,
    /// Unit that is never split between the sides
    #[arg(long, value_enum, default_value_t = By::User)]
    by: By,
    /// Share of the users, records or countries that is drawn for the test side
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.1,
        allow_negative_numbers = true,
        conflicts_with = "countries"
    )]
    test_share: f64,
    /// Countries of the test side, separated by commas; needs `--by country`
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    countries: Vec<String>,
    /// Seed of the draw
    #[arg(long, value_name = "N", default_value_t = 12, allow_negative_numbers = true, value_parser = whole_number)]
    seed: u64,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

const SIDES: [&str; 2] = ["train.json", "test.json"];

/// Runs the verb.
pub(super) fn split(args: &SplitArgs) -> Result<()> {
    if !(args.test_share > 0.0 && args.test_share < 1.0) {
        bail_input!("`--test-share` must be above 0 and below 1, got `{}`", args.test_share);
    }
    if !args.countries.is_empty() && args.by != By::Country {
        return Err(InputError::new("`--countries` needs `--by country`")
            .hint("add `--by country`")
            .into());
    }
    built::check(&args.output)?;
    let mut files = Vec::new();
    let mut digests: Vec<String> = Vec::new();
    let (hub, mut notes, mut names) = (Hub::new(Verbosity::Normal), Vec::new(), Vec::new());
    for source in &args.input {
        names.extend(data_files::expand(source, "", None, &hub, &mut notes)?);
    }
    for path in &names {
        let bytes = data_file::read(path, &hub, &mut notes)?;
        let digest = digest::of_bytes(&bytes);
        if let Some(twin) = digests.iter().position(|earlier| *earlier == digest) {
            bail_input!("`{path}` has the same bytes as `{}`", names[twin]);
        }
        digests.push(digest);
        files.push((path.clone(), bytes));
    }
    notes.iter().for_each(|note| Verbosity::Normal.note(note));
    let countries = args.countries.iter().map(|country| country.trim().to_owned()).collect();
    let rule = Rule { by: args.by, test_share: args.test_share, countries, seed: args.seed };
    let sides = rule.split_as(&files, args.layout)?;

    let texts = [array(&sides.train), array(&sides.test)];
    let mut manifest = json!({
        "mvpbench": env!("CARGO_PKG_VERSION"),
        "by": rule.by,
        "seed": rule.seed,
        "test_share": if rule.countries.is_empty() { json!(rule.test_share) } else { Value::Null },
        "countries": rule.countries,
        "drawn": sides.drawn.map(|drawn| json!({"units": drawn.units, "test": drawn.test})),
        "inputs": (names.iter().zip(&digests))
            .map(|(file, sha256)| json!({"file": file, "sha256": sha256}))
            .collect::<Vec<_>>(),
    });
    let _lock = lock::folder(&args.output)?;
    let begun = args.output.join(BEGUN);
    atomic::sweep_of(&begun)?;
    if SIDES.iter().chain([&MANIFEST]).any(|name| args.output.join(name).exists()) {
        refuse_other(&args.output, &begun, &manifest)?;
    } else {
        atomic::write(&begun, |out| Ok(out.write_all(&seal::indented(&manifest)?)?))?;
    }
    let about_sides = json!({
        "train": summary(SIDES[0], &sides.train, &texts[0]),
        "test": summary(SIDES[1], &sides.test, &texts[1]),
        "users_on_both_sides": sides.users_on_both(),
    });
    if let (Some(all), Value::Object(sides)) = (manifest.as_object_mut(), about_sides) {
        all.extend(sides);
    }
    let mut manifest = serde_json::to_vec_pretty(&manifest)?;
    manifest.push(b'\n');
    // The manifest comes last: if it exists, both sides are whole.
    let contents = texts.iter().map(|text| text.as_bytes()).chain([manifest.as_slice()]);
    let files: Vec<_> = SIDES.into_iter().chain([MANIFEST]).zip(contents).collect();
    once::write(&args.output, &files, "of another split")?;
    read::remove_if_there(&begun)?;

    let mut out = String::new();
    let all = sides.train.records.len() + sides.test.records.len();
    for (name, side) in SIDES.into_iter().zip([&sides.train, &sides.test]) {
        let (records, share) = (side.records.len(), 100.0 * side.records.len() as f64 / all as f64);
        let (users, countries) = (side.users.len(), side.countries.len());
        let path = args.output.join(name);
        writeln!(
            out,
            "{}: {records} record{} ({share:.1} %), {users} user{}, {countries} {}",
            path.display(),
            s(records),
            s(users),
            if countries == 1 { "country" } else { "countries" }
        )?;
    }
    let both = sides.users_on_both();
    writeln!(out, "users on both sides: {both}")?;
    writeln!(out, "manifest: {}", args.output.join(MANIFEST).display())?;
    stdout::tell(out)
}

/// What a split that has no manifest yet is made from, so that another one can be told what differs.
const BEGUN: &str = ".split.json";

/// Refuses a folder with the split of other inputs or by another rule, whole or begun, by what differs. `now`: the fields of the manifest
/// that tell both.
fn refuse_other(output: &Path, begun: &Path, now: &Value) -> Result<()> {
    let manifest = read::if_there(&output.join(MANIFEST))?;
    let earlier = match manifest {
        Some(whole) => Some(whole),
        // A broken one tells nothing; what is on the sides is compared byte by byte in any case.
        None => read::if_there(begun)?.and_then(|bytes| seal::open(&bytes).ok()),
    };
    let earlier = earlier.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(earlier) = earlier.filter(|earlier| earlier["inputs"].is_array()) else {
        return Ok(());
    };
    let mut other = other_inputs(&earlier["inputs"], &now["inputs"]);
    for (key, option) in [
        ("by", "--by"),
        ("seed", "--seed"),
        ("test_share", "--test-share"),
        ("countries", "--countries"),
    ] {
        if earlier[key] != now[key] {
            other.push(format!("`{option}` was `{}`, is `{}`", earlier[key], now[key]));
        }
    }
    if other.is_empty() {
        return Ok(());
    }
    let what = format!("`{}` holds another split: {}", output.display(), other.join(", "));
    Err(InputError::new(what)
        .hint(
            "give another folder with `--output`, or the inputs and options that it was made with",
        )
        .into())
}

/// Which files of the lists `earlier` and `now`, of names with digests, differ, and how.
fn other_inputs(earlier: &Value, now: &Value) -> Vec<String> {
    let of = |list: &Value| -> BTreeMap<String, String> {
        let one = |file: &Value| {
            Some((file["file"].as_str()?.to_owned(), file["sha256"].as_str()?.to_owned()))
        };
        list.as_array().into_iter().flatten().filter_map(one).collect()
    };
    let (earlier, now) = (of(earlier), of(now));
    let changed = now.iter().filter_map(|(name, digest)| match earlier.get(name) {
        Some(known) if known == digest => None,
        Some(_) => Some(format!("`{name}` has changed")),
        None => Some(format!("`{name}` is new")),
    });
    let missing = earlier.keys().filter(|name| !now.contains_key(*name));
    changed.chain(missing.map(|name| format!("`{name}` is not given"))).collect()
}

/// A JSON array with each record on a new line.
fn array(side: &Side) -> String {
    format!("[\n{}\n]\n", side.records.join(",\n"))
}

fn summary(file: &str, side: &Side, text: &str) -> Value {
    json!({
        "file": file,
        "sha256": digest::of_bytes(text.as_bytes()),
        "records": side.records.len(),
        "users": side.users,
        "countries": side.countries,
    })
}
