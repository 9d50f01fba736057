//! Exit statuses: 1 where the machine fails, whatever file it was reading, and 2 where an output cannot be written, before any work.
#![cfg(target_os = "linux")]

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Error;
use candle_core::{DType, Device};
use mvpbench::encoder::embedder::Embedder;
use mvpbench::error::InputError;
use mvpbench::model::adapter;
use mvpbench::model::decoder::Decoder;
use mvpbench::model::merge::{Merge, Stored, merge};
use mvpbench::net::agent::{self, Manner};

use crate::command::Place;
use crate::golden::path;

/// A file that opens, and fails with an input/output error when it is read.
const FAILING: &str = "/proc/self/mem";

/// A copy of the folder `from` in which the file `name` fails.
fn copy_with_failing(from: &Path, name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let status =
        std::process::Command::new("cp").arg("-r").args([&from.join("."), copy.path()]).status();
    assert!(status.unwrap().success());
    let _ = std::fs::remove_file(copy.path().join(name));
    symlink(FAILING, copy.path().join(name)).unwrap();
    copy
}

#[test]
fn a_failing_disk_is_never_blamed_on_the_file_that_was_read() {
    let (model, adapter) = (path("models/tiny"), path("adapters/tiny-nonzero"));
    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encoder");
    let shape = Decoder::load(&model, DType::F32, &Device::Cpu).unwrap().shape;
    let decoder = |folder: &Path| Decoder::load(folder, DType::F32, &Device::Cpu).err();
    let merged = |folder: &Path| {
        let (adapter, output) = (&adapter, &folder.join("merged"));
        let merged = Merge { model: folder, adapter, output, stored: Stored::Base, probes: &[] };
        merge(&merged, &mut |_, _| {}).err()
    };
    let adapted = |folder: &Path| adapter::load(folder, &shape, None, &Device::Cpu).err();
    let embedder = |folder: &Path| Embedder::load(folder).err();
    let agent = |folder: &Path| agent::new(Some(&folder.join("a.pem")), Manner::DOWNLOADS).err();
    type Load<'a> = &'a dyn Fn(&Path) -> Option<Error>;
    let cases: [(&Path, &str, Load<'_>); 11] = [
        (&model, "config.json", &decoder),
        (&model, "model.safetensors", &decoder),
        (&model, "config.json", &merged),
        (&model, "tokenizer.json", &merged),
        (&adapter, "adapter_config.json", &adapted),
        (&adapter, "adapter_model.safetensors", &adapted),
        (&encoder, "modules.json", &embedder),
        (&encoder, "config.json", &embedder),
        (&encoder, "tokenizer.json", &embedder),
        (&encoder, "model.safetensors", &embedder),
        (&encoder, "a.pem", &agent),
    ];
    for (from, name, load) in cases {
        let folder = copy_with_failing(from, name);
        let error = load(folder.path()).unwrap();
        let said = format!("{error:#}");
        assert!(InputError::of(&error).is_none(), "{name}: {said}");
        assert!(said.contains("os error"), "{name}: {said}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_any_input_is_read() {
    let place = Place::new();
    for arguments in [
        "merge --model nowhere --adapter nowhere",
        "report nowhere",
        "data split --input nowhere.json",
        "data build-prism-pairs --survey nowhere.jsonl --conversations nowhere.jsonl",
        "data build-ufp4 --ultrafeedback nowhere.jsonl",
    ] {
        let arguments: Vec<_> =
            arguments.split(' ').chain(["--output", "/proc/mvpbench/out"]).collect();
        refused(&place, &arguments, &["cannot be written: `/proc`", "`--output`"]);
    }
    // A file in the place of the folder that the verbs of `data review` write in.
    place.write("benchmark/quality", "");
    for verb in ["sample", "import", "exclude"] {
        let parts = ["benchmark/quality` cannot be written", "not a folder", "writable"];
        refused(&place, &["data", "review", verb, "benchmark"], &parts);
    }
}

#[track_caller]
fn refused(place: &Place, arguments: &[&str], parts: &[&str]) {
    let output = place.mvpbench(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "`{part}` is not in: {said}"));
}
